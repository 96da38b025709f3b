"""One HDF5 file of a store: written whole and once, then only read.

A file appears under its name complete or not at all: it is written aside, flushed to disk and renamed. Since no
file ever changes after that, readers need no lock.
"""

import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from musiceval_sk.exceptions import StoreError

FORMAT = "musiceval-embeddings"
VERSION = 1
KEY_BYTES = 32
_CHUNK_ROWS = 256
_READ_THROUGH_ROWS = 1024
_SPAN_ROWS = 1 << 16

GroupName = tuple[str, str]


@dataclass(frozen=True)
class Block:
    """Some items of one group: ``vectors[offsets[i]:offsets[i + 1]]`` belong to ``keys[i]``."""

    keys: np.ndarray
    offsets: np.ndarray
    vectors: np.ndarray


@dataclass(frozen=True)
class GroupPlan:
    """What a group will hold, and the blocks that fill it."""

    description: str
    n_items: int
    n_vectors: int
    dim: int
    blocks: Iterable[Block]


class StoreFile:
    """A finished file, opened for reading and checked for format and version."""

    def __init__(self, path: Path):
        self.path = path
        with self._open() as file:
            if _text(file.attrs.get("format")) != FORMAT:
                raise StoreError(
                    f"{path}: an HDF5 file, but not an embedding store (its format is not {FORMAT!r})"
                )
            version = int(file.attrs["version"])
            if version > VERSION:
                raise StoreError(
                    f"{path}: written in store format {version}, this version of musiceval_sk reads up to {VERSION}; "
                    "upgrade musiceval_sk to open it"
                )
            self.groups: dict[GroupName, str] = {}
            self._index: dict[GroupName, tuple[np.ndarray, np.ndarray]] = {}
            self._dims: dict[GroupName, int] = {}
            for modality, members in file.items():
                for fingerprint, group in members.items():
                    name = (modality, fingerprint)
                    self.groups[name] = _text(group.attrs["encoder"])
                    self._index[name] = group["keys"][()], group["offsets"][()]
                    self._dims[name] = int(group["vectors"].shape[1])

    def keys(self, group: GroupName) -> np.ndarray:
        """Digests of the group's items, [shape=(n, 32)], uint8."""
        return self._index[group][0]

    def offsets(self, group: GroupName) -> np.ndarray:
        """Where each item's vectors begin and the last one's end, [shape=(n + 1,)]."""
        return self._index[group][1]

    def dim(self, group: GroupName) -> int:
        """Length of the group's vectors."""
        return self._dims[group]

    def read(self, group: GroupName, items: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield ``(positions in items, their vectors stacked)``, items that are near each other on disk together."""
        order = np.argsort(items, kind="stable")
        for some in np.array_split(order, max(1, len(order) // _SPAN_ROWS)):
            counts = np.diff(self.offsets(group))[items[some]]
            stacked = np.empty((counts.sum(), self.dim(group)), dtype=np.float32)
            self.read_into(stacked, group, items[some], np.cumsum(counts) - counts)
            yield some, stacked

    def read_into(self, out: np.ndarray, group: GroupName, items: np.ndarray, places: np.ndarray) -> None:
        """Fill ``out[places[i] : places[i] + windows of item i]`` for each item; neighbours on disk are read at once."""
        order = np.argsort(items, kind="stable")
        begins, ends = self.offsets(group)[items[order]], self.offsets(group)[items[order] + 1]
        places = places[order]
        far = begins[1:] - ends[:-1] > _READ_THROUGH_ROWS
        breaks = np.flatnonzero(far | (np.diff(begins // _SPAN_ROWS) > 0)) + 1
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
        try:
            with h5py.File(self.path, "r", locking=False) as file:
                yield file
        except (FileNotFoundError, StoreError):
            raise
        except Exception as error:  # of damaged structures h5py raises nearly any kind
            if not self.path.exists():  # a compaction removed it while HDF5 was opening it
                raise FileNotFoundError(f"{self.path}: removed meanwhile") from error
            raise StoreError(
                f"{self.path}: damaged ({error}). Delete this one file and extract again: "
                "only the vectors that it held are computed anew"
            ) from error


def write_store_file(
    path: Path, groups: dict[GroupName, GroupPlan], unless: Callable[[], bool] = lambda: False
) -> bool:
    """Write a file aside and give it its name once it is complete on disk, ``unless`` something speaks against it."""
    _make_folder(path.parent)
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        # From 1.10 on HDF5 checksums its own structures, too (but for strings of variable length, so there are
        # none): a flipped bit is an error, not another number.
        with h5py.File(aside, "w", libver=("v110", "v110"), locking=False) as file:
            file.attrs["format"], file.attrs["version"] = np.bytes_(FORMAT), VERSION
            for name, plan in groups.items():
                _fill_group(file.create_group("/".join(name)), plan)
        _sync(aside)
        if unless():
            return False
        os.replace(aside, path)
        if os.name == "posix":
            _sync(path.parent)
        return True
    finally:
        aside.unlink(missing_ok=True)


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


def canonical(description: dict[str, Any]) -> str:
    """Write an encoder's description as the JSON that a group carries."""
    return json.dumps(description, sort_keys=True, ensure_ascii=False)


def _fill_group(group: h5py.Group, plan: GroupPlan) -> None:
    group.attrs["encoder"] = np.bytes_(plan.description.encode())
    shapes: dict[str, tuple[tuple[int, ...], type]] = {
        "keys": ((plan.n_items, KEY_BYTES), np.uint8),
        "offsets": ((plan.n_items + 1,), np.int64),
        "vectors": ((plan.n_vectors, plan.dim), np.float32),
    }
    for name, (shape, dtype) in shapes.items():
        chunks = (min(shape[0], _CHUNK_ROWS if name == "vectors" else 1 << 14), *shape[1:])
        group.create_dataset(name, shape, dtype, chunks=chunks, fletcher32=True)
    item = row = 0
    for block in plan.blocks:
        n_items, n_rows = len(block.keys), len(block.vectors)
        group["keys"][item : item + n_items] = block.keys
        group["offsets"][item : item + n_items + 1] = block.offsets + row
        group["vectors"][row : row + n_rows] = block.vectors
        item, row = item + n_items, row + n_rows


def _text(attribute: Any) -> str:
    return attribute.decode() if isinstance(attribute, bytes) else str(attribute)


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, each entered on disk before anything is written into it."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing if os.name == "posix" else ():
        _sync(made.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
