"""Exact equality of nested values: arrays bit by bit, tables with their labels, estimators by their parameters."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

_SAMPLE = 1000


def same(first: Any, second: Any) -> bool:
    """Tell whether two values are the same for any deterministic computation.

    What cannot be compared counts as different, so that a wrong answer costs time but never correctness.
    """
    if first is second:
        return True
    if type(first) is not type(second):
        return False
    if isinstance(first, np.ndarray):
        return _same_arrays(first, second)
    if isinstance(first, Mapping):
        return first.keys() == second.keys() and all(same(first[name], second[name]) for name in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    if is_dataclass(first):
        return all(same(getattr(first, f.name), getattr(second, f.name)) for f in reversed(fields(first)))
    if hasattr(first, "get_params"):
        return same(first.get_params(deep=False), second.get_params(deep=False))
    if hasattr(first, "index") and hasattr(first, "equals"):
        labels = [name for name in ("index", "columns", "name") if hasattr(first, name)]
        return all(_equal(getattr(first, name), getattr(second, name)) for name in labels) and _equal(
            first, second
        )
    return _equal(first, second)


def _equal(first: Any, second: Any) -> bool:
    if hasattr(first, "equals"):
        return bool(first.equals(second))
    try:
        return bool(first == second)
    except (TypeError, ValueError):
        return False


def _same_arrays(first: np.ndarray, second: np.ndarray) -> bool:
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    if first.dtype.hasobject:
        return same(first.tolist(), second.tolist())
    word = np.uint64 if first.nbytes % 8 == 0 and first.itemsize in (1, 2, 4, 8) else np.uint8
    flat, other = (np.ascontiguousarray(array).reshape(-1).view(word) for array in (first, second))
    # Folds of one table differ in few places: a sample tells most of them apart without reading all.
    step = max(1, flat.size // _SAMPLE)
    return np.array_equal(flat[::step], other[::step]) and np.array_equal(flat, other)
