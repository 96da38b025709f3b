"""What training had is near, what it had not is far, and the yardstick is honest about new systems."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.utils.estimator_checks import parametrize_with_checks

from musiceval_sk import TrainingDomain, load_model, save_model
from musiceval_sk.estimators.lookup import scaled


@parametrize_with_checks([TrainingDomain()])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def systems_of_clips(rng, n_systems, n_clips, between=1.0, n_features=6):
    """Clips around the centres of systems; centres and clips normal."""
    centres = rng.normal(size=(n_systems, n_features)) * between
    values = np.repeat(centres, n_clips, axis=0) + rng.normal(size=(n_systems * n_clips, n_features))
    names = [f"audio_{i}" for i in range(n_features)]
    X = pd.DataFrame(values, columns=names, index=[f"clip{i}" for i in range(len(values))])
    return X, np.repeat(np.arange(n_systems), n_clips)


def test_distance_is_the_mean_over_the_nearest_by_hand():
    # Standard deviation of 0, 1, 2, 3, 4 is sqrt(2): 10 lies 6 / sqrt(2) and 7 / sqrt(2) from the nearest two.
    domain = TrainingDomain(n_neighbors=2).fit([[0.0], [1.0], [2.0], [3.0], [4.0]])
    found = domain.measure([[10.0], [2.0]])
    assert found["features_distance"].to_numpy() == pytest.approx([6.5 / np.sqrt(2), 0.5 / np.sqrt(2)])
    # Left out, the inner three have neighbours at 1 and 1, the ends at 1 and 2.
    assert domain.reference_["features"]["distances"] == pytest.approx(
        np.array([1, 1, 1, 1.5, 1.5]) / np.sqrt(2)
    )
    assert found["features_percentile"].tolist() == [100.0, 0.0]
    # p = 1 / 6 at best: with five clips nothing is ever in the farthest twentieth.
    assert found["features_far"].tolist() == [False, False]


def test_groups_are_left_out_whole_by_hand():
    # Two systems, at 0, 1 and at 10, 11: without its own system each clip's nearest is 9, 10 (for 1), 10, 11 (for 0) away.
    domain = TrainingDomain(n_neighbors=2).fit([[0.0], [1.0], [10.0], [11.0]], groups=["a", "a", "b", "b"])
    reference = domain.reference_["features"]
    scale = np.std([0.0, 1.0, 10.0, 11.0])
    assert reference["distances"] * scale == pytest.approx([9.5, 9.5, 10.5, 10.5], rel=1e-6)
    assert reference["medians"] * scale == pytest.approx([10.0, 10.0], rel=1e-6)


def test_clips_of_a_new_system_of_the_same_kind_are_far_at_the_nominal_rate(rng):
    rates, unaware = [], []
    for _ in range(25):
        X, systems = systems_of_clips(rng, 25, 8)
        old, new = X[systems < 20], X[systems >= 20]
        rates.append(TrainingDomain().fit(old, groups=systems[systems < 20]).measure(new)["sound_far"].mean())
        unaware.append(TrainingDomain().fit(old).measure(new)["sound_far"].mean())
    # Of 25 x 5 independent systems; the standard error is about 0.009. Leaving out single clips flatters the yardstick.
    assert 0.02 < np.mean(rates) < 0.075
    assert np.mean(unaware) > np.mean(rates) + 0.02


def test_far_clips_are_far(rng):
    X, systems = systems_of_clips(rng, 20, 8)
    found = TrainingDomain().fit(X, groups=systems).measure(X + 8)
    assert found["sound_far"].all() and (found["sound_percentile"] == 100).all()
    assert list(found.index) == list(X.index)


def test_sound_and_prompt_are_measured_apart_and_prompts_one_by_one(rng):
    X, systems = systems_of_clips(rng, 6, 10)
    prompts = np.tile(rng.normal(size=(10, 3)), (6, 1))
    table = X.join(pd.DataFrame(prompts, columns=["text_0", "text_1", "text_2"], index=X.index))
    domain = TrainingDomain().fit(table, groups=systems)
    assert len(domain.reference_["prompt"]["rows"]) == 10 and len(domain.reference_["sound"]["rows"]) == 60
    assert "medians" not in domain.reference_["prompt"]
    moved = table.assign(text_0=table["text_0"] + 50)
    found = domain.measure(moved)
    assert (found["prompt_percentile"] == 100).all()
    assert found["sound_distance"].equals(domain.measure(table)["sound_distance"])


def test_one_prompt_for_all_says_nothing_of_prompts(rng):
    X, systems = systems_of_clips(rng, 4, 10)
    found = TrainingDomain().fit(X.assign(text_0=1.0), groups=systems).measure(X.assign(text_0=2.0))
    assert found["prompt_percentile"].isna().all() and not found["prompt_far"].any()


def test_a_column_that_never_varied_tells_too(rng):
    X, systems = systems_of_clips(rng, 20, 5)
    domain = TrainingDomain().fit(X.assign(audio_9=0.5), groups=systems)
    assert not domain.measure(X.assign(audio_9=0.5))["sound_far"].any()
    assert domain.measure(X.assign(audio_9=20.0))["sound_far"].all()


def test_more_clips_than_are_kept(rng):
    X, systems = systems_of_clips(rng, 30, 10)
    domain = TrainingDomain(max_clips=100, random_state=3).fit(X, groups=systems)
    assert len(domain.reference_["sound"]["rows"]) == 100
    again = clone(domain).fit(X, groups=systems)
    assert again.measure(X).equals(domain.measure(X))


def test_it_lets_tables_through_a_pipeline_and_comes_back_from_a_file_to_the_bit(rng, tmp_path):
    X, systems = systems_of_clips(rng, 5, 6)
    X.attrs["encoder_fingerprint"] = "abc"
    y = X["audio_0"].rename("impression")
    model = scaled(TrainingDomain(), Ridge()).fit(X, y, trainingdomain__groups=systems)
    assert model[0].transform(X) is X
    assert np.array_equal(model.predict(X), scaled(Ridge()).fit(X, y).predict(X))
    loaded = load_model(save_model(model, tmp_path / "m.skops"))
    assert loaded[0].measure(X).equals(model[0].measure(X))


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"n_neighbors": 0}, r"'n_neighbors' .* must be an int in the range \[1, inf\). Got 0"),
        ({"n_neighbors": "10"}, "'n_neighbors' .* Got '10'"),
        ({"level": 1.0}, r"'level' .* \(0.0, 1.0\). Got 1.0"),
        ({"max_clips": 2}, r"'max_clips' .* \[3, inf\). Got 2"),
    ],
)
def test_wrong_parameters(parameters, words, rng):
    with pytest.raises(ValueError, match=words):
        TrainingDomain(**parameters).fit(rng.normal(size=(10, 2)))


def test_wrong_data(rng):
    with pytest.raises(ValueError, match=r"groups has shape \(3,\); expected \(10,\)"):
        TrainingDomain().fit(rng.normal(size=(10, 2)), groups=[1, 2, 3])
    with pytest.raises(ValueError, match="has None, nan or an empty text in rows: 9"):
        TrainingDomain().fit(rng.normal(size=(10, 2)), groups=[*"aabbccdde", None])
    with pytest.raises(ValueError, match="found 1 different clips, but it takes at least 3"):
        TrainingDomain().fit(np.ones((10, 2)))


def test_a_failed_refit_leaves_the_old_fit_or_none(rng):
    X = rng.normal(size=(10, 2))
    old, new = TrainingDomain().fit(X), TrainingDomain()
    before = old.measure(X)
    for domain in (old, new):
        with pytest.raises(ValueError, match="different clips"):
            domain.fit(np.ones((10, 3)))
    pd.testing.assert_frame_equal(old.measure(X), before)
    assert not [name for name in vars(new) if name.endswith("_")]
