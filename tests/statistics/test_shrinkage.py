"""A line that is shrunken toward predictions as they are, against dense matrices and by hand."""

import numpy as np
import pytest

from musiceval_sk.statistics.shrinkage import Line, _variances, shrunken_line


@pytest.mark.parametrize(
    ("options", "level_sd", "slope_sd"),
    [
        ({"width": 4.0}, 0.125 * 4, 0.5),
        ({"width": 10.0, "level_sd": 0.02, "slope_sd": 0.1}, 0.02 * 10, 0.1),
    ],
)
def test_it_is_the_posterior_mean_of_the_mixed_model(rng, options, level_sd, slope_sd):
    """The same by dense matrices, with the variances that it found."""
    systems = np.repeat(list("abcd"), [3, 1, 6, 2])
    x = rng.normal(3, 1, 12)
    y = 2 + 0.5 * x + np.repeat(rng.normal(0, 0.4, 4), [3, 1, 6, 2]) + rng.normal(0, 0.3, 12)
    line = shrunken_line(x, y, systems, **options)
    same = systems[:, np.newaxis] == systems
    inverse = np.linalg.inv(line.clip_sd**2 * np.eye(12) + line.system_sd**2 * same)
    design = np.column_stack([np.ones(12), x - x.mean()])
    prior = np.diag([1 / level_sd**2, 1 / slope_sd**2])
    spread = np.linalg.inv(design.T @ inverse @ design + prior)
    expected = spread @ (design.T @ inverse @ (y - x.mean()) + prior @ [0, 1])
    np.testing.assert_allclose([line.level, line.slope], expected, atol=1e-3)
    np.testing.assert_allclose([line.level_sd, line.slope_sd], np.sqrt(np.diag(spread)), rtol=1e-3)
    # The variances are those of what the line leaves.
    left = y - x.mean() - design @ [line.level, line.slope]
    within, between = _variances(left, np.repeat(np.arange(4), [3, 1, 6, 2]), 1e-9)
    assert [line.clip_sd, line.system_sd] == pytest.approx(np.sqrt([within, between]).tolist(), rel=1e-3)


def test_few_clips_change_little_and_many_nearly_all(rng):
    shifts = []
    for n in (5, 50, 500):
        x = rng.normal(3, 0.7, n)
        y = x - 0.8 + rng.normal(0, 0.5, n)
        shifts.append(shrunken_line(x, y, np.arange(n) // 5, width=4.0).level)
    assert -0.8 < shifts[0] < -0.1 and shifts[0] > shifts[2] and shifts[2] == pytest.approx(-0.8, abs=0.1)


@pytest.mark.parametrize("y", [np.full(6, 3.0), np.arange(6) / 2 + 1])
def test_constants_give_finite_lines(y):
    flat = shrunken_line(np.full(6, 2.0), y, np.array(list("aabbcc")), width=4.0)
    assert flat.slope == pytest.approx(1.0) and np.isfinite(flat).all()
    assert np.isfinite(shrunken_line(y, np.full(6, 3.0), np.arange(6), width=4.0)).all()


def test_without_systems_all_clips_are_of_one(rng):
    x, y = rng.normal(size=(2, 8))
    assert shrunken_line(x, y, width=4.0) == shrunken_line(x, y, np.full(8, "a"), width=4.0)


def test_a_line_against_the_order_of_scores_is_flat():
    x = np.arange(40.0)
    line = shrunken_line(x, -x, np.arange(40) // 4, width=40.0)
    assert line.slope == 0
    np.testing.assert_array_equal(line(x), np.full(40, line.middle + line.level))


def test_errors_are_a_hundredth_of_the_scale_at_least():
    x = np.arange(8.0)
    line = shrunken_line(x, x, np.repeat([0, 1], 4), width=7.0)
    # Clips 0.07. Systems: four known beforehand with half of their variance, and one freedom more with none: 4 / 5 of the half,
    # but that of the second is less than what clips make of two means, and so counts as 0.
    assert (line.clip_sd, line.system_sd) == pytest.approx((0.07, 0.07 * np.sqrt(4 / 5 / 2)))


def test_a_line_goes_through_the_middle():
    line = Line(3.0, 0.5, 2.0, 0.1, 0.1, 0.1, 0.1)
    # At the middle 3 the score is 3.5, and 2 more for each point: -2.5 at 0.
    assert line.intercept == -2.5
    assert line([0, 3, 4]).tolist() == [-2.5, 3.5, 5.5]


@pytest.mark.parametrize(
    ("residuals", "codes", "least", "expected"),
    [
        # Means 2 and -1, squares about them 2 + 2 over 5 - 2 - 1: 2 within. Means about theirs 2 * 1.5² = 4.5, of which clips make
        # 2 * (1/2 + 1/3) / 2; four systems known beforehand had 1 each.
        ([1.0, 3, -1, 0, -2], [0, 0, 1, 1, 1], 0.0, (2, (4 + 4.5 - 5 / 6) / 5)),
        # The same, but within is 3 at least: four known ones of 1.5, and 4.5 less 3 * 5 / 12.
        ([1.0, 3, -1, 0, -2], [0, 0, 1, 1, 1], 3.0, (3, (6 + 4.5 - 5 / 4) / 5)),
        # One freedom alone is enough: squares about the means 2 and -1 are 2 + 0.5 over 1; clips make all of 4.5 - 2.5 / 2.
        ([1.0, 3, -0.5, -1.5], [0, 0, 1, 1], 0.0, (2.5, (5 + 4.5 - 1.25) / 5)),
        # None left within systems: squares about 0, 6 over 3 - 2, of which systems have half of what clips have.
        ([1.0, 2, -1], [0, 0, 1], 0.0, (4, (8 + 3.125 - 3) / 5)),
        ([1.0, 2], [0, 1], 0.0, (10 / 3, (20 / 3 + 0) / 5)),
        ([2.0, 0, -2, 0], [0, 1, 2, 3], 0.0, (8 / 3, (16 / 3 + 8 - 8) / 7)),
        # One system: what was known beforehand is all that is known.
        ([1.0, -1, 1, -1], [0, 0, 0, 0], 0.0, (2, 4 / 4)),
    ],
)
def test_variances_by_hand(residuals, codes, least, expected):
    assert _variances(np.array(residuals), np.array(codes), least) == pytest.approx(expected)
