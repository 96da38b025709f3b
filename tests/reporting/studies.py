"""Studies made by hand for tests of reports: what predictors say is laid down, the rest is the study's own reckoning."""

import numpy as np
import pandas as pd

from musiceval_sk.studies.judge import summarise
from musiceval_sk.studies.result import NO_FEATURES, StudyResult

HOSTILE = "</script><script>window.hacked=1</script><!-- \"quoted\" & 'so' \u2028 ünï 音楽"


def made_clips(n_systems=12, n_prompts=4, names="S{:02d}", prompts="calm piano {}"):
    rows = [
        (f"{names.format(i)}_P{j}", f"/sounds/{i}_{j}.wav", prompts.format(j), names.format(i))
        for i in range(n_systems)
        for j in range(n_prompts)
    ]
    return pd.DataFrame(rows, columns=["clip_id", "path", "prompt", "system"]).set_index("clip_id")


def made_study(
    clips,
    predictors,
    *,
    truth=None,
    targets=("impression",),
    shared=0.0,
    folds=2,
    seed=0,
    resamples=200,
    splits=None,
    features=("made up",),
):
    """Make a study of predictors: name to predictions, an array, or None for one that cannot be judged.

    What has "mean" in its name uses no audio.
    """
    rng = np.random.default_rng(seed)
    named = "system" in clips
    groups = pd.factorize(clips["system"])[0] if named else np.arange(len(clips))
    truth = (
        1.5 + groups / max(groups.max(), 1) * 3 + rng.normal(0, 0.1, len(clips)) if truth is None else truth
    )
    splits = splits or ["prompt" if shared else "system"]
    predictions = []
    for split in splits:
        for target in targets:
            for name, predicted in predictors.items():
                for heard in [NO_FEATURES] if "mean" in name else features:
                    table = pd.DataFrame({"truth": truth, "prediction": 3.0}, index=clips.index)
                    table["prediction"] = 3.0 if predicted is None else np.asarray(predicted, dtype=float)
                    table["fold"] = np.arange(len(clips)) % folds if shared else groups % folds
                    table = table.assign(split=split, target=target, model=name, features=heard)
                    predictions.append(
                        table.assign(known=predicted is not None, training_mean=3.0, on_scale=True)
                    )
    count = clips["system"].nunique() if named else 0
    facts = {"clips": len(clips), "systems": count, "least_systems_in_a_fold": count // folds}
    described = {
        "meaning": "made up",
        "folds": folds,
        "shared_with_training": {"system": shared} if named else {},
        "targets": dict.fromkeys(targets, facts),
    }
    about = {
        "splits": dict.fromkeys(splits, described),
        "features": dict.fromkeys(features, "made up"),
        "inputs": {target: dict.fromkeys(features, 3) for target in targets},
        "models": {name: "Ridge()" for name in predictors if "mean" not in name},
        "resamples": resamples,
        "human_ceiling": {},
        "random_state": 0,
        "versions": {"python": "3"},
        "made": "2025-01-01",
    }
    found = pd.concat(predictions)
    systems = clips["system"] if named else None
    scores, notes, comparisons = summarise(
        found, about["splits"], systems, n_resamples=resamples, random_state=0
    )
    columns = ["split", "target", "features", "model", "fold", "clip_id", "truth", "prediction"]
    tidy = found.rename_axis("clip_id").reset_index()[columns]
    return StudyResult(scores, tidy, notes, comparisons, about)
