"""Names of systems on an axis or beside points: whole, inside the figure, not on top of one another."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from musiceval_sk.reporting.plots.style import keep_labels_inside, lay_out

_LARGEST, _SMALLEST = 9.0, 4.0
# Share of its part of the figure that a name may take along its length.
_LENGTH_SHARE = 0.5
# Points from mark to name. A long name is written close by or not at all: lines to several would cross the others.
_DISTANCES = (6, 13, 22, 34, 48, 64)
_DISTANCES_OF_LONG_NAMES = _DISTANCES[:2]
_LONG = 8
_DIRECTIONS = (
    (1, 0.35),
    (1, -0.35),
    (-1, 0.35),
    (-1, -0.35),
    (0, 1),
    (0, -1),
    (1, 1),
    (1, -1),
    (-1, 1),
    (-1, -1),
)


def name_ticks(ax: Any, names: Sequence[str], *, axis: str, positions: Any = None) -> None:
    """Write names at ticks, shrunk or turned until they fit.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        With its limits set.
    names : sequence of str
        One a tick.
    axis : {"x", "y"}
        Which axis.
    positions : array-like, default=None
        Where; by default 0, 1, 2, ...
    """
    positions = np.arange(len(names)) if positions is None else positions
    set_ticks = getattr(ax, f"set_{axis}ticks")
    set_ticks(positions, names, parse_math=False, fontsize=_LARGEST, rotation=0)
    ticks = getattr(ax, f"get_{axis}ticklabels")()
    width = max(label.get_window_extent().width for label in ticks)
    frame = ax.get_window_extent()
    if axis == "x" and width + 6 <= frame.width / len(names):
        return
    room = frame.height if axis == "x" else frame.width
    size = max(_SMALLEST, _LARGEST * min(1.0, _LENGTH_SHARE * room / width))
    set_ticks(positions, names, parse_math=False, fontsize=size, rotation=90 if axis == "x" else 0)
    lay_out(ax)
    frame = ax.get_window_extent()
    step = (frame.width if axis == "x" else frame.height) / len(names) * 72 / ax.figure.dpi
    if size * 1.25 > step:
        size = max(_SMALLEST, step / 1.25)
        set_ticks(positions, names, parse_math=False, fontsize=size, rotation=90 if axis == "x" else 0)


def name_points(ax: Any, names: Sequence[str], points: np.ndarray) -> None:
    """Write each name beside its point; where they do not all fit, number the points and put a key beside the axes.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        With its limits and labels set: places are found for the figure as it stands.
    names : sequence of str
        One a point.
    points : np.ndarray [shape=(n, 2)]
        In the units of the data.
    """
    lay_out(ax)
    places = _find_places(ax, names, points)
    if None in places:
        numbers = [str(number) for number in range(1, len(names) + 1)]
        _write_key(ax, numbers, names)
        _drop_wide_legend(ax)
        keep_labels_inside(ax)
        places = _find_places(ax, numbers, points)
        names = numbers
    from matplotlib.patheffects import withStroke

    for name, point, place in zip(names, points, places, strict=True):
        offset = (5, 3) if place is None else place
        far = max(np.abs(offset)) > _DISTANCES[0]
        ax.annotate(
            name,
            tuple(point),
            xytext=offset,
            textcoords="offset points",
            fontsize=8,
            parse_math=False,
            horizontalalignment="center",
            verticalalignment="center",
            path_effects=[withStroke(linewidth=2, foreground="white")],
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": "0.5", "shrinkA": 0, "shrinkB": 2}
            if far
            else None,
        )


def _drop_wide_legend(ax: Any) -> None:
    """Do without a legend that no longer fits into axes that made room for a key."""
    lay_out(ax)
    legend = ax.get_legend()
    if legend is not None and legend.get_window_extent().width > ax.get_window_extent().width:
        legend.remove()


def _find_places(ax: Any, names: Sequence[str], points: np.ndarray) -> list[Any]:
    """Offsets in points of the names' centres; None where none is free."""
    scale = ax.figure.dpi / 72
    at = ax.transData.transform(points)
    frame = ax.get_window_extent()
    inside = np.array([frame.x0, frame.y0, frame.x1, frame.y1])
    mark = 3.5 * scale
    taken = [np.array([x - mark, y - mark, x + mark, y + mark]) for x, y in at]
    if ax.get_legend() is not None:
        taken.append(ax.get_legend().get_window_extent().extents)
    distances = _DISTANCES_OF_LONG_NAMES if max(map(len, names)) > _LONG else _DISTANCES
    places: list[Any] = []
    for (x, y), (width, height) in zip(at, _sizes(ax, names), strict=True):
        places.append(None)
        for distance, (right, up) in product(distances, _DIRECTIONS):
            centre_x = x + right * (distance * scale + width / 2)
            centre_y = y + up * (distance * scale + height / 2)
            box = np.array(
                [centre_x - width / 2, centre_y - height / 2, centre_x + width / 2, centre_y + height / 2]
            )
            if (box[:2] < inside[:2]).any() or (box[2:] > inside[2:]).any():
                continue
            if not any(_overlap(box, other) for other in taken):
                places[-1] = ((centre_x - x) / scale, (centre_y - y) / scale)
                taken.append(box)
                break
    return places


def _sizes(ax: Any, names: Sequence[str]) -> list[tuple[float, float]]:
    sizes = []
    for name in names:
        text = ax.text(0, 0, name, fontsize=8, parse_math=False, transform=ax.transAxes)
        box = text.get_window_extent()
        text.remove()
        sizes.append((1.06 * box.width + 2, box.height + 2))
    return sizes


def _overlap(one: np.ndarray, other: np.ndarray) -> bool:
    return bool((one[:2] < other[2:]).all() and (other[:2] < one[2:]).all())


def _write_key(ax: Any, numbers: Sequence[str], names: Sequence[str]) -> None:
    frame = ax.get_window_extent()
    text = "\n".join(f"{number:>2}  {name}" for number, name in zip(numbers, names, strict=True))
    key = ax.text(
        1.03, 1, text, transform=ax.transAxes, fontsize=8, verticalalignment="top", parse_math=False
    )
    box = key.get_window_extent()
    shrink = min(1.0, frame.height / box.height, _LENGTH_SHARE * ax.figure.bbox.width / box.width)
    key.set_fontsize(max(_SMALLEST, 8 * shrink))
