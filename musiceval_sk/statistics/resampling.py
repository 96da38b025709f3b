"""All metrics of resamples: systems are drawn with replacement, or clips within them, and all that is drawn is scored.

With folds, metrics are computed fold by fold and averaged. Folds that share systems, as those of a random split do, err alike on
them: to draw systems anew in each would take those errors for independent and give intervals that are too narrow. So a system is
drawn once for all folds that test it.
"""

import functools
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy.sparse import csgraph, csr_matrix
from sklearn.utils import check_random_state
from threadpoolctl import ThreadpoolController

from musiceval_sk.statistics.agreement import KINDS, ClipAgreement, system_agreement
from musiceval_sk.statistics.metrics import METRICS

LEVELS = ("systems", "clips")
# Two systems always correlate perfectly.
LEAST_SYSTEMS_TO_RANK = 3
NO_FOLD_RANKS = f"no fold holds {LEAST_SYSTEMS_TO_RANK} systems"
_RANKED = [place for place, name in enumerate(METRICS) if name in ("S_LCC", "S_SRCC", "S_KTAU")]
_MOST_PARTS = 200
# Numbers a block may hold in one array: small enough for a core's cache.
BLOCK = 2**18

Pair = tuple[np.ndarray, np.ndarray]  # truth and prediction of the same clips


class Draws(NamedTuple):
    """Some resamples.

    Attributes
    ----------
    clips : np.ndarray
        Rows of the clips of all resamples, one after another, and within a resample system by system.
    sizes : np.ndarray [shape=(n_resamples, n_systems)]
        Number of clips of each drawn system; one drawn twice is there twice.
    """

    clips: np.ndarray
    sizes: np.ndarray

    def counts(self, n: int) -> np.ndarray:
        """How often each resample holds each of n clips, as floats [shape=(n, n_resamples)]."""
        n_resamples = len(self.sizes)
        resample = np.repeat(np.arange(n_resamples), self.sizes.sum(axis=1))
        counts = np.bincount(self.clips * n_resamples + resample, minlength=n * n_resamples)
        return counts.reshape(n, n_resamples).astype(float)

    def means(self, values: np.ndarray) -> np.ndarray:
        """Average clips over each drawn system, nan where none is left [shape=(n_systems, n_resamples)]."""
        sizes = self.sizes.ravel()
        means = np.full(len(sizes), np.nan)
        filled = np.flatnonzero(sizes)
        starts = (np.cumsum(sizes) - sizes)[filled]
        means[filled] = np.add.reduceat(values[self.clips], starts) / sizes[filled]
        return means.reshape(self.sizes.shape).T


