"""What tests of figures share: a table of made-up scores, and whether texts are whole and apart."""

import numpy as np
import pandas as pd
import pytest

SHORT, LONG = "S{:03d}", "model-{:02d}-by-a-studio-of-old"


def made_up(n_systems, names=SHORT, clips=8, seed=0, step=0.2):
    """Scores of clips in steps, and predictions that shrink towards the middle."""
    rng = np.random.default_rng(seed)
    systems = np.repeat([names.format(i) for i in range(n_systems)], clips)
    quality = np.repeat(rng.uniform(1.5, 4.5, n_systems), clips)
    scores = {
        "impression": quality + rng.normal(0, 0.5, len(quality)),
        "alignment": 1.2 + 0.6 * quality + rng.normal(0, 0.5, len(quality)),
    }
    table = pd.DataFrame(
        {name: np.clip(np.round(values / step) * step, 1, 5) for name, values in scores.items()},
        index=[f"clip{i}" for i in range(len(quality))],
    )
    return table.assign(
        system=systems, prediction=1.5 + 0.5 * quality + rng.normal(0, 0.3, len(quality)), prompt="calm piano"
    )


def narrow_axes():
    figure_module = pytest.importorskip("matplotlib.figure")
    agg = pytest.importorskip("matplotlib.backends.backend_agg")
    figure = figure_module.Figure(figsize=(3.2, 4.0), layout="constrained")
    agg.FigureCanvasAgg(figure)
    return figure.subplots()


def assert_texts_are_whole(display):
    """Every text that can be seen lies within the figure."""
    figure = display.figure_
    figure.draw_without_rendering()
    ax = display.ax_
    legend = ax.get_legend()
    texts = [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
    texts += [label for axis in (ax.xaxis, ax.yaxis) for label in shown_tick_labels(axis)]
    if legend:
        texts += [legend.get_title(), *legend.get_texts()]
    for text in texts:
        if text.get_text() and text.get_visible():
            box = text.get_window_extent()
            inside = (
                box.x0 >= -1
                and box.y0 >= -1
                and box.x1 <= figure.bbox.x1 + 1
                and box.y1 <= figure.bbox.y1 + 1
            )
            assert inside, f"{text.get_text()!r} is cut: {box} in {figure.bbox}"


def shown_tick_labels(axis):
    low, high = sorted(axis.get_view_interval())
    return [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]


def assert_apart(texts):
    """No two texts overlap; lines that lead from names to points may cross what they like."""
    for text in texts[:1]:
        text.figure.draw_without_rendering()
    text_class = pytest.importorskip("matplotlib.text").Text
    boxes = [text_class.get_window_extent(text) for text in texts if text.get_text()]
    pairs = [(one, other) for i, one in enumerate(boxes) for other in boxes[:i] if one.overlaps(other)]
    assert not pairs, f"{len(pairs)} pairs of {len(boxes)} texts overlap"


def xy_of(line):
    """What was drawn, as numbers; error bars keep their data as objects."""
    return np.asarray(line.get_xydata(), dtype=float).T


def lines_with(ax, marker):
    return [line for line in ax.lines if line.get_marker() == marker]
