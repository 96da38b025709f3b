"""A synthetic listening test: sounds and raters of known truth, for demos, tests and teaching.

Nothing in it was composed or judged by people. Every system has a hidden quality, heard as defects of
its sound, and a hidden obedience, heard as clips that are not what the prompt asked for.

A clip is written as notes, played by additive synthesis and then spoilt. Two defects act on the notes
(wrong notes, jitter), four on the sound (distortion, muffling, hiss, dropouts). Times are in seconds,
pitches in MIDI semitones, samples in [-1, 1].
"""

from collections import namedtuple
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.io import wavfile
from scipy.signal import butter, sosfilt

from musiceval_sk.datasets.clips import TARGETS

# How an instrument is called and sounds: amplitudes of its harmonics, its envelope, its register. The fundamentals of the
# highest need a sample rate of 16 kHz.
Instrument = namedtuple(
    "Instrument", ["name", "harmonics", "attack", "decay", "damping", "vibrato", "transposition"]
)
BEATS_PER_MINUTE = {"slow": 60.0, "moderate": 100.0, "fast": 160.0}
MODES = {"major": ("cheerful", (0, 2, 4, 5, 7, 9, 11)), "minor": ("melancholic", (0, 2, 3, 5, 7, 8, 10))}
INSTRUMENTS = {
    "piano": Instrument("a piano", (1.0, 0.6, 0.4, 0.25, 0.18, 0.12, 0.08, 0.05), 0.004, 2.0, 0.5, 0.0, 0),
    "flute": Instrument("a flute", (1.0, 0.35, 0.12, 0.04), 0.07, 0.0, 0.0, 0.004, 12),
    "guitar": Instrument(
        "a plucked acoustic guitar", (1.0, 0.8, 0.6, 0.5, 0.35, 0.3, 0.2, 0.15), 0.002, 2.5, 1.5, 0.0, -12
    ),
    "organ": Instrument("an organ", (1.0, 0.8, 0.6, 0.5, 0.0, 0.4, 0.0, 0.3), 0.02, 0.0, 0.0, 0.0, 0),
    "bass": Instrument("a synth bass", tuple(1.0 / k for k in range(1, 13)), 0.008, 0.8, 0.3, 0.0, -24),
    "music_box": Instrument("a music box", (1.0, 0.0, 0.25, 0.5, 0.0, 0.15), 0.001, 5.0, 0.4, 0.0, 24),
}
TEXTURES = {
    "solo": "{} playing a melody alone",
    "chords": "{} playing a melody over chords",
    "drums": "{} playing a melody to a steady drum pulse",
}
_SENTENCES = (
    "A {mood} piece at a {tempo} tempo: {scene}.",
    "Write a {mood} tune with {scene}, at a {tempo} tempo.",
    "At a {tempo} tempo, {scene}, {mood} in mood.",
)
_PRIMARY_TRIADS = ((0, 2, 4), (3, 5, 0), (4, 6, 1))
_HIGHEST_DEGREE = 9
_RELEASE = 0.03

# What a prompt asks for, and what a clip is: keys of the tables above, whose possible values are VALUES.
Attributes = namedtuple("Attributes", ["tempo", "mode", "instrument", "texture"])
VALUES = tuple(tuple(table) for table in (BEATS_PER_MINUTE, MODES, INSTRUMENTS, TEXTURES))
# How badly a clip is spoilt: a strength in [0, 1] of each defect.
Defects = namedtuple("Defects", ["wrong_notes", "jitter", "distortion", "muffling", "hiss", "dropouts"])


def phrase(asked: Attributes, rng: np.random.Generator) -> str:
    """Ask for these attributes in an English sentence, one of three by lot."""
    scene = TEXTURES[asked.texture].format(INSTRUMENTS[asked.instrument].name)
    frame = _SENTENCES[rng.integers(len(_SENTENCES))]
    sentence = frame.format(mood=MODES[asked.mode][0], tempo=asked.tempo, scene=scene)
    return sentence[0].upper() + sentence[1:]


