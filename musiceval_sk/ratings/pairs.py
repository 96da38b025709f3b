"""Preference tests: pairs of clips, which of the two a rater liked better, and the strengths of systems and clips behind it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import expit

from musiceval_sk._ids import id_texts, match_ids, near_misses, require_names
from musiceval_sk._text import Shown, Table, counted, listed, require_known
from musiceval_sk.datasets import readers
from musiceval_sk.exceptions import ClipsTableError, RatingDesignError
from musiceval_sk.ratings.formats import read_ratings
from musiceval_sk.ratings.formats.tables import as_preferences
from musiceval_sk.ratings.read import of_known_clips
from musiceval_sk.ratings.strengths import (
    ClusterCovariance,
    fit_strengths,
    influence_of_comparisons,
    linked_groups,
)
from musiceval_sk.statistics.align import require_confidence

LEVELS = ("system", "clip")
_ELO, _ELO_LEVEL = 400 / np.log(10), 1000
_LEAST_UNITS = 3


def read_pairs(pairs: str | Path | pd.DataFrame, clips: pd.DataFrame | None = None) -> pd.DataFrame:
    """Read comparisons of pairs of clips.

    Parameters
    ----------
    pairs : str, Path or pandas.DataFrame
        Table with ``clip_a``, ``clip_b`` and ``preference`` ("a", "b", "tie" or "both_bad"), one row a comparison, and, where known,
        ``rater``; or a file of such or of another program, see `read_ratings`.
    clips : pandas.DataFrame, default=None
        Clips table, for ``system`` and ``prompt``; pairs with other clips are left out with a warning.

    Returns
    -------
    pandas.DataFrame
        The columns that came, ids as text, and where they are known ``system_a``, ``system_b`` and ``prompt``, that of clip a.

    Raises
    ------
    ClipsTableError
        If a column is missing, a preference is none of the four, a clip is compared with itself, or no pair is left.
    """
    table = pairs.copy() if isinstance(pairs, pd.DataFrame) else read_ratings(pairs)
    source = readers.source_of(table)
    readers.require_columns(table, ["clip_a", "clip_b", "preference"])
    for name in ("clip_a", "clip_b"):
        readers.require_filled(table, name)
        table[name] = id_texts(table[name])
    table["preference"] = as_preferences(table["preference"], source)
    same = table["clip_a"] == table["clip_b"]
    if same.any():
        raise ClipsTableError(f"{source}clips are compared with themselves: {listed(table['clip_a'][same])}")
    if table.empty:
        raise ClipsTableError(f"{source}there are no pairs")
    if clips is None:
        return table
    table = of_known_clips(table, clips, ["clip_a", "clip_b"], "pair")
    if "system" in clips:
        systems = {f"system_{side}": clips["system"].loc[table[f"clip_{side}"]].to_numpy() for side in "ab"}
        table = table.assign(**systems)
    return (
        table.assign(prompt=clips["prompt"].loc[table["clip_a"]].to_numpy()) if "prompt" in clips else table
    )


@dataclass(frozen=True, eq=False, repr=False)
class PairStrengths(Shown):
    """Strengths of systems or clips in a preference test.

    Attributes
    ----------
    table : pandas.DataFrame
        Indexed by system or clip, the strongest first: ``strength`` with ``low`` and ``high``, ``wins``, ``losses``, ``ties``.
    differences : pandas.DataFrame
        One row a pair, ``a`` the stronger: ``a, b, difference, low, high``. An interval without 0 tells them apart; of many pairs
        some do so by chance.
    tie : float
        How ties weigh in Davidson's model (nu): two equals tie with the probability nu / (2 + nu). 0 in Bradley and Terry's.
    note : str
        What the intervals speak of.
    elo : bool
        Whether strengths are on Elo's scale (mean 1000, odds of 10 for 400 points); else natural logarithms around 0.
    """

    table: pd.DataFrame = field(repr=False)
    differences: pd.DataFrame = field(repr=False)
    tie: float
    note: str
    elo: bool = False

    def to_frame(self) -> pd.DataFrame:
        """Give what was found as a tidy table.

        Returns
        -------
        pandas.DataFrame
            One row a system or clip, the strongest first: its name in ``system`` or ``clip``, and the columns of ``table``.
        """
        return self.table.reset_index()

    def _headline(self) -> str:
        return f"strengths of {len(self.table)}; {self._model()}; {self.note}"

    def _model(self) -> str:
        return f"Davidson's model, nu = {self.tie:.3f}" if self.tie else "Bradley and Terry's model"

    def win_probability(self) -> pd.DataFrame:
        """Work out how often each wins against each other, a tie being half a win.

        Returns
        -------
        pandas.DataFrame
            The row's expected share against the column's, in the order of the table.
        """
        strength = self.table["strength"].to_numpy() / (_ELO if self.elo else 1)
        half = (strength[:, None] - strength) / 2
        share = (np.exp(half) + self.tie / 2) / (np.exp(half) + np.exp(-half) + self.tie)
        return pd.DataFrame(share, self.table.index, self.table.index)

    def _parts(self) -> list[str]:
        """Give the table and what stands behind it."""
        shown = self.table.round(dict.fromkeys(("strength", "low", "high"), 0 if self.elo else 3))
        return [Table(shown.rename_axis(None), na_rep="-"), f"{self._model()}; {self.note}"]


def pair_strengths(
    pairs: str | Path | pd.DataFrame,
    *,
    clips: pd.DataFrame | None = None,
    level: str = "system",
    ties: str = "davidson",
    prior: float = 0.0,
    elo: bool = False,
    confidence: float = 0.95,
) -> PairStrengths:
    """Estimate how strong systems or clips are from comparisons of pairs.

    Parameters
    ----------
    pairs : str, Path or pandas.DataFrame
        As of `read_pairs`; systems are its columns ``system_a`` and ``system_b`` where no clips are given.
    clips : pandas.DataFrame, default=None
        Clips table with ``system`` and, for intervals that speak of other prompts, ``prompt``.
    level : {"system", "clip"}, default="system"
        Whose strengths. At "system", pairs of one system are left aside.
    ties : {"davidson", "half"}, default="davidson"
        Whether ties have a probability of their own or are half a win for both. "both_bad" counts as a tie.
    prior : float, default=0.0
        Number of ties of everyone with an imagined average one; shrinks strengths, and keeps them finite.
    elo : bool, default=False
        Give strengths on Elo's scale, with a mean of 1000 and 400 points for odds of 10.
    confidence : float in (0, 1), default=0.95
        Nominal coverage of the intervals.

    Returns
    -------
    PairStrengths
        Strengths and their differences with intervals that speak of other raters and other prompts, as far as three or more are
        known (of clips: of other raters); where neither is, comparisons are taken for independent.

    Raises
    ------
    ClipsTableError
        If the table cannot be read, or systems are unknown.
    RatingDesignError
        If groups were never compared with one another, or somebody won or lost against all others and `prior` is 0.
    ValueError
        If an option is unknown or out of range.

    Notes
    -----
    A strength is the logarithm of how often one wins; 0 is the mean of all. Standard errors are two-way cluster-robust (sandwich), intervals
    Student's t with Satterthwaite's degrees of freedom; their coverage is told in docs/pairs.md.

    References
    ----------
    R. R. Davidson, JASA 65 (1970). A. C. Cameron, J. B. Gelbach and D. L. Miller, "Robust inference with multiway clustering", Journal of
    Business and Economic Statistics 29 (2011).

    Examples
    --------
    >>> pairs = pd.DataFrame({"clip_a": list("xxxx"), "clip_b": list("yyyy"), "preference": ["a", "a", "a", "b"]})
    >>> pair_strengths(pairs, level="clip").table["strength"].round(3).to_dict()  # odds of 3
    {'x': 0.549, 'y': -0.549}
    """
    require_known("level", level, LEVELS)
    require_known("ties", ties, ("davidson", "half"))
    if not prior >= 0:
        raise ValueError(f"prior={prior} must be at least 0")
    require_confidence(confidence)
    table = read_pairs(pairs, clips)
    columns = [f"{level}_a", f"{level}_b"]
    if level == "system":
        if not {*columns} <= {*table}:
            raise ClipsTableError(
                f"{readers.source_of(table)}no systems are known: give clips=, a table with a column 'system', or level='clip' for the "
                "strengths of clips"
            )
        for name, clip in zip(columns, ("clip_a", "clip_b"), strict=True):
            table[name] = require_names(table[name], "system", pd.Index(table[clip]), error=ClipsTableError)
        table = table[table["system_a"] != table["system_b"]]
        if table.empty:
            raise RatingDesignError(
                "all pairs are of clips of one system, so nothing tells systems apart; take level clip"
            )
    codes, names = pd.factorize(pd.concat([table[name] for name in columns]))
    comparisons = _Comparisons(
        codes[: len(table)], codes[len(table) :], table["preference"].to_numpy(), len(names)
    )
    won = comparisons.won()
    davidson = ties == "davidson" and bool(comparisons.tied.any())
    if not prior:
        _require_links(comparisons, names, level, davidson)
    fit = fit_strengths(won, comparisons.tied.sum(), davidson=davidson, prior=prior)
    influence = influence_of_comparisons(comparisons.first, comparisons.second, comparisons.share, fit)
    ways, note = _clusters(table, ("rater", "prompt") if level == "system" else ("rater",))
    covariance = ClusterCovariance(influence, ways)
    unit, level_of_scale = (_ELO, _ELO_LEVEL) if elo else (1, 0)
    half, values = unit * covariance.half_widths(confidence), level_of_scale + unit * fit.values
    found = pd.DataFrame({"strength": values, "low": values - half, "high": values + half}, names)
    found = found.join(comparisons.counts(names))
    order = np.argsort(-fit.values, kind="stable")
    a, b = order[np.stack(np.triu_indices(len(order), 1))]
    lead, apart = values[a] - values[b], unit * covariance.half_widths_of_differences(confidence)[a, b]
    differences = pd.DataFrame(
        {"a": names[a], "b": names[b], "difference": lead, "low": lead - apart, "high": lead + apart}
    )
    return PairStrengths(found.iloc[order].rename_axis(level), differences, fit.tie, note, elo)


class _Comparisons:
    """Who met whom, by numbers, and how it ended."""

    def __init__(self, first: np.ndarray, second: np.ndarray, preference: np.ndarray, n: int):
        self.first, self.second, self.n = first, second, n
        self.share = np.select([preference == "a", preference == "b"], [1.0, 0.0], 0.5)
        self.tied = self.share == 0.5

    def won(self, which: np.ndarray | float = 1.0) -> np.ndarray:
        """Sum up how often each won against each, a tie being half."""
        ends = ((self.first, self.second, self.share), (self.second, self.first, 1 - self.share))
        cells = [np.bincount(i * self.n + j, which * part, self.n**2) for i, j, part in ends]
        return (cells[0] + cells[1]).reshape(self.n, self.n)

    def circular(self) -> bool:
        """Whether some wins go round in a circle: else distances of strengths and the weight of ties can grow together."""
        return linked_groups(self.won(~self.tied), both_ways=True).max() < self.n - 1

    def counts(self, names: pd.Index) -> pd.DataFrame:
        """Wins, losses and ties of each."""
        ends = pd.DataFrame(
            {"who": np.append(self.first, self.second), "share": np.append(self.share, 1 - self.share)}
        )
        table = pd.crosstab(ends["who"], ends["share"]).reindex(columns=[1.0, 0.0, 0.5], fill_value=0)
        return table.set_axis(["wins", "losses", "ties"], axis=1).set_axis(names)


def _require_links(comparisons: _Comparisons, names: pd.Index, level: str, davidson: bool) -> None:
    """Refuse comparisons that leave strengths open."""
    for both_ways, what, advice in (
        (
            False,
            "that were never compared with one another",
            "Compare some across, or give a prior, such as 1, with which each group has about the same mean",
        ),
        (
            True,
            "of two of which one won all comparisons",
            "Strengths then have no end; collect more pairs, or give a prior, such as 1, that shrinks them",
        ),
    ):
        groups = linked_groups(comparisons.won(), both_ways=both_ways)
        if groups.any():
            parts = [f"[{listed(names[groups == group], most=3)}]" for group in np.unique(groups)]
            raise RatingDesignError(
                f"the {level}s fall into {len(parts)} groups {what}: {listed(parts, most=3)}. {advice}"
            )
    if davidson and not comparisons.circular():
        raise RatingDesignError(
            f"no win of a {level} goes against the order that the others give, so distances of strengths and the weight of ties have no "
            "end; count ties as half a win, or give a prior, such as 1"
        )


def _clusters(table: pd.DataFrame, columns: Sequence[str]) -> tuple[list[np.ndarray], str]:
    """Give each comparison the number of its rater and of its prompt, as far as they are known, and say so."""
    ways = {
        f"{name}s": pd.factorize(table[name])[0]
        for name in columns
        if name in table and table[name].notna().all() and table[name].nunique() >= _LEAST_UNITS
    }
    drawn = " and ".join(ways) or "comparisons, as if they were independent"
    return list(ways.values()), f"intervals over {drawn}"


def pairwise_agreement(
    scores: pd.Series,
    pairs: str | Path | pd.DataFrame,
    *,
    clips: pd.DataFrame | None = None,
    slope: float | None = None,
    n_bins: int = 10,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Judge scores of clips, of any predictor, by whether raters preferred the clip with the higher one.

    Parameters
    ----------
    scores : pandas.Series
        Scores by clip id.
    pairs : str, Path or pandas.DataFrame
        As of `read_pairs`. Ties tell nothing here and are left aside.
    clips : pandas.DataFrame, default=None
        Clips table with ``prompt``, for intervals that speak of other prompts.
    slope : float or None, default=None
        Of the link ``P(a preferred) = 1 / (1 + exp(-slope (score_a - score_b)))``; by default the one of least log loss on these
        pairs, not below 0. Give one that was fitted elsewhere for figures that owe nothing to these pairs.
    n_bins : int, default=10
        Bins of the calibration error, equally wide from 0.5 to 1.
    confidence : float in (0, 1), default=0.95
        Nominal coverage of the intervals, which are made as those of `pair_strengths`.

    Returns
    -------
    pandas.DataFrame
        Indexed by figure, ``value``, ``low``, ``high`` and ``n``, the number of decided pairs: "accuracy" (equal scores count half),
        "log loss" (natural logarithms, log 2 for guessing), "calibration error" (expected calibration error of the preferred side's
        probability; without interval, as chance adds to it) and "slope".

    Raises
    ------
    ClipsTableError
        If pairs name clips without a score, or none was decided.

    Examples
    --------
    >>> scores = pd.Series({"x": 4.0, "y": 3.0, "z": 1.0})
    >>> pairs = pd.DataFrame({"clip_a": list("xyz"), "clip_b": list("yzx"), "preference": ["a", "a", "a"]})
    >>> pairwise_agreement(scores, pairs)["value"].round(2).to_dict()
    {'accuracy': 0.67, 'log loss': 0.69, 'calibration error': 0.17, 'slope': 0.0}
    """
    require_confidence(confidence)
    table = read_pairs(pairs, clips)
    table = table[table["preference"].isin(["a", "b"])]
    if table.empty:
        raise ClipsTableError("no pair was decided for one of its clips")
    if slope is not None and not slope >= 0:
        raise ValueError(
            f"slope={slope!r} must not be below 0: a higher score must not make a clip less preferred"
        )
    scores = scores.dropna()
    places = [match_ids(table[name], scores.index) for name in ("clip_a", "clip_b")]
    unscored = [table[name][place < 0] for name, place in zip(("clip_a", "clip_b"), places, strict=True)]
    lacking = pd.concat(unscored).unique()
    if len(lacking):
        raise ClipsTableError(
            f"{counted(len(lacking), 'clip')} of the pairs have no score: {listed(lacking)}{near_misses(lacking, scores.index)}"
        )
    values = scores.to_numpy(dtype=float)
    # Of the preferred clip over the other.
    lead = (values[places[0]] - values[places[1]]) * np.where(table["preference"] == "a", 1, -1)
    slope = _slope_of(lead) if slope is None else slope
    right, losses = (np.sign(lead) + 1) / 2, np.logaddexp(0, -slope * lead)
    ways, _ = _clusters(table, ("rater", "prompt"))
    of_pairs = np.column_stack([right, losses])
    means = of_pairs.mean(axis=0)
    half = ClusterCovariance((of_pairs - means) / len(lead), ways).half_widths(confidence)
    low, high = np.maximum(0, means - half), np.minimum(means + half, [1, np.inf])
    error = _calibration_error(expit(slope * np.abs(lead)), right, n_bins)
    figures = pd.Index(["accuracy", "log loss", "calibration error", "slope"], name="figure")
    columns = {
        "value": [*means, error, slope],
        "low": [*low, np.nan, np.nan],
        "high": [*high, np.nan, np.nan],
    }
    return pd.DataFrame(columns, figures).assign(n=len(lead))


def _slope_of(lead: np.ndarray) -> float:
    """Find the slope of least log loss, not below 0; for scores that are always right, the steepest looked at."""
    unit = np.abs(lead).mean()
    if unit == 0:
        return 0.0
    found = minimize_scalar(
        lambda slope: np.logaddexp(0, -slope * lead / unit).mean(),
        bounds=(0, 50),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return 0.0 if np.mean(lead) <= 0 else float(found.x / unit)


def _calibration_error(probability: np.ndarray, right: np.ndarray, n_bins: int) -> float:
    """Mean distance of probability and frequency over equally wide bins, weighted by their numbers."""
    bins = np.minimum((2 * (probability - 0.5) * n_bins).astype(int), n_bins - 1)
    gaps = np.bincount(bins, probability - right, n_bins)
    return float(np.abs(gaps).sum() / len(right))
