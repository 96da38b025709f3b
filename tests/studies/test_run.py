import json

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy import stats
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GroupKFold, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from musiceval_sk import (
    METRICS,
    ClipsTableError,
    LookupRegressor,
    MOSRegressor,
    SkippedWarning,
    StudyResult,
    bootstrap_metrics,
    evaluate,
    human_ceiling,
    make_split,
    run_study,
)

N_SYSTEMS, N_PROMPTS = 9, 6
CORRELATIONS = [name for name in METRICS if "MSE" not in name]


@pytest.fixture(scope="module")
def clips():
    """Nine systems by six prompts, in no order; quality by system, mood by prompt."""
    rng = np.random.default_rng(0)
    systems, prompts = np.divmod(rng.permutation(N_SYSTEMS * N_PROMPTS), N_PROMPTS)
    quality, mood = np.linspace(-1, 1, N_SYSTEMS)[systems], np.linspace(-0.5, 0.5, N_PROMPTS)[prompts]
    return pd.DataFrame(
        {
            "path": "",
            "prompt": [f"prompt {j}" for j in prompts],
            "system": [f"S{i}" for i in systems],
            "impression": 3 + quality + 0.3 * rng.normal(size=len(systems)),
            "alignment": 3 + mood + 0.3 * rng.normal(size=len(systems)),
        },
        index=pd.Index([f"S{i}_P{j}" for i, j in zip(systems, prompts, strict=True)], name="clip_id"),
    )


@pytest.fixture(scope="module")
def X(clips):
    """Two audio columns and a text column that hear and read something of the scores, in another order of rows."""
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(3, len(clips)))
    table = {
        "audio_0": clips["impression"] + 0.5 * noise[0],
        "audio_1": noise[1],
        "text_0": clips["alignment"] + 0.5 * noise[2],
    }
    return pd.DataFrame(table, index=clips.index).iloc[::-1]


@pytest.fixture(scope="module")
def models(clips):
    return {
        "global mean": DummyRegressor(),
        "system mean": LookupRegressor(clips["system"]),
        "prompt mean": LookupRegressor(clips["prompt"]),
        "least squares": LinearRegression(),
    }


@pytest.fixture(scope="module")
def by_system(clips, X, models):
    return run_study(clips, X, models, "system", n_splits=3, random_state=0)


@pytest.fixture(scope="module")
def at_random(clips, X, models):
    return run_study(clips, X, models, "random", n_splits=3, random_state=0)


def test_predictions_off_the_raters_scale_are_counted(clips):
    class Shout(DummyRegressor):
        def predict(self, X):
            return np.where(np.arange(len(X)) == 0, 6.44, 3.0)

    scored = clips.assign(impression=clips["impression"].clip(1, 5))
    words = f"Shout: 3 of {len(clips)} predictions lie off the raters' scale, 1 to 5, by up to 1.44"
    options = {"targets": "impression", "n_splits": 3, "n_resamples": 0}
    study = run_study(scored, np.zeros((len(clips), 1)), {"Shout": Shout()}, **options)
    offenders = study.predictions.query("prediction == 6.44")["clip_id"]
    words += f": {', '.join(offenders)}"
    assert study.cautions("impression")[0] == f"{words}."
    assert words in str(study)
    # Scores that leave a scale are on another one.
    scored.iloc[0, scored.columns.get_loc("impression")] = 7.0
    for other in ({}, {"scale": None}):
        assert "scale" not in str(
            run_study(scored, np.zeros((len(clips), 1)), {"Shout": Shout()}, **options, **other)
        )


def out_of_fold(clips, X, target, columns, cv="system"):
    """Predict every clip by least squares, with the folds of `make_split` and a plain loop."""
    inputs, truth = X.loc[clips.index, columns], clips[target]
    parts = []
    for train, test in make_split(cv, clips, n_splits=3, random_state=0).folds(clips):
        fitted = LinearRegression().fit(inputs.iloc[train], truth.iloc[train])
        parts.append(pd.Series(fitted.predict(inputs.iloc[test]), index=clips.index[test]))
    return parts


COLUMNS = {"impression": ["audio_0", "audio_1"], "alignment": ["audio_0", "audio_1", "text_0"]}


