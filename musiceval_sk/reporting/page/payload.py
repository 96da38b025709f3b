"""What the page's script draws clips and systems from: arrays of one entry a clip, as JSON that is safe inside HTML."""

import json
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk.reporting.page.audio import Sounds
from musiceval_sk.reporting.page.data import Question, ReportData


def payload(data: ReportData, sounds: Sounds) -> dict[str, Any]:
    """Lay out clips, scores and predictions as arrays; systems and prompts are numbered."""
    clips = data.clips
    systems, system_names = pd.factorize(clips["system"].where(clips["system"] != ""))
    prompts, prompt_texts = pd.factorize(clips["prompt"].where(clips["prompt"] != ""))
    heard = dict.fromkeys(sounds.embedded, 1) | sounds.links
    return {
        "ids": [str(clip_id) for clip_id in clips.index],
        "system": systems.tolist(),
        "systems": [str(name) for name in system_names],
        "prompt": prompts.tolist(),
        "prompts": [str(text) for text in prompt_texts],
        "sound": [heard.get(clip_id) for clip_id in clips.index],
        "questions": [_question_arrays(question, data) for question in data.questions],
    }


def _question_arrays(question: Question, data: ReportData) -> dict[str, Any]:
    best = question.best(hears=True) or question.best(hears=False)
    truth = question.answers["truth"].reindex(data.clips.index)
    predictions = question.predictions.reindex(data.clips.index)
    spread, count = (data.clips.get(f"{question.target}_{name}") for name in ("spread", "count"))
    return {
        "target": question.target,
        "title": f"{question.target}, split {question.split}" if data.several_splits else question.target,
        "predictors": question.predictors,
        "best": question.predictors.index(best.predictor) if best else 0,
        "truth": _numbers(truth),
        "predictions": [_numbers(predictions[name]) for name in question.predictors],
        "spread": None if spread is None else _numbers(spread),
        "count": None if count is None else _numbers(count),
    }


def _numbers(values: pd.Series) -> list[float | int | None]:
    """Three decimals are finer than any reader sees, and keep the page small."""
    rounded = np.round(values.to_numpy(dtype=float), 3)
    return [None if not np.isfinite(x) else int(x) if x == int(x) else float(x) for x in rounded]


def as_script_text(content: Any) -> str:
    """JSON that no HTML parser can mistake for the end of its script, or for a comment."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
