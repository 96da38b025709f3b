"""From the windows of a clip to one vector, on reading: changing it never decodes audio again."""

from collections.abc import Callable

import numpy as np

from musiceval_sk._text import require_known


def _mean(vectors: np.ndarray, offsets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    weights = weights.astype(vectors.dtype)[:, np.newaxis]  # others would turn float32 into float64
    sums = np.add.reduceat(vectors * weights, offsets[:-1], axis=0)
    return sums / np.add.reduceat(weights, offsets[:-1], axis=0)


def _std(vectors: np.ndarray, offsets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    centred = vectors - np.repeat(_mean(vectors, offsets, weights), np.diff(offsets), axis=0)
    return np.sqrt(_mean(centred**2, offsets, weights))


def _max(vectors: np.ndarray, offsets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.maximum.reduceat(vectors, offsets[:-1], axis=0)


def _first(vectors: np.ndarray, offsets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return vectors[offsets[:-1]]


POOLINGS: dict[str, dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]]] = {
    "mean": {"": _mean},
    "mean+std": {"mean_": _mean, "std_": _std},
    "max": {"": _max},
    "first": {"": _first},
}


def pool(
    vectors: np.ndarray, offsets: np.ndarray, pooling: str, weights: np.ndarray | None = None
) -> np.ndarray:
    """Turn each clip's windows into one vector.

    Parameters
    ----------
    vectors : np.ndarray [shape=(n_windows, dim)]
        Windows of all clips, one clip after another.
    offsets : np.ndarray [shape=(n_clips + 1,)]
        The windows of clip i are ``vectors[offsets[i]:offsets[i + 1]]``; every clip has at least one.
    pooling : {"mean", "mean+std", "max", "first"}
        Statistics over a clip's windows; "mean+std" doubles the length, the spread (population formula) follows.
    weights : np.ndarray [shape=(n_windows,)], default=None
        What each window counts in "mean" and "mean+std", by which `ClipEmbedder` counts the new sound that it brings. By default
        all count alike.

    Returns
    -------
    np.ndarray [shape=(n_clips, dim) or (n_clips, 2 * dim)]
        One vector a clip.

    Examples
    --------
    >>> import numpy as np
    >>> pool(np.array([[1.0], [3.0], [5.0]]), np.array([0, 2, 3]), "mean")
    array([[2.],
           [5.]])

    Of a clip of 12.5 s the second window of 10 s brings 2.5 s that the first does not cover:

    >>> pool(np.array([[1.0], [3.0]]), np.array([0, 2]), "mean", np.array([1.0, 0.25]))
    array([[1.4]])
    """
    check_pooling(pooling)
    weights = np.ones(len(vectors)) if weights is None else weights
    return np.hstack([statistic(vectors, offsets, weights) for statistic in POOLINGS[pooling].values()])


def is_weighed(pooling: str) -> bool:
    """Whether a pooling counts windows by the new sound that they bring: those that average do."""
    return pooling.startswith("mean")


def check_pooling(pooling: str) -> None:
    """Raise unless there is a pooling of this name.

    Parameters
    ----------
    pooling : str
        The name to check.

    Raises
    ------
    ValueError
        If there is none; the message lists those there are.
    """
    require_known("pooling", pooling, POOLINGS)


def provenance(fingerprint: str, pooling: str) -> str:
    """Say what makes two tables of embeddings comparable: whose vectors they are, and how windows became one.

    Parameters
    ----------
    fingerprint : str
        Of the encoder.
    pooling : str
        As for `pool`.

    Returns
    -------
    str
        What a table notes in ``attrs["encoder_fingerprint"]``.
    """
    return f"{fingerprint} (pooling {pooling}{' by new sound' if is_weighed(pooling) else ''})"
