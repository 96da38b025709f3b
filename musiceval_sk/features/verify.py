"""Read a whole store, name what is damaged, and move it out of the way."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from musiceval_sk.exceptions import StoreError
from musiceval_sk.features._store_check import FileCheck, check_file, plan_of_good
from musiceval_sk.features._store_file import GroupName, write_store_file
from musiceval_sk.features._store_folder import ATTEMPTS, alone, exists, new_part, vanished
from musiceval_sk.features.store import EmbeddingStore


@dataclass(frozen=True)
class VerifyReport:
    """What `verify_store` found.

    Attributes
    ----------
    n_files, n_items : int
        Number of files that were read, and of the items that they hold as far as can be told.
    damaged : pandas.DataFrame
        One row a damaged file, indexed by ``path``: its ``problem``, what it ``held``, and after a repair the number of
        items ``saved`` out of it and the path that it was ``moved_to``.
    """

    n_files: int
    n_items: int
    damaged: pd.DataFrame

    def __str__(self) -> str:
        lines = [f"{self.n_files} files read, {self.n_items:,} items, {len(self.damaged)} files damaged"]
        for row in self.damaged.itertuples():
            lines += [f"  {row.Index}: {row.problem}", f"    held {row.held}"]
            if row.moved_to:
                lines.append(f"    saved {row.saved} items, moved the file to {row.moved_to}")
        return "\n".join(lines)


def verify_store(store: EmbeddingStore, *, repair: bool = False, timeout: float = -1) -> VerifyReport:
    """Read every byte of a store and hold it against checksums and format.

    Checked are all datasets, that keys are unique in the main file (a part may hold an item twice, of which the first
    counts), offsets ascending and covering, vectors finite and of one length, and each description the one that its
    fingerprint is a digest of.

    Parameters
    ----------
    store : EmbeddingStore
        The store to read.
    repair : bool, default=False
        Whether to save the items of damaged files that can be trusted into a new part and to move these files into
        the folder ``<path>.damaged``. Nothing is deleted, and the next `extract` computes what is missing.
    timeout : float, default=-1
        Seconds to wait for a compaction to end before repairing; negative waits for ever.

    Returns
    -------
    VerifyReport
        What is damaged, and what was done about it.

    Raises
    ------
    StoreError
        If a file may not be read, is no store's, or is of a newer format: none of these is damage.
    """
    if not repair or not exists(store):
        return _report(_check_all(store), {})
    with alone(store, "repair", timeout):
        checks = _check_all(store)
        return _report(checks, {check.path: _repair(store, check) for check in checks if check.all_problems})


def _check_all(store: EmbeddingStore) -> list[FileCheck]:
    """Check each file once, and those that a compaction puts in their place meanwhile."""
    done: dict[tuple, FileCheck] = {}
    for _ in range(ATTEMPTS):
        with contextlib.suppress(
            FileNotFoundError
        ):  # another process compacted between our looking and our opening
            stamps = {_stamp(path): path for path in store.files()}
            fresh = [stamp for stamp in stamps if stamp not in done]
            for stamp in fresh:
                done[stamp] = check_file(stamps[stamp], may_repeat=stamps[stamp] != store.path)
            if not fresh:
                checks = [done[stamp] for stamp in stamps]
                _compare_lengths(checks)
                return checks
    raise vanished(store)


def _stamp(path: Path) -> tuple:
    status = path.stat()
    return str(path), status.st_ino, status.st_mtime_ns


def _compare_lengths(checks: list[FileCheck]) -> None:
    lengths: dict[GroupName, int] = {}
    for check in checks:
        for name, group in check.groups.items():
            if group.dim and lengths.setdefault(name, group.dim) != group.dim:
                group.problems.append(f"vectors of length {group.dim}, elsewhere {lengths[name]}")
                group.good = group.good[:0]


def _repair(store: EmbeddingStore, check: FileCheck) -> tuple[int, str]:
    """Save what can be trusted, then move the file aside; return the number of items saved, and where it is now."""
    plans = {
        name: plan_of_good(check.path, name, group) for name, group in check.groups.items() if len(group.good)
    }
    if plans:
        write_store_file(new_part(store), plans)
    folder = store.path.with_name(f"{store.path.name}.damaged")
    try:
        folder.mkdir(exist_ok=True)
        target = folder / check.path.name
        while target.exists():
            target = target.with_name(f"{target.name}.older")
        os.rename(check.path, target)
    except OSError as error:
        raise StoreError(f"{check.path}: damaged, but cannot be moved to {folder} ({error})") from error
    return sum(plan.n_items for plan in plans.values()), str(target)


def _report(checks: list[FileCheck], repaired: dict[Path, tuple[int, str]]) -> VerifyReport:
    rows = {}
    for check in checks:
        if check.all_problems:
            held = [f"{group.n_items} items of {group.label}" for group in check.groups.values()]
            rows[str(check.path)] = (
                "; ".join(check.all_problems),
                ", ".join(held) or "what can no longer be told",
                *repaired.get(check.path, (0, "")),
            )
    columns = ["problem", "held", "saved", "moved_to"]
    damaged = pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("path")
    n_items = sum(group.n_items for check in checks for group in check.groups.values())
    return VerifyReport(len(checks), n_items, damaged)
