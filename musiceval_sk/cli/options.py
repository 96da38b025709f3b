"""What all commands share: options, errors as one line and an exit status, the feature stage."""

import contextlib
import functools
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from musiceval_sk.exceptions import AudioError, SkippedWarning, StoreError

_INTERRUPTED = 130  # as of a shell: 128 and the number of the signal
_LARGEST_SEED = 2**32 - 1  # that NumPy takes
_CHOICES = {
    "modality": ("audio", "text", "both"),
    "halves": ("rating", "rater"),
    "audio": ("link", "embed", "none"),
    "method": ("mean", "median", "trimmed", "zscore", "bias"),
}
# Options that are not called what the library calls the parameter.
_OPTIONS = {
    "counts": "any_size",
    "metrics": "metric",
    "n_jobs": "jobs",
    "n_splits": "folds",
    "rater": "anonymous",
    "random_state": "seed",
    "sizes": "size",
    "targets": "target",
}
_PARAMETER = re.compile(r"(?<![^\s(])([a-z_]+)=(None|True|'[^']*'|\['([^']*)'\]|\w+|)(?=[\s,;:)]|$)")

Clips = Annotated[Path, typer.Argument(help="Clips table (.csv, .tsv, .jsonl) or folder of sound files.")]
Pattern = Annotated[
    str | None, typer.Option(help="For a folder: names in file paths, such as '{system}/{prompt_id}'.")
]
Prompts = Annotated[
    Path | None, typer.Option(help="Side table: clip_id or prompt_id, and prompt, system, ...")
]
Ratings = Annotated[Path | None, typer.Option(help="Ratings table (rater, clip_id, one column per target).")]
Targets = Annotated[
    list[str] | None,
    typer.Option("--target", help="Score column; repeat for several. Default: impression, alignment."),
]
EncoderName = Annotated[
    str, typer.Option("--encoder", help="spectral, laion-clap, hf-clap, or one that a package registers.")
]
Checkpoint = Annotated[Path | None, typer.Option(help="CLAP checkpoint (.pt); for hf-clap also a folder.")]
Tokenizer = Annotated[Path | None, typer.Option(help="Folder of roberta-base's vocab.json and merges.txt.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, ... Default: auto.")]
Cache = Annotated[
    Path | None, typer.Option(help="Embedding store. Default: $MUSICEVAL_CACHE or cache/embeddings.h5.")
]
Pooling = Annotated[str, typer.Option(help="How windows become one vector: mean, mean+std, max, first.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", help="Processes to use.")]
Scale = Annotated[tuple[float, float], typer.Option(help="Lowest and highest score that raters could give.")]
Seed = Annotated[int, typer.Option(min=0, max=_LARGEST_SEED, help="Seed of splits and models.")]


