"""Commands about scores of any origin: ``musiceval score | clap-score``."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from musiceval_sk._text import counted
from musiceval_sk.cli import options
from musiceval_sk.exceptions import ClipsTableError


def clap_score(
    source: options.Clips,
    machine: options.Machine,
    encoder: options.Encoder = "laion-clap",
    out: Path | None = None,
) -> None:
    """Say how well clips agree with their prompts, by the cosine of CLAP's vectors: no ratings and no training.

    Parameters
    ----------
    out
        Write the clips' rows here. Default: stdout.

    Examples
    --------
    musiceval clap-score clips/ --pattern '{system}/{prompt_id}' --prompts prompts.csv --checkpoint clap.pt --out scores.csv
    """
    from musiceval_sk import clap_score

    given = machine.given(encoder)
    places: dict[str, Any] = {"cache": machine.cache, "n_jobs": machine.n_jobs}
    found = clap_score(source.load(), options.split_encoder(encoder)[0], encoder_options=given, **places)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
    found.clips.round(6).to_csv(out or sys.stdout)
    typer.echo(found.table(), err=out is None)
    if out is not None:
        typer.echo(f"wrote {counted(len(found.clips), 'clip')} to {out}", err=True)


def score(
    predictions: Path,
    truth: Annotated[Path, Option()],
    ratings: options.Ratings = None,
    targets: options.Targets = None,
    scale: options.Scale = (1, 5),
    split: str | None = None,
    system_truth: str = "clips",
    ci: Annotated[bool, Option("--ci")] = False,
    random_state: options.Seed = 0,
) -> None:
    """Compare predictions with true scores: all eight metrics for each target.

    Parameters
    ----------
    predictions
        Answer file (clip,impression,alignment), or table with clip_id and targets.
    truth
        Table with clip_id, system and, without --ratings, the true scores; or a MusicEval folder or list.
    split
        Of a MusicEval folder: train, dev, test or total. Default: test, or dev.
    system_truth
        clips: mean over the evaluated clips. table: MusicEval's own table of systems. Or a file of
        system,impression,alignment, or with a header of system and each --target.
    ci
        Also 95 % intervals of all figures, for other systems.

    Examples
    --------
    musiceval score answer.txt --truth MusicEval-full
    """
    from musiceval_sk import bootstrap_metrics
    from musiceval_sk.ratings.answers import match_answers
    from musiceval_sk.statistics.metrics import evaluate

    if ci and system_truth != "clips":
        raise ValueError(
            f"--ci takes the truth of systems from their clips, so it goes with --system-truth clips, not {system_truth}"
        )
    true, predicted, systems = match_answers(
        predictions, truth, ratings=ratings, targets=targets, scale=scale, split=split
    )
    said, count, of_systems = "mean over the evaluated clips", "no systems named", None
    if system_truth != "clips":
        if systems is None:
            raise ClipsTableError(
                f"{truth}: names no systems, so there is nothing for --system-truth {system_truth}"
            )
        said, of_systems = f"table ({system_truth})", _read_system_truth(system_truth, truth, targets, scale)
    if systems is not None:
        count = f"{counted(systems.nunique(), 'system')}; system truth: {said}"
    typer.echo(f"{counted(len(true), 'clip')}, {count}")
    scores = evaluate(true, predicted, systems=systems, system_truth=of_systems)
    typer.echo(scores.round(4).to_string(na_rep="-"))
    if ci:
        found = bootstrap_metrics(
            true, predicted, systems=systems, scale=scale, random_state=random_state, n_jobs=2
        )
        typer.echo(f"\n{found}")


def _read_system_truth(
    choice: str, truth: Path, targets: list[str] | None, scale: tuple[float, float]
) -> Any:
    from musiceval_sk.datasets.musiceval.layout import load_musiceval_systems, read_system_table

    if choice != "table":
        return read_system_table(choice, targets, scale=scale)
    if not truth.is_dir():
        raise ClipsTableError(
            f"{truth}: --system-truth table asks for a MusicEval folder as --truth; name the table's file instead"
        )
    return load_musiceval_systems(truth, scale=scale)
