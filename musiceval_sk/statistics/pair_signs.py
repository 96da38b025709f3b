"""Concordant minus discordant pairs in many weighted samples of the same clips, by matrix products.

Clips are cut into chunks by prediction and into chunks by truth, never between equal values. Two clips in different chunks
of both orders are ordered as their chunks are, so counts by chunk decide such pairs. All others are few: their signs are laid
out once, and a matrix product adds them up for every sample.
"""

from collections.abc import Callable

import numpy as np

_CHUNK = 64


class PairSigns:
    """The pairs of clips, ready to be counted in samples that hold each clip any number of times.

    Parameters
    ----------
    truth, prediction : np.ndarray [shape=(n,)]
        Scores; only their order matters. It is fastest where clips are sorted by prediction.
    """

    def __init__(self, truth: np.ndarray, prediction: np.ndarray):
        truth_chunk, prediction_chunk = _chunks(truth), _chunks(prediction)

        def signs(clips: np.ndarray) -> np.ndarray:
            return _signs(truth[clips]) * _signs(prediction[clips])

        def signs_apart(clips: np.ndarray) -> np.ndarray:
            chunk = prediction_chunk[clips]
            return signs(clips) * (chunk[:, np.newaxis] != chunk)

        self._by_prediction = _blocks(prediction_chunk, signs)
        self._by_truth = [block for block in _blocks(truth_chunk, signs_apart) if block[1] is not None]
        names = np.arange(truth_chunk.max() + 1)
        self._truth_is = [
            (truth_chunk[clips] == names[:, np.newaxis]).astype(float) for clips, _ in self._by_prediction
        ]
        self._above = _signs(names)

    def balance(self, counts: np.ndarray) -> np.ndarray:
        """Concordant minus discordant pairs.

        Parameters
        ----------
        counts : np.ndarray [shape=(n, n_samples)]
            How often each sample holds each clip.

        Returns
        -------
        np.ndarray [shape=(n_samples,)]
            Whole numbers.
        """
        near, far = np.zeros((2, counts.shape[1]))
        below = np.zeros((len(self._above), counts.shape[1]))
        for (clips, signs), truth_is in zip(self._by_prediction, self._truth_is, strict=True):
            held = counts[clips]
            if signs is not None:
                near += _summed_products(held, signs @ held)
            here = truth_is @ held
            far += _summed_products(here, self._above @ below)
            below += here
        for clips, signs in self._by_truth:
            held = counts[clips]
            near += _summed_products(held, signs @ held)
        return near / 2 + far


def _chunks(values: np.ndarray) -> np.ndarray:
    """Put clips into chunks: whole groups of equal values, together at most `_CHUNK` clips where they can be."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    chunk_of_group = np.empty(len(sizes), dtype=int)
    chunk, held = 0, 0
    for number, size in enumerate(sizes):
        if held and held + size > _CHUNK:
            chunk, held = chunk + 1, 0
        chunk_of_group[number] = chunk
        held += size
    return chunk_of_group[group]


def _blocks(
    chunks: np.ndarray, signs: Callable[[np.ndarray], np.ndarray]
) -> list[tuple[slice | np.ndarray, np.ndarray | None]]:
    """Clips of each chunk in turn, with their signs; None where no pair within counts."""
    bounds = np.cumsum(np.bincount(chunks))[:-1]
    blocks = []
    for clips in np.split(np.argsort(chunks, kind="stable"), bounds):
        found = signs(clips) if len(clips) <= _CHUNK else np.zeros(1)
        in_a_row = (np.diff(clips) == 1).all()
        blocks.append((slice(clips[0], clips[-1] + 1) if in_a_row else clips, found if found.any() else None))
    return blocks


def _signs(values: np.ndarray) -> np.ndarray:
    return np.sign(values[:, np.newaxis] - values)


def _summed_products(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.einsum("ib,ib->b", left, right)
