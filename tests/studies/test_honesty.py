"""What a table must not pretend: rankings by predictors that use no audio, systems without a name, rows out of order."""

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneGroupOut

from musiceval_sk import ClipsTableError, LookupRegressor, evaluate, make_split, mos_scorer, run_study


@pytest.fixture
def clips(rng):
    """Six systems by eight prompts; systems differ, prompts do not."""
    index = [f"S{s}P{p}" for s in range(6) for p in range(8)]
    table = pd.DataFrame({"path": "", "system": np.repeat([f"S{s}" for s in range(6)], 8)}, index=index)
    table["prompt"] = np.tile([f"prompt {p}" for p in range(8)], 6)
    table["impression"] = np.repeat(np.linspace(1.5, 4.5, 6), 8) + rng.normal(0, 0.3, 48)
    return table


@pytest.fixture
def noise(clips, rng):
    return pd.DataFrame(rng.normal(size=(48, 5)), index=clips.index)


@pytest.mark.parametrize("cv", ["system", LeaveOneGroupOut()], ids=["by system", "one system a fold"])
def test_lookups_rank_no_systems_that_training_never_heard(clips, noise, cv):
    models = {"global mean": DummyRegressor(), "prompt mean": LookupRegressor(clips["prompt"])}
    study = run_study(clips, noise, models, cv, n_splits=3)
    for kind in ("pooled", "mean of folds"):
        assert study.table("impression", kind)[["S_LCC", "S_SRCC", "S_KTAU"]].isna().all(axis=None)
    assert study.notes["note"].str.contains("same for every system of a fold").all()


def test_one_system_a_fold_does_not_hide_a_predictor_that_hears(clips, rng):
    heard = pd.DataFrame({"sound": clips["impression"] + rng.normal(0, 0.3, 48)})
    study = run_study(clips, heard, {"ridge": Ridge()}, LeaveOneGroupOut())
    assert study.table("impression")["S_SRCC"].item() > 0.8


def test_a_model_that_learnt_nothing_but_its_median_ranks_nothing(clips, noise):
    study = run_study(clips, noise, {"median": DummyRegressor(strategy="median")}, "system", n_splits=3)
    assert study.table("impression")[["U_LCC", "U_SRCC", "S_LCC", "S_SRCC"]].isna().all(axis=None)


def test_folds_of_two_systems_rank_nothing(clips, noise):
    study = run_study(clips, noise, {"ridge": Ridge()}, "system", n_splits=3)
    assert study.table("impression", "mean of folds")[["S_LCC", "S_SRCC", "S_KTAU"]].isna().all(axis=None)
    assert study.table("impression", "mean of folds")["S_MSE"].notna().all()
    assert "as few as 2 systems in a fold; folds with fewer than 3" in str(study)


@pytest.mark.slow
def test_pooled_correlations_of_noise_lie_below_zero_and_the_table_says_so(clips, rng):
    found = []
    for seed in range(20):
        noise = pd.DataFrame(rng.normal(size=(48, 5)), index=clips.index)
        study = run_study(clips, noise, {"ridge": Ridge()}, "system", n_splits=3, random_state=seed)
        found.append(study.table("impression")["S_SRCC"].item())
    assert np.mean(found) < -0.2
    assert "a predictor that uses no audio scores below 0, not at 0" in str(study)
    assert "S metrics rest on 6 systems: too few to tell predictors apart." in str(study)


@pytest.mark.parametrize("blank", ["", None, np.nan], ids=repr)
def test_a_clip_without_a_system_is_no_system(clips, blank):
    clips.loc["S0P3", "system"] = blank
    with pytest.raises(ClipsTableError, match="needs a system for every clip, but there is none for: S0P3"):
        make_split("system", clips)


def test_a_model_that_cannot_be_judged_says_so_in_its_row(clips, noise):
    models = {"system mean": LookupRegressor(clips["system"]), "ridge": Ridge()}
    rows = str(run_study(clips, noise, models, "system", n_splits=3)).splitlines()
    (judged,) = [row for row in rows if row.startswith("ridge")]
    (unjudged,) = [row for row in rows if row.startswith("system mean")]
    assert unjudged.endswith("cannot be judged") and "cannot be judged" not in judged


@pytest.mark.parametrize("blank", ["", " ", None, np.nan], ids=repr)
def test_a_blank_system_leaves_no_system_scores_under_other_splits(clips, noise, blank):
    clips.loc["S0P3", "system"] = blank
    with pytest.warns(
        UserWarning, match="^1 of 48 clips name no system, so .* no system-level scores: S0P3$"
    ):
        study = run_study(clips, noise, {"ridge": Ridge()}, "prompt", n_splits=2)
    assert study.table("impression").filter(like="S_").isna().all(axis=None)
    assert "not every clip names its system" in str(study)


def test_at_least_two_folds(clips):
    with pytest.raises(ValueError, match="n_splits=1 must be a whole number and at least 2"):
        make_split("system", clips, n_splits=1)


def test_labelled_predictions_are_brought_into_order(clips):
    truth = clips[["impression"]].assign(alignment=clips["impression"] ** 2)
    mixed = truth.sample(frac=1, random_state=0)[["alignment", "impression"]]
    assert (evaluate(truth, mixed)["U_MSE"] == 0).all()
    assert evaluate(truth["impression"], mixed["impression"])["U_MSE"] == 0
    with pytest.raises(
        ValueError,
        match="about different clips by their index: y_true alone has S0P0; y_pred alone has other",
    ):
        evaluate(truth["impression"], truth["impression"].rename({"S0P0": "other"}))


def test_scorers_want_systems_by_clip_id(clips):
    with pytest.raises(ValueError, match="systems must be a pandas Series with one system a clip id"):
        mos_scorer("S_MSE", systems=clips["system"].tolist())
