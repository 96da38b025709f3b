"""Recalibration: level and slope of other raters from few clips, whether it helped, and the model that comes of it."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from typer.testing import CliRunner

from musiceval_sk import (
    ClipEmbedder,
    ClipsTableError,
    MOSRegressor,
    SkippedWarning,
    TrainingDomain,
    load_model,
    predict_clips,
    recalibrate,
    save_model,
)
from musiceval_sk.cli.app import app
from musiceval_sk.estimators.lookup import scaled
from musiceval_sk.scoring.recalibration import RatedTarget

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*lie outside the scores of training:UserWarning"),
    pytest.mark.filterwarnings("ignore:recalibration made .* worse:UserWarning"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("recalibration")


@pytest.fixture(scope="module")
def test(folder):
    from musiceval_sk import make_listening_test

    return make_listening_test(folder / "test", n_systems=8, n_prompts=5, n_raters=6, seconds=1.0)


@pytest.fixture(scope="module")
def cache(folder):
    return folder / "embeddings.h5"


@pytest.fixture(scope="module")
def scores(test):
    return test.ratings.groupby("clip_id")[["impression", "alignment"]].mean().loc[test.clips.index]


@pytest.fixture(scope="module")
def model(test, cache, scores, folder):
    embedder = ClipEmbedder("spectral", cache=str(cache)).set_output(transform="pandas")
    model = scaled(embedder, TrainingDomain(), Ridge(alpha=100.0)).fit(test.clips, scores)
    return save_model(model, folder / "m.skops", about={"targets": ["impression", "alignment"]})


def elsewhere(scores, rng):
    """Other raters: 0 to 100, less for all, and half the differences."""
    moved = 30 + 12 * (scores - 3) + rng.normal(0, 3, scores.shape)
    return moved.clip(0, 100)


def test_another_scale_and_lab_are_met(model, test, cache, scores, rng):
    other = elsewhere(scores, rng)
    found = recalibrate(model, test.clips, other, scale=(0, 100), training_scale=(1, 5), cache=cache)
    assert list(found.table.index) == ["impression", "alignment"]
    assert (found.table["verdict"] == "helped").all() and (found.table["high"] < 0).all()
    assert (found.table["mse_after"] < found.table["mse_before"] / 2).all()
    before = predict_clips(model, test.clips, cache=cache).clips
    after = predict_clips(found.model, test.clips, cache=cache).clips
    for target, row in found.table.iterrows():
        mapped = 25 * (before[target] - 1)  # 1 to 5 as 0 to 100
        expected = mapped.mean() + row["level"] + row["slope"] * (mapped - mapped.mean())
        np.testing.assert_allclose(after[target], expected, rtol=1e-5)
        assert abs((after[target] - other[target]).mean()) < 2
        assert after[target].rank().equals(before[target].rank())


def test_a_saved_one_predicts_alike_with_intervals_on_the_raters_scale(
    model, test, cache, scores, rng, tmp_path
):
    found = recalibrate(
        model, test.clips, elsewhere(scores, rng), scale=(0, 100), training_scale=(1, 5), cache=cache
    )
    path = found.save(tmp_path / "r.skops")
    predictions = predict_clips(path, test.clips, cache=cache)
    pd.testing.assert_frame_equal(
        predictions.clips, predict_clips(found.model, test.clips, cache=cache).clips
    )
    low, high = (predictions.systems[f"impression_raters_{end}"] for end in ("low", "high"))
    assert ((low >= 0) & (high <= 100) & (high - low > 1)).all() and "0 to 100" in str(predictions)
    again = recalibrate(path, test.clips, elsewhere(scores, rng), scale=(0, 100), cache=cache)
    assert type(again.model[-1].regressor) is Ridge and (again.table["slope"] - 1).abs().max() < 0.3
    assert load_model(again.save(tmp_path / "twice.skops"))[-1].scale == (0, 100)


def test_a_recalibration_is_the_same_by_two_processes(model, test, scores, tmp_path):
    one, two = (
        recalibrate(model, test.clips[:10], scores[:10], cache=tmp_path / f"{n_jobs}.h5", n_jobs=n_jobs)
        for n_jobs in (1, 2)
    )
    pd.testing.assert_frame_equal(one.table, two.table, check_exact=True)


def test_a_scale_that_the_scores_hardly_use_is_doubted(model, test, cache, scores):
    with pytest.warns(UserWarning, match=r"in a small part of the scale 0 to 100.* give scale= \(--scale\)"):
        recalibrate(model, test.clips, scores, scale=(0, 100), training_scale=(1, 5), cache=cache)


def test_single_ratings_and_scores_in_the_table_are_the_same(model, test, cache, scores):
    single = recalibrate(model, test.clips, test.ratings, cache=cache).table
    table = recalibrate(model, test.clips.join(scores), cache=cache).table
    pd.testing.assert_frame_equal(single, table)
    file = recalibrate(model, test.clips, test.folder / "ratings.csv", cache=cache).table
    pd.testing.assert_frame_equal(single, file)


def test_targets_without_ratings_stay_as_they_were(model, test, cache, scores):
    found = recalibrate(
        model, test.clips, scores["impression"] - 0.5, scale=(-1, 5), training_scale=(1, 5), cache=cache
    )
    assert list(found.table.index) == ["impression"] and "assessment" not in found.about
    before, after = (predict_clips(one, test.clips, cache=cache).clips for one in (model, found.model))
    np.testing.assert_allclose(after["alignment"], -1 + 1.5 * (before["alignment"] - 1), rtol=1e-5)


@pytest.mark.filterwarnings(
    "ignore:training reached max_iter", "ignore:.*lie off the raters' scale:UserWarning"
)
def test_members_keep_their_spread(test, cache, scores, torch):
    embedder = ClipEmbedder("spectral", cache=str(cache)).set_output(transform="pandas")
    regressor = MOSRegressor((8,), n_ensemble=3, max_iter=30, random_state=0)
    model = scaled(embedder, regressor).fit(test.clips, scores)
    found = recalibrate(model, test.clips, scores * 10, scale=(10, 50), cache=cache)
    before, after = (predict_clips(one, test.clips, cache=cache).clips for one in (model, found.model))
    slope = found.model[-1].slope[0]
    np.testing.assert_allclose(after["impression_spread"], slope * before["impression_spread"], rtol=1e-5)
    assert found.model[-1].target_range_[0, 1] > 10


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda scores: scores[:4], "4 clips are rated by impression"),
        (lambda scores: scores + 1, "off the scale 1 to 5"),
        (
            lambda scores: scores.set_axis([f"x{i}" for i in range(len(scores))]),
            "no clip of the table is rated",
        ),
        (lambda scores: scores.rename(columns=str.upper), "none of the model's targets is rated"),
        (lambda scores: pd.concat([scores, scores]), "clip ids repeat"),
    ],
)
@pytest.mark.filterwarnings("ignore:left out")
def test_what_cannot_be_fitted_is_told(model, test, cache, scores, change, message):
    with pytest.raises(ClipsTableError, match=message):
        recalibrate(model, test.clips, change(scores), cache=cache)


def test_five_clips_of_one_system(model, test, cache, scores):
    few = test.clips[test.clips["system"] == "S01"]
    with (
        pytest.warns(SkippedWarning, match="left out 35 clips without ratings"),
        pytest.warns(UserWarning, match="recalibration made alignment worse: by 0.0"),
    ):
        found = recalibrate(model, test.clips, scores.loc[few.index], cache=cache)
    assert found.table["clips"].tolist() == [5, 5] and found.table["systems"].tolist() == [1, 1]
    assert "nothing is known of other systems" in str(found) and "assessment" not in found.about
    nameless = recalibrate(model, few.drop(columns="system"), scores, cache=cache)
    assert nameless.table["systems"].tolist() == [0, 0]


def test_a_model_that_ranks_the_wrong_way_is_pointed_out(model, test, cache, scores):
    with pytest.warns(UserWarning, match="ranks these clips the wrong way by impression"):
        found = recalibrate(model, test.clips, 6 - scores[["impression"]], cache=cache)
    assert found.table.loc["impression", "slope"] == 0


def test_whole_systems_are_left_out(rng):
    """A system's own level, which the others lack, is not learnt from its other clips."""
    systems = pd.Series(np.repeat(list("abc"), 10))
    x = pd.Series(rng.normal(3, 0.5, 30))
    y = x + systems.map({"a": -1.0, "b": 0.0, "c": 1.0})
    found = RatedTarget(x, y, systems, (1, 5))
    assert found.residuals.groupby(systems).mean().abs().max() > 0.9
    assert found.row()["verdict"] != "helped"


