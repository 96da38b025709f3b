"""The command that tells what to collect next: ``musiceval curve``."""

from pathlib import Path
from typing import Annotated, Any

import typer

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
    embed_readable,
    make_embedder,
)


def curve(
    clips: Clips,
    ratings: Ratings = None,
    grows: Annotated[
        list[str] | None,
        typer.Option(
            help="clips, systems or ratings (a clip); repeat for several. Default: clips and, if they are named, systems; with "
            "--ratings also ratings."
        ),
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(
            help="Size to try: a number (40), or with a point a share (0.5) of what there is; repeat for several, with a single "
            "--grows if numbers. Default: all, a half, a quarter, an eighth."
        ),
    ] = None,
    target: Targets = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="global mean, system mean, prompt mean, ridge, SVR or MOSRegressor (slow); repeat for several. Default: the means and ridge."
        ),
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="One of the eight; repeat for several. Default: S_SRCC, U_SRCC.")
    ] = None,
    cv: Annotated[
        str, typer.Option(help="system, prompt, system+prompt, random, 85/15 or official.")
    ] = "system",
    folds: Annotated[
        int | None,
        typer.Option(min=2, help="Number of folds. Default: 5, or one a group where there are fewer."),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Random parts of each size.")] = 10,
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="Nobody knows who gave a rating; no column rater is needed.")
    ] = False,
    pattern: Pattern = None,
    prompts: Prompts = None,
    encoder: EncoderName = "spectral",
    checkpoint: Checkpoint = None,
    tokenizer: Tokenizer = None,
    device: Device = None,
    cache: Cache = None,
    pooling: Pooling = "mean",
    scale: Scale = (1, 5),
    jobs: Jobs = 1,
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for curve.csv, steps.csv, ceiling.csv, curve.txt and figures.")
    ] = None,
) -> None:
    """Show how scores grow with clips, systems and ratings a clip, and which of them still paid."""
    from musiceval_sk import load_clips, score_learning_curve
    from musiceval_sk.datasets.readers import read_table

    options: dict[str, Any] = {"pattern": pattern, "prompts": prompts}
    if ratings is None:
        options |= {"targets": target, "scale": scale}
    else:
        options["scale"] = None
    table = load_clips(clips, **options)
    names = grows or _all_that_may_grow(table, ratings)
    sizes = None if size is None else [_size(text) for text in size]
    models = _models(model, table, seed)
    rated = None if ratings is None else read_table(ratings, target)
    embedder = make_embedder(encoder, checkpoint, tokenizer, device, cache, pooling, jobs).fit(table)
    found = score_learning_curve(
        table,
        lambda: embedder.transform(embed_readable(table, embedder)),
        models,
        cv,
        grows=names,
        sizes=sizes,
        ratings=rated,
        targets=target,
        metrics=metric,
        n_splits=folds,
        n_repeats=repeats,
        scale=scale,
        rater=None if anonymous else "rater",
        features=f"{encoder}, {embedder.provenance()}",
        random_state=seed,
        n_jobs=jobs,
    )
    typer.echo(found)
    if out is None:
        return
    written = found.to_csv(out)
    (out / "curve.txt").write_text(f"{found}\n")
    written += [out / "curve.txt", *_figures(found, out)]
    typer.echo(f"wrote {', '.join(path.name for path in written)} to {out}", err=True)


def _all_that_may_grow(table: Any, ratings: Path | None) -> list[str]:
    from musiceval_sk._ids import systems_if_named

    systems = [] if systems_if_named(table) is None else ["systems"]
    return ["clips", *systems, *(["ratings"] if ratings is not None else [])]


def _size(text: str) -> int | float:
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        raise ValueError(f"--size {text!r} is no number, such as 40, and no share, such as 0.5") from None


def _models(names: list[str] | None, table: Any, seed: int) -> dict[str, Any] | None:
    from musiceval_sk import default_models

    if names is None:
        return None
    known = default_models(table, random_state=seed)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"unknown --model {', '.join(unknown)}; these clips allow {', '.join(known)}")
    return {name: known[name] for name in names}


def _figures(found: Any, out: Path) -> list[Path]:
    """Draw every target, metric and kind of growth that some model could be judged by; none without matplotlib."""
    from musiceval_sk import ScoreLearningCurveDisplay

    paths: list[Path] = []
    lines = found.table.dropna(subset=["score"])
    for (target, metric, grows, kind), _ in lines.groupby(["target", "metric", "grows", "kind"], sort=False):
        if kind != found.kind:
            continue
        try:
            display = ScoreLearningCurveDisplay.from_curve(found, target, metric, grows=grows)
        except ImportError as error:
            typer.echo(f"no figures: {error}", err=True)
            return paths
        paths.append(out / f"{target}-{metric}-by-{grows}.png")
        display.figure_.savefig(paths[-1], dpi=150)
    return paths
