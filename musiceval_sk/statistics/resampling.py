"""Which clips a resample holds: systems drawn with replacement, then clips within each of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

LEVELS = ("both", "systems", "clips")
_MOST_PARTS = 200


@dataclass(frozen=True)
class Draws:
    """Some resamples.

    Attributes
    ----------
    clips : np.ndarray
        Rows of the clips of all resamples, one after another, and within a resample system by system.
    sizes : np.ndarray [shape=(n_resamples, n_systems)]
        Number of clips of each drawn system; one drawn twice is there twice, with clips of its own.
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
    systems : np.ndarray [shape=(n,)] or None
        The system of each clip; None puts all in one.
    n : int
        Number of clips.
    level : {"both", "systems", "clips"}
        What is drawn: systems and then clips within, whole systems, or clips within the systems as they are.
    names : np.ndarray [shape=(n_systems,)], default=None
        All systems to draw from, also those without a clip here; by default those of the clips.
    """

    def __init__(self, systems: np.ndarray | None, n: int, level: str, names: np.ndarray | None = None):
        systems = np.zeros(n, dtype=int) if systems is None else systems
        names = np.unique(systems) if names is None else names
        codes = pd.Index(names).get_indexer(systems)
        self.level = level
        self.n = n
        self._members = np.argsort(codes, kind="stable")
        self._sizes = np.bincount(codes, minlength=len(names))
        self._starts = np.cumsum(self._sizes) - self._sizes

    def draw(self, n_resamples: int, rng: np.random.Generator) -> Draws:
        """Draw at random."""
        return self.draw_clips(self.draw_systems(n_resamples, rng), rng)

    def draw_systems(self, n_resamples: int, rng: np.random.Generator) -> np.ndarray:
        """Draw systems, by their place among the names [shape=(n_resamples, n_systems)]."""
        n_systems = len(self._sizes)
        if self.level == "clips":
            return np.tile(np.arange(n_systems), (n_resamples, 1))
        return rng.integers(n_systems, size=(n_resamples, n_systems))

    def draw_clips(self, drawn: np.ndarray, rng: np.random.Generator) -> Draws:
        """Draw clips of drawn systems."""
        sizes = self._sizes[drawn]
        start, size = (
            np.repeat(of_system[drawn].ravel(), sizes.ravel()) for of_system in (self._starts, self._sizes)
        )
        if self.level == "systems":
            ends = np.cumsum(sizes.ravel())
            place = np.arange(ends[-1]) - np.repeat(ends - sizes.ravel(), sizes.ravel())
        else:
            place = (rng.random(len(size)) * size).astype(int)
        return Draws(self._members[start + place], sizes)

    def as_they_are(self) -> Draws:
        """Every clip once."""
        return Draws(self._members, self._sizes[np.newaxis])

    def leaving_out(self) -> Iterator[Draws]:
        """Leave out what is drawn first, one system or, where only clips are drawn, one part of them at a time.

        Clips go out in at most `_MOST_PARTS` parts of equal size, each from all systems.
        """
        systems = np.repeat(np.arange(len(self._sizes)), self._sizes)
        unit = systems if self.level != "clips" else np.arange(self.n) % min(self.n, _MOST_PARTS)
        n_units = len(self._sizes) if self.level != "clips" else unit.max() + 1
        for out in range(n_units if n_units > 1 else 0):
            kept = unit != out
            sizes = np.bincount(systems[kept], minlength=len(self._sizes))
            if self.level != "clips":
                sizes = np.delete(sizes, out)
            yield Draws(self._members[kept], sizes[np.newaxis])


def generators(random_state: Any, n: int) -> list[np.random.Generator]:
    """Make independent generators from what scikit-learn takes as random_state, or from a numpy Generator."""
    if isinstance(random_state, np.random.Generator):
        seed = int(random_state.integers(2**32))
    else:
        seed = check_random_state(random_state).randint(2**31 - 1)
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(n)]
