import numpy as np
import pandas as pd
import pytest

from musiceval_sk import ClipsTableError, RatingDesignError, SkippedWarning, aggregate_ratings
from musiceval_sk.ratings.bias import fit_bias


def one_clip(*scores):
    return pd.DataFrame({"rater": range(len(scores)), "clip_id": "x", "impression": scores})


def test_median():
    scores = aggregate_ratings(
        pd.concat([one_clip(1, 5, 4), one_clip(2, 3).assign(clip_id="y")]), method="median"
    )
    assert scores["impression"].to_dict() == {"x": 4, "y": 2.5}


def test_error_of_a_median_is_that_of_all_resamples():
    # For an odd number Maritz and Jarrett's is the bootstrap's, exactly: the median of each of 5**5 resamples.
    values = np.array([1, 2, 2, 4, 5])
    resamples = values[np.stack(np.meshgrid(*[range(5)] * 5)).reshape(5, -1)]
    expected = np.median(resamples, axis=0).std()
    found = aggregate_ratings(one_clip(*values), method="median")["impression_se"].item()
    assert found == pytest.approx(expected)


def test_trimmed_mean():
    # Without 1 and 5: (2 + 2 + 4) / 3. Winsorised 2, 2, 2, 4, 4: mean 2.8, variance (3 * .64 + 2 * 1.44) / 4 = 1.2;
    # error sqrt(1.2) * sqrt(5) / 3.
    scores = aggregate_ratings(one_clip(1, 2, 2, 4, 5), method="trimmed")
    assert scores["impression"].item() == pytest.approx(8 / 3)
    assert scores["impression_se"].item() == pytest.approx(np.sqrt(6) / 3)
    assert scores["impression_count"].item() == 5


def test_trimmed_mean_is_scipys(rng):
    from scipy.stats import trim_mean

    ratings = pd.DataFrame({"clip_id": rng.integers(0, 20, 300), "impression": rng.normal(size=300)})
    found = aggregate_ratings(ratings, method="trimmed", trim=0.15, rater=None, scale=None)["impression"]
    expected = ratings.groupby(ratings["clip_id"].astype(str))["impression"].agg(trim_mean, 0.15)
    assert found.to_dict() == pytest.approx(expected.to_dict())


def test_normalised_raters_keep_mean_and_spread_of_all_ratings():
    # A 1, 2, 3 and B 3, 4, 5 on the same clips: each becomes z = -1.22, 0, 1.22; all ratings have mean 3, sd sqrt(10/6).
    ratings = pd.DataFrame(
        {"rater": list("AAABBB"), "clip_id": list("xyzxyz"), "impression": [1, 2, 3, 3, 4, 5]}
    )
    scores = aggregate_ratings(ratings, method="zscore")
    step = np.sqrt(1.5) * np.sqrt(10 / 6)
    assert scores["impression"].tolist() == pytest.approx([3 - step, 3, 3 + step])
    assert (
        scores["impression_se"].isna().all()
    )  # raters who agree exactly once rescaled do not tell the noise


def crossed(*raters):
    clips = [f"c{n}" for scores in raters for n in range(len(scores))]
    names = [f"R{n}" for n, scores in enumerate(raters) for _ in scores]
    return pd.DataFrame({"rater": names, "clip_id": clips, "impression": np.concatenate(raters)})


def test_error_of_normalised_scores_counts_what_was_estimated_for_each_rater():
    # R0 1, 2, 3 is z = -g, 0, g and R1 1, 3, 2 is -g, g, 0, g = sqrt(1.5); all have spread sqrt(2/3) = 1/g: scores as before.
    # c1: 2, 3 and c2: 3, 2, squared errors of the mean .25; sums of squares .5 + .5 over (3 - 2)(2 - 1) = 1 degree of freedom
    # make v = 1, and 2 v / N = 1 / 3 is added.
    errors = aggregate_ratings(crossed([1, 2, 3], [1, 3, 2]), method="zscore")["impression_se"]
    assert errors.tolist() == pytest.approx(np.sqrt([1 / 3, 1 / 4 + 1 / 3, 1 / 4 + 1 / 3]))
    # Two clips are z = -1, 1 whatever was heard: (2 - 2)(raters - 1) degrees of freedom.
    for other in ([4, 1], [1, 4], [2, 3]):
        assert aggregate_ratings(crossed([5, 2], other), method="zscore")["impression_se"].isna().all()


