"""Names of systems on an axis or beside points, and legends: whole, inside the figure, not on top of one another."""

import textwrap
from typing import Any

import numpy as np

_LARGEST, _SMALLEST = 9.0, 4.0
# Share of its part of the figure that a name may take along its length, and that a legend may take beside its axes.
_LENGTH_SHARE, _LEGEND_SHARE = 0.5, 0.45
# Points from mark to name. A long name is written close by or not at all: lines to several would cross the others.
_DISTANCES = (6, 13, 22, 34, 48, 64)
LONG = 8
_RIGHT = (1, 1, -1, -1, 0, 0, 1, 1, -1, -1)
_UP = (0.35, -0.35, 0.35, -0.35, 1, -1, 1, -1, 1, -1)


def lay_out(ax: Any) -> None:
    """Let the figure find its layout, so that places on the canvas can be measured."""
    ax.figure.canvas.figure.draw_without_rendering()


def fit_labels(ax: Any, named_axis: str | None = None) -> None:
    """Break title and axis labels that find no room into up to three lines, then shrink them, and names at ticks."""
    lay_out(ax)
    for text, axis in ((ax.title, "x"), (ax.xaxis.label, "x"), (ax.yaxis.label, "y")):
        room, along = 0.94 * _room(ax, axis), "width" if axis == "x" else "height"
        words, length = text.get_text(), getattr(text.get_window_extent(), along)
        if length <= room:
            continue
        if "\n" not in words:
            characters = len(words) / min(np.ceil(length / room), 3)
            text.set_text(textwrap.fill(words, int(1.1 * characters) + 1, break_long_words=False))
            length = getattr(text.get_window_extent(), along)
        text.set_fontsize(max(_SMALLEST, text.get_fontsize() * min(1.0, room / length)))
        lay_out(ax)
    if named_axis is not None:
        names = getattr(ax, f"{named_axis}axis").get_ticklabels()
        extent = getattr(ax.get_window_extent(), "width" if named_axis == "x" else "height")
        size = extent / len(names) * 72 / ax.figure.dpi / 1.25
        for name in names:
            name.set_fontsize(max(_SMALLEST, min(size, name.get_fontsize())))


def _room(ax: Any, axis: str) -> float:
    """Length that a centred text may have: to the figure's nearest edge, or half-way to the nearest other axes."""
    start, end = getattr(ax.get_window_extent(), f"interval{axis}")
    low, high = getattr(ax.figure.bbox, f"interval{axis}")
    for other in ax.figure.axes:
        first, last = getattr(other.get_window_extent(), f"interval{axis}")
        low = max(low, (last + start) / 2) if last <= start else low
        high = min(high, (first + end) / 2) if first >= end else high
    middle = (start + end) / 2
    return max(1.0, 2 * min(middle - low, high - middle))


def write_legend(ax: Any, *, beside: bool = False, title: str | None = None) -> None:
    """Put the legend outside the axes, where it hides nothing: beside them if asked and narrow enough, else above."""
    frame = ax.get_window_extent()
    style = {"frameon": False, "fontsize": 8.0, "title": title, "title_fontsize": 8.0}
    width = ax.legend(loc="upper left", **style).get_window_extent().width
    if beside and width <= _LEGEND_SHARE * frame.width:
        ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), **style)
        return
    # Letters are relatively wider at a lower resolution than the one they are measured at.
    size = max(5.0, 8.0 * min(1.0, 0.94 * frame.width / width))
    style |= {"fontsize": size, "title_fontsize": size}
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), **style)


def name_ticks(ax: Any, names: list[str], axis: str, positions: Any) -> None:
    """Write a name at each position, small enough for its part of the figure and, on the x axis, turned if need be."""
    ticks = getattr(ax, f"{axis}axis")
    ticks.set_ticks(positions, names, parse_math=False, fontsize=_LARGEST)
    width = max(name.get_window_extent().width for name in ticks.get_ticklabels())
    frame = ax.get_window_extent()
    if axis == "x" and width + 6 <= frame.width / len(names):
        return
    room = frame.height if axis == "x" else frame.width
    for name in ticks.get_ticklabels():
        name.set_fontsize(max(_SMALLEST, _LARGEST * min(1.0, _LENGTH_SHARE * room / width)))
        name.set_rotation(90 if axis == "x" else 0)


