"""Take out of a store what is no longer wanted."""

import json
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.datasets.clips import check_clips
from musiceval_sk.exceptions import AudioError
from musiceval_sk.features._file_index import FileIndex
from musiceval_sk.features._store_file import KEY_BYTES, GroupName, StoreFile, write_store_file
from musiceval_sk.features._store_folder import alone, digests, exists, new_part, open_files, plan
from musiceval_sk.features.audio import sounds_of
from musiceval_sk.features.extract import audio_keys, text_key
from musiceval_sk.features.store import EmbeddingStore

_Choice = Callable[[GroupName, np.ndarray], np.ndarray]
_COLUMNS = ["modality", "fingerprint", "name", "kept", "dropped", "dropped_windows"]


def prune_store(
    store: EmbeddingStore,
    *,
    fingerprints: Sequence[str] = (),
    keep: Sequence[pd.DataFrame] = (),
    dry_run: bool = False,
    timeout: float = -1,
) -> pd.DataFrame:
    """Drop encoders, or the clips and prompts that no clips table names any more.

    Files that lose nothing stay as they are. Of the others, what survives is written into a new part and is on disk
    before they are deleted, so that a crash loses nothing, at worst drops nothing. Parts that other processes append
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
        If neither or both of ``fingerprints`` and ``keep`` are given, or a fingerprint fits none or several.
    AudioError
        If a clip to keep cannot be read: which vectors are its own can then not be told.
    StoreError
        If a file is damaged, the folder cannot be written, or the lock is not to be had.
    """
    if bool(len(fingerprints)) == bool(len(keep)):
        raise ValueError("give fingerprints of encoders to drop, or clips tables to keep, one of the two")
    kept_keys = _keys_of(keep, FileIndex(f"{store.path}.files.npy")) if len(keep) else {}
    if not exists(store):
        return pd.DataFrame(columns=_COLUMNS)
    if dry_run:
        return _prune(store, fingerprints, kept_keys, dry_run)
    with alone(store, "prune", timeout):
        return _prune(store, fingerprints, kept_keys, dry_run)


def _prune(
    store: EmbeddingStore, prefixes: Sequence[str], kept_keys: dict[str, np.ndarray], dry_run: bool
) -> pd.DataFrame:
    files = open_files(store)
    groups = sorted({group for file in files for group in file.groups})
    survives = _all_but(prefixes, groups) if len(prefixes) else _only(kept_keys)
    report = pd.DataFrame([_row(group, files, survives) for group in groups], columns=_COLUMNS)
    losing = [
        file
        for file in files
        if not all(survives(group, digests(file.keys(group))).all() for group in file.groups)
    ]
    if not dry_run and losing:
        chosen = {group: _chosen(group, losing, survives) for group in groups}
        plans = {group: plan(group, items) for group, items in chosen.items() if items}
        if plans:
            write_store_file(new_part(store), plans)
        _delete(store, losing)
    return report


def _delete(store: EmbeddingStore, files: list[StoreFile]) -> None:
    """Delete files whose survivors are stored elsewhere.

    The main file's name will be taken again by one with other rows. A reader that still knows the old ones must miss the
    file and look again, so it is removed and not replaced.
    """
    for file in files:
        if file.path != store.path:
            file.path.unlink(missing_ok=True)
    if any(file.path == store.path for file in files):
        store.path.unlink(missing_ok=True)


def _all_but(prefixes: Sequence[str], groups: list[GroupName]) -> _Choice:
    """Choose everything but the encoders whose fingerprints begin like this."""
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
    return lambda group, keys: np.full(len(keys), group[1] not in dropped)


def _only(kept_keys: dict[str, np.ndarray]) -> _Choice:
    """Choose the items of these keys; all of a modality of which nothing is known."""

    def survives(group: GroupName, keys: np.ndarray) -> np.ndarray:
        if group[0] not in kept_keys:
            return np.ones(len(keys), dtype=bool)
        return np.isin(keys, kept_keys[group[0]])

    return survives


def _keys_of(tables: Sequence[pd.DataFrame], index: FileIndex) -> dict[str, np.ndarray]:
    """Digest all sounds and prompts of the tables."""
    for table in tables:
        check_clips(table, columns=["path"])
    keys, unreadable = audio_keys(pd.concat([sounds_of(table) for table in tables], ignore_index=True), index)
    if len(unreadable):
        raise AudioError(
            f"{len(unreadable)} clips to keep cannot be read, so that their vectors would be dropped; restore them or "
            f"take them out of the table: {listed(unreadable)}"
        )
    found = {"audio": _array(list(keys))}
    prompts = {prompt for table in tables if "prompt" in table for prompt in table["prompt"]}
    if prompts - {""}:
        found["text"] = _array([text_key(prompt) for prompt in prompts])
    return found


def _array(keys: list[bytes]) -> np.ndarray:
    return digests(np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES))


def _row(group: GroupName, files: list[StoreFile], survives: _Choice) -> tuple:
    holding = [file for file in files if group in file.groups]
    keys = np.concatenate([digests(file.keys(group)) for file in holding])
    counts = np.concatenate([np.diff(file.offsets(group)) for file in holding])
    unique, first = np.unique(keys, return_index=True)
    dropped = ~survives(group, unique)
    name = json.loads(holding[0].groups[group]).get("name", "")
    return (*group, name, int((~dropped).sum()), int(dropped.sum()), int(counts[first[dropped]].sum()))


def _chosen(group: GroupName, losing: list[StoreFile], survives: _Choice) -> dict[StoreFile, np.ndarray]:
    """Find the survivors of a group, each of them once, per file and ascending."""
    seen = np.empty(0, dtype=f"S{KEY_BYTES}")
    chosen = {}
    for file in losing:
        if group not in file.groups:
            continue
        keys = digests(file.keys(group))
        first = np.sort(np.unique(keys, return_index=True)[1])
        items = first[survives(group, keys[first]) & ~np.isin(keys[first], seen)]
        if len(items):
            chosen[file] = items
            seen = np.concatenate([seen, keys[items]])
    return chosen
