"""Figures of studies: learning curves and searches; and what all displays have in common."""

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import Ridge

import musiceval_sk
from musiceval_sk import (
    ScoreLearningCurveDisplay,
    SystemScoresDisplay,
    score_learning_curve,
)

from .drawing import assert_texts_are_whole, made_up, narrow_axes, xy_of

plt = pytest.importorskip("matplotlib.pyplot", reason="figures need the extra 'report'")


def growth(models=("ridge", "MOSRegressor", "system mean, a look-up without any audio")):
    rows = [(model, size, i / 10 + size / 1000) for i, model in enumerate(models) for size in (400, 100, 200)]
    table = pd.DataFrame(rows, columns=["model", "clips", "S_SRCC"])
    return table.assign(low=table["S_SRCC"] - 0.1, high=table["S_SRCC"] + 0.05)


@pytest.mark.parametrize("narrow", [False, True])
def test_learning_curve_has_a_line_a_model_told_apart_without_colour(narrow):
    table = growth()
    display = ScoreLearningCurveDisplay.from_table(
        table,
        size="clips",
        score="S_SRCC",
        by="model",
        references={"ceiling": 0.97},
        ax=narrow_axes() if narrow else None,
    )
    curves = [bars.lines[0] for bars in display.ax_.containers]
    for curve, (_, part) in zip(curves, table.groupby("model", sort=False), strict=True):
        part = part.sort_values("clips")
        x, y = xy_of(curve)
        np.testing.assert_allclose(y, part["S_SRCC"])
        np.testing.assert_allclose(x, part["clips"], atol=15)
    assert len({curve.get_marker() for curve in curves}) == 3
    assert len({str(curve._dash_pattern) for curve in curves}) == 3
    ends = np.array(display.ax_.containers[0].lines[2][0].get_segments())[:, :, 1]
    np.testing.assert_allclose(ends, table[:3].sort_values("clips")[["low", "high"]])
    assert display.ax_.texts[0].get_text() == " ceiling"
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("clips", "S_SRCC")
    legend = display.ax_.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == list(table["model"].unique())
    assert legend.get_window_extent().y0 >= display.ax_.get_window_extent().y1
    assert_texts_are_whole(display)


def test_legend_of_short_names_stands_beside_the_axes():
    display = ScoreLearningCurveDisplay.from_table(
        growth(["a", "b"]), size="clips", score="S_SRCC", by="model"
    )
    display.figure_.draw_without_rendering()
    assert display.ax_.get_legend().get_window_extent().x0 > display.ax_.get_window_extent().x1
    assert_texts_are_whole(display)


def test_learning_curve_says_what_is_missing():
    with pytest.raises(ValueError, match=r"missing column\(s\) raters, joy; found: model, clips"):
        ScoreLearningCurveDisplay.from_table(growth(), size="raters", score="joy")
    with pytest.raises(ValueError, match="none of 9 rows has a S_SRCC"):
        ScoreLearningCurveDisplay.from_table(growth().assign(S_SRCC=np.nan), size="clips", score="S_SRCC")


@pytest.mark.slow
def test_learning_curve_draws_what_score_learning_curve_found():
    clips = made_up(6).assign(path="")
    single = pd.DataFrame(
        [(f"R{r}", clip, np.clip(score + (-1) ** r * 0.2 * (r // 2), 1, 5)) for clip, score in clips["impression"].items()
         for r in range(4)],
        columns=["rater", "clip_id", "impression"],
    )  # fmt: skip
    models = {"ridge": Ridge(), "global mean": DummyRegressor()}
    curve = score_learning_curve(
        clips, clips[["prediction"]], models, grows=["clips", "systems"], ratings=single, n_splits=2, n_repeats=2,
        n_resamples=50, progress=False,
    )  # fmt: skip
    display = ScoreLearningCurveDisplay.from_curve(curve, "impression", "U_SRCC")
    rows = curve.line("impression", "U_SRCC").dropna(subset="score")
    assert rows["model"].unique().tolist() == ["ridge"]  # the global mean ranks nothing
    x, y = xy_of(display.ax_.containers[0].lines[0])
    np.testing.assert_allclose(x, rows["size"])
    np.testing.assert_allclose(y, rows["score"])
    assert display.ax_.get_xlabel() == "training clips"
    assert display.ax_.get_ylabel() == "U_SRCC of impression, pooled"
    level = curve.ceiling.metrics()["U_SRCC"]["impression", "perfect predictor"]
    assert display.references == {"human ceiling": pytest.approx(level)}
    assert_texts_are_whole(display)
    systems = ScoreLearningCurveDisplay.from_curve(curve, "impression", "U_SRCC", grows="systems")
    assert systems.ax_.get_xlabel() == "training systems"
    folds = ScoreLearningCurveDisplay.from_curve(curve, "impression", "S_SRCC", kind="mean of folds")
    assert folds.references is None
    with pytest.raises(ValueError, match="no U_SRCC of 'impression' could be judged for global mean"):
        ScoreLearningCurveDisplay.from_curve(curve, "impression", "U_SRCC", models=["global mean"])


def test_displays_leave_no_trace_in_pyplot_and_show_themselves_in_a_notebook():
    plt.close("all")
    settings = dict(plt.rcParams)
    display = SystemScoresDisplay.from_clips(made_up(3))
    assert plt.get_fignums() == []
    assert dict(plt.rcParams) == settings
    assert display._repr_png_().startswith(b"\x89PNG")
    assert SystemScoresDisplay(made_up(2)["impression"], made_up(2)["system"])._repr_png_() is None


def test_every_display_has_plot_with_ax():
    names = [name for name in dir(musiceval_sk) if name.endswith("Display")]
    assert len(names) == 7
    for name in names:
        kind = getattr(musiceval_sk, name)
        assert any(maker.startswith("from_") for maker in dir(kind)), name
        assert kind.plot.__defaults__ == (None,), name
