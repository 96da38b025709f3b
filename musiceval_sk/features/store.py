"""The embedding cache: vectors under the digest of what they were computed from.

A store is a main HDF5 file and, beside it, a folder of parts. Appending writes one new part; reading sees main
file and parts as one; `EmbeddingStore.compact` folds the parts into the main file. Nothing that was stored is ever
opened for writing again, so killing a process at any moment loses at most the batch in flight, and many writers,
also on several hosts over a shared folder, append without a lock. The layout is described in ``cache/README.md``.
"""

import json
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk.exceptions import StoreError
from musiceval_sk.features._store_file import (
    KEY_BYTES,
    Block,
    GroupName,
    GroupPlan,
    StoreFile,
    canonical,
    write_store_file,
)
from musiceval_sk.features._store_index import GroupIndex
from musiceval_sk.features.encoders.base import Modality, digest_of

DEFAULT_STORE = Path("cache") / "embeddings.h5"
_COPY_ROWS = 1 << 15
_ABANDONED_SECONDS = 24 * 3600
_ATTEMPTS = 10


def default_store_path() -> Path:
    """Where embeddings are kept when nobody says otherwise.

    Returns
    -------
    Path
        The environment variable ``MUSICEVAL_CACHE``, else ``cache/embeddings.h5`` below the working folder.
    """
    return Path(os.environ.get("MUSICEVAL_CACHE") or DEFAULT_STORE)