def test_table_shape(by_system, models):
    assert len(by_system.scores) == 2 * 4 * 2  # targets, models, kinds
    bounds = [f"{name}_{end}" for name in METRICS for end in ("low", "high")]
    places = ["split", "target", "features", "model", "kind"]
    assert list(by_system.scores.columns) == [*places, *METRICS, *bounds]
    for target in ("impression", "alignment"):
        for kind in ("pooled", "mean of folds"):
            table = by_system.table(target, kind)
            assert list(table.index) == list(models)
            assert list(table.columns) == list(METRICS)
    assert by_system.table("impression").equals(by_system.table("impression", "pooled"))


@pytest.mark.parametrize("cv", ["system", "random"])
@pytest.mark.parametrize("target", COLUMNS)
def test_scores_by_hand(clips, X, by_system, at_random, target, cv):
    study = by_system if cv == "system" else at_random
    parts = out_of_fold(clips, X, target, COLUMNS[target], cv)
    pooled = pd.concat(parts)
    expected = evaluate(clips[target][pooled.index], pooled, systems=clips["system"])
    pd.testing.assert_series_equal(
        study.table(target).loc["least squares"], expected, check_names=False, rtol=1e-9
    )
    folds = [evaluate(clips[target][part.index], part, systems=clips["system"]) for part in parts]
    expected = sum(folds) / 3
    found = study.table(target, "mean of folds").loc["least squares"]
    pd.testing.assert_series_equal(found, expected, check_names=False, rtol=1e-9)


@pytest.mark.parametrize("target", COLUMNS)
def test_predictions_are_out_of_fold_and_in_the_result(clips, X, by_system, target):
    found = by_system.predictions
    places = ["split", "target", "features", "model", "fold", "clip_id"]
    assert list(found.columns) == [*places, "truth", "prediction"]
    assert len(found) == 2 * 4 * len(clips)
    chosen = found[(found["target"] == target) & (found["model"] == "least squares")].set_index("clip_id")
    assert sorted(chosen.index) == sorted(clips.index)
    expected = pd.concat(out_of_fold(clips, X, target, COLUMNS[target]))
    np.testing.assert_allclose(chosen["prediction"], expected[chosen.index], rtol=1e-9)
    assert chosen["truth"].to_numpy().tolist() == clips[target][chosen.index].tolist()


def test_pooled_is_evaluate_on_the_predictions_of_the_result(clips, at_random):
    for (target, model), found in at_random.predictions.groupby(["target", "model"]):
        if model == "global mean":
            continue
        expected = evaluate(
            found["truth"], found["prediction"], systems=clips["system"][found["clip_id"]].to_numpy()
        )
        pooled = at_random.table(target).loc[model]
        assert pooled["U_SRCC"] == pytest.approx(expected["U_SRCC"], abs=1e-12)
        assert pooled["S_MSE"] == pytest.approx(expected["S_MSE"], abs=1e-12)


def test_impression_hears_and_alignment_reads_too(by_system):
    assert by_system.about["inputs"] == {"impression": {"X": 2}, "alignment": {"X": 3}}


def test_lookup_of_systems_cannot_be_judged_on_unseen_systems(by_system):
    for kind in ("pooled", "mean of folds"):
        assert by_system.table("impression", kind).loc["system mean"].isna().all()
    notes = by_system.notes.set_index(["target", "model"])["note"]
    assert "cannot be judged under this split" in notes["impression", "system mean"]
    assert ("impression", "least squares") not in notes.index


def test_lookup_of_prompts_cannot_be_judged_on_unseen_prompts(clips, X, models):
    study = run_study(clips, X, models, "prompt", targets=["alignment"], n_splits=3)
    assert study.table("alignment").loc["prompt mean"].isna().all()
    assert np.isfinite(study.table("alignment").loc["system mean", "U_MSE"])


def test_lookup_at_random_is_judged(at_random):
    assert at_random.table("impression").loc["system mean", "U_SRCC"] > 0.5
    assert "impression" in set(at_random.notes["target"])  # the global mean's
    assert not (at_random.notes["model"] == "system mean").any()


