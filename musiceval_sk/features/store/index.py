"""Where each item of a group lies: sorted keys over several files, a million of them in a fraction of a second."""

from collections.abc import Callable, Sequence

import numpy as np

from musiceval_sk.exceptions import StoreError
from musiceval_sk.features.store.file import KEY_BYTES, GroupName, StoreFile

_WORDS = KEY_BYTES // 8
Keep = Callable[[StoreFile, GroupName], np.ndarray]


def all_items(file: StoreFile, group: GroupName) -> np.ndarray:
    """Keep every item."""
    return np.ones(len(file.groups[group].keys), dtype=bool)


class GroupIndex:
    """Keys of one group over all files that hold it, each once; where files repeat one, the first file counts."""

    def __init__(self, group: GroupName, files: Sequence[StoreFile], keep: Keep = all_items):
        items = {file: np.flatnonzero(keep(file, group)) for file in files if group in file.groups}
        self.files = [file for file, some in items.items() if len(some)]
        dims = {file.groups[group].dim: file for file in self.files}
        if len(dims) > 1:
            (first, one), (second, other), *_ = dims.items()
            raise StoreError(
                f"{other.path}: vectors of {'/'.join(group)} have length {second}, but {first} in {one.path}: the encoder's "
                f"description hid a change; drop both by musiceval cache prune --fingerprint {group[1][:8]}, or delete one file"
            )
        self.dim = next(iter(dims), 0)
        chosen = [items[file] for file in self.files]
        found = [file.groups[group].keys[some] for file, some in zip(self.files, chosen, strict=True)]
        keys = _as_words(np.concatenate([np.empty((0, KEY_BYTES), dtype=np.uint8), *found]))
        order = np.argsort(keys[:, 0], kind="stable")
        if _misplaced(keys[order]):
            order = np.lexsort(keys.T[::-1])
        keys = keys[order]
        first = np.ones(len(keys), dtype=bool)
        first[1:] = (keys[1:] != keys[:-1]).any(axis=1)
        self._keys, self._leading = keys[first], np.ascontiguousarray(keys[first, 0])
        self._file_of = np.repeat(np.arange(len(chosen)), [*map(len, chosen)])[order][first]
        self._item_of = np.concatenate([np.empty(0, dtype=int), *chosen])[order][first]

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, keys: Sequence[bytes]) -> np.ndarray:
        """Find keys, as positions for `locate`; -1 where one is not there."""
        wanted = _as_words(np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES))
        places = np.searchsorted(self._leading, wanted[:, 0])
        found = np.full(len(wanted), -1)
        open_ = np.arange(len(wanted))
        while len(open_):
            open_ = open_[places[open_] < len(self._keys)]
            open_ = open_[self._leading[places[open_]] == wanted[open_, 0]]
            hit = (self._keys[places[open_]] == wanted[open_]).all(axis=1)
            found[open_[hit]] = places[open_[hit]]
            open_ = open_[~hit]
            places[open_] += 1
        return found

    def locate(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Name the file, by its number, and the item within it for each position."""
        return self._file_of[positions], self._item_of[positions]

    def items(self) -> dict[StoreFile, np.ndarray]:
        """Positions of the group's items in each file, ascending."""
        chosen = {file: np.sort(self._item_of[self._file_of == i]) for i, file in enumerate(self.files)}
        return {file: items for file, items in chosen.items() if len(items)}


def _as_words(keys: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(keys).view(np.uint64).reshape(-1, _WORDS)


def _misplaced(keys: np.ndarray) -> bool:
    """Whether different keys that begin alike stand between equal ones, which sorting by the beginning allows."""
    alike = keys[1:, 0] == keys[:-1, 0]
    return bool((keys[1:][alike] != keys[:-1][alike]).any())
