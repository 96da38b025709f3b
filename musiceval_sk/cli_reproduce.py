"""``musiceval reproduce``: the paper's Table I beside one's own."""

from pathlib import Path
from typing import Annotated

import typer

from musiceval_sk._cli_common import Cache, Checkpoint, Device, Jobs, Tokenizer, encoder_options, path_text


def reproduce(
    root: Annotated[
        Path, typer.Argument(help="MusicEval-full, MusicEval-phase1, or Parquet (file or folder).")
    ],
    checkpoint: Checkpoint = None,
    protocol: Annotated[
        str,
        typer.Option(
            help="frozen: this library's own way, at 48 kHz. paper: what the paper says. released: what its code does."
        ),
    ] = "frozen",
    encoder: Annotated[
        str, typer.Option(help="laion-clap, or hf-clap, which needs no laion_clap and runs on numpy 2.")
    ] = "laion-clap",
    tokenizer: Tokenizer = None,
    device: Device = None,
    cache: Cache = None,
    seeds: Annotated[int, typer.Option(help="Fits, which differ in their seed.")] = 5,
    seed: Annotated[int, typer.Option(help="First seed; it also draws a random split.")] = 0,
    resamples: Annotated[int, typer.Option(help="Resamples of the intervals.")] = 2000,
    jobs: Jobs = 1,
    any_size: Annotated[
        bool, typer.Option("--any-size", help="Do not expect the 2,748 clips of the true data set.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for reproduction.csv, reproduction.json and predictions.csv.")
    ] = None,
) -> None:
    """Train both heads on MusicEval with frozen CLAP: Table I beside the paper's, with intervals and look-ups."""
    from musiceval_sk import reproduce as run

    result = run(
        root,
        protocol,
        encoder=encoder,
        encoder_options=encoder_options(checkpoint, tokenizer, device, encoder),
        cache=path_text(cache),
        n_seeds=seeds,
        random_state=seed,
        n_resamples=resamples,
        n_jobs=jobs,
        device=device or "auto",
        counts=None if any_size else "official",
    )
    typer.echo(result)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        result.to_csv(out / "reproduction.csv")
        result.to_json(out / "reproduction.json")
        result.predictions.to_csv(out / "predictions.csv", index=False)
        typer.echo(f"wrote reproduction.csv, reproduction.json and predictions.csv to {out}", err=True)