def test_constant_within_a_fold_ranks_nothing(clips, by_system):
    for kind in ("pooled", "mean of folds"):
        row = by_system.table("impression", kind).loc["global mean"]
        assert row[CORRELATIONS].isna().all()
        assert np.isfinite(row[["U_MSE", "S_MSE"]]).all()
    # By hand: every clip is given the mean score of the clips of other folds.
    errors = []
    for train, test in make_split("system", clips, n_splits=3, random_state=0).folds(clips):
        errors.append((clips["impression"].iloc[test] - clips["impression"].iloc[train].mean()) ** 2)
    pooled = by_system.table("impression").loc["global mean", "U_MSE"]
    assert pooled == pytest.approx(pd.concat(errors).mean(), rel=1e-12)
    note = by_system.notes.set_index(["target", "model"])["note"]["impression", "global mean"]
    assert "predicts the same for every clip of a fold" in note


def test_lookup_of_prompts_ranks_no_whole_systems(by_system):
    # Every system has every prompt once, so all systems of a fold are given the same mean.
    row = by_system.table("alignment").loc["prompt mean"]
    assert row[["S_LCC", "S_SRCC", "S_KTAU"]].isna().all()
    assert np.isfinite(row[["U_LCC", "U_SRCC", "U_KTAU"]]).all()
    note = by_system.notes.set_index(["target", "model"])["note"]["alignment", "prompt mean"]
    assert "predicts the same for every system of a fold" in note


def test_partly_unknown_labels_are_counted(clips, X):
    # Four prompts are in the first half only: half of the clips have no match whichever half is tested.
    order = clips.assign(prompt=[f"p{i % 4}" if i < 27 else f"p{i % 4 + 2}" for i in range(54)])
    study = run_study(
        order, X, {"prompt mean": LookupRegressor(order["prompt"])}, KFold(2), targets=["impression"]
    )
    folds = list(KFold(2).split(order))
    unknown = sum(
        (~order["prompt"].iloc[test].isin(order["prompt"].iloc[train])).sum() for train, test in folds
    )
    assert 0 < unknown < 54
    assert (
        f"{unknown} of 54 clips had no match in training and got the global mean"
        in study.notes["note"].item()
    )


@pytest.mark.parametrize("cv", ["system", "random"])
def test_intervals_are_those_of_bootstrap_metrics(clips, by_system, at_random, cv):
    study = by_system if cv == "system" else at_random
    found = study.predictions
    chosen = found[(found["target"] == "impression") & (found["model"] == "least squares")]
    systems = clips["system"][chosen["clip_id"]].to_numpy()
    for kind, folds in (("pooled", None), ("mean of folds", chosen["fold"])):
        alone = bootstrap_metrics(
            chosen["truth"].to_numpy(),
            chosen["prediction"].to_numpy(),
            systems=systems,
            folds=folds,
            n_resamples=1000,
            random_state=0,
        )
        for metric in METRICS:
            expected = alone.interval(metric)
            assert study.interval("impression", "least squares", metric, kind) == pytest.approx(
                expected, nan_ok=True
            )
            assert expected[0] < study.table("impression", kind).loc["least squares", metric] < expected[1]


def test_what_is_not_judged_has_no_interval(by_system):
    assert np.isnan(by_system.interval("impression", "system mean", "U_MSE")).all()
    assert np.isnan(by_system.interval("impression", "global mean", "S_SRCC")).all()
    assert np.isfinite(by_system.interval("impression", "global mean", "U_MSE")).all()


def test_the_best_row_is_compared_with_what_hears_nothing(clips, at_random):
    found = at_random.comparisons
    row = found[found["target"] == "impression"].iloc[0]
    table = at_random.table("impression", "mean of folds")["S_SRCC"]
    assert row["kind"] == "mean of folds"
    assert row["value_a"] == pytest.approx(table.max(), abs=1e-12)
    assert row["value_b"] == pytest.approx(table.drop(row["model_a"])[row["model_b"]], abs=1e-12)
    assert row["low"] <= row["difference"] <= row["high"]
    assert 0 < row["p_value"] <= row["p_holm"] <= 1
    assert {row["model_a"], row["model_b"]} == {"least squares", "system mean"}


