"""The regressor of a model for use: chosen by a study, per target, and of use like any other."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.svm import SVR
from typer.testing import CliRunner

from musiceval_sk import (
    ModelFileError,
    MOSRegressor,
    compare_predictors,
    load_model,
    make_listening_test,
    run_study,
    save_model,
)
from musiceval_sk.cli.app import app
from musiceval_sk.estimators.lookup import scaled, tuned_baselines
from musiceval_sk.estimators.persistence import load_content
from musiceval_sk.estimators.search import TunedRegressor
from musiceval_sk.scoring.fit import choose_regressor, regressor_named
from musiceval_sk.scoring.regressors import RegressorPerTarget

pytestmark = pytest.mark.filterwarnings("ignore:training reached max_iter", "ignore:early stopping goes by")
TARGETS = ["impression", "alignment"]


@pytest.fixture(scope="module")
def clips():
    """Ten systems of six clips; alignment is a straight line in the vectors, impression a parabola in those of sound."""
    rng = np.random.default_rng(0)
    ids = pd.Index([f"S{i}_P{j}" for i in range(10) for j in range(6)], name="clip_id")
    clips = pd.DataFrame({"path": "", "prompt": "x", "system": [name[:2] for name in ids]}, index=ids)
    clips[["audio_0", "text_0"]] = rng.uniform(-1, 1, (60, 2))
    noise = rng.normal(0, 0.05, (60, 2))
    clips["impression"] = 2 + 2 * clips["audio_0"] ** 2 + noise[:, 0]
    clips["alignment"] = 3 + clips["audio_0"] - clips["text_0"] + noise[:, 1]
    return clips


@pytest.fixture(scope="module")
def X(clips):
    return clips[["audio_0", "text_0"]]


@pytest.fixture(scope="module")
def study(clips, X):
    models = {"ridge": scaled(Ridge(alpha=1.0)), "SVR": scaled(SVR(C=10.0)), "third": LinearRegression()}
    return run_study(clips, X, models, "system", n_resamples=0)


def test_a_regressor_tunes_itself_by_groups_as_a_grid_search_over_these_folds(clips, X):
    y, grid = clips["alignment"], {"alpha": [0.1, 10.0, 1000.0]}
    found = TunedRegressor(Ridge(), grid).fit(X, y, groups=clips["system"])
    folds = list(GroupKFold(3).split(X, groups=clips["system"]))
    search = GridSearchCV(Ridge(), grid, cv=folds, scoring="neg_mean_squared_error").fit(X, y)
    assert found.best_params_ == search.best_params_ == {"alpha": 0.1}
    np.testing.assert_array_equal(found.predict(X), search.predict(X))


def test_groups_decide_which_parameter_is_best():
    """Without a penalty a group is known by its vector: that tells other rows of it, and nothing of groups left out."""
    rng, groups = np.random.default_rng(0), np.repeat(np.arange(9), 6)
    X, y = rng.normal(size=(9, 30))[groups], rng.normal(size=9)[groups]
    grid = {"alpha": [1e-3, 1e3]}
    assert TunedRegressor(Ridge(), grid).fit(X, y).best_params_ == {"alpha": 1e-3}
    assert TunedRegressor(Ridge(), grid).fit(X, y, groups=groups).best_params_ == {"alpha": 1e3}
    # A single group cannot be left out.
    assert TunedRegressor(Ridge(), grid).fit(X, y, groups=np.zeros(54)).best_params_ == {"alpha": 1e-3}


def test_each_target_has_its_own_regressor_on_the_columns_that_it_may_use(clips, X, tmp_path):
    X = X.copy()
    X.attrs["encoder_fingerprint"] = "abc"
    tuned = tuned_baselines()
    model = RegressorPerTarget({"impression": tuned["SVR"], "alignment": tuned["ridge"]}, scale=(1, 5))
    model.fit(X, clips[TARGETS], groups=clips["system"])
    alone = tuned_baselines()["SVR"].fit(X[["audio_0"]], clips["impression"], groups=clips["system"])
    np.testing.assert_array_equal(model.predict(X)[:, 0], alone.predict(X[["audio_0"]]))
    assert isinstance(model.regressors_[0].regressor_, TransformedTargetRegressor)
    assert model.regressors_[1].regressor_.coef_.shape == (2,)
    assert model.target_range_[0].tolist() == [clips["impression"].min(), clips["impression"].max()]
    loaded = load_model(save_model(model, tmp_path / "m.skops"))
    assert loaded.predict(X).tobytes() == model.predict(X).tobytes()
    with pytest.raises(
        ValueError, match=r"holds a MOSRegressor or CLAPFineTuneRegressor, not a RegressorPer"
    ):
        save_model(model, tmp_path / "m.safetensors")
    X.attrs["encoder_fingerprint"] = "other"
    with pytest.raises(ModelFileError, match="trained on embeddings of encoder abc"):
        loaded.predict(X)
    with pytest.raises(ValueError, match="no regressor is given for impression; there are alignment"):
        RegressorPerTarget({"alignment": Ridge()}).fit(X, clips[TARGETS])


def test_the_best_row_of_a_given_study_is_chosen_with_the_paired_test_of_its_lead(clips, X, study, tmp_path):
    study.to_json(tmp_path / "study.json")
    regressor = MOSRegressor()
    choice = choose_regressor(regressor, X, clips, TARGETS, study=tmp_path)
    assert {name: one["model"] for name, one in choice.about["targets"].items()} == {
        "impression": "SVR",
        "alignment": "ridge",
    }
    assert (choice.about["metric"], choice.about["split"], choice.about["folds"]) == ("U_MSE", "system", 5)
    rows = study.part("predictions", "impression").set_index("clip_id")
    answers = {name: part["prediction"] for name, part in rows.groupby("model") if name != "third"}
    truth = rows["truth"][rows["model"] == "SVR"]
    expected = compare_predictors(
        truth, answers, systems=clips["system"], metrics="U_MSE", baseline="SVR", random_state=0
    )
    (other,) = choice.about["targets"]["impression"]["others"]
    assert other["model"] == "ridge" and other["score"] == pytest.approx(
        ((answers["ridge"] - truth) ** 2).mean()
    )
    assert [other[name] for name in ("difference", "low", "high", "p_holm")] == pytest.approx(
        expected.iloc[0][["difference", "low", "high", "p_holm"]].tolist()
    )
    lines = str(choice).splitlines()
    assert lines[0] == (
        "impression: SVR is best by U_MSE under the split 'system', 5 folds, 60 clips; ahead of all others"
    )
    assert lines[1].startswith(
        f"  SVR {((answers['SVR'] - truth) ** 2).mean():.3g}, ridge {other['score']:.3g} (+"
    )
    assert choice.regressor.regressors["alignment"].grid == tuned_baselines()["ridge"].grid
    assert str(choose_regressor(regressor, X, clips, TARGETS, study=study)) == str(choice)


@pytest.mark.slow
def test_the_choice_is_the_same_by_two_processes(clips, X):
    regressor = MOSRegressor(n_ensemble=2, max_iter=20, random_state=0)
    one, two = (choose_regressor(regressor, X, clips, ["impression"], n_jobs=n_jobs) for n_jobs in (1, 2))
    assert one.about == two.about and str(one) == str(two)


def test_a_lead_that_a_test_does_not_tell_is_said_to_be_none(clips, X):
    """Two rows with the same predictions: their difference is 0, whatever is swapped."""
    models = {"ridge": LinearRegression(), "SVR": LinearRegression()}
    found = run_study(clips, X, models, "system", targets="alignment", n_resamples=0)
    choice = choose_regressor(MOSRegressor(), X, clips, ["alignment"], study=found)
    assert "alignment: ridge is best by" in str(choice) and "; not clearly ahead of SVR\n" in str(choice)
    assert "p = 1)" in str(choice)


def test_a_choice_that_is_not_ahead_of_the_mean_says_so(clips, X):
    rng = np.random.default_rng(0)
    noise = clips.assign(impression=rng.permutation(clips["impression"].to_numpy()))
    models = {"global mean": DummyRegressor(), "ridge": Ridge(0.01)}
    study = run_study(noise, X, models, "system", targets=["impression"], n_resamples=0)
    choice = choose_regressor(MOSRegressor(), X, noise, ["impression"], study=study)
    assert "60 clips; NOT ahead of global mean, which uses no audio\n" in str(choice)


def test_errors_of_a_given_study(clips, X, study):
    how = {"study": study}
    with pytest.raises(ValueError, match="unknown target 'liking'; choose from impression, alignment"):
        choose_regressor(MOSRegressor(), X, clips, ["liking"], **how)
    with pytest.raises(
        ValueError, match="no features as these, 'clap'; it has 'as given': give the same encoder"
    ):
        choose_regressor(MOSRegressor(), X, clips, TARGETS, features="clap", **how)
    with pytest.raises(ValueError, match="the study is about other clips, such as S0_P0"):
        choose_regressor(MOSRegressor(), X, clips[1:], TARGETS, **how)
    other = run_study(clips, X, {"third": LinearRegression()}, "system", n_resamples=0)
    with pytest.raises(ValueError, match=r"compares none of ridge, SVR, MOSRegressor .* it has third"):
        choose_regressor(MOSRegressor(), X, clips, TARGETS, study=other)
    alike = run_study(clips, {"one": X, "two": X}, {"ridge": Ridge()}, "system", n_resamples=0)
    with pytest.raises(ValueError, match="the study calls several features 'as given': one, two"):
        choose_regressor(MOSRegressor(), X, clips, TARGETS, study=alike)


@pytest.mark.slow
@pytest.mark.parametrize("named", [True, False], ids=["systems", "no systems"])
def test_without_a_study_one_is_made_and_mosregressor_is_chosen_as_it_is_where_it_is_best(
    clips, X, named, monkeypatch, torch
):
    regressor = MOSRegressor((4,), n_ensemble=2, max_iter=3, random_state=0)
    table = clips if named else clips.drop(columns="system")
    choice = choose_regressor(regressor, X, table, ["impression"])
    assert choice.about["split"] == ("system" if named else "random")
    found = choice.about["targets"]["impression"]
    assert found["model"] == "SVR" and [one["model"] for one in found["others"]] == [
        "global mean",
        "ridge",
        "MOSRegressor",
    ]
    assert all(one["score"] > found["score"] for one in found["others"])
    monkeypatch.setattr("musiceval_sk.scoring.fit.tuned_baselines", dict)
    assert choose_regressor(regressor, X, table, ["impression"]).regressor is regressor


def test_a_regressor_by_its_name():
    regressor = MOSRegressor(scale=(0, 10))
    assert regressor_named("mosregressor", regressor, TARGETS) is regressor
    support = regressor_named("svr", regressor, TARGETS)
    assert list(support.regressors) == TARGETS and support.scale == (0, 10)
    with pytest.raises(
        ValueError, match="unknown model 'forest'; choose from ridge, SVR, MOSRegressor, best"
    ):
        regressor_named("forest", regressor, TARGETS)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.slow
def test_the_command_line_chooses_saves_predicts_and_recalibrates(tmp_path, torch):
    test = make_listening_test(tmp_path / "test", n_systems=5, n_prompts=4, n_raters=6, seconds=1.0)
    tables = [tmp_path / "test" / "clips.csv", "--ratings", tmp_path / "test" / "ratings.csv"]
    shared = ["--cache", tmp_path / "e.h5"]
    folder, model = tmp_path / "study", tmp_path / "m.skops"
    models = ["--model", "ridge", "--model", "SVR", "--resamples", 0]
    assert run("study", *tables, *models, *shared, "--out", folder).exit_code == 0
    best = [*tables, *shared, "--model", "best", "--study", folder]
    fitted = run("fit", *best, "--out", model)
    assert fitted.exit_code == 0, fitted.output
    assert (
        "impression: " in fitted.stdout
        and " is best by U_MSE under the split 'system', 5 folds, 20 clips" in fitted.stdout
    )
    assert "chosen on systems held out" in fitted.stdout
    about = load_content(model)["about"]
    assert set(about["choice"]["targets"]) == set(about["assessment"]["targets"]) == set(TARGETS)
    assert {one["model"] for one in about["choice"]["targets"].values()} <= {"ridge", "SVR"}
    predicted = run("predict", model, tables[0], *shared, "--out", tmp_path / "p.csv")
    words = "no spread per clip: it is the disagreement of MOSRegressor's members, and this model is another"
    assert words in predicted.stderr + predicted.stdout
    table = pd.read_csv(tmp_path / "p.csv", index_col="clip_id")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_allclose(table[TARGETS], load_model(model).predict(test.clips), atol=1e-5)
    assert "impression_raters" in predicted.stdout and "sound_far" in table
    moved = run("recalibrate", model, *tables, *shared, "--out", tmp_path / "r.skops")
    assert moved.exit_code == 0, moved.output
    assert run("predict", tmp_path / "r.skops", tables[0], *shared).exit_code == 0
    other = run("fit", *best, "--pooling", "max", "--out", tmp_path / "n.skops")
    assert other.exit_code == 2 and "the study has no features as these" in other.stderr
    wrong = run("fit", *tables, *shared, "--study", folder, "--out", tmp_path / "n.skops")
    assert (
        wrong.exit_code == 2 and "--study is what --model best goes by, but --model is MOSR" in wrong.stderr
    )
    wrong = run("fit", *tables, *shared, "--out", tmp_path / "n.safetensors")
    assert wrong.exit_code == 2 and "a safetensors file holds no feature stage; name a .skops" in wrong.stderr
