"""Commands about scores of any origin: ``musiceval score | clap-score``."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from musiceval_sk._files import write_csv
from musiceval_sk._text import Table, counted, parts_of, require_known
from musiceval_sk.cli import options, output
from musiceval_sk.exceptions import ClipsTableError


@output.writes()
def clap_score(
    source: options.Clips, machine: options.Machine, encoder: str = "laion-clap", out: Path | None = None
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

    how: dict[str, Any] = {"encoder_options": machine.given(encoder), "n_jobs": machine.n_jobs}
    found = clap_score(source.load(), options.split_encoder(encoder)[0], cache=machine.cache, **how)
    with output.replacing(out) as place:
        write_csv(found.clips.round(6), place, index=True)
    output.show(found.table_parts(), err=out is None)
    if out is not None:
        typer.echo(f"wrote {counted(len(found.clips), 'clip')} to {out}", err=True)


@output.writes("scores.csv", "drops.csv")
def score(
    predictions: Annotated[list[str], Argument(metavar="[NAME=]FILE...")],
    truth: Annotated[list[str], Option(metavar="[NAME=]<path>")],
    ratings: list[Path] | None = None,
    format: str = "auto",
    columns: Annotated[list[str] | None, Option("--ratings-column", metavar="NAME=COLUMN")] = None,
    salt: str | None = None,
    targets: options.Targets = None,
    of_targets: Annotated[list[str] | None, Option("--column", metavar="TARGET=COLUMN")] = None,
    listing: list[Path] | None = None,
    scale: tuple[float, float] = (1, 5),
    set_scale: Annotated[list[str] | None, Option(metavar="NAME=LOW:HIGH")] = None,
    split: str | None = None,
    system_truth: str = "clips",
    ci: Annotated[bool, Option("--ci")] = False,
    random_state: options.Seed = 0,
    out: Path | None = None,
) -> None:
    """Compare predictions, those of any tool, with true scores: all eight metrics, on one data set or several in one table.

    Several files, or several columns of one, are put into one table with intervals, the share of predictions off the scale, and what a
    predictor of the same name loses from one data set to the next.

    Parameters
    ----------
    predictions
        Answer files (clip,impression,alignment), tables with clip_id and targets, or files of VERSA, audiobox-aesthetics and SongEval. A
        name tells predictors apart and is the same on every set.
    truth
        Table with clip_id, system and, without --ratings, the true scores; or a MusicEval folder or list. Repeat it for several data
        sets: one for each file of predictions, in their order.
    ratings
        Ratings table (rater, clip_id, one column per target), or another program's export of them; repeat it, one for each --truth.
    columns
        Column of the ratings that stands for rater, clip_id or a target; repeat for several.
    of_targets
        Column that a tool gives for a target, such as alignment=clap_score; repeat for several, also of one target.
    listing
        For files that name no clips, such as those of audiobox-aesthetics, or ratings that number them: the list of them; repeat it, one
        for each file.
    set_scale
        Scale of one data set, where it is not --scale.
    split
        Of a MusicEval folder: train, dev, test or total. Default: test, or dev.
    system_truth
        clips: mean over the evaluated clips. table: MusicEval's own table of systems. Or a file of
        system,impression,alignment, or with a header of system and each --target. For a single file and data set.
    ci
        Also 95 % intervals of all figures, for other systems; of several they are always there.
    out
        Folder for scores.csv and drops.csv, of several.

    Examples
    --------
    musiceval score clap=versa.jsonl --column alignment=clap_score --truth clips.csv --ratings ratings.csv
    """
    files, sets = [_named(text) for text in predictions], _sets(truth)
    form = "TARGET=COLUMN, such as alignment=clap_score"
    mappings = [options.split_column(text, "of_targets", form) for text in of_targets or ()]
    scales = dict(_scale_of_set(text, {name for name, _ in sets}) for text in set_scale or ())
    alone = len(files) == 1 and len(mappings) < 2 and out is None and not scales
    if system_truth != "clips" and not alone:
        words = f"--system-truth {system_truth} goes with a single file of predictions and a single data set"
        raise ValueError(words)
    from musiceval_sk.scoring.sets import Judged, score_sets

    given = {"--truth": sets, "--ratings": ratings, "--listing": listing}
    of_each = [_for_each(name, values, len(files)) for name, values in given.items()]
    judged = []
    for (name, path), (set_name, of_set), rated, listed in zip(files, *of_each, strict=True):
        reading = options.Reading(format, columns, rated and listed, salt)
        how: dict[str, Any] = {"ratings": rated, "reading": reading, "listing": listed, "split": split}
        how["scale"] = scales.get(set_name, scale)
        if alone:
            how |= {"columns": dict(*mappings), "targets": targets}
            _score_one(path, of_set, how, system_truth, ci, random_state)
            return
        name = name or ("" if mappings else path.stem if len(sets) == 1 else "predictions")
        for mapping in mappings or [{}]:
            matched = _match(path, of_set, targets=None if mapping else targets, columns=mapping, **how)
            predictor = " ".join(filter(None, (name, *mapping.values())))
            judged.append(Judged(set_name, predictor, *matched, how["scale"]))
    found = score_sets(judged, random_state=random_state, n_jobs=2)
    output.show(found)
    tables = {"scores.csv": found.table, "drops.csv": found.drops}
    output.write_files(out, {name: partial(write_csv, table) for name, table in tables.items()})


def _score_one(
    predictions: Path, truth: Path, how: dict[str, Any], system_truth: str, ci: bool, random_state: int
) -> None:
    """Print the metrics of one file on one data set."""
    from musiceval_sk import bootstrap_metrics
    from musiceval_sk.statistics.metrics import evaluate

    if ci and system_truth != "clips":
        words = "--ci takes the truth of systems from their clips"
        raise ValueError(f"{words}; leave out --system-truth {system_truth}")
    true, predicted, systems = _match(predictions, truth, **how)
    if systems is None and system_truth != "clips":
        unused = f"so there is nothing for --system-truth {system_truth}"
        raise ClipsTableError(f"{truth}: names no systems, {unused}")
    of_systems = _read_system_truth(system_truth, truth, how["targets"], how["scale"])
    meant = "mean over the evaluated clips" if of_systems is None else f"table ({system_truth})"
    named = "no systems named" if systems is None else counted(systems.nunique(), "system")
    of_truth = "" if systems is None else f"; system truth: {meant}"
    typer.echo(f"{counted(len(true), 'clip')}, {named}{of_truth}")
    scores = evaluate(true, predicted, systems=systems, system_truth=of_systems)
    output.show([Table(scores.round(4), na_rep="-")])
    if ci:
        options: dict[str, Any] = {"scale": how["scale"], "random_state": random_state, "n_jobs": 2}
        found = bootstrap_metrics(true, predicted, systems=systems, **options)
        output.show(["", *parts_of(found)])


def _match(
    predictions: Path, truth: Path, *, ratings: Path | None, reading: options.Reading, **how: Any
) -> tuple[Any, Any, Any]:
    """Read predictions, ratings and truth, and bring them to the same clips."""
    from musiceval_sk.ratings.answers import match_answers

    rated = reading.read(ratings, how["targets"] or list(how["columns"]) or None)
    return match_answers(predictions, truth, ratings=rated, **how)


def _named(text: str) -> tuple[str, Path]:
    """Part a name from a file: NAME=FILE."""
    name, mark, path = text.partition("=")
    return (name.strip(), Path(path)) if mark and not Path(text).exists() else ("", Path(text))


def _sets(truth: list[str]) -> list[tuple[str, Path]]:
    """Name data sets, by their files where that tells them apart."""
    named = [_named(text) for text in truth]
    files: dict[str, set[Path]] = {}
    for _, path in named:
        files.setdefault(path.stem, set()).add(path)
    return [(name or (path.stem if len(files[path.stem]) == 1 else str(path)), path) for name, path in named]


def _scale_of_set(text: str, sets: set[str]) -> tuple[str, tuple[float, float]]:
    from musiceval_sk.datasets.readers import check_scale

    name, _, ends = text.rpartition("=")
    low, mark, high = ends.partition(":")
    require_known("data set of --set-scale", name, sorted(sets))
    try:
        scale = float(low), float(high)
    except ValueError:
        raise ValueError(f"--set-scale {text!r} must be NAME=LOW:HIGH, such as pam=0:10") from None
    return name, check_scale(scale)


def _for_each(option: str, values: list[Any] | None, n: int) -> list[Any]:
    """Give each file of predictions its own value, or all of them the only one."""
    values = values or [None]
    if len(values) not in (1, n):
        words = f"{option} is given {len(values)} times for {n} files"
        raise ValueError(f"{words}; give it once, or once for each")
    return values * n if len(values) == 1 else values


def _read_system_truth(
    choice: str, truth: Path, targets: list[str] | None, scale: tuple[float, float]
) -> Any:
    from musiceval_sk.datasets.musiceval.layout import load_musiceval_systems
    from musiceval_sk.datasets.tools import read_system_table

    if choice == "clips":
        return None
    if choice != "table":
        return read_system_table(choice, targets, scale=scale)
    if not truth.is_dir():
        words = "--system-truth table asks for a MusicEval folder; name the table's file"
        raise ClipsTableError(f"{truth}: {words}")
    return load_musiceval_systems(truth, scale=scale)