def test_large_figures_do_not_run_together(clips, X, models):
    scores = clips.assign(impression=1e4 * clips["impression"])
    options = {"n_splits": 3, "n_resamples": 0, "targets": "impression"}
    study = run_study(scores, X, models, "system", scale=None, **options)
    table = study.rows("impression", "pooled").loc["least squares", list(METRICS)]
    assert table["U_MSE"] > 1e4
    (line,) = [line for line in str(study).splitlines() if line.startswith("least squares")]
    cells = line.split("pooled")[1].split()
    assert [float(cell) for cell in cells[:8]] == pytest.approx(table.to_list(), abs=5e-4)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"n_resamples": -1}, "n_resamples=-1 must be a whole number and at least 0"),
        ({"random_state": -1}, "random_state=-1 must be a whole number and at least 0"),
        ({"n_resamples": 99.5}, "n_resamples=99.5 must be a whole number and at least 0"),
        ({"n_resamples": "100"}, "n_resamples='100' must be a whole number and at least 0"),
        ({"n_resamples": None}, "n_resamples=None must be a whole number and at least 0"),
        ({"memory": __file__}, "is a file; memory is a folder"),
    ],
)
def test_wrong_settings_are_refused_before_any_fit(clips, X, models, wrong, words):
    with pytest.raises(ValueError, match=words):
        run_study(clips, X, models, **wrong)


def test_no_resamples_no_intervals(clips, X, models):
    study = run_study(clips, X, models, "system", n_splits=3, n_resamples=0, targets="impression")
    assert "S_SRCC_low" not in study.scores
    assert study.comparisons.empty
    assert np.isnan(study.interval("impression", "least squares")).all()
    assert "[" not in str(study).split("S_SRCC 95 %")[1]


@pytest.fixture(scope="module")
def several(clips, X, models):
    tables = {"heard": X, "deafened": X.assign(audio_0=0.0)}
    return run_study(
        clips, tables, models, ["system", "random"], n_splits=3, features={"heard": "all columns"}
    )


def test_several_features_and_splits(several, by_system, at_random):
    assert several.splits == ["system", "random"]
    table = several.table("impression", split="system")
    names = ["global mean", "system mean", "prompt mean", "least squares (heard)", "least squares (deafened)"]
    assert list(table.index) == names
    assert several.about["features"] == {"heard": "all columns", "deafened": "as given"}
    for split, alone in (("system", by_system), ("random", at_random)):
        for kind in ("pooled", "mean of folds"):
            found = several.table("alignment", kind, split=split)
            expected = alone.table("alignment", kind)
            np.testing.assert_allclose(found[:4], expected, rtol=1e-12)
    # Baselines use no audio, so they are there once.
    assert (several.scores[several.scores["features"] == "none"]["model"].nunique()) == 3
    best = several.comparisons.groupby(["split", "target"]).first()
    assert best.loc[("system", "impression"), "features_a"] == "heard"


def test_several_on_screen(several):
    shown = str(several)
    assert "heard: all columns" in shown
    assert "Split 'system'" in shown
    assert "Split 'random'" in shown
    assert "Best by S_SRCC, pooled: least squares (heard). Ahead by" in shown
    assert "Best by S_SRCC, mean of folds: " in shown


def test_a_split_must_be_named_where_there_are_several(several):
    with pytest.raises(ValueError, match="unknown split None; choose from system, random"):
        several.table("impression")
    with pytest.raises(ValueError, match="unknown split 'prompt'; choose from system, random"):
        several.table("impression", split="prompt")
    with pytest.raises(ValueError, match="unknown target 'liking'; choose from impression, alignment"):
        several.table("liking", split="system")


def test_features_and_splits_are_checked(clips, X, models):
    with pytest.raises(ValueError, match="X is an empty mapping"):
        run_study(clips, {}, models)
    with pytest.raises(ValueError, match="cannot be called 'none'"):
        run_study(clips, {"none": X}, models)
    with pytest.raises(ValueError, match="unknown features 'clap'; choose from heard"):
        run_study(clips, {"heard": X}, models, features={"clap": "vectors"})
    with pytest.raises(ValueError, match="cv names splits twice: system"):
        run_study(clips, X, models, ["system", "random", "system"])
    with pytest.raises(ValueError, match="cv is an empty list"):
        run_study(clips, X, models, [])
    with pytest.raises(ClipsTableError, match=r"X\['b'\] repeats clip ids"):
        run_study(clips, {"a": X, "b": pd.concat([X, X[:3]])}, models)


def test_clips_must_be_in_all_features(clips, X, models):
    tables = {"a": X.drop(clips.index[0]), "b": X.drop(clips.index[1])}
    with pytest.warns(SkippedWarning, match="left out 2 clips"):
        study = run_study(clips, tables, models, "random", n_splits=3, targets="impression")
    assert study.predictions.groupby(["features", "model"])["clip_id"].nunique().eq(52).all()


