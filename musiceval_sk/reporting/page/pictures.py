"""Pictures of a report: drawings that follow the reader's choice of a light or a dark page."""

import base64
import colorsys
import io
import math
import re
import warnings
from typing import Any

from musiceval_sk._optional import import_optional
from musiceval_sk.reporting.page.sections import Section

_MOST_BYTES_OF_LINES = 150_000
_DOTS_PER_INCH = 180
# Lightness that white and black have on a dark page.
_DARKEST, _LIGHTEST = 0.12, 0.92


def draw_pictures(section: Section) -> dict[str, str]:
    """Draw the best predictor of a section: by system where systems are named, and its calibration.

    Parameters
    ----------
    section : Section
        What was predicted.

    Returns
    -------
    dict of str to str
        Data URIs by what is drawn; none where no predictor could be judged.
    """
    best = section.shown
    if best is None:
        return {}
    matplotlib = import_optional("matplotlib", extra="report", purpose="A report")
    from musiceval_sk.reporting.plots.score_calibration import ScoreCalibrationDisplay
    from musiceval_sk.reporting.plots.systems import (
        SystemRankingDisplay,
        SystemResidualsDisplay,
        SystemScatterDisplay,
    )

    rows = section.answers.assign(prediction=section.predictions[best.name]).dropna()
    systems = None if section.systems is None else section.systems.loc[rows.index]
    displays: dict[str, Any] = {}
    if systems is not None and systems.nunique() > 1:
        displays = {"scatter": SystemScatterDisplay, "ranking": SystemRankingDisplay}
        displays["residuals"] = SystemResidualsDisplay
    displays["calibration"] = ScoreCalibrationDisplay
    pictures = {}
    # A picture in an <img> can run no script; letters drawn as paths look the same everywhere.
    settings = {"svg.fonttype": "path", "svg.hashsalt": "musiceval", "text.parse_math": False}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; the page has it as text.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        for kind, display in displays.items():
            options = {"systems": systems, "name": section.target}
            drawn = display.from_predictions(rows["truth"], rows["prediction"], **options)
            if kind == "scatter":
                # The scatter's own figure is pooled, whatever decides under this split.
                interval = f", 95 % interval {best['low']:.2f} to {best['high']:.2f}"
                score = f"S_SRCC, {section.kind}: {best['S_SRCC']:.2f}"
                drawn.ax_.set_title(score + (interval if math.isfinite(best["low"]) else ""), fontsize=10)
            pictures[kind] = _as_uri(drawn.figure_)
    return pictures


def _as_uri(figure: Any) -> str:
    """Draw lines and letters; dots as pixels where thousands of them would make the page heavy."""
    figure.set_layout_engine("none")  # the display has found its layout; that takes most of the time
    svg = _drawn(figure)
    if len(svg) > _MOST_BYTES_OF_LINES:
        for line in figure.axes[0].lines:
            line.set_rasterized(line.get_marker() in (".", "|"))
        svg = _drawn(figure)
    return f"data:image/svg+xml;base64,{base64.b64encode(follow_scheme(svg).encode()).decode('ascii')}"


def _drawn(figure: Any) -> str:
    drawn = io.StringIO()
    options = {"metadata": {"Date": None}, "transparent": True, "dpi": _DOTS_PER_INCH}
    figure.canvas.figure.savefig(drawn, format="svg", **options)
    return drawn.getvalue()


def follow_scheme(svg: str) -> str:
    """Give each colour of a drawing a second one for readers who prefer dark pages.

    Parameters
    ----------
    svg : str
        As matplotlib draws it, on no background.

    Returns
    -------
    str
        The same with colours as variables, which its own style sheet sets by ``prefers-color-scheme``.
    """
    # Matplotlib leaves out a fill of black.
    colours = sorted({"#000000", *re.findall(r"(?<=: )#[0-9a-f]{6}\b", svg)})
    light, dark = (
        "".join(f"--c{colour[1:]}:{shown(colour)};" for colour in colours) for shown in (str, dark_colour)
    )
    style = (
        f"<style>svg{{{light}fill:var(--c000000)}}@media (prefers-color-scheme:dark){{svg{{{dark}}}"
        "image{filter:invert(1) hue-rotate(180deg)}}</style>"
    )
    svg = re.sub(r"(?<=: )#([0-9a-f]{6})\b", r"var(--c\1)", svg)
    return svg.replace("<defs>", style + "<defs>", 1)


def dark_colour(colour: str) -> str:
    """Turn a colour for white paper into one of the same hue for a dark page.

    Parameters
    ----------
    colour : str
        Hexadecimal, such as ``"#0072b2"``.

    Returns
    -------
    str
        Hexadecimal; black comes out nearly white, white nearly black.

    Examples
    --------
    >>> dark_colour("#000000"), dark_colour("#ffffff")
    ('#ebebeb', '#1f1f1f')
    """
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    lightness = _LIGHTEST - (_LIGHTEST - _DARKEST) * lightness
    return "#" + "".join(
        f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue, lightness, saturation)
    )