class Resampling:
    """A way to draw clips.

    Parameters
    ----------
    systems : np.ndarray [shape=(n,)]
        The system of each clip.
    level : {"systems", "clips"}
        What is drawn: whole systems, or clips within the systems as they are.
    names : np.ndarray [shape=(n_systems,)], default=None
        All systems to draw from, also those without a clip here; by default those of the clips.
    """

    def __init__(self, systems: np.ndarray, level: str, names: np.ndarray | None = None):
        names = np.unique(systems) if names is None else names
        codes = pd.Index(names).get_indexer(systems)
        self.level, self.n = level, len(systems)
        self._members = np.argsort(codes, kind="stable")
        self._sizes = np.bincount(codes, minlength=len(names))
        self._starts = np.cumsum(self._sizes) - self._sizes

    def draw_systems(self, n_resamples: int, rng: np.random.Generator) -> np.ndarray:
        """Draw systems, by their place among the names [shape=(n_resamples, n_systems)]."""
        n_systems = len(self._sizes)
        if self.level == "clips":
            return np.tile(np.arange(n_systems), (n_resamples, 1))
        return rng.integers(n_systems, size=(n_resamples, n_systems))

    def draw_clips(self, drawn: np.ndarray, rng: np.random.Generator) -> Draws:
        """Draw clips of drawn systems."""
        sizes = self._sizes[drawn]
        flat = sizes.ravel()
        start, size = (np.repeat(of_system[drawn].ravel(), flat) for of_system in (self._starts, self._sizes))
        if self.level == "systems":
            within = np.arange(len(start)) - np.repeat(np.cumsum(flat) - flat, flat)
        else:
            within = (rng.random(len(size)) * size).astype(int)
        return Draws(self._members[start + within], sizes)

    def as_they_are(self) -> Draws:
        """Every clip once."""
        return Draws(self._members, self._sizes[np.newaxis])

    def leaving_out(self) -> Iterator[Draws]:
        """Leave out what is drawn, one system or one part of the clips each time, as so many resamples as a block may hold.

        Systems or clips go out in at most `_MOST_PARTS` parts of about equal size; a system that is out has no clips.
        """
        n_systems = len(self._sizes)
        systems = np.repeat(np.arange(n_systems), self._sizes)
        unit, n_units = (systems, n_systems) if self.level != "clips" else (np.arange(self.n), self.n)
        n_parts = min(n_units, _MOST_PARTS) if n_units > 1 else 0
        for out in np.array_split(np.arange(n_parts), 1 + n_parts * self.n // BLOCK):
            kept = unit % _MOST_PARTS != out[:, np.newaxis]
            sizes = [np.bincount(systems[of_part], minlength=n_systems) for of_part in kept]
            clips = self._members[np.nonzero(kept)[1]]
            yield Draws(clips, np.array(sizes, dtype=int).reshape(len(out), n_systems))


class ClipMetrics:
    """Metrics of any draws of clips, for several truths and predictions at once.

    Parameters
    ----------
    pairs : sequence of (np.ndarray, np.ndarray) [shape=(n,)]
        Truths and predictions; all share their clips, so that each resample holds the same clips of each.
    resampling : Resampling
        How clips are drawn.
    metrics : collection of str
        Names of `METRICS`; all others are left nan.
    ranks_systems : bool, default=True
        Whether there are correlations of systems; else they are nan.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        resampling: Resampling,
        metrics: Collection[str],
        ranks_systems: bool = True,
    ):
        self.resampling = resampling
        self._pairs, self._ranks_systems = pairs, ranks_systems
        kinds = [kind for kind in KINDS if f"U_{kind}" in metrics]
        self._clip_columns = [list(METRICS).index(f"U_{kind}") for kind in kinds]
        self._by_clip = [ClipAgreement(*pair, kinds) for pair in pairs] if kinds else []
        self._with_systems = any(METRICS[name].by_system for name in metrics)

    def score(self, draws: Draws) -> np.ndarray:
        """Metrics of these resamples [shape=(n_resamples, n_pairs, 8)]."""
        scores = np.full((len(draws.sizes), len(self._pairs), len(METRICS)), np.nan)
        if self._by_clip:
            counts = draws.counts(self.resampling.n)
            for number, agreement in enumerate(self._by_clip):
                scores[:, number, self._clip_columns] = agreement.score(counts).T
        if self._with_systems:
            for number, pair in enumerate(self._pairs):
                scores[:, number, 4:] = system_agreement(*map(draws.means, pair)).T
            if not self._ranks_systems:
                scores[..., _RANKED] = np.nan
        return scores


class ResampledMetrics:
    """Metrics of all clips together, or means over folds, in resamples.

    A metric that a fold leaves undefined is left out of the mean; so are correlations of systems where a fold has fewer than
    three.

    Parameters
    ----------
    pairs : sequence of (np.ndarray, np.ndarray) [shape=(n,)]
        Truths and predictions; all share their clips.
    systems : np.ndarray [shape=(n,)] or None
        The system of each clip; without it only clips are drawn.
    level : {"systems", "clips"}
        What is drawn.
    metrics : collection of str
        Names of `METRICS`; all others are left nan.
    folds : np.ndarray [shape=(n,)] or None, default=None
        The fold of each clip.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        systems: np.ndarray | None,
        level: str,
        metrics: Collection[str],
        folds: np.ndarray | None = None,
    ):
        self._n = len(pairs[0][0])
        level = "clips" if systems is None else level
        systems = np.zeros(self._n) if systems is None else systems
        in_folds = np.zeros(self._n) if folds is None else folds
        self._groups: list[list[ClipMetrics]] = []
        for group in folds_by_shared_systems(systems, in_folds):
            names = np.unique(systems[np.isin(in_folds, group)])
            made = []
            for fold in group:
                rows = in_folds == fold
                resampling = Resampling(systems[rows], level, names)
                ranks = folds is None or len(set(systems[rows])) >= LEAST_SYSTEMS_TO_RANK
                made.append(ClipMetrics([(x[rows], y[rows]) for x, y in pairs], resampling, metrics, ranks))
            self._groups.append(made)

    def as_they_are(self) -> np.ndarray:
        """Metrics of every clip once [shape=(n_pairs, 8)]."""
        return mean_of_defined([scores for group in self._whole() for scores in group])

    def draw(self, n_resamples: int, random_state: Any, n_jobs: int | None) -> np.ndarray:
        """Metrics of random resamples [shape=(n_resamples, n_pairs, 8)]; they do not depend on the number of threads.

        So many resamples are scored at a time that they fit a core's cache.
        """
        size = max(1, BLOCK // self._n)
        sizes = [min(size, n_resamples - first) for first in range(0, n_resamples, size)]
        with one_thread():
            blocks = Parallel(n_jobs, prefer="threads")(
                map(delayed(self.draw_block), sizes, generators(random_state, len(sizes)))
            )
        return np.concatenate(blocks)

    def draw_block(self, n_resamples: int, rng: np.random.Generator) -> np.ndarray:
        """Draw resamples and score them, all at once."""
        scores = []
        for group in self._groups:
            drawn = group[0].resampling.draw_systems(n_resamples, rng)
            scores += [fold.score(fold.resampling.draw_clips(drawn, rng)) for fold in group]
        return mean_of_defined(scores)

    def leaving_out(self) -> np.ndarray:
        """Metrics of the samples that each lack one unit, in all folds of a group [shape=(n_units, n_pairs, 8)]."""
        rows = []
        whole = self._whole()
        for number, group in enumerate(self._groups):
            others = [scores for at, found in enumerate(whole) if at != number for scores in found]
            lacking = [
                np.concatenate([fold.score(draws) for draws in fold.resampling.leaving_out()])
                for fold in group
            ]
            # Folds differ in their number of parts where only clips are drawn.
            n_units = min(map(len, lacking))
            alike = [np.broadcast_to(scores, (n_units, *scores.shape)) for scores in others]
            rows.append(mean_of_defined([*alike, *(scores[:n_units] for scores in lacking)]))
        return np.concatenate(rows)

    def _whole(self) -> list[list[np.ndarray]]:
        return [[fold.score(fold.resampling.as_they_are())[0] for fold in group] for group in self._groups]


def folds_by_shared_systems(systems: np.ndarray, folds: np.ndarray) -> list[np.ndarray]:
    """Group folds, so that folds of different groups share no system.

    Parameters
    ----------
    systems, folds : np.ndarray [shape=(n,)]
        The system and the fold of each clip.

    Returns
    -------
    list of np.ndarray
        Names of the folds of each group.
    """
    names, fold = np.unique(folds, return_inverse=True)
    tested = csr_matrix((np.ones(len(fold)), (fold, pd.factorize(systems)[0])))
    count, group = csgraph.connected_components(tested @ tested.T)
    return [names[group == number] for number in range(count)]


def folds_are_small(systems: np.ndarray | None, folds: np.ndarray | None) -> bool:
    """Tell whether no fold holds enough systems for a correlation of systems; False where either is unknown."""
    known = systems is not None and folds is not None
    return known and bool(pd.Series(systems).groupby(folds).nunique().max() < LEAST_SYSTEMS_TO_RANK)


def mean_of_defined(scores: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Average over the first axis what is defined; nan where nothing is.

    Parameters
    ----------
    scores : sequence of np.ndarray
        Those of each fold or repeat, all of one shape.

    Returns
    -------
    np.ndarray
        Of the same shape.
    """
    stacked = np.asarray(scores)
    defined = np.isfinite(stacked)
    with np.errstate(invalid="ignore"):
        return np.where(defined, stacked, 0).sum(axis=0) / defined.sum(axis=0)


@functools.cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def one_thread() -> AbstractContextManager[Any]:
    """Let products of small matrices run on one thread each; libraries are looked for only once, which takes longest."""
    return _libraries().limit(limits=1, user_api="blas")


def generators(random_state: Any, n: int) -> list[np.random.Generator]:
    """Make independent generators from what scikit-learn takes as random_state, or from a numpy Generator."""
    if isinstance(random_state, np.random.Generator):
        seed = int(random_state.integers(2**32))
    else:
        seed = check_random_state(random_state).randint(2**31)
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(n)]
