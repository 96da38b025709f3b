"""Resampled metrics against the obvious loop over scipy's calls, on the same indices."""

from itertools import product

import numpy as np
import pytest
import threadpoolctl
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from musiceval_sk import METRICS
from musiceval_sk.statistics import agreement as agreement_module
from musiceval_sk.statistics import resampling as resampling_module
from musiceval_sk.statistics.agreement import ClipAgreement, PairSigns, system_agreement
from musiceval_sk.statistics.resampling import (
    ClipMetrics,
    ResampledMetrics,
    Resampling,
    generators,
    one_thread,
)
from tests.properties import few


def four(truth, prediction):
    if np.ptp(truth) == 0 or np.ptp(prediction) == 0:
        return [np.mean((truth - prediction) ** 2), np.nan, np.nan, np.nan]
    return [
        np.mean((truth - prediction) ** 2),
        stats.pearsonr(truth, prediction).statistic,
        stats.spearmanr(truth, prediction).statistic,
        stats.kendalltau(truth, prediction, variant="b").statistic,
    ]


def loop(pair, draws):
    truth, prediction = pair
    rows = []
    ends = np.cumsum(draws.sizes.sum(axis=1))
    for clips, sizes in zip(np.split(draws.clips, ends[:-1]), draws.sizes, strict=True):
        of_systems = np.split(clips, np.cumsum(sizes)[:-1])
        means = [np.array([values[some].mean() for some in of_systems]) for values in pair]
        rows.append(four(truth[clips], prediction[clips]) + four(*means))
    return np.array(rows)


def in_quarters(values):
    """Sums of quarters are exact, so that means which are equal on paper are equal in floats."""
    return np.round(values * 4) / 4


N, SYSTEMS = 700, 13


@pytest.fixture
def systems(rng):
    return rng.integers(0, SYSTEMS, N)


@pytest.fixture
def cases(rng, systems):
    merit = rng.normal(3, 0.8, SYSTEMS)[systems]
    truth = merit + rng.normal(0, 0.6, N)
    close = truth + rng.normal(0, 0.5, N)
    one_tie = np.where(np.arange(N) < 300, 2.0, close)
    return {
        "continuous": (truth, close),
        "scores in steps": (in_quarters(truth), close),
        "predictions in steps": (truth, in_quarters(close)),
        "both in steps": (in_quarters(truth), in_quarters(close)),
        "a look-up by system": (in_quarters(truth), in_quarters(merit)),
        "half of all tied": (truth, in_quarters(one_tie)),
        "against one another": (truth, -truth),
        "far from 0": (truth + 1e5, close + 1e5),
        "constant": (truth, np.full(N, 3.25)),
    }


@pytest.mark.parametrize("level", ["systems", "clips"])
def test_equals_the_loop_over_scipy(cases, systems, level, rng):
    resampling = Resampling(systems, level)
    draws = resampling.draw_clips(resampling.draw_systems(7, rng), rng)
    found = ClipMetrics(list(cases.values()), resampling, list(METRICS)).score(draws)
    for number, (name, pair) in enumerate(cases.items()):
        np.testing.assert_allclose(found[:, number], loop(pair, draws), rtol=0, atol=1e-10, err_msg=name)


def test_the_estimates_are_the_metrics(cases, systems):
    resampling = Resampling(systems, "systems")
    pair = cases["both in steps"]
    found = ClipMetrics([pair], resampling, list(METRICS)).score(resampling.as_they_are())[0, 0]
    expected = [
        metric.function(*pair, *([systems] if metric.by_system else [])) for metric in METRICS.values()
    ]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("level", ["systems", "clips"])
