"""Models and screening against the numbers that sureal publishes of its own data sets (published/README.md)."""

import contextlib
import io
import json
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from musiceval_sk import aggregate_ratings, screen_ratings
from musiceval_sk.ratings.bias import fit_bias, fit_likelihood, rater_table
from musiceval_sk.ratings.formats import read_ratings
from musiceval_sk.ratings.recommendations import BT500Screening
from musiceval_sk.ratings.strengths import fit_strengths

PUBLISHED = Path(__file__).parent / "published"
NFLX, SAMPLE = "NFLX_dataset_public_raw.json", "sample_data.csv"
# Contents 5 and 7 are left out but for one reference, and content 0 is left out whole.
PARTIAL = [n for n in range(79) if n not in {0, 5, *range(9, 19), *range(50, 56), *range(63, 73)}]


def read(name):
    """Scores of a set, [shape=(79, 26)]."""
    table, scores = read_ratings(PUBLISHED / name), np.full((79, 26), np.nan)
    scores[pd.factorize(table["clip_id"])[0], pd.factorize(table["rater"])[0]] = table["impression"]
    return scores


def fit(scores, model=fit_likelihood):
    items, raters = np.nonzero(~np.isnan(scores))
    return model(items, raters, scores[items, raters], pd.Index(range(scores.shape[1])))


def shuffled(scores):
    """Scores of which those of the first five raters are shuffled, as `CorruptSubjectRawDatasetReader` does it."""
    random, scores = np.random.RandomState(0), scores.copy()
    for rater in range(5):
        random.shuffle(scores[:, rater])
    return scores


def with_missing(scores, share):
    return np.where(np.random.RandomState(0).uniform(size=scores.shape) <= share, np.nan, scores)


def simulated(scores):
    random = np.random.RandomState(0)
    quality, bias, sd = random.uniform(1, 5, 79), random.normal(0, 1, 26), random.uniform(0.4, 0.6, 26)
    return quality[:, None] + bias + random.normal(0, 1, scores.shape) * sd


@pytest.mark.parametrize("name", [NFLX, SAMPLE])
def test_maximum_likelihood_is_as_published(name):
    published = json.loads((PUBLISHED / "maximum_likelihood.json").read_text())[name]
    scores = aggregate_ratings(PUBLISHED / name, method="mle")["impression"]
    np.testing.assert_allclose(
        scores[read_ratings(PUBLISHED / name)["clip_id"].unique()], published["scores"], atol=1e-6
    )
    raters = rater_table(read_ratings(PUBLISHED / name), model="mle")
    np.testing.assert_allclose(raters["bias"], published["biases"], atol=1e-6)
    np.testing.assert_allclose(raters["inconsistency"], published["inconsistencies"], atol=1e-6)


# Sum and variance of biases, sum and variance of inconsistencies, sum and variance of scores. Theirs leave the level of the biases free.
SUMS = {
    "whole": (lambda s: s, -0.090840910829, 0.089032585621, 15.681766163431, 0.012565584833, 280.314478152136, 1.435548546203),
    "partial": (lambda s: s[PARTIAL], -0.038360699966, 0.095605013092, 15.810305726813, 0.014607671806, 177.921399834548, 1.483061044269),
    "1 in 10 missing": (lambda s: with_missing(s, 0.1), -0.185040179842, 0.087350553292, 15.520738471447, 0.010940587327, 279.949752748639, 1.432557437891),
    "half missing": (lambda s: with_missing(s, 0.5), 0.057731868199, 0.081341845651, 14.996238224490, 0.013666025579, 280.671008371032, 1.463791751277),
    "simulated": (simulated, -0.901386224999, 0.848191627654, 12.742288471633, 0.004763816960, 236.785292135811, 1.305972613229),
}  # fmt: skip


@pytest.mark.parametrize("name", SUMS)
def test_sums_of_maximum_likelihood_are_as_published(name):
    change, of_biases, *expected = SUMS[name]
    scores = change(read(NFLX))
    found = fit(scores)
    values = [
        found.biases.var(),
        found.inconsistencies.sum(),
        found.inconsistencies.var(),
        found.scores.sum() - len(scores) * of_biases / 26,
        found.scores.var(),
    ]
    np.testing.assert_allclose(values, expected, atol=5e-5)


def test_means_and_least_squares_are_as_published():
    scores = read(NFLX)
    means = aggregate_ratings(PUBLISHED / NFLX, method="mean")
    assert means["impression"].mean() == pytest.approx(3.544790652385589, abs=1e-6)
    assert means["impression_se"].mean() == pytest.approx(0.12986637295658307, abs=1e-6)
    found = fit(scores, fit_bias)
    assert found.scores.sum() == pytest.approx(280.03846153847428, abs=1e-6)
    assert found.scores.var() == pytest.approx(1.4012220200638821, abs=1e-6)
    assert found.biases.var() == pytest.approx(0.089032585621522581, abs=1e-6)
    of_78, with_shuffled = fit(scores[:78]), fit(shuffled(scores))
    assert of_78.scores[[0, -1]] == pytest.approx([4.919299145524252, 4.253960932963961], abs=1e-6)
    assert with_shuffled.scores.var() == pytest.approx(1.3559834438740614, abs=5e-5)


