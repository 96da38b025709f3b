"""One HDF5 file of a store, as readers know it: it never changes once it has its name, so they need no lock.

Vectors lie in blocks, each with a digest that is checked whenever any of it is read, and a reader that knows a file by its
index notices when another has taken its name. All of a file's content must lie in it, in the format's types.
"""

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from xxhash import xxh3_64_intdigest

from musiceval_sk.exceptions import StoreError
from musiceval_sk.features.encoders.base import MODALITIES, Modality, digest_of

FORMAT, VERSION = "musiceval-embeddings", 2
KEY_BYTES = 32
_BLOCK_BYTES = 1 << 16
_READ_THROUGH_ROWS = 1024
_SPAN_BYTES = 1 << 26
_TYPES = {
    "keys": (np.uint8, 2),
    "offsets": (np.int64, 1),
    "vectors": (np.float32, 2),
    "digests": (np.uint64, 1),
}
# So many rows of zeros as a whole block of format 1 are a lost block, which its checksum passes; fewer may be what was stored.
_ROWS_NEVER_ALL_ZERO = 16

GroupName = tuple[Modality, str]


class DamagedFileError(StoreError):
    """A file whose structure or content is not what was stored."""


class _Group:
    """The index of one group of a file, held to the format."""

    def __init__(self, name: GroupName, group: h5py.Group, version: int, file_bytes: int):
        self.name = name
        self.description = _description(group, name)
        vectors = _dataset(
            group, "vectors", 4 * file_bytes if version == 1 else file_bytes, missing=version == 1
        )
        self.keys, self.offsets = (_dataset(group, member, file_bytes)[()] for member in ("keys", "offsets"))
        n_rows, self.dim = vectors.shape
        if self.keys.shape[1] != KEY_BYTES or self.dim < 1:
            raise ValueError(f"keys of {self.keys.shape[1]} bytes or vectors of {self.dim} numbers")
        if len(self.offsets) != len(self.keys) + 1:
            raise ValueError(f"{len(self.keys)} keys and {len(self.offsets)} offsets")
        if (
            self.offsets[0] != 0
            or self.offsets[-1] != n_rows
            or (self.offsets[1:] <= self.offsets[:-1]).any()
        ):
            raise ValueError("offsets do not cover the vectors in ascending order")
        self.digests: np.ndarray | None = None
        self.block_rows = block_rows(self.dim)
        if version == 1:
            self.block_rows = vectors.chunks[0] if vectors.chunks else max(n_rows, 1)
            return
        self.digests = _dataset(group, "digests", file_bytes)[()]
        if len(self.digests) != -(-n_rows // self.block_rows):
            raise ValueError(f"{len(self.digests)} digests for {n_rows} vectors")
        if group.attrs["index_digest"] != index_digest(name, self.keys, self.offsets):
            raise ValueError("keys and offsets are not what was stored")

    def sound(self, first: int, vectors: np.ndarray) -> np.ndarray:
        """Tell which blocks from the ``first`` on are what was stored, given all of their vectors."""
        if self.digests is not None:
            return (
                block_digests(self.name, first, vectors)
                == self.digests[first:][: -(-len(vectors) // self.block_rows)]
            )
        begins = np.arange(0, len(vectors), self.block_rows)
        filled = np.logical_or.reduceat(vectors.any(axis=1), begins)
        return filled | (np.diff(np.append(begins, len(vectors))) < _ROWS_NEVER_ALL_ZERO)

    def of_blocks(self, blocks: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Tell which items have vectors in one of these ascending blocks."""
        first, last = self.offsets[items] // self.block_rows, (self.offsets[items + 1] - 1) // self.block_rows
        return np.searchsorted(blocks, first) < np.searchsorted(blocks, last, side="right")


class StoreFile:
    """A finished file, opened for reading and held to the format."""

    def __init__(self, path: Path):
        self.path = path
        self.identity: tuple = ()
        if not stat.S_ISREG(path.stat().st_mode):
            raise StoreError(f"{path}: not a file")
        if path.stat().st_size and not (path.name.startswith("part-") or h5py.is_hdf5(path)):
            raise StoreError(
                f"{path}: not an embedding store, nor any HDF5 file; name another file as the store"
            )
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
            if self.version < 1 or (self.version > 1 and "id" not in file.attrs):
                raise ValueError(f"format {self.version} without its id")
            file_bytes = file.id.get_filesize()
            self.groups: dict[GroupName, _Group] = {}
            for modality in file:
                for fingerprint in _own(file, modality, h5py.Group):
                    name = (modality, fingerprint)
                    group = _own(file[modality], fingerprint, h5py.Group)
                    self.groups[name] = _Group(name, group, self.version, file_bytes)

    def counts(self, group: GroupName, items: np.ndarray) -> np.ndarray:
        """Windows of each of these items [shape=(n,)]."""
        offsets = self.groups[group].offsets
        return offsets[items + 1] - offsets[items]

    def read(self, group: GroupName, items: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the vectors of ascending items, one item after another, a bounded number of bytes at a time."""
        where = self.groups[group].offsets[items] * 4 * self.groups[group].dim // _SPAN_BYTES
        for some in np.split(items, np.flatnonzero(np.diff(where)) + 1):
            counts = self.counts(group, some)
            begins = np.cumsum(counts) - counts
            vectors = np.empty((counts.sum(), self.groups[group].dim), dtype=np.float32)
            try:
                self.read_into(vectors, group, some, begins)
            except DamagedFileError:  # perhaps only what lies between the items
                if len(some) == 1:
                    raise
                for i in range(len(some)):
                    self.read_into(vectors, group, some[i : i + 1], begins[i : i + 1])
            yield vectors

    def read_into(self, out: np.ndarray, group: GroupName, items: np.ndarray, places: np.ndarray) -> None:
        """Fill ``out[places[i] : places[i] + windows of item i]`` for each item; neighbours on disk are read at once."""
        known, order = self.groups[group], np.argsort(items, kind="stable")
        begins, ends, places = known.offsets[items[order]], known.offsets[items[order] + 1], places[order]
        far = begins[1:] - ends[:-1] > _READ_THROUGH_ROWS
        spans = np.diff(begins * 4 * known.dim // _SPAN_BYTES) > 0
        bad: list[int] = []
        with self._open() as file:
            vectors = file["/".join(group)]["vectors"]
            for run in np.split(np.arange(len(order)), np.flatnonzero(far | spans) + 1):
                begin, end, counts = begins[run[0]], ends[run].max(), ends[run] - begins[run]
                if (np.diff(begins[run]) == counts[:-1]).all() and (
                    np.diff(places[run]) == counts[:-1]
                ).all():
                    bad += _read_rows(vectors, known, begin, end, out[places[run[0]] :][: end - begin])
                else:
                    span = np.empty((end - begin, known.dim), dtype=np.float32)
                    bad += _read_rows(vectors, known, begin, end, span)
                    _scatter(span, _ranges(begins[run] - begin, counts), out, _ranges(places[run], counts))
        faulty = known.of_blocks(np.unique(bad), items)
        if faulty.any():
            raise DamagedFileError(
                f"{self.path}: damaged ({faulty.sum()} of {len(items)} {group[0]} items are not what was stored). "
                "musiceval cache prune --damaged drops them, so that the next musiceval extract computes them anew"
            )

    def faulty(self, group: GroupName) -> np.ndarray:
        """Read a whole group and find the items that are not what was stored [shape=(n,)], bool."""
        known, bad = self.groups[group], []
        n_rows, step = (
            int(known.offsets[-1]),
            max(1, _SPAN_BYTES // (4 * known.dim * known.block_rows)) * known.block_rows,
        )
        spans = [(begin, min(begin + step, n_rows)) for begin in range(0, n_rows, step)]
        while spans:
            begin, end = spans.pop()
            span = np.empty((end - begin, known.dim), dtype=np.float32)
            try:
                with self._open() as file:
                    bad += _read_rows(file["/".join(group)]["vectors"], known, begin, end, span)
            except DamagedFileError:  # a checksum of format 1
                if end - begin <= known.block_rows:
                    bad.append(begin // known.block_rows)
                else:
                    cuts = [*range(begin, end, known.block_rows), end]
                    spans += pairwise(cuts)
        return known.of_blocks(np.unique(bad), np.arange(len(known.keys)))

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
            raise DamagedFileError(
                f"{self.path}: damaged ({error}). Delete this one file and extract again: only the vectors that it held are "
                "computed anew"
            ) from error


def block_rows(dim: int) -> int:
    """Rows of a block: as many as fit into 64 KiB, at least one."""
    return max(1, _BLOCK_BYTES // (4 * dim))


def block_digests(group: GroupName, first: int, vectors: np.ndarray) -> np.ndarray:
    """Digest blocks from the ``first`` on (XXH3, 64 bits), seeded by group and number: zeros, or other blocks, do not pass."""
    step, buffer = (
        block_rows(vectors.shape[1]) * 4 * vectors.shape[1],
        vectors.reshape(-1).view(np.uint8).data,
    )
    seed = _seed(group) + first
    digests = [
        xxh3_64_intdigest(buffer[at : at + step], seed + i)
        for i, at in enumerate(range(0, len(buffer), step))
    ]
    return np.array(digests, dtype=np.uint64)


def index_digest(group: GroupName, keys: np.ndarray, offsets: np.ndarray) -> np.uint64:
    """Digest what says where each item is (XXH3, 64 bits), seeded by group."""
    return np.uint64(
        xxh3_64_intdigest(np.ascontiguousarray(keys).tobytes() + offsets.tobytes(), _seed(group))
    )


def _seed(group: GroupName) -> int:
    return xxh3_64_intdigest("/".join(group).encode()) >> 1  # leaves room to add numbers of blocks


def _read_rows(vectors: h5py.Dataset, known: _Group, begin: int, end: int, out: np.ndarray) -> list[int]:
    """Read rows into ``out``, whole blocks directly; return the numbers of blocks that are not what was stored."""
    size, n_rows, bad = known.block_rows, int(known.offsets[-1]), []
    inner = (-(-begin // size) * size, n_rows if end == n_rows else end // size * size)
    cuts = (begin, *inner, end) if inner[0] < inner[1] else (begin, end)
    for lower, upper in pairwise(cuts):
        if lower == upper:
            continue
        part = out[lower - begin : upper - begin]
        first = lower // size
        low, high = first * size, min(-(-upper // size) * size, n_rows)
        if (low, high) == (lower, upper):
            vectors.read_direct(part, np.s_[low:high])
            span = part
        else:
            span = vectors[low:high]
            part[:] = span[lower - low : upper - low]
        bad += (first + np.flatnonzero(~known.sound(first, span))).tolist()
    return bad


def _description(group: h5py.Group, name: GroupName) -> str:
    text = _text(group.attrs["encoder"])
    description = json.loads(text)
    if name[0] not in MODALITIES or not isinstance(description, dict) or digest_of(description) != name[1]:
        raise ValueError(f"the description of {'/'.join(name)} does not belong to its fingerprint")
    return text


def _own(group: h5py.Group, name: str, kind: type) -> Any:
    """Look a member up; it must lie in this very file."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name!r} is a link to elsewhere, or missing")
    member = group[name]
    if not isinstance(member, kind):
        raise ValueError(f"{name!r} is a {type(member).__name__}, not a {kind.__name__}")
    return member


def _dataset(group: h5py.Group, name: str, most_bytes: int, *, missing: bool = False) -> h5py.Dataset:
    """Look a dataset up; its type must be the format's, and all of its bytes must lie in this file, unless some may be missing."""
    dataset, (dtype, ndim) = _own(group, name, h5py.Dataset), _TYPES[name]
    if dataset.dtype != dtype or dataset.ndim != ndim:
        raise ValueError(f"{name!r} is not of the format's type and shape")
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"{name!r} takes its numbers from another file")
    plan = dataset.id.get_create_plist()
    if {plan.get_filter(i)[0] for i in range(plan.get_nfilters())} - {h5py.h5z.FILTER_FLETCHER32}:
        raise ValueError(f"{name!r} is compressed, which the format does not know")
    stored = dataset.id.get_storage_size()
    if dataset.nbytes > most_bytes or (stored < dataset.nbytes and not missing):
        raise ValueError(f"{name!r} should take {dataset.nbytes} bytes and has {stored}")
    return dataset


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
