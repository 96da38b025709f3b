"""One self-contained HTML page of a study: verdict, tables, figures, systems, and the clips to listen to."""

import base64
import hashlib
import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._optional import import_optional
from musiceval_sk.reporting.page.audio import MODES, Sounds, collect_sounds
from musiceval_sk.reporting.page.data import ReportData, gather
from musiceval_sk.reporting.page.figures import draw_pictures
from musiceval_sk.reporting.page.payload import as_script_text, payload
from musiceval_sk.reporting.page.verdict import verdict
from musiceval_sk.statistics.metrics import METRICS
from musiceval_sk.studies.result import KINDS, StudyResult

_SCRIPTS = ("page.js", "tables.js", "player.js", "clips.js", "systems.js", "router.js")
_TEMPLATES = "musiceval_sk.reporting.page"


def write_report(
    study: StudyResult | str | Path,
    out: str | Path,
    *,
    clips: pd.DataFrame | None = None,
    ratings: str | Path | pd.DataFrame | None = None,
    audio: str = "link",
    max_audio_mb: float = 20.0,
    note: str = "",
) -> Path:
    """Write a study as one HTML page that needs no network.

    Parameters
    ----------
    study : StudyResult, str or Path
        The study, or the file that `StudyResult.to_json` wrote.
    out : str or Path
        The page to write; its folder is made if need be.
    clips : pandas.DataFrame, default=None
        Clips table of the study. Without it the page has no systems, prompts and sounds, and says so.
    ratings : str, Path or pandas.DataFrame, default=None
        Raw ratings, see `aggregate_ratings`, for the raters' spread; without it, the columns ``<target>_se`` and
        ``<target>_count`` of ``clips`` are used if they are there.
    audio : {"link", "embed", "none"}, default="link"
        Whether clips are linked by their path relative to the page, or held by the page itself.
    max_audio_mb : float, default=20.0
        Most megabytes (1,000,000 bytes) that embedded sounds may add to the page, clips first whose prediction is
        farthest from the raters. The page says which were left out.
    note : str, default=""
        A sentence above everything else, such as what was simulated.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ValueError
        If ``audio`` is unknown, ``max_audio_mb`` negative, or the file holds no study.
    ClipsTableError
        If the study predicts nothing, or none of its clips is in ``clips``.
    ImportError
        If jinja2 or matplotlib is missing; they come with the extra ``report``.

    Warns
    -----
    SkippedWarning
        If ``clips`` lacks some of the study's clips.
    """
    if audio not in MODES or not max_audio_mb >= 0:
        raise ValueError(
            f"audio must be one of {', '.join(MODES)} and max_audio_mb at least 0; got {audio!r} and {max_audio_mb}"
        )
    jinja2 = import_optional("jinja2", extra="report", purpose="A report")
    page = Path(os.path.abspath(out))
    data = gather(study if isinstance(study, StudyResult) else read_study(study), clips, ratings)
    sounds = collect_sounds(data.clips, _by_difference(data), page, audio, max_audio_mb)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("report.html").render(_values(data, sounds, audio, note))
    page.parent.mkdir(parents=True, exist_ok=True)
    # File names may hold bytes that are no text.
    page.write_bytes(text.encode("utf-8", "replace"))
    return page


def read_study(path: str | Path) -> StudyResult:
    """Read a study, or say why a file is none.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    StudyResult
        See `StudyResult.from_json`.

    Raises
    ------
    ValueError
        If the file is no JSON, or lacks a part of a study.
    """
    parts = ("about", "scores", "predictions", "notes", "comparisons")
    advice = "give the study.json that musiceval study --out, or StudyResult.to_json, wrote"
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: no JSON ({error}); {advice}") from error
    missing = [name for name in parts if not isinstance(content, dict) or name not in content]
    if missing:
        raise ValueError(f"{path}: no study, it lacks {', '.join(missing)}; {advice}")
    return StudyResult.from_json(path)


def _values(data: ReportData, sounds: Sounds, audio: str, note: str) -> dict[str, Any]:
    markup = import_optional("markupsafe", extra="report", purpose="A report").Markup
    style = _template("report.css")
    script = "(() => {\n'use strict';\n" + "\n".join(_template(name) for name in _SCRIPTS) + "\n})();"
    order = {clip_id: place for place, clip_id in enumerate(data.clips.index)}
    return {
        "note": note,
        "about": data.about,
        "sections": [
            {
                "question": question,
                "verdict": verdict(question, data),
                "pictures": draw_pictures(question, data),
            }
            for question in data.questions
        ],
        "metrics": METRICS,
        "kinds": KINDS,
        "has_intervals": any(
            np.isfinite(row.low) for question in data.questions for row in question.tables[question.kind]
        ),
        "n_clips": len(data.clips),
        "n_systems": data.clips["system"].loc[lambda names: names != ""].nunique(),
        "audio": audio,
        "audio_notes": sounds.sentences(),
        "embedded": [(order[clip_id], *sound) for clip_id, sound in sounds.embedded.items()],
        "style": markup(style),
        "style_hash": _hash(style),
        "script": markup(script),
        "script_hash": _hash(script),
        "payload": markup(as_script_text(payload(data, sounds))),
    }


def _by_difference(data: ReportData) -> list[str]:
    """Clip ids, those first where the best predictor of some question is farthest from the raters."""
    farthest = pd.Series(0.0, index=data.clips.index)
    for question in data.questions:
        best = question.best(hears=True) or question.best(hears=False)
        if best is not None:
            gap = (question.predictions[best.predictor] - question.answers["truth"]).abs()
            farthest = np.maximum(farthest, gap.reindex(farthest.index).fillna(0.0))
    return list(farthest.sort_values(ascending=False, kind="stable").index)


def _template(name: str) -> str:
    return (files(_TEMPLATES) / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Digest that a content security policy asks for, so that no other script or style runs."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
