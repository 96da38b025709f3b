"""One HDF5 file of a store, as readers know it: it never changes once it has its name, so they need no lock.

Every item carries a digest of its vectors, which is checked whenever it is read, and a reader that knows a file by its index
notices when another has taken its name. All of a file's content must lie in it, in the format's types.
"""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from xxhash import xxh3_64_intdigest

from musiceval_sk.exceptions import StoreError
from musiceval_sk.features.encoders.base import MODALITIES, Modality, digest_of

FORMAT, VERSION = "musiceval-embeddings", 2
KEY_BYTES = 32
_READ_THROUGH_ROWS = 1024
_BLOCK_BYTES = 1 << 26
_DATASETS = {
    "keys": (np.uint8, 2),
    "offsets": (np.int64, 1),
    "vectors": (np.float32, 2),
    "digests": (np.uint64, 1),
}

GroupName = tuple[Modality, str]


class DamagedFileError(StoreError):
    """A file whose structure or content is not what was stored."""


class _Group:
    """The index of one group of a file, held to the format."""

    def __init__(self, name: GroupName, group: h5py.Group, version: int, file_bytes: int):
        self.description = _description(group, name)
        found = {
            member: _dataset(group, member, file_bytes)
            for member in _DATASETS
            if version > 1 or member != "digests"
        }
        self.keys, self.offsets = found["keys"][()], found["offsets"][()]
        self.digests: np.ndarray | None = found["digests"][()] if version > 1 else None
        n, (n_rows, self.dim) = len(self.keys), found["vectors"].shape
        if (self.keys.shape[1], len(self.offsets), n if self.digests is None else len(self.digests)) != (
            KEY_BYTES,
            n + 1,
            n,
        ):
            raise ValueError("keys, offsets and digests are not of one length")
        if self.offsets[0] != 0 or self.offsets[-1] != n_rows or (np.diff(self.offsets) < 1).any():
            raise ValueError("offsets do not cover the vectors in ascending order")


