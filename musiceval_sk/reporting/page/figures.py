"""Figures of a report, each a picture that the page holds itself."""

import base64
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._optional import import_optional
from musiceval_sk.reporting.page.data import Question, ReportData, ScoreRow

_FEWEST_SYSTEMS = 2
_MOST_BYTES_OF_LINES = 150_000
_DOTS_PER_INCH = 180


@dataclass(frozen=True)
class Picture:
    """A figure as a data URI, with its caption, and a description for those who do not see it."""

    uri: str
    caption: str
    description: str


def draw_pictures(question: Question, data: ReportData) -> list[Picture]:
    """Draw the best predictor of a question: by system where systems are named, and its calibration.

    Parameters
    ----------
    question : Question
        What was asked.
    data : ReportData
        Where the systems are.

    Returns
    -------
    list of Picture
        None where no predictor could be judged.
    """
    best = question.best(hears=True) or question.best(hears=False)
    if best is None:
        return []
    matplotlib = import_optional("matplotlib", extra="report", purpose="A report")
    rows = question.answers.assign(prediction=question.predictions[best.predictor]).dropna()
    systems = data.systems_of(question).reindex(rows.index).dropna()
    pictures = []
    # A picture in an <img> can run no script; letters drawn as paths look the same everywhere.
    with matplotlib.rc_context(
        {"svg.fonttype": "path", "svg.hashsalt": "musiceval", "text.parse_math": False}
    ):
        for draw, caption, description in _figures(systems.nunique(), _score_of(question, best)):
            with warnings.catch_warnings():
                # A name in a script that the font lacks is drawn as boxes; the page has it as text.
                warnings.filterwarnings("ignore", message="Glyph .* missing from")
                display = draw(rows, systems if len(systems) else None, question.target)
                uri = _as_uri(display.figure_)
            pictures.append(Picture(uri, caption.format(best.predictor), description.format(best.predictor)))
    return pictures


def _score_of(question: Question, best: ScoreRow) -> str:
    interval = f", 95 % interval {best.low:.2f} to {best.high:.2f}" if np.isfinite(best.low) else ""
    return f"S_SRCC, {question.kind}: {best.scores['S_SRCC']:.2f}{interval}"


def _figures(n_systems: int, score: str) -> list[tuple[Callable[..., Any], str, str]]:
    from musiceval_sk.reporting.plots.score_calibration import ScoreCalibrationDisplay
    from musiceval_sk.reporting.plots.system_ranking import SystemRankingDisplay
    from musiceval_sk.reporting.plots.system_residuals import SystemResidualsDisplay
    from musiceval_sk.reporting.plots.system_scatter import SystemScatterDisplay

    by_system = [
        (
            SystemScatterDisplay,
            "Each system's mean, predicted by {} against the raters'. On the dashed line both agree.",
            "Scatter of predicted against true system means, predictor {}",
        ),
        (
            SystemRankingDisplay,
            "Systems in the raters' order, with the means that {} predicts. Bars join systems that raters' scores cannot tell apart.",
            "Systems ranked by true mean, with predictions of {}",
        ),
        (
            SystemResidualsDisplay,
            "How far {} lies above or below the raters, system by system, best system on top.",
            "Differences between prediction and truth by system, predictor {}",
        ),
    ]
    calibration = (
        ScoreCalibrationDisplay,
        "Clips that {} scores alike: what raters gave them on average. On the dashed line a prediction means what it says.",
        "Mean true score in bins of predicted score, predictor {}",
    )
    chosen = [*(by_system if n_systems >= _FEWEST_SYSTEMS else []), calibration]
    # The scatter's own figure is pooled, whatever decides under this split.
    titles: dict[Any, str] = {SystemScatterDisplay: score}
    return [
        (_drawer(display, titles.get(display)), caption, description)
        for display, caption, description in chosen
    ]


def _drawer(display: Any, title: str | None) -> Callable[..., Any]:
    def draw(rows: pd.DataFrame, systems: pd.Series | None, target: str) -> Any:
        drawn = display.from_predictions(rows["truth"], rows["prediction"], systems=systems, name=target)
        if title is not None:
            drawn.ax_.set_title(title, fontsize=10)
        return drawn

    return draw


def _as_uri(figure: Any) -> str:
    """Draw lines where they are few, pixels where thousands of dots would make the page heavy."""
    figure.set_layout_engine(
        "none"
    )  # the display has found its layout; finding it again takes most of the time
    drawn = io.BytesIO()
    figure.canvas.figure.savefig(drawn, format="svg", metadata={"Date": None})
    kind = "svg+xml"
    if len(drawn.getvalue()) > _MOST_BYTES_OF_LINES:
        drawn, kind = io.BytesIO(), "png"
        figure.canvas.figure.savefig(drawn, format=kind, dpi=_DOTS_PER_INCH)
    return f"data:image/{kind};base64," + base64.b64encode(drawn.getvalue()).decode("ascii")
