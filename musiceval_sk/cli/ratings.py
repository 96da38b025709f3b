"""The command that turns raw ratings into scores to be trusted: ``musiceval ratings``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from musiceval_sk._text import counted
from musiceval_sk.cli.options import Scale, Seed, Targets
from musiceval_sk.exceptions import ClipsTableError

_KINDS = ("real", "copy", "high", "low")
_MOST_RATERS = 30


def ratings(
    table: Annotated[
        Path, typer.Argument(metavar="RATINGS", help="Ratings table (rater, clip_id, one column per target).")
    ],
    clips: Annotated[
        Path | None,
        typer.Option(
            help="Clips table (clip_id, system) or folder of sounds; other clips are left out. Intervals speak of other systems "
            "where every clip names its system; else clips are resampled as if they were independent."
        ),
    ] = None,
    target: Targets = None,
    scale: Scale = (1, 5),
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="Nobody knows who gave a rating; no column rater is needed.")
    ] = False,
    probes: Annotated[
        Path | None,
        typer.Option(
            help="Table of probes: clip_id; kind (real, copy, high or low); copy_of, for a copy, the clip it repeats."
        ),
    ] = None,
    batch: Annotated[
        str | None, typer.Option(help="Column of batches. Default: batch, if there is one.")
    ] = None,
    real_least: Annotated[
        float | None, typer.Option(help="Lowest score that real music may get. Default: 3.")
    ] = None,
    copies_apart: Annotated[
        float | None, typer.Option(help="Most that scores of two copies may differ. Default: 1.")
    ] = None,
    fastest: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds that a rating takes at least; reads the column --time-column."),
    ] = None,
    time_column: Annotated[
        str | None, typer.Option(help="Column of times in seconds. Default: seconds.")
    ] = None,
    same_share: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Leave out who gave one score in this share of a batch, or more."),
    ] = None,
    agreement: Annotated[
        float | None,
        typer.Option(min=-1, max=1, help="Leave out who correlates less than this with the other raters."),
    ] = None,
    method: Annotated[str, typer.Option(help="mean, median, trimmed, zscore or bias.")] = "mean",
    halves: Annotated[str, typer.Option(help="Halve each clip's ratings (rating) or the raters (rater).")] = (
        "rating"
    ),
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for mos.csv, ratings.csv, left-out.csv, reliability.csv, ...")
    ] = None,
) -> None:
    """Screen raters, say how far they agree, and average their ratings into opinion scores."""
    import pandas as pd

    from musiceval_sk import aggregate_ratings, human_ceiling, load_clips, screen_ratings
    from musiceval_sk.datasets.readers import read_table

    rater = None if anonymous else "rater"
    made = _probes(probes) if probes is not None else {}
    rules = _rules(made, real_least, copies_apart, fastest, time_column, same_share, agreement)
    for option, value, user, used in (
        ("--batch", batch, "a rule that screens raters, such as --probes", rules),
        ("--time-column", time_column, "--fastest", fastest is not None),
        ("--real-least", real_least, "--probes with real music", made.get("real")),
        ("--copies-apart", copies_apart, "--probes with copies", made.get("copy")),
    ):
        if value is not None and not used:
            raise ValueError(f"{option} {value} does nothing without {user}; add that, or leave {option} out")
    known = None if clips is None else load_clips(clips, scale=None, require_path=False)
    if rules and anonymous:
        raise ValueError(
            "raters cannot be screened where nobody knows them; leave out --anonymous or the rules"
        )
    kept, screening = read_table(table, target), None
    if rules:
        screening = screen_ratings(table, rules, targets=target, scale=scale, batch=batch)
        kept = screening.kept
        typer.echo(f"{screening}\n")
    options: dict[str, Any] = {"clips": known, "targets": target, "scale": scale, "rater": rater}
    scores = aggregate_ratings(kept, method=method, **options)
    ceiling = human_ceiling(kept, by=halves, random_state=seed, **options)
    typer.echo(ceiling)
    for name, raters in ceiling.raters.items():
        typer.echo(f"\n{_words_on_raters(name, raters)}")
    names = [column for column in scores if f"{column}_count" in scores]
    means = ", ".join(f"{name} {scores[name].mean():.3f}" for name in names)
    typer.echo(f"\n{counted(len(scores), 'clip')} by {method}; mean of all: {means}")
    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    tables = {"mos": scores.reset_index(), "ratings": kept, "reliability": ceiling.table}
    if ceiling.raters:
        tables["raters"] = pd.concat(ceiling.raters, names=["target", "rater"]).reset_index()
    if screening is not None:
        tables |= {"left-out": screening.left_out, "screening": screening.units}
    for name, content in tables.items():
        content.to_csv(out / f"{name}.csv", index=False)
    typer.echo(f"wrote {', '.join(f'{name}.csv' for name in tables)} to {out}", err=True)


def _rules(
    clips: dict[str, list[Any]],
    real_least: float | None,
    copies_apart: float | None,
    fastest: float | None,
    time_column: str | None,
    same_share: float | None,
    agreement: float | None,
) -> list[Any]:
    from musiceval_sk import (
        AnchorRule,
        Disagreement,
        DuplicateProbe,
        RealMusicProbe,
        StraightLining,
        TooFast,
    )

    rules: list[Any] = []
    if clips.get("real"):
        rules.append(RealMusicProbe(clips["real"], least=3 if real_least is None else real_least))
    if clips.get("copy"):
        rules.append(DuplicateProbe(clips["copy"], most=1 if copies_apart is None else copies_apart))
    if clips.get("high") or clips.get("low"):
        rules.append(AnchorRule(high=clips["high"], low=clips["low"]))
    if same_share is not None:
        rules.append(StraightLining(share=same_share))
    if fastest is not None:
        rules.append(TooFast(fastest, column=time_column or "seconds"))
    if agreement is not None:
        rules.append(Disagreement(least=agreement))
    return rules


def _probes(path: Path) -> dict[str, list[Any]]:
    """Read probes by kind; a copy comes with the clip that it repeats."""
    from musiceval_sk.datasets.readers import read_table, require_columns

    table = read_table(path)
    require_columns(table, ["clip_id", "kind"])
    found: dict[str, list[Any]] = {kind: [] for kind in _KINDS}
    for line, row in table.iterrows():
        kind = str(row["kind"]).strip()
        clip, original = (str(row.get(column) or "").strip() for column in ("clip_id", "copy_of"))
        if kind not in _KINDS or not clip or (kind == "copy" and not original):
            raise ClipsTableError(
                f"{path}: line {line}: a probe has a clip_id, a kind of {', '.join(_KINDS)}, and, if it is a copy, "
                f"copy_of; this one has clip_id {clip!r}, kind {kind!r}, copy_of {original!r}"
            )
        found[kind].append((original, clip) if kind == "copy" else clip)
    return found


def _words_on_raters(target: str, raters: Any) -> str:
    """Lay out the raters, those who agree least first; of many only these."""
    shown = raters.sort_values("agreement").head(_MOST_RATERS)
    which = f", the {len(shown)} who agree least" if len(shown) < len(raters) else ""
    lines = [f"{target}: {counted(len(raters), 'rater')}{which}", shown.round(2).to_string(na_rep="-")]
    if "bias_refused" in raters.attrs:
        lines.append(f"no bias: {raters.attrs['bias_refused']}")
    return "\n".join(lines)
