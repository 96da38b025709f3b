"""Rules by which a rater's scores of a batch are found invalid.

Rules are values: all thresholds are their fields. A rule names what was rated by its clip id, which stands for all its ratings,
or by a tuple with one value for each of `screen_ratings`'s ``items``, such as ``(clip_id, prompt)``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._ids import id_text, match_ids, near_misses
from musiceval_sk._text import listed
from musiceval_sk.exceptions import ClipsTableError

UNIT = ["rater", "batch"]
Item = str | tuple[str, ...]


class Rule:
    """What all rules are: a finding for every rater and batch, and words for those that fail.

    A rule of your own derives from this, has a ``name``, and overrides `judge`.

    Attributes
    ----------
    name : str
        Short name that the tables show.
    """

    name = "rule"

    @property
    def probes(self) -> tuple[Item, ...]:
        """Clips or items that were there only to probe, and are no part of the test."""
        return ()

    def judge(self, ratings: pd.DataFrame, targets: Sequence[str]) -> pd.DataFrame:
        """Judge every rater and batch that the rule can judge.

        Parameters
        ----------
        ratings : pandas.DataFrame
            Columns ``rater``, ``batch`` and ``clip_id`` (text), ``item`` (number of what was rated), ``item_name`` (a tuple
            of its values), ``trusted`` (False where an earlier rule left the rater and batch out), the targets, and all
            columns of the user's table.
        targets : sequence of str
            Score columns to look at.

        Returns
        -------
        pandas.DataFrame
            One row a rater, batch and piece of evidence: ``rater``, ``batch``, ``target``, ``failed`` (bool) and
            ``evidence`` (words, empty where it did not fail).
        """
        wanted = getattr(self, "targets", None)
        # A rule made for a target that this test did not ask for looks at those that it did.
        chosen = [name for name in targets if wanted is None or name in wanted] or list(targets)
        found = self._find(ratings, chosen)
        failed = found["failed"].to_numpy(bool)
        evidence = np.full(len(found), "", dtype=object)
        evidence[failed] = [self._words(row) for row in found[failed].to_dict("records")]
        return found[[*UNIT, "target", "failed"]].assign(evidence=evidence)

    def _find(self, ratings: pd.DataFrame, targets: list[str]) -> pd.DataFrame:
        """Return ``rater``, ``batch``, ``target``, ``failed`` and whatever the words need."""
        raise NotImplementedError

    def _words(self, row: dict[Any, Any]) -> str:
        """Put a row of the finding that failed in words."""
        raise NotImplementedError


@dataclass(frozen=True)
class RealMusicProbe(Rule):
    """Real music, hidden among generated clips, must not be scored low.

    The first probe of the MusicEval paper: a rater who scores any of the real clips of a batch below 3 is
    invalid there.

    Attributes
    ----------
    clips : sequence of str or tuple
        Clip ids, or items, of the real music.
    least : float, default=3
        Lowest score that is accepted; who scores below it fails.
    targets : sequence of str or None, default=("impression",)
        Score columns to look at; None for all. Real music is good music, but need not fit the text it is shown with.
    """

    clips: Sequence[Item]
    least: float = 3
    targets: Sequence[str] | None = ("impression",)
    name = "real music"

    @property
    def probes(self) -> tuple[Item, ...]:
        """The real clips."""
        return tuple(map(_as_text, self.clips))

    def _find(self, ratings: pd.DataFrame, targets: list[str]) -> pd.DataFrame:
        given = _scores(_of_items(ratings, self.clips, self.name), targets)
        return given.assign(failed=given["score"] < self.least)

    def _words(self, row: dict[Any, Any]) -> str:
        return f"scored {row['score']:g} for the real clip {row['clip_id']}, below {self.least:g}"


@dataclass(frozen=True)
class DuplicateProbe(Rule):
    """Two copies of one clip in a batch must be scored alike.

    The second probe of the MusicEval paper, which does not say how much is "too large".

    Attributes
    ----------
    pairs : sequence of (str or tuple, str or tuple) or None, default=None
        Clip ids, or items, of a clip and of its copy. None takes items that a rater rated more than once in a batch under
        the same name.
    most : float, default=1
        Largest difference of scores that is accepted; copies that are further apart fail.
    targets : sequence of str or None, default=None
        Score columns to look at; None for all.
    """

    pairs: Sequence[tuple[Item, Item]] | None = None
    most: float = 1
    targets: Sequence[str] | None = None
    name = "duplicates"

    @property
    def probes(self) -> tuple[Item, ...]:
        """The second copies."""
        return tuple(_as_text(copy) for clip, copy in self.pairs or () if _as_text(clip) != _as_text(copy))

    def _find(self, ratings: pd.DataFrame, targets: list[str]) -> pd.DataFrame:
        if self.pairs is None:
            copies = ratings.assign(pair=ratings["item"], words=ratings["clip_id"])
        else:
            if isinstance(self.pairs, str) or any(
                isinstance(pair, str) or len(pair) != 2 for pair in self.pairs
            ):
                raise TypeError(
                    f"rule {self.name!r} takes pairs of clip ids, such as [('S02_P04', 'S02_P04_again')]; got {self.pairs!r}"
                )
            flat = [item for pair in self.pairs for item in pair]
            named = pd.DataFrame({"copy": _as_rated(ratings, flat), "pair": np.arange(len(flat)) // 2})
            named["words"] = [" and ".join(map(_words_of, pair)) for pair in self.pairs for _ in pair]
            rated = _of_items(ratings, flat, self.name)
            copies = pd.concat(rated.assign(copy=rated[column]) for column in ("clip_id", "item_name")).merge(
                named.drop_duplicates(["copy", "pair"]), on="copy"
            )
        long = _scores(copies, targets, keep=["pair", "words"])
        both = long.groupby([*UNIT, "target", "pair", "words"], sort=False)["score"].agg(
            ["min", "max", "size"]
        )
        found = both[both["size"] > 1].reset_index()
        return found.assign(failed=found["max"] - found["min"] > self.most + 1e-9)

    def _words(self, row: dict[Any, Any]) -> str:
        return f"scored the two copies of {row['words']} {row['min']:g} and {row['max']:g}, more than {self.most:g} apart"


@dataclass(frozen=True)
class AnchorRule(Rule):
    """Anchors must lie on their side of the scale, as the mean of what a rater gave them.

    Attributes
    ----------
    high, low : sequence of str or tuple, default=()
        Clip ids, or items, of anchors known to be good and known to be bad. They count as part of the test, not as probes.
    middle : float, default=3
        The score that parts the sides: a mean of high anchors below it fails, and one of low anchors above it.
    targets : sequence of str or None, default=("impression",)
        Score columns to look at; None for all.
    """

    high: Sequence[Item] = ()
    low: Sequence[Item] = ()
    middle: float = 3
    targets: Sequence[str] | None = ("impression",)
    name = "anchors"

    def _find(self, ratings: pd.DataFrame, targets: list[str]) -> pd.DataFrame:
        parts = []
        for side, clips, sign in (("high", self.high, 1), ("low", self.low, -1)):
            if len(clips):
                long = _scores(_of_items(ratings, clips, f"{side} {self.name}"), targets)
                means = (
                    long.groupby([*UNIT, "target"], sort=False)["score"].agg(["mean", "size"]).reset_index()
                )
                parts.append(means.assign(side=side, failed=sign * (means["mean"] - self.middle) < 0))
        if not parts:
            raise ValueError("AnchorRule names no clips; give high=, low= or both")
        return pd.concat(parts, ignore_index=True)

    def _words(self, row: dict[Any, Any]) -> str:
        where = "below" if row["side"] == "high" else "above"
        return f"mean {row['mean']:.4g} over {row['size']} {row['side']} anchors, {where} {self.middle:g}"


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

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share must lie above 0 and be at most 1; got {self.share}")

    def _find(self, ratings: pd.DataFrame, targets: list[str]) -> pd.DataFrame:
        long = _scores(ratings, targets)
        counts = long.groupby([*UNIT, "target", "score"], sort=False).size().rename("count").reset_index()
        total = counts.groupby([*UNIT, "target"], sort=False)["count"].transform("sum")
        counts = counts.assign(total=total).sort_values("count", ascending=False, kind="stable")
        found = counts.drop_duplicates([*UNIT, "target"])
        found = found[found["total"] >= self.least_ratings]
        found = found.assign(failed=found["count"] >= self.share * found["total"] - 1e-9)
        return found

    def _words(self, row: dict[Any, Any]) -> str:
        return f"gave {row['score']:g} in {row['count']} of {row['total']} ratings, at least {self.share:.4g} of them"


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

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ValueError(f"share must lie between 0 and below 1; got {self.share}")

    def _find(self, ratings: pd.DataFrame, targets: list[str]) -> pd.DataFrame:
        if self.column not in ratings:
            raise ClipsTableError(
                f"rule 'too fast' needs the seconds that each rating took, and the ratings have no column {self.column!r}; "
                "name the column that has them with column= (--time-column), or leave the rule (--fastest) out"
            )
        timed = ratings.assign(time=pd.to_numeric(ratings[self.column], errors="coerce")).dropna(
            subset="time"
        )
        if timed.empty:
            raise ClipsTableError(f"rule 'too fast': column {self.column!r} holds no number of seconds")
        timed["fast"] = timed["time"] < self.least
        found = timed.groupby(UNIT, sort=False).agg(
            fast=("fast", "sum"), size=("fast", "size"), median=("time", "median")
        )
        found = found.reset_index().assign(target="")
        found["failed"] = found["fast"] > self.share * found["size"] + 1e-9
        return found

    def _words(self, row: dict[Any, Any]) -> str:
        return (
            f"took less than {self.least:g} s for {row['fast']} of {row['size']} ratings (median {row['median']:.1f} s), "
            f"more than {self.share:.4g} of them"
        )


@dataclass(frozen=True)
class Disagreement(Rule):
    """A rater whose scores do not go with those of the others does not hear what they hear.

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

    def __post_init__(self) -> None:
        if not -1 <= self.least <= 1:
            raise ValueError(f"least is a correlation and must lie between -1 and 1; got {self.least}")

    def _find(self, ratings: pd.DataFrame, targets: list[str]) -> pd.DataFrame:
        parts = [self._correlate(ratings, target) for target in targets]
        found = pd.concat(parts, ignore_index=True)
        found["failed"] = found["correlation"] < self.least
        return found

    def _words(self, row: dict[Any, Any]) -> str:
        return f"correlates {row['correlation']:.3f} with the other raters over {row['n']} items, below {self.least:g}"

    def _correlate(self, ratings: pd.DataFrame, target: str) -> pd.DataFrame:
        """Correlate each rater and batch with the mean of trusted others; no spread on either side counts as 0."""
        rated = ratings[ratings[target].notna()]
        own, trusted = rated[target] - rated[target].mean(), rated["trusted"]
        sums = pd.DataFrame({"x": own.where(trusted, 0.0), "n": trusted.astype(int)})
        whole = sums.groupby(rated["item"]).transform("sum")
        his = sums.groupby([rated["item"], rated["rater"]]).transform("sum")
        others = whole["n"] - his["n"]
        shared = others > 0
        pairs = rated.loc[shared, UNIT].assign(
            own=own[shared], rest=((whole["x"] - his["x"]) / others)[shared]
        )
        units = pairs.groupby(UNIT, sort=False)
        pairs[["own", "rest"]] -= units[["own", "rest"]].transform("mean")
        pairs = pairs.assign(xy=pairs["own"] * pairs["rest"], xx=pairs["own"] ** 2, yy=pairs["rest"] ** 2)
        units = pairs.groupby(UNIT, sort=False)
        sums = units[["xy", "xx", "yy"]].sum().assign(n=units.size()).reset_index()
        sums = sums[sums["n"] >= self.least_ratings]
        spread = np.sqrt(sums["xx"] * sums["yy"])
        correlation = (sums["xy"] / spread.where(spread > 1e-12)).fillna(0.0)
        return sums[[*UNIT, "n"]].assign(target=target, correlation=correlation)


