"""Look into a store, check it, take in what another one holds, and take out what is no longer wanted."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from musiceval_sk._text import Shown, Table, counted, listed
from musiceval_sk.datasets.clips import check_clips
from musiceval_sk.exceptions import AudioError, StoreError
from musiceval_sk.features.digests import FileIndex, sounds_of
from musiceval_sk.features.extract import text_key
from musiceval_sk.features.store.file import KEY_BYTES, DamagedFileError, StoreFile, as_keys, stamp_of
from musiceval_sk.features.store.store import EmbeddingStore, GroupIndex, Keep, all_items, names_of

_COPY_BYTES = 1 << 26


@dataclass(frozen=True, repr=False)
class StoreInfo(Shown):
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
        One row a modality and fingerprint: ``modality``, ``name``, ``fingerprint``, ``checkpoint`` (its SHA-256,
        empty if the encoder has none), ``items``, ``windows``, ``dim`` (length of a vector), ``first_written`` and
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

    def to_frame(self) -> pd.DataFrame:
        """Give what was found as a tidy table.

        Returns
        -------
        pandas.DataFrame
            A copy of ``encoders``: one row a modality and fingerprint.
        """
        return self.encoders.copy()

    def _remarks(self) -> list[str]:
        return [f"cannot be read: {reason}" for reason in self.unreadable.values()]

    def _parts(self) -> list[str]:
        minutes = "{:%Y-%m-%d %H:%M %Z}".format
        shown = {"checkpoint": "{:.12}".format, "first_written": minutes, "last_written": minutes}
        return [
            f"{self.path} (format {self.version or 'unknown'})",
            f"  main file: {self.main_bytes:,} bytes; parts: {self.n_parts}, {self.parts_bytes:,} bytes",
            *([Table(self.encoders, index=False, formatters=shown)] if len(self.encoders) else []),
            *(f"  cannot be read: {reason}" for reason in self.unreadable.values()),
        ]


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
    files, unreadable = store.retry(lambda: _open_all(store))
    rows = []
    for name in names_of(files):
        index = GroupIndex(name, files)
        encoder, items, windows = index.groups[0].encoder, len(index.keys), int(index.counts.sum())
        checkpoint = str(encoder.get("checkpoint_sha256") or "")
        dates = pd.to_datetime([_written_at(group.file) for group in index.groups], unit="s", utc=True)
        held = (checkpoint, items, windows, index.dim, dates.min(), dates.max())
        rows.append((name[0], encoder.get("name", ""), name[1], *held))
    columns = ["modality", "name", "fingerprint", "checkpoint", "items", "windows", "dim"]
    encoders = pd.DataFrame(rows, columns=[*columns, "first_written", "last_written"])
    sizes = {path: (stamp_of(path) or (0,))[0] for path in (*(file.path for file in files), *unreadable)}
    main_bytes, version = sizes.pop(store.main, 0), max((file.version for file in files), default=None)
    reasons = {str(path): str(error) for path, error in unreadable.items()}
    return StoreInfo(str(store.path), version, main_bytes, sum(sizes.values()), len(sizes), encoders, reasons)


def _open_all(store: EmbeddingStore) -> tuple[list[StoreFile], dict[Path, StoreError]]:
    """Open every file of a store, or say why it cannot be."""
    files, unreadable = [], {}
    for path in store.files():
        try:
            files.append(StoreFile(path))
        except StoreError as error:
            unreadable[path] = error
    return files, unreadable


def _written_at(file: StoreFile) -> float:
    """Seconds since 1970 when a file was written: a part's name says it, also where the file was copied."""
    named = re.match(r"part-(\d{20})-", file.path.name)
    latest = pd.Timestamp.max.value // 10**9  # of the year 2262, which a clock gone wrong may pass
    return min(int(named[1] if named else file.stamp[2]) / 1e9, latest)


