"""The store as a whole: a main HDF5 file and, beside it, a folder of parts.

Appending writes one new part; reading sees main file and parts as one; `EmbeddingStore.compact` folds the parts into the main
file, and appending folds parts of a size together before they grow many. Nothing that was stored is ever opened for writing
again, so killing a process at any moment loses at most the batch in flight, and many writers, also on several hosts over a
shared folder, append without a lock. The layout is described in ``cache/README.md``.
"""

import json
import os
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.exceptions import StoreError
from musiceval_sk.features.encoders.base import MODALITIES, Modality, digest_of
from musiceval_sk.features.store.file import KEY_BYTES, GroupName, StoreFile
from musiceval_sk.features.store.index import GroupIndex, Keep, all_items
from musiceval_sk.features.store.write import Contents, write_store_file

DEFAULT_STORE = Path("cache") / "embeddings.h5"
_ABANDONED_SECONDS = 24 * 3600
_ATTEMPTS = 50
# So many parts of a size become one: a store of any size has a few hundred parts at most, and each byte is rewritten once a size.
_PARTS_OF_A_SIZE = 32
_SMALLEST_SIZE, _SIZE_STEP = 1 << 16, 8


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
        self._files: dict[tuple, StoreFile] = {}
        self._indexes: dict[GroupName, GroupIndex] = {}
        self._parts_to_fold = _PARTS_OF_A_SIZE

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
            If keys and items do not match, a key is not 32 bytes long, vectors are not finite, or the modality is unknown.
        StoreError
            If vectors of another length are stored under this fingerprint, or the folder cannot be written.
        """
        fingerprint = digest_of(description)
        group = (modality, fingerprint)
        contents = _contents_of(group, description, keys, items)
        dims = {file.groups[group].dim for file in self.look() if group in file.groups}
        if dims - {contents.dim}:
            raise StoreError(
                f"{self.path}: vectors of {'/'.join(group)} have length {contents.dim}, but {min(dims - {contents.dim})} where they "
                "are stored: an encoder must say in its description what changes its vectors; nothing was stored"
            )
        try:
            write_store_file(self._new_part(), {group: contents})
        except OSError as error:
            raise StoreError(
                f"{self.path}: cannot store embeddings ({_reason(error)}); what was stored is intact"
            ) from error
        self._fold_parts_of_a_size()
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
        return self._index((modality, fingerprint)).find(keys) >= 0

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
            If an item is not stored, fails its digest, or a file is damaged.
        """
        for _ in range(_ATTEMPTS):
            try:
                return self._read((modality, fingerprint), keys)
            except FileNotFoundError:  # another process folded files between our looking and our reading
                self._files = {}
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
        rows = []
        for group in self.groups():
            items = self.items(group)
            windows = sum(int(file.counts(group, some).sum()) for file, some in items.items())
            description = json.loads(next(iter(items)).groups[group].description) if items else {}
            rows.append((*group, sum(map(len, items.values())), windows, description))
        return pd.DataFrame(rows, columns=["modality", "fingerprint", "items", "windows", "encoder"])

    def needs_compaction(self) -> bool:
        """Tell whether the parts outweigh the main file, so that folding them in is worth a rewrite.

        Returns
        -------
        bool
            By this rule each byte is rewritten a bounded number of times while the store grows.
        """
        return sum(map(_size, self._parts())) > _size(self.path)

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
        if not self.parts_folder.exists():
            return True
        try:
            with self.locked("compact", timeout):
                if any(file.path != self.path for file in self.look()):
                    self.rewrite(all_items)
                self._clear_leftovers()
        except TimeoutError:
            return False
        return True

    @contextmanager
    def locked(self, purpose: str, timeout: float = -1) -> Iterator[None]:
        """Keep compaction, pruning and folding of other processes away; appending and reading go on.

        Parameters
        ----------
        purpose : str
            What the error says could not be done.
        timeout : float, default=-1
            Seconds to wait for the lock file; negative waits for ever.

        Yields
        ------
        None
            While the lock is held.

        Raises
        ------
        TimeoutError
            If another process held the lock for longer.
        StoreError
            If the system refuses something meanwhile, such as room on the disk.
        """
        from filelock import FileLock

        try:
            with FileLock(f"{self.path}.lock", timeout=timeout):
                yield
        except TimeoutError:
            raise
        except OSError as error:
            raise StoreError(
                f"{self.path}: cannot {purpose} ({_reason(error)}); what was stored is intact"
            ) from error

    def rewrite(self, keep: Keep) -> None:
        """Write what is worth keeping of the files of the last `look` into a new main file, and delete them; while `locked`.

        Parameters
        ----------
        keep : callable
            ``keep(file, group)`` tells for each item of a file's group whether to keep it [shape=(n,)], bool.
        """
        self._fold(dict(self._files), self.path, keep)

    def _fold(self, files: dict[tuple, StoreFile], target: Path, keep: Keep = all_items) -> None:
        """Write what these files hold into one, and delete them once that is on disk and reads back the same."""
        contents = {}
        for group in sorted({group for file in files.values() for group in file.groups}):
            index = GroupIndex(group, list(files.values()), keep)
            if len(index):
                contents[group] = _contents(group, index.items())
        mine = next((stamp for stamp, file in files.items() if file.path == target), None)
        # The lock keeps compactions apart where the file system honours it; comparing stamps catches most of the rest.
        if contents and not write_store_file(target, contents, unless=lambda: _stamp_or_none(target) != mine):
            return
        for stamp, file in files.items():
            if _stamp_or_none(file.path) == stamp:
                file.path.unlink(missing_ok=True)

    def _fold_parts_of_a_size(self) -> None:
        """Make one part of many that are alike in size, so that a store of any age is opened in a moment."""
        parts = self._parts()
        if len(parts) < self._parts_to_fold:
            return
        sizes: dict[int, list[Path]] = {}
        for part in parts:
            step = max(0, int(np.log(max(1, _size(part)) / _SMALLEST_SIZE) // np.log(_SIZE_STEP)) + 1)
            sizes.setdefault(step, []).append(part)
        many = next((sizes[step] for step in sorted(sizes) if len(sizes[step]) >= _PARTS_OF_A_SIZE), [])
        try:
            if many:
                with self.locked("fold parts", timeout=0):
                    newest = many[-_PARTS_OF_A_SIZE:]
                    self._fold({_stamp(part): StoreFile(part) for part in newest}, self._new_part())
            self._parts_to_fold = _PARTS_OF_A_SIZE
        except TimeoutError:
            pass  # another process folds them
        except (OSError, StoreError):
            # What was to be appended is stored. Whoever reads is told what is wrong with a file; newer parts will be folded.
            self._parts_to_fold = len(parts) + _PARTS_OF_A_SIZE

    def _clear_leftovers(self) -> None:
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
        seen: tuple[Any, list[Path]] | None = None
        while True:
            main, parts = _stamp_or_none(self.path), self._parts()
            # What a file was folded into is there before the file goes: two looks of which the second lacks nothing of
            # the first missed nothing.
            if seen is not None and seen[0] == main and set(seen[1]) <= set(parts):
                return [*([self.path] if main else []), *parts]
            seen = main, parts

    def _parts(self) -> list[Path]:
        try:
            names = os.listdir(self.parts_folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"{self.parts_folder}: cannot be searched ({_reason(error)})") from error
        return sorted(self.parts_folder / name for name in names if re.fullmatch(r"part-.*\.h5", name))

    def groups(self) -> list[GroupName]:
        """List modality and fingerprint of every group that the store holds.

        Returns
        -------
        list of (str, str)
            Sorted.
        """
        return sorted({group for file in self.look() for group in file.groups})

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
        return self._index(group).items()

    def _new_part(self) -> Path:
        return self.parts_folder / f"part-{time.time_ns():020d}-{uuid.uuid4().hex[:12]}.h5"

    def _read(self, group: GroupName, keys: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        index = self._index(group)
        positions = index.find(keys)
        missing = int((positions < 0).sum())
        if missing or not len(keys):
            raise StoreError(
                f"{self.path}: {missing} of {len(keys)} {group[0]} items are not stored for {group[1]}"
            )
        numbers, items = index.locate(positions)
        counts = np.empty(len(keys), dtype=np.int64)
        for i in np.unique(numbers):
            counts[numbers == i] = index.files[i].counts(group, items[numbers == i])
        offsets = np.concatenate([[0], np.cumsum(counts)])
        vectors = np.empty((offsets[-1], index.dim), dtype=np.float32)
        for i in np.unique(numbers):
            wanted = np.flatnonzero(numbers == i)
            index.files[i].read_into(vectors, group, items[wanted], offsets[wanted])
        return vectors, offsets

    def look(self) -> list[StoreFile]:
        """Look at the folder again, and open what is new there.

        Returns
        -------
        list of StoreFile
            The main file, if there is one, and the parts from the oldest to the newest.

        Raises
        ------
        StoreError
            If a file is damaged or cannot be opened.
        """
        opened, lost = dict(self._files), ""
        for _ in range(_ATTEMPTS):
            try:
                stamps = {_stamp(path): path for path in self.files()}
                if stamps.keys() != self._files.keys():
                    for stamp, path in stamps.items():
                        opened[stamp] = opened.get(stamp) or StoreFile(path)
                    self._files, self._indexes = {stamp: opened[stamp] for stamp in stamps}, {}
                return list(self._files.values())
            except (
                FileNotFoundError
            ) as error:  # another process folded files between our looking and our opening
                lost = error.filename
        raise StoreError(f"{lost}: listed, but cannot be opened, {_ATTEMPTS} times in a row")

    def _index(self, group: GroupName) -> GroupIndex:
        files = self.look()
        if group not in self._indexes:
            self._indexes[group] = GroupIndex(group, files)
        return self._indexes[group]


def _reason(error: OSError) -> str:
    """Say why in the system's words; HDF5 wraps them in a page of its own."""
    return os.strerror(error.errno) if error.errno else str(error)


def _stamp(path: Path) -> tuple:
    status = path.stat()
    return path, status.st_ino, status.st_size, status.st_mtime_ns


def _stamp_or_none(path: Path) -> tuple | None:
    try:
        return _stamp(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path}: cannot be looked at ({_reason(error)})") from error


def _size(path: Path) -> int:
    """Size on disk; 0 where there is no such file, or another process has just removed it."""
    stamp = _stamp_or_none(path)
    return stamp[2] if stamp else 0


def _contents_of(
    group: GroupName, description: dict[str, Any], keys: Sequence[bytes], items: Sequence[np.ndarray]
) -> Contents:
    """Check what a caller wants to store."""
    if len(keys) != len(items) or not keys:
        raise ValueError(
            f"got {len(keys)} keys for {len(items)} items; there must be one each, and at least one"
        )
    if any(len(key) != KEY_BYTES for key in keys):
        raise ValueError(
            f"keys must be {KEY_BYTES} bytes long, got lengths {sorted({len(key) for key in keys})}"
        )
    tables = [np.atleast_2d(item) for item in items]
    shapes = sorted({table.shape[1:] for table in tables})
    if group[0] not in MODALITIES or len(shapes) > 1 or len(shapes[0]) != 1 or shapes[0] == (0,):
        raise ValueError(
            f"items must be audio or text vectors of one length each [shape=(n_windows, dim)], got {group[0]} of shapes "
            f"(n, {listed(str(shape)[1:-1].strip(',') for shape in shapes)}); nothing was stored"
        )
    counts = np.array([len(table) for table in tables])
    if not counts.all():
        raise ValueError(f"{(counts == 0).sum()} of {len(items)} items have no vector; nothing was stored")
    vectors = np.ascontiguousarray(np.concatenate(tables, dtype=np.float32, casting="unsafe"))
    if not np.isfinite(vectors).all():
        raise ValueError("vectors must be finite; nothing was stored")
    rows = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES)
    return Contents(
        json.dumps(description, sort_keys=True, ensure_ascii=False), rows, counts, vectors.shape[1], [vectors]
    )


def _contents(group: GroupName, items: dict[StoreFile, np.ndarray]) -> Contents:
    """Gather the chosen items of some files, to be read when they are written."""
    first = next(iter(items)).groups[group]
    return Contents(
        first.description,
        np.concatenate([file.groups[group].keys[some] for file, some in items.items()]),
        np.concatenate([file.counts(group, some) for file, some in items.items()]),
        first.dim,
        (vectors for file, some in items.items() for vectors in file.read(group, some)),
    )
