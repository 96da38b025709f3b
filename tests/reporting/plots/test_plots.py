import sys

import numpy as np
import pandas as pd
import pytest

from musiceval_sk import SystemScatterDisplay, SystemScoresDisplay, bootstrap_metrics
from musiceval_sk.statistics.metrics import u_srcc

matplotlib = pytest.importorskip("matplotlib", reason="figures need the extra 'report'")
matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.colors import to_hex  # noqa: E402


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def table(n_systems):
    rng = np.random.default_rng(0)
    systems = np.repeat([f"S{i:03d}" for i in range(n_systems)], 6)
    quality = np.repeat(rng.uniform(1.5, 4.5, n_systems), 6)
    return pd.DataFrame(
        {"system": systems, "impression": quality + rng.normal(0, 0.4, len(systems))},
        index=[f"clip{i}" for i in range(len(systems))],
    )


def labels_overlap(axis_labels, renderer):
    boxes = [label.get_window_extent(renderer) for label in axis_labels]
    return any(one.overlaps(other) for one, other in zip(boxes[:-1], boxes[1:], strict=True))


@pytest.mark.parametrize("n_systems", [2, 12, 31])
def test_scores_show_every_system_in_order_of_its_mean(n_systems, tmp_path):
    clips = table(n_systems)
    display = SystemScoresDisplay.from_clips(clips)
    order = clips.groupby("system")["impression"].mean().sort_values().index
    labels = display.ax_.get_xticklabels()
    assert [label.get_text() for label in labels] == list(order)
    # A median, a box and a mean a system, at the system's tick.
    diamonds = [line for line in display.ax_.lines if line.get_marker() == "D"]
    assert [line.get_xdata()[0] for line in diamonds] == list(range(1, n_systems + 1))
    means = clips.groupby("system")["impression"].mean()[order]
    np.testing.assert_allclose([line.get_ydata()[0] for line in diamonds], means, rtol=1e-12)
    assert display.ax_.get_ylabel() == "impression (MOS of a clip)"
    display.figure_.savefig(tmp_path / "scores.png")
    assert (tmp_path / "scores.png").read_bytes().startswith(b"\x89PNG")
    renderer = display.figure_.canvas.get_renderer()
    assert not labels_overlap(labels, renderer)
    for label in labels:
        extent = label.get_window_extent(renderer)
        assert 0 <= extent.x0 < extent.x1 <= display.figure_.bbox.x1
        assert extent.y0 >= 0


def test_scores_show_every_clip_once():
    clips = table(5)
    display = SystemScoresDisplay.from_clips(clips)
    dots = [line for line in display.ax_.lines if line.get_marker() == "."]
    shown = np.concatenate([line.get_ydata() for line in dots])
    assert sorted(shown) == sorted(clips["impression"])
    assert len(dots) == 5


def test_scores_leave_out_clips_without_score_and_take_a_single_clip():
    clips = table(3)
    clips.loc[clips.index[:5], "impression"] = np.nan
    display = SystemScoresDisplay.from_clips(clips)
    dots = [line for line in display.ax_.lines if line.get_marker() == "."]
    assert sorted(len(line.get_ydata()) for line in dots) == [1, 6, 6]


def test_scatter_shows_every_system_by_name(tmp_path):
    clips = table(12)
    predicted = clips["impression"] + np.random.default_rng(1).normal(0, 1, len(clips))
    display = SystemScatterDisplay.from_predictions(
        clips["impression"], predicted, systems=clips["system"].iloc[::-1]
    )
    true = clips.groupby("system")["impression"].mean()
    guessed = predicted.groupby(clips["system"]).mean()
    (points,) = [line for line in display.ax_.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(points.get_xdata(), true, rtol=1e-12)
    np.testing.assert_allclose(points.get_ydata(), guessed, rtol=1e-12)
    names = display.ax_.texts
    assert sorted(text.get_text() for text in names) == list(true.index)
    for text in names:
        assert text.xy == pytest.approx((true[text.get_text()], guessed[text.get_text()]), rel=1e-12)
    srcc = u_srcc(true, guessed)
    low, high = bootstrap_metrics(true, guessed, systems=true.index, n_resamples=1).interval("S_SRCC")
    assert display.interval_ == (low, high)
    assert display.ax_.get_title() == f"S_SRCC {srcc:+.2f}, 95 % [{low:+.2f}, {high:+.2f}], 12 systems"
    assert display.ax_.get_xlabel() == "true system mean of impression"
    assert display.ax_.get_ylabel() == "predicted system mean of impression"
    assert display.ax_.get_xlim() == display.ax_.get_ylim()
    assert points.get_xdata().min() > display.ax_.get_xlim()[0]
    display.figure_.savefig(tmp_path / "scatter.png")
    boxes = [text.get_window_extent() for text in names]
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    assert (tmp_path / "scatter.png").read_bytes().startswith(b"\x89PNG")


def test_scatter_of_two_systems_has_no_interval():
    display = SystemScatterDisplay.from_predictions([1.0, 2.0], [3.0, 1.0], systems=["a", "b"])
    assert display.ax_.get_title() == "S_SRCC -1.00, 2 systems"
    assert display.ax_.get_xlabel() == "true system mean of score"


def test_drawn_where_it_is_told():
    clips = table(3)
    figure, axes = plt.subplots(1, 2)
    one = SystemScoresDisplay.from_clips(clips, ax=axes[0])
    two = SystemScatterDisplay.from_predictions(
        clips["impression"], clips["impression"] ** 2, systems=clips["system"], name="liking", ax=axes[1]
    )
    assert (one.ax_, two.ax_) == tuple(axes)
    assert one.figure_ is two.figure_ is figure
    assert two.ax_.get_xlabel() == "true system mean of liking"
    assert len(plt.get_fignums()) == 1


def test_a_display_can_be_drawn_again():
    display = SystemScoresDisplay.from_clips(table(3))
    first = display.ax_
    assert display.plot() is display
    assert display.ax_ is not first
    assert to_hex(display.figure_.get_facecolor()) == "#ffffff"


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'pip install "jinja2>=3\.1\.6" "matplotlib>=3.8"'):
        SystemScoresDisplay.from_clips(table(3))
