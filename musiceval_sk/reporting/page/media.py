"""Sounds and pictures of a report.

Sounds are linked by relative path, or held by the page itself up to a limit; drawings follow the reader's choice of a light or a dark
page.
"""

import base64
import colorsys
import io
import math
import os
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from musiceval_sk._files import begins_as_sound
from musiceval_sk._optional import import_optional
from musiceval_sk._text import listed
from musiceval_sk.datasets.clips import clip_times
from musiceval_sk.reporting.page.sections import Section

MODES = ("link", "embed", "none")
_SUFFIXES = {"wav": "wav", "flac": "flac", "mpeg": "mp3", "ogg": "ogg oga opus", "mp4": "m4a", "aac": "aac"}
_SUFFIXES |= {"webm": "webm", "aiff": "aif aiff"}
_MEDIA_TYPES = {f".{suffix}": f"audio/{kind}" for kind, all_ in _SUFFIXES.items() for suffix in all_.split()}
_MOST_BYTES_OF_LINES = 150_000
_DOTS_PER_INCH = 180
# Lightness that white and black have on a dark page.
_DARKEST, _LIGHTEST = 0.12, 0.92


@dataclass
class Sounds:
    """What the page can play.

    Attributes
    ----------
    links : dict of str to str
        URL by clip id, relative to the page, percent-encoded.
    embedded : dict of str to (str, str)
        Media type and base64 text by clip id, as of a data URL.
    left_out : dict of str to list of str
        Clip ids by reason.
    """

    links: dict[str, str] = field(default_factory=dict)
    embedded: dict[str, tuple[str, str]] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def sentences(self) -> list[str]:
        """Say what was left out, and why."""
        return [
            f"{len(ids)} {'clip has' if len(ids) == 1 else 'clips have'} no sound here, {reason}: {listed(ids)}."
            for reason, ids in self.left_out.items()
        ]


def collect_sounds(
    clips: pd.DataFrame, order: Iterable[str], page: Path, mode: str, max_audio_mb: float
) -> Sounds:
    """Link or embed the sounds of clips.

    Parameters
    ----------
    clips : pandas.DataFrame
        By clip id the ``path`` of its sound file, missing where unknown, and ``start_time`` and ``end_time`` as in a clips table.
    order : iterable of str
        Clip ids, those first that should be embedded before the limit is reached.
    page : Path
        Where the report is going to be.
    mode : {"link", "embed", "none"}
        How.
    max_audio_mb : float
        Most megabytes (1,000,000 bytes) that embedded sounds may add to the page.

    Returns
    -------
    Sounds
        Only files whose suffix and, to be embedded, whose first bytes are those of sound are taken, so that a table cannot smuggle other
        files into a page.
    """
    sounds = Sounds()
    room = max_audio_mb * 1e6
    starts, ends = clip_times(clips)
    for clip_id in order if mode != "none" else ():
        path, reason = clips.at[clip_id, "path"], ""
        suffix = Path(path).suffix.lower() if isinstance(path, str | os.PathLike) else None
        part = _fragment(starts[clip_id], ends[clip_id])
        if suffix is None:
            reason = "for no file is known"
        elif suffix not in _MEDIA_TYPES:
            reason = f"for the file's suffix is none of {', '.join(_MEDIA_TYPES).replace('.', '')}"
        elif not os.path.isfile(path):
            reason = "for the file is not there"
        elif mode == "link":
            sounds.links[clip_id] = relative_url(Path(path), page) + part
        elif 4 * ((os.path.getsize(path) + 2) // 3) > room:
            reason = f"for embedded sounds may add {max_audio_mb:g} MB at most"
        else:
            try:
                if begins_as_sound(path):
                    text = base64.b64encode(Path(path).read_bytes()).decode("ascii")
                    room -= len(text)
                    sounds.embedded[clip_id] = (_MEDIA_TYPES[suffix], text + part)
                else:
                    reason = "for the file does not begin as a sound"
            except OSError:
                reason = "for the file cannot be read"
        if reason:
            sounds.left_out.setdefault(reason, []).append(clip_id)
    return sounds


def _fragment(start: float, end: float) -> str:
    """Say which part of a sound to play, in the words of W3C's Media Fragments."""
    if (start, end) == (0, math.inf):
        return ""
    return f"#t={start:.12g}" if end == math.inf else f"#t={start:.12g},{end:.12g}"


def relative_url(path: Path, page: Path) -> str:
    """Percent-encode the way from a page to a file, so that no name can pass for a scheme such as ``javascript:``.

    Parameters
    ----------
    path : Path
        The file.
    page : Path
        The page that is to link to it.

    Returns
    -------
    str
        A relative URL; ``file:`` where there is no relative way, as between drives of Windows.
    """
    try:
        way = os.path.relpath(path, page.parent)
    except ValueError:
        return path.absolute().as_uri()
    return quote(os.fsencode(way.replace(os.sep, "/")), safe="/")


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
    from musiceval_sk.reporting.plots.scores import ScoreCalibrationDisplay
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
