"""One HDF5 file of a store: written whole or not at all, held to the format when opened, to its digests when read.

A file never changes once it has its name, so that readers need no lock; a reader that knows a file by its index
notices when another has taken its name. All of a file's content must lie in it, in the format's types. The layout
is described in ``cache/README.md``.
"""

import errno
import io
import json
import os
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from xxhash import xxh3_64_intdigest

from musiceval_sk._files import atomic_write, parse_json, require_version
from musiceval_sk.exceptions import StoreError
from musiceval_sk.features.encoders.base import MODALITIES, Modality, digest_of

FORMAT, VERSION, KEY_BYTES = "musiceval-embeddings", 2, 32
_TYPES = {"keys": ("u1", 2), "offsets": ("i8", 1), "vectors": ("f4", 2), "digests": ("u8", 1)}
_BLOCK_BYTES = 1 << 16
_READ_BYTES = 1 << 22  # at once, so that the processor's cache still holds what is digested and copied
# A block of format 1 of so many rows, all zero, was lost, which its checksum passes; fewer may be what was stored.
_ROWS_NEVER_ALL_ZERO = 16

GroupName = tuple[Modality, str]


class DamagedFileError(StoreError):
    """A file whose structure or content is not what was stored."""


class StoreFile:
    """A finished file, opened for reading: its groups, and the stamp and id by which it is known again."""

    def __init__(self, path: Path):
        status = path.stat()
        self.path, self.stamp, self._id = path, _stamp(status), None
        own = path.name.startswith("part-") or not status.st_size
        if not stat.S_ISREG(status.st_mode) or not (own or h5py.is_hdf5(path)):
            raise StoreError(f"{path}: not an embedding store, nor any HDF5 file; name another as the store")
        with self.open() as file:
            if file.attrs.get("format") not in (FORMAT, FORMAT.encode()):
                words = f"an HDF5 file, but not an embedding store (its format is not {FORMAT!r})"
                raise StoreError(f"{path}: {words}")
            self.version, self._id = int(file.attrs["version"]), file.attrs.get("id")
            require_version(path, self.version, VERSION, StoreError)
            if self.version < 1 or (self.version > 1 and self._id is None):
                raise ValueError(f"format {self.version} without its id")
            self.groups: dict[GroupName, Group] = {}
            for modality in file:
                encoders = _member(file, modality, h5py.Group)
                for fingerprint in encoders:
                    members = _member(encoders, fingerprint, h5py.Group)
                    self.groups[modality, fingerprint] = Group(self, (modality, fingerprint), members)

    @contextmanager
    def open(self) -> Iterator[h5py.File]:
        """Open the very file that was indexed; one that has taken its name since counts as not found."""
        try:
            with h5py.File(self.path, "r", locking=False) as file:
                found = _stamp(os.stat(file.id.get_vfd_handle())), file.attrs.get("id")
                if found != (self.stamp, self._id or found[1]):
                    raise FileNotFoundError
                yield file
        except (StoreError, MemoryError):
            raise
        except Exception as error:  # of damaged structures h5py raises nearly any kind
            if isinstance(error, FileNotFoundError) or not self.path.exists():
                raise FileNotFoundError(errno.ENOENT, "removed or replaced", str(self.path)) from error
            if isinstance(error, OSError) and error.errno:
                raise StoreError(f"{self.path}: cannot be read ({os.strerror(error.errno)})") from error
            words = "Delete this one file and extract again: only the vectors that it held are computed anew"
            raise DamagedFileError(f"{self.path}: damaged ({error}). {words}") from error


