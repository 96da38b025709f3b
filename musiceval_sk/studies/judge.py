"""From out-of-fold predictions to scores, and to a note on what they cannot say."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import ConstantInputWarning

from musiceval_sk.exceptions import FewSystemsWarning
from musiceval_sk.statistics.align import system_means
from musiceval_sk.statistics.metrics import METRICS, evaluate
from musiceval_sk.statistics.resampling import LEAST_SYSTEMS_TO_RANK
from musiceval_sk.studies.result import KINDS

_SAME = 1e-9


def judge(found: pd.DataFrame, labels: np.ndarray | None) -> tuple[dict[str, Any], str]:
    """Pooled scores, mean of folds, and a note on what they cannot say; labels are the clips' systems."""
    unknown = int((~found["known"]).sum())
    if unknown == len(found):
        nothing = dict.fromkeys(METRICS, np.nan)
        note = "cannot be judged under this split: training holds no clip with the label of any test clip"
        return dict.fromkeys(KINDS, nothing), note
    note = (
        f"{unknown} of {len(found)} clips had no match in training and got the global mean" if unknown else ""
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        warnings.simplefilter("ignore", FewSystemsWarning)  # the table says so
        pooled = evaluate(found["truth"].to_numpy(), found["prediction"].to_numpy(), systems=labels)
        by_fold = pd.DataFrame(_evaluate_fold(found[rows], labels, rows) for rows in _fold_masks(found))
    for prefix, flat in _flat_levels(found, labels).items():
        if flat:
            blank = [name for name in METRICS if name[0] == prefix and "MSE" not in name]
            pooled[blank], by_fold[blank] = np.nan, np.nan
            level = {"U": "clip", "S": "system"}[prefix]
            note += f"{'; ' if note else ''}predicts the same for every {level} of a fold, so it ranks no {level}s"
    return {"pooled": pooled.to_dict(), "mean of folds": by_fold.mean().to_dict()}, note


def _evaluate_fold(found: pd.DataFrame, labels: np.ndarray | None, rows: np.ndarray) -> pd.Series:
    """Scores of one fold; two systems always correlate perfectly, so S metrics need more."""
    systems = None if labels is None else labels[rows]
    scores = evaluate(found["truth"].to_numpy(), found["prediction"].to_numpy(), systems=systems)
    if systems is not None and len(np.unique(systems)) < LEAST_SYSTEMS_TO_RANK:
        scores[["S_LCC", "S_SRCC", "S_KTAU"]] = np.nan
    return scores


def _fold_masks(found: pd.DataFrame) -> list[np.ndarray]:
    return [(found["fold"] == fold).to_numpy() for fold in found["fold"].unique()]


def _flat_levels(found: pd.DataFrame, systems: np.ndarray | None) -> dict[str, bool]:
    """Whether clips (U) or systems (S) all get one prediction within their fold.

    Such a predictor ranks nothing: what differs between folds follows the mean of their training scores, which is
    anti-correlated with the truth by construction. A look-up gives systems of different folds that mean itself.
    """
    centred = found["prediction"] - found["training_mean"]
    flat = {"U": all(np.ptp(found["prediction"][rows]) < _SAME for rows in _fold_masks(found))}
    if systems is not None:
        flat["S"] = flat["U"] or bool(np.ptp(system_means(centred, systems)) < _SAME)
    return flat
