"""Rules by which standards screen raters: ITU-R BT.500, ITU-T P.913 and ITU-R BS.1534 (MUSHRA)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.exceptions import ClipsTableError
from musiceval_sk.ratings.bias import correlate_within
from musiceval_sk.ratings.screening import UNIT, Rule


@dataclass(frozen=True)
class BT500Screening(Rule):
    """Observer screening of ITU-R BT.500: whoever lies far above and far below the others lacks a scale of their own.

    A score lies far above or below where it is two standard deviations from the mean of its item's scores, or the root of 20
    where their kurtosis is not between 2 and 4. A rater is judged by all their batches together. The standard means panels
    that all rate everything; an item with fewer than six ratings can convict nobody, and a rater without larger ones is not judged.

    Attributes
    ----------
    share : float in [0, 1), default=0.05
        Fails where more than this share of a rater's scores lies far off, and they lie ...
    balance : float in (0, 1], default=0.3
        ... on both sides: the difference of the numbers above and below is less than this share of both.
    targets : sequence of str or None, default=None
        Score columns to look at; None for all.
    ddof : {0, 1}, default=1
        What is taken from the number of scores that standard deviations divide by: 1 as in the standard, 0 as in Netflix's sureal,
        which finds more of them far off. Items on which all agree put nobody off here, and everyone there.

    References
    ----------
    Recommendation ITU-R BT.500-14 (2019), and -15 (2023), "Methodologies for the subjective assessment of the quality of television
    images", Part 1, Annex 1, "Screening of the observers".
    """

    share: float = 0.05
    balance: float = 0.3
    targets: Sequence[str] | None = None
    ddof: int = 1
    name = "BT.500"
    words = (
        "{above:.0f} of {size:.0f} scores lie far above those of the others and {below:.0f} far below: more than {rule.share:.4g} of "
        "them, and on both sides"
    )

    def _find(self, ratings: pd.DataFrame, targets: Sequence[str]) -> pd.DataFrame:
        parts = []
        for target in targets:
            given = ratings[ratings[target].notna()]
            scores = given[target].groupby(given["item"])
            n, sd = scores.transform("size"), scores.transform("std", ddof=self.ddof)
            distance = given[target] - scores.transform("mean")
            second, fourth = ((distance**power).groupby(given["item"]).transform("mean") for power in (2, 4))
            spread = sd > 1e-9
            kurtosis = fourth / (second**2).where(spread)
            far = np.where(kurtosis.between(2, 4), 2, np.sqrt(20)) * sd - 1e-9
            seen = pd.DataFrame({"above": spread & (distance >= far), "below": spread & (distance <= -far)})
            # One of n lies at most (n - 1) / sqrt(n) standard deviations off, sqrt(n - 1) with ddof 0; it is to be two.
            seen["told"] = n >= 5 + self.ddof
            raters = seen.groupby(given["rater"])
            found = raters.sum().assign(size=raters.size(), target=target)
            parts.append(found[found["told"] > 0])
        found = pd.concat(parts).reset_index()
        off, apart = found["above"] + found["below"], (found["above"] - found["below"]).abs()
        failed = (off > self.share * found["size"] + 1e-9) & (apart < self.balance * off - 1e-9)
        return _in_all_batches(ratings, found.assign(failed=failed))


@dataclass(frozen=True)
class P913Screening(Rule):
    """Screening by correlation of ITU-T P.913: who does not go with the panel, and the worst first.

    A rater's scores are correlated with the mean of all raters, their own included, over items and, where systems are known, over
    the means of systems. Who lies below both bounds fails; of several the one with the lowest mean correlation is left out first, and
    the others are judged anew without them. A rater is judged by all their batches together.

    Attributes
    ----------
    least : float in [-1, 1], default=0.75
        Lowest Pearson correlation over items.
    least_of_systems : float in [-1, 1], default=0.8
        The same over systems, of which there must be three.
    column : str, default="system"
        Column of systems (the standard's hypothetical reference circuits); without it items alone decide.
    least_ratings : int, default=10
        Raters who share fewer items with others are not judged.
    targets : sequence of str or None, default=None
        Score columns to look at; None for all.

    Notes
    -----
    The bounds are those of the Video Quality Experts Group's test plans, as NTIA/ITS publishes them, and were chosen for video and full
    panels. Scores of music by five raters agree less, and fail by the dozen: set `least` for the panel at hand.

    References
    ----------
    Recommendation ITU-T P.913 (2021), "Methods for the subjective assessment of video quality, audio quality and audiovisual quality
    of Internet video and distribution quality television in any environment", screening by Pearson linear correlation.
    """

    least: float = 0.75
    least_of_systems: float = 0.8
    column: str = "system"
    least_ratings: int = 10
    targets: Sequence[str] | None = None
    name = "P.913"
    words = (
        "correlates {items:.3f} with the panel over items{over_systems}, below {rule.least:g}{and_systems}"
    )

    def _find(self, ratings: pd.DataFrame, targets: Sequence[str]) -> pd.DataFrame:
        parts = []
        for target in targets:
            columns = ["rater", "item", target, *([self.column] if self.column in ratings else [])]
            parts.append(self._judge(ratings[columns].dropna(subset=target), target))
        found = pd.concat(parts, ignore_index=True)
        known = found["systems"].notna()
        over = found["systems"].map(" and {:.3f} over systems".format).where(known, "")
        found = found.assign(
            over_systems=over, and_systems=np.where(known, f" and {self.least_of_systems:g}", "")
        )
        return _in_all_batches(ratings, found)

    def _judge(self, given: pd.DataFrame, target: str) -> pd.DataFrame:
        """Leave out the worst rater until all that are left stand."""
        raters, names = pd.factorize(given["rater"])
        items, scores = given["item"].to_numpy(), given[target].to_numpy(dtype=float)
        systems = pd.factorize(given[self.column])[0] if self.column in given else None
        table = pd.DataFrame(
            {"rater": names, "target": target, "items": np.nan, "systems": np.nan, "failed": False}
        )
        table["judged"] = True
        while True:
            left = ~table["failed"].to_numpy()[raters]
            found = self._correlate(
                raters[left],
                items[left],
                scores[left],
                None if systems is None else systems[left],
                len(names),
            )
            told = ~table["failed"] & (found["shared"] >= self.least_ratings)
            table.loc[~table["failed"], "judged"] = told
            for level in ("items", "systems"):
                table[level] = found[level].where(told, table[level])
            low = told & (table["items"] < self.least) & ~(table["systems"] >= self.least_of_systems)
            if not low.any():
                return table[table["judged"]]
            worst = table.loc[low, ["items", "systems"]].mean(axis=1).idxmin()
            table.loc[worst, "failed"] = True

    def _correlate(
        self, raters: np.ndarray, items: np.ndarray, scores: np.ndarray, systems: np.ndarray | None, n: int
    ) -> pd.DataFrame:
        """Correlate raters with the panel over items that others rated, and over systems."""
        count = np.bincount(items)
        means = np.bincount(items, scores) / np.maximum(count, 1)
        shared = count[items] > 1
        found = correlate_within(raters[shared], scores[shared], means[items][shared], n)
        found = found.rename(columns={"correlation": "items"}).fillna({"items": 0.0}).assign(systems=np.nan)
        if systems is None or not len(systems):
            return found
        known = systems >= 0
        of_panel = pd.Series(scores[known]).groupby(systems[known]).mean()
        own = pd.Series(scores[known]).groupby([raters[known], systems[known]]).mean()
        own_rater, system = (own.index.get_level_values(level).to_numpy() for level in (0, 1))
        over = correlate_within(own_rater, own.to_numpy(), of_panel[system].to_numpy(), n)
        return found.assign(systems=over["correlation"].where(over["shared"] > 2))


@dataclass(frozen=True)
class MushraScreening(Rule):
    """Post-screening of MUSHRA, ITU-R BS.1534: the hidden reference is to be found, and the anchor not to be taken for it.

    Attributes
    ----------
    reference : str or sequence of str, default="reference"
        Name of the hidden reference among the conditions, in any case of letters.
    anchors : str or sequence of str, default=()
        Names of anchors that must not be scored high; the standard means the middle one.
    column : str, default="system"
        Column that names the condition of each rating.
    least : float, default=90
        Who scores the reference below it, or an anchor above it, errs in that trial.
    most : float, default=0.15
        Fails where more trials of a batch than this err: a share of them below 1 (the standard's 15 %), else a number.
    targets : sequence of str or None, default=None
        Score columns to look at; None for all.

    References
    ----------
    Recommendation ITU-R BS.1534-3 (2015), "Method for the subjective assessment of intermediate quality level of audio systems",
    section 4.1.2.
    """

    reference: str | Sequence[str] = "reference"
    anchors: str | Sequence[str] = ()
    column: str = "system"
    least: float = 90
    most: float = 0.15
    targets: Sequence[str] | None = None
    name = "MUSHRA"
    words = "scored {kind} {side} {rule.least:g} in {count} of {size} trials, more than {allowed}"

    def _find(self, ratings: pd.DataFrame, targets: Sequence[str]) -> pd.DataFrame:
        if self.column not in ratings:
            raise ClipsTableError(
                f"rule 'MUSHRA' needs the condition of each rating, and the ratings have no column {self.column!r}; name the column "
                "that has it with column= (--condition-column)"
            )
        parts = []
        for kind, names, side in (
            ("the reference", self.reference, "below"),
            ("an anchor", self.anchors, "above"),
        ):
            wanted = {name.casefold() for name in ([names] if isinstance(names, str) else names)}
            of_kind = ratings[ratings[self.column].astype(str).str.strip().str.casefold().isin(wanted)]
            if wanted and of_kind.empty:
                conditions = listed(ratings[self.column].dropna().astype(str).unique())
                raise ClipsTableError(
                    f"rule 'MUSHRA': no rating is of {listed(sorted(wanted))}; conditions are {conditions}"
                )
            for target in targets:
                given = of_kind[of_kind[target].notna()]
                wrong = given[target] < self.least if side == "below" else given[target] > self.least
                units = wrong.groupby([given[name] for name in UNIT], sort=False)
                found = units.agg(["sum", "size"]).rename(columns={"sum": "count"}).reset_index()
                parts.append(found.assign(target=target, kind=kind, side=side))
        found = pd.concat(parts, ignore_index=True)
        bound, allowed = self.most, f"{self.most:g}"
        if self.most < 1:
            bound, allowed = self.most * found["size"] + 1e-9, f"{self.most:.4g} of them"
        return found.assign(failed=found["count"] > bound, allowed=allowed)


def _in_all_batches(ratings: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """Give what was found of a rater to each of their batches."""
    return ratings[UNIT].drop_duplicates().merge(found, on="rater")