class Group:
    """What a file holds of one encoder and modality: keys and counts in memory, vectors on disk."""

    def __init__(self, file: StoreFile, name: GroupName, members: h5py.Group):
        self.file, self.name = file, name
        self.encoder = parse_json(members.attrs["encoder"])
        described = isinstance(self.encoder, dict) and digest_of(self.encoder) == name[1]
        if name[0] not in MODALITIES or not described:
            raise ValueError(f"the description of {'/'.join(name)} does not belong to its fingerprint")
        vectors = _dataset(members, "vectors")
        keys, offsets = _dataset(members, "keys")[()], _dataset(members, "offsets")[()]
        begins, ends = offsets[:-1], offsets[1:]
        self._n_rows, self.dim = vectors.shape
        fitting = keys.shape[1] == KEY_BYTES and self.dim > 0 and len(begins) == len(keys)
        if not fitting or (offsets[0], offsets[-1]) != (0, self._n_rows) or (ends <= begins).any():
            raise ValueError("keys, offsets and vectors do not fit together")
        self.keys, self.begins, self.counts = as_keys(keys), begins, ends - begins
        self.digests, self._block_rows = None, _block_rows(self.dim)
        if file.version == 1:
            self._block_rows = vectors.chunks[0] if vectors.chunks else max(self._n_rows, 1)
            return
        self.digests = _dataset(members, "digests")[()]
        if members.attrs["index_digest"] != _index_digest(name, self.keys, offsets):
            raise ValueError("keys and offsets are not what was stored")
        if len(self.digests) != -(-self._n_rows // self._block_rows):
            raise ValueError(f"{len(self.digests)} digests for {self._n_rows} vectors")

    def __str__(self) -> str:
        return f"{len(self.keys)} items of {self.name[0]} {self.encoder.get('name', '')} {self.name[1]}"

    def read(self, items: Any = np.s_[:], out: Any = None, places: Any = None) -> np.ndarray:
        """Read items and tell which are not what was stored [shape=(n_items,)], bool.

        If ``out`` is given, the vectors of item i, damaged or not, are put there from row ``places[i]`` on.
        """
        begins, counts, size = self.begins[items], self.counts[items], self._block_rows
        rows = _ranges(begins, counts)
        order = np.argsort(rows, kind="stable")
        rows, to = rows[order], rows if out is None else _ranges(places, counts)[order]
        at_once = size * max(1, _READ_BYTES // (4 * self.dim * size))
        damaged: list[int] = []
        with self.file.open() as file:
            vectors = file["/".join(self.name)]["vectors"]
            for start, stop in pairwise([*np.flatnonzero(np.diff(rows // at_once, prepend=-1)), len(rows)]):
                first, last = rows[start] // size, rows[stop - 1] // size
                n_read = min((last + 1) * size, self._n_rows) - first * size
                wanted, place = _as_slice(rows[start:stop] - first * size), _as_slice(to[start:stop])
                # Whole blocks in order are read to where they go.
                direct = stop - start == n_read and isinstance(wanted, slice) and isinstance(place, slice)
                found = out[place] if direct and out is not None else np.empty((n_read, self.dim), np.float32)
                damaged += (first + np.flatnonzero(~self._read_blocks(vectors, first, found))).tolist()
                if out is not None and not direct:
                    out[place] = found[wanted]
        first, last = begins // size, (begins + counts - 1) // size
        return np.searchsorted(damaged, first) < np.searchsorted(damaged, last, side="right")

    def _read_blocks(self, vectors: h5py.Dataset, block: int, out: np.ndarray) -> np.ndarray:
        """Read the blocks from the given one on and tell which are `intact`."""
        space = vectors.id.get_space()
        space.select_hyperslab((block * self._block_rows, 0), out.shape)
        try:
            vectors.id.read(h5py.h5s.create_simple(out.shape), space, out)
        except OSError as error:
            if error.errno:
                raise
            if len(out) <= self._block_rows:  # a checksum of format 1
                return np.array([False])
            blocks = enumerate(np.split(out, range(self._block_rows, len(out), self._block_rows)), block)
            return np.concatenate([self._read_blocks(vectors, i, rows) for i, rows in blocks])
        return self.intact(block, out)

    def intact(self, block: int, vectors: np.ndarray) -> np.ndarray:
        """Tell which blocks from the given one on are what was stored [shape=(n_blocks,)], bool."""
        if self.digests is not None:
            digests = _block_digests(self.name, block, vectors)
            return digests == self.digests[block : block + len(digests)]
        begins = np.arange(0, len(vectors), self._block_rows)
        lengths = np.diff(begins, append=len(vectors))
        return np.logical_or.reduceat(vectors.any(axis=1), begins) | (lengths < _ROWS_NEVER_ALL_ZERO)


class Contents(NamedTuple):
    """What a group is to hold: ``vectors`` yields those of its items in order, however they are cut."""

    encoder: dict[str, Any]
    keys: np.ndarray
    counts: np.ndarray
    dim: int
    vectors: Iterable[np.ndarray]


def write_store_file(path: Path, groups: dict[GroupName, Contents], replaces: tuple | None = None) -> bool:
    """Write a file aside and name it once it reads back as it was meant.

    Unless the file that it ``replaces``, by its stamp, is no longer there, or another is: then nothing changes.
    """
    with suppress(_ReplacedError), atomic_write(path) as aside:
        # Ctrl+C raises in the main thread alone, and HDF5 may crash where one of its writes raises.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(_write_groups, aside, groups).result()
        _read_back(aside, groups)
        if stamp_of(path) != replaces:
            raise _ReplacedError
        return True
    return False


def _write_groups(aside: Path, groups: dict[GroupName, Contents]) -> None:
    with _Sink(aside, "x+") as sink:
        # From 1.10 on HDF5 checksums its own structures, too, but for strings of variable length, so there are
        # none: a flipped bit is an error, not another number.
        with h5py.File(sink, "w", libver=("v110", "v110")) as file:
            file.attrs["format"], file.attrs["version"] = np.bytes_(FORMAT), VERSION
            file.attrs["id"] = np.bytes_(uuid.uuid4().hex)
            for name, contents in groups.items():
                _write_group(file.create_group("/".join(name)), name, contents, sink)
        sink.check()
        os.fsync(sink.fileno())


class _ReplacedError(Exception):
    """Another process has given a file its name meanwhile."""


class _Sink(io.FileIO):
    """A file that never fails HDF5, which crashes when closed after an error: `check` raises the first one."""

    _error: OSError | None = None

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        while len(rest) and self._error is None:
            rest = rest[self._try(super().write, rest) :]
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        return self._try(super().truncate, size)

    def check(self) -> None:
        if self._error is not None:
            raise self._error

    def _try(self, act: Callable, argument: Any) -> Any:
        try:
            return act(argument)
        except OSError as error:
            self._error = self._error or error


def _write_group(group: h5py.Group, name: GroupName, contents: Contents, sink: _Sink) -> None:
    offsets = np.concatenate([[0], np.cumsum(contents.counts)]).astype(np.int64)
    text = json.dumps(contents.encoder, sort_keys=True, ensure_ascii=False)
    group.attrs["encoder"] = np.bytes_(text.encode())
    group.attrs["index_digest"] = _index_digest(name, contents.keys, offsets)
    group["keys"] = contents.keys.view(np.uint8).reshape(-1, KEY_BYTES)
    group["offsets"] = offsets
    vectors = group.create_dataset("vectors", (offsets[-1], contents.dim), np.float32, fill_time="never")
    size, written, digests = _block_rows(contents.dim), 0, []
    rest = np.empty((0, contents.dim), dtype=np.float32)
    for some in contents.vectors:
        rest = np.concatenate([rest, some])
        n_whole = len(rest) if written + len(rest) == len(vectors) else len(rest) // size * size
        vectors[written : written + n_whole] = rest[:n_whole]
        sink.check()
        digests.append(_block_digests(name, written // size, rest[:n_whole]))
        written, rest = written + n_whole, rest[n_whole:].copy()
    group["digests"] = np.concatenate(digests)


def _read_back(path: Path, groups: dict[GroupName, Contents]) -> None:
    """Hold a file against the digests that were made of what was meant, and lie in it."""
    try:
        written = StoreFile(path).groups
        if written.keys() != groups.keys() or any(group.read().any() for group in written.values()):
            raise DamagedFileError(f"{path}: vectors differ")
    except StoreError as error:
        raise OSError(f"what was written does not read back the same: {error}") from error


def as_keys(keys: Sequence[bytes] | np.ndarray) -> np.ndarray:
    """Make an array that numpy can sort; all keys are equally long, so that its padding cannot mislead."""
    together = np.ascontiguousarray(keys) if isinstance(keys, np.ndarray) else b"".join(keys)
    return np.frombuffer(together, dtype=f"S{KEY_BYTES}")


def _block_rows(dim: int) -> int:
    """Rows of a block: as many as fit into 64 KiB, at least one."""
    return max(1, _BLOCK_BYTES // (4 * dim))


def _block_digests(name: GroupName, block: int, vectors: np.ndarray) -> np.ndarray:
    """Digest blocks from the given one on (XXH3, 64 bits); the seed tells groups and blocks apart."""
    step, seed = 4 * vectors.shape[1] * _block_rows(vectors.shape[1]), _seed(name) + int(block)
    content = vectors.reshape(-1).view(np.uint8).data
    spans = [content[at : at + step] for at in range(0, len(content), step)]
    return np.array([xxh3_64_intdigest(span, seed + i) for i, span in enumerate(spans)], dtype=np.uint64)


def _index_digest(name: GroupName, keys: np.ndarray, offsets: np.ndarray) -> np.uint64:
    """Digest what says where each item is (XXH3, 64 bits), seeded by group."""
    return np.uint64(xxh3_64_intdigest(keys.tobytes() + offsets.tobytes(), _seed(name)))


def stamp_of(path: Path) -> tuple[int, int, int] | None:
    """Size, inode and time of a file, which change when another takes its name; None where there is none."""
    try:
        return _stamp(path.stat())
    except FileNotFoundError:
        return None


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_ino, status.st_mtime_ns


def _seed(name: GroupName) -> int:
    return xxh3_64_intdigest("/".join(name).encode()) >> 1  # leaves room to add numbers of blocks


def _member(group: h5py.Group, name: str, kind: type) -> Any:
    """Look a member up; it must lie in this very file."""
    member = group[name] if isinstance(group.get(name, getlink=True), h5py.HardLink) else None
    if not isinstance(member, kind):
        raise ValueError(f"{name!r} is missing, lies elsewhere, or is no {kind.__name__}")
    return member


def _dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    """Look a dataset up; it must have the format's type and fit into this very file."""
    dataset = _member(group, name, h5py.Dataset)
    plan = dataset.id.get_create_plist()
    filters = {plan.get_filter(i)[0] for i in range(plan.get_nfilters())} - {h5py.h5z.FILTER_FLETCHER32}
    elsewhere = plan.get_layout() == h5py.h5d.VIRTUAL or plan.get_external_count()
    if (dataset.dtype, dataset.ndim) != _TYPES[name] or filters or elsewhere:
        raise ValueError(f"{name!r} is of another type than the format's, compressed, or stored elsewhere")
    if dataset.nbytes > 4 * group.file.id.get_filesize():  # chunks of format 1 may never have been written
        raise ValueError(f"{name!r} should take {dataset.nbytes} bytes, more than its file has")
    return dataset


def _ranges(begins: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Rows ``[begin, begin + 1, ...]`` of each range, one after another."""
    return np.repeat(begins - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())


def _as_slice(rows: np.ndarray) -> np.ndarray | slice:
    """Make a slice, which numpy copies at once, of rows that are neighbours."""
    return slice(rows[0], rows[-1] + 1) if (np.diff(rows) == 1).all() else rows
