"""Quality control: rules by which a rater's scores of a batch are found invalid, and what is left once they are out.

Rules are values: all thresholds are their fields. A rule names what was rated by its clip id, which stands for all its ratings.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from musiceval_sk._ids import id_text, id_texts, match_ids, near_misses
from musiceval_sk._text import Shown, Table, listed
from musiceval_sk.datasets.readers import require_columns, source_of
from musiceval_sk.exceptions import ClipsTableError
from musiceval_sk.ratings.bias import correlate_with_others
from musiceval_sk.ratings.read import checked_ratings, codes_of, columns_of, name_raters

UNIT = ["rater", "batch"]
_FIVE_POINTS = (1.0, 5.0)


class Rule:
    """What all rules are: a finding for every rater and batch, and words for those that fail.

    A rule of your own derives from this, has a ``name``, and overrides `judge`.

    Attributes
    ----------
    name : str
        Short name that the tables show.
    words : str
        Evidence against one that fails: a format of the rule, as ``{rule.least:g}``, and of what `_find` gives, as ``{score:g}``.
    """

    name = "rule"
    words = ""

    @property
    def probes(self) -> tuple[str, ...]:
        """Clips that were there only to probe, and are no part of the test."""
        return ()

    def _on_scale(self, scale: tuple[float, float]) -> "Rule":
        """Fill in the thresholds that depend on the scale and were not given."""
        return self

    def judge(self, ratings: pd.DataFrame, targets: Sequence[str]) -> pd.DataFrame:
        """Judge every rater and batch that the rule can judge.

        Parameters
        ----------
        ratings : pandas.DataFrame
            Columns ``rater``, ``batch`` and ``clip_id`` (text), ``item`` (number of what was rated), ``trusted`` (False where
            an earlier rule left the rater and batch out), the targets, and all columns of the user's table.
        targets : sequence of str
            Score columns to look at.

        Returns
        -------
        pandas.DataFrame
            One row a rater, batch and piece of evidence: ``rater``, ``batch``, ``target``, ``failed`` (bool) and
            ``evidence`` (words, empty where it did not fail).
        """
        rule, wanted = self._on_scale(_FIVE_POINTS), getattr(self, "targets", None)
        # A rule made for a target that this test did not ask for looks at those that it did.
        found = rule._find(ratings, [name for name in targets if wanted is None or name in wanted] or targets)
        words = [
            self.words.format(rule=rule, **row) if row["failed"] else "" for row in found.to_dict("records")
        ]
        return found[[*UNIT, "target", "failed"]].assign(evidence=words)

    def _find(self, ratings: pd.DataFrame, targets: Sequence[str]) -> pd.DataFrame:
        """Return ``rater``, ``batch``, ``target``, ``failed`` and whatever the words need."""
        raise NotImplementedError


@dataclass(frozen=True)
class RealMusicProbe(Rule):
    """Real music, hidden among generated clips, must not be scored low.

    The first probe of the MusicEval paper: a rater who scores any of the real clips of a batch below 3 is
    invalid there.

    Attributes
    ----------
    clips : sequence of str
        Clip ids of the real music.
    least : float or None, default=None
        Lowest score that is accepted; who scores below it fails. None takes the middle of the scale: 3 from 1 to 5.
    targets : sequence of str or None, default=("impression",)
        Score columns to look at; None for all. Real music is good music, but need not fit the text it is shown with.
    """

    clips: Sequence[str]
    least: float | None = None
    targets: Sequence[str] | None = ("impression",)
    name = "real music"
    words = "scored {score:g} for the real clip {clip_id}, below {rule.least:g}"

    @property
    def probes(self) -> tuple[str, ...]:
        """The real clips."""
        return tuple(map(id_text, self.clips))

    def _on_scale(self, scale: tuple[float, float]) -> Rule:
        """Take the middle of the scale for the lowest score, unless one was given."""
        return replace(self, least=sum(scale) / 2) if self.least is None else self

    def _find(self, ratings: pd.DataFrame, targets: Sequence[str]) -> pd.DataFrame:
        given = _scores(_ratings_of(ratings, self.clips, self.name), targets)
        return given.assign(failed=given["score"] < self.least)


@dataclass(frozen=True)
class DuplicateProbe(Rule):
    """Two copies of one clip in a batch must be scored alike.

    The second probe of the MusicEval paper, which does not say how much is "too large".

    Attributes
    ----------
    pairs : sequence of (str, str) or None, default=None
        Clip ids of a clip and of its copy. None takes items that a rater rated more than once in a batch under
        the same name.
    most : float or None, default=None
        Largest difference of scores that is accepted; copies that are further apart fail. None takes a quarter of the scale's
        range: 1 from 1 to 5.
    targets : sequence of str or None, default=None
        Score columns to look at; None for all.
    """

    pairs: Sequence[tuple[str, str]] | None = None
    most: float | None = None
    targets: Sequence[str] | None = None
    name = "duplicates"
    words = "scored the two copies of {names} {min:g} and {max:g}, more than {rule.most:g} apart"

    @property
    def probes(self) -> tuple[str, ...]:
        """The second copies."""
        return tuple(id_text(copy) for clip, copy in self.pairs or () if id_text(clip) != id_text(copy))

    def _on_scale(self, scale: tuple[float, float]) -> Rule:
        """Take a quarter of the scale's range for the largest difference, unless one was given."""
        return replace(self, most=(scale[1] - scale[0]) / 4) if self.most is None else self

    def _find(self, ratings: pd.DataFrame, targets: Sequence[str]) -> pd.DataFrame:
        copies = ratings.assign(pair=ratings["item"], names=ratings["clip_id"])
        if self.pairs is not None:
            copies = self._copies(ratings, self.pairs)
        given = _scores(copies, targets, ["pair", "names"])
        both = given.groupby([*UNIT, "target", "pair", "names"], sort=False)["score"].agg(
            ["min", "max", "size"]
        )
        found = both[both["size"] > 1].reset_index()
        return found.assign(failed=found["max"] - found["min"] - 1e-9 > self.most)

    def _copies(self, ratings: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> pd.DataFrame:
        """Ratings of clips that belong to a pair, once for each pair that they belong to."""
        if isinstance(pairs, str) or any(isinstance(pair, str) or len(pair) != 2 for pair in pairs):
            raise TypeError(
                f"rule {self.name!r} takes pairs of clip ids, such as [('S02_P04', 'S02_P04_again')]; got {pairs!r}"
            )
        flat = [clip for pair in pairs for clip in pair]
        rated = _ratings_of(ratings, flat, self.name)
        named = pd.DataFrame({"clip_id": _as_rated(ratings, flat), "pair": np.arange(len(flat)) // 2})
        named["names"] = [" and ".join(map(id_text, pair)) for pair in pairs for _ in pair]
        return rated.merge(named.drop_duplicates(["clip_id", "pair"]), on="clip_id")


@dataclass(frozen=True)
class AnchorRule(Rule):
    """Anchors must lie on their side of the scale, as the mean of what a rater gave them.

    Attributes
    ----------
    high, low : sequence of str, default=()
        Clip ids of anchors known to be good and known to be bad. They count as part of the test, not as probes.
    middle : float or None, default=None
        The score that parts the sides: a mean of high anchors below it fails, and one of low anchors above it. None takes the
        middle of the scale: 3 from 1 to 5.
    targets : sequence of str or None, default=("impression",)
        Score columns to look at; None for all.
    """

    high: Sequence[str] = ()
    low: Sequence[str] = ()
    middle: float | None = None
    targets: Sequence[str] | None = ("impression",)
    name = "anchors"
    words = "mean {mean:.4g} over {size} {side} anchors, {beyond} {rule.middle:g}"

    def _on_scale(self, scale: tuple[float, float]) -> Rule:
        """Take the middle of the scale, unless another was given."""
        return replace(self, middle=sum(scale) / 2) if self.middle is None else self

    def _find(self, ratings: pd.DataFrame, targets: Sequence[str]) -> pd.DataFrame:
        parts = []
        for side, clips, beyond in (("high", self.high, "below"), ("low", self.low, "above")):
            if len(clips):
                given = _scores(_ratings_of(ratings, clips, f"{side} {self.name}"), targets)
                found = given.groupby([*UNIT, "target"], sort=False)["score"].agg(["mean", "size"])
                wrong = found["mean"] < self.middle if side == "high" else found["mean"] > self.middle
                parts.append(found.assign(side=side, beyond=beyond, failed=wrong).reset_index())
        if not parts:
            raise ValueError("AnchorRule names no clips; give high=, low= or both")
        return pd.concat(parts, ignore_index=True)


@dataclass(frozen=True)
class StraightLining(Rule):
    """The same score over and over is no judgement.

    Attributes
    ----------
    share : float in (0, 1], default=0.9
        Fails where the most frequent score makes up at least this share of a batch.
    least_ratings : int, default=10
        Batches with fewer ratings are not judged.
    targets : sequence of str or None, default=None
        Score columns to look at; None for all. A target that truly hardly varies, such as the fit of clips to a trivial text,
        should be left out.
    """

    share: float = 0.9
    least_ratings: int = 10
    targets: Sequence[str] | None = None
    name = "straight-lining"
    words = "gave {score:g} in {count} of {total} ratings, at least {rule.share:.4g} of them"

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share must lie above 0 and be at most 1; got {self.share}")

    def _find(self, ratings: pd.DataFrame, targets: Sequence[str]) -> pd.DataFrame:
        counts = _scores(ratings, targets).groupby([*UNIT, "target", "score"], sort=False).size()
        counts = counts.rename("count").reset_index()
        counts["total"] = counts.groupby([*UNIT, "target"], sort=False)["count"].transform("sum")
        most = counts.sort_values("count", ascending=False, kind="stable").drop_duplicates([*UNIT, "target"])
        found = most[most["total"] >= self.least_ratings]
        return found.assign(failed=found["count"] >= self.share * found["total"] - 1e-9)


@dataclass(frozen=True)
class TooFast(Rule):
    """A clip cannot be judged in less time than it takes to hear it.

    Attributes
    ----------
    least : float
        Shortest time that is accepted for a rating, in seconds.
    column : str, default="seconds"
        Column with the time that each rating took, in seconds.
    share : float in [0, 1), default=0.5
        Fails where more than this share of a batch was rated in less time.
    """

    least: float
    column: str = "seconds"
    share: float = 0.5
    name = "too fast"
    words = (
        "took less than {rule.least:g} s for {fast} of {size} ratings (median {median:.1f} s), "
        "more than {rule.share:.4g} of them"
    )

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ValueError(f"share must lie between 0 and below 1; got {self.share}")

    def _find(self, ratings: pd.DataFrame, targets: Sequence[str]) -> pd.DataFrame:
        if self.column not in ratings:
            raise ClipsTableError(
                f"rule 'too fast' needs the seconds that each rating took, and the ratings have no column {self.column!r}; "
                "name the column that has them with column= (--time-column), or leave the rule (--fastest) out"
            )
        seconds = pd.to_numeric(ratings[self.column], errors="coerce")
        timed = ratings[UNIT].assign(fast=seconds < self.least, median=seconds)[seconds.notna()]
        if timed.empty:
            raise ClipsTableError(f"rule 'too fast': column {self.column!r} holds no number of seconds")
        units = timed.groupby(UNIT, sort=False)
        found = units.agg({"fast": "sum", "median": "median"}).assign(size=units.size()).reset_index()
        return found.assign(target="", failed=found["fast"] > self.share * found["size"] + 1e-9)


@dataclass(frozen=True)
class Disagreement(Rule):
    """A rater whose scores do not go with those of the others does not judge what they judge.

    The others are those whom no earlier rule has left out, so this one should come last.

    Attributes
    ----------
    least : float in [-1, 1], default=0.2
        Lowest Pearson correlation with the mean of the others that is accepted, over the items of the batch that both rated;
        who correlates less fails.
    least_ratings : int, default=10
        Batches with fewer shared items are not judged.
    targets : sequence of str or None, default=None
        Score columns to look at; None for all.
    """

    least: float = 0.2
    least_ratings: int = 10
    targets: Sequence[str] | None = None
    name = "disagreement"
    words = "correlates {correlation:.3f} with the other raters over {shared:.0f} items, below {rule.least:g}"

    def __post_init__(self) -> None:
        if not -1 <= self.least <= 1:
            raise ValueError(f"least is a correlation and must lie between -1 and 1; got {self.least}")

    def _find(self, ratings: pd.DataFrame, targets: Sequence[str]) -> pd.DataFrame:
        unit, units = codes_of(ratings, UNIT)
        parts = []
        for target in targets:
            given = ratings[target].notna().to_numpy()
            raters, items, scores, trusted = (
                ratings[column].to_numpy()[given] for column in ("rater", "item", target, "trusted")
            )
            found = correlate_with_others(items, raters, scores, units=unit[given], trusted=trusted)
            parts.append(units.to_frame(index=False).assign(target=target).join(found))
        found = pd.concat(parts, ignore_index=True)
        found = found[found["shared"] >= self.least_ratings].fillna({"correlation": 0.0})
        return found.assign(failed=found["correlation"] < self.least)


@dataclass(frozen=True, eq=False, repr=False)
class Screening(Shown):
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
    probes : tuple of str
        Clips that were taken out because they were there only to probe.
    """

    kept: pd.DataFrame = field(repr=False)
    left_out: pd.DataFrame = field(repr=False)
    units: pd.DataFrame = field(repr=False)
    probes: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """Give what was found as a tidy table.

        Returns
        -------
        pandas.DataFrame
            A copy of ``units``: one row a rater and batch.
        """
        return self.units.copy()

    def _remarks(self) -> list[str]:
        return [f"{row.rater}, {row.rule}: {row.evidence}" for row in self.left_out.itertuples()]

    def verdicts(self) -> pd.DataFrame:
        """Count what each rule said of raters' batches.

        Returns
        -------
        pandas.DataFrame
            Indexed by rule; columns "passed", "failed" and "not judged".
        """
        counts = pd.DataFrame({rule: self.units[rule].value_counts() for rule in self.units.columns[4:]})
        return counts.rename_axis(None).reindex(["passed", "failed", "not judged"]).fillna(0).astype(int).T

    def _parts(self) -> list[str]:
        """Give counts, what each rule said, and the evidence against every rater and batch left out."""
        out = self.units[~self.units["kept"]]
        units = "raters x batches" if self.units["batch"].nunique() > 1 else "raters"
        parts: list[str] = [
            f"Screened {self.units['ratings'].sum()} ratings, {len(self.units)} {units}: kept "
            f"{len(self.units) - len(out)}, left out {len(out)} with {out['ratings'].sum()} ratings",
            Table(self.verdicts()),
        ]
        if self.probes:
            parts.append(f"{len(self.probes)} clips were probes and are not kept")
        if len(self.left_out):
            parts.append(Table(self.left_out, index=False))
        return parts


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
    MusicEval paper; other batches of theirs stand. Every rule judges every rater and batch, so that the evidence is complete.

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
        Lowest and highest score that a rater could give, on which default thresholds of rules depend; None accepts any number
        and takes the thresholds of 1 to 5.
    rater : str, default="rater"
        Column of raters.
    batch : str or None, default=None
        Column of batches; None takes ``batch`` if there is one, and else all ratings as one batch.
    items : sequence of str, default=("clip_id",)
        Columns that together name what was rated.
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
    Screened 4 ratings, 2 raters: kept 1, left out 1 with 2 ratings
                passed  failed  not judged
    real music       1       1           0
    1 clips were probes and are not kept
    rater batch       rule     target                                 evidence
        B   all real music impression scored 2 for the real clip real, below 3
    """
    rules = [rules] if isinstance(rules, Rule) else list(rules)
    strange = [rule for rule in rules if not isinstance(rule, Rule)]
    if strange:
        raise TypeError(f"rules must be made, as StraightLining() is; got {listed(map(repr, strange))}")
    names = [rule.name for rule in rules]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"rules must be one or more, each name once; they are {names}")
    columns = columns_of(items)
    table, chosen = checked_ratings(
        ratings,
        targets,
        scale,
        rater=rater,
        items=list(dict.fromkeys([*columns, "clip_id"])),
        others=[] if batch is None else [batch],
    )
    judged = _as_judged(table, rater, batch, columns)
    unit, units = codes_of(judged, UNIT)
    verdicts = units.to_frame(index=False).assign(ratings=np.bincount(unit), kept=True)
    evidence = []
    for rule in rules if scale is None else [rule._on_scale(scale) for rule in rules]:
        found = rule.judge(judged, chosen).assign(rule=rule.name)
        failed = found.groupby(UNIT)["failed"].any().reindex(units)
        verdicts[rule.name] = failed.map({True: "failed", False: "passed"}).fillna("not judged").to_numpy()
        verdicts["kept"] &= verdicts[rule.name] != "failed"
        judged["trusted"] = verdicts["kept"].to_numpy()[unit]
        evidence.append(found[found["failed"]])
    left_out = verdicts[UNIT].merge(pd.concat(evidence))[[*UNIT, "rule", "target", "evidence"]]
    probes = tuple(dict.fromkeys(clip for rule in rules for clip in rule.probes)) if drop_probes else ()
    kept = judged["trusted"] & ~judged["clip_id"].isin(_as_rated(judged, probes))
    if not kept.any():
        raise ClipsTableError(
            f"{source_of(table)}the rules leave nothing: {(~verdicts['kept']).sum()} of {len(verdicts)} raters x batches "
            f"fail; the first: {'' if left_out.empty else left_out['evidence'].iloc[0]}"
        )
    return Screening(table[kept.to_numpy()], left_out, verdicts, probes)


def _as_judged(table: pd.DataFrame, rater: str, batch: str | None, columns: list[str]) -> pd.DataFrame:
    """Add to ratings what `Rule.judge` is promised."""
    if batch is None and "batch" in table:
        batch = "batch"
    require_columns(table, [] if batch is None else [batch])
    return table.assign(
        rater=name_raters(table, rater, "screening"),
        batch="all" if batch is None else id_texts(table[batch]),
        item=codes_of(table, columns)[0],
        trusted=True,
    )


def _ratings_of(ratings: pd.DataFrame, clips: Sequence[str], rule: str) -> pd.DataFrame:
    """Ratings of some clips, every one of which somebody must have rated."""
    if isinstance(clips, str):
        raise TypeError(f"rule {rule!r} takes clip ids as a list, such as [{clips!r}], not one text")
    if not len(clips):
        raise ValueError(f"rule {rule!r} names no clips")
    wanted, rated = pd.unique(np.array(_as_rated(ratings, clips), dtype=object)), ratings["clip_id"].unique()
    unrated = wanted[~np.isin(wanted, rated)]
    if len(unrated):
        raise ClipsTableError(
            f"rule {rule!r} names {len(unrated)} of {len(wanted)} clips that nobody rated: {listed(unrated)}; the ratings name "
            f"{listed(rated, most=3)}{near_misses(unrated, rated)}"
        )
    return ratings[ratings["clip_id"].isin(wanted)]


def _as_rated(ratings: pd.DataFrame, clips: Sequence[str]) -> list[str]:
    """Name clips as the ratings do."""
    names, rated = list(map(id_text, clips)), ratings["clip_id"].unique()
    places = match_ids(names, rated)
    return [rated[place] if place >= 0 else name for name, place in zip(names, places, strict=True)]


def _scores(ratings: pd.DataFrame, targets: Sequence[str], keep: Sequence[str] = ()) -> pd.DataFrame:
    """One row a score that was given."""
    # Not melt, which refuses a target that is itself called "score".
    kept = ratings[[*UNIT, "clip_id", *keep]]
    parts = [kept.assign(target=target, score=ratings[target]) for target in targets]
    return pd.concat(parts, ignore_index=True).dropna(subset="score")