def screened(scores, bias_removed):
    """Who is left out, and means of the others."""
    scores = scores - fit(scores, fit_bias).biases * bias_removed
    items, raters = np.indices(scores.shape).reshape(2, -1)
    table = pd.DataFrame(
        {"rater": [f"R{r:02}" for r in raters], "clip_id": items, "impression": scores.ravel()}
    )
    found = screen_ratings(table, [BT500Screening(ddof=0)], scale=None)
    of_clips = found.kept.groupby(found.kept["clip_id"].astype(int))["impression"].mean()
    return sorted(found.left_out["rater"].unique()), of_clips.to_numpy()


@pytest.mark.parametrize(
    "bias_removed, left_out, mean, variance",
    [(False, ["R00", "R01"], 3.5611814345991566, 1.1049505732699529), (True, ["R01", "R02"], 3.5447906523855885, 1.09500013352561)],
)  # fmt: skip
def test_bt500_is_as_published(bias_removed, left_out, mean, variance):
    scores = shuffled(read(NFLX))
    assert scores.mean(axis=1).var() == pytest.approx(0.95893305294535369, abs=1e-8)
    found, means = screened(scores, bias_removed)
    assert found == left_out
    assert [means.mean(), means.var()] == pytest.approx([mean, variance], abs=1e-8)


@pytest.mark.parametrize(
    "bias_removed, first, last_but_one",
    [(False, 1.3333333333333333, 4.555555555555555), (True, 1.3430848570089073, 4.454195968120018)],
)
def test_bt500_with_four_outliers_is_as_published(bias_removed, first, last_but_one):
    four = pd.read_csv(PUBLISHED / "last4outliers.csv", index_col="asset_id")
    found, means = screened(np.column_stack([read(NFLX)[four.index], four]), bias_removed)
    assert means[[0, -2]] == pytest.approx([first, last_but_one], abs=1e-8), found


def test_three_videos_with_names_of_raters_are_as_published(tmp_path):
    given = [(3, 4, 1), (2, 1, 3), (4, 1, 3)]
    videos = [
        {"asset_id": n, "content_id": n % 2, "path": f"baz{n + 1}.png", "os": dict(zip(["Tom", "Jerry", "Pinokio"], os, strict=True))}
        for n, os in enumerate(given)
    ]  # fmt: skip
    references = [
        {"content_id": n, "content_name": name, "path": f"{name}.png"}
        for n, name in enumerate(["foo", "bar"])
    ]
    (tmp_path / "set.json").write_text(json.dumps({"ref_videos": references, "dis_videos": videos}))
    with pytest.warns(UserWarning, match="taken for exact"):
        scores = aggregate_ratings(tmp_path / "set.json", method="mle")["impression"]
    assert scores[["baz1.png", "baz2.png"]].tolist() == pytest.approx(
        [2.444444443373016, 1.44444445515873], abs=1e-6
    )


def test_strengths_are_as_published():
    scores = read(NFLX)
    lead = np.sign(scores[:, None] - scores)
    won = ((lead + 1) / 2).sum(axis=2) * (1 - np.eye(79))
    strengths = fit_strengths(won).values
    # Theirs stop where probabilities change by less than 1e-8.
    assert strengths.var() == pytest.approx(4.286932098917939, abs=5e-5)
    assert stats.kurtosis(strengths) == pytest.approx(-0.6783168176396557, abs=5e-5)


def of_sureal(scores):
    """Results of sureal itself of scores, [shape=(n, raters, repeats)]."""
    reading = pytest.importorskip("sureal.dataset_reader")
    models = pytest.importorskip("sureal.subjective_model")
    reference = {"content_id": 0, "content_name": "c", "path": "r"}
    videos = [
        {"content_id": 0, "asset_id": n, "path": str(n), "os": given.tolist()}
        for n, given in enumerate(scores)
    ]
    reader = reading.RawDatasetReader(types.SimpleNamespace(ref_videos=[reference], dis_videos=videos))
    with contextlib.redirect_stdout(io.StringIO()):
        return models.MaximumLikelihoodEstimationModelContentObliviousAlternativeProjection(
            reader
        ).run_modeling()


@pytest.mark.parametrize("name", ["whole", "partial", "half missing", "simulated", "sample", "repeated"])
def test_everything_is_as_sureal_computes_it(name):
    scores = SUMS[name][0](read(NFLX)) if name in SUMS else read(SAMPLE)
    scores = scores[..., None]
    if name == "repeated":  # as small_sample_data.csv
        scores = np.repeat(scores[:30, :20], 2, axis=2)
        scores[[0, 4], [1, 2]] = np.nan
        scores[:10, 5, 1] = 6 - scores[:10, 5, 1]
    theirs = of_sureal(scores)
    items, raters, _ = places = np.nonzero(~np.isnan(scores))
    ours = fit_likelihood(items, raters, scores[places], pd.Index(range(scores.shape[1])))
    for found, key in (
        (ours.scores, "quality_scores"),
        (ours.score_errors, "quality_scores_std"),
        (ours.biases, "observer_bias"),
        (ours.bias_errors, "observer_bias_std"),
        (ours.inconsistencies, "observer_inconsistency"),
    ):
        np.testing.assert_allclose(found, theirs[key], atol=1e-6, err_msg=key)
