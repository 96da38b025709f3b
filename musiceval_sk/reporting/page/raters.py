"""One self-contained HTML page of a listening test: who was left out and why, how far raters agree, and the clips that divide them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._text import counted, listed, require_known
from musiceval_sk.datasets.clips import TARGETS
from musiceval_sk.ratings.ceiling import ANOTHER_PANEL, PERFECT, HumanCeiling
from musiceval_sk.ratings.read import of_known_clips
from musiceval_sk.ratings.screening import Screening
from musiceval_sk.reporting.page.media import MODES, collect_sounds
from musiceval_sk.reporting.page.report import write_page
from musiceval_sk.reporting.page.sections import described

_SCRIPTS = ("elements.js", "tables.js", "single.js")
_MOST_BARS = 10
_WIDTH, _HEIGHT, _GAP = 24, 44, 3


def write_rating_report(
    ratings: pd.DataFrame,
    ceiling: HumanCeiling,
    out: str | Path,
    *,
    screening: Screening | None = None,
    clips: pd.DataFrame | None = None,
    targets: Sequence[str] | None = None,
    scale: tuple[float, float] | None = (1, 5),
    n_clips: int = 12,
    audio: str = "link",
    max_audio_mb: float = 20.0,
) -> Path:
    """Write a listening test as one HTML page that needs no network.

    Parameters
    ----------
    ratings : pandas.DataFrame
        The ratings that count, one row each, such as ``screening.kept``.
    ceiling : HumanCeiling
        What `human_ceiling` made of them.
    out : str or Path
        The page to write; its folder is made if need be.
    screening : Screening, default=None
        What was left out, and why.
    clips : pandas.DataFrame, default=None
        Clips table, for systems, prompts and sounds; ratings of other clips are left aside.
    targets : sequence of str, default=None
        Score columns; by default those of ``impression`` and ``alignment`` that are there.
    scale : (float, float) or None, default=(1, 5)
        Lowest and highest score that a rater could give.
    n_clips : int, default=12
        How many of the clips that divide raters are shown.
    audio : {"link", "embed", "none"}, default="link"
        Whether sounds are linked by their path relative to the page, or held by the page itself.
    max_audio_mb : float, default=20.0
        Most megabytes (1,000,000 bytes) that embedded sounds may add.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ValueError
        If ``audio`` is unknown.
    ImportError
        If jinja2 is missing; it comes with the extra ``report``.
    """
    require_known("audio", audio, MODES)
    page = Path(os.path.abspath(out))
    ratings = of_known_clips(ratings, clips, quiet=True)
    chosen = list(targets or [name for name in TARGETS if name in ratings])
    divided = _divided(ratings, chosen)[:n_clips]
    known = described(pd.Index(divided, name="clip_id"), clips)
    sounds = collect_sounds(known, divided, page, audio, max_audio_mb)
    urls = {name: f"data:{kind};base64,{text}" for name, (kind, text) in sounds.embedded.items()}
    urls |= sounds.links
    figures = {target: ceiling.table[ceiling.table["target"] == target] for target in chosen}
    values = {
        "n_ratings": len(ratings),
        "n_clips": ratings["clip_id"].nunique(),
        "n_raters": max((len(table) for table in ceiling.raters.values()), default=None),
        "verdicts": [(target, *_verdict(figures[target], ceiling.panels.get(target))) for target in chosen],
        "screening": screening,
        "screened": "" if screening is None else _screened(screening),
        "verdicts_of_rules": None if screening is None else screening.verdicts(),
        "figures": figures,
        "confidence": ceiling.confidence,
        "raters": ceiling.raters,
        "cards": [_card(ratings, clip, known.loc[clip], urls.get(clip), chosen, scale) for clip in divided],
        "audio_notes": sounds.sentences(),
    }
    return write_page(page, "raters.html", values, _SCRIPTS)


def _divided(ratings: pd.DataFrame, targets: Sequence[str]) -> list[Any]:
    """Clips by the largest standard deviation of a target's ratings, in units of that target's mean one."""
    spread = ratings.groupby("clip_id", sort=False)[list(targets)].std()
    spread /= spread.mean().where(lambda mean: mean > 0, 1)
    order = spread.max(axis=1).dropna().sort_values(ascending=False, kind="stable")
    return list(order[order > 0].index)


def _verdict(figures: pd.DataFrame, panel: float | None) -> tuple[str, str]:
    """Say in a sentence what the raters' agreement allows, and on what evidence."""
    rows = figures.set_index("figure")
    another, perfect = (rows["value"].get(f"U_SRCC, {who}", np.nan) for who in (ANOTHER_PANEL, PERFECT))
    alpha = rows.loc["Krippendorff's alpha"]
    evidence = f"Krippendorff's alpha {_with_range(alpha)}."
    if not np.isfinite(another):
        why = rows["note"][f"U_SRCC, {ANOTHER_PANEL}"]
        return f"How far these scores can be trusted is not known: {why}.", evidence
    size = f" of {round(panel, 1):g} ratings a clip" if panel else ""
    sentence = f"Another panel{size} would rank the clips with a correlation of {another:.2f} to this one"
    sentence += f"; even a perfect predictor would reach no more than {perfect:.2f}."
    by_system = rows["value"].get(f"S_SRCC, {ANOTHER_PANEL}", np.nan)
    if np.isfinite(by_system):
        evidence = f"Of systems: {by_system:.2f} and {rows['value'][f'S_SRCC, {PERFECT}']:.2f}. {evidence}"
    return sentence, evidence