def name_points(ax: Any, names: list[str], points: np.ndarray) -> None:
    """Write each name beside its point; where they do not all fit, number the points and put a key beside the axes.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        With its limits and labels set: places are found for the figure as it stands.
    names : list of str
        One a point.
    points : np.ndarray [shape=(n, 2)]
        In the units of the data.
    """
    from matplotlib.patheffects import withStroke

    fit_labels(ax)
    offsets = _find_offsets(ax, names, points)
    if np.isnan(offsets).any():
        numbers = [str(number) for number in range(1, len(names) + 1)]
        _write_key(ax, numbers, names)
        fit_labels(ax)
        names, offsets = numbers, _find_offsets(ax, numbers, points)
    style = {"textcoords": "offset points", "fontsize": 8, "ha": "center", "va": "center"}
    halo = [withStroke(linewidth=2, foreground="white")]
    line = {"arrowstyle": "-", "linewidth": 0.5, "color": "0.5", "shrinkA": 0, "shrinkB": 2}
    for name, point, offset in zip(names, points, offsets, strict=True):
        place = (5, 3) if np.isnan(offset).any() else tuple(offset)
        leader = line if np.abs(offset).max() > _DISTANCES[0] else None
        ax.annotate(name, point, place, arrowprops=leader, path_effects=halo, parse_math=False, **style)


def _find_offsets(ax: Any, names: list[str], points: np.ndarray) -> np.ndarray:
    """From each point to the centre of its name, in points of type; nan where no place is free."""
    scale = ax.figure.dpi / 72
    frame = ax.get_window_extent()
    at = ax.transData.transform(points)
    mark = 3.5 * scale
    taken = [(x - mark, y - mark, x + mark, y + mark) for x, y in at]
    if ax.get_legend() is not None:
        taken.append(ax.get_legend().get_window_extent().extents)
    directions = np.column_stack([_RIGHT, _UP])
    distances = _DISTANCES[:2] if max(map(len, names)) > LONG else _DISTANCES
    offsets = np.full(points.shape, np.nan)
    for i, name in enumerate(names):
        size = _size(ax, name)
        steps = np.concatenate([directions * (distance * scale + size / 2) for distance in distances])
        low, high = at[i] + steps - size / 2, at[i] + steps + size / 2
        boxes = np.array(taken)[:, np.newaxis]
        overlap = ((low < boxes[..., 2:]) & (boxes[..., :2] < high)).all(axis=-1).any(axis=0)
        inside = ((low >= frame.min) & (high <= frame.max)).all(axis=-1)
        free = np.flatnonzero(inside & ~overlap)
        if len(free):
            offsets[i] = steps[free[0]] / scale
            taken.append((*low[free[0]], *high[free[0]]))
    return offsets


def _size(ax: Any, name: str) -> np.ndarray:
    text = ax.text(0, 0, name, fontsize=8, parse_math=False, transform=ax.transAxes)
    box = text.get_window_extent()
    text.remove()
    return np.array([1.06 * box.width + 2, box.height + 2])


def _write_key(ax: Any, numbers: list[str], names: list[str]) -> None:
    """Write which number is which name beside the axes, and do without a legend that no longer fits into them."""
    frame = ax.get_window_extent()
    text = "\n".join(f"{number:>2}  {name}" for number, name in zip(numbers, names, strict=True))
    key = ax.text(1.03, 1, text, transform=ax.transAxes, fontsize=8, va="top", parse_math=False)
    box = key.get_window_extent()
    shrink = min(1.0, frame.height / box.height, _LENGTH_SHARE * ax.figure.bbox.width / box.width)
    key.set_fontsize(max(_SMALLEST, 8 * shrink))
    lay_out(ax)
    legend = ax.get_legend()
    if legend is not None and legend.get_window_extent().width > ax.get_window_extent().width:
        legend.remove()
