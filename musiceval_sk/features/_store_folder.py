"""The files of a store as they lie on disk, for all that keeps a store in order."""

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from musiceval_sk.exceptions import StoreError
from musiceval_sk.features._store_file import KEY_BYTES, Block, GroupName, GroupPlan, StoreFile
from musiceval_sk.features.store import EmbeddingStore

ATTEMPTS = 10
_COPY_BYTES = 1 << 26


def open_files(store: EmbeddingStore) -> list[StoreFile]:
    """Open every file of the store."""
    for _ in range(ATTEMPTS):
        try:
            return [StoreFile(path) for path in store.files()]
        except FileNotFoundError:  # another process compacted between our looking and our opening
            continue
    raise vanished(store)


def vanished(store: EmbeddingStore) -> StoreError:
    """Make the error of a store whose files are gone whenever they are opened."""
    return StoreError(f"{store.path}: files vanished while reading, {ATTEMPTS} times in a row")


def exists(store: EmbeddingStore) -> bool:
    """Tell whether anything was ever stored under this path."""
    return store.path.exists() or store.parts_folder.is_dir()


def new_part(store: EmbeddingStore) -> Path:
    """Choose the name of a part that is to be written now."""
    return store.parts_folder / f"part-{time.time_ns():020d}-{uuid.uuid4().hex[:12]}.h5"


def written_at(path: Path) -> float:
    """Tell when a file was written, in seconds since 1970: a part's name says it, also where the file was copied."""
    named = re.match(r"part-(\d{20})-", path.name)
    return int(named[1]) / 1e9 if named else path.stat().st_mtime


@contextmanager
def alone(store: EmbeddingStore, purpose: str, timeout: float) -> Iterator[None]:
    """Hold the lock of compactions, so that no file of the store disappears; appending goes on."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(f"{store.path}.lock", timeout=timeout):
            yield
    except Timeout as error:
        raise StoreError(
            f"{store.path}: cannot {purpose} while another process compacts or changes the store; try again later"
        ) from error
    except OSError as error:
        raise StoreError(f"{store.path}: cannot {purpose} ({error}); what was stored is intact") from error


def digests(keys: np.ndarray) -> np.ndarray:
    """Make one comparable value of each key [shape=(n,)]; all are equally long, so that padding cannot mislead."""
    return np.ascontiguousarray(keys).view(f"S{KEY_BYTES}").ravel()


def in_slices(offsets: np.ndarray, items: np.ndarray, dim: int) -> list[np.ndarray]:
    """Cut ascending items into runs whose vectors, and what lies between them in the file, fit into memory."""
    most = max(1, _COPY_BYTES // (4 * dim))
    where = (offsets[items + 1] - 1) // most
    return [some for some in np.split(items, np.flatnonzero(np.diff(where)) + 1) if len(some)]


def blocks(file: StoreFile, group: GroupName, items: np.ndarray) -> Iterator[Block]:
    """Read ascending items of a file, a bounded number of bytes at a time."""
    offsets = file.offsets(group)
    for some in in_slices(offsets, items, file.dim(group)):
        counts = offsets[some + 1] - offsets[some]
        vectors = np.concatenate([stacked for _, stacked in file.read(group, some)])
        yield Block(file.keys(group)[some], np.concatenate([[0], np.cumsum(counts)]), vectors)


def plan(group: GroupName, chosen: dict[StoreFile, np.ndarray]) -> GroupPlan:
    """Plan a group of the chosen items of some files, which must be ascending; they are read when it is written."""
    first = next(iter(chosen))
    n_vectors = sum(int(np.diff(file.offsets(group))[items].sum()) for file, items in chosen.items())
    filling = (block for file, items in chosen.items() for block in blocks(file, group, items))
    n_items = sum(map(len, chosen.values()))
    return GroupPlan(first.groups[group], n_items, n_vectors, first.dim(group), filling)
