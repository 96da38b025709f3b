"""The hidden truth of a synthetic listening test, its sounds and its raters: systems, prompts, strengths of defects."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.io import wavfile

from musiceval_sk.datasets.clips import TARGETS
from musiceval_sk.datasets.synthesis import VALUES, Attributes, Defects, obey, render

# The share of a system's defects that it has in common with all others: what lets an unseen one be judged.
_COMMON_SHARE = 0.6
_TOTAL_DEFECTS = 3.0
_CLIP_VARIATION = 0.25
_OBEYED_SHARE = 0.85
_RATER_BIAS = 0.3
_RATER_NOISE = 0.6


def draw_systems(n_systems: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw the hidden truth; qualities are spread evenly and shuffled, so that a name tells nothing."""
    quality = rng.permutation(np.linspace(0.05, 0.95, n_systems)).round(4)
    obedience = (0.15 + 0.5 * quality + 0.3 * rng.random(n_systems)).round(4)
    names = pd.Index(numbered("S", n_systems), name="system")
    return pd.DataFrame({"quality": quality, "obedience": obedience}, index=names)


def draw_strengths(quality: np.ndarray, n_prompts: int, rng: np.random.Generator) -> np.ndarray:
    """Draw how badly each clip is spoilt: shape=(n_systems * n_prompts, n_defects), in [0, 1]."""
    n_defects = len(Defects._fields)
    own = rng.dirichlet(np.ones(n_defects), quality.size)
    mixture = _COMMON_SHARE / n_defects + (1 - _COMMON_SHARE) * own
    of_clip, of_defect = (
        rng.normal(0.0, _CLIP_VARIATION, (quality.size, n_prompts, n)) for n in (1, n_defects)
    )
    of_system = _TOTAL_DEFECTS * (1 - quality[:, None]) * mixture
    strengths = of_system[:, None] * np.exp(of_clip + of_defect)
    return np.minimum(1.0, strengths).reshape(-1, n_defects)


def draw_prompts(n_prompts: int, rng: np.random.Generator) -> list[Attributes]:
    """Draw distinct combinations of attributes to ask for."""
    combinations = [Attributes(*values) for values in product(*VALUES)]
    return [combinations[i] for i in rng.choice(len(combinations), n_prompts, replace=False)]


def play_clips(
    paths: Sequence[Path],
    tasks: Sequence[tuple[float, Attributes]],
    strengths: np.ndarray,
    seconds: float,
    sample_rate: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Write a sound for each task, an obedience and what is asked for; return the truth of shape=(n_clips, 2)."""
    truth = np.empty((len(paths), len(TARGETS)))
    for row, (path, (obedience, asked)) in enumerate(zip(paths, tasks, strict=True)):
        played = obey(asked, obedience, rng)
        truth[row] = judge(strengths[row], asked, played)
        sound = render(played, Defects(*strengths[row]), round(seconds * sample_rate), sample_rate, rng)
        wavfile.write(path, sample_rate, np.round(32767 * sound).astype(np.int16))
    return truth


def judge(strengths: np.ndarray, asked: Attributes, played: Attributes) -> tuple[float, float]:
    """Find the true impression and alignment of a clip, both in [1, 5]."""
    pleasure = 1 - min(1.0, strengths.sum() / _TOTAL_DEFECTS)
    obeyed = np.mean([wish == deed for wish, deed in zip(asked, played, strict=True)])
    return 1 + 4 * pleasure, 1 + 4 * (_OBEYED_SHARE * obeyed + (1 - _OBEYED_SHARE) * pleasure)


def rate(
    clip_ids: pd.Index, truth: np.ndarray, n_raters: int, raters_per_clip: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Let `raters_per_clip` raters score each clip on the Likert scale, from its truth of shape=(n_clips, 2)."""
    load = np.zeros(n_raters)
    panels = np.empty((len(truth), raters_per_clip), dtype=int)
    for panel in panels:
        # The least burdened raters, ties broken by lot: loads stay within one of each other.
        panel[:] = np.sort(np.argsort(load + rng.random(n_raters))[:raters_per_clip])
        load[panel] += 1
    bias = rng.normal(0.0, _RATER_BIAS, (n_raters, len(TARGETS)))
    noise = rng.normal(0.0, _RATER_NOISE, (*panels.shape, len(TARGETS)))
    scores = np.clip(np.round(truth[:, None] + bias[panels] + noise), 1, 5).astype(int)
    raters = np.array(numbered("R", n_raters))
    ratings = {"rater": raters[panels.ravel()], "clip_id": np.repeat(clip_ids, raters_per_clip)}
    return pd.DataFrame(ratings | dict(zip(TARGETS, scores.reshape(-1, len(TARGETS)).T, strict=True)))


def numbered(letter: str, n: int) -> list[str]:
    """Names of n things: a letter and a number."""
    width = max(2, len(str(n)))
    return [f"{letter}{number:0{width}d}" for number in range(1, n + 1)]
