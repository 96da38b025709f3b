"""Made designs of listening tests, with short tones for clips."""

import json

import numpy as np
import soundfile

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