def _of_items(ratings: pd.DataFrame, items: Iterable[Any], name: str) -> pd.DataFrame:
    """Ratings of some clips or items, every one of which somebody must have rated."""
    if isinstance(items, str):
        raise TypeError(f"rule {name!r} takes clip ids as a list, such as [{items!r}], not one text")
    wanted = list(dict.fromkeys(_as_rated(ratings, items)))
    if not wanted:
        raise ValueError(f"rule {name!r} names no clips")
    rated = {*ratings["clip_id"].unique(), *ratings["item_name"].unique()}
    unrated = [item for item in wanted if item not in rated]
    if unrated:
        shown = ratings.drop_duplicates("item")["item_name" if isinstance(unrated[0], tuple) else "clip_id"]
        n_columns = len(ratings["item_name"].iloc[0])
        named = max(len(item) if isinstance(item, tuple) else 1 for item in unrated)
        hint = ""
        if named > 1 and named != n_columns:
            hint = (
                f". Names of {named} values need as many columns in items=, such as items=['clip_id', 'prompt'], "
                f"and there {'are' if n_columns > 1 else 'is'} {n_columns}"
            )
        raise ClipsTableError(
            f"rule {name!r} names {len(unrated)} of {len(wanted)} clips that nobody rated: {listed(map(_words_of, unrated))}; "
            f"the ratings name {listed(map(_words_of, shown.unique()), most=3)}"
            f"{near_misses(unrated, shown.unique())}{hint}"
        )
    return ratings[named_among(ratings, wanted)]


