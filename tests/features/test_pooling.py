import numpy as np
import pytest

from musiceval_sk.features.pooling import pool

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


def test_an_unknown_pooling_is_named():
    with pytest.raises(
        ValueError, match=r"unknown pooling 'median'; choose from mean, mean\+std, max, first"
    ):
        pool(VECTORS, OFFSETS, "median")