@pytest.mark.parametrize("block", [8 * N, N // 2])
def test_blocks_and_threads_change_nothing(cases, systems, level, block, monkeypatch):
    monkeypatch.setattr(resampling_module, "BLOCK", block)
    resampled = ResampledMetrics([cases["continuous"]], systems, level, ["U_KTAU", "S_SRCC"])
    one, two = (resampled.draw(20, 5, n_jobs) for n_jobs in (1, 2))
    np.testing.assert_array_equal(one, two)
    assert one.shape == (20, 1, 8)
    assert np.isfinite(one[..., [3, 6]]).all()
    assert np.isnan(one[..., [0, 1, 2]]).all()  # not asked for
    assert not np.array_equal(one[:8], one[8:16])  # blocks are drawn independently


def test_draws_of_systems(systems, rng):
    resampling = Resampling(systems, "systems")
    draws = resampling.draw_clips(resampling.draw_systems(50, rng), rng)
    for clips, sizes in zip(
        np.split(draws.clips, np.cumsum(draws.sizes.sum(axis=1))[:-1]), draws.sizes, strict=True
    ):
        slots = np.split(systems[clips], np.cumsum(sizes)[:-1])
        assert len(slots) == SYSTEMS
        # Each slot holds one system, as many clips as that has.
        assert all(len(set(slot)) == 1 and len(slot) == (systems == slot[0]).sum() for slot in slots)
    n_different = [
        len({systems[clip] for clip in clips})
        for clips in np.split(draws.clips, np.cumsum(draws.sizes.sum(axis=1))[:-1])
    ]
    # Of 13 systems drawn 13 times 13 * (1 - (12/13)**13) = 8.4 are different, on average.
    assert np.mean(n_different) == pytest.approx(8.4, abs=0.7)
    counts = draws.counts(N)
    assert counts.sum() == len(draws.clips)
    assert counts[:, 0].sum() == draws.sizes[0].sum()


def test_draws_of_clips_hold_each_system_as_it_is(systems, rng):
    resampling = Resampling(systems, "clips")
    draws = resampling.draw_clips(resampling.draw_systems(50, rng), rng)
    np.testing.assert_array_equal(draws.sizes, np.tile(np.bincount(systems), (50, 1)))
    np.testing.assert_array_equal(systems[draws.clips], np.tile(np.sort(systems), 50))
    # Of 700 clips drawn within systems of some 54, 1 - (1 - 1/54) ** 54 = 0.63 are different, on average.
    assert np.mean(draws.counts(N) > 0) == pytest.approx(0.634, abs=0.01)


def left_out(systems, level):
    """Clips that each part lacks, and how many each system has left."""
    draws = list(Resampling(systems, level).leaving_out())
    sizes = np.concatenate([some.sizes for some in draws])
    kept = np.split(np.concatenate([some.clips for some in draws]), np.cumsum(sizes.sum(axis=1))[:-1])
    return [np.setdiff1d(np.arange(len(systems)), clips) for clips in kept], sizes


def test_leaving_out(systems):
    out, sizes = left_out(systems, "systems")
    assert [set(systems[clips]) for clips in out] == [{number} for number in range(SYSTEMS)]
    whole = np.bincount(systems)
    np.testing.assert_array_equal(sizes, np.where(np.eye(SYSTEMS, dtype=bool), 0, whole))
    out, _ = left_out(systems, "clips")
    assert len(out) == 200
    assert sorted(np.concatenate(out)) == list(range(N))


def test_the_only_system_is_not_left_out():
    assert left_out(np.zeros(3, dtype=int), "systems")[1].shape == (0, 1)
    out, _ = left_out(np.array([0, 0, 1]), "systems")
    assert [clips.tolist() for clips in out] == [[0, 1], [2]]


def test_many_systems_are_left_out_in_parts_whatever_the_block(monkeypatch):
    systems = np.repeat(np.arange(450), 2)
    monkeypatch.setattr(resampling_module, "BLOCK", 64 * len(systems))
    out, sizes = left_out(systems, "systems")
    assert len(out) == 200 and sorted(set(systems[out[7]])) == [7, 207, 407]
    assert sorted(np.concatenate(out)) == list(range(900))
    assert sizes.shape == (200, 450) and (sizes == 0).sum() == 450
    assert all(draws.clips.size <= 64 * 900 for draws in Resampling(systems, "systems").leaving_out())


def test_a_system_emptied_by_leaving_out_has_no_mean():
    resampling = Resampling(np.array(["a", "a", "b"]), "clips")
    (draws,) = resampling.leaving_out()
    means = draws.means(np.array([1.0, 2.0, 4.0]))
    np.testing.assert_array_equal(means.T, [[2, 4], [1, 4], [1.5, np.nan]])


@few
@example(rows=[(0, 0, 1), (2, 1, 2), (1, 2, 1), (3, 3, 1)], chunk=2)  # a chunk of every other clip
@given(
    rows=st.lists(st.tuples(*[st.integers(0, 4)] * 2, st.integers(0, 2)), min_size=1, max_size=12),
    chunk=st.integers(1, 4),
)
def test_small_samples_with_ties_against_scipy(rows, chunk):
    """Whatever is tied, and wherever chunks of the clips end; systems that are in no sample are absent."""
    truth, prediction, counts = np.array(rows, dtype=float).T
    counts[0] += not counts.any()
    there = counts > 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agreement_module, "_CHUNK", chunk)
        found = ClipAgreement(truth, prediction).score(counts[:, np.newaxis])[:, 0]
    held = np.repeat(np.arange(len(counts)), counts.astype(int))
    np.testing.assert_allclose(found, four(truth[held], prediction[held]), rtol=0, atol=1e-12)
    found = system_agreement(truth[:, np.newaxis], np.where(there, prediction, np.nan)[:, np.newaxis])[:, 0]
    np.testing.assert_allclose(found, four(truth[there], prediction[there]), rtol=0, atol=1e-12)


def test_pairs_by_hand():
    # Pairs of clips 0-1 and 0-2 concordant, 1-2 discordant; clip 1 twice counts its pairs twice.
    pairs = PairSigns(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]))
    assert pairs.balance(np.array([[1.0, 1], [1, 2], [1, 0]])).tolist() == [1, 2]


