"""Writing a file of a store: aside, flushed to disk, read back, compared with what was meant, and only then named."""

import os
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from musiceval_sk.exceptions import StoreError
from musiceval_sk.features.store.file import (
    FORMAT,
    VERSION,
    DamagedFileError,
    GroupName,
    StoreFile,
    block_digests,
    block_rows,
    index_digest,
)


@dataclass(frozen=True)
class Contents:
    """What a group is to hold: ``blocks`` yields the vectors of its items in order, however they are cut."""

    description: str
    keys: np.ndarray
    counts: np.ndarray
    dim: int
    blocks: Iterable[np.ndarray]


def write_store_file(
    path: Path, groups: dict[GroupName, Contents], unless: Callable[[], bool] = lambda: False
) -> bool:
    """Write a file aside and name it once it reads back as it was meant, ``unless`` something speaks against it."""
    _make_folder(path.parent)
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with aside.open("xb+", buffering=0) as raw:
            sink = _Sink(raw)
            # From 1.10 on HDF5 checksums its own structures, too (but for strings of variable length, so there are
            # none): a flipped bit is an error, not another number.
            with h5py.File(sink, "w", libver=("v110", "v110")) as file:
                file.attrs["format"], file.attrs["version"] = np.bytes_(FORMAT), VERSION
                file.attrs["id"] = np.bytes_(uuid.uuid4().hex)
                digests = {name: _fill_group(file, name, contents, sink) for name, contents in groups.items()}
            sink.check()
            os.fsync(raw.fileno())
        _compare(aside, groups, digests)
        if unless():
            return False
        os.replace(aside, path)
        _sync_folder(path.parent)
        return True
    finally:
        aside.unlink(missing_ok=True)


class _Sink:
    """A file that never fails HDF5, which crashes when it is closed after an error: `check` raises the first one kept."""

    def __init__(self, raw: Any):
        self._raw = raw
        self._error: OSError | None = None
        self.seek, self.tell, self.read, self.readinto = raw.seek, raw.tell, raw.read, raw.readinto

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        while len(rest) and self._error is None:
            rest = rest[self._try(self._raw.write, rest) or 0 :]
        return len(data)

    def truncate(self, size: int) -> None:
        self._try(self._raw.truncate, size)

    def flush(self) -> None:
        """Nothing is buffered."""

    def check(self) -> None:
        if self._error is not None:
            raise self._error

    def _try(self, act: Callable, argument: Any) -> Any:
        try:
            return act(argument)
        except OSError as error:
            self._error = self._error or error
            return None


def _fill_group(file: h5py.File, name: GroupName, contents: Contents, sink: _Sink) -> np.ndarray:
    """Write a group; return the digests of its blocks."""
    group = file.create_group("/".join(name))
    offsets = np.concatenate([[0], np.cumsum(contents.counts)]).astype(np.int64)
    group.attrs["encoder"] = np.bytes_(contents.description.encode())
    group.attrs["index_digest"] = index_digest(name, contents.keys, offsets)
    group["keys"], group["offsets"] = contents.keys, offsets
    vectors = group.create_dataset("vectors", (offsets[-1], contents.dim), np.float32, fill_time="never")
    size, row = block_rows(contents.dim), 0
    digests: list[np.ndarray] = []
    rest = np.empty((0, contents.dim), dtype=np.float32)
    for some in contents.blocks:
        vectors[row : row + len(some)] = some
        sink.check()
        row += len(some)
        pending = np.concatenate([rest, some])
        whole = len(pending) // size * size
        digests.append(block_digests(name, sum(len(some) for some in digests), pending[:whole]))
        rest = pending[whole:].copy()
    digests.append(block_digests(name, sum(len(some) for some in digests), rest))
    group["digests"] = together = np.concatenate(digests)
    return together


def _compare(path: Path, groups: dict[GroupName, Contents], digests: dict[GroupName, np.ndarray]) -> None:
    """Read a file back and hold it against what was meant."""
    try:
        written = StoreFile(path)
        for name, contents in groups.items():
            found = written.groups[name]
            same = np.array_equal(found.keys, contents.keys) and np.array_equal(found.digests, digests[name])  # type: ignore[arg-type]
            if not same or written.faulty(name).any():
                raise DamagedFileError(f"{path}: {'/'.join(name)} differs")
    except StoreError as error:
        raise OSError(f"what was written does not read back the same: {error}") from error


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, each entered on disk before anything is written into it."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        _sync_folder(made.parent)


def _sync_folder(path: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
