"""From the windows of a clip to one vector, on reading: changing it never touches audio again."""

from collections.abc import Callable

import numpy as np


def _mean(vectors: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    sums = np.add.reduceat(vectors, offsets[:-1], axis=0)
    counts = np.diff(offsets).astype(sums.dtype)  # integers would turn float32 into float64
    return sums / counts[:, np.newaxis]


def _std(vectors: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    centred = vectors - np.repeat(_mean(vectors, offsets), np.diff(offsets), axis=0)
    return np.sqrt(_mean(centred**2, offsets))


def _max(vectors: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    return np.maximum.reduceat(vectors, offsets[:-1], axis=0)


def _first(vectors: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    return vectors[offsets[:-1]]


POOLINGS: dict[str, dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
    "mean": {"": _mean},
    "mean+std": {"mean_": _mean, "std_": _std},
    "max": {"": _max},
    "first": {"": _first},
}


def pool(vectors: np.ndarray, offsets: np.ndarray, pooling: str) -> np.ndarray:
    """Turn each clip's windows into one vector.

    Parameters
    ----------
    vectors : np.ndarray [shape=(n_windows, dim)]
        Windows of all clips, one clip after another.
    offsets : np.ndarray [shape=(n_clips + 1,)]
        The windows of clip i are ``vectors[offsets[i]:offsets[i + 1]]``; every clip has at least one.
    pooling : {"mean", "mean+std", "max", "first"}
        Statistics over a clip's windows; "mean+std" doubles the length, the spread (population formula) follows.

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
    """
    check_pooling(pooling)
    return np.hstack([statistic(vectors, offsets) for statistic in POOLINGS[pooling].values()])


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
    if pooling not in POOLINGS:
        raise ValueError(f"unknown pooling {pooling!r}; choose from {', '.join(POOLINGS)}")


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
    return f"{fingerprint} (pooling {pooling})"
