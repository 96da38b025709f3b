"""Look into a store, check it, take another store's vectors into it, and take out what is no longer wanted."""

import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._text import counted, listed
from musiceval_sk.datasets.clips import check_clips
from musiceval_sk.exceptions import AudioError, StoreError
from musiceval_sk.features.audio import sounds_of
from musiceval_sk.features.extract import audio_keys, text_key
from musiceval_sk.features.file_index import FileIndex
from musiceval_sk.features.store.file import KEY_BYTES, DamagedFileError, GroupName, StoreFile
from musiceval_sk.features.store.index import GroupIndex, Keep, all_items
from musiceval_sk.features.store.store import EmbeddingStore

_INFO_COLUMNS = [
    "modality",
    "name",
    "fingerprint",
    "checkpoint",
    "items",
    "windows",
    "dim",
    "first_written",
    "last_written",
]
_PRUNE_COLUMNS = ["modality", "fingerprint", "name", "kept", "dropped", "dropped_windows"]
_COPY_BYTES = 1 << 26
_ATTEMPTS = 50


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
        ``last_written`` (UTC; for what was folded into another file since, the time of that).
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
    looked = _look(store)
    files = [file for file in looked.values() if isinstance(file, StoreFile)]
    rows = []
    for group in sorted({group for file in files for group in file.groups}):
        holding = [file for file in files if group in file.groups]
        description = json.loads(holding[0].groups[group].description)
        dims = sorted({file.groups[group].dim for file in holding})
        items = GroupIndex(group, [file for file in holding if file.groups[group].dim == dims[0]]).items()
        dates = pd.to_datetime([_written_at(file.path) for file in holding], unit="s", utc=True)
        n_items, n_windows = _count(group, items)
        checkpoint = str(description.get("checkpoint_sha256") or "")
        name = description.get("name", "")
        rows.append(
            (group[0], name, group[1], checkpoint, n_items, n_windows, dims[0], dates.min(), dates.max())
        )
    sizes = {path: path.stat().st_size for path in looked if path.exists()}
    main_bytes = sizes.pop(store.path, 0)
    return StoreInfo(
        str(store.path),
        max((file.version for file in files), default=None),
        main_bytes,
        sum(sizes.values()),
        len(sizes),
        pd.DataFrame(rows, columns=_INFO_COLUMNS),
        {str(path): str(file) for path, file in looked.items() if isinstance(file, StoreError)},
    )


@dataclass(frozen=True)
class VerifyReport:
    """What `verify_store` found.

    Attributes
    ----------
    n_files, n_items : int
        Number of files that were read, and of the items that they hold as far as can be told.
    damaged : pandas.DataFrame
        One row a damaged file, indexed by ``path``: its ``problem``, and what it ``held``.
    """

    n_files: int
    n_items: int
    damaged: pd.DataFrame

    def __str__(self) -> str:
        lines = [f"{self.n_files} files read, {self.n_items:,} items, {len(self.damaged)} files damaged"]
        for row in self.damaged.itertuples():
            lines += [f"  {row.Index}: {row.problem}", f"    held {row.held}"]
        return "\n".join(lines)


def verify_store(store: EmbeddingStore) -> VerifyReport:
    """Read every byte of a store and hold it against digests and format.

    Parameters
    ----------
    store : EmbeddingStore
        The store to read; it is not changed.

    Returns
    -------
    VerifyReport
        What is damaged. In a file of format 1, which has no digests, blocks count as damaged whose checksums fail, or that are of 16
        vectors or more and all zero.

    Raises
    ------
    StoreError
        If a file may not be read, is no store's, or is of a newer format: none of these is damage.
    """
    checked: dict[tuple, tuple[int, str, str]] = {}  # files that others leave alone meanwhile are read once

    def _report() -> VerifyReport:
        looked = _look(store)
        for file in looked.values():
            if isinstance(file, StoreError) and not isinstance(file, DamagedFileError):
                raise file
        findings = {path: _check(file, checked) for path, file in looked.items()}
        rows = {str(path): finding[1:] for path, finding in findings.items() if finding[1]}
        table = pd.DataFrame.from_dict(rows, orient="index", columns=["problem", "held"]).rename_axis("path")
        return VerifyReport(len(looked), sum(finding[0] for finding in findings.values()), table)

    return _while_files_vanish(store, _report)


