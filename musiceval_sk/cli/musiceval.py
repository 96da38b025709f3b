"""Commands about MusicEval itself: ``musiceval check | reproduce``."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from musiceval_sk._files import write_csv
from musiceval_sk.cli import options, output


@output.writes()
def check(
    root: options.MusicEval,
    split: str = "total",
    any_size: options.AnySize = False,
    sounds: Path | None = None,
    every: Annotated[bool, Option("--all")] = False,
    out: Path | None = None,
) -> None:
    """Hold MusicEval to what its paper promises: one table of differences; exit status 1 if there are any.

    Parameters
    ----------
    split
        total, train, dev or test.
    sounds
        For Parquet: folder for the sounds. Default: sounds beside the shards.
    every
        Show all checks, not only those that differ.
    out
        Write the whole table here as CSV.

    Examples
    --------
    musiceval check MusicEval-full
    """
    from musiceval_sk.datasets.musiceval.layout import check_musiceval

    table = check_musiceval(root, split, counts=None if any_size else "official", sounds=sounds)
    if out is not None:
        with output.replacing(out) as place:
            write_csv(table, place)
    for row in table[table["differs"] | every].itertuples():
        mark = "" if not every else "DIFFERS  " if row.differs else "as it should be  "
        typer.echo(f"{mark}{row.check}: expected {row.expected}, found {row.found}")
        if row.examples:
            typer.echo(f"    {row.examples}")
    typer.echo(f"{len(table)} checks, {table['differs'].sum()} differences")
    if table["differs"].any():
        raise typer.Exit(1)


@output.writes("reproduction.csv", "reproduction.json", "predictions.csv")
def reproduce(
    root: options.MusicEval,
    machine: options.Machine,
    protocol: str | None = None,
    encoder: str = "laion-clap",
    n_seeds: Annotated[int, Option("--seeds", min=1)] = 5,
    random_state: Annotated[int, Option("--seed", min=0)] = 0,
    n_resamples: Annotated[int, Option("--resamples", min=1)] = 2000,
    any_size: options.AnySize = False,
    out: Path | None = None,
    finetune: str | None = None,
    n_blocks: Annotated[int | None, Option("--blocks", min=1)] = None,
    lora_rank: Annotated[int | None, Option(min=1)] = None,
    precision: str | None = None,
    micro_batch_size: Annotated[int | None, Option(min=1)] = None,
    checkpoints: Annotated[str | None, Option(metavar="<path>")] = None,
) -> None:
    """Train both heads on MusicEval, on frozen CLAP or with it: Table I beside the paper's, with intervals and look-ups.

    Parameters
    ----------
    protocol
        frozen: this library's own way, at 48 kHz. paper: what the paper says. released: what its code does.
        Default: frozen, or paper with --finetune.
    encoder
        laion-clap, or hf-clap, which needs no laion_clap and runs on numpy 2.
    n_seeds
        Fits, which differ in their seed.
    random_state
        First seed; it also draws a random split.
    n_resamples
        Resamples of the intervals.
    out
        Folder for reproduction.csv, reproduction.json and predictions.csv.
    finetune
        Train CLAP's towers, too: full, last-blocks or lora. For a GPU: see docs/reproduce.md.
    n_blocks
        With --finetune last-blocks: blocks of each tower. Default: 2.
    lora_rank
        With --finetune lora: width of the adapters. Default: 8.
    precision
        With --finetune: auto, float32, bfloat16 or float16. Default: auto.
    micro_batch_size
        With --finetune: clips computed at once. Default: what a GPU holds, 4 on a CPU.
    checkpoints
        With --finetune: folder from which the same command goes on after a kill; it also keeps decoded sounds.
        Default: checkpoints in --out, if that is given.

    Examples
    --------
    musiceval reproduce MusicEval-full --checkpoint clap.pt --protocol released
    """
    from musiceval_sk import reproduce as run

    tuning = {"n_blocks": n_blocks, "lora_rank": lora_rank, "precision": precision}
    tuning = options.given(**tuning, micro_batch_size=micro_batch_size)
    if finetune is not None and checkpoints is None:
        checkpoints = None if out is None else str(out / "checkpoints")
        if checkpoints is None:
            typer.echo("no --checkpoints and no --out: a kill will lose what was trained", err=True)
    result = run(
        root,
        protocol,
        encoder=options.split_encoder(encoder)[0],
        encoder_options=machine.given(encoder),
        cache=machine.cache,
        n_seeds=n_seeds,
        random_state=random_state,
        n_resamples=n_resamples,
        n_jobs=machine.n_jobs,
        device=machine.device or "auto",
        counts=None if any_size else "official",
        finetune=finetune and finetune.replace("-", "_"),
        finetune_options=tuning or None,
        checkpoints=checkpoints,
    )
    output.show(result)
    files = {"reproduction.csv": result.to_csv, "reproduction.json": result.to_json}
    output.write_files(out, files | {"predictions.csv": partial(write_csv, result.predictions)})