class StoreFile:
    """A finished file, opened for reading and held to the format."""

    def __init__(self, path: Path):
        self.path = path
        self.identity: tuple = ()
        with self._open() as file:
            self.identity = _identity(file)
            if _text(file.attrs.get("format")) != FORMAT:
                raise StoreError(
                    f"{path}: an HDF5 file, but not an embedding store (its format is not {FORMAT!r})"
                )
            self.version = int(file.attrs["version"])
            if self.version > VERSION:
                raise StoreError(
                    f"{path}: written in store format {self.version}, this version of musiceval_sk reads up to {VERSION}; "
                    "upgrade musiceval_sk to open it"
                )
            file_bytes = file.id.get_filesize()
            self.groups: dict[GroupName, _Group] = {}
            for modality in file:
                for fingerprint in _own(file, modality):
                    name = (modality, fingerprint)
                    self.groups[name] = _Group(
                        name, _own(file[modality], fingerprint), self.version, file_bytes
                    )

    def counts(self, group: GroupName, items: np.ndarray) -> np.ndarray:
        """Windows of each of these items [shape=(n,)]."""
        offsets = self.groups[group].offsets
        return offsets[items + 1] - offsets[items]

    def read(
        self, group: GroupName, items: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield ``(some of the items, their vectors, their digests)`` for ascending items, a bounded number of bytes at a time."""
        for some in self._slices(group, items):
            vectors, counts = self._load(group, some)
            digests = self.groups[group].digests
            self._refuse(group, ~self._sound(group, some, vectors, np.cumsum(counts) - counts))
            yield (
                some,
                vectors,
                digests_of(group, self.groups[group].keys[some], vectors, counts)
                if digests is None
                else digests[some],
            )

    def read_into(self, out: np.ndarray, group: GroupName, items: np.ndarray, places: np.ndarray) -> None:
        """Fill ``out[places[i] : places[i] + windows of item i]`` for each item; neighbours on disk are read at once."""
        self._fill(out, group, items, places)
        self._refuse(group, ~self._sound(group, items, out, places))

    def faulty(self, group: GroupName) -> np.ndarray:
        """Read a whole group and find the items that fail their digest or are not finite [shape=(n,)], bool."""
        faulty = np.zeros(len(self.groups[group].keys), dtype=bool)
        for some in self._slices(group, np.arange(len(faulty))):
            try:
                vectors, counts = self._load(group, some)
            except StoreError:  # a checksum of format 1 or the disk: which item, only one by one can tell
                faulty[some] = [not self._readable(group, item) for item in some]
                continue
            begins = np.cumsum(counts) - counts
            finite = np.logical_and.reduceat(np.isfinite(vectors).all(axis=1), begins)
            faulty[some] = ~(finite & self._sound(group, some, vectors, begins))
        return faulty

    def _slices(self, group: GroupName, items: np.ndarray) -> list[np.ndarray]:
        """Cut ascending items into runs whose vectors, and what lies between them in the file, fit into memory."""
        known = self.groups[group]
        where = known.offsets[items] * 4 * known.dim // _BLOCK_BYTES
        return [some for some in np.split(items, np.flatnonzero(np.diff(where)) + 1) if len(some)]

    def _load(self, group: GroupName, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        counts = self.counts(group, items)
        vectors = np.empty((counts.sum(), self.groups[group].dim), dtype=np.float32)
        begins = np.cumsum(counts) - counts
        try:
            self._fill(vectors, group, items, begins)
        except StoreError:  # perhaps only what lies between the items cannot be read
            for i in range(len(items)) if len(items) > 1 else ():
                self._fill(vectors, group, items[i : i + 1], begins[i : i + 1])
            if len(items) == 1:
                raise
        return vectors, counts

    def _readable(self, group: GroupName, item: int) -> bool:
        try:
            next(self.read(group, np.array([item])))
        except StoreError:
            return False
        return True

    def _sound(
        self, group: GroupName, items: np.ndarray, vectors: np.ndarray, begins: np.ndarray
    ) -> np.ndarray:
        """Tell which items are what was stored; format 1 cannot tell a window of zeros, which no encoder gives, from a lost block."""
        known, counts = self.groups[group], self.counts(group, items)
        if known.digests is not None:
            return digests_of(group, known.keys[items], vectors, counts, begins) == known.digests[items]
        spans = zip(begins, begins + counts, strict=True)
        return np.array([vectors[begin:end].any(axis=1).all() for begin, end in spans], dtype=bool)

    def _refuse(self, group: GroupName, faulty: np.ndarray) -> None:
        if faulty.any():
            raise _damaged(
                self.path, f"{faulty.sum()} of {len(faulty)} {group[0]} items are not what was stored"
            )

    def _fill(self, out: np.ndarray, group: GroupName, items: np.ndarray, places: np.ndarray) -> None:
        order = np.argsort(items, kind="stable")
        offsets = self.groups[group].offsets
        begins, ends = offsets[items[order]], offsets[items[order] + 1]
        places = places[order]
        row_bytes = 4 * self.groups[group].dim
        far = begins[1:] - ends[:-1] > _READ_THROUGH_ROWS
        breaks = np.flatnonzero(far | (np.diff(begins * row_bytes // _BLOCK_BYTES) > 0)) + 1
        with self._open() as file:
            vectors = file["/".join(group)]["vectors"]
            for run in np.split(np.arange(len(order)), breaks):
                begin, end, counts = begins[run[0]], ends[run].max(), ends[run] - begins[run]
                if (np.diff(begins[run]) == counts[:-1]).all() and (
                    np.diff(places[run]) == counts[:-1]
                ).all():
                    first = places[run[0]]
                    vectors.read_direct(out, np.s_[begin:end], np.s_[first : first + end - begin])
                else:
                    _scatter(
                        vectors[begin:end],
                        _ranges(begins[run] - begin, counts),
                        out,
                        _ranges(places[run], counts),
                    )

    @contextmanager
    def _open(self) -> Iterator[h5py.File]:
        """Open the very file that was indexed; one that has taken its name since counts as not found."""
        try:
            with h5py.File(self.path, "r", locking=False) as file:
                if self.identity not in ((), _identity(file)):
                    raise FileNotFoundError(errno.ENOENT, "another file has taken its name", str(self.path))
                yield file
        except (FileNotFoundError, StoreError, MemoryError):
            raise
        except Exception as error:  # of damaged structures h5py raises nearly any kind
            if not self.path.exists():  # a compaction removed it while HDF5 was opening it
                raise FileNotFoundError(errno.ENOENT, "removed meanwhile", str(self.path)) from error
            if isinstance(error, OSError) and error.errno:
                raise StoreError(f"{self.path}: cannot be read ({os.strerror(error.errno)})") from error
            raise _damaged(self.path, error) from error


def digests_of(
    group: GroupName,
    keys: np.ndarray,
    vectors: np.ndarray,
    counts: np.ndarray,
    begins: np.ndarray | None = None,
) -> np.ndarray:
    """Digest each item's vectors (XXH3, 64 bits), seeded by group and key: zeros, or another item's vectors, do not pass."""
    begins = np.cumsum(counts) - counts if begins is None else begins
    seeds = keys[:, :8].copy().view("<u8").ravel() ^ np.uint64(xxh3_64_intdigest("/".join(group).encode()))
    row_bytes, buffer = 4 * vectors.shape[1], vectors.data.cast("B")
    spans = zip(
        (begins * row_bytes).tolist(), ((begins + counts) * row_bytes).tolist(), seeds.tolist(), strict=True
    )
    return np.fromiter((xxh3_64_intdigest(buffer[i:j], seed) for i, j, seed in spans), np.uint64, len(keys))


def _description(group: h5py.Group, name: GroupName) -> str:
    text = _text(group.attrs["encoder"])
    if name[0] not in MODALITIES or digest_of(json.loads(text)) != name[1]:
        raise ValueError(f"the description of {'/'.join(name)} does not belong to its fingerprint")
    return text


def _own(group: h5py.Group, name: str) -> Any:
    """Look a member up; it must lie in this very file."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name!r} is a link to elsewhere, or missing")
    return group[name]


