"""From out-of-fold predictions to scores, and to a note on what they cannot say."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import ConstantInputWarning

from musiceval_sk.evaluation.metrics import METRICS, evaluate, system_means
from musiceval_sk.evaluation.study_result import KINDS

_SAME = 1e-9


def judge(found: pd.DataFrame, systems: pd.Series | None) -> tuple[dict[str, Any], str]:
    """Pooled scores, mean of folds, and a note on what they cannot say."""
    unknown = int((~found["known"]).sum())
    if unknown == len(found):
        nothing = dict.fromkeys(METRICS, np.nan)
        note = "cannot be judged under this split: training holds no clip with the label of any test clip"
        return dict.fromkeys(KINDS, nothing), note
    note = (
        f"{unknown} of {len(found)} clips had no match in training and got the global mean" if unknown else ""
    )
    labels = None if systems is None else systems.to_numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        pooled = evaluate(found["truth"], found["prediction"], systems=labels)
        by_fold = pd.DataFrame(
            evaluate(
                found["truth"][rows],
                found["prediction"][rows],
                systems=None if labels is None else labels[rows],
            )
            for rows in _fold_masks(found)
        )
    for prefix, flat in _flat_levels(found, labels).items():
        if flat:
            pooled[[name for name in METRICS if name[0] == prefix and "MSE" not in name]] = np.nan
            level = {"U": "clip", "S": "system"}[prefix]
            note += f"{'; ' if note else ''}predicts the same for every {level} of a fold, so it ranks no {level}s"
    means = by_fold.mean()
    if pooled["U_LCC"] < 0 < means["U_LCC"]:
        note += f"{'; ' if note else ''}below 0 only when pooled, as training means are high where test clips are poor"
    return {"pooled": pooled.to_dict(), "mean of folds": means.to_dict()}, note


def _fold_masks(found: pd.DataFrame) -> list[np.ndarray]:
    return [(found["fold"] == fold).to_numpy() for fold in found["fold"].unique()]


def _flat_levels(found: pd.DataFrame, systems: np.ndarray | None) -> dict[str, bool]:
    """Whether clips (U) or systems (S) all get one prediction within each fold.

    Such a predictor ranks nothing; what differs between folds is only the mean of their training scores, which is
    anti-correlated with the truth by construction.
    """
    flat = {"U": all(np.ptp(found["prediction"][rows]) < _SAME for rows in _fold_masks(found))}
    if systems is not None:
        whole = all(found["fold"][systems == system].nunique() == 1 for system in np.unique(systems))
        masks = _fold_masks(found) if whole else [np.ones(len(found), dtype=bool)]
        means = [system_means(found["prediction"][rows], systems[rows]) for rows in masks]
        comparable = [np.ptp(some) < _SAME for some in means if len(some) > 1]
        flat["S"] = flat["U"] or (len(comparable) > 0 and all(comparable))
    return flat
