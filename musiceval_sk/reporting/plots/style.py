"""What all figures share: colours, axes, and labels that stay inside."""

import io
from typing import Any

import numpy as np

from musiceval_sk._optional import import_optional

# Okabe and Ito's palette, safe for colour-blind readers. https://jfly.uni-koeln.de/color/
INK = "#000000"
BLUE = "#0072b2"
ACCENT = "#d55e00"
SERIES_COLOURS = (BLUE, ACCENT, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK)
SERIES_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SERIES_LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (3, 3)))
LIGHT_FILLS = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#0072b2", "#d55e00")
HATCHES = ("", "//", "..", "xx", "\\\\", "--", "oo")

_SMALLEST_TEXT = 5.0
# Letters are relatively wider at a lower resolution than the one they are measured at.
_FULL = 0.94
# Of the width of its axes, for a legend beside them.
_LEGEND_SHARE = 0.45


class Display:
    """Base of the displays: where it was drawn, and how a notebook shows it."""

    ax_: Any
    figure_: Any

    def _start(self, ax: Any, size: tuple[float, float]) -> Any:
        """Make axes of ``size`` inches unless there are some."""
        if ax is None:
            modules = [
                import_optional(f"matplotlib.{name}", extra="report", purpose="Drawing figures")
                for name in ("figure", "backends.backend_agg")
            ]
            figure = modules[0].Figure(figsize=size, layout="constrained")
            modules[1].FigureCanvasAgg(figure)
            ax = figure.subplots()
        self.ax_, self.figure_ = ax, ax.figure
        return ax

    def _repr_png_(self) -> bytes | None:
        if not hasattr(self, "figure_"):
            return None
        picture = io.BytesIO()
        self.figure_.canvas.figure.savefig(picture, format="png")
        return picture.getvalue()


def spread_out(count: int, half_width: float) -> Any:
    """Offsets that keep dots of one row apart without drawing a pattern: multiples of the golden ratio."""
    return (np.arange(count) * 0.6180339887 % 1 - 0.5) * 2 * half_width if count > 1 else np.zeros(count)


def lay_out(ax: Any) -> None:
    """Let the figure find its layout, so that places on the canvas can be measured."""
    ax.figure.canvas.figure.draw_without_rendering()


def write_legend(ax: Any, *, beside: bool = False, title: str | None = None) -> None:
    """Put the legend outside the axes, where it hides nothing: beside them if asked and narrow enough, else above."""
    frame = ax.get_window_extent()
    style = {"frameon": False, "fontsize": 8.0, "title": title, "title_fontsize": 8.0}
    width = ax.legend(**style).get_window_extent().width
    if beside and width <= _LEGEND_SHARE * frame.width:
        ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), **style)
        return
    size = max(_SMALLEST_TEXT, 8.0 * min(1.0, _FULL * frame.width / width))
    style |= {"fontsize": size, "title_fontsize": size}
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), **style)


def keep_labels_inside(ax: Any) -> None:
    """Break or shrink title and axis labels that are longer than their part of the figure."""
    lay_out(ax)
    for text, along in ((ax.title, "x"), (ax.xaxis.label, "x"), (ax.yaxis.label, "y")):
        if not text.get_text():
            continue
        for _ in range(2):
            if _excess(ax, text, along) > _FULL:
                text.set_text(_broken(text.get_text()))
                lay_out(ax)
        excess = _excess(ax, text, along)
        if excess > _FULL:
            text.set_fontsize(max(_SMALLEST_TEXT, text.get_fontsize() * _FULL / excess))
            lay_out(ax)


def _excess(ax: Any, text: Any, along: str) -> float:
    """Length of a centred text over the room that it has."""
    box, frame, axes = text.get_window_extent(), ax.figure.bbox, ax.get_window_extent()
    # Side by side with other axes, a text may reach as far beyond its own as the nearest neighbour or edge allows.
    low, high = getattr(frame, f"{along}0"), getattr(frame, f"{along}1")
    start, end = getattr(axes, f"{along}0"), getattr(axes, f"{along}1")
    for other in ax.figure.axes:
        others = other.get_window_extent()
        if getattr(others, f"{along}1") <= start:
            low = max(low, (getattr(others, f"{along}1") + start) / 2)
        if getattr(others, f"{along}0") >= end:
            high = min(high, (getattr(others, f"{along}0") + end) / 2)
    middle = (start + end) / 2
    room = max(2 * min(middle - low, high - middle), 1.0)
    return (box.width if along == "x" else box.height) / room


def _broken(text: str) -> str:
    """Break the longest line at the space nearest its middle, after a comma rather than elsewhere."""
    lines = text.split("\n")
    longest = max(range(len(lines)), key=lambda i: len(lines[i]))
    line = lines[longest]
    spaces = [i for i, sign in enumerate(line) if sign == " " and line[:i].count("[") == line[:i].count("]")]
    if spaces:
        cut = min(spaces, key=lambda i: abs(i - len(line) / 2) - (len(line) / 6) * (line[i - 1] == ","))
        lines[longest : longest + 1] = [line[:cut], line[cut + 1 :]]
    return "\n".join(lines)
