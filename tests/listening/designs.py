"""Made designs of listening tests, with short tones for clips."""

import json

import numpy as np
import soundfile

from musiceval_sk.listening.page.build import test_id, trial_names

PROMPTS = ("calm piano", "fast guitars")


def made_design(folder, method="acr", n_clips=6, raters=("R01", "R02"), seconds=0.3, repeat=True):
    """Write sounds and a design in which every rater hears every clip, and the first one again."""
    (folder / "sounds").mkdir(parents=True)
    times = np.arange(int(8000 * seconds)) / 8000
    clips = {}
    for number in range(n_clips):
        path = f"sounds/system-{number % 3}_take-{number}.wav"
        soundfile.write(folder / path, 0.3 * np.sin(2 * np.pi * (200 + 20 * number) * times), 8000)
        prompt = PROMPTS[number % len(PROMPTS)]
        clips[f"C{number:03d}"] = {
            "path": path,
            "prompt": prompt,
            "system": f"system-{number % 3}",
            "probe": number == 1,
        }
    ids = list(clips)
    if method == "pairs":
        trials = [{"clip_a": a, "clip_b": b} for a, b in zip(ids, ids[1:], strict=False)]
        training = ids[:2]
    else:
        trials = [{"clip_id": clip} for clip in ids] + [{"clip_id": ids[0], "repeat": True}] * repeat
        training = [ids[-1]]
    half = len(trials) // 2 + 1
    batches = [{"batch": 1, "trials": trials[:half]}, {"batch": 2, "trials": trials[half:]}]
    design = {
        "format": "musiceval-listening-test",
        "version": 1,
        "seed": 0,
        "method": method,
        "scales": ["impression", "alignment"],
        "clips": clips,
        "training": training,
        "raters": dict.fromkeys(raters, batches),
        "balance": {},
    }
    path = folder / "design.json"
    path.write_text(json.dumps(design))
    return path


def given_answers(test, score):
    """Answers as the page makes them, by rater; ``score(rater, clip, scale)`` says what is given, of pairs ``score(rater, a, b)``."""
    names, given = trial_names(test), {rater: [] for rater in test.raters}
    for rater, batch, position, trial in test.trials():
        if test.method == "pairs":
            scores = {"preference": score(rater, trial["clip_a"], trial["clip_b"])}
        else:
            scores = {scale: score(rater, trial["clip_id"], scale) for scale in test.scales}
        given[rater].append(
            {"rater": rater, "batch": batch, "position": position, "trial": names[rater][batch, position], "scores": scores}
            | {"seconds": 12.5, "heard": 1.0, "order": position, "answered_at": f"2026-01-01T00:00:{position:02d}Z"}
        )  # fmt: skip
    return given


def download(folder, test, answers, name=None):
    """Write the file that a rater downloads."""
    folder.mkdir(exist_ok=True)
    content = {
        "format": "musiceval-answers",
        "version": 1,
        "test": test_id(test),
        "rater": answers[0]["rater"],
    }
    path = folder / f"{name or answers[0]['rater']}.json"
    path.write_text(json.dumps(content | {"answers": answers}))
    return path
