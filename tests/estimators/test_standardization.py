import numpy as np
import pytest

from musiceval_sk.estimators.training import Standardization, weighted_median


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(3, [1, 10, 0], (50, 3))
    return X, rng.normal(50, 20, (50, 1)), rng.integers(1, 4, 50)


def test_weights_are_repetitions(data):
    X, Y, weights = data
    found = Standardization.of(X, Y, weights)
    repeated = Standardization.of(
        X.repeat(weights, axis=0), Y.repeat(weights, axis=0), np.ones(weights.sum())
    )
    for one, other in zip(found, repeated, strict=True):
        np.testing.assert_allclose(one, other)
    inputs, targets = found.inputs(X), found.targets(Y)
    np.testing.assert_allclose(np.average(inputs, axis=0, weights=weights), 0, atol=1e-12)
    np.testing.assert_allclose(np.average(inputs[:, :2] ** 2, axis=0, weights=weights), 1)
    assert np.average(np.abs(targets[:, 0]), weights=weights) == pytest.approx(1)
    assert found.inputs(X.astype(np.float32)).dtype == np.float32


def test_what_is_constant_keeps_its_size():
    found = Standardization.of(np.full((4, 2), 7.0), np.full((4, 1), 3.0), np.ones(4))
    assert found.deviation.tolist() == [1, 1] and found.distance.tolist() == [1]


def test_layers_turned_back_predict_in_the_datas_own_size(data):
    X, Y, weights = data
    scaling, rng = Standardization.of(X, Y, weights), np.random.default_rng(1)
    layers = [(rng.normal(size=(3, 4)), rng.normal(size=4)), (rng.normal(size=(4, 1)), rng.normal(size=1))]

    def output(layers, inputs):
        (first, offset), (last, level) = layers
        return np.maximum(inputs @ first + offset, 0) @ last + level

    columns = np.arange(3)
    for centred, middle in ((True, scaling.median[0]), (False, 0)):
        own = scaling.undone(layers, columns, 0, centred)
        expected = output(layers, scaling.inputs(X)) * scaling.distance[0] + middle
        np.testing.assert_allclose(output(own, X), expected)
        for one, other in zip(scaling.done(own, columns, 0, centred), layers, strict=True):
            for part, wanted in zip(one, other, strict=True):
                np.testing.assert_allclose(part, wanted)


def test_weighted_median():
    assert weighted_median(np.array([3.0, 1.0, 2.0]), np.ones(3)) == 2
    assert weighted_median(np.array([4.0, 1.0, 2.0, 3.0]), np.ones(4)) == 2.5
    assert weighted_median(np.array([1.0, 5.0]), np.array([1.0, 3.0])) == 5