def obey(asked: Attributes, obedience: float, rng: np.random.Generator) -> Attributes:
    """Keep each attribute with probability `obedience`, else swap it for another value."""
    played = []
    for values, value in zip(VALUES, asked, strict=True):
        others = [other for other in values if other != value]
        played.append(value if rng.random() < obedience else others[rng.integers(len(others))])
    return Attributes(*played)


def render(
    attributes: Attributes, defects: Defects, n_samples: int, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """Play a new tune with these attributes, spoilt by these defects.

    Returns samples of shape=(n_samples,) whose peak is 0.8.
    """
    beat = 60.0 / BEATS_PER_MINUTE[attributes.tempo]
    seconds = n_samples / sample_rate
    notes = _play_badly(_write_notes(attributes, seconds, beat, rng), defects, beat, seconds, rng)
    sound = _perform(notes, INSTRUMENTS[attributes.instrument], n_samples, sample_rate)
    if attributes.texture == "drums":
        beats = np.arange(0.0, seconds, beat / 2)
        beats = np.abs(beats + rng.normal(0.0, 0.15 * beat * defects.jitter, beats.size))
        sound = sound + _drum_pulse(beats, n_samples, sample_rate, rng)
    sound = _spoil(sound / np.abs(sound).max(), defects, sample_rate, rng)
    return 0.8 * sound / np.abs(sound).max()


def _write_notes(attributes: Attributes, seconds: float, beat: float, rng: np.random.Generator) -> np.ndarray:
    """Start, length, pitch and gain of notes, shape=(4, n): a walk up and down the scale, home to the tonic."""
    lengths = beat * rng.choice([0.5, 1.0], int(np.ceil(seconds / (beat / 2))), p=[0.6, 0.4])
    starts = np.concatenate([[0.0], np.cumsum(lengths)[:-1]])
    lengths, starts = lengths[starts < seconds], starts[starts < seconds]
    walk = np.cumsum(rng.choice([-2, -1, 1, 2], starts.size)) + rng.choice([0, 2, 4])
    degrees = np.abs((walk + _HIGHEST_DEGREE) % (2 * _HIGHEST_DEGREE) - _HIGHEST_DEGREE)
    degrees[-1] = 7 if degrees[-1] > 3 else 0

    tonic = 60 + rng.integers(-5, 6)
    scale = np.array(MODES[attributes.mode][1])
    pitches = tonic + scale[degrees % 7] + 12.0 * (degrees // 7)
    melody = np.array([starts, lengths, pitches, np.ones(starts.size)])
    if attributes.texture != "chords":
        return melody
    changes = np.arange(0.0, seconds, 2 * beat)
    heard = degrees[np.searchsorted(starts, changes, side="right") - 1] % 7
    triads = np.array([next(triad for triad in _PRIMARY_TRIADS if degree in triad) for degree in heard])
    pitches = (tonic - 12 + scale[triads]).ravel()
    chords = [np.repeat(changes, 3), np.full(pitches.size, 2 * beat), pitches, np.full(pitches.size, 0.3)]
    return np.hstack([melody, chords])


def _play_badly(
    notes: np.ndarray, defects: Defects, beat: float, seconds: float, rng: np.random.Generator
) -> np.ndarray:
    """Detune every note and replace some; shift starts and lengths."""
    start, length, pitch, gain = notes
    wrong, jitter = defects.wrong_notes, 0.35 * (defects.jitter * beat)
    slips = rng.choice([-6, -3, -1, 1, 3, 6], pitch.size) * (rng.random(pitch.size) < 0.6 * wrong)
    pitch = pitch + slips + rng.normal(0.0, 0.6 * wrong, pitch.size)
    # Wrapped into the clip: a short clip may have a single note, and must not fall silent.
    start = (start + rng.normal(0.0, jitter, start.size)) % seconds
    length = length * np.exp(rng.normal(0.0, jitter, start.size) / length)
    return np.array([start, length, pitch, gain])


def _perform(notes: np.ndarray, instrument: Instrument, n_samples: int, sample_rate: int) -> np.ndarray:
    """Add up the tones of all notes: shape=(n_samples,)."""
    sound = np.zeros(n_samples, dtype=np.float32)
    for start, length, pitch, gain in notes.T:
        first = int(start * sample_rate)
        n = min(int((length + _RELEASE) * sample_rate), n_samples - first)
        if n > 0:
            frequency = 440.0 * 2.0 ** ((pitch + instrument.transposition - 69) / 12)
            sound[first : first + n] += gain * _tone(instrument, frequency, n, sample_rate)
    return sound


def _tone(instrument: Instrument, frequency: float, n: int, sample_rate: int) -> np.ndarray:
    """Sum the harmonics below the Nyquist frequency, each with its own decay: shape=(n,), float32."""
    amplitudes = np.array(instrument.harmonics, dtype=np.float32)
    number = np.arange(1, amplitudes.size + 1, dtype=np.float32)
    audible = (amplitudes > 0) & (number * frequency < 0.5 * sample_rate)
    amplitudes, number = amplitudes[audible, None], number[audible, None]

    time = np.arange(n) / sample_rate
    cycles = frequency * time + instrument.vibrato * frequency / 5.0 * np.sin(2 * np.pi * 5.0 * time)
    # Whole cycles are dropped while still in float64, so that the fast float32 sine stays exact.
    angle = (2 * np.pi * (cycles % 1.0)).astype(np.float32)
    time = time.astype(np.float32)
    decay = np.float32(instrument.decay) * number ** np.float32(instrument.damping)
    tone = (amplitudes * np.exp(-decay * time) * np.sin(number * angle)).sum(axis=0)
    fade_in = np.minimum(1.0, time / np.float32(instrument.attack))
    fade_out = np.minimum(1.0, (time[-1] - time) / np.float32(_RELEASE))
    return tone * fade_in * fade_out


def _drum_pulse(starts: np.ndarray, n_samples: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Bass drum on even strokes, hi-hat on odd ones: shape=(n_samples,)."""
    time = np.arange(int(0.15 * sample_rate)) / sample_rate
    bass_drum = 1.2 * np.exp(-25 * time) * np.sin(2 * np.pi * (50 * time - 3 * np.exp(-30 * time)))
    hi_hat = 0.25 * np.exp(-70 * time) * np.diff(rng.normal(size=time.size + 1))
    pulse = np.zeros(n_samples + time.size)
    for stroke, start in enumerate(starts):
        first = min(int(start * sample_rate), n_samples)
        pulse[first : first + time.size] += hi_hat if stroke % 2 else bass_drum
    return pulse[:n_samples]


def _spoil(sound: np.ndarray, defects: Defects, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Distort, muffle, add hiss to and mute parts of a sound of peak 1."""
    # A soft clipper, driven from 10 dB below its knee to 30 dB above.
    sound = np.tanh(10 ** ((40 * defects.distortion - 10) / 20) * sound)
    # A low-pass whose cut-off falls from just below the Nyquist frequency to 300 Hz.
    highest = 0.45 * sample_rate
    cutoff = highest * (300.0 / highest) ** defects.muffling
    sound = sosfilt(butter(2, cutoff, fs=sample_rate, output="sos"), sound)
    # White noise, at a signal-to-noise ratio that falls from 50 to 0 dB.
    level = np.sqrt(np.mean(sound**2)) * 10 ** (-50 * (1 - defects.hiss) / 20)
    sound = sound + rng.normal(0.0, level, sound.size)
    # Up to five gaps a second on average, of 30 to 90 ms each, with hard edges.
    for _ in range(rng.poisson(5 * defects.dropouts * sound.size / sample_rate)):
        first = rng.integers(sound.size)
        sound[first : first + int(rng.uniform(0.03, 0.09) * sample_rate)] = 0.0
    return sound


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