def test_the_human_ceiling_stands_beside_the_scores(clips, X, models):
    rng = np.random.default_rng(2)
    ratings = pd.DataFrame(
        [
            (f"R{rater}", clip, np.clip(np.round(score + rng.normal(0, 0.7)), 1, 5))
            for clip, score in clips["impression"].items()
            for rater in range(4)
        ],
        columns=["rater", "clip_id", "impression"],
    )
    study = run_study(
        clips, X, models, "system", n_splits=3, targets="impression", ratings=ratings, n_resamples=0
    )
    expected = human_ceiling(ratings, clips=clips, targets=["impression"], n_bootstrap=0).metrics()
    found = study.about["human_ceiling"]["impression"]
    assert found["another panel"]["S_SRCC"] == expected.loc[("impression", "another panel"), "S_SRCC"]
    assert "human ceiling another panel" in " ".join(str(study).split())


class Counting(LinearRegression):
    """Count fits, and be killed in the middle of a study where asked to."""

    fits = 0
    dies_at = None

    def fit(self, X, y):
        if Counting.fits == Counting.dies_at:
            raise KeyboardInterrupt
        Counting.fits += 1
        return super().fit(X, y)


def test_a_killed_study_goes_on(clips, X, by_system, tmp_path, monkeypatch):
    options = {"n_splits": 3, "random_state": 0, "memory": tmp_path, "n_resamples": 0}
    models = {"least squares": Counting()}
    monkeypatch.setattr(Counting, "fits", 0)
    monkeypatch.setattr(Counting, "dies_at", 4)
    with pytest.raises(KeyboardInterrupt):
        run_study(clips, X, models, "system", **options)
    monkeypatch.setattr(Counting, "dies_at", None)
    monkeypatch.setattr(Counting, "fits", 0)
    study = run_study(clips, X, models, "system", **options)
    assert Counting.fits == 2  # of the six fits, four were kept
    np.testing.assert_allclose(
        study.table("impression"), by_system.table("impression").loc[["least squares"]], rtol=1e-12
    )
    run_study(clips, X, models, "system", **options)
    assert Counting.fits == 2
    run_study(clips, X, models | {"free of charge": Counting()}, ["system", "random"], **options)
    assert Counting.fits == 2 + 6  # an equal model under another name is known; the other split is not


@pytest.mark.parametrize("changed", ["X", "y", "model"])
def test_what_was_kept_is_used_for_the_same_fit_only(clips, X, tmp_path, monkeypatch, changed):
    options = {"n_splits": 3, "memory": tmp_path, "n_resamples": 0, "targets": "impression"}
    monkeypatch.setattr(Counting, "fits", 0)
    run_study(clips, X, {"model": Counting()}, "system", **options)
    clips, X = clips.copy(), X.copy()
    X.iloc[0, 0] += changed == "X"
    clips.iloc[0, clips.columns.get_loc("impression")] += changed == "y"
    model = Counting(fit_intercept=changed != "model")
    run_study(clips, X, {"model": model}, "system", **options)
    assert Counting.fits == 6


@pytest.mark.parametrize(
    "broken",
    [b"", b"{", b"[" * 100_000, b"[]", b"null", b"3", b"\x80\x04.", b'{"truth": [1]}', "cut", "text"],
    ids=["empty", "cut", "deep", "list", "null", "number", "pickle", "one column", "cut column", "text"],
)
def test_what_was_kept_and_broke_is_made_anew(clips, X, tmp_path, monkeypatch, broken):
    options = {"n_splits": 3, "memory": tmp_path, "n_resamples": 0, "targets": "impression"}
    study = run_study(clips, X, {"model": Counting()}, "system", **options)
    kept = sorted(tmp_path.glob("*.json"))
    assert len(kept) == 3
    columns = json.loads(kept[1].read_text())
    if broken == "cut":
        broken = json.dumps(columns | {"prediction": columns["prediction"][:-1]}).encode()
    if broken == "text":
        broken = json.dumps(columns | {"prediction": ["=1"] * len(columns["prediction"])}).encode()
    whole = kept[1].read_bytes()
    kept[1].write_bytes(broken)
    monkeypatch.setattr(Counting, "fits", 0)
    again = run_study(clips, X, {"model": Counting()}, "system", **options)
    assert Counting.fits == 1
    assert kept[1].read_bytes() == whole
    pd.testing.assert_frame_equal(again.predictions, study.predictions)


