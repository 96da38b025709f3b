"""The command line, ``musiceval``: commands from a demo to a report, and those of the embedding store.

Results go to stdout; warnings and progress to stderr, a bar on a terminal and a line every ten seconds elsewhere. Exit status: 0 all done, 1 something was skipped or failed,
2 wrong use (options, tables, missing packages), 130 interrupted, 143 terminated.
"""

import contextlib
import copy
import dataclasses
import functools
import inspect
import logging
import os
import re
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer

from musiceval_sk._progress import shown_everywhere
from musiceval_sk._text import require_known, visible
from musiceval_sk._version import __version__
from musiceval_sk.cli import (
    STOPPED,
    cache,
    demo,
    listen,
    model,
    musiceval,
    options,
    output,
    ratings,
    score,
    stopped_by_signals,
    study,
)
from musiceval_sk.cli.options import FLAGS, in_options
from musiceval_sk.exceptions import AudioError, SkippedWarning, StoreError

_CHOICES = {
    "modality": ("audio", "text", "both"),
    "halves": ("rating", "rater"),
    "level": ("system", "clip"),
    "ties": ("davidson", "half"),
    "audio": ("link", "embed", "none"),
}
_OF_RATINGS = ("format", "columns", "listing", "salt")

_HELP = "Predict what expert listeners would say of generated music, and judge such predictions honestly."
_SHARED: dict[str, Any] = {"no_args_is_help": True, "rich_markup_mode": None}
_NAMES = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(**_SHARED, pretty_exceptions_enable=False, context_settings=_NAMES, help=_HELP)


def main() -> None:
    """Run the command line; the console script ``musiceval`` calls it."""
    app(prog_name="musiceval")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"musiceval {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    pass


def _add(to: typer.Typer, function: Callable[..., None]) -> None:
    """Make a command of a function: groups of options are spread, and the docstring is its help."""
    groups, parameters = _options_of(function)
    written = getattr(function, "written", None)
    asks_itself = any(parameter.name == "force" for parameter in parameters)
    if written is not None and not asks_itself:
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter("force", kind, default=False, annotation=output.Force))
    flags = {parameter.name: _flag(parameter) for parameter in parameters}

    @functools.wraps(function)
    def run(**given: Any) -> None:
        arguments = {name: given[name] for name in given if name != "force" or asks_itself}
        arguments |= {name: _made(group, arguments) for name, group in groups.items()}
        _run(functools.partial(function, **arguments), given, flags, written)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    sections = _sections(function)  # none under python -OO
    example = f"Example:  {sections['Examples']}" if "Examples" in sections else None
    to.command(help=sections["Summary"], epilog=example)(run)


def _options_of(documented: Any) -> tuple[dict[str, Any], list[inspect.Parameter]]:
    """List the groups of options that a function or a group takes, and all options, with the help of its docstring."""
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    meanings = _meanings(options) | _meanings(documented)
    for name, parameter in inspect.signature(documented, eval_str=True).parameters.items():
        if dataclasses.is_dataclass(parameter.annotation):
            groups[name] = parameter.annotation
            parameters += _options_of(parameter.annotation)[1]
            continue
        is_argument = parameter.default is inspect.Parameter.empty
        plain, info = parameter.annotation, typer.Argument() if is_argument else typer.Option()
        if get_origin(plain) is Annotated:
            plain, info = get_args(plain)
        info = copy.copy(info)  # which commands share that mean different things by a name
        info.help = meanings.get(name, info.help)
        parameters.append(
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[plain, info])
        )
    return groups, parameters


def _meanings(documented: Any) -> dict[str, str]:
    """Take what a docstring says of each parameter."""
    entries = _sections(documented).get("Parameters", "")
    found = re.findall(r"^(\w+)\n((?: +.+\n?)+)", entries, re.MULTILINE)
    return {name: " ".join(words.split()) for name, words in found}


def _made(group: Any, arguments: dict[str, Any]) -> Any:
    """Make a group, and those within, of its options, which are taken out of the arguments."""
    made = {}
    for one in dataclasses.fields(group):
        is_group = dataclasses.is_dataclass(one.type)
        made[one.name] = _made(one.type, arguments) if is_group else arguments.pop(one.name)
    return group(**made)


def _sections(documented: Any) -> dict[str, str]:
    """Split a docstring at its headings."""
    summary, *rest = re.split(r"\n\n(\w+)\n-+\n", inspect.getdoc(documented) or "")
    return {"Summary": summary} | dict(zip(rest[::2], rest[1::2], strict=True))


def _flag(option: inspect.Parameter) -> str:
    """Name an option as a user does."""
    named = [info.default for info in get_args(option.annotation)[1:] if isinstance(info.default, str)]
    return named[0] if named else f"--{option.name.replace('_', '-')}"


def _run(
    command: Callable[[], None], given: dict[str, Any], flags: dict[str, str], written: tuple[str, ...] | None
) -> None:
    """Run a command whose errors and warnings become one line each and an exit status."""
    if Path(str(given.get("clips"))).suffix.lower() in (".toml", ".yaml", ".yml"):
        # A study file names parameters, and no options.
        flags = {name: name for name in flags} | {name: f"ratings_options.{name}" for name in _OF_RATINGS}
    FLAGS.set(flags)
    told, before = _Told(), _files_at(given.get("out"))
    try:
        with stopped_by_signals(), told.by_libraries(), shown_everywhere():
            _check_options(given, written)
            command()
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None
    except KeyboardInterrupt as signalled:
        number = signalled.args[0] if signalled.args else signal.SIGINT
        typer.echo(f"{STOPPED[number]}: {_kept(given, before)}", err=True)
        raise typer.Exit(128 + number) from None  # as of a shell
    except (ValueError, ImportError, StoreError, OSError, MemoryError) as error:
        typer.echo(visible(f"error: {in_options(_words_of(error))}"), err=True)
        failed = isinstance(error, AudioError | StoreError | OSError | MemoryError)
        no_such_file = isinstance(error, FileNotFoundError | IsADirectoryError)
        raise typer.Exit(1 if failed and not no_such_file else 2) from None
    if told.skipped:
        raise typer.Exit(1)


