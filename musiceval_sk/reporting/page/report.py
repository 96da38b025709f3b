"""One self-contained HTML page of a study: verdict, tables, figures, systems, and the clips to listen to."""

import base64
import hashlib
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._files import atomic_write
from musiceval_sk._optional import import_optional
from musiceval_sk._text import require_known
from musiceval_sk.reporting.page.media import MODES, Sounds, collect_sounds, draw_pictures
from musiceval_sk.reporting.page.sections import Section, gather, verdict
from musiceval_sk.statistics.metrics import METRICS
from musiceval_sk.studies.result import KINDS, NO_FEATURES, StudyResult

_SCRIPTS = ("elements.js", "page.js", "tables.js", "player.js", "clips.js", "systems.js", "router.js")
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
    require_known("audio", audio, MODES)
    if not max_audio_mb >= 0:
        raise ValueError(f"max_audio_mb={max_audio_mb} must be at least 0")
    page = Path(os.path.abspath(out))
    study = study if isinstance(study, StudyResult) else StudyResult.from_json(study)
    sections, table = gather(study, clips, ratings)
    sounds = collect_sounds(table, _by_difference(sections, table), page, audio, max_audio_mb)
    values = _values(sections, table, sounds) | {"note": note, "about": study.about, "audio": audio}
    return write_page(page, "report.html", values, _SCRIPTS)


def write_page(page: Path, template: str, values: dict[str, Any], scripts: Sequence[str]) -> Path:
    """Fill in a template with values, the style and the scripts, and write the page; its folder is made if need be."""
    jinja2 = import_optional("jinja2", extra="report", purpose="A report")
    options = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True}
    loader = jinja2.PackageLoader(_TEMPLATES)
    environment = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, **options)
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    style = _template("report.css")
    script = "(() => {\n'use strict';\n" + "\n".join(_template(name) for name in scripts) + "\n})();"
    values |= {"style": style, "style_hash": _hash(style), "script": script, "script_hash": _hash(script)}
    text = environment.get_template(template).render(values)
    with atomic_write(page) as aside:
        aside.write_bytes(text.encode("utf-8", "replace"))  # file names may hold bytes that are no text
    return page


def _values(sections: list[Section], clips: pd.DataFrame, sounds: Sounds) -> dict[str, Any]:
    return {
        "sections": [(section, verdict(section), draw_pictures(section)) for section in sections],
        "metrics": METRICS,
        "kinds": KINDS,
        "no_features": NO_FEATURES,
        "has_intervals": any(section.tables[section.kind]["low"].notna().any() for section in sections),
        "n_clips": len(clips),
        "n_systems": clips["system"].loc[lambda names: names != ""].nunique(),
        "audio_notes": sounds.sentences(),
        "embedded": [(clips.index.get_loc(clip_id), *sound) for clip_id, sound in sounds.embedded.items()],
        "payload": payload(sections, clips, sounds),
    }


def payload(sections: list[Section], clips: pd.DataFrame, sounds: Sounds) -> dict[str, Any]:
    """Lay out clips, scores and predictions for the page's script, one entry a clip; systems and prompts are numbered."""
    systems, system_names = pd.factorize(clips["system"].where(clips["system"] != ""))
    prompts, prompt_texts = pd.factorize(clips["prompt"].where(clips["prompt"] != ""))
    urls = dict.fromkeys(sounds.embedded, 1) | sounds.links
    return {
        "ids": [str(clip_id) for clip_id in clips.index],
        "system": systems.tolist(),
        "systems": [str(name) for name in system_names],
        "prompt": prompts.tolist(),
        "prompts": [str(text) for text in prompt_texts],
        "sound": [urls.get(clip_id) for clip_id in clips.index],
        "sections": [_arrays(section, clips) for section in sections],
    }


def _arrays(section: Section, clips: pd.DataFrame) -> dict[str, Any]:
    predictors = list(section.tables[section.kind].index)
    predictions = section.predictions.reindex(clips.index)
    spread, count = (clips.get(f"{section.target}_{name}") for name in ("spread", "count"))
    return {
        "title": section.title,
        "predictors": predictors,
        "best": 0 if section.shown is None else predictors.index(section.shown.name),
        "truth": _numbers(section.answers["truth"].reindex(clips.index)),
        "predictions": [_numbers(predictions[name]) for name in predictors],
        "spread": None if spread is None else _numbers(spread),
        "count": None if count is None else _numbers(count),
    }


def _numbers(values: pd.Series) -> list[float | int | None]:
    """Three decimals are finer than any reader sees, and keep the page small."""
    rounded = np.round(values.to_numpy(dtype=float), 3)
    return [None if not np.isfinite(x) else int(x) if x == int(x) else float(x) for x in rounded]


def _by_difference(sections: list[Section], clips: pd.DataFrame) -> list[str]:
    """Clip ids, those first where the best predictor of some section is farthest from the raters."""
    farthest = pd.Series(0.0, index=clips.index)
    for section in sections:
        if section.shown is not None:
            gap = (section.predictions[section.shown.name] - section.answers["truth"]).abs()
            farthest = np.maximum(farthest, gap.reindex(farthest.index).fillna(0.0))
    return list(farthest.sort_values(ascending=False, kind="stable").index)


def _template(name: str) -> str:
    return (files(_TEMPLATES) / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Digest that a content security policy asks for, so that no other script or style runs."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
