"""Commands of a listening test, from clips to raters' answers: ``musiceval listen design``, ..."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from musiceval_sk.cli import options


def design(
    source: options.Clips,
    n_raters: Annotated[int, Option("--raters")],
    out: Path = Path("design.json"),
    per_clip: int = 5,
    batch_size: int = 40,
    n_batches: Annotated[int | None, Option("--batches")] = None,
    probes: Path | None = None,
    n_probes: Annotated[int | None, Option("--probes-per-batch")] = None,
    n_duplicates: Annotated[int, Option("--duplicates")] = 1,
    training: str = "0",
    method: str = "acr",
    seed: options.Seed = 0,
) -> None:
    """Say which rater hears which clips in which order, evenly over systems and prompts.

    Parameters
    ----------
    n_raters
        Raters.
    out
        File to write.
    per_clip
        Raters of each clip; of pairs, comparisons that each clip is part of.
    batch_size
        Most clips, or comparisons, in a batch, without probes and doubled ones.
    n_batches
        Batches of each rater. Default: as many as it takes.
    probes
        Real music to hide in every batch: a table, or a folder of sounds.
    n_probes
        Probes in a batch. Default: 2, or as many as there are.
    n_duplicates
        Clips in a batch that come again, far from the first time.
    training
        Clips of the training page, which are not rated: a table, a folder, or how many to take out of CLIPS.
    method
        acr (five points), slider (0 to 100) or pairs (which of two is better).

    Examples
    --------
    musiceval listen design clips.csv --raters 14 --probes real/ --out design.json
    """
    from musiceval_sk.listening import design_test

    test = design_test(
        source.load(),
        n_raters=n_raters,
        per_clip=per_clip,
        batch_size=batch_size,
        n_batches=n_batches,
        probes=probes,
        n_probes=n_probes,
        n_duplicates=n_duplicates,
        training=int(training) if training.isdecimal() else training,
        method=method,
        seed=seed,
    )
    test.save(out)
    typer.echo(f"{test.report()}\nwrote {out}")