class _Told(logging.Handler):
    """Warnings, and notes of how tables were read, on stderr, each once; and whether something was skipped."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._lines, self.skipped = set[str](), False

    @contextlib.contextmanager
    def by_libraries(self) -> Iterator[None]:
        """Listen to warnings and to the log of the readers."""
        loggers = [logging.getLogger(f"musiceval_sk.{room}") for room in ("datasets", "ratings")]
        for logger in loggers:
            logger.setLevel(logging.INFO)
            logger.addHandler(self)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.showwarning = self._warning
            try:
                yield
            finally:
                for logger in loggers:
                    logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Tell a note."""
        self._tell(f"note: {record.getMessage()}")

    def _warning(self, message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
        self.skipped |= issubclass(category, SkippedWarning)
        self._tell(f"warning: {in_options(str(message))}")

    def _tell(self, line: str) -> None:
        if line not in self._lines:  # Python's own "once" forgets whenever somebody touches the filters
            self._lines.add(line)
            typer.echo(visible(line), err=True)


def _check_options(given: dict[str, Any], written: tuple[str, ...] | None) -> None:
    """Refuse what is wrong with options that several commands share, before the command begins."""
    for name, known in _CHOICES.items():
        require_known(name, given.get(name, known[0]), known)
    if given.get("n_jobs") == 0:
        raise ValueError("--jobs 0: give the number of processes, or -1 for as many as there are cores")
    if "cache" in given:
        from musiceval_sk.features.store.maintain import exists

        store = _store_at(given["cache"])
        if {"n_jobs", "others"} & given.keys() and not exists(store):
            _check_place(store.path, "file")
    if given.get("device") is not None:
        from musiceval_sk._device import resolve_device

        resolve_device(given["device"])
    for name in ("out", "report", "memory", "checkpoints", "sounds"):
        if given.get(name) is not None:
            place, names = Path(given[name]), (written or ()) if name == "out" else ()
            is_result = name in ("out", "report")
            _check_place(place, "file" if is_result and not names else "folder")
            if is_result and not given["force"]:
                output.refuse_to_replace(place, names)


def _store_at(cache: str | None) -> Any:
    from musiceval_sk import EmbeddingStore

    return EmbeddingStore(cache)


def _check_place(out: Path, writes: str) -> None:
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


def _kept(given: dict[str, Any], before: dict[Path, Any]) -> str:
    """Say what an interrupted command leaves, for the same command to go on from, beside the files that were there before."""
    out, places = given.get("out"), {}
    if "memory" in given:
        places["finished fits"] = given["memory"] or (out and out / "fits"), "*.json"
    if isinstance(given.get("answers"), Path):  # of a server
        places["answers"] = given["answers"], "*"
    if "checkpoints" in given:
        places["checkpoints"] = given["checkpoints"] or (out and out / "checkpoints"), "*"
    if ("cache" not in given or "batch_size" in given) and _files_at(out) != before:
        places["rows, for --force to replace," if "batch_size" in given else "files"] = out, "*"
    there = {what: place for what, (place, files) in places.items() if place and _holds(Path(place), files)}
    if "cache" in given and (store := _store_at(given["cache"])).files():
        there["vectors"] = store.path
    kept = ", ".join(f"{what} in {place}" for what, place in there.items())
    return f"what was finished is kept: {kept}" if kept else "nothing was written"


def _holds(place: Path, files: str) -> bool:
    return place.is_file() or any(place.glob(files))


def _files_at(place: Path | None) -> dict[Path, Any]:
    """Give what tells one writing of a file, or of what lies in a folder, from another."""
    found = {}
    for path in () if place is None else place.glob("*") if os.path.isdir(place) else (place,):
        with contextlib.suppress(OSError):  # of what is not there, or no longer
            state = path.stat()
            found[path] = state.st_ino, state.st_mtime_ns
    return found


def _words_of(error: Exception) -> str:
    """Say an error of the system without its number."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}"
    return str(error) or ("out of memory" if isinstance(error, MemoryError) else type(error).__name__)


_COMMANDS: list[Any] = [demo.demo, cache.extract, study.study, study.curve, study.report]
_COMMANDS += [model.fit, model.predict, model.recalibrate, score.score, score.clap_score]
_COMMANDS += [ratings.ratings, ratings.pairs, musiceval.check, musiceval.reproduce]
_OF_CACHE: list[Any] = [cache.info, cache.verify, cache.compact, cache.merge, cache.prune]
_OF_CACHE += [cache.export, cache.doctor]
_OF_LISTEN: list[Any] = [listen.design, listen.build, listen.serve, listen.export]
_GROUPS = {
    "cache": ("Look after the embedding store: its files and what they hold.", _OF_CACHE),
    "listen": ("Collect ratings by a listening test: its design, page, server and answers.", _OF_LISTEN),
}
for command in _COMMANDS:
    _add(app, command)
for name, (help_, commands) in _GROUPS.items():
    group = typer.Typer(**_SHARED, help=help_)
    for command in commands:
        _add(group, command)
    app.add_typer(group, name=name)

if __name__ == "__main__":
    main()
