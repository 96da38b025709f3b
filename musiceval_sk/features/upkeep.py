"""Look into a store, and take another store's vectors into it."""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import h5py
import numpy as np
import pandas as pd

from musiceval_sk.exceptions import StoreError
from musiceval_sk.features._store_file import GroupName, StoreFile
from musiceval_sk.features._store_folder import (
    ATTEMPTS,
    blocks,
    digests,
    exists,
    vanished,
    written_at,
)
from musiceval_sk.features.encoders.base import digest_of
from musiceval_sk.features.store import EmbeddingStore

_COLUMNS = ["modality", "name", "fingerprint", "checkpoint", "items", "windows", "dim"]
_DATES = ["first_written", "last_written"]


@dataclass(frozen=True)
class StoreInfo:
    """What a store holds and what that takes, see `store_info`.

    Attributes
    ----------
    path : str
        The main file.
    version : int or None
        Version of the store's format; None if no file can be read.
    main_bytes, parts_bytes : int
        Size on disk of the main file and of all parts.
    n_parts : int
        Number of parts.
    encoders : pandas.DataFrame
        One row a modality and fingerprint: ``modality``, ``name``, ``fingerprint``, ``checkpoint`` (its SHA-256, empty
        if the encoder has none), ``items``, ``windows``, ``dim`` (length of a vector), ``first_written`` and
        ``last_written`` (UTC; for what lies in the main file the time of its compaction).
    unreadable : dict of str to str
        Reasons why files cannot be read, by path; what they hold is not counted.
    """

    path: str
    version: int | None
    main_bytes: int
    parts_bytes: int
    n_parts: int
    encoders: pd.DataFrame
    unreadable: dict[str, str]

    def __str__(self) -> str:
        lines = [
            f"{self.path} (format {self.version or 'unknown'})",
            f"  main file: {self.main_bytes:,} bytes; parts: {self.n_parts}, {self.parts_bytes:,} bytes",
        ]
        for row in self.encoders.itertuples():
            checkpoint = f", checkpoint {row.checkpoint[:12]}" if row.checkpoint else ""
            dates = " to ".join(f"{date:%Y-%m-%d %H:%M}" for date in (row.first_written, row.last_written))
            lines += [
                f"  {row.modality} {row.name} {row.fingerprint}{checkpoint}",
                f"    {row.items:,} items, {row.windows:,} windows of {row.dim} numbers, written {dates} UTC",
            ]
        lines += [f"  cannot be read: {reason}" for reason in self.unreadable.values()]
        return "\n".join(lines)


def store_info(store: EmbeddingStore) -> StoreInfo:
    """Tell what a store holds; files that cannot be read are named and do not hide the others.

    Parameters
    ----------
    store : EmbeddingStore
        The store to look into.

    Returns
    -------
    StoreInfo
        Sizes, and one row an encoder and modality. An item that was stored twice counts once.

    Raises
    ------
    StoreError
        If files vanish whenever they are looked at.

    Examples
    --------
    >>> import numpy as np
    >>> from tempfile import mkdtemp
    >>> from musiceval_sk import EmbeddingStore
    >>> store = EmbeddingStore(mkdtemp() + "/embeddings.h5")
    >>> _ = store.append("audio", {"name": "toy"}, [bytes(32)], [np.ones((2, 3))])
    >>> store_info(store).encoders[["name", "items", "windows", "dim"]]
      name  items  windows  dim
    0  toy      1        2    3
    """
    sizes, files, unreadable = _look(store)
    main_bytes = sizes.pop(str(store.path), 0)
    groups = sorted({group for file in files for group in file.groups})
    rows = [_row(group, [file for file in files if group in file.groups]) for group in groups]
    encoders = pd.DataFrame(rows, columns=[*_COLUMNS, *_DATES])
    version = max((_version(file) for file in files), default=None)
    return StoreInfo(
        str(store.path), version, main_bytes, sum(sizes.values()), len(sizes), encoders, unreadable
    )