def test_error_of_the_bias_model_on_two_clips_and_raters():
    # (2 - 1)(2 - 1) = 1 degree of freedom. Both raters have mean 3.5, so no bias; clips are 4.5 and 2.5, residuals
    # +-.5, their squares' sum 1 = v; each clip has variance v / 2.
    errors = aggregate_ratings(crossed([5, 2], [4, 3]), method="bias")["impression_se"]
    assert errors.tolist() == pytest.approx(np.sqrt([1 / 2, 1 / 2]))
    # A fit without residuals leaves nothing to tell the noise by.
    assert aggregate_ratings(crossed([5, 2], [4, 1]), method="bias")["impression_se"].isna().all()


@pytest.mark.parametrize("method", ["zscore", "bias"])
@pytest.mark.slow
def test_errors_of_models_of_raters_are_those_of_repeated_tests(rng, method):
    quality, bias = rng.normal(size=(20, 1)), 0.5 * rng.normal(size=5)
    found = [
        aggregate_ratings(
            crossed(*(quality + bias + 0.8 * rng.normal(size=(20, 5))).T), method=method, scale=None
        )
        for _ in range(100)
    ]
    true = np.var([scores["impression"] for scores in found], axis=0, ddof=1).mean()
    ratio = np.sqrt(np.mean([scores["impression_se"] ** 2 for scores in found]) / true)
    # 100 repeats of 20 clips: the ratio's own standard error is about 1 / sqrt(2 * 2000) = 1.6 %.
    assert 0.95 < ratio < 1.07


def test_raters_without_spread_are_left_out_of_normalising_and_named():
    ratings = pd.DataFrame({"rater": list("AABBC"), "clip_id": list("xyxyx"), "impression": [1, 3, 4, 4, 2]})
    with pytest.warns(SkippedWarning, match="left out 3 ratings of impression by 2 raters .* B, C") as caught:
        scores = aggregate_ratings(ratings, method="zscore")
    assert caught[0].filename == __file__
    assert scores["impression"].to_dict() == {"x": 1, "y": 3}
    with pytest.raises(RatingDesignError, match="no rater gave two different scores"):
        aggregate_ratings(ratings[2:], method="zscore")


def test_bias_model_by_dense_least_squares(rng):
    items, raters = np.repeat(np.arange(30), 3), rng.integers(0, 6, 90)
    scores = rng.normal(size=90)
    fit = fit_bias(items, raters, scores, pd.Index(range(6)))
    # The last rater's bias is minus the sum of the others'.
    design = np.hstack([np.eye(30)[items], np.eye(6)[raters][:, :5] - np.eye(6)[raters][:, 5:]])
    expected, *_ = np.linalg.lstsq(design, scores, rcond=None)
    sigma2 = ((scores - design @ expected) ** 2).sum() / (90 - 35)
    errors = np.sqrt(sigma2 * np.diag(np.linalg.inv(design.T @ design)))
    np.testing.assert_allclose(fit.scores, expected[:30], atol=1e-10)
    np.testing.assert_allclose(fit.biases, [*expected[30:], -expected[30:].sum()], atol=1e-10)
    np.testing.assert_allclose(fit.score_errors, errors[:30], atol=1e-10)
    np.testing.assert_allclose(fit.bias_errors[:5], errors[30:], atol=1e-10)
    assert fit.degrees_of_freedom == 55


