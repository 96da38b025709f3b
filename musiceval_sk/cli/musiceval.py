"""Commands about MusicEval's files: ``musiceval check``, and the two system truths that ``musiceval score`` knows."""

from pathlib import Path
from typing import Annotated, Any

import typer

from musiceval_sk.exceptions import ClipsTableError

SystemTruth = Annotated[
    str,
    typer.Option(
        help="clips: mean over the evaluated clips. table: MusicEval's own table of systems. Or a file of "
        "system,impression,alignment, or with a header of system and each --target."
    ),
]


def check(
    root: Annotated[
        Path, typer.Argument(help="MusicEval-full, MusicEval-phase1, or Parquet (file or folder).")
    ],
    split: Annotated[str, typer.Option(help="total, train, dev or test.")] = "total",
    any_size: Annotated[
        bool, typer.Option("--any-size", help="Do not expect the 2,748 clips of the true data set.")
    ] = False,
    sounds: Annotated[
        Path | None,
        typer.Option(help="For Parquet: folder for the sounds. Default: sounds beside the shards."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Show all checks, not only those that differ.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write the whole table here as CSV.")] = None,
) -> None:
    """Hold MusicEval to what its paper promises: one table of differences; exit status 1 if there are any."""
    from musiceval_sk import check_musiceval

    table = check_musiceval(root, split, counts=None if any_size else "official", sounds=sounds)
    if out is not None:
        table.to_csv(out, index=False)
    shown = table if every else table[table["differs"]].drop(columns="differs")
    for row in shown.to_dict("records"):
        mark = "" if not every else "DIFFERS  " if row["differs"] else "as it should be  "
        typer.echo(f"{mark}{row['check']}: expected {row['expected']}, found {row['found']}")
        if row["examples"]:
            typer.echo(f"    {row['examples']}")
    typer.echo(f"{len(table)} checks, {table['differs'].sum()} differences")
    if table["differs"].any():
        raise typer.Exit(1)


def read_system_truth(
    choice: str, truth: Path, systems: Any, targets: list[str] | None, scale: tuple[float, float]
) -> Any:
    """Find the true scores by system that were chosen; None stands for the mean over the evaluated clips."""
    from musiceval_sk.datasets.musiceval.layout import load_musiceval_systems, read_system_table

    if choice == "clips":
        return None
    if systems is None:
        raise ClipsTableError(f"{truth}: names no systems, so there is nothing for --system-truth {choice}")
    if choice != "table":
        return read_system_table(choice, targets, scale=scale)
    if not truth.is_dir():
        raise ClipsTableError(
            f"{truth}: --system-truth table asks for a MusicEval folder as --truth; name the table's file instead"
        )
    return load_musiceval_systems(truth, scale=scale)


def system_truth_in_words(choice: str) -> str:
    """Say which of the two S metrics this is."""
    return "mean over the evaluated clips" if choice == "clips" else f"table ({choice})"
