"""Models of raters against computations of another kind."""

import contextlib
import io
import os
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from musiceval_sk import RatingDesignError, aggregate_ratings
from musiceval_sk.ratings.bias import fit_likelihood, fit_random_effects, rater_table


def simulate(rng, n_panels=2, n_items=20, n_raters=5, per_item=3, sd=0.8):
    """Panels that share nothing: numbers of items and raters, ratings, true qualities and true biases."""
    quality, bias = rng.normal(3, 0.7, n_panels * n_items), rng.normal(0, 0.6, n_panels * n_raters)
    drawn = [
        (item, panel * n_raters + rater)
        for panel in range(n_panels)
        for item in range(panel * n_items, (panel + 1) * n_items)
        for rater in rng.choice(n_raters, per_item, replace=False)
    ]
    items, raters = np.array(drawn).T
    return items, raters, quality[items] + bias[raters] + rng.normal(0, sd, len(items)), quality, bias


def solve_mixed_model(items, raters, y):
    """REML and best linear unbiased prediction with the whole covariance matrix of the ratings."""
    n, of_items, of_raters = len(y), np.eye(items.max() + 1)[items], np.eye(raters.max() + 1)[raters]
    one = np.ones((n, 1))

    def parts(logs):
        covariance = (
            np.eye(n) + np.exp(logs[0]) * of_items @ of_items.T + np.exp(logs[1]) * of_raters @ of_raters.T
        )
        inverse = np.linalg.inv(covariance)
        information = one.T @ inverse @ one
        projection = inverse - inverse @ one @ one.T @ inverse / information
        variance = y @ projection @ y / (n - 1)
        determinants = np.linalg.slogdet(covariance)[1] + np.log(information.item())
        return (n - 1) * np.log(variance) + determinants, projection, variance

    logs = optimize.minimize(lambda logs: parts(logs)[0], [0, 0], options={"gtol": 1e-8}).x
    _, projection, variance = parts(logs)
    item_ratio, rater_ratio = np.exp(logs)
    predict = rater_ratio * of_raters.T @ projection
    locate = of_items.T / of_items.sum(0)[:, None] @ (np.eye(n) - of_raters @ predict)

    def errors(of, ratios):
        """Standard deviation of ``of @ y`` less what it should be."""
        misses = locate @ of_items - np.eye(of_items.shape[1]) if of is locate else predict @ of_items
        raters = locate @ of_raters if of is locate else predict @ of_raters - np.eye(of_raters.shape[1])
        squares = ratios[0] * (misses**2).sum(1) + ratios[1] * (raters**2).sum(1) + (of**2).sum(1)
        return np.sqrt(variance * squares)

    return locate @ y, errors(locate, np.exp(logs)), predict @ y, errors(predict, np.exp(logs))


