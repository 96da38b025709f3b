"""Studies made by hand for tests of reports: what predictors say is laid down, scores come from `evaluate`."""

import warnings

import numpy as np
import pandas as pd
from scipy.stats import ConstantInputWarning

from musiceval_sk.evaluation.metrics import METRICS, evaluate
from musiceval_sk.evaluation.study_result import KINDS, StudyResult

HOSTILE = "</script><script>window.hacked=1</script><!-- \"quoted\" & 'so' \u2028 ünï 音楽"


def made_clips(n_systems=12, n_prompts=4, names="S{:02d}", prompts="calm piano {}"):
    rows = [
        (f"{names.format(i)}_P{j}", f"/sounds/{i}_{j}.wav", prompts.format(j), names.format(i))
        for i in range(n_systems)
        for j in range(n_prompts)
    ]
    return pd.DataFrame(rows, columns=["clip_id", "path", "prompt", "system"]).set_index("clip_id")


def made_study(clips, predictors, *, truth=None, targets=("impression",), shared=0.0, folds=2, seed=0):
    """Make a study of predictors: name to predictions, an array, or None for a look-up that cannot be judged."""
    rng = np.random.default_rng(seed)
    named = "system" in clips
    groups = pd.factorize(clips["system"])[0] if named else np.arange(len(clips))
    truth = (
        1.5 + groups / max(groups.max(), 1) * 3 + rng.normal(0, 0.1, len(clips)) if truth is None else truth
    )
    fold = np.arange(len(clips)) % folds if shared else groups % folds
    scores, predictions = [], []
    for target in targets:
        for name, predicted in predictors.items():
            values = np.full(len(clips), 3.0) if predicted is None else np.asarray(predicted, dtype=float)
            table = pd.DataFrame({"fold": fold, "clip_id": clips.index, "truth": truth, "prediction": values})
            predictions.append(table.assign(target=target, model=name))
            for kind in KINDS:
                scores.append(
                    {"target": target, "model": name, "kind": kind, **_scores(table, clips, kind, predicted)}
                )
    count = clips["system"].nunique() if named else 0
    about = {
        "split": "prompt" if shared else "system",
        "meaning": "made up",
        "folds": folds,
        "shared_with_training": {"system": shared} if named else {},
        "targets": {
            target: {
                "clips": len(clips),
                "systems": count,
                "least_systems_in_a_fold": count // folds,
                "inputs": 3,
            }
            for target in targets
        },
        "features": "made up",
        "models": {name: "Ridge()" for name in predictors if "mean" not in name},
        "random_state": 0,
        "versions": {"python": "3"},
        "made": "2025-01-01",
    }
    notes = pd.DataFrame(
        [
            (t, name, "ranks nothing")
            for t in targets
            for name, values in predictors.items()
            if values is None
        ],
        columns=["target", "model", "note"],
    )
    columns = ["target", "model", "fold", "clip_id", "truth", "prediction"]
    return StudyResult(pd.DataFrame(scores), pd.concat(predictions)[columns], notes, about)


def _scores(table, clips, kind, predicted):
    if predicted is None:
        return dict.fromkeys(METRICS, np.nan)
    parts = [table] if kind == KINDS[0] else [part for _, part in table.groupby("fold")]
    systems = clips.get("system")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        found = [
            evaluate(
                part["truth"].to_numpy(),
                part["prediction"].to_numpy(),
                systems=None if systems is None else systems.loc[part["clip_id"]].to_numpy(),
            )
            for part in parts
        ]
    return pd.DataFrame(found).mean().reindex(METRICS).to_dict()
