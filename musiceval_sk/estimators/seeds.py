"""Where `MOSRegressor`'s randomness comes from: one seed a member for its rows, one a member and head for its weights."""

from typing import Any

import numpy as np

_LARGEST = np.iinfo(np.int32).max


def draw_seeds(random_state: np.random.RandomState, n_members: int, n_heads: int) -> np.ndarray:
    """Draw seeds, [shape=(n_members, 1 + n_heads)]: of the order of rows, then of each head's initial weights."""
    return random_state.randint(_LARGEST, size=(n_members, 1 + n_heads))


def seeds_of_epoch(seeds: np.ndarray, epoch: int) -> np.ndarray:
    """Derive an epoch's seeds, so that training that goes epoch by epoch needs no generator kept in between."""
    drawn = [np.random.SeedSequence([int(seed), epoch]).generate_state(1)[0] for seed in seeds[:, 0]]
    return np.column_stack([np.array(drawn, dtype=np.int64) % _LARGEST, seeds[:, 1:]])


def draw_rows(regressor: Any, rows: np.ndarray, seeds: np.ndarray) -> list[np.ndarray] | None:
    """Draw each member's rows with replacement, where the regressor asks for it."""
    if not regressor.bootstrap:
        return None
    generators = [np.random.default_rng([int(seed), len(rows)]) for seed in seeds[:, 0]]
    return [rows[np.sort(generator.integers(len(rows), size=len(rows)))] for generator in generators]
