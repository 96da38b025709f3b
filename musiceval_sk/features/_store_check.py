"""Read one file of a store completely, and tell which of its items can be trusted."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from musiceval_sk.exceptions import StoreError
from musiceval_sk.features._store_file import FORMAT, KEY_BYTES, VERSION, Block, GroupName, GroupPlan
from musiceval_sk.features._store_folder import digests, in_slices
from musiceval_sk.features.encoders.base import MODALITIES, digest_of

_READ_BYTES = 1 << 24


@dataclass
class GroupCheck:
    """What is known of one group of a file."""

    label: str
    n_items: int = 0
    dim: int = 0
    description: str = ""
    good: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    problems: list[str] = field(default_factory=list)


@dataclass
class FileCheck:
    """What is known of one file."""

    path: Path
    groups: dict[GroupName, GroupCheck] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def all_problems(self) -> list[str]:
        """Of the file and of its groups."""
        return self.problems + [
            f"{group.label}: {problem}" for group in self.groups.values() for problem in group.problems
        ]


def check_file(path: Path, *, may_repeat: bool) -> FileCheck:
    """Read everything that is in a file; whatever HDF5 or the layout object to becomes a problem of the result."""
    check = FileCheck(path)
    _check_access(path)
    try:
        with h5py.File(path, "r", locking=False) as file:
            _check_format(file, path)
            for modality in file:
                for fingerprint in file[modality]:
                    group = GroupCheck(f"{modality} {fingerprint}")
                    check.groups[modality, fingerprint] = group
                    _try(group, lambda m=modality, f=fingerprint, g=group: _check(file[m][f], (m, f), g))
                    if not may_repeat:
                        _check_repetition(group, file, (modality, fingerprint))
    except StoreError:
        raise
    except Exception as error:  # of damaged structures h5py raises nearly any kind
        if not path.exists():  # a compaction removed it while HDF5 was opening it
            raise FileNotFoundError(f"{path}: removed meanwhile") from error
        check.problems.append(f"cannot be read ({error})")
    return check


def plan_of_good(path: Path, name: GroupName, check: GroupCheck) -> GroupPlan:
    """Plan a group of the items that can be trusted."""
    with h5py.File(path, "r", locking=False) as file:
        counts = np.diff(file["/".join(name)]["offsets"][()])[check.good]
    return GroupPlan(
        check.description, len(counts), int(counts.sum()), check.dim, _good_blocks(path, name, check)
    )


def _good_blocks(path: Path, name: GroupName, check: GroupCheck) -> Iterator[Block]:
    with h5py.File(path, "r", locking=False) as file:
        group = file["/".join(name)]
        keys, offsets = group["keys"][()], group["offsets"][()]
        for run in np.split(check.good, np.flatnonzero(np.diff(check.good) > 1) + 1):
            for some in in_slices(offsets, run, check.dim):
                begin, end = offsets[some[0]], offsets[some[-1] + 1]
                bounds = np.append(offsets[some], end) - begin
                yield Block(keys[some], bounds, group["vectors"][begin:end])


def _check_access(path: Path) -> None:
    """Tell a file that we may not read from one that is damaged."""
    try:
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"{path}: cannot be opened ({error.strerror}); nothing was changed") from error


def _check_format(file: h5py.File, path: Path) -> None:
    form = file.attrs.get("format")
    if form != FORMAT.encode():
        raise StoreError(f"{path}: an HDF5 file, but not an embedding store (its format is not {FORMAT!r})")
    version = int(file.attrs["version"])
    if version > VERSION:
        raise StoreError(
            f"{path}: written in store format {version}, this version of musiceval_sk checks up to {VERSION}; "
            "upgrade musiceval_sk to check it"
        )


def _try(check: GroupCheck, look) -> None:
    try:
        look()
    except Exception as error:  # of damaged structures h5py raises nearly any kind
        check.problems.append(f"cannot be read ({error})")


def _check(group: h5py.Group, name: GroupName, check: GroupCheck) -> None:
    check.n_items = group["keys"].shape[0]
    check.description = group.attrs["encoder"].decode()
    description = json.loads(check.description)
    check.label = f"{name[0]} {description.get('name', '')} {name[1]}"
    if name[0] not in MODALITIES or digest_of(description) != name[1]:
        check.problems.append("its description does not belong to its fingerprint")
        return
    keys, offsets, vectors = group["keys"][()], group["offsets"][()], group["vectors"]
    check.dim = vectors.shape[1]
    found = (keys.shape, keys.dtype, offsets.shape, offsets.dtype, vectors.dtype)
    n = len(keys)
    if found != ((n, KEY_BYTES), np.uint8, (n + 1,), np.int64, np.float32):
        check.problems.append("keys, offsets and vectors are not of the shapes and types of the format")
        return
    if offsets[0] != 0 or offsets[-1] != len(vectors) or (np.diff(offsets) < 1).any():
        check.problems.append("offsets do not cover the vectors in ascending order")
        return
    _check_vectors(vectors, offsets, check)
    first = np.unique(digests(keys), return_index=True)[1]
    check.good = np.intersect1d(check.good, first)


def _check_vectors(vectors: h5py.Dataset, offsets: np.ndarray, check: GroupCheck) -> None:
    unreadable, infinite = _bad_rows(vectors)
    for rows, problem in ((unreadable, "cannot be read"), (infinite, "are nan or infinite")):
        if rows.any():
            items = _touched(rows, offsets)
            check.problems.append(f"vectors of {items.sum()} of {len(items)} items {problem}")
    check.good = np.flatnonzero(~_touched(unreadable | infinite, offsets))


def _bad_rows(vectors: h5py.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Find the rows whose checksum fails, to the chunk, and those that are not finite."""
    unreadable, infinite = np.zeros((2, len(vectors)), dtype=bool)
    chunk = vectors.chunks[0]
    step = chunk * max(1, _READ_BYTES // (4 * vectors.shape[1] * chunk))
    spans = [slice(begin, begin + step) for begin in range(0, len(vectors), step)]
    while spans:
        span = spans.pop()
        try:
            infinite[span] = ~np.isfinite(vectors[span]).all(axis=1)
        except Exception:  # of damaged chunks h5py raises nearly any kind
            if span.stop - span.start > chunk:
                spans += [slice(at, at + chunk) for at in range(span.start, span.stop, chunk)]
            else:
                unreadable[span] = True
    return unreadable, infinite


def _touched(rows: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Tell which items have one of these rows."""
    before = np.concatenate([[0], np.cumsum(rows)])
    return before[offsets[1:]] > before[offsets[:-1]]


def _check_repetition(check: GroupCheck, file: h5py.File, name: GroupName) -> None:
    if check.problems:
        return
    keys = digests(file["/".join(name)]["keys"][()])
    repeated = len(keys) - len(np.unique(keys))
    if repeated:
        check.problems.append(f"{repeated} of {len(keys)} items are there again under the same key")
