"""Little tunes and what can go wrong with them: prompts and sounds of the synthetic listening test.

A clip is written as notes, played by additive synthesis and then spoilt. Two defects act on the notes
(wrong notes, jitter), four on the sound (distortion, muffling, hiss, dropouts). Times are in seconds,
pitches in MIDI semitones, samples in [-1, 1].
"""

from collections import namedtuple

import numpy as np
from scipy.signal import butter, sosfilt

# How an instrument is called and sounds: amplitudes of its harmonics, its envelope, its register. The fundamentals of the
# highest need a sample rate of 16 kHz.
Instrument = namedtuple(
    "Instrument", ["name", "harmonics", "attack", "decay", "damping", "vibrato", "transposition"]
)
BEATS_PER_MINUTE = {"slow": 60.0, "moderate": 100.0, "fast": 160.0}
MODES = {
    "major": ("cheerful", (0, 2, 4, 5, 7, 9, 11)),
    "minor": ("melancholic", (0, 2, 3, 5, 7, 8, 10)),
}
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