def test_a_model_that_cannot_be_written_down_is_refused(clips, X, tmp_path):
    model = make_pipeline(FunctionTransformer(lambda table: table), LinearRegression())
    with pytest.raises(ValueError, match="model 'scaled' holds something that cannot be written to disk"):
        run_study(clips, X, {"scaled": model}, "system", memory=tmp_path)


def test_clips_without_score_or_features_are_left_out(clips, X, models):
    scored = clips.copy()
    scored.loc[scored.index[:2], "impression"] = np.nan
    some = X.drop(clips.index[1:7])
    with pytest.warns(SkippedWarning) as caught:
        study = run_study(scored, some, models, "system", n_splits=3)
    first, second = (str(warning.message) for warning in caught)
    names = ", ".join(clips.index[:5])
    assert first == f"impression: left out 7 clips without features or score: {names} (+2 more)"
    assert second.startswith("alignment: left out 6 clips without features or score")
    tested = study.predictions[study.predictions["target"] == "impression"]["clip_id"].unique()
    assert sorted(tested) == sorted(clips.index[7:])
    assert study.about["splits"]["system"]["targets"]["impression"]["clips"] == 54 - 7
    assert study.about["splits"]["system"]["targets"]["alignment"]["clips"] == 54 - 6


def test_csv_round_trip(by_system, tmp_path):
    by_system.to_csv(tmp_path / "study.csv")
    table = pd.read_csv(tmp_path / "study.csv")
    assert list(table.columns) == [*by_system.scores.columns, "note"]
    assert set(table["split"]) == {"system"}
    pd.testing.assert_frame_equal(
        table[by_system.scores.columns].fillna({"features": "none"}),
        by_system.scores,
        check_dtype=False,
        rtol=1e-12,
    )
    unjudged = table[table["model"] == "system mean"]
    assert unjudged["note"].str.startswith("cannot be judged").all()
    assert table[table["model"] == "least squares"]["note"].isna().all()


def test_json_round_trip(by_system, tmp_path):
    by_system.to_json(tmp_path / "study.json")
    json.loads((tmp_path / "study.json").read_text(), parse_constant=pytest.fail)  # no NaN: any reader's JSON
    again = StudyResult.from_json(tmp_path / "study.json")
    for name in ("scores", "predictions", "notes", "comparisons"):
        pd.testing.assert_frame_equal(
            getattr(again, name),
            getattr(by_system, name),
            check_dtype=False,
            check_index_type=False,
            rtol=1e-13,
        )
    assert again.about == by_system.about
    assert str(again) == str(by_system)


def test_json_round_trip_without_notes(clips, X, tmp_path):
    study = run_study(clips, X, {"least squares": LinearRegression()}, "system", n_splits=3)
    study.to_json(tmp_path / "study.json")
    again = StudyResult.from_json(tmp_path / "study.json")
    assert again.notes.empty
    assert str(again) == str(study)


@pytest.mark.parametrize(
    "content, words",
    [
        ("split,target\n", r"study.json holds no study \(JSONDecodeError: Expecting value"),
        ("[1]", "holds no study .TypeError"),
        ('{"scores": []}', "'predictions'.; give the study.json that musiceval study --out"),
        ('{"scores": [{"split": "system"}], "predictions": []}', "holds no study .KeyError: 'target'"),
    ],
)
def test_a_file_that_holds_no_study_is_refused_in_words(tmp_path, content, words):
    (tmp_path / "study.json").write_text(content)
    with pytest.raises(ValueError, match=words):
        StudyResult.from_json(tmp_path / "study.json")


def test_on_screen(by_system, at_random, models):
    shown = str(by_system)
    for name in [*models, *METRICS, "impression", "alignment", "pooled", "mean of folds"]:
        assert name in shown
    assert "Split 'system': systems never heard in training; 3 fold(s)" in shown
    assert "0% by system, 100% by prompt" in shown
    assert f"{by_system.table('impression').loc['least squares', 'S_SRCC']:.3f}" in shown
    assert "cannot be judged under this split" in shown
    assert "nan" not in shown
    assert "as few as 3 systems in a fold" in shown
    assert "look-up of the system mean scores 1 by construction" in str(at_random)
    assert "by construction" not in shown


