"""A synthetic listening test: sounds and raters of known truth, for demos, tests and teaching.

Nothing in it was composed or judged by people. Every system has a hidden quality, heard as defects of
its sound, and a hidden obedience, heard as clips that are not what the prompt asked for.
"""

from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from musiceval_sk.datasets.clips import TARGETS
from musiceval_sk.datasets.panel import (
    draw_prompts,
    draw_strengths,
    draw_systems,
    numbered,
    play_clips,
    rate,
)
from musiceval_sk.datasets.synthesis import VALUES, phrase

_MARK = "Synthetic listening test made by musiceval_sk."
_README = f"""{_MARK}

Everything here is simulated: the sounds were computed, the systems do not exist, the raters are
random numbers. Use it to try out software; it says nothing about real systems or listeners.

clips.csv    one row a clip: its sound (path relative to this folder), prompt and system
ratings.csv  one row a rating: musical impression and textual alignment, 1 to 5
systems.csv  the hidden truth: quality and obedience of each system, 0 to 1
"""
_TABLES = ("clips.csv", "ratings.csv", "systems.csv")
_SHORTEST_SECONDS = 1
# The Nyquist frequency must lie above every fundamental that the highest instrument can play.
_LOWEST_SAMPLE_RATE = 16000


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
    _check_arguments(n_systems, n_prompts, n_raters, raters_per_clip, n_careless, seconds, sample_rate)
    folder = Path(folder).resolve()
    _clear(folder)
    rng = np.random.default_rng(random_state)
    systems = draw_systems(n_systems, rng)
    wishes = draw_prompts(n_prompts, rng)
    clips = _list_clips(systems.index, [phrase(asked, rng) for asked in wishes])
    strengths = draw_strengths(systems["quality"].to_numpy(), n_prompts, rng)
    truth = play_clips(
        [folder / path for path in clips["path"]],
        list(product(systems["obedience"], wishes)),
        strengths,
        seconds,
        sample_rate,
        rng,
    )
    ratings = rate(clips.index, truth, n_raters, raters_per_clip, rng)
    careless = ratings["rater"].isin(numbered("R", n_raters)[n_raters - n_careless :])
    ratings.loc[careless, list(TARGETS)] = rng.integers(1, 6, (int(careless.sum()), len(TARGETS)))

    for name, table in zip(_TABLES, (clips.reset_index(), ratings, systems.reset_index()), strict=True):
        table.to_csv(folder / name, index=False, lineterminator="\n")
    absolute = [str(folder / path) for path in clips["path"]]
    return ListeningTest(folder, clips.assign(path=absolute), ratings, systems)


def _check_arguments(
    n_systems: int,
    n_prompts: int,
    n_raters: int,
    raters_per_clip: int,
    n_careless: int,
    seconds: float,
    sample_rate: int,
) -> None:
    most_prompts = int(np.prod([len(values) for values in VALUES]))
    if n_systems < 2:
        raise ValueError(f"n_systems={n_systems}: a comparison needs at least 2 systems")
    if not 1 <= n_prompts <= most_prompts:
        raise ValueError(f"n_prompts={n_prompts}: ask for 1 to {most_prompts}, as many as are distinct")
    if not 1 <= raters_per_clip <= n_raters:
        raise ValueError(
            f"raters_per_clip={raters_per_clip} with n_raters={n_raters}: a clip is heard by different raters; "
            "ask for at least 1 and at most n_raters"
        )
    if not 0 <= n_careless <= n_raters:
        raise ValueError(f"n_careless={n_careless} with n_raters={n_raters}: ask for 0 to n_raters")
    if not seconds >= _SHORTEST_SECONDS:
        raise ValueError(f"seconds={seconds} is too short for a tune; ask for at least {_SHORTEST_SECONDS}")
    if not sample_rate >= _LOWEST_SAMPLE_RATE:
        raise ValueError(f"sample_rate={sample_rate} is too low; ask for at least {_LOWEST_SAMPLE_RATE} Hz")


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


def _list_clips(systems: pd.Index, prompts: list[str]) -> pd.DataFrame:
    """Make the clips table, paths relative to its folder; systems outer, prompts inner."""
    rows = [
        (f"{system}_{number}", f"audio/{system}_{number}.wav", prompt, system)
        for system in systems
        for number, prompt in zip(numbered("P", len(prompts)), prompts, strict=True)
    ]
    return pd.DataFrame(rows, columns=["clip_id", "path", "prompt", "system"]).set_index("clip_id")
