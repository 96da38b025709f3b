"""What ``musiceval ratings`` prints: the whole, or what fits on a screen."""

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
    head = [] if screening is None else str(screening).splitlines()
    kept = len(head)
    if screening is not None and len(screening.left_out):
        kept -= len(screening.left_out) + 1
    table = ceiling.table[ceiling.table["figure"].isin(_FIGURES)]
    words = table.assign(text=[_with_range(row) for row in table.itertuples()])
    wide = words.pivot(index="figure", columns="target", values="text")[list(dict.fromkeys(table["target"]))]
    told = table.loc[table["value"].notna(), "figure"]
    shown = wide.reindex([name for name in _FIGURES if name in set(told)]).fillna("-")
    tail = ["", f"Agreement of raters; intervals at {ceiling.confidence:.0%}"]
    tables = [] if screening is None else [part for part in parts_of(screening) if isinstance(part, Table)]
    if len(shown):
        tables.append(Table(shown.rename_axis(index=None, columns=None)))
        tail += tables[-1].splitlines()
    tail += [line for line in str(ceiling).splitlines() if line.startswith("no ")]
    tail += [_least_agreeing(name, raters) for name, raters in ceiling.raters.items()]
    room = MOST_LINES - 2 - kept - len(tail)
    if len(head) - kept > max(room, 0):
        hidden = len(head) - kept - max(room - 1, 0)
        head = head[: kept + max(room - 1, 0)] + [f"(+{hidden} more lines of evidence)"]
    lines = [*head, *tail]
    if len(lines) > MOST_LINES - 2:
        lines = lines[: MOST_LINES - 3] + [f"(+{len(lines) - MOST_LINES + 3} more lines)"]
    for table in tables:
        lines = _with_table(lines, table)
    return [*lines, last, "all figures, raters and evidence: --details"]


def _with_table(lines: list[str], table: Table) -> list[str]:
    """Put a table in the place of its lines, if all of them are there."""
    own = table.splitlines()
    for i in range(len(lines) - len(own) + 1):
        if lines[i : i + len(own)] == own:
            return [*lines[:i], table, *lines[i + len(own) :]]
    return lines


def _with_range(row: Any) -> str:
    return f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f})" if row.low == row.low else f"{row.value:.3f}"


def _least_agreeing(target: str, raters: pd.DataFrame) -> str:
    order = raters["agreement"].dropna().sort_values()
    least = listed((f"{name} {value:.2f}" for name, value in order.items()), most=3)
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