def test_resamples_that_lose_all_differences_are_nan():
    agreement = ClipAgreement(np.array([1.0, 1, 2]), np.array([1.0, 2, 3]))
    scores = agreement.score(np.array([[1.0, 1], [2, 1], [0, 1]]))
    assert np.isnan(scores[1:, 0]).all()
    assert np.isfinite(scores[:, 1]).all()
    # One clip any number of times, whose moments differ by rounding.
    one_clip = np.kron(np.eye(3), np.arange(1.0, 10))
    assert np.isnan(
        ClipAgreement(np.array([0.1, 0.4, 0.7]), np.array([0.3, 0.2, 0.7])).score(one_clip)[1:]
    ).all()
    # Two clips of one truth, or of one prediction.
    tied, other = np.array([0.1, 0.1, 0.7]), np.array([0.3, 0.2, 0.7])
    two_clips = np.array([*product(range(1, 10), range(1, 10), [0.0])]).T
    for pair in ((tied, other), (other, tied)):
        assert np.isnan(ClipAgreement(*pair).score(two_clips)[1:]).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_a_perfect_correlation_is_not_beyond_one_by_rounding(sign):
    for n in range(4, 60):  # of whose tenths some correlations would be 2e-16 beyond 1 or -1
        tenths = np.arange(n) / 10
        found = sign * ClipAgreement(tenths, sign * tenths).score(np.ones((n, 1)))[1:, 0]
        assert found == pytest.approx(1, abs=1e-12) and found.max() <= 1


def test_means_that_differ_by_rounding_are_tied():
    truth = np.array([[0.1 + 0.2], [0.3], [1.0]])
    scores = system_agreement(truth, np.array([[1.0], [1.0], [2.0]]))
    # One pair tied in both, the others concordant.
    assert scores[2:, 0].tolist() == pytest.approx([1, 1], abs=1e-12)
    # All tied in one of them, which so correlates with nothing.
    for constant in ([0.1 + 0.2, 0.3, 0.3], [0.3, 0.3, 0.1 + 0.2]):
        pair = np.array(constant)[:, np.newaxis], np.array([[1.0], [2.0], [3.0]])
        assert np.isnan([system_agreement(*pair)[1:], system_agreement(*pair[::-1])[1:]]).all()


@pytest.mark.parametrize("n_systems", [200, 201])
def test_sets_of_many_systems_are_scored_as_those_of_few(n_systems, rng):
    truth = in_quarters(rng.normal(3, 1, (n_systems, 1)))
    prediction = in_quarters(truth + rng.normal(0, 1, (n_systems, 4)))
    prediction[::7, 1] = np.nan
    prediction[:, 2] = 3.25
    prediction[:, 3] = np.nan
    found = system_agreement(truth, prediction)
    assert np.isnan(found[:, 3]).all()
    for number, column in enumerate(prediction.T[:3]):
        here = np.isfinite(column)
        np.testing.assert_allclose(found[:, number], four(truth[here, 0], column[here]), rtol=0, atol=1e-10)


def test_small_products_run_on_one_thread():
    with threadpoolctl.threadpool_limits(2), one_thread():
        libraries = threadpoolctl.threadpool_info()
    blas = [one for one in libraries if one["user_api"] == "blas"]
    assert {one["num_threads"] for one in blas} == {1}
    if all(
        one.get("threading_layer") != "openmp" for one in blas
    ):  # which has its threads from another library
        assert all(one["num_threads"] == 2 for one in libraries if one not in blas)


def test_seeds():
    def first(seed):
        return [rng.integers(1000) for rng in generators(seed, 3)]

    assert first(1) == first(1) == first(np.random.RandomState(1))  # noqa: NPY002
    assert first(1) != first(2)
    assert len(set(first(1))) == 3
    for made in (int, np.random.default_rng):  # seeds are not few
        assert len({tuple(first(made(seed))) for seed in range(100)}) == 100
    assert first(np.random.default_rng(4)) == first(np.random.default_rng(4))