def merge_stores(store: EmbeddingStore, others: Sequence[EmbeddingStore]) -> pd.DataFrame:
    """Take the vectors of other stores, such as other machines', into a store.

    Items that are there already are not copied. What is copied is written as parts of bounded size, each of them whole
    and on disk before the next: a merge that was interrupted goes on where it stopped when it is called again.

    Parameters
    ----------
    store : EmbeddingStore
        Where to; need not exist.
    others : sequence of EmbeddingStore
        Where from; they are only read.

    Returns
    -------
    pandas.DataFrame
        One row a source, modality and fingerprint, with the encoder's ``name`` and the number of items that were
        ``copied`` and that were ``there`` already.

    Raises
    ------
    ValueError
        If a source does not exist or is the store itself.
    StoreError
        If a file is damaged, a source contradicts itself or the store, or the folder cannot be written; what was
        copied until then stays.
    """
    for other in others:
        if not exists(other):
            raise ValueError(f"{other.path}: no store there to merge; give the path of its main file")
        if os.path.realpath(other.path) == os.path.realpath(store.path):
            raise ValueError(f"{other.path}: cannot merge a store into itself")
    rows = []
    for other in others:
        for group in other.groups():
            description, dim = _identity(other, group)
            _check_identity(store, other, group, description, dim)
            copied, there = _copy_group(store, other, group, description)
            rows.append((str(other.path), *group, description.get("name", ""), copied, there))
    return pd.DataFrame(rows, columns=["source", "modality", "fingerprint", "name", "copied", "there"])


def _look(store: EmbeddingStore) -> tuple[dict[str, int], list[StoreFile], dict[str, str]]:
    """Open all files that can be read; their sizes by path, and why the others cannot."""
    for _ in range(ATTEMPTS):
        sizes: dict[str, int] = {}
        files: list[StoreFile] = []
        unreadable: dict[str, str] = {}
        with contextlib.suppress(
            FileNotFoundError
        ):  # another process compacted between our looking and opening
            for path in store.files():
                sizes[str(path)] = path.stat().st_size
                try:
                    files.append(StoreFile(path))
                except StoreError as error:
                    unreadable[str(path)] = str(error)
            return sizes, files, unreadable
    raise vanished(store)


def _version(file: StoreFile) -> int:
    with h5py.File(file.path, "r", locking=False) as opened:
        return int(opened.attrs["version"])


def _row(group: GroupName, files: list[StoreFile]) -> tuple:
    keys = np.concatenate([digests(file.keys(group)) for file in files])
    counts = np.concatenate([np.diff(file.offsets(group)) for file in files])
    first = np.unique(keys, return_index=True)[1]
    description = json.loads(files[0].groups[group])
    dates = pd.to_datetime([written_at(file.path) for file in files], unit="s", utc=True)
    return (
        group[0],
        description.get("name", ""),
        group[1],
        description.get("checkpoint_sha256") or "",
        len(first),
        int(counts[first].sum()),
        files[0].dim(group),
        dates.min(),
        dates.max(),
    )


def _identity(store: EmbeddingStore, group: GroupName) -> tuple[dict, int]:
    """Look up the description and the length of the vectors of a group."""
    file = next(iter(store.items(group)))
    return json.loads(file.groups[group]), file.dim(group)


def _check_identity(
    store: EmbeddingStore, other: EmbeddingStore, group: GroupName, description: dict, dim: int
) -> None:
    if digest_of(description) != group[1]:
        raise StoreError(
            f"{other.path}: the description of {group[0]} {group[1]} belongs to another fingerprint, "
            f"{digest_of(description)}; musiceval cache verify --cache {other.path} names the file"
        )
    ours = _identity(store, group)[1] if group in store.groups() else dim
    if ours != dim:
        raise StoreError(
            f"{other.path}: vectors of {group[0]} {group[1]} have length {dim}, but {ours} in {store.path}; "
            "one of the two was written by an encoder that hid a change from its description"
        )


def _copy_group(
    store: EmbeddingStore, other: EmbeddingStore, group: GroupName, description: dict
) -> tuple[int, int]:
    """Copy what the store lacks; count what was copied and what was there."""
    copied = 0
    for _ in range(ATTEMPTS):
        try:
            for keys, items in _lacking(store, other, group):
                store.append(group[0], description, keys, items)  # type: ignore[arg-type]
                copied += len(keys)
        except FileNotFoundError:  # the other store was compacted meanwhile
            continue
        if store.needs_compaction():
            store.compact(timeout=0)
        return copied, sum(map(len, other.items(group).values())) - copied
    raise vanished(other)


def _lacking(
    store: EmbeddingStore, other: EmbeddingStore, group: GroupName
) -> Iterator[tuple[list[bytes], list[np.ndarray]]]:
    """Yield keys and vectors that the store lacks, a bounded number of bytes at a time."""
    for file, items in other.items(group).items():
        keys = [key.tobytes() for key in file.keys(group)[items]]
        for block in blocks(file, group, items[~store.contains(group[0], group[1], keys)]):  # type: ignore[arg-type]
            yield [key.tobytes() for key in block.keys], np.split(block.vectors, block.offsets[1:-1])