def test_bias_model_undoes_who_rated_what():
    # Truth x 2, y 3, z 4; harsh A (-1) heard x, y; mild B (+1) y, z. Means would call x 1 and z 5.
    ratings = pd.DataFrame({"rater": list("AABB"), "clip_id": list("xyyz"), "impression": [1, 2, 4, 5]})
    scores = aggregate_ratings(ratings, method="bias")
    assert scores["impression"].tolist() == pytest.approx([2, 3, 4])
    assert scores["impression_se"].isna().all()  # 4 ratings, 3 items and 1 free bias: no residual


def test_an_unrated_clip_has_no_biased_score_either():
    ratings = pd.DataFrame(
        {"rater": list("ABABA"), "clip_id": list("xxyyz"), "impression": [1, 2, 3, 5, None]}
    )
    scores = aggregate_ratings(ratings, method="bias")
    assert scores["impression_count"].tolist() == [2, 2, 0]
    assert np.isnan(scores.loc["z", "impression"])


@pytest.mark.parametrize(
    "raters, clips, words",
    [
        ("AABB", "wxyz", "every item has a single rating"),
        ("AAAA", "wxyz", "all ratings are those of one rater, A"),
        ("ABCD", "xxyy", r"fall into 2 groups that share no items.*\[A, B\], \[C, D\]"),
    ],
)
def test_designs_that_cannot_tell_bias_from_quality_are_refused(raters, clips, words):
    ratings = pd.DataFrame({"rater": list(raters), "clip_id": list(clips), "impression": [1, 2, 3, 4]})
    with pytest.raises(RatingDesignError, match=words):
        aggregate_ratings(ratings, method="bias")


@pytest.mark.parametrize("method", ["zscore", "bias"])
def test_methods_on_raters_need_raters(method):
    with pytest.raises(RatingDesignError, match="rater=None says that nobody does"):
        aggregate_ratings(one_clip(1, 2), method=method, rater=None)


def test_slots_are_not_taken_for_raters():
    slots = one_clip(1, 2).rename(columns={"rater": "slot"})
    with pytest.raises(
        ClipsTableError, match="'slot' numbers the ratings of a clip, not persons; give rater=None"
    ):
        aggregate_ratings(slots)
    assert aggregate_ratings(slots, rater=None)["impression"].item() == 1.5


@pytest.mark.parametrize("method", ["mean", "median", "trimmed", "zscore", "bias"])
def test_items_of_clip_and_text(method):
    ratings = pd.DataFrame(
        {"rater": list("ABAB"), "clip_id": "x", "prompt": list("ppqq"), "alignment": [1, 2, 4, 5]}
    )
    scores = aggregate_ratings(ratings, items=["clip_id", "prompt"], method=method)
    assert scores.index.tolist() == [("x", "p"), ("x", "q")]
    assert scores["alignment_count"].tolist() == [2, 2]
    assert scores["alignment"].is_monotonic_increasing


def test_items_keep_the_order_of_the_clips():
    ratings = pd.DataFrame(
        {"rater": "A", "clip_id": list("xyx"), "prompt": list("pqr"), "alignment": [1, 2, 3]}
    )
    clips = pd.DataFrame(index=["y", "x"])
    scores = aggregate_ratings(ratings, clips=clips, items=["clip_id", "prompt"])
    assert scores.index.tolist() == [("y", "q"), ("x", "p"), ("x", "r")]
    with pytest.raises(ValueError, match="clips= needs 'clip_id' among the items"):
        aggregate_ratings(ratings, clips=clips, items=["prompt"])


@pytest.mark.parametrize(
    "options, words",
    [
        ({"method": "mode"}, "unknown method 'mode'; choose from mean, median, trimmed, zscore, bias"),
        ({"method": "trimmed", "trim": 0.5}, "trim=0.5: the share cut off at either end must be"),
    ],
)
def test_bad_options_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        aggregate_ratings(one_clip(1, 2), **options)