class Spy(RegressorMixin, BaseEstimator):
    """Keep what fit is given, and predict the mean."""

    seen = []

    def fit(self, X, y, groups=None):
        Spy.seen.append((X, y, groups))
        self.mean_ = float(np.mean(y))
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_) + X["audio_1"].to_numpy()


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "pipeline"])
@pytest.mark.parametrize(
    ("cv", "column"), [("system", "system"), ("prompt", "prompt"), ("system+prompt", "system")]
)
def test_group_splits_hand_groups_to_fit(clips, X, cv, column, wrapped, monkeypatch):
    monkeypatch.setattr(Spy, "seen", [])
    scaler = StandardScaler().set_output(transform="pandas")
    model = make_pipeline(scaler, Spy()) if wrapped else Spy()
    run_study(clips, X, {"spy": model}, cv, targets=["alignment"], n_splits=3)
    folds = make_split(cv, clips, n_splits=3).folds(clips)
    assert len(Spy.seen) == len(folds)
    for (train, _), (inputs, y, groups) in zip(folds, Spy.seen, strict=True):
        assert list(inputs.index) == list(y.index) == list(clips.index[train])
        assert list(groups) == list(clips[column].iloc[train])


def test_groups_belong_to_the_clips_that_are_left(clips, X, monkeypatch):
    monkeypatch.setattr(Spy, "seen", [])
    with pytest.warns(SkippedWarning, match="left out 5 clips"):
        run_study(clips, X.drop(clips.index[:5]), {"spy": Spy()}, "system", targets=["alignment"], n_splits=3)
    for _, y, groups in Spy.seen:
        assert list(groups) == list(clips["system"][y.index])


def test_random_splits_hand_no_groups(clips, X, monkeypatch):
    monkeypatch.setattr(Spy, "seen", [])
    run_study(clips, X, {"spy": Spy()}, "random", targets=["alignment"], n_splits=3)
    assert [groups for _, _, groups in Spy.seen] == [None, None, None]


def test_models_are_cloned_not_touched(clips, X):
    model = Ridge()
    run_study(clips, X, {"ridge": model}, "system", n_splits=3)
    assert not hasattr(model, "coef_")


def test_mosregressor_is_given_groups_of_its_training_part(clips, X, monkeypatch, torch):
    seen, fit = [], MOSRegressor.fit

    def spy(self, X, y, groups=None):
        seen.append((list(y.index), list(groups)))
        return fit(self, X, y, groups=groups)

    monkeypatch.setattr(MOSRegressor, "fit", spy)
    model = MOSRegressor((4,), learning_rate_init=0.05, n_iter_no_change=3, random_state=0)
    study = run_study(clips, X, {"MLP": model}, "system", targets=["impression"], n_splits=3)
    assert len(seen) == 3
    for index, groups in seen:
        assert groups == list(clips["system"][index])
        assert len(set(groups)) == 6  # nine systems, three of them in the test
    assert np.isfinite(study.table("impression").to_numpy()).all()


@pytest.mark.slow
def test_two_jobs_equal_one(clips, X, models, by_system):
    parallel = run_study(clips, X, models, "system", n_splits=3, random_state=0, n_jobs=2)
    pd.testing.assert_frame_equal(parallel.scores, by_system.scores, rtol=1e-12)
    pd.testing.assert_frame_equal(parallel.predictions, by_system.predictions, rtol=1e-12)


def test_custom_splitter(clips, X):
    study = run_study(clips, X, {"least squares": LinearRegression()}, KFold(4), targets=["impression"])
    assert study.splits == [repr(KFold(4))]
    assert study.about["splits"][repr(KFold(4))]["folds"] == 4
    parts = []
    for train, test in KFold(4).split(clips):
        inputs = X.loc[clips.index, COLUMNS["impression"]]
        fitted = LinearRegression().fit(inputs.iloc[train], clips["impression"].iloc[train])
        parts.append(pd.Series(fitted.predict(inputs.iloc[test]), index=clips.index[test]))
    expected = stats.spearmanr(clips["impression"], pd.concat(parts))[0]
    assert study.table("impression").loc["least squares", "U_SRCC"] == pytest.approx(expected, abs=1e-12)


