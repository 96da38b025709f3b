import numpy as np
import pytest

from musiceval_sk.features.pooling import pool, provenance

# Two clips: windows (1, 10), (3, 20), (8, 0) and the single window (-5, 6).
VECTORS = np.array([[1, 10], [3, 20], [8, 0], [-5, 6]], dtype=np.float32)
OFFSETS = np.array([0, 3, 4])


@pytest.mark.parametrize(
    "pooling, expected",
    [
        ("mean", [[4, 10], [-5, 6]]),
        ("max", [[8, 20], [-5, 6]]),
        ("first", [[1, 10], [-5, 6]]),
        # Squared distances from the mean: (9 + 1 + 16) / 3 and (0 + 100 + 100) / 3.
        ("mean+std", [[4, 10, np.sqrt(26 / 3), np.sqrt(200 / 3)], [-5, 6, 0, 0]]),
    ],
)
def test_pooling_by_hand(pooling, expected):
    pooled = pool(VECTORS, OFFSETS, pooling)
    assert pooled.dtype == np.float32
    np.testing.assert_allclose(pooled, expected, rtol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "max", "first", "mean+std"])
def test_a_clip_pools_alike_alone_and_among_others(rng, pooling):
    vectors = rng.standard_normal((50, 4)).astype(np.float32)
    offsets = np.array([0, 1, 8, 30, 50])
    alone = [
        pool(vectors[a:b], np.array([0, b - a]), pooling)[0]
        for a, b in zip(offsets, offsets[1:], strict=False)
    ]
    np.testing.assert_array_equal(pool(vectors, offsets, pooling), alone)


def test_a_window_that_brings_little_counts_little():
    # Two and a quarter windows: (1 + 3 + 8 / 4) / 2.25 and (10 + 20) / 2.25; squared distances weigh alike.
    weights = np.array([1, 1, 0.25, 1])
    pooled = pool(VECTORS, OFFSETS, "mean+std", weights)
    mean = np.array([6, 30]) / 2.25
    spread = np.sqrt(([1, 1, 0.25] @ (VECTORS[:3] - mean) ** 2) / 2.25)
    np.testing.assert_allclose(pooled, [[*mean, *spread], [-5, 6, 0, 0]], rtol=1e-6)
    assert pooled.dtype == np.float32
    for pooling in ("max", "first"):
        np.testing.assert_array_equal(
            pool(VECTORS, OFFSETS, pooling, weights), pool(VECTORS, OFFSETS, pooling)
        )


@pytest.mark.parametrize("pooling", ["mean", "mean+std"])
def test_whole_windows_count_to_the_bit_as_they_did(rng, pooling):
    vectors = rng.standard_normal((50, 4)).astype(np.float32)
    offsets = np.array([0, 1, 8, 30, 50])
    sums = np.add.reduceat(vectors, offsets[:-1], axis=0)
    mean = sums / np.diff(offsets).astype(np.float32)[:, np.newaxis]
    np.testing.assert_array_equal(pool(vectors, offsets, pooling, np.ones(50))[:, :4], mean)


def test_only_what_averages_is_weighed_and_says_so():
    assert provenance("a", "mean") == "a (pooling mean by new sound)"
    assert provenance("a", "mean+std") == "a (pooling mean+std by new sound)"
    assert provenance("a", "max") == "a (pooling max)" and provenance("a", "first") == "a (pooling first)"


def test_an_unknown_pooling_is_named():
    with pytest.raises(
        ValueError, match=r"unknown pooling 'median'; choose from mean, mean\+std, max, first"
    ):
        pool(VECTORS, OFFSETS, "median")