def _check(file: StoreFile | StoreError, checked: dict[tuple, tuple[int, str, str]]) -> tuple[int, str, str]:
    """Count the items; say in words what is wrong and what the file held."""
    if isinstance(file, StoreError):
        return 0, str(file).split(": ", 1)[1], "what can no longer be told"
    if file.identity not in checked:
        problems, held = [], []
        for group, known in file.groups.items():
            label = f"{group[0]} {json.loads(known.description).get('name', '')} {group[1]}"
            n, faulty = len(known.keys), int(file.faulty(group).sum())
            held.append(f"{n} items of {label}")
            if faulty:
                problems.append(f"{faulty} of {n} items of {label} are not what was stored")
        n_items = sum(len(known.keys) for known in file.groups.values())
        checked[file.identity] = n_items, "; ".join(problems), ", ".join(held)
    return checked[file.identity]


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
        for held in other.encoders().itertuples():
            copied, there = _copy_group(store, other, (held.modality, held.fingerprint))
            rows.append(
                (
                    str(other.path),
                    held.modality,
                    held.fingerprint,
                    held.encoder.get("name", ""),
                    copied,
                    there,
                )
            )
    if store.needs_compaction():
        store.compact(timeout=0)
    return pd.DataFrame(rows, columns=["source", "modality", "fingerprint", "name", "copied", "there"])


def prune_store(
    store: EmbeddingStore,
    *,
    fingerprints: Sequence[str] = (),
    keep: Sequence[pd.DataFrame] = (),
    damaged: bool = False,
    dry_run: bool = False,
    timeout: float = -1,
) -> pd.DataFrame:
    """Drop encoders, or the clips and prompts that no clips table names any more.

    What survives is written into a new main file and is on disk before anything is deleted, so that a crash loses nothing, at
    worst drops nothing. A store that loses nothing stays as it is. Parts that other processes append meanwhile are not looked at
    and stay.

    Parameters
    ----------
    store : EmbeddingStore
        The store to prune.
    fingerprints : sequence of str, default=()
        First digits of the fingerprints to drop; each must fit one fingerprint only.
    keep : sequence of pandas.DataFrame, default=()
        Clips tables; sounds and prompts that are in none of them are dropped, of all encoders. If no table has a
        prompt that is not empty, all prompts stay.
    damaged : bool, default=False
        Whether to drop the items that fail their digest, so that `extract` computes them anew.
    dry_run : bool, default=False
        Whether only to tell what would be dropped.
    timeout : float, default=-1
        Seconds to wait for a compaction to end; negative waits for ever.

    Returns
    -------
    pandas.DataFrame
        One row a modality and fingerprint: the encoder's ``name``, items ``kept`` and ``dropped``, ``dropped_windows``.

    Raises
    ------
    ValueError
        If not exactly one of ``fingerprints``, ``keep`` and ``damaged`` is given, or a fingerprint fits none or several.
    AudioError
        If a clip to keep cannot be read: which vectors are its own can then not be told.
    StoreError
        If a file is damaged, the folder cannot be written, or the lock is not to be had.
    """
    if (len(fingerprints) > 0) + (len(keep) > 0) + damaged != 1:
        raise ValueError(
            "give fingerprints of encoders to drop, or clips tables to keep, or damaged=True, one of the three"
        )
    if not exists(store):
        return pd.DataFrame(columns=_PRUNE_COLUMNS)
    if damaged:
        choice: Keep = cache(lambda file, group: ~file.faulty(group))
    elif len(keep):
        choice = _only(_keys_of(keep, FileIndex(f"{store.path}.files.npy")))
    else:
        choice = _all_but(fingerprints, store.groups())
    if dry_run:
        return _while_files_vanish(store, lambda: _prune_report(store.look(), choice))
    try:
        with store.locked("prune", timeout):
            files = store.look()
            report = _prune_report(files, choice)
            if not all(choice(file, group).all() for file in files for group in file.groups):
                store.rewrite(choice)
    except TimeoutError as error:
        raise StoreError(
            f"{store.path}: cannot prune while another process compacts or changes the store; try again later"
        ) from error
    return report


def exists(store: EmbeddingStore) -> bool:
    """Tell whether anything was ever stored under this path.

    Parameters
    ----------
    store : EmbeddingStore
        The store.

    Returns
    -------
    bool
        True if there is a main file, or a folder of parts.
    """
    return store.path.exists() or store.parts_folder.is_dir()


def _while_files_vanish(store: EmbeddingStore, work: Callable[[], Any]) -> Any:
    """Do work on files anew when another process folds them between our looking and our reading."""
    for _ in range(_ATTEMPTS):
        with suppress(FileNotFoundError):
            return work()
    raise StoreError(f"{store.path}: files vanished while reading, {_ATTEMPTS} times in a row")


def _look(store: EmbeddingStore) -> dict[Path, StoreFile | StoreError]:
    """Open every file of a store, or say why it cannot be."""
    return _while_files_vanish(store, lambda: {path: _opened(path) for path in store.files()})


def _opened(path: Path) -> StoreFile | StoreError:
    try:
        return StoreFile(path)
    except StoreError as error:
        return error


