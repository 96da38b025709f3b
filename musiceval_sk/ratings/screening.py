"""Quality control: whose ratings of which batch are left out, and on what evidence."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.datasets.readers import require_columns, source_of
from musiceval_sk.exceptions import ClipsTableError
from musiceval_sk.ratings.read import codes_of, columns_of, name_raters, read_ratings
from musiceval_sk.ratings.rules import UNIT, Item, Rule, named_among

ONE_BATCH = "all"


@dataclass(frozen=True, eq=False)
class Screening:
    """Ratings that stood the rules, and the evidence against those that did not.

    Attributes
    ----------
    kept : pandas.DataFrame
        The user's rows that are left, with all their columns: what to give to `aggregate_ratings`.
    left_out : pandas.DataFrame
        One row a rater, batch, rule and piece of evidence: ``rater``, ``batch``, ``rule``, ``target``, ``evidence`` (in words).
    units : pandas.DataFrame
        One row a rater and batch: ``rater``, ``batch``, ``ratings`` (their number, probes included), ``kept`` (bool), and
        per rule whether it was "passed", "failed" or "not judged" (no probe heard, or too few ratings).
    probes : tuple of str or tuple
        Clips, or items, that were taken out because they were there only to probe.
    """

    kept: pd.DataFrame = field(repr=False)
    left_out: pd.DataFrame = field(repr=False)
    units: pd.DataFrame = field(repr=False)
    probes: tuple[Item, ...] = ()

    def __str__(self) -> str:
        """Give counts, and every rater and batch left out with the evidence."""
        out = self.units[~self.units["kept"]]
        lines = [
            f"Screened {self.units['ratings'].sum()} ratings, {len(self.units)} raters x batches: kept "
            f"{len(self.units) - len(out)}, left out {len(out)} with {out['ratings'].sum()} ratings"
        ]
        for rule in self.units.columns[4:]:
            counts = self.units[rule].value_counts()
            words = (f"{counts.get(verdict, 0)} {verdict}" for verdict in ("passed", "failed", "not judged"))
            lines.append(f"  {rule}: {', '.join(words)}")
        if self.probes:
            lines.append(f"  {len(self.probes)} clips were probes and are not kept")
        for (rater, batch), evidence in self.left_out.groupby(UNIT, sort=False):
            lines.append(f"{rater}, batch {batch}")
            for row in evidence.itertuples():
                of = f" ({row.target})" if row.target else ""
                lines.append(f"  {row.rule}{of}: {row.evidence}")
        return "\n".join(lines)


def screen_ratings(
    ratings: str | Path | pd.DataFrame,
    rules: Sequence[Rule],
    *,
    targets: Sequence[str] | None = None,
    scale: tuple[float, float] | None = (1, 5),
    rater: str = "rater",
    batch: str | None = None,
    items: Sequence[str] = ("clip_id",),
    drop_probes: bool = True,
) -> Screening:
    """Leave out raters' batches that fail a rule.

    A rater who fails any rule in a batch loses all scores of that batch, those of the other targets included, as in the
    MusicEval paper; other batches of his stand. Every rule judges every rater and batch, so that the evidence is complete.

    Parameters
    ----------
    ratings : str, Path or pandas.DataFrame
        Long table, one row a rating, with ``clip_id``; a file is CSV, TSV or JSON Lines.
    rules : sequence of Rule
        `RealMusicProbe` and `DuplicateProbe`, which are the paper's; `AnchorRule`, `StraightLining`, `TooFast`,
        `Disagreement`; or your own. `Disagreement` takes for granted what earlier rules have found.
    targets : sequence of str, default=None
        Score columns; by default those of ``impression`` and ``alignment`` that are there.
    scale : (float, float) or None, default=(1, 5)
        Lowest and highest score that a rater could give; None accepts any number.
    rater : str, default="rater"
        Column of raters.
    batch : str or None, default=None
        Column of batches; None takes ``batch`` if there is one, and else all ratings as one batch.
    items : sequence of str, default=("clip_id",)
        Columns that together name what was rated; rules may then name an item by a tuple of their values.
    drop_probes : bool, default=True
        Take clips that were there only to probe (real music, second copies) out of what is kept.

    Returns
    -------
    Screening
        The ratings kept, the evidence against the others, and what each rule said of each rater and batch.

    Raises
    ------
    ClipsTableError
        If a column is missing, a score is no number or off the scale, a rule names clips that nobody rated, or nothing
        would be left.
    RatingDesignError
        If raters are unknown.
    ValueError
        If there are no rules, or two of the same name.
    TypeError
        If a rule is a class or a name instead of a rule that was made.

    Examples
    --------
    >>> from musiceval_sk import RealMusicProbe
    >>> ratings = pd.DataFrame({"rater": list("AABB"), "clip_id": ["x", "real"] * 2, "impression": [4, 5, 1, 2]})
    >>> print(screen_ratings(ratings, [RealMusicProbe(["real"])]))
    Screened 4 ratings, 2 raters x batches: kept 1, left out 1 with 2 ratings
      real music: 1 passed, 1 failed, 0 not judged
      1 clips were probes and are not kept
    B, batch all
      real music (impression): scored 2 for the real clip real, below 3
    """
    rules = [rules] if isinstance(rules, Rule) else list(rules)
    strange = [rule for rule in rules if not isinstance(rule, Rule)]
    if strange:
        raise TypeError(f"rules must be made, as StraightLining() is; got {listed(map(repr, strange))}")
    names = [rule.name for rule in rules]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"rules must be one or more, each name once; they are {names}")
    columns = columns_of(items)
    named = list(dict.fromkeys([*columns, "clip_id"]))
    others = [] if batch is None else [batch]
    table, chosen = read_ratings(ratings, targets, scale, rater=rater, items=named, others=others)
    original = table.copy()
    table["rater"] = name_raters(table, rater, "screening")
    table["batch"] = _batches(table, batch)
    table["item"], _ = codes_of(table, columns)
    table["item_name"] = list(zip(*(table[column] for column in columns), strict=True))
    table["trusted"] = True
    unit, units = codes_of(table, UNIT)
    verdicts = units.to_frame(index=False)
    evidence = []
    for rule in rules:
        found = rule.judge(table, chosen).assign(rule=rule.name)
        failed = found.groupby(UNIT)["failed"].any().reindex(units)
        verdicts[rule.name] = failed.map({True: "failed", False: "passed"}).fillna("not judged").to_numpy()
        table["trusted"] &= verdicts[rule.name].ne("failed").to_numpy()[unit]
        evidence.append(found[found["failed"]])
    left_out = pd.concat(evidence)[[*UNIT, "rule", "target", "evidence"]]
    order = pd.Series(units.get_indexer(pd.MultiIndex.from_frame(left_out[UNIT])), index=left_out.index)
    left_out = left_out.iloc[order.argsort(kind="stable")].reset_index(drop=True)
    verdicts.insert(2, "ratings", table.groupby(unit).size().to_numpy())
    verdicts.insert(3, "kept", verdicts[names].ne("failed").all(axis=1))
    probes = tuple(dict.fromkeys(clip for rule in rules for clip in rule.probes)) if drop_probes else ()
    kept = (table["trusted"] & ~named_among(table, probes)).to_numpy()
    if not kept.any():
        raise ClipsTableError(
            f"{source_of(table)}the rules leave nothing: {(~verdicts['kept']).sum()} of {len(verdicts)} raters x batches "
            f"fail; the first: {'' if left_out.empty else left_out['evidence'].iloc[0]}"
        )
    return Screening(original[kept], left_out, verdicts, probes)


def _batches(table: pd.DataFrame, batch: str | None) -> pd.Series:
    if batch is None and "batch" not in table:
        return pd.Series(ONE_BATCH, index=table.index)
    column = batch or "batch"
    require_columns(table, [column])
    return table[column].fillna("").astype(str).str.strip()
