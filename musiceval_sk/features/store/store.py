"""The store as a whole: a main HDF5 file and, beside it, a folder of parts, read as one.

Appending writes one new part; `EmbeddingStore.compact` folds the parts into the main file, and appending folds
parts of a size together before they grow many. Nothing that was stored is ever opened for writing again, so killing
a process at any moment loses at most the batch in flight, and many writers, also on several hosts over a shared
folder, append without a lock. The layout is described in ``cache/README.md``.
"""

import errno
import fnmatch
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._files import abandoned
from musiceval_sk.exceptions import StoreError
from musiceval_sk.features.encoders.base import MODALITIES, Modality, digest_of
from musiceval_sk.features.store.file import (
    KEY_BYTES,
    Contents,
    DamagedFileError,
    Group,
    GroupName,
    StoreFile,
    as_keys,
    stamp_of,
    write_store_file,
)

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

_ATTEMPTS = 50
_FOLD_BYTES = 1 << 26
# So many parts of a size become one: a store has a few hundred parts at most, each byte is rewritten once a size.
_PARTS_OF_A_SIZE = 32
_SMALL_BYTES = 1 << 16

Keys = Sequence[bytes]
Keep = Callable[[Group], np.ndarray]


class BusyStoreError(StoreError):
    """A store whose lock another process holds."""


def default_store_path() -> Path:
    """Where embeddings are kept when nobody says otherwise.

    Returns
    -------
    Path
        The environment variable ``MUSICEVAL_CACHE``, else ``cache/embeddings.h5`` below the working folder.
    """
    return Path(os.environ.get("MUSICEVAL_CACHE") or "cache/embeddings.h5")


def all_items(group: Group) -> np.ndarray:
    """Keep every item."""
    return np.ones(len(group.keys), dtype=bool)


def names_of(files: Sequence[StoreFile]) -> list[GroupName]:
    """Modality and fingerprint of every group that these files hold, sorted."""
    return sorted({name for file in files for name in file.groups})