@pytest.mark.parametrize("n_panels", [1, 2])
def test_random_effects_are_those_of_the_whole_mixed_model(rng, n_panels):
    items, raters, y, _, _ = simulate(rng, n_panels)
    fit = fit_random_effects(items, raters, y, pd.Index(range(raters.max() + 1)))
    for found, expected in zip(fit[:4], solve_mixed_model(items, raters, y), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_random_effects_beat_the_mean_where_panels_share_nothing(rng):
    errors = []
    for _ in range(20):
        items, raters, y, quality, bias = simulate(rng, n_panels=4, n_items=30, n_raters=8, per_item=4)
        fit = fit_random_effects(items, raters, y, pd.Index(range(32)))
        mean = np.bincount(items, y) / np.bincount(items)
        assert np.corrcoef(fit.biases, bias)[0, 1] > 0.8
        errors.append([np.sqrt(np.mean((scores - quality) ** 2)) for scores in (mean, fit.scores)])
        assert 0.7 < errors[-1][1] / np.sqrt(np.mean(fit.score_errors**2)) < 1.4
    of_mean, of_fit = np.mean(errors, axis=0)
    assert of_fit < 0.93 * of_mean


def test_without_differences_of_raters_random_effects_are_the_mean(rng):
    items = np.repeat(np.arange(40), 5)
    raters = np.tile(np.arange(5), 40)
    y = np.repeat(rng.normal(3, 1, 40), 5) + rng.normal(0, 0.5, 200)
    y -= (np.bincount(raters, y) / 40)[raters]  # raters' means are the same
    fit = fit_random_effects(items, raters, y, pd.Index(list("abcde")))
    np.testing.assert_allclose(fit.scores, np.bincount(items, y) / 5, atol=1e-6)
    constant = fit_random_effects(items, raters, np.full(200, 3.0), pd.Index(list("abcde")))
    assert (
        (constant.scores == 3).all()
        and (constant.biases == 0).all()
        and np.isnan(constant.score_errors).all()
    )


def test_designs_of_one_rater_an_item_are_refused_by_all_models(rng):
    with pytest.raises(RatingDesignError, match="single rating"):
        fit_random_effects(np.arange(4), np.array([0, 0, 1, 1]), np.arange(4.0), pd.Index(["a", "b"]))
    items, raters, y, _, _ = simulate(rng)
    with pytest.raises(RatingDesignError, match=r"2 groups .*random_effects"):
        fit_likelihood(items, raters, y, pd.Index(range(10)))


@pytest.fixture
def uneven(rng):
    """One panel with missing ratings, whose raters' noise goes from 0.7 to 1.2."""
    given = rng.random((60, 16)) < 0.8
    y = (
        3
        + rng.normal(size=(60, 1))
        + rng.normal(0, 0.5, 16)
        + rng.normal(size=(60, 16)) * np.linspace(0.7, 1.2, 16)
    )
    items, raters = np.nonzero(given)
    return items, raters, y[given]


def test_the_likelihood_has_its_maximum_there(uneven):
    items, raters, y = uneven
    fit = fit_likelihood(items, raters, y, pd.Index(range(16)))

    def loss(x):
        scores, biases, logs = np.split(x, [60, 76])
        residuals = y - scores[items] - biases[raters]
        # The floor of the variances is that of sureal, 1e-8; it moves nothing here.
        return np.sum(logs[raters] + residuals**2 / (2 * np.exp(2 * logs[raters])))

    start = np.concatenate([fit.scores, fit.biases, np.log(fit.inconsistencies)])
    assert abs(optimize.approx_fprime(start, loss, 1e-6)).max() < 1e-2  # hundreds where it is off by 0.1
    free = optimize.minimize(loss, start + np.sin(np.arange(len(start))) * 0.05, options={"gtol": 1e-6}).x
    np.testing.assert_allclose(np.exp(free[76:]), fit.inconsistencies, atol=1e-4)
    np.testing.assert_allclose(free[:60] + free[60:76].mean(), fit.scores, atol=1e-4)


def test_maximum_likelihood_is_sureals(uneven):
    reading = pytest.importorskip("sureal.dataset_reader")
    models = pytest.importorskip("sureal.subjective_model")
    items, raters, y = uneven
    videos = [
        {
            "content_id": 0,
            "asset_id": item,
            "path": str(item),
            "os": {f"{r:02}": [s] for r, s in zip(raters[items == item], y[items == item], strict=True)},
        }
        for item in range(60)
    ]
    references = [{"content_id": 0, "content_name": "c", "path": "r"}]
    reader = reading.RawDatasetReader(types.SimpleNamespace(ref_videos=references, dis_videos=videos))
    with contextlib.redirect_stdout(io.StringIO()):
        model = models.MaximumLikelihoodEstimationModelContentObliviousAlternativeProjection(reader)
        theirs = model.run_modeling()
    fit = fit_likelihood(items, raters, y, pd.Index(range(16)))
    for ours, name in (
        (fit.scores, "quality_scores"),
        (fit.score_errors, "quality_scores_std"),
        (fit.biases, "observer_bias"),
        (fit.bias_errors, "observer_bias_std"),
        (fit.inconsistencies, "observer_inconsistency"),
    ):
        np.testing.assert_allclose(ours, theirs[name], atol=1e-6, err_msg=name)


def test_a_rater_taken_for_exact_is_warned_of():
    # Raters 0 and 1 agree but for their biases on all items, so their noise is nothing.
    items, raters = np.repeat(np.arange(8), 3), np.tile(np.arange(3), 8)
    y = np.array([[i % 4 + 1, i % 4 + 1.5, (5 * i) % 7] for i in range(8)], dtype=float).ravel()
    with pytest.warns(UserWarning, match=r"taken for exact: 2 raters of 3, a, b"):
        fit = fit_likelihood(items, raters, y, pd.Index(list("abc")))
    assert np.isnan(fit.score_errors).all() and fit.inconsistencies[2] > 1


def test_models_reach_aggregate_ratings_and_the_rater_table(rng):
    items, raters, y, _, _ = simulate(rng, n_items=40, per_item=4)
    table = pd.DataFrame({"rater": raters, "clip_id": items, "impression": y.clip(1, 5)})
    expected = fit_random_effects(items, raters, y.clip(1, 5), pd.Index(range(10)))
    scores = aggregate_ratings(table, method="random_effects")
    np.testing.assert_allclose(scores["impression"], expected.scores, atol=1e-6)
    np.testing.assert_allclose(scores["impression_se"], expected.score_errors, atol=1e-6)
    biases = rater_table(table, model="random_effects")["bias"]
    np.testing.assert_allclose(biases[[str(rater) for rater in range(10)]], expected.biases, atol=1e-6)
    assert "inconsistency" not in rater_table(table, model="random_effects")


def test_the_rater_table_tells_inconsistency(uneven):
    items, raters, y = uneven
    table = pd.DataFrame({"rater": raters, "clip_id": items, "impression": y})
    expected = fit_likelihood(items, raters, y, pd.Index(range(16))).inconsistencies
    found = rater_table(table, model="mle")["inconsistency"]
    np.testing.assert_allclose(found[[str(rater) for rater in range(16)]], expected)


def test_54040_ratings_go_through_maximum_likelihood():
    data = Path(os.environ.get("MUSICEVAL_TEST_DATA", "../shared/data")) / "vcc2018" / "ratings.csv.gz"
    if not data.exists():
        pytest.skip(f"no {data}")
    table = pd.read_csv(data)
    with pytest.warns(UserWarning, match="taken for exact"):
        scores = aggregate_ratings(table, targets=["score"], method="mle")
    assert len(scores) == 13580 and scores["score"].notna().all()
