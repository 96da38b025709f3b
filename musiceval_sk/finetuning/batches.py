"""Where a batch's vectors come from: a table of them, or sounds and prompts that go through the towers part by part."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch

from musiceval_sk._text import listed
from musiceval_sk.finetuning.memory import Costs, allowed, measure, until_it_fits

Tensor = torch.Tensor
# More at once are not faster on any card, and trying how much they take would cost more than it brings.
_MOST_WINDOWS = 256
Part = tuple[np.ndarray, Tensor]


class Vectors:
    """Rows of a table: nothing of the towers is computed.

    Parameters
    ----------
    X : np.ndarray [shape=(n, n_features)]
        One row a clip.
    device : torch.device
        Where to hold it.
    """

    def __init__(self, X: np.ndarray, device: torch.device):
        self._X = torch.from_numpy(X).to(device)

    def precision(self) -> AbstractContextManager[None]:
        """Context for forward and backward passes."""
        return nullcontext()

    def parts(self, rows: np.ndarray, training: bool) -> Iterator[Part]:
        """Give all rows at once, with their places among ``rows``."""
        yield np.arange(len(rows)), self._X[torch.from_numpy(rows).to(self._X.device)]

    def shrink(self, error: Exception) -> None:
        """Nothing can be smaller."""
        raise MemoryError(
            f"the GPU's memory does not hold the heads and a batch of vectors: {error}"
        ) from error

    def state(self) -> dict[str, Any]:
        """Say what decides how batches are cut: nothing."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""


