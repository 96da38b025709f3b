"""The command line: ``musiceval demo | extract | study | fit | predict | score``.

Results go to stdout, progress and warnings to stderr. Exit status: 0 all done, 1 something was skipped or failed,
2 wrong use (options, tables, missing packages).
"""

import functools
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from musiceval_sk._version import __version__
from musiceval_sk.exceptions import AudioError, ClipsTableError, SkippedWarning, StoreError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Predict what expert listeners would say of generated music, and judge such predictions honestly.",
)

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
    str, typer.Option("--encoder", help="spectral, laion-clap, or one that a package registers.")
]
Checkpoint = Annotated[Path | None, typer.Option(help="CLAP checkpoint (.pt) for laion-clap.")]
Tokenizer = Annotated[Path | None, typer.Option(help="Folder of roberta-base's vocab.json and merges.txt.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, ... Default: auto.")]
Cache = Annotated[
    Path | None, typer.Option(help="Embedding store. Default: $MUSICEVAL_CACHE or cache/embeddings.h5.")
]
Pooling = Annotated[str, typer.Option(help="How windows become one vector: mean, mean+std, max, first.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", help="Processes to use.")]
Seed = Annotated[int, typer.Option(help="Seed of splits and models.")]


def _command(epilog: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command whose errors and warnings become one line each and an exit status."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(**arguments: Any) -> None:
            skipped = False

            def show(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
                nonlocal skipped
                skipped |= issubclass(category, SkippedWarning)
                typer.echo(f"warning: {message}", err=True)

            with warnings.catch_warnings():
                warnings.simplefilter("once")
                warnings.filterwarnings("ignore", category=DeprecationWarning)
                warnings.filterwarnings("ignore", category=FutureWarning)
                warnings.showwarning = show
                try:
                    function(**arguments)
                except (AudioError, StoreError, OSError) as error:
                    _fail(error, status=1)
                except (ValueError, ImportError) as error:
                    _fail(error, status=2)
            if skipped:
                raise typer.Exit(1)

        return app.command(epilog=epilog)(run)

    return register


def _fail(error: Exception, status: int) -> None:
    typer.echo(f"error: {error}", err=True)
    raise typer.Exit(status)


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


@_command("Example:  musiceval demo --out demo-out")
def demo(
    out: Annotated[Path, typer.Option(help="Folder for sounds, cache, tables and figures.")] = Path(
        "demo-out"
    ),
    seed: Seed = 0,
) -> None:
    """Run the whole road on a made-up listening test: no data, no network, under a minute."""
    from musiceval_sk.demo import run_demo

    run_demo(out, seed=seed)


@_command("Example:  musiceval extract clips.csv --encoder laion-clap --checkpoint clap.pt")
def extract(
    clips: Clips,
    pattern: Pattern = None,
    prompts: Prompts = None,
    encoder: EncoderName = "spectral",
    checkpoint: Checkpoint = None,
    tokenizer: Tokenizer = None,
    device: Device = None,
    cache: Cache = None,
    modality: Annotated[str, typer.Option(help="audio, text or both.")] = "both",
    jobs: Jobs = 1,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first unreadable clip.")] = False,
) -> None:
    """Embed clips and prompts into the cache; only what is missing is computed."""
    from musiceval_sk import extract as extract_embeddings
    from musiceval_sk import get_encoder, load_clips

    if modality not in ("audio", "text", "both"):
        raise ValueError(f"unknown modality {modality!r}; choose from audio, text, both")
    table = load_clips(clips, pattern=pattern, prompts=prompts)
    made = get_encoder(encoder, **_options(checkpoint, tokenizer, device))
    report = extract_embeddings(table, made, _path(cache), modality=modality, n_jobs=jobs, strict=strict)  # type: ignore[arg-type]
    typer.echo(report)


@_command("Example:  musiceval study clips.csv --ratings ratings.csv --cv system --out study")
def study(
    clips: Clips,
    ratings: Ratings = None,
    target: Targets = None,
    cv: Annotated[str, typer.Option(help="system, prompt, system+prompt, random or 85/15.")] = "system",
    folds: Annotated[int, typer.Option(help="Number of folds.")] = 5,
    pattern: Pattern = None,
    prompts: Prompts = None,
    encoder: EncoderName = "spectral",
    checkpoint: Checkpoint = None,
    tokenizer: Tokenizer = None,
    device: Device = None,
    cache: Cache = None,
    pooling: Pooling = "mean",
    jobs: Jobs = 1,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for study.csv and study.json.")] = None,
) -> None:
    """Cross-validate look-ups, ridge, SVR and MOSRegressor under a named split, all eight metrics."""
    from musiceval_sk import run_study

    table = _scored_clips(clips, ratings, target, pattern, prompts)
    embedder = _embedder(encoder, checkpoint, tokenizer, device, cache, pooling, jobs)
    table = _readable(table, embedder)
    X = embedder.fit_transform(table)
    result = run_study(
        table,
        X,
        cv=cv,
        targets=target,
        n_splits=folds,
        random_state=seed,
        n_jobs=jobs,
        features=_features(embedder),
    )
    typer.echo(result)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        result.to_csv(out / "study.csv")
        result.to_json(out / "study.json")
        typer.echo(f"wrote {out / 'study.csv'} and {out / 'study.json'}", err=True)


@_command("Example:  musiceval fit clips.csv --ratings ratings.csv --out model.skops")
def fit(
    clips: Clips,
    out: Annotated[Path, typer.Option(help="Model file to write.")] = Path("model.skops"),
    ratings: Ratings = None,
    target: Targets = None,
    pattern: Pattern = None,
    prompts: Prompts = None,
    encoder: EncoderName = "spectral",
    checkpoint: Checkpoint = None,
    tokenizer: Tokenizer = None,
    device: Device = None,
    cache: Cache = None,
    pooling: Pooling = "mean",
    members: Annotated[int, typer.Option(help="Ensemble members.")] = 1,
    max_iter: Annotated[int, typer.Option(help="Most epochs.")] = 1000,
    jobs: Jobs = 1,
    seed: Seed = 0,
) -> None:
    """Fit MOSRegressor on all rated clips and save it with its feature stage."""
    from musiceval_sk import MOSRegressor, save_model
    from musiceval_sk.estimators.baselines import scaled

    table = _scored_clips(clips, ratings, target, pattern, prompts)
    embedder = _embedder(encoder, checkpoint, tokenizer, device, cache, pooling, jobs)
    table = _readable(table, embedder)
    names = target or [name for name in ("impression", "alignment") if name in table]
    if not names:
        raise ClipsTableError(f"{clips}: no scores; give --ratings, or --target for another column")
    rated = table.dropna(subset=names)
    if rated.empty:
        raise ClipsTableError(f"{clips}: no clip has scores of {', '.join(names)}")
    if len(rated) < len(table):
        warnings.warn(
            f"left out {len(table) - len(rated)} clips without scores", SkippedWarning, stacklevel=2
        )
    regressor = MOSRegressor(
        n_ensemble=members, max_iter=max_iter, device=device or "auto", random_state=seed
    )
    model = scaled(embedder, regressor)
    model.fit(rated, rated[names])
    save_model(model, out, about={"clips": str(clips), "n_clips": len(rated), "targets": names})
    typer.echo(f"fitted on {len(rated)} clips, {', '.join(names)}, in {regressor.n_iter_} epochs")
    typer.echo(f"wrote {out}")


@_command(
    "Example:  musiceval predict model.skops clips/ --pattern '{system}/{prompt_id}' --out predictions.csv"
)
def predict(
    model: Annotated[Path, typer.Argument(help="Model file written by musiceval fit.")],
    clips: Clips,
    pattern: Pattern = None,
    prompts: Prompts = None,
    checkpoint: Checkpoint = None,
    tokenizer: Tokenizer = None,
    device: Device = None,
    cache: Cache = None,
    jobs: Jobs = 1,
    out: Annotated[Path | None, typer.Option(help="Write clip_id and scores here. Default: stdout.")] = None,
) -> None:
    """Predict scores of clips with a saved model."""
    import pandas as pd

    from musiceval_sk import get_encoder, load_clips, load_model

    pipeline = load_model(model)
    embedder = pipeline[0]
    options = _options(checkpoint, tokenizer, device)
    if options:
        embedder.encoder_ = get_encoder(embedder.encoder, **{**(embedder.encoder_options or {}), **options})
    if cache is not None:
        embedder.set_params(cache=str(cache))
    embedder.set_params(n_jobs=jobs)
    table = _readable(load_clips(clips, pattern=pattern, prompts=prompts), embedder, embedder.encoder_)
    scores = pipeline.predict(table)
    names = pipeline[-1].target_names_
    predictions = pd.DataFrame(scores.reshape(len(table), -1), index=table.index, columns=names)
    predictions.round(6).to_csv(sys.stdout if out is None else out)
    if "system" in table:
        systems = predictions.groupby(table["system"]).mean().assign(clips=table["system"].value_counts())
        typer.echo(systems.sort_values(names[0], ascending=False).round(3).to_string(), err=out is None)


@_command("Example:  musiceval score predictions.csv --truth clips.csv --ratings ratings.csv")
def score(
    predictions: Annotated[Path, typer.Argument(help="Table with clip_id and one column per target.")],
    truth: Annotated[
        Path, typer.Option(help="Table with clip_id, system and, without --ratings, the true scores.")
    ],
    ratings: Ratings = None,
    target: Targets = None,
) -> None:
    """Compare predictions with true scores: all eight metrics for each target."""
    from musiceval_sk.datasets.answers import match_answers
    from musiceval_sk.evaluation.metrics import evaluate

    true, predicted, systems = match_answers(predictions, truth, ratings=ratings, targets=target)
    scores = evaluate(true, predicted, systems=systems)
    count = "no systems named" if systems is None else f"{systems.nunique()} systems"
    typer.echo(f"{len(true)} clips, {count}")
    typer.echo(scores.round(4).to_string(na_rep="-"))


def _options(checkpoint: Path | None, tokenizer: Path | None, device: str | None) -> dict[str, Any]:
    given = {"checkpoint": _path(checkpoint), "tokenizer": _path(tokenizer), "device": device}
    return {name: value for name, value in given.items() if value is not None}


def _path(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _scored_clips(
    clips: Path, ratings: Path | None, targets: list[str] | None, pattern: str | None, prompts: Path | None
) -> Any:
    from musiceval_sk import aggregate_ratings, load_clips

    if ratings is None:
        return load_clips(clips, targets=targets, pattern=pattern, prompts=prompts)
    table = load_clips(clips, pattern=pattern, prompts=prompts)
    scores = aggregate_ratings(ratings, clips=table, targets=targets)
    return table.drop(columns=scores.columns, errors="ignore").join(scores)


def _embedder(
    encoder: str,
    checkpoint: Path | None,
    tokenizer: Path | None,
    device: str | None,
    cache: Path | None,
    pooling: str,
    jobs: int,
) -> Any:
    from musiceval_sk import ClipEmbedder

    options = _options(checkpoint, tokenizer, device)
    if encoder == "spectral":
        options.pop("device", None)
    embedder = ClipEmbedder(
        encoder, pooling=pooling, cache=_path(cache), encoder_options=options or None, n_jobs=jobs
    )
    return embedder.set_output(transform="pandas")


def _readable(table: Any, embedder: Any, encoder: Any = None) -> Any:
    """Embed what can be embedded, and leave out the clips that cannot be read."""
    from musiceval_sk import extract as extract_embeddings
    from musiceval_sk import get_encoder

    made = encoder or get_encoder(embedder.encoder, **(embedder.encoder_options or {}))
    report = extract_embeddings(
        table, made, embedder.cache, modality=embedder.modality, n_jobs=embedder.n_jobs
    )
    typer.echo(report, err=True)
    kept = table.drop(index=report.skipped.index)
    if kept.empty:
        raise AudioError("none of the clips could be read")
    return kept


def _features(embedder: Any) -> str:
    names = ", ".join(
        f"{modality} {description['name']} ({embedder.encoder_.fingerprint_of(modality)})"
        for modality, description in embedder.description_.items()
    )
    return f"{names}; pooling {embedder.pooling}"


def main() -> None:
    """Run the command line; the console script ``musiceval`` calls it."""
    app(prog_name="musiceval")


if __name__ == "__main__":
    main()
