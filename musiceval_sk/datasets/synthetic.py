"""A synthetic listening test: sounds and raters of known truth, for demos, tests and teaching.

Nothing in it was composed or judged by people. Every system has a hidden quality, heard as defects of
its sound, and a hidden obedience, heard as clips that are not what the prompt asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.io import wavfile

from musiceval_sk.datasets.clips import TARGETS
from musiceval_sk.datasets.tunes import VALUES, Attributes, Defects, obey, phrase, render

_MARK = "Synthetic listening test made by musiceval_sk."
_README = f"""{_MARK}

Everything here is simulated: the sounds were computed, the systems do not exist, the raters are
random numbers. Use it to try out software; it says nothing about real systems or listeners.

clips.csv    one row a clip: its sound (path relative to this folder), prompt and system
ratings.csv  one row a rating: musical impression and textual alignment, 1 to 5
systems.csv  the hidden truth: quality and obedience of each system, 0 to 1
"""
_TABLES = ("clips.csv", "ratings.csv", "systems.csv")
# The share of a system's defects that it has in common with all others: what lets an unseen one be judged.
_COMMON_SHARE = 0.6
_TOTAL_DEFECTS = 3.0
_CLIP_VARIATION = 0.25
_OBEYED_SHARE = 0.85
_RATER_BIAS = 0.3
_RATER_NOISE = 0.6


@dataclass(frozen=True, eq=False)
class ListeningTest:
    """A listening test on disk, and the truth behind it.

    Attributes
    ----------
    folder : Path
        Absolute path of the folder that holds the files.
    clips : pd.DataFrame
        Indexed by ``clip_id``; columns ``path`` (absolute), ``prompt``, ``system``.
    ratings : pd.DataFrame
        One row a rating: ``rater``, ``clip_id``, ``impression`` and ``alignment`` (int in [1, 5]).
    systems : pd.DataFrame
        The hidden truth, indexed by ``system``: ``quality`` and ``obedience`` (float in [0, 1]).
    """

    folder: Path
    clips: pd.DataFrame = field(repr=False)
    ratings: pd.DataFrame = field(repr=False)
    systems: pd.DataFrame = field(repr=False)


def make_listening_test(
    folder: str | Path,
    *,
    n_systems: int = 12,
    n_prompts: int = 10,
    n_raters: int = 10,
    raters_per_clip: int = 5,
    n_careless: int = 0,
    seconds: float = 4.0,
    sample_rate: int = 22050,
    random_state: int | None = 0,
) -> ListeningTest:
    """Simulate text-to-music systems, their clips and a panel of raters, and write them to a folder.

    Every system answers every prompt. A prompt asks for a tempo, a mode, an instrument and a texture;
    a system obeys each with the probability ``obedience``. Its clips are spoilt by a mixture, its own,
    of wrong notes, jitter, distortion, muffling, hiss and dropouts, the more so the lower its ``quality``.
    Impression falls with the defects of a clip; alignment is mostly the share of obeyed attributes.
    A rater adds a bias (sd 0.3) and noise (sd 0.6) and rounds to the Likert scale.

    Written are ``audio/<clip_id>.wav`` (16-bit PCM, mono), ``clips.csv`` (paths relative to it),
    ``ratings.csv``, ``systems.csv`` (the hidden truth) and ``README.txt``. On one machine and installation
    the same arguments give the same bytes.

    Parameters
    ----------
    folder : str or Path
        Made if it does not exist. A synthetic listening test that it holds is overwritten.
    n_systems : int, default=12
        Number of systems, at least 2.
    n_prompts : int, default=10
        Number of prompts, in [1, 108]: no two ask for the same.
    n_raters : int, default=10
        Number of raters.
    raters_per_clip : int, default=5
        Number of different raters that hear each clip, in [1, `n_raters`]. No rater hears more than
        one clip more than another.
    n_careless : int, default=0
        Number of raters who do not listen, the last ones: they score by chance. Nothing else changes with it.
    seconds : float, default=4.0
        Length of a clip in seconds, at least 1.
    sample_rate : int, default=22050
        Samples a second in Hz, at least 16000.
    random_state : int or None, default=0
        Seed; None gives a new test each time.

    Returns
    -------
    ListeningTest
        The tables as written, paths made absolute, and the hidden truth.

    Raises
    ------
    ValueError
        If an argument is out of its range, or `folder` is a file or holds anything but an earlier
        synthetic listening test.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from musiceval_sk.datasets.synthetic import make_listening_test
    >>> with TemporaryDirectory() as folder:
    ...     test = make_listening_test(folder, n_systems=2, n_prompts=2, seconds=1)
    >>> test.clips["system"].to_dict()
    {'S01_P01': 'S01', 'S01_P02': 'S01', 'S02_P01': 'S02', 'S02_P02': 'S02'}
    >>> len(test.ratings)
    20
    """
    most_prompts = int(np.prod([len(values) for values in VALUES]))
    of_raters = f" with n_raters={n_raters}: ask for"
    for name, value, least, most, otherwise in (
        ("n_systems", n_systems, 2, np.inf, ": a comparison needs at least 2 systems"),
        ("n_prompts", n_prompts, 1, most_prompts, f": ask for 1 to {most_prompts}, as many as are distinct"),
        ("raters_per_clip", raters_per_clip, 1, n_raters, f"{of_raters} at least 1 and at most n_raters"),
        ("n_careless", n_careless, 0, n_raters, f"{of_raters} 0 to n_raters"),
        ("seconds", seconds, 1, np.inf, " is too short for a tune; ask for at least 1"),
        ("sample_rate", sample_rate, 16000, np.inf, " is too low; ask for at least 16000 Hz"),
    ):
        if not least <= value <= most:
            raise ValueError(f"{name}={value}{otherwise}")
    folder = Path(folder).resolve()
    _clear(folder)
    rng = np.random.default_rng(random_state)
    systems = draw_systems(n_systems, rng)
    wishes = draw_prompts(n_prompts, rng)
    clips = _list_clips(systems.index, [phrase(asked, rng) for asked in wishes])
    paths = [folder / path for path in clips["path"]]
    strengths = draw_strengths(systems["quality"].to_numpy(), n_prompts, rng)
    tasks = list(product(systems["obedience"], wishes))
    truth = play_clips(paths, tasks, strengths, seconds, sample_rate, rng)
    ratings = rate(clips.index, truth, n_raters, raters_per_clip, rng)
    careless = ratings["rater"].isin(_numbered("R", n_raters)[n_raters - n_careless :])
    ratings.loc[careless, list(TARGETS)] = rng.integers(1, 6, (int(careless.sum()), len(TARGETS)))

    for name, table in zip(_TABLES, (clips.reset_index(), ratings, systems.reset_index()), strict=True):
        table.to_csv(folder / name, index=False, lineterminator="\n")
    return ListeningTest(folder, clips.assign(path=list(map(str, paths))), ratings, systems)


def draw_systems(n_systems: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw the hidden truth; qualities are spread evenly and shuffled, so that a name tells nothing."""
    quality = rng.permutation(np.linspace(0.05, 0.95, n_systems)).round(4)
    obedience = (0.15 + 0.5 * quality + 0.3 * rng.random(n_systems)).round(4)
    names = pd.Index(_numbered("S", n_systems), name="system")
    return pd.DataFrame({"quality": quality, "obedience": obedience}, index=names)