def _dataset(group: h5py.Group, name: str, file_bytes: int) -> h5py.Dataset:
    """Look a dataset up; its type must be the format's and every byte of it must lie in this very file."""
    dataset, (dtype, ndim) = _own(group, name), _DATASETS[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype != dtype or dataset.ndim != ndim:
        raise ValueError(f"{name!r} is not of the format's type and shape")
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"{name!r} takes its numbers from another file")
    plan = dataset.id.get_create_plist()
    if {plan.get_filter(i)[0] for i in range(plan.get_nfilters())} - {h5py.h5z.FILTER_FLETCHER32}:
        raise ValueError(f"{name!r} is compressed, which the format does not know")
    if not dataset.nbytes <= dataset.id.get_storage_size() <= file_bytes:
        raise ValueError(
            f"{name!r} should take {dataset.nbytes} bytes and has {dataset.id.get_storage_size()}"
        )
    return dataset


def _damaged(path: Path, reason: Any) -> DamagedFileError:
    return DamagedFileError(
        f"{path}: damaged ({reason}). Delete this one file and extract again: only the vectors that it held are computed "
        "anew; or let musiceval cache prune --damaged drop what fails its digest"
    )


def _identity(file: h5py.File) -> tuple:
    """Make the proof that an open file is the one indexed: its id (format 2) and its place on disk."""
    status = os.fstat(file.id.get_vfd_handle())
    return _text(file.attrs.get("id")), status.st_ino, status.st_size, status.st_mtime_ns


def _ranges(begins: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Rows ``[begin, begin + 1, ...]`` of each range, one after another."""
    return np.repeat(begins - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())


def _scatter(span: np.ndarray, rows: np.ndarray, out: np.ndarray, places: np.ndarray) -> None:
    """Copy ``out[places[i]] = span[rows[i]]``, in one pass where the places have no gap."""
    order = np.argsort(places, kind="stable")
    rows, places = rows[order], places[order]
    if places[-1] - places[0] + 1 == len(places):
        np.take(span, rows, axis=0, out=out[places[0] : places[-1] + 1], mode="clip")
    else:
        out[places] = span[rows]


def _text(attribute: Any) -> str:
    return attribute.decode() if isinstance(attribute, bytes) else str(attribute)