def command(
    app: typer.Typer, epilog: str, *, writes: str = "folder"
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command whose errors and warnings become one line each and an exit status.

    What is wrong with options that several commands share is said before the command begins; --out is a "file" or a "folder".
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(**arguments: Any) -> None:
            skipped, shown = False, set()

            def show(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
                nonlocal skipped
                skipped |= issubclass(category, SkippedWarning)
                words = _in_options(str(message), arguments)
                if words not in shown:  # Python's own "once" forgets whenever somebody touches the filters
                    shown.add(words)
                    typer.echo(f"warning: {words}", err=True)

            with warnings.catch_warnings(), _notes_of_readers():
                warnings.simplefilter("always")
                warnings.filterwarnings("ignore", category=DeprecationWarning)
                warnings.filterwarnings("ignore", category=FutureWarning)
                warnings.showwarning = show
                try:
                    _check_options(writes, arguments)
                    function(**arguments)
                except BrokenPipeError:  # the reader of our output, such as head, has seen enough
                    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                    raise typer.Exit(1) from None
                except KeyboardInterrupt:
                    typer.echo(f"interrupted: {_kept(arguments)}", err=True)
                    raise typer.Exit(_INTERRUPTED) from None
                except (AudioError, StoreError, OSError, MemoryError) as error:
                    wrong_use = isinstance(error, FileNotFoundError | IsADirectoryError)
                    _fail(_in_options(_words_of(error), arguments), status=2 if wrong_use else 1)
                except (ValueError, ImportError) as error:
                    _fail(_in_options(str(error), arguments), status=2)
            if skipped:
                raise typer.Exit(1)

        return app.command(epilog=epilog)(run)

    return register


@contextlib.contextmanager
def _notes_of_readers() -> Iterator[None]:
    """Say on stderr, once, how tables were read that are not of the plain form."""
    logger, told = logging.getLogger("musiceval_sk.datasets"), set()
    level, handler = logger.level, logging.Handler()

    def emit(record: logging.LogRecord) -> None:
        note = record.getMessage()
        if note not in told:
            told.add(note)
            typer.echo(f"note: {note}", err=True)

    handler.emit = emit  # type: ignore[method-assign]
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _check_options(writes: str, options: dict[str, Any]) -> None:
    for name, known in _CHOICES.items():
        if options.get(name, known[0]) not in known:
            raise ValueError(f"unknown {name} {options[name]!r}; choose from {', '.join(known)}")
    if options.get("jobs") == 0:
        raise ValueError("--jobs 0: give the number of processes, or -1 for as many as there are cores")
    if "scale" in options:
        from musiceval_sk.datasets.readers import check_scale

        check_scale(options["scale"])
    if "cache" in options:
        from musiceval_sk.features.store.maintain import exists

        store = _store_at(options["cache"])
        if {"jobs", "others"} & options.keys() and not exists(store):
            _check_out(store.path, "file")
    if options.get("device") is not None:
        from musiceval_sk._device import resolve_device

        resolve_device(options["device"])
    for name in ("out", "memory", "checkpoints", "sounds"):
        if options.get(name) is not None:
            _check_out(options[name], writes if name == "out" else "folder")


def _store_at(cache: Path | None) -> Any:
    from musiceval_sk import EmbeddingStore

    return EmbeddingStore(path_text(cache))


def _check_out(out: Path, writes: str) -> None:
    """Raise unless the file or folder can be written; nothing is made."""
    try:
        there = next(place for place in (out, *out.parents) if place.exists())
        if there == out and out.is_dir() != (writes == "folder"):
            raise ValueError(f"{out}: is a {'folder' if out.is_dir() else 'file'}; name a {writes} to write")
        if there != out and not there.is_dir():
            raise ValueError(f"{out}: cannot be written, for {there} is a file; name another place")
        if there.is_file():
            there.open("ab").close()
        elif there.is_dir():
            tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise ValueError(f"{out}: cannot be written ({error.strerror}); name another place") from error


def _kept(options: dict[str, Any]) -> str:
    """Say what an interrupted command leaves, for the same command to go on from."""
    out, places = options.get("out"), []
    if "memory" in options:
        places.append(("finished fits", options["memory"] or (out and out / "fits"), "**/output.pkl"))
    if "checkpoints" in options:
        places.append(("checkpoints", options["checkpoints"] or (out and out / "checkpoints"), "*"))
    if "cache" not in options or "batch_size" in options:
        places.append(("files", out, "*"))
    if "cache" in options:
        places.append(("vectors", _store_at(options["cache"]).path, ""))
    kept = [f"{what} in {place}" for what, place, files in places if place and _holds(place, files)]
    return f"what was finished is kept: {', '.join(kept)}" if kept else "nothing was written"


def _holds(place: Path, files: str) -> bool:
    """Whether a folder holds such files; without a pattern, whether a store holds any."""
    folder, pattern = (place, files) if files else (place.with_name(f"{place.name}.parts"), "part-*.h5")
    return place.is_file() or any(folder.glob(pattern))


def _in_options(message: str, arguments: dict[str, Any]) -> str:
    """Name the options of the command where the library's words name its parameters; a study file has these, too."""
    if Path(str(arguments.get("clips"))).suffix.lower() in (".toml", ".yaml", ".yml"):
        return message

    def option(found: re.Match[str]) -> str:
        name = _OPTIONS.get(found[1], found[1])
        value = found[3] or found[2].strip("'")
        flag = name in ("anonymous", "any_size") or value in ("None", "True", "")
        return f"--{name.replace('_', '-')}{'' if flag else f' {value}'}" if name in arguments else found[0]

    return _PARAMETER.sub(option, message)


def _words_of(error: Exception) -> str:
    """Say an error of the system without its number."""
    named = isinstance(error, OSError) and error.filename is not None and error.strerror
    return f"{error.filename}: {error.strerror.lower()}" if named else str(error)  # type: ignore[attr-defined]


def _fail(words: str, status: int) -> None:
    typer.echo(f"error: {words}", err=True)
    raise typer.Exit(status)


def encoder_options(
    checkpoint: Path | None, tokenizer: Path | None, device: str | None, encoder: str | None = None
) -> dict[str, Any]:
    """Options that were given; the hand-made encoder runs on no device, so that one is not passed on to it."""
    device = None if encoder == "spectral" else device
    given = {"checkpoint": path_text(checkpoint), "tokenizer": path_text(tokenizer), "device": device}
    return {name: value for name, value in given.items() if value is not None}


def path_text(path: Path | None) -> str | None:
    """Text of a path, or None."""
    return None if path is None else str(path)


def make_embedder(
    encoder: str,
    checkpoint: Path | None,
    tokenizer: Path | None,
    device: str | None,
    cache: Path | None,
    pooling: str,
    jobs: int,
) -> Any:
    """Embedder that the options describe."""
    from musiceval_sk import ClipEmbedder

    options = encoder_options(checkpoint, tokenizer, device, encoder)
    embedder = ClipEmbedder(
        encoder, pooling=pooling, cache=path_text(cache), encoder_options=options or None, n_jobs=jobs
    )
    return embedder.set_output(transform="pandas")


def extract_and_tell(table: Any, made: Any, cache: Any, *, err: bool = False, **options: Any) -> Any:
    """Embed and print the report; it names the clips that were skipped, so the warning only counts them."""
    from musiceval_sk import extract

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkippedWarning)
        warnings.filterwarnings("ignore", message=r"\d+ clips? (is|are) heard, but")  # a note of the report
        report = extract(table, made, cache, **options)
    typer.echo(report, err=err)
    if len(report.skipped):
        count = f"skipped {len(report.skipped)} of {len(table)} clips"
        warnings.warn(count, SkippedWarning, stacklevel=2)
    return report


def embed_readable(table: Any, embedder: Any, encoder: Any = None) -> Any:
    """Embed what can be embedded, and leave out the clips that cannot be read."""
    from musiceval_sk import get_encoder

    made = encoder or get_encoder(embedder.encoder, **(embedder.encoder_options or {}))
    options = {"modality": embedder.modality, "n_jobs": embedder.n_jobs}
    report = extract_and_tell(table, made, embedder.cache, err=True, **options)
    kept = table.drop(index=report.skipped.index)
    if kept.empty:
        raise AudioError("none of the clips could be read")
    return kept