class EmbeddingStore:
    """Crash-safe, append-only HDF5 store of embeddings.

    Parameters
    ----------
    path : str or Path, default=None
        The main file; parts lie in ``<path>.parts/``. Neither need exist before the first append. By default
        `default_store_path`.

    Examples
    --------
    >>> import numpy as np
    >>> from tempfile import mkdtemp
    >>> store = EmbeddingStore(mkdtemp() + "/embeddings.h5")
    >>> description, key = {"name": "toy"}, bytes(32)
    >>> fingerprint = store.append("audio", description, [key], [np.ones((2, 3))])
    >>> store.contains("audio", fingerprint, [key])
    array([ True])
    >>> vectors, offsets = store.read("audio", fingerprint, [key])
    >>> vectors.shape, offsets
    ((2, 3), array([0, 2]))
    """

    def __init__(self, path: str | Path | None = None):
        self.path = Path(path) if path is not None else default_store_path()
        if self.path.is_dir():
            raise ValueError(
                f"{self.path}: is a folder; a store is a file, such as {self.path / 'embeddings.h5'}"
            )
        self.parts_folder = self.path.with_name(self.path.name + ".parts")
        self._files: dict[tuple[str, int, int], StoreFile] = {}
        self._indexes: dict[GroupName, GroupIndex] = {}

    def __repr__(self) -> str:
        return f"EmbeddingStore({str(self.path)!r})"

    def append(
        self,
        modality: Modality,
        description: dict[str, Any],
        keys: Sequence[bytes],
        items: Sequence[np.ndarray],
    ) -> str:
        """Store vectors; once this returns they survive a crash.

        Parameters
        ----------
        modality : {"audio", "text"}
            Which tower made them.
        description : dict
            The encoder's description of this modality, see `Encoder.describe`.
        keys : sequence of bytes
            One 32-byte digest an item.
        items : sequence of np.ndarray [shape=(n_windows, dim)]
            The vectors of each item.

        Returns
        -------
        str
            The fingerprint under which they are found again.

        Raises
        ------
        ValueError
            If keys and items do not match, a key is not 32 bytes long, or vectors are not finite.
        StoreError
            If the folder cannot be written.
        """
        fingerprint = digest_of(description)
        block = _block_of(keys, items)
        plan = GroupPlan(
            canonical(description), len(keys), len(block.vectors), block.vectors.shape[1], [block]
        )
        part = self.parts_folder / f"part-{time.time_ns():020d}-{uuid.uuid4().hex[:12]}.h5"
        try:
            write_store_file(part, {(modality, fingerprint): plan})
        except OSError as error:
            raise StoreError(
                f"{self.path}: cannot store embeddings ({_reason(error)}); what was stored is intact"
            ) from error
        return fingerprint

    def contains(self, modality: Modality, fingerprint: str, keys: Sequence[bytes]) -> np.ndarray:
        """Tell which items are stored.

        Parameters
        ----------
        modality : {"audio", "text"}
            Which tower.
        fingerprint : str
            The encoder's, for this modality.
        keys : sequence of bytes
            32-byte digests.

        Returns
        -------
        np.ndarray [shape=(n_keys,)], bool
            True where the item is stored.
        """
        self._refresh()
        index = self._indexes.get((modality, fingerprint))
        return np.zeros(len(keys), dtype=bool) if index is None else index.find(keys) >= 0

    def read(
        self, modality: Modality, fingerprint: str, keys: Sequence[bytes]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read the vectors of items, in the order asked for.

        Parameters
        ----------
        modality : {"audio", "text"}
            Which tower.
        fingerprint : str
            The encoder's, for this modality.
        keys : sequence of bytes
            32-byte digests; may repeat.

        Returns
        -------
        vectors : np.ndarray [shape=(n_windows_total, dim)], float32
            All windows of all items.
        offsets : np.ndarray [shape=(n_keys + 1,)], int64
            The windows of item i are ``vectors[offsets[i]:offsets[i + 1]]``.

        Raises
        ------
        StoreError
            If an item is not stored, or a file is damaged.
        """
        for _ in range(_ATTEMPTS):
            try:
                return self._read(modality, fingerprint, keys)
            except FileNotFoundError:  # another process compacted between our looking and our reading
                continue
        raise StoreError(f"{self.path}: files vanished while reading, {_ATTEMPTS} times in a row")

    def read_batches(
        self, modality: Modality, fingerprint: str, keys: Sequence[bytes], *, size: int = 4096
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Read the vectors of many items in batches, so that they need not fit into memory.

        Parameters
        ----------
        modality : {"audio", "text"}
            Which tower.
        fingerprint : str
            The encoder's, for this modality.
        keys : sequence of bytes
            32-byte digests.
        size : int, default=4096
            Items a batch.

        Yields
        ------
        vectors, offsets : np.ndarray
            As `read` returns them, for the next ``size`` keys.
        """
        for begin in range(0, len(keys), size):
            yield self.read(modality, fingerprint, keys[begin : begin + size])

    def encoders(self) -> pd.DataFrame:
        """List what the store holds.

        Returns
        -------
        pandas.DataFrame
            One row a modality and fingerprint: number of items and windows, and the encoder's description.
        """
        self._refresh()
        rows = []
        for group, index in sorted(self._indexes.items()):
            items = index.items()
            windows = sum(int(np.diff(file.offsets(group))[chosen].sum()) for file, chosen in items.items())
            rows.append((*group, len(index), windows, json.loads(index.files[0].groups[group])))
        return pd.DataFrame(rows, columns=["modality", "fingerprint", "items", "windows", "encoder"])

    def needs_compaction(self) -> bool:
        """Tell whether the parts outweigh the main file, so that folding them in is worth a rewrite.

        Returns
        -------
        bool
            By this rule each byte is rewritten a bounded number of times while the store grows.
        """
        parts = sum(_size(part) for part in self.parts_folder.glob("*.h5"))
        return parts > _size(self.path)

    def compact(self, *, timeout: float = -1) -> bool:
        """Fold all parts into the main file, by rewrite and rename.

        Appending and reading go on meanwhile, in any process. Only one compaction runs at a time: it holds the lock
        file ``<path>.lock``, which the system frees when the process dies.

        Parameters
        ----------
        timeout : float, default=-1
            Seconds to wait for another compaction to end; negative waits for ever.

        Returns
        -------
        bool
            False if another process held the lock for longer than ``timeout``.

        Raises
        ------
        StoreError
            If a file is damaged or the folder cannot be written.
        """
        from filelock import FileLock, Timeout

        if not self.parts_folder.exists():
            return True
        try:
            with FileLock(f"{self.path}.lock", timeout=timeout):
                self._fold_parts()
        except Timeout:
            return False
        except OSError as error:
            raise StoreError(
                f"{self.path}: cannot compact ({_reason(error)}); what was stored is intact"
            ) from error
        return True

    def _fold_parts(self) -> None:
        """Write all into a new main file; rows of the old one stay in place, for those who looked before."""
        self._refresh()
        parts = [file for file in self._files.values() if file.path != self.path]
        if parts:
            seen = _stamp_or_none(self.path)
            # The lock keeps compactions apart where the file system honours it; this catches most of the rest.
            plans = {group: self._plan(group) for group in self._indexes}
            if not write_store_file(self.path, plans, unless=lambda: _stamp_or_none(self.path) != seen):
                return
            for part in parts:
                part.path.unlink(missing_ok=True)
        for aside in (*self.parts_folder.glob("*.tmp"), *self.path.parent.glob(f"{self.path.name}.*.tmp")):
            with suppress(FileNotFoundError):  # its writer has just finished
                if time.time() - aside.stat().st_mtime > _ABANDONED_SECONDS:
                    aside.unlink()

    def files(self) -> list[Path]:
        """List the main file, if there is one, and the parts from the oldest to the newest.

        Returns
        -------
        list of Path
            Files that together held all of the store at one moment; any of them may vanish the next.
        """
        while True:
            had_main = self.path.exists()
            parts = self._parts()
            # The main file after the parts, so that a compaction between the two looks hides nothing.
            if self.path.exists():
                return [self.path, *parts]
            # Was it pruned away meanwhile, then what survived of it is in a part that these may lack.
            again = self._parts()
            if not had_main and set(parts) <= set(again):
                return again

    def _parts(self) -> list[Path]:
        return sorted(self.parts_folder.glob("part-*.h5")) if self.parts_folder.exists() else []

    def groups(self) -> list[GroupName]:
        """List modality and fingerprint of every group that the store holds.

        Returns
        -------
        list of (str, str)
            Sorted.
        """
        self._refresh()
        return sorted(self._indexes)

    def items(self, group: GroupName) -> dict[StoreFile, np.ndarray]:
        """Find where the items of a group lie, each once however often it was stored.

        Parameters
        ----------
        group : (str, str)
            Modality and fingerprint.

        Returns
        -------
        dict of StoreFile to np.ndarray of int
            Per file the positions of its items, ascending.
        """
        self._refresh()
        return self._indexes[group].items() if group in self._indexes else {}

    def _plan(self, group: GroupName) -> GroupPlan:
        items = self._indexes[group].items()
        n_vectors = sum(int(np.diff(file.offsets(group))[rows].sum()) for file, rows in items.items())
        first = next(iter(items))
        n_items = len(self._indexes[group])
        return GroupPlan(first.groups[group], n_items, n_vectors, first.dim(group), _blocks(group, items))

    def _read(
        self, modality: Modality, fingerprint: str, keys: Sequence[bytes]
    ) -> tuple[np.ndarray, np.ndarray]:
        self._refresh()
        group = (modality, fingerprint)
        index = self._indexes.get(group)
        positions = np.full(len(keys), -1) if index is None else index.find(keys)
        missing = int((positions < 0).sum())
        if index is None or missing or not len(keys):
            raise StoreError(
                f"{self.path}: {missing} of {len(keys)} {modality} items are not stored for {fingerprint}"
            )
        numbers, items = index.locate(positions)
        counts = np.empty(len(keys), dtype=np.int64)
        for i, file in enumerate(index.files):
            mine = numbers == i
            counts[mine] = np.diff(file.offsets(group))[items[mine]]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        vectors = np.empty((offsets[-1], index.files[0].dim(group)), dtype=np.float32)
        for i in np.unique(numbers):
            wanted = np.flatnonzero(numbers == i)
            index.files[i].read_into(vectors, group, items[wanted], offsets[wanted])
        return vectors, offsets

    def _refresh(self) -> None:
        """Look at the folder again."""
        for attempt in range(1, _ATTEMPTS + 1):
            found = self.files()
            try:
                stamps = {_stamp(path): path for path in found}
                if stamps.keys() == self._files.keys():
                    return
                self._files = {
                    stamp: self._files.get(stamp) or StoreFile(path) for stamp, path in stamps.items()
                }
                break
            except (
                FileNotFoundError
            ) as error:  # another process compacted between our looking and our opening
                if attempt == _ATTEMPTS:
                    raise StoreError(f"{error.filename or found[0]}: listed, but cannot be opened") from error
        holders: dict[GroupName, list[StoreFile]] = {}
        for file in self._files.values():
            for group in file.groups:
                holders.setdefault(group, []).append(file)
        self._indexes = {group: GroupIndex(group, files) for group, files in holders.items()}


def _reason(error: OSError) -> str:
    """Say why in the system's words; HDF5 wraps them in a page of its own."""
    return os.strerror(error.errno) if error.errno else str(error)


def _stamp(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return str(path), status.st_ino, status.st_mtime_ns


def _stamp_or_none(path: Path) -> tuple[str, int, int] | None:
    try:
        return _stamp(path)
    except FileNotFoundError:
        return None


def _size(path: Path) -> int:
    """Size on disk; 0 where there is no such file, or another process has just removed it."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _block_of(keys: Sequence[bytes], items: Sequence[np.ndarray]) -> Block:
    if len(keys) != len(items) or not keys:
        raise ValueError(
            f"got {len(keys)} keys for {len(items)} items; there must be one each, and at least one"
        )
    if any(len(key) != KEY_BYTES for key in keys):
        raise ValueError(
            f"keys must be {KEY_BYTES} bytes long, got lengths {sorted({len(key) for key in keys})}"
        )
    counts = [len(np.atleast_2d(item)) for item in items]
    if not all(counts):
        raise ValueError(f"{counts.count(0)} of {len(items)} items have no vector; nothing was stored")
    vectors = np.concatenate([np.atleast_2d(item) for item in items]).astype(np.float32)
    if not np.isfinite(vectors).all():
        raise ValueError("vectors must be finite; nothing was stored")
    digests = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES)
    return Block(digests, np.concatenate([[0], np.cumsum(counts)]), vectors)


def _blocks(group: GroupName, items: dict[StoreFile, np.ndarray]) -> Iterator[Block]:
    for file, rows in items.items():
        n_rows = np.cumsum(np.diff(file.offsets(group))[rows])
        cuts = np.searchsorted(n_rows, np.arange(_COPY_ROWS, n_rows[-1], _COPY_ROWS))
        for some in filter(len, np.split(rows, cuts)):
            counts = np.diff(file.offsets(group))[some]
            vectors = np.concatenate([stacked for _, stacked in file.read(group, some)])
            yield Block(file.keys(group)[some], np.concatenate([[0], np.cumsum(counts)]), vectors)
