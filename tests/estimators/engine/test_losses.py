"""Losses, the ranking term and the meaning of outputs, by hand."""

import numpy as np
import pytest
import torch

from musiceval_sk.estimators.engine.losses import Loss, rank_slope
from musiceval_sk.estimators.prediction import bin_centres, expected_score


def column(*values):
    return torch.tensor(values, dtype=torch.float64).reshape(1, -1, 1)


def test_centres_reach_from_end_to_end():
    np.testing.assert_allclose(bin_centres(5, (1.0, 5.0)), [1, 2, 3, 4, 5])
    assert np.diff(bin_centres(20, (1.0, 5.0))) == pytest.approx([4 / 19] * 19)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_expected_score_in_numpy_and_torch(kind):
    # Odds 1 : 3 of the scores 1 and 5 give (1 + 3 * 5) / 4 = 4; equal odds the middle; huge logits do not overflow.
    logits = kind(np.array([[0.0, np.log(3.0)], [7.0, 7.0], [2000.0, 0.0]]))
    found = expected_score(logits, kind(np.array([1.0, 5.0])))
    assert type(found) is type(logits)
    np.testing.assert_allclose(np.asarray(found), [[4.0], [3.0], [1.0]])


def test_ranking_term_pulls_apart_what_is_not_far_enough_apart():
    # Scores 4, 3, 1 are predicted as 2, 2.5, 0. With a margin of 0.5 the pair (4, 3) should be 0.5 apart and is -0.5:
    # violated. (4, 1) should be 1.5 and is 2; (3, 1) should be 1 and is 2.5. One of three pairs: slopes of 1/3.
    slope = rank_slope(column(2.0, 2.5, 0.0), column(4.0, 3.0, 1.0), None, 0.5, 1.0)
    np.testing.assert_allclose(slope[0, :, 0], [-1 / 3, 1 / 3, 0])
    # Predicted exactly 0.5 apart, the pair (4, 3) pulls no more.
    assert not rank_slope(column(1.5, 1.0), column(4.0, 3.0), None, 0.5, 1.0).any()
    # With weights 1, 2, 0 only that pair is left, however small they are.
    for weights in (column(1.0, 2.0, 0.0), column(0.25, 0.5, 0.0)):
        slope = rank_slope(column(2.0, 2.5, 0.0), column(4.0, 3.0, 1.0), weights, 0.5, 1.0)
        np.testing.assert_allclose(slope[0, :, 0], [-1, 1, 0])


@pytest.mark.parametrize("factor", [1, 1 / 8])
def test_ranking_term_counts_pairs_by_their_better_clip(factor):
    # Scores 5, 3, 1 are all predicted as 0: every pair is violated. With quality 7 pairs led by 5, the best, count 7
    # fold; those led by 3, halfway up, 1 + 6/2 = 4 fold. Of three pairs: -(7 + 7)/3, (7 - 4)/3, (7 + 4)/3. So it is where
    # scores lie an eighth as far apart.
    slope = rank_slope(column(0.0, 0.0, 0.0), factor * column(5.0, 3.0, 1.0), None, 0.2, 7.0)
    np.testing.assert_allclose(slope[0, :, 0], [-14 / 3, 1, 11 / 3])


@pytest.mark.parametrize("quality", [1.0, 7.0])
@pytest.mark.parametrize("weights", [None, column(1.0, 0.5, 2.0)])
def test_ranking_terms_of_several_perceptrons_are_those_of_each(quality, weights):
    scores = [column(2.0, 2.5, 0.0), column(0.0, 1.0, 0.5), column(1.0, 1.0, 1.0)]
    targets = [column(5.0, 3.0, 1.0), column(2.0, 2.5, 1.5), column(3.0, 3.0, 3.0)]
    weighted = None if weights is None else torch.cat([weights, 2 * weights, weights.flip(1)])
    together = rank_slope(torch.cat(scores), torch.cat(targets), weighted, 0.5, quality)
    for k in range(3):
        own = None if weighted is None else weighted[k : k + 1]
        alone = rank_slope(scores[k], targets[k], own, 0.5, quality)
        torch.testing.assert_close(together[k : k + 1], alone, rtol=0, atol=1e-15)


def test_ranking_term_is_qamro_by_autograd():
    scores = torch.randn(1, 9, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scores.requires_grad_()
    y = torch.tensor([1.0, 2.5, 2.5, 5.0, 4.0, 3.2, 4.8, 1.6, 3.0], dtype=torch.float64)
    level, terms = (y - 1) / 4, []
    for i in range(9):
        for j in range(i):
            if y[i] != y[j]:
                sign = torch.sign(y[i] - y[j])
                reached = sign * (scores[0, i, 0] - scores[0, j, 0])
                factor = 1 + 6 * torch.maximum(level[i], level[j])
                terms.append(factor * torch.relu(0.2 * (y[i] - y[j]).abs() - reached))
    (expected,) = torch.autograd.grad(torch.stack(terms).mean(), scores)
    found = rank_slope(scores.detach(), y.reshape(1, -1, 1), None, 0.2, 7.0)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_ranking_term_is_silent_where_all_scores_are_equal():
    assert not rank_slope(column(2.0, 2.5), column(3.0, 3.0), None, 0.2, 7.0).any()


def test_soft_bins_are_least_where_the_prediction_is_the_softened_target():
    loss = Loss("soft_bins", 3, (1.0, 3.0), 0.5, torch.zeros(1, dtype=torch.float64))
    # A Gaussian of deviation 0.5 around 2 is exp(-2) of its height at 1 and 3.
    outputs = torch.tensor([[[-2.0, 0.0, -2.0]]], dtype=torch.float64)
    assert loss.slope(outputs, column(2.0)).abs().max() < 1e-12
    p = np.array([np.exp(-2), 1, np.exp(-2)]) / (1 + 2 * np.exp(-2))
    assert loss.value(outputs, column(2.0)).item() == pytest.approx(-(p * np.log(p)).sum())
    assert loss.scores(outputs).item() == pytest.approx(2)


def test_soft_bins_of_a_score_far_off_the_scale_stay_finite():
    loss = Loss("soft_bins", 20, (1.0, 5.0), 0.05, torch.zeros(1))
    assert torch.isfinite(loss.value(torch.zeros(1, 1, 20), torch.full((1, 1, 1), 40.0))).all()
