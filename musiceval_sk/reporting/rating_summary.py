"""What ``musiceval ratings`` prints: the whole, or what fits on a screen."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from musiceval_sk._text import Table, counted, listed, parts_of

MOST_LINES = 25
_MOST_RATERS = 30
_FIGURES = ["Krippendorff's alpha", "ICC(1,k)", "leave one rater out"]
_FIGURES += [
    f"{metric}, {who}" for metric in ("U_SRCC", "S_SRCC") for who in ("another panel", "perfect predictor")
]


def detail_ratings(screening: Any, ceiling: Any, last: str) -> list[str]:
    """Lay out everything that is known.

    Parameters
    ----------
    screening : Screening or None
        Whose ratings were left out.
    ceiling : HumanCeiling
        How far raters agree.
    last : str
        The line to close with.

    Returns
    -------
    list of str
        Lines, and tables as `Table`.
    """
    parts = [] if screening is None else [*parts_of(screening), ""]
    parts += parts_of(ceiling)
    for name, raters in ceiling.raters.items():
        parts += ["", *_raters_of(name, raters)]
    return [*parts, "", last]


def summarize_ratings(screening: Any, ceiling: Any, last: str) -> list[str]:
    """Lay out what fits into `MOST_LINES` lines: the evidence as far as there is room, the most telling figures, and the raters in brief.

    Parameters
    ----------
    screening : Screening or None
        Whose ratings were left out.
    ceiling : HumanCeiling
        How far raters agree.
    last : str
        The line to close with.

    Returns
    -------
    list of str
        The lines, and tables as `Table`.
    """
    table = ceiling.table[ceiling.table["figure"].isin(_FIGURES)]
    words = table.assign(text=[_with_range(row) for row in table.itertuples()])
    wide = words.pivot(index="figure", columns="target", values="text")[list(dict.fromkeys(table["target"]))]
    told = table.loc[table["value"].notna(), "figure"]
    shown = wide.reindex([name for name in _FIGURES if name in set(told)]).fillna("-")
    tail = ["", f"Agreement of raters; intervals at {ceiling.confidence:.0%}"]
    tail += [Table(shown.rename_axis(index=None, columns=None))] if len(shown) else []
    tail += dict.fromkeys(part for part in parts_of(ceiling) if part.startswith("no "))
    tail += [_least_agreeing(name, raters) for name, raters in ceiling.raters.items()]
    head = [] if screening is None else parts_of(screening)
    if screening is not None and len(screening.left_out):
        rest = [*head[:-1], *tail]
        head = [*head[:-1], *_evidence(screening.left_out, MOST_LINES - 2 - _height(rest))]
    parts = kept = [*head, *tail]
    while _height(kept) > MOST_LINES - 2 - (kept is not parts):
        kept = kept[:-1]
    if kept is not parts:
        kept = [*kept, f"(+{_height(parts) - _height(kept)} more lines)"]
    return [*kept, last, "all figures, raters and evidence: --details"]


def _height(parts: Iterable[str]) -> int:
    return sum(part.count("\n") + 1 for part in parts)


def _evidence(left_out: pd.DataFrame, room: int) -> list[str]:
    """Lay out who was left out and why, in as many lines as there is room for."""
    if len(left_out) < room:
        return [Table(left_out, index=False)]
    shown = left_out.head(max(room - 2, 0))
    more = f"(+{len(left_out) - len(shown)} more lines of evidence)"
    return [Table(shown, index=False), more] if len(shown) else [more]


def _with_range(row: Any) -> str:
    return f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f})" if row.low == row.low else f"{row.value:.3f}"


def _least_agreeing(target: str, raters: pd.DataFrame) -> str:
    order = raters["agreement"].dropna().sort_values()
    least = listed((f"{name} ({value:.2f})" for name, value in order.items()), most=3)
    return (
        f"{target}: {counted(len(raters), 'rater')}; agreement with the others, least first: {least or '-'}"
    )


def _raters_of(target: str, raters: Any) -> list[str]:
    """Lay out the raters, those who agree least first; of many only these."""
    shown = raters.sort_values("agreement").head(_MOST_RATERS)
    which = f", the {len(shown)} who agree least" if len(shown) < len(raters) else ""
    lines = [f"{target}: {counted(len(raters), 'rater')}{which}", Table(shown.round(2), na_rep="-")]
    if "bias_refused" in raters.attrs:
        lines.append(f"no bias: {raters.attrs['bias_refused']}")
    return lines
