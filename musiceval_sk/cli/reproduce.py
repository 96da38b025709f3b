"""``musiceval reproduce``: the paper's Table I beside one's own."""

from pathlib import Path
from typing import Annotated

import typer

from musiceval_sk.cli.options import Cache, Checkpoint, Device, Jobs, Tokenizer, encoder_options, path_text


def reproduce(
    root: Annotated[
        Path, typer.Argument(help="MusicEval-full, MusicEval-phase1, or Parquet (file or folder).")
    ],
    checkpoint: Checkpoint = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="frozen: this library's own way, at 48 kHz. paper: what the paper says. released: what its code does. "
            "Default: frozen, or paper with --finetune."
        ),
    ] = None,
    encoder: Annotated[
        str, typer.Option(help="laion-clap, or hf-clap, which needs no laion_clap and runs on numpy 2.")
    ] = "laion-clap",
    tokenizer: Tokenizer = None,
    device: Device = None,
    cache: Cache = None,
    seeds: Annotated[int, typer.Option(min=1, help="Fits, which differ in their seed.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="First seed; it also draws a random split.")] = 0,
    resamples: Annotated[int, typer.Option(min=1, help="Resamples of the intervals.")] = 2000,
    jobs: Jobs = 1,
    any_size: Annotated[
        bool, typer.Option("--any-size", help="Do not expect the 2,748 clips of the true data set.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for reproduction.csv, reproduction.json and predictions.csv.")
    ] = None,
    finetune: Annotated[
        str | None,
        typer.Option(
            help="Train CLAP's towers, too: full, last-blocks or lora. For a GPU: see docs/reproduce.md."
        ),
    ] = None,
    blocks: Annotated[
        int | None, typer.Option(min=1, help="With --finetune last-blocks: blocks of each tower. Default: 2.")
    ] = None,
    lora_rank: Annotated[
        int | None, typer.Option(min=1, help="With --finetune lora: width of the adapters. Default: 8.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="With --finetune: auto, float32, bfloat16 or float16. Default: auto.")
    ] = None,
    micro_batch_size: Annotated[
        int | None,
        typer.Option(
            min=1, help="With --finetune: clips computed at once. Default: what a GPU holds, 4 on a CPU."
        ),
    ] = None,
    checkpoints: Annotated[
        Path | None,
        typer.Option(
            help="With --finetune: folder from which the same command goes on after a kill; it also keeps decoded sounds. "
            "Default: checkpoints in --out, if that is given."
        ),
    ] = None,
) -> None:
    """Train both heads on MusicEval, on frozen CLAP or with it: Table I beside the paper's, with intervals and look-ups."""
    from musiceval_sk import reproduce as run

    chosen = {
        "n_blocks": blocks,
        "lora_rank": lora_rank,
        "precision": precision,
        "micro_batch_size": micro_batch_size,
    }
    options = {name: value for name, value in chosen.items() if value is not None}
    if finetune is not None and checkpoints is None:
        checkpoints = out / "checkpoints" if out is not None else None
        if checkpoints is None:
            typer.echo("no --checkpoints and no --out: a kill will lose what was trained", err=True)
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
        finetune=None if finetune is None else finetune.replace("-", "_"),
        finetune_options=options or None,
        checkpoints=path_text(checkpoints),
    )
    typer.echo(result)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        result.to_csv(out / "reproduction.csv")
        result.to_json(out / "reproduction.json")
        result.predictions.to_csv(out / "predictions.csv", index=False)
        typer.echo(f"wrote reproduction.csv, reproduction.json and predictions.csv to {out}", err=True)