def _with_range(row: pd.Series) -> str:
    text = f"{row['value']:.2f}" if np.isfinite(row["value"]) else "not known"
    return f"{text} ({row['low']:.2f} to {row['high']:.2f})" if np.isfinite(row["low"]) else text


def _screened(screening: Screening) -> str:
    """Say how much was left out."""
    out = screening.units[~screening.units["kept"]]
    batches = counted(len(screening.units), "batch of a rater", "batches of raters")
    if out.empty:
        return f"All {batches} stood the rules."
    ratings = f"{out['ratings'].sum()} of {screening.units['ratings'].sum()} ratings"
    who = listed(dict.fromkeys(out["rater"]), most=8)
    return f"{len(out)} of {batches} were left out, with {ratings}: {who}."


def _card(
    ratings: pd.DataFrame, clip: Any, about: pd.Series, url: str | None, targets: Sequence[str], scale: Any
) -> dict[str, Any]:
    """Lay out a clip with how often each score was given."""
    own = ratings[ratings["clip_id"] == clip]
    rows = []
    for target in targets:
        scores = own[target].dropna().to_numpy(dtype=float)
        if len(scores):
            sd = scores.std(ddof=1) if len(scores) > 1 else np.nan
            figures = {"target": target, "mean": scores.mean(), "sd": sd, "n": len(scores)}
            rows.append(figures | _bars(scores, scale))
    return {"id": str(clip), "system": about["system"], "prompt": about["prompt"], "url": url, "rows": rows}


def _bars(scores: np.ndarray, scale: tuple[float, float] | None) -> dict[str, Any]:
    """Bars of a small picture: a score each where they are few whole numbers, else ten bins."""
    low, high = scale or (scores.min(), scores.max())
    n = int(high - low) + 1
    if n > _MOST_BARS or n < 2 or (scores % 1).any():
        n = _MOST_BARS
        places = np.minimum(((scores - low) / max(high - low, 1e-9) * n).astype(int), n - 1)
    else:
        places = (scores - low).astype(int)
    counts = np.bincount(places, minlength=n)
    tall = np.round(counts / counts.max() * _HEIGHT, 1)
    bars = [(i * (_WIDTH + _GAP), _HEIGHT - height, height) for i, height in enumerate(tall.tolist())]
    words = f"{counts.tolist()} ratings from {low:g} to {high:g}"
    drawn = {"bars": bars, "wide": n * (_WIDTH + _GAP) - _GAP, "words": words}
    return drawn | {"low": f"{low:g}", "high": f"{high:g}"}