@dataclass(frozen=True, repr=False)
class VerifyReport(Shown):
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

    def to_frame(self) -> pd.DataFrame:
        """Give what was found as a tidy table.

        Returns
        -------
        pandas.DataFrame
            One row a damaged file: ``path``, ``problem``, ``held``.
        """
        return self.damaged.rename_axis("path").reset_index()

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
        What is damaged. In a file of format 1, which has no digests, blocks count as damaged whose checksums fail,
        or that are of 16 vectors or more and all zero.

    Raises
    ------
    StoreError
        If a file may not be read, is no store's, or is of a newer format: none of these is damage.
    """

    @cache
    def check(path: Path, stamp: tuple) -> tuple[int, str, str]:
        """Count items, say what is wrong and what is held; a file that stays there is read once."""
        try:
            groups = list(StoreFile(path).groups.values())
        except DamagedFileError as error:
            return 0, str(error).split(": ", 1)[1], "what can no longer be told"
        damaged = {group: int(group.read().sum()) for group in groups}
        problems = [f"{n} of {group} are not what was stored" for group, n in damaged.items() if n]
        return sum(len(group.keys) for group in groups), "; ".join(problems), ", ".join(map(str, groups))

    checks = store.retry(lambda: {str(path): check(path, stamp_of(path)) for path in store.files()})
    rows = {path: finding[1:] for path, finding in checks.items() if finding[1]}
    damaged = pd.DataFrame.from_dict(rows, orient="index", columns=["problem", "held"]).rename_axis("path")
    return VerifyReport(len(checks), sum(n_items for n_items, *_ in checks.values()), damaged)


def merge_stores(store: EmbeddingStore, others: Sequence[EmbeddingStore]) -> pd.DataFrame:
    """Take the vectors of other stores, such as other machines', into a store.

    Items that are there already are not copied. What is copied is written as parts of bounded size, each of them
    whole and on disk before the next: a merge that was interrupted goes on where it stopped when called again.

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
        ``copied`` and ``there`` already.

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
            index, copied = other.index((held.modality, held.fingerprint)), 0
            for some in index.batches(_COPY_BYTES):
                copied += _copy_lacking(store, other, index, some)
            found = (held.encoder.get("name", ""), copied, len(index.keys) - copied)
            rows.append((str(other.path), held.modality, held.fingerprint, *found))
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

    What survives is written into a new main file and is on disk before anything is deleted, so that a crash loses
    nothing, at worst drops nothing. A store that loses nothing stays as it is. Parts that other processes append
    meanwhile are not looked at and stay.

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
        One row a modality and fingerprint: the encoder's ``name``, items ``kept`` and ``dropped``,
        ``dropped_windows``.

    Raises
    ------
    ValueError
        If not exactly one of ``fingerprints``, ``keep`` and ``damaged`` is given, or a fingerprint fits none or
        several.
    ClipsTableError
        If a table to keep lacks ``path``, or a path or a prompt in it is missing.
    AudioError
        If a clip to keep cannot be read: which vectors are its own can then not be told.
    StoreError
        If a file is damaged, the folder cannot be written, or the lock is not to be had.
    """
    if (len(fingerprints) > 0) + (len(keep) > 0) + damaged != 1:
        raise ValueError("give fingerprints of encoders to drop, or clips tables to keep, or damaged=True")
    if not exists(store):
        return _prune_report([], all_items)
    if damaged:
        choice: Keep = cache(lambda group: ~group.read())
    elif len(keep):
        choice = _named_by(keep, FileIndex(f"{store.path}.files.npy"))
    else:
        choice = _all_but(fingerprints, store)
    if dry_run:
        return store.retry(lambda: _prune_report(store.look(), choice))
    with store.locked("prune", timeout):
        files = store.look()
        report = _prune_report(files, choice)
        if not all(choice(group).all() for file in files for group in file.groups.values()):
            store.fold(files, store.main, choice)
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


def _copy_lacking(store: EmbeddingStore, other: EmbeddingStore, index: GroupIndex, some: np.ndarray) -> int:
    """Copy those of some items that a store lacks, and count them."""
    # Of an array's keys numpy leaves zeros at the end out.
    keys = [key.ljust(KEY_BYTES, b"\0") for key in index.keys[some].tolist()]
    # What was pruned from the other store meanwhile is not there to copy.
    wanted = ~store.contains(*index.name, keys) & other.contains(*index.name, keys)
    keys = [key for key, is_wanted in zip(keys, wanted, strict=True) if is_wanted]
    if keys:
        vectors, offsets = other.read(*index.name, keys)
        store.append(index.name[0], index.groups[0].encoder, keys, np.split(vectors, offsets[1:-1]))
    return len(keys)


def _all_but(prefixes: Sequence[str], store: EmbeddingStore) -> Keep:
    """Keep everything but the encoders whose fingerprints begin like this."""
    known = sorted({fingerprint for _, fingerprint in store.groups()})
    dropped = set()
    for prefix in prefixes:
        fitting = [fingerprint for fingerprint in known if prefix and fingerprint.startswith(prefix.lower())]
        if len(fitting) != 1:
            words = f"it must fit one; stored are: {listed(fitting or known)}"
            raise ValueError(f"fingerprint {prefix!r} fits {len(fitting)} of those stored, {words}")
        dropped.update(fitting)
    return lambda group: all_items(group) & (group.name[1] not in dropped)


def _named_by(tables: Sequence[pd.DataFrame], index: FileIndex) -> Keep:
    """Keep the sounds and prompts of these tables, and all prompts if they have none."""
    for table in tables:
        check_clips(table, columns=["path", *({"prompt"} & {*table})], filled=True)
    sounds = pd.concat([sounds_of(table) for table in tables])
    audio, unreadable = index.keys(sounds)
    if len(unreadable):
        words = "so that their vectors would be dropped; restore them or take them out of the table"
        what = counted(len(unreadable), "clip")
        raise AudioError(f"{what} to keep cannot be read, {words}: {listed(unreadable)}")
    prompts = {prompt for table in tables if "prompt" in table for prompt in table["prompt"]}
    keys = {"audio": as_keys(list(audio))}
    if prompts - {""}:
        keys["text"] = as_keys([text_key(prompt) for prompt in prompts])
    return lambda group: np.isin(group.keys, keys.get(group.name[0], group.keys))


def _prune_report(files: Sequence[StoreFile], keep: Keep) -> pd.DataFrame:
    rows = []
    for name in names_of(files):
        there, kept = GroupIndex(name, files), GroupIndex(name, files, keep)
        n_dropped, windows = len(there.keys) - len(kept.keys), int(there.counts.sum() - kept.counts.sum())
        rows.append((*name, there.groups[0].encoder.get("name", ""), len(kept.keys), n_dropped, windows))
    columns = ["modality", "fingerprint", "name", "kept", "dropped", "dropped_windows"]
    return pd.DataFrame(rows, columns=columns)