class GroupIndex:
    """Where the items of one group lie in several files, by key; where files repeat one, the first counts."""

    def __init__(self, name: GroupName, files: Sequence[StoreFile], keep: Keep = all_items):
        groups = [file.groups[name] for file in files if name in file.groups]
        items = {group: some for group in groups if len(some := np.flatnonzero(keep(group)))}
        self.name, self.groups = name, list(items)
        self.dim, none = self.groups[0].dim if items else 0, np.empty(0, dtype=int)
        keys = np.concatenate([as_keys([]), *(group.keys[some] for group, some in items.items())])
        counts = np.concatenate([none, *(group.counts[some] for group, some in items.items())])
        self.keys, first = np.unique(keys, return_index=True)
        self.counts, self._item_of = counts[first], np.concatenate([none, *items.values()])[first]
        self._group_of = np.repeat(np.arange(len(items)), [len(some) for some in items.values()])[first]

    def checked(self) -> "GroupIndex":
        """Give this index, if all of its vectors have one length."""
        for group in self.groups:
            if group.dim != self.dim:
                lengths = f"have length {group.dim}, but {self.dim} in {self.groups[0].file.path}"
                words = f"vectors of {'/'.join(self.name)} {lengths}: the encoder's description hid a change"
                prune = f"musiceval cache prune --fingerprint {self.name[1][:8]}"
                raise StoreError(f"{group.file.path}: {words}; drop both by {prune}, or delete one file")
        return self

    def find(self, keys: Keys) -> np.ndarray:
        """Find keys, as positions for `read`; -1 where one is not there."""
        wanted = as_keys(keys)
        if not len(self.keys):
            return np.full(len(wanted), -1)
        order = np.argsort(wanted, kind="stable")  # of sorted keys many are found at once
        positions = np.empty(len(wanted), dtype=int)
        positions[order] = np.searchsorted(self.keys, wanted[order]).clip(max=len(self.keys) - 1)
        return np.where(self.keys[positions] == wanted, positions, -1)

    def read(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Read vectors and offsets of the items at these positions, in their order."""
        offsets = np.concatenate([[0], np.cumsum(self.counts[positions])])
        vectors = np.empty((offsets[-1], self.dim), dtype=np.float32)
        numbers = self._group_of[positions]
        order = np.argsort(numbers, kind="stable")
        for some in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1):
            group = self.groups[numbers[some[0]]]
            damaged = group.read(self._item_of[positions[some]], vectors, offsets[some])
            if damaged.any():
                words = f"{damaged.sum()} of {len(some)} {self.name[0]} items are not what was stored"
                advice = "prune --damaged drops them, so that the next musiceval extract computes them anew"
                raise DamagedFileError(f"{group.file.path}: damaged ({words}). musiceval cache {advice}")
        return vectors, offsets

    def batches(self, n_bytes: int) -> list[np.ndarray]:
        """Positions of all items as they lie on disk, cut where a file ends or so many bytes are full."""
        order = np.lexsort((self._item_of, self._group_of))
        ends = np.cumsum(self.counts[order]) * 4 * self.dim
        cuts = np.diff((ends - 1) // n_bytes) + np.diff(self._group_of[order])
        return np.split(order, np.flatnonzero(cuts) + 1)

    def contents(self) -> Contents:
        """All items, to be read while they are written elsewhere."""
        batches = self.checked().batches(_FOLD_BYTES)
        order = np.concatenate(batches)
        vectors = (self.read(some)[0] for some in batches)
        return Contents(self.groups[0].encoder, self.keys[order], self.counts[order], self.dim, vectors)


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

    @property
    def main(self) -> Path:
        """The main file itself, where `path` is a link to it."""
        return self.path.resolve() if self.path.is_symlink() else self.path

    def __repr__(self) -> str:
        return f"EmbeddingStore({str(self.path)!r})"

    def append(
        self, modality: Modality, description: dict[str, Any], keys: Keys, items: Sequence[np.ndarray]
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
            If keys and items do not match, a key is not 32 bytes long, vectors are not finite, or the modality is
            unknown.
        StoreError
            If vectors of another length are stored under this fingerprint, or the folder cannot be written.
        """
        name = (modality, digest_of(description))
        contents = _contents_of(modality, description, keys, items)
        files = self.look()
        dims = {file.groups[name].dim for file in files if name in file.groups} - {contents.dim}
        if dims:
            words = f"have length {contents.dim}, but {min(dims)} where they are stored"
            cause = "an encoder must say in its description what changes its vectors; nothing was stored"
            raise StoreError(f"{self.path}: vectors of {'/'.join(name)} {words}: {cause}")
        with self._refusals("store embeddings"):
            write_store_file(self._new_part(), {name: contents})
        self._fold_parts_of_a_size(files)
        return name[1]

    def contains(self, modality: Modality, fingerprint: str, keys: Keys) -> np.ndarray:
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
        return self.index((modality, fingerprint)).find(keys) >= 0

    def read(self, modality: Modality, fingerprint: str, keys: Keys) -> tuple[np.ndarray, np.ndarray]:
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
            If an item is not stored, fails its digest wherever it is stored, or a file is damaged.
        """
        return self.retry(lambda: self._read((modality, fingerprint), keys))

    def read_batches(
        self, modality: Modality, fingerprint: str, keys: Keys, *, size: int = 4096
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
        for name in self.groups():
            index = self.index(name)
            rows.append((*name, len(index.keys), int(index.counts.sum()), index.groups[0].encoder))
        return pd.DataFrame(rows, columns=["modality", "fingerprint", "items", "windows", "encoder"])

    def needs_compaction(self) -> bool:
        """Tell whether the parts outweigh the main file, so that folding them in is worth a rewrite.

        Returns
        -------
        bool
            By this rule each byte is rewritten a bounded number of times while the store grows.
        """
        main, *parts = ((stamp_of(path) or (0,))[0] for path in (self.main, *self._parts()))
        return sum(parts) > main

    def compact(self, *, timeout: float = -1) -> bool:
        """Fold all parts into the main file, by rewrite and rename.

        Appending and reading go on meanwhile, in any process. Only one compaction runs at a time: it holds the
        lock file ``<path>.lock``, which the system frees when the process dies. A main file that is a link stays
        one: what it links to is rewritten, and the lock lies there.

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
        with suppress(BusyStoreError), self.locked("compact", timeout):
            if self._parts():
                self.fold(self.look(), self.main, all_items)
            self.clear_leftovers()
            return True
        return False

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
        BusyStoreError
            If another process held the lock for longer.
        StoreError
            If the system refuses something meanwhile, such as room on the disk.
        """
        from filelock import FileLock, Timeout

        with self._refusals(purpose):
            _check_locks(f"{self.main}.lock")
            try:
                with FileLock(f"{self.main}.lock", timeout=timeout):
                    yield
            except NotImplementedError as error:  # of earlier filelocks
                raise OSError(errno.ENOSYS, "the file system has no locks") from error
            except Timeout as error:
                words = "while another process compacts or changes the store; try again later"
                raise BusyStoreError(f"{self.path}: cannot {purpose} {words}") from error

    @contextmanager
    def _refusals(self, purpose: str) -> Iterator[None]:
        """Say of what the system refuses that nothing is lost by it."""
        try:
            yield
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else error
            raise StoreError(f"{self.path}: cannot {purpose} ({why}); what was stored is intact") from error

    def fold(self, files: Sequence[StoreFile], target: Path, keep: Keep) -> None:
        """Write what files hold into one, and delete them once that is on disk and reads back; while `locked`.

        Parameters
        ----------
        files : sequence of StoreFile
            Some of what `look` gave.
        target : Path
            The main file, or a new part.
        keep : callable
            Tells for each item of a file's group whether to keep it [shape=(n,)], bool.
        """
        indexes = {name: GroupIndex(name, files, keep) for name in names_of(files)}
        contents = {name: index.contents() for name, index in indexes.items() if len(index.keys)}
        # The lock keeps compactions apart where the file system honours it; stamps catch most of the rest.
        replaces = next((file.stamp for file in files if file.path == target), None)
        if contents and not write_store_file(target, contents, replaces):
            return
        for file in files:
            if stamp_of(file.path) == file.stamp:
                file.path.unlink(missing_ok=True)

    def _fold_parts_of_a_size(self, files: Sequence[StoreFile]) -> None:
        """Make one part of many that are alike in size, so that a store of any age is opened in a moment."""
        sizes: dict[int, list[StoreFile]] = {}
        for file in files:
            if file.path.parent == self.parts_folder:
                sizes.setdefault(max(file.stamp[0], _SMALL_BYTES).bit_length() // 3, []).append(file)
        for _, parts in sorted(sizes.items()):
            if len(parts) >= _PARTS_OF_A_SIZE:
                # Another process may fold them, or one be damaged: whoever reads is told, newer parts get folded.
                with suppress(StoreError), self.locked("fold parts", timeout=0):
                    self.fold(parts[-_PARTS_OF_A_SIZE:], self._new_part(), all_items)
                return

    def clear_leftovers(self) -> bool:
        """Remove what processes left aside that died while they wrote.

        Returns
        -------
        bool
            Whether there was anything that could be removed.
        """
        of_main, cleared = self.main.parent.glob(f"{self.main.name}.*.tmp"), False
        for aside in abandoned([*self.parts_folder.glob("*.tmp"), *of_main]):
            with suppress(OSError):
                aside.unlink()
                cleared = True
        return cleared

    def files(self) -> list[Path]:
        """List the main file, if there is one, and the parts from the oldest to the newest.

        Returns
        -------
        list of Path
            Files that together held all of the store at one moment; any of them may vanish the next.
        """
        seen: tuple[Any, list[Path]] | None = None
        while True:
            main, parts = stamp_of(self.main), self._parts()
            # What a file was folded into is there before the file goes: two looks of which the second lacks
            # nothing of the first missed nothing.
            if seen is not None and seen[0] == main and set(seen[1]) <= set(parts):
                return [*([self.main] if main else []), *parts]
            seen = main, parts

    def _parts(self) -> list[Path]:
        names = os.listdir(self.parts_folder) if self.parts_folder.exists() else []
        return sorted(self.parts_folder / name for name in fnmatch.filter(names, "part-*.h5"))

    def groups(self) -> list[GroupName]:
        """List modality and fingerprint of every group that the store holds.

        Returns
        -------
        list of (str, str)
            Sorted.
        """
        return names_of(self.look())

    def index(self, name: GroupName) -> GroupIndex:
        """Find where the items of a group lie.

        Parameters
        ----------
        name : (str, str)
            Modality and fingerprint.

        Returns
        -------
        GroupIndex
            Of the files that are there now.

        Raises
        ------
        StoreError
            If a file cannot be opened, or vectors of the group differ in length.
        """
        files = self.look()
        if name not in self._indexes:
            self._indexes[name] = GroupIndex(name, files).checked()
        return self._indexes[name]

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

        def open_new_files() -> list[StoreFile]:
            keys = [(path, stamp_of(path)) for path in self.files()]
            if keys != list(self._files):
                self._indexes = {}
                for key in keys:  # what was opened stays so if the next has vanished
                    self._files[key] = self._files.get(key) or StoreFile(key[0])
                self._files = {key: self._files[key] for key in keys}
            return list(self._files.values())

        return self.retry(open_new_files)

    def retry(self, work: Callable[[], Any]) -> Any:
        """Do work anew when another process folds files between our looking and our reading.

        Parameters
        ----------
        work : callable
            Looks at the files anew whenever it is called.

        Returns
        -------
        object
            What ``work`` returned.

        Raises
        ------
        StoreError
            If files vanish time and again, or the system refuses something.
        """
        for _ in range(_ATTEMPTS):
            try:
                return work()
            except FileNotFoundError as error:
                vanished = error.filename
                self._files = {key: file for key, file in self._files.items() if str(file.path) != vanished}
            except OSError as error:
                raise StoreError(f"{self.path}: cannot be read ({error})") from error
        raise StoreError(f"{vanished}: listed, but cannot be opened, {_ATTEMPTS} times in a row")

    def _new_part(self) -> Path:
        return self.parts_folder / f"part-{time.time_ns():020d}-{uuid.uuid4().hex[:12]}.h5"

    def _read(self, name: GroupName, keys: Keys) -> tuple[np.ndarray, np.ndarray]:
        index = self.index(name)
        positions = index.find(keys)
        missing = int((positions < 0).sum())
        if missing or not len(keys):
            words = f"{missing} of {len(keys)} {name[0]} items are not stored for {name[1]}"
            raise StoreError(f"{self.path}: {words}")
        try:
            return index.read(positions)
        except DamagedFileError:  # another file may hold the same items
            intact = GroupIndex(name, self.look(), lambda group: _intact(group, keys))
            positions = intact.find(keys)
            if (positions < 0).any():
                raise
            return intact.read(positions)


def _check_locks(path: str) -> None:
    """Raise where a network folder gives no locks: earlier filelocks wait for ever there."""
    if fcntl is None:
        return
    is_new = False
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        descriptor, is_new = os.open(path, os.O_RDWR | os.O_CREAT, 0o666), True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        is_held = error.errno in (errno.EAGAIN, errno.EACCES)
        if is_new and not is_held:
            os.unlink(path)
        if not is_held and error.errno != errno.ENOSYS:  # for which filelock has another way
            raise
    finally:
        os.close(descriptor)


def _intact(group: Group, keys: Keys) -> np.ndarray:
    """Keep the items of these keys that are what was stored."""
    keep = np.isin(group.keys, as_keys(keys))
    keep[keep] = ~group.read(np.flatnonzero(keep))
    return keep


def _contents_of(
    modality: Modality, description: dict[str, Any], keys: Keys, items: Sequence[np.ndarray]
) -> Contents:
    """Check what a caller wants to store."""
    if len(keys) != len(items) or not keys or any(len(key) != KEY_BYTES for key in keys):
        words = f"there must be one of {KEY_BYTES} bytes each, and at least one; nothing was stored"
        raise ValueError(f"got {len(keys)} keys for {len(items)} items; {words}")
    tables = [np.atleast_2d(item) for item in items]
    counts, dim = np.array([len(table) for table in tables]), tables[0].shape[-1]
    if modality not in MODALITIES or any(0 in table.shape or table.shape[1:] != (dim,) for table in tables):
        words = "vectors of one length, at least one an item [shape=(n_windows, dim)]; nothing was stored"
        raise ValueError(f"items must be audio or text {words}")
    vectors = np.ascontiguousarray(np.concatenate(tables, dtype=np.float32))
    if not np.isfinite(vectors).all():
        raise ValueError("vectors must be finite; nothing was stored")
    return Contents(description, as_keys(keys), counts, dim, [vectors])