def named_among(ratings: pd.DataFrame, items: Iterable[Item]) -> pd.Series:
    """Tell which ratings are of one of these clips or items.

    Parameters
    ----------
    ratings : pandas.DataFrame
        With ``clip_id`` and ``item_name``.
    items : iterable of str or tuple
        Clip ids, or items.

    Returns
    -------
    pandas.Series of bool
        One value a rating.
    """
    wanted = set(_as_rated(ratings, items))
    return ratings["clip_id"].isin(wanted) | ratings["item_name"].isin(wanted)


def _as_text(item: Any) -> Item:
    return tuple(map(id_text, item)) if isinstance(item, tuple | list) else id_text(item)


def _as_rated(ratings: pd.DataFrame, items: Iterable[Any]) -> list[Item]:
    """Name clips or items with the clip ids of the ratings."""
    named = [_as_text(item) for item in items]
    at = _place_of_clip_id(ratings)
    ids = list(
        dict.fromkeys(
            item if isinstance(item, str) else item[at]
            for item in named
            if isinstance(item, str) or at < len(item)
        )
    )
    clips = ratings["clip_id"].unique()
    own = {name: clips[place] for name, place in zip(ids, match_ids(ids, clips), strict=True) if place >= 0}
    return [
        own.get(item, item)
        if isinstance(item, str)
        else tuple(own.get(part, part) if place == at else part for place, part in enumerate(item))
        for item in named
    ]


def _place_of_clip_id(ratings: pd.DataFrame) -> int:
    """Find which part of an item's name is its clip id."""
    pairs = list(zip(ratings["item_name"], ratings["clip_id"], strict=True))
    places = range(len(pairs[0][0])) if pairs and isinstance(pairs[0][0], tuple) else []
    return next((at for at in places if all(name[at] == clip for name, clip in pairs)), 0)


def _words_of(item: Any) -> str:
    return f"({', '.join(map(str, item))})" if isinstance(item, tuple | list) else str(item)


def _scores(ratings: pd.DataFrame, targets: Sequence[str], keep: Sequence[str] = ()) -> pd.DataFrame:
    """One row a score that was given."""
    # Not melt, which refuses a target that is itself called "score".
    parts = [
        ratings[[*UNIT, "clip_id", *keep]].assign(target=target, score=ratings[target]) for target in targets
    ]
    return pd.concat(parts, ignore_index=True).dropna(subset="score")