class Sounds:
    """Clips that go through the towers, so many at once as memory allows; a clip's windows are averaged.

    Parameters
    ----------
    network : ClapNetwork
        The towers.
    windows_of : callable
        From a row to its windows, (n_windows, window_length).
    counts : np.ndarray of int [shape=(n,)]
        Windows of each row.
    tokens : (np.ndarray, np.ndarray) or None
        Token ids and mask of each row's prompt; None where no head reads prompts.
    dtypes : (str, str)
        What the towers compute in when they train and when they judge.
    max_batch_memory : int or None
        See `allowed`.
    """

    def __init__(
        self,
        network: Any,
        windows_of: Any,
        counts: np.ndarray,
        tokens: tuple[np.ndarray, np.ndarray] | None,
        dtypes: tuple[str, str],
        max_batch_memory: int | None,
    ):
        self._network, self._windows_of, self._counts, self._tokens = network, windows_of, counts, tokens
        self._dtypes, self._max_batch_memory = dtypes, max_batch_memory
        self._costs: dict[bool, Costs] = {}
        self._room: dict[bool, float] = {}
        self._most_clips = float("inf")
        self._largest = 1

    def precision(self) -> AbstractContextManager[None]:
        """Context for forward and backward passes."""
        return self._network.precision()

    def parts(self, rows: np.ndarray, training: bool) -> Iterator[Part]:
        """Give the vectors of rows part by part, with their places among ``rows``.

        Parameters
        ----------
        rows : np.ndarray of int
            What to embed; the next part's windows are read while one is computed.
        training : bool
            Whether gradients are wanted.

        Yields
        ------
        places : np.ndarray of int
            Which of ``rows``.
        vectors : Tensor [shape=(n_places, n_features)]
            Audio first, then text.
        """
        places = self._cut(rows, training)
        dtype = self._dtypes[0 if training else 1]
        with ThreadPoolExecutor(1) as reader:
            read = reader.submit(self._read, rows[places[0]])
            for i, some in enumerate(places):
                windows = read.result()
                if i + 1 < len(places):
                    read = reader.submit(self._read, rows[places[i + 1]])
                with torch.set_grad_enabled(training), self._network.precision():
                    vectors = self._embed(windows, rows[some], dtype)
                yield some, vectors
                del vectors

    def shrink(self, error: Exception) -> None:
        """Halve the parts after a GPU's memory ran out.

        Raises
        ------
        MemoryError
            If a part is one clip already.
        """
        if self._largest <= 1:
            raise MemoryError(
                f"the GPU's memory does not hold one clip of up to {self._counts.max()} windows ({error}); train fewer "
                "weights (train='last_blocks' or 'lora'), or free memory"
            ) from error
        self._most_clips = self._largest // 2

    def state(self) -> dict[str, Any]:
        """Say what decides how batches are cut, as JSON values."""
        most = None if self._most_clips == float("inf") else self._most_clips
        costs = {str(training): list(costs) for training, costs in self._costs.items()}
        return {"costs": costs, "room": {str(k): v for k, v in self._room.items()}, "most_clips": most}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave, so that sums are made in the same order as before."""
        self._costs = {training == "True": Costs(*costs) for training, costs in state["costs"].items()}
        self._room = {training == "True": room for training, room in state["room"].items()}
        self._most_clips = float("inf") if state["most_clips"] is None else state["most_clips"]

    def _cut(self, rows: np.ndarray, training: bool) -> list[np.ndarray]:
        """Places of rows that go through the towers together, in order; a clip is never divided."""
        counts = self._counts[rows]
        costs, room = self._measured(training, int(counts.sum())), self._room[training]
        cuts, n_windows, n_clips = [], 0, 0
        for place, count in enumerate(counts):
            together = n_windows + count
            fits = costs.of(together) <= room and together <= _MOST_WINDOWS and n_clips < self._most_clips
            if n_clips and not fits:
                cuts.append(place)
                n_windows, n_clips = 0, 0
            n_windows, n_clips = n_windows + count, n_clips + 1
        places = np.split(np.arange(len(rows)), cuts)
        self._largest = max(map(len, places))
        return places

    def _measured(self, training: bool, most: int) -> Costs:
        if training not in self._costs:
            device = self._network.device
            room = allowed(self._max_batch_memory, device)
            costs = measure(partial(self._probe, training), device, room, min(most, _MOST_WINDOWS))
            self._check_room(costs)
            self._costs[training], self._room[training] = costs, room
        return self._costs[training]

    def _probe(self, training: bool, n_windows: int) -> None:
        """Pass silence through the towers, with a prompt for each window."""
        dtype = self._dtypes[0 if training else 1]
        with torch.set_grad_enabled(training), self._network.precision():
            silence = np.zeros((n_windows, self._windows_of(0).shape[1]), dtype=np.float32)
            total = self._network.embed_audio(silence, dtype).sum()
            if self._tokens is not None:
                first = [part[[0] * n_windows] for part in self._tokens]
                total = total + self._network.embed_text(*first, dtype).sum()
            if training:
                (0 * total).backward()

    def _check_room(self, costs: Costs) -> None:
        needed = costs.of(self._counts.max())
        if self._max_batch_memory is not None and needed > self._max_batch_memory:
            raise ValueError(
                f"max_batch_memory={self._max_batch_memory:,} bytes does not hold one clip of {self._counts.max()} "
                f"windows, which takes {needed:,.0f} in this mode; raise it, train fewer weights, or leave out long clips"
            )

    def _read(self, rows: np.ndarray) -> np.ndarray:
        return np.concatenate([self._windows_of(row) for row in rows])

    def _embed(self, windows: np.ndarray, rows: np.ndarray, dtype: str) -> Tensor:
        embedded = self._network.embed_audio(windows, dtype)
        lengths = torch.from_numpy(self._counts[rows]).to(embedded.device)
        pooled = torch.segment_reduce(embedded, "mean", lengths=lengths, axis=0)
        if self._tokens is None:
            return pooled
        text = self._network.embed_text(*(part[rows] for part in self._tokens), dtype)
        return torch.cat([pooled, text], dim=1)


def embed_all(source: Sounds, n_rows: int, names: list[str]) -> np.ndarray:
    """Embed every row without gradients, [shape=(n_rows, n_features)], float32.

    Parameters
    ----------
    source : Sounds
        The towers and the clips.
    n_rows : int
        How many there are.
    names : list of str
        What to call them in errors.

    Raises
    ------
    ValueError
        If vectors are not finite.
    """

    def attempt() -> np.ndarray:
        parts = source.parts(np.arange(n_rows), training=False)
        return np.concatenate([vectors.cpu().numpy() for _, vectors in parts])

    found = until_it_fits(source, attempt)
    broken = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if len(broken):
        raise ValueError(
            f"the towers give nan or infinite vectors for clips {listed(names[i] for i in broken)}"
        )
    return found