def _written_at(path: Path) -> float:
    """Tell when a file was written, in seconds since 1970: a part's name says it, also where the file was copied."""
    named = re.match(r"part-(\d{20})-", path.name)
    return int(named[1]) / 1e9 if named else path.stat().st_mtime


def _copy_group(store: EmbeddingStore, other: EmbeddingStore, group: GroupName) -> tuple[int, int]:
    """Copy what the store lacks, a bounded number of bytes at a time; count what was copied and what was there."""
    copied = n_items = 0
    for file, items in other.items(group).items():
        n_items += len(items)
        known, ends = file.groups[group], np.cumsum(file.counts(group, items)) * 4 * file.groups[group].dim
        for some in np.split(items, np.flatnonzero(np.diff((ends - 1) // _COPY_BYTES)) + 1):
            keys = [key.tobytes() for key in known.keys[some]]
            # What was pruned from the other store meanwhile is not there to copy.
            wanted = ~store.contains(*group, keys) & other.contains(*group, keys)
            keys = [key for key, is_wanted in zip(keys, wanted, strict=True) if is_wanted]
            if keys:
                vectors, offsets = other.read(*group, keys)
                description = json.loads(known.description)
                store.append(group[0], description, keys, np.split(vectors, offsets[1:-1]))
                copied += len(keys)
    return copied, n_items - copied


def _all_but(prefixes: Sequence[str], groups: list[GroupName]) -> Keep:
    """Keep everything but the encoders whose fingerprints begin like this."""
    known = sorted({fingerprint for _, fingerprint in groups})
    dropped = set()
    for prefix in prefixes:
        fitting = [fingerprint for fingerprint in known if prefix and fingerprint.startswith(prefix.lower())]
        if len(fitting) != 1:
            raise ValueError(
                f"fingerprint {prefix!r} fits {len(fitting)} of those stored, it must fit one; "
                f"stored are: {listed(fitting or known)}"
            )
        dropped.update(fitting)
    return lambda file, group: all_items(file, group) & (group[1] not in dropped)


def _only(kept: dict[str, np.ndarray]) -> Keep:
    """Keep the items of these keys, and all of a modality of which nothing is known."""

    def keep(file: StoreFile, group: GroupName) -> np.ndarray:
        if group[0] not in kept:
            return all_items(file, group)
        return np.isin(_comparable(file.groups[group].keys), kept[group[0]])

    return keep


def _keys_of(tables: Sequence[pd.DataFrame], index: FileIndex) -> dict[str, np.ndarray]:
    """Digest all sounds and prompts of the tables."""
    for table in tables:
        check_clips(table, columns=["path"])
    keys, unreadable = audio_keys(pd.concat([sounds_of(table) for table in tables], ignore_index=True), index)
    if len(unreadable):
        raise AudioError(
            f"{counted(len(unreadable), 'clip')} to keep cannot be read, so that their vectors would be dropped; restore them or "
            f"take them out of the table: {listed(unreadable)}"
        )
    found = {"audio": list(keys)}
    prompts = {prompt for table in tables if "prompt" in table for prompt in table["prompt"]}
    if prompts - {""}:
        found["text"] = [text_key(prompt) for prompt in prompts]
    return {
        modality: _comparable(np.frombuffer(b"".join(some), np.uint8)) for modality, some in found.items()
    }


def _comparable(keys: np.ndarray) -> np.ndarray:
    """Make one comparable value of each key [shape=(n,)]; all are equally long, so that padding cannot mislead."""
    return np.ascontiguousarray(keys).view(f"S{KEY_BYTES}").ravel()


def _prune_report(files: Sequence[StoreFile], keep: Keep) -> pd.DataFrame:
    rows = []
    for group in sorted({group for file in files for group in file.groups}):
        holding = [file for file in files if group in file.groups]
        keys = np.concatenate([_comparable(file.groups[group].keys) for file in holding])
        counts = np.concatenate([np.diff(file.groups[group].offsets) for file in holding])
        stays = np.isin(keys, keys[np.concatenate([keep(file, group) for file in holding])])
        first = np.unique(keys, return_index=True)[1]
        lost = first[~stays[first]]
        name = json.loads(holding[0].groups[group].description).get("name", "")
        rows.append((*group, name, len(first) - len(lost), len(lost), int(counts[lost].sum())))
    return pd.DataFrame(rows, columns=_PRUNE_COLUMNS)


def _count(group: GroupName, items: dict[StoreFile, np.ndarray]) -> tuple[int, int]:
    """Count items and their windows."""
    return sum(map(len, items.values())), sum(
        int(file.counts(group, some).sum()) for file, some in items.items()
    )
