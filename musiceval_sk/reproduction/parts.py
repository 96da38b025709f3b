"""Which clips a protocol learns from, stops by and tests on, and what that does to the scores."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk.reproduction.protocols import ReproductionProtocol
from musiceval_sk.studies.leakage import _shares
from musiceval_sk.studies.splits import make_split


@dataclass(frozen=True)
class Parts:
    """Clips to learn from, to stop by (None: a tenth of those to learn from), and to test on."""

    train: pd.DataFrame
    development: pd.DataFrame | None
    test: pd.DataFrame

    @property
    def learning(self) -> pd.DataFrame:
        """Clips to learn from and to stop by, each once."""
        return _each_once(self.train, self.development)

    @property
    def every(self) -> pd.DataFrame:
        """All clips, each once."""
        return _each_once(*self._in_order())

    def without(self, clips: pd.Index) -> "Parts":
        """Leave clips out."""
        kept = [None if part is None else part[~part.index.isin(clips)] for part in self._in_order()]
        return Parts(*kept)

    def _in_order(self) -> tuple[pd.DataFrame | None, ...]:
        return self.train, self.development, self.test


def _each_once(*parts: pd.DataFrame | None) -> pd.DataFrame:
    clips = pd.concat([part for part in parts if part is not None])
    return clips[~clips.index.duplicated()]


def split_parts(clips: pd.DataFrame, protocol: ReproductionProtocol, random_state: int) -> Parts:
    """Divide MusicEval's clips as a protocol says.

    Parameters
    ----------
    clips : pandas.DataFrame
        All clips, with the column ``split``.
    protocol : ReproductionProtocol
        Its `split`, `development` and `tests_on_development` count.
    random_state : int
        Draws the random split.

    Returns
    -------
    Parts
        Training, development (or None) and test clips; the dev list may be two of these at once.
    """
    clips = clips.sort_index()  # so that a random split does not depend on the order of lists
    split = make_split(protocol.split, clips, random_state=random_state)
    [(train, test)] = split.folds(clips)
    development = None
    if protocol.split == "official" and protocol.development == "list":
        by_list = clips[clips["split"] == "dev"]
        tested = by_list.index.isin(clips.index[test]).any()
        if len(by_list) and (protocol.tests_on_development or not tested):
            development = by_list
    return Parts(clips.iloc[train], development, clips.iloc[test])


def describe(clips: pd.DataFrame, parts: Parts, protocol: ReproductionProtocol) -> dict[str, Any]:
    """Say how the clips were split, and what training and test share."""
    rows = [np.flatnonzero(clips.index.isin(part.index)) for part in (parts.train, parts.test)]
    stops = "a tenth of the training clips, held out at random"
    if parts.development is not None:
        stops = f"{len(parts.development)} clips of the dev list"
    tested = sorted(parts.test["split"].unique()) if "split" in parts.test else []
    return {
        "name": protocol.split,
        "train": len(parts.train),
        "stopped_by": stops,
        "test": len(parts.test),
        "test_lists": tested,
        "test_stops_training": parts.development is not None
        and bool(parts.development.index.isin(parts.test.index).any()),
        "test_systems": int(parts.test["system"].nunique()) if "system" in parts.test else 0,
        "shared_with_training": _shares(clips, [(rows[0], rows[1])]),
    }


def cautions(split: dict[str, Any]) -> list[str]:
    """Say what the split does to the scores."""
    notes = []
    if split["test_stops_training"]:
        notes.append(
            "the tested clips also stopped the training, as in the released code: scores are optimistic"
        )
    if split["test_lists"] == ["dev"]:
        notes.append("there is no test list, so the dev list was tested")
    if not split["test_systems"]:
        notes.append("clips name no systems: there are no S metrics and no look-up by system")
    elif split["shared_with_training"].get("system", 0) == 1:
        notes.append(
            "training holds every tested system: the look-up of the system mean hears nothing, and a predictor that does "
            "not beat it need not have heard anything either"
        )
    return notes