def test_one_random_share_has_one_fold(clips, X, models):
    study = run_study(clips, X, models, "85/15", targets=["impression"])
    described = study.about["splits"]["85/15"]
    assert described["folds"] == 1
    assert described["targets"]["impression"]["clips"] == 9  # 15 % of 54 are 8.1, rounded up
    pooled, mean = (
        study.table("impression", kind).loc["least squares"] for kind in ("pooled", "mean of folds")
    )
    pd.testing.assert_series_equal(pooled, mean, rtol=1e-12)


def test_targets_are_chosen(clips, X, models):
    liked = clips.rename(columns={"alignment": "liking"})
    assert run_study(liked, X, models, n_splits=3, n_resamples=0).targets == ["impression"]
    assert run_study(liked, X, models, n_splits=3, n_resamples=0, targets=["liking"]).targets == ["liking"]


def test_without_systems_there_are_no_s_metrics(clips, X):
    for table in (clips.drop(columns="system"), clips.assign(system="")):
        study = run_study(table, X, {"least squares": LinearRegression()}, "random", targets=["impression"])
        row = study.table("impression").loc["least squares"]
        assert row[[name for name in METRICS if name[0] == "S"]].isna().all()
        assert np.isfinite(row[[name for name in METRICS if name[0] == "U"]]).all()
        assert "S metrics: not every clip names its system, so there are none." in str(study)


def test_about(by_system, clips):
    about = by_system.about
    split = about["splits"]["system"]
    assert split["shared_with_training"] == {"system": 0.0, "prompt": 1.0}
    assert split["targets"]["impression"] == {"clips": 54, "systems": N_SYSTEMS, "least_systems_in_a_fold": 3}
    assert about["versions"]["scikit-learn"] == sklearn.__version__
    assert about["models"]["least squares"] == "LinearRegression()"


def test_default_models_are_compared(clips, X, torch):
    study = run_study(clips, X, cv="system", n_splits=2, targets=["impression"])
    expected = [
        "global mean",
        "system mean",
        "prompt mean",
        "ridge",
        "SVR",
        "MOSRegressor (paper)",
        "MOSRegressor",
    ]
    assert list(study.table("impression").index) == expected


def test_errors(clips, X, models):
    with pytest.raises(
        ClipsTableError, match="the clips table has no scores; looked for impression, alignment"
    ):
        run_study(clips[["path", "prompt", "system"]], X, models)
    with pytest.raises(ClipsTableError, match="liking"):
        run_study(clips, X, models, targets=["liking"])
    with pytest.raises(ClipsTableError, match="no clip has both features and a score of 'impression'"):
        run_study(clips, X.rename("other {}".format), models)
    with pytest.raises(ValueError, match="unknown split 'by ear'"):
        run_study(clips, X, models, "by ear")
    with pytest.raises(ClipsTableError, match="clip ids repeat"):
        run_study(pd.concat([clips, clips[:1]]), X, models)
    with pytest.raises(ValueError, match="models must be an estimator, or a dict of some; got list"):
        run_study(clips, X, list(models.values()))
    with pytest.raises(
        ValueError, match=r"X has shape \(3, 2\); expected a DataFrame by clip id, or one row"
    ):
        run_study(clips, np.ones((3, 2)), models)


def test_a_splitter_that_asks_for_groups_is_given_the_systems(clips, X, models):
    found = run_study(clips, X, models, GroupKFold(2), targets="impression").predictions
    folds_of_systems = found["fold"].groupby(found["clip_id"].map(clips["system"])).nunique()
    assert (folds_of_systems == 1).all()


def test_features_of_a_clip_given_twice_are_refused(clips, X, models):
    with pytest.raises(ValueError, match="X repeats|clip ids repeat"):
        run_study(clips, pd.concat([X, X[:3]]), models, "random")


def test_models_that_are_none_are_refused(clips, X):
    with pytest.raises(ValueError, match="models must be an estimator, or a dict of some; got dict"):
        run_study(clips, X, {})
    with pytest.raises(
        ValueError, match="model 'r' is 'Ridge', which is no estimator; give one, such as Ridge"
    ):
        run_study(clips, X, {"r": "Ridge"})


def test_given_folds_have_a_short_name(clips, X):
    half = np.arange(len(clips)) < len(clips) // 2
    folds = [(np.flatnonzero(half), np.flatnonzero(~half)), (np.flatnonzero(~half), np.flatnonzero(half))]
    study = run_study(clips, X, {"ridge": Ridge()}, folds, n_resamples=0)
    assert study.splits == ["2 given folds"]
