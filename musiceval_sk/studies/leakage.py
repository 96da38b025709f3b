"""What training and test share: systems, prompts, clips and sounds."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._ids import bare, id_texts, systems_if_named
from musiceval_sk._text import Shown, listed
from musiceval_sk.datasets.clips import check_clips
from musiceval_sk.features.digests import FileIndex, sounds_of
from musiceval_sk.features.store import EmbeddingStore, default_store_path
from musiceval_sk.studies.splits import Fold, Split

_LABELS = ("system", "prompt")
_COLUMNS = ["in_train", "in_test", "shared", "test_clips", "share", "examples"]


@dataclass(frozen=True, repr=False)
class LeakageReport(Shown):
    """What a test set has in common with its training set, as `leakage_report` found it.

    Attributes
    ----------
    table : pandas.DataFrame
        Indexed by kind (``system``, ``prompt``, ``clip``, ``sound``): how many different ones are ``in_train``,
        ``in_test`` and ``shared``; the number of ``test_clips`` that training knew by this, their ``share`` of those
        that have a label (in [0, 1]), and ``examples``.
    sounds : pandas.DataFrame
        Pairs of clips with the same bytes: ``train_clip``, ``test_clip``.
    notes : list of str
        What could not be compared, and why.
    """

    table: pd.DataFrame
    sounds: pd.DataFrame = field(repr=False)
    notes: list[str] = field(default_factory=list)

    def to_frame(self) -> pd.DataFrame:
        """Give what was found as a tidy table.

        Returns
        -------
        pandas.DataFrame
            One row a kind: ``kind``, and the columns of ``table``.
        """
        return self.table.rename_axis("kind").reset_index()

    def _headline(self) -> str:
        shares = [f"by {kind} {share:.0%}" for kind, share in self.table["share"].items()]
        return f"test clips known from training: {', '.join(shares)}"

    def _remarks(self) -> list[str]:
        return self.notes

    def __str__(self) -> str:
        """Say it in lines."""
        lines = ["Shared between training and test:"]
        for row in self.table.itertuples():
            known = f"{row.test_clips} test clips ({100 * row.share:.0f} %)"
            examples = f": {row.examples}" if row.examples else ""
            lines.append(f"  {row.Index}: {row.shared} of {row.in_test} in test, {known}{examples}")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def leakage(clips: pd.DataFrame, folds: list[Fold]) -> dict[str, float]:
    """Measure what training and test share.

    Parameters
    ----------
    clips : pandas.DataFrame
        Clips table.
    folds : list of (np.ndarray, np.ndarray)
        Training and test rows.

    Returns
    -------
    dict of str to float in [0, 1]
        For ``system`` and ``prompt``, where present: the share of test clips whose label training had too.

    Warns
    -----
    UserWarning
        If some clips have no system, which are named: no label is never shared.
    """
    systems_if_named(clips, "they count as sharing none with training")
    return shares_with_training(clips, folds)


def shares_with_training(clips: pd.DataFrame, folds: list[Fold]) -> dict[str, float]:
    """Measure without a warning: who calls has named the clips without a system."""
    labels = {column: _labels(clips, column) for column in _LABELS}
    return {
        column: float(np.concatenate([_known(of.iloc[train], of.iloc[test]) for train, test in folds]).mean())
        for column, of in labels.items()
        if of is not None
    }


def describe_split(
    split: Split, parts: dict[str, tuple[pd.DataFrame, list[Fold]]], systems: pd.Series | None
) -> dict[str, Any]:
    """Say what a split means, what training and test share in it, and how many clips and systems were tested.

    Parameters
    ----------
    split : Split
        The split.
    parts : dict of str to (pandas.DataFrame, list of (np.ndarray, np.ndarray))
        The clips and folds of each target.
    systems : pandas.Series or None
        The system of each clip, where every clip has one.

    Returns
    -------
    dict
        ``meaning``, ``folds``, ``shared_with_training`` (of the first target) and ``targets``: the number of ``clips`` and
        ``systems`` tested, and ``least_systems_in_a_fold``, 0 where not every clip names its system.
    """
    targets = {}
    for target, (clips, folds) in parts.items():
        tested = [clips.index[test] for _, test in folds]
        counts = [0] if systems is None else [systems[ids].nunique() for ids in tested]
        ids = tested[0].append(tested[1:]).unique()
        n_systems = 0 if systems is None else systems[ids].nunique()
        least = {"least_systems_in_a_fold": min(counts)}
        targets[target] = {"clips": len(ids), "systems": n_systems, **least}
    first = next(iter(parts.values()))
    shared = {"shared_with_training": shares_with_training(*first), "targets": targets}
    return {"meaning": split.meaning, "folds": len(first[1]), **shared}


def leakage_report(
    train: pd.DataFrame, test: pd.DataFrame, *, store: EmbeddingStore | str | None = None
) -> LeakageReport:
    """Compare a training and a test set: systems, prompts, clips, and sounds of the same bytes.

    Sounds are compared by the digest under which the embedding store keeps them, so a copy under another name is
    found; one that was cut, resampled or encoded anew is not.

    Parameters
    ----------
    train, test : pandas.DataFrame
        Clips tables; ``system``, ``prompt`` and ``path`` are compared where both have them.
    store : EmbeddingStore or str, default=None
        Store whose index of files may know the digests of unchanged files already; by default `default_store_path`.
        Nothing is written.

    Returns
    -------
    LeakageReport
        Prints as text; ``table`` and ``sounds`` hold the same as data.

    Raises
    ------
    ClipsTableError
        If one of the two is no clips table or is empty.

    Examples
    --------
    >>> import pandas as pd
    >>> clips = pd.DataFrame({"system": list("aab"), "prompt": list("xyz")}, index=["c1", "c2", "c3"])
    >>> print(leakage_report(clips.iloc[:1], clips.iloc[1:]))
    Shared between training and test:
      system: 1 of 2 in test, 1 test clips (50 %): a
      prompt: 0 of 2 in test, 0 test clips (0 %)
      clip: 0 of 2 in test, 0 test clips (0 %)
      note: sounds were not compared: no column 'path' in both tables
    """
    for table in (train, test):
        check_clips(table)
    rows: dict[str, list[Any]] = {}
    notes = []
    for column in _LABELS:
        ours, theirs = _labels(train, column), _labels(test, column)
        if ours is None or theirs is None:
            notes.append(f"{column}s were not compared: no {column} is named in both tables")
            continue
        rows[column] = _compare(ours, theirs)
        for labels, name in ((ours, "training"), (theirs, "test")):
            if len(nameless := labels.index[labels == ""]):
                words = f"{len(nameless)} {name} clips name no {column} and share none"
                notes.append(f"{words}: {listed(nameless)}")
    rows["clip"] = _compare(*(table.index.to_series().map(bare) for table in (train, test)))
    pairs = pd.DataFrame(columns=["train_clip", "test_clip"])
    if "path" in train and "path" in test:
        path = store.path if isinstance(store, EmbeddingStore) else store or default_store_path()
        index = FileIndex.beside(path)
        keys = [_digests(table, index, notes, name) for table, name in ((train, "training"), (test, "test"))]
        ours, theirs = (
            of[of != ""].rename("key").rename_axis(name).reset_index()
            for of, name in zip(keys, pairs, strict=True)
        )
        pairs = ours.merge(theirs, on="key")[list(pairs)]
        rows["sound"] = _compare(*keys)[:-1] + [listed(f"{a} = {b}" for a, b in pairs.to_numpy())]
    else:
        notes.append("sounds were not compared: no column 'path' in both tables")
    return LeakageReport(pd.DataFrame.from_dict(rows, orient="index", columns=_COLUMNS), pairs, notes)


def _labels(clips: pd.DataFrame, column: str) -> pd.Series | None:
    """Labels with "" for none; None where there are none at all."""
    if column not in clips:
        return None
    labels = pd.Series(id_texts(clips[column]), index=clips.index, dtype=object)
    return labels if (labels != "").any() else None


def _known(train: pd.Series, test: pd.Series) -> np.ndarray:
    """Tell for each test clip whether training had its label; no label is never known."""
    return (test.isin(set(train)) & (test != "")).to_numpy()


def _compare(train: pd.Series, test: pd.Series) -> list[Any]:
    """Count labels and the test clips that training knew."""
    ours, theirs = (set(labels) - {""} for labels in (train, test))
    shared = sorted(ours & theirs)
    known, labelled = int(_known(train, test).sum()), int((test != "").sum())
    share = known / labelled if labelled else float("nan")
    return [len(ours), len(theirs), len(shared), known, share, listed(shared)]


def _digests(clips: pd.DataFrame, index: FileIndex, notes: list[str], name: str) -> pd.Series:
    """Digest every sound, "" for those that cannot be read."""
    keys, unreadable = index.keys(sounds_of(clips))
    if len(unreadable):
        notes.append(f"{len(unreadable)} sounds of {name} cannot be read: {listed(unreadable.index)}")
    return keys.map(bytes.hex).reindex(clips.index, fill_value="")
