"""Figures of predictors: scatter, residuals, calibration and ranking of systems."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from musiceval_sk import (
    ScoreCalibrationDisplay,
    SystemRankingDisplay,
    SystemResidualsDisplay,
    SystemScatterDisplay,
)
from musiceval_sk.exceptions import ClipsTableError
from musiceval_sk.statistics.intervals import mean_interval, system_intervals
from musiceval_sk.statistics.metrics import s_srcc

from .drawing import (
    LONG,
    SHORT,
    assert_apart,
    assert_texts_are_whole,
    lines_with,
    made_up,
    narrow_axes,
    xy_of,
)

pytest.importorskip("matplotlib", reason="figures need the extra 'report'")

BY_SYSTEM = [SystemScatterDisplay, SystemResidualsDisplay, SystemRankingDisplay]


def draw(kind, clips, **options):
    return kind.from_predictions(clips["impression"], clips["prediction"], systems=clips["system"], **options)


def legend_of(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


def segments(ax):
    """Ends of all error bars, by direction."""
    pieces = np.concatenate([np.array(lines.get_segments()) for lines in ax.collections])
    across = np.ptp(pieces[:, :, 1], axis=1) == 0
    return pieces[across], pieces[~across]


@pytest.mark.parametrize("kind", [*BY_SYSTEM, ScoreCalibrationDisplay])
@pytest.mark.parametrize("names", [SHORT, LONG])
@pytest.mark.parametrize("n_systems", [3, 31])
@pytest.mark.parametrize("narrow", [False, True])
def test_texts_are_whole(kind, names, n_systems, narrow):
    display = draw(kind, made_up(n_systems, names), ax=narrow_axes() if narrow else None)
    assert_texts_are_whole(display)
    if kind in (SystemResidualsDisplay, SystemRankingDisplay):
        assert_apart(display.ax_.get_yticklabels())


@pytest.mark.parametrize(
    "names, n_systems, by_number", [(SHORT, 31, False), (LONG, 3, False), (LONG, 31, True)]
)
def test_scatter_names_points_or_numbers_them_with_a_key(names, n_systems, by_number):
    clips = made_up(n_systems, names, step=1e-6)
    display = draw(SystemScatterDisplay, clips)
    order = clips.groupby("system")["impression"].mean().sort_values(ascending=False).index
    texts = list(display.ax_.texts)
    if by_number:
        key = texts.pop(0)
        assert key.get_text().split("\n") == [f"{i:>2}  {name}" for i, name in enumerate(order, start=1)]
        assert key.get_window_extent().x0 > display.ax_.get_window_extent().x1
    expected = [str(i) for i in range(1, n_systems + 1)] if by_number else list(order)
    assert [text.get_text() for text in texts] == expected
    means = clips.groupby("system")[["impression", "prediction"]].mean().loc[order]
    np.testing.assert_allclose([text.xy for text in texts], means)
    assert_apart(texts)


def test_scatter_draws_the_intervals_of_both_means():
    clips = made_up(5)
    display = draw(SystemScatterDisplay, clips)
    order = display.y_true.sort_values(ascending=False).index
    across, up = segments(display.ax_)
    for pieces, column, axis in ((across, "impression", 0), (up, "prediction", 1)):
        expected = system_intervals(clips[column], clips["system"]).loc[order, ["low", "high"]]
        np.testing.assert_allclose(pieces[:, :, axis], expected)
    assert list(display.ax_.get_xticks()) == list(display.ax_.get_yticks())
    without = draw(SystemScatterDisplay, clips, confidence=None)
    assert not without.ax_.collections


def test_scatter_takes_intervals_from_elsewhere_and_names_that_look_like_formulae():
    true = pd.Series({"a$x$": 2.0, "b": 3.0, "c": 4.0})
    bounds = pd.DataFrame({"low": true - 0.5, "high": true + 0.25})
    display = SystemScatterDisplay(true, true + 0.1, true_intervals=bounds).plot()
    across, _ = segments(display.ax_)
    np.testing.assert_allclose(sorted(across[:, 0, 0]), [1.5, 2.5, 3.5])
    assert not any(text.get_parse_math() for text in display.ax_.texts)
    with pytest.raises(ValueError, match="intervals say nothing about: c"):
        SystemScatterDisplay(true, true, true_intervals=bounds[:2]).plot()


def test_one_system_is_refused_in_words():
    clips = made_up(1)
    with pytest.raises(ValueError, match="a scatter needs at least 2 systems, got 1: S000"):
        draw(SystemScatterDisplay, clips)
    with pytest.raises(ValueError, match="a ranking needs at least 2 systems, got 1: S000"):
        SystemRankingDisplay.from_clips(clips)
    assert len(draw(SystemResidualsDisplay, clips).systems_) == 1


def test_constant_predictions_have_no_correlation():
    clips = made_up(4).assign(prediction=3.0)
    display = draw(SystemScatterDisplay, clips)
    assert display.ax_.get_title() == "S_SRCC undefined (one side is constant), 4 systems"
    assert np.isnan(display.srcc_)


def test_the_correlation_of_a_scatter_counts_equal_means_as_equal():
    # 0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1 in floats, yet systems a and b tie in truth.
    truth = [0.1, 0.2, 0.3, 0.3, 0.2, 0.1, 0.9, 0.9, 0.9]
    predicted, systems = [1.0] * 3 + [2.0] * 3 + [3.0] * 3, list("aaabbbccc")
    display = SystemScatterDisplay.from_predictions(truth, predicted, systems=systems)
    # Ranks 1.5, 1.5, 3 against 1, 2, 3: sqrt(3) / 2.
    assert display.srcc_ == pytest.approx(np.sqrt(3) / 2) == s_srcc(truth, predicted, systems)


def test_residuals_show_every_clip_beside_its_system_best_on_top():
    clips = made_up(6)
    display = draw(SystemResidualsDisplay, clips)
    residuals = clips["prediction"] - clips["impression"]
    order = clips.groupby("system")["impression"].mean().sort_values(ascending=False).index
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == list(order)
    assert display.ax_.yaxis_inverted()
    for place, (system, dots) in enumerate(zip(order, lines_with(display.ax_, "."), strict=True)):
        np.testing.assert_allclose(dots.get_xdata(), residuals[clips["system"] == system])
        assert np.abs(dots.get_ydata() - place).max() < 0.5
    expected = system_intervals(residuals, clips["system"]).loc[order]
    np.testing.assert_allclose(display.systems_, expected)
    across, _ = segments(display.ax_)
    np.testing.assert_allclose(across[:, :, 0], expected[["low", "high"]])
    assert legend_of(display) == ["clip", "mean of the system, with interval"]


def test_residuals_take_intervals_from_elsewhere():
    clips = made_up(3)
    given = pd.DataFrame({"low": [-2.0, -2.0, -2.0], "high": 2.0}, index=["S002", "S001", "S000"])
    display = draw(SystemResidualsDisplay, clips, intervals=given)
    assert display.systems_["high"].tolist() == [2.0] * 3


def test_calibration_bins_are_means_of_what_was_predicted_alike():
    truth, prediction = np.arange(8.0), np.array([1, 1, 2, 2, 3, 3, 4, 4.0])
    display = ScoreCalibrationDisplay.from_predictions(truth, prediction, n_bins=4)
    assert display.bins["predicted"].tolist() == [1, 2, 3, 4]
    assert display.bins["observed"].tolist() == [0.5, 2.5, 4.5, 6.5]
    assert display.bins["clips"].tolist() == [2] * 4
    np.testing.assert_allclose(display.bins.loc[0, ["low", "high"]].tolist(), mean_interval([0, 1])[1:])
    np.testing.assert_allclose(segments(display.ax_)[1][:, :, 1], display.bins[["low", "high"]])
    np.testing.assert_allclose(lines_with(display.ax_, "|")[0].get_xdata(), prediction)
    assert legend_of(display) == ["a prediction means what it says", "mean of 2 clips"]


def test_calibration_knows_that_clips_of_a_system_err_alike():
    clips = made_up(6)
    with_systems = draw(ScoreCalibrationDisplay, clips, n_bins=1)
    without = ScoreCalibrationDisplay.from_predictions(clips["impression"], clips["prediction"], n_bins=1)
    assert with_systems.bins["observed"][0] == without.bins["observed"][0]
    expected = mean_interval(clips["impression"], groups=clips["system"])
    np.testing.assert_allclose(with_systems.bins.loc[0, ["observed", "low", "high"]].tolist(), expected)
    assert with_systems.bins["high"][0] > without.bins["high"][0]


def test_calibration_bins_of_equal_width_and_equal_predictions():
    prediction = [1.0, 1.1, 1.2, 5.0]
    display = ScoreCalibrationDisplay.from_predictions(
        [1.0, 2, 3, 4], prediction, n_bins=2, strategy="uniform"
    )
    assert display.bins["clips"].tolist() == [3, 1]
    assert np.isnan(display.bins["low"][1])
    constant = ScoreCalibrationDisplay.from_predictions([1.0, 2.0, 3.0], [2.0] * 3)
    assert constant.bins["clips"].tolist() == [3]
    with pytest.raises(ValueError, match="n_bins=0 must be a whole number and at least 1"):
        ScoreCalibrationDisplay.from_predictions([1.0], [1.0], n_bins=0)


def test_ranking_is_sorted_and_joins_what_cannot_be_told_apart():
    clips = pd.DataFrame(
        {
            "system": np.repeat(["good", "good too", "bad"], 5),
            "impression": [4, 5, 4, 5, 4, 4, 5, 4, 4, 5, 1, 1, 2, 1, 2],
        }
    )
    display = SystemRankingDisplay.from_clips(clips)
    assert display.order_ == ["good", "good too", "bad"]
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == display.order_
    assert display.groups_ == [["good", "good too"]]
    (bar,) = [line for line in display.ax_.lines if line.get_linewidth() == 2.5]
    assert bar.get_ydata().tolist() == [-0.25, 1.25]
    across, _ = segments(display.ax_)
    assert bar.get_xdata()[0] > across[:, :, 0].max()
    np.testing.assert_allclose(
        across[:, :, 0], display.intervals.loc[display.order_, ["low", "high"]].to_numpy()
    )
    assert legend_of(display) == ["cannot be told apart (Welch, Holm, 5%)", "truth, with interval"]


def test_bars_of_a_ranking_do_not_run_into_one_another():
    display = SystemRankingDisplay.from_clips(made_up(31))
    bars = [line for line in display.ax_.lines if line.get_linewidth() == 2.5]
    assert len(bars) == len(display.groups_) > 3
    for i, one in enumerate(bars):
        for other in bars[:i]:
            if one.get_xdata()[0] == other.get_xdata()[0]:
                (low, high), (start, end) = one.get_ydata(), other.get_ydata()
                assert high < start or end < low


def test_ranking_takes_rows_intervals_and_tests_from_elsewhere():
    rows = pd.DataFrame({"mean": [0.7, 0.9], "low": [0.6, 0.8], "high": [0.8, 1.0]}, index=["ridge", "MLP"])
    plain = SystemRankingDisplay(rows, "S_SRCC").plot()
    assert plain.order_ == ["MLP", "ridge"] and plain.groups_ == []
    assert plain.ax_.get_legend().get_title().get_text() == ""
    apart = pd.DataFrame(True, index=rows.index, columns=rows.index)
    title = SystemRankingDisplay(rows, apart=apart).plot().ax_.get_legend().get_title()
    assert title.get_text() == "all systems can be told apart"
    with pytest.raises(ValueError, match=r"missing column\(s\) mean; found: low, high"):
        SystemRankingDisplay(rows[["low", "high"]]).plot()
    with pytest.raises(ClipsTableError, match=r"missing column\(s\) system"):
        SystemRankingDisplay.from_clips(made_up(2).drop(columns="system"))


def test_ranking_shows_where_the_predictor_puts_each_system():
    clips = made_up(5)
    display = draw(SystemRankingDisplay, clips)
    (squares,) = lines_with(display.ax_, "s")
    expected = clips.groupby("system")["prediction"].mean()[display.order_]
    np.testing.assert_allclose(xy_of(squares), [expected, [0.16, 1.16, 2.16, 3.16, 4.16]])


@pytest.mark.parametrize("kind", [*BY_SYSTEM, ScoreCalibrationDisplay])
def test_from_estimator_draws_its_predictions(kind):
    clips = made_up(4)
    X = clips[["prediction"]]
    for y in (clips["impression"], clips[["impression", "alignment"]]):
        model = LinearRegression().fit(X, y)
        target = "impression" if y.ndim == 2 else None
        found = kind.from_estimator(model, X, y, systems=clips["system"], target=target)
        predicted = model.predict(X) if y.ndim == 1 else model.predict(X)[:, 0]
        expected = kind.from_predictions(clips["impression"], predicted, systems=clips["system"])
        for mine, theirs in zip(found.ax_.lines, expected.ax_.lines, strict=True):
            np.testing.assert_allclose(mine.get_xydata(), theirs.get_xydata())
        assert found.name == "impression"


def test_points_and_names_agree_whatever_the_order_of_the_means():
    true, predicted = pd.Series({"a": 1.0, "b": 2.0}), pd.Series({"b": 5.0, "a": 4.0})
    display = SystemScatterDisplay(true, predicted).plot()
    (points,) = lines_with(display.ax_, "o")
    assert points.get_xydata().tolist() == [[1.0, 4.0], [2.0, 5.0]]


@pytest.mark.parametrize("kind", BY_SYSTEM)
def test_systems_are_asked_for(kind):
    with pytest.raises(ValueError, match="give systems=, the system of each clip"):
        kind.from_predictions([1.0, 2.0], [1.0, 2.0], systems=None)


def test_from_estimator_goes_by_clip_ids_where_both_have_them():
    clips = made_up(4)
    X, y = clips[["prediction"]], clips["impression"]
    model = LinearRegression().fit(X, y)
    expected = SystemScatterDisplay.from_estimator(model, X, y, systems=clips["system"])
    shuffled = y.sample(frac=1, random_state=0)
    found = SystemScatterDisplay.from_estimator(model, X, shuffled, systems=clips["system"])
    assert found.srcc_ == expected.srcc_


def test_from_estimator_asks_for_the_target():
    clips = made_up(3)
    X, y = clips[["prediction"]], clips[["impression", "alignment"]]
    model = LinearRegression().fit(X, y)
    with pytest.raises(
        ValueError, match="y has the columns impression, alignment: choose one with target=, got None"
    ):
        SystemScatterDisplay.from_estimator(model, X, y, systems=clips["system"])
    with pytest.raises(ValueError, match=r"the estimator predicts 2 columns, y has shape \(24,\)"):
        SystemScatterDisplay.from_estimator(model, X, y["impression"], systems=clips["system"])
    one = LinearRegression().fit(X, y[["impression"]])
    drawn = SystemScatterDisplay.from_estimator(one, X, y[["impression"]], systems=clips["system"])
    assert drawn.name == "impression"
