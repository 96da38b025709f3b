"""The command line: ``musiceval demo | extract | study | curve | fit | predict | score | report | check | ratings | cache``.

Results go to stdout, progress and warnings to stderr. Exit status: 0 all done, 1 something was skipped or failed,
2 wrong use (options, tables, missing packages), 130 interrupted.
"""

import functools
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from musiceval_sk._text import counted
from musiceval_sk._version import __version__
from musiceval_sk.cli.cache import cache_app
from musiceval_sk.cli.curve import curve
from musiceval_sk.cli.musiceval import SystemTruth, check, read_system_truth, system_truth_in_words
from musiceval_sk.cli.options import (
    Cache,
    Checkpoint,
    Clips,
    Device,
    EncoderName,
    Jobs,
    Pattern,
    Pooling,
    Prompts,
    Ratings,
    Scale,
    Seed,
    Targets,
    Tokenizer,
    command,
    embed_readable,
    encoder_options,
    extract_and_tell,
    make_embedder,
    path_text,
)
from musiceval_sk.cli.predict import predict
from musiceval_sk.cli.ratings import ratings
from musiceval_sk.cli.report import report
from musiceval_sk.cli.reproduce import reproduce
from musiceval_sk.cli.study import study
from musiceval_sk.exceptions import ClipsTableError, SkippedWarning

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Predict what expert listeners would say of generated music, and judge such predictions honestly.",
)

_command = functools.partial(command, app)


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
    from musiceval_sk.cli.demo import run_demo

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
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash every file again, unchanged or not.")
    ] = False,
) -> None:
    """Embed clips and prompts into the cache; only what is missing is computed."""
    from musiceval_sk import get_encoder, load_clips

    table = load_clips(clips, pattern=pattern, prompts=prompts, scale=None)
    made = get_encoder(encoder, **encoder_options(checkpoint, tokenizer, device, encoder))
    options: dict[str, Any] = {"modality": modality, "n_jobs": jobs, "strict": strict, "verify": verify}
    extract_and_tell(table, made, path_text(cache), **options)


_command("Example:  musiceval study clips.csv --ratings ratings.csv --cv system --cv prompt --out study")(
    study
)


@_command("Example:  musiceval fit clips.csv --ratings ratings.csv --out model.skops", writes="file")
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
    scale: Scale = (1, 5),
    members: Annotated[
        int, typer.Option(min=1, help="Ensemble members; from two on, clips get a spread.")
    ] = 4,
    max_iter: Annotated[int, typer.Option(min=1, help="Most epochs.")] = 1000,
    assess: Annotated[
        bool, typer.Option(help="Measure the error on systems left out, so that predict gives intervals.")
    ] = True,
    jobs: Jobs = 1,
    seed: Seed = 0,
) -> None:
    """Fit MOSRegressor on all rated clips and save it with its feature stage."""
    from musiceval_sk import MOSRegressor, save_model
    from musiceval_sk.ratings.scored import load_scored_clips
    from musiceval_sk.scoring.fit import fit_model

    table = load_scored_clips(
        clips, ratings=ratings, targets=target, pattern=pattern, prompts=prompts, scale=scale
    )
    names = _targets_of(table, target, clips)
    regressor = MOSRegressor(
        scale=scale, n_ensemble=members, max_iter=max_iter, device=device or "auto", random_state=seed
    )
    regressor._validate_params()
    embedder = make_embedder(encoder, checkpoint, tokenizer, device, cache, pooling, jobs)
    table = embed_readable(table, embedder.fit(table))
    rated = table.dropna(subset=names)
    if rated.empty:
        raise ClipsTableError(f"{clips}: no clip has scores of {', '.join(names)}")
    if len(rated) < len(table):
        warnings.warn(
            f"left out {counted(len(table) - len(rated), 'clip')} without scores",
            SkippedWarning,
            stacklevel=2,
        )
    fitted = fit_model(embedder, regressor, rated, names, assess=assess)
    typer.echo(fitted)
    embedder.set_params(cache=None, n_jobs=None)  # of this machine, not of the model
    save_model(fitted.model, out, about={"clips": str(clips), **fitted.about})
    typer.echo(f"wrote {out}")


_command(
    "Example:  musiceval predict model.skops clips/ --pattern '{system}/{prompt_id}' --prompts prompts.csv --out scores.csv",
    writes="file",
)(predict)


@_command("Example:  musiceval score answer.txt --truth MusicEval-full")
def score(
    predictions: Annotated[
        Path,
        typer.Argument(help="Answer file (clip,impression,alignment), or table with clip_id and targets."),
    ],
    truth: Annotated[
        Path,
        typer.Option(
            help="Table with clip_id, system and, without --ratings, the true scores; or a MusicEval folder or list."
        ),
    ],
    ratings: Ratings = None,
    target: Targets = None,
    scale: Scale = (1, 5),
    split: Annotated[
        str | None,
        typer.Option(help="Of a MusicEval folder: train, dev, test or total. Default: test, or dev."),
    ] = None,
    system_truth: SystemTruth = "clips",
    ci: Annotated[
        bool, typer.Option("--ci", help="Also 95 % intervals of all figures, for other systems.")
    ] = False,
    seed: Seed = 0,
) -> None:
    """Compare predictions with true scores: all eight metrics for each target."""
    from musiceval_sk.ratings.answers import match_answers
    from musiceval_sk.statistics.bootstrap import bootstrap_metrics
    from musiceval_sk.statistics.metrics import evaluate

    if ci and system_truth != "clips":
        raise ValueError(
            f"--ci takes the truth of systems from their clips, so it goes with --system-truth clips, not {system_truth}"
        )
    true, predicted, systems = match_answers(
        predictions, truth, ratings=ratings, targets=target, scale=scale, split=split
    )
    of_systems = read_system_truth(system_truth, truth, systems, target, scale)
    scores = evaluate(true, predicted, systems=systems, system_truth=of_systems)
    count = "no systems named" if systems is None else counted(systems.nunique(), "system")
    source = "" if systems is None else f"; system truth: {system_truth_in_words(system_truth)}"
    typer.echo(f"{counted(len(true), 'clip')}, {count}{source}")
    typer.echo(scores.round(4).to_string(na_rep="-"))
    if ci:
        found = bootstrap_metrics(true, predicted, systems=systems, scale=scale, random_state=seed, n_jobs=2)
        typer.echo(f"\n{found}")


def _targets_of(table: Any, targets: list[str] | None, clips: Path) -> list[str]:
    from musiceval_sk.datasets.readers import how_to_name, unused_scores

    names = targets or [name for name in ("impression", "alignment") if name in table]
    if not names:
        found = how_to_name(unused_scores(table, []))
        raise ClipsTableError(
            f"{clips}: has no scores; give --ratings, or --target for another column{found}"
        )
    return names


_command("Example:  musiceval curve clips.csv --ratings ratings.csv --cv system --out curve")(curve)
_command("Example:  musiceval check MusicEval-full", writes="file")(check)
_command("Example:  musiceval reproduce MusicEval-full --checkpoint clap.pt --protocol released")(reproduce)
_command("Example:  musiceval ratings ratings.csv --probes probes.csv --fastest 5 --out mos")(ratings)
_command(
    "Example:  musiceval report study/study.json --clips clips.csv --ratings ratings.csv", writes="file"
)(report)
app.add_typer(cache_app, name="cache")


def main() -> None:
    """Run the command line; the console script ``musiceval`` calls it."""
    app(prog_name="musiceval")


if __name__ == "__main__":
    main()