def test_the_command(model, test, cache, scores, rng, tmp_path):
    clips = test.clips.join(elsewhere(scores, rng)).rename_axis("clip_id")
    clips.to_csv(tmp_path / "rated.csv")
    command = [
        "recalibrate",
        model,
        tmp_path / "rated.csv",
        *("--scale", 0, 100, "--training-scale", 1, 5),
        "--cache",
        cache,
        "--out",
        tmp_path / "r.skops",
    ]
    result = CliRunner().invoke(app, list(map(str, command)))
    assert result.exit_code == 0, result.output
    assert "helped" in result.stdout and "brought to the raters' scale: -25 + 25 times each" in result.stdout
    command = [
        "predict",
        tmp_path / "r.skops",
        tmp_path / "rated.csv",
        "--cache",
        cache,
        "--out",
        tmp_path / "p.csv",
    ]
    result = CliRunner().invoke(app, list(map(str, command)))
    assert result.exit_code == 0, result.output
    written = pd.read_csv(tmp_path / "p.csv", index_col="clip_id")
    expected = load_model(tmp_path / "r.skops").predict(test.clips)
    np.testing.assert_allclose(written[["impression", "alignment"]], expected, atol=1e-4)
    assert (written["impression"] - clips["impression"]).mean() == pytest.approx(0, abs=2)