def draw_prompts(n_prompts: int, rng: np.random.Generator) -> list[Attributes]:
    """Draw distinct combinations of attributes to ask for."""
    combinations = [Attributes(*values) for values in product(*VALUES)]
    return [combinations[i] for i in rng.choice(len(combinations), n_prompts, replace=False)]


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


def play_clips(
    paths: Sequence[Path],
    tasks: Sequence[tuple[float, Attributes]],
    strengths: np.ndarray,
    seconds: float,
    sample_rate: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Write a sound for each task, an obedience and what is asked for.

    Returns the true impression and alignment of each clip, shape=(n_clips, 2), in [1, 5].
    """
    truth = np.empty((len(paths), len(TARGETS)))
    for row, (path, (obedience, asked)) in enumerate(zip(paths, tasks, strict=True)):
        played = obey(asked, obedience, rng)
        sound = render(played, Defects(*strengths[row]), round(seconds * sample_rate), sample_rate, rng)
        wavfile.write(path, sample_rate, np.round(32767 * sound).astype(np.int16))
        pleasure = 1 - min(1.0, strengths[row].sum() / _TOTAL_DEFECTS)
        obeyed = np.mean([wish == deed for wish, deed in zip(asked, played, strict=True)])
        truth[row] = pleasure, _OBEYED_SHARE * obeyed + (1 - _OBEYED_SHARE) * pleasure
    return 1 + 4 * truth


def rate(
    clip_ids: pd.Index, truth: np.ndarray, n_raters: int, raters_per_clip: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Let `raters_per_clip` raters score each clip on the Likert scale, from its truth of shape=(n_clips, 2)."""
    load = np.zeros(n_raters)
    chosen = np.empty((len(truth), raters_per_clip), dtype=int)
    for raters in chosen:
        # The least burdened raters, ties broken by lot: loads stay within one of each other.
        raters[:] = np.sort(np.argsort(load + rng.random(n_raters))[:raters_per_clip])
        load[raters] += 1
    bias = rng.normal(0.0, _RATER_BIAS, (n_raters, len(TARGETS)))
    noise = rng.normal(0.0, _RATER_NOISE, (*chosen.shape, len(TARGETS)))
    scores = np.clip(np.round(truth[:, None] + bias[chosen] + noise), 1, 5).astype(int)
    names = np.array(_numbered("R", n_raters))[chosen.ravel()]
    table = pd.DataFrame(scores.reshape(-1, len(TARGETS)), columns=list(TARGETS))
    table.insert(0, "rater", names)
    table.insert(1, "clip_id", np.repeat(clip_ids, raters_per_clip))
    return table


def _list_clips(systems: pd.Index, prompts: list[str]) -> pd.DataFrame:
    """Make the clips table, paths relative to its folder; systems outer, prompts inner."""
    numbered = list(zip(_numbered("P", len(prompts)), prompts, strict=True))
    rows = [
        (f"{system}_{number}", f"audio/{system}_{number}.wav", prompt, system)
        for system, (number, prompt) in product(systems, numbered)
    ]
    return pd.DataFrame(rows, columns=["clip_id", "path", "prompt", "system"]).set_index("clip_id")


def _numbered(letter: str, n: int) -> list[str]:
    width = max(2, len(str(n)))
    return [f"{letter}{number:0{width}d}" for number in range(1, n + 1)]


def _clear(folder: Path) -> None:
    """Make the folder, or take an earlier test out of it, and leave the README that marks it as ours."""
    readme = folder / "README.txt"
    ours = readme.is_file() and readme.read_text(encoding="utf-8", errors="replace").startswith(_MARK)
    if folder.exists() and not ours and not (folder.is_dir() and not any(folder.iterdir())):
        raise ValueError(
            f"{folder} exists and is not a synthetic listening test (its README.txt does not say so): nothing "
            "was written. Give a new or empty folder, or empty this one first"
        )
    for file in [*folder.glob("audio/S*_P*.wav"), *map(folder.joinpath, _TABLES)]:
        file.unlink(missing_ok=True)
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    readme.write_text(_README, encoding="utf-8", newline="\n")
