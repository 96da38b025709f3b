"""Does `predict` point out sounds that the model does not know, and leave alone those that it does?

    python examples/benchmarks/far_sounds.py [--splits 10] [--real clips/ ...]

A simulated listening test (31 systems, 8 prompts, 2 s a clip, encoder 'spectral'). In each split ten systems are left out
of training; their clips as they are should be called far in 5 % of the cases, and altered ones more often. An alarm is the
warning that `predict_clips` gives of a whole system; each unaltered left-out system is one chance of a false one.
Sounds in the folders of --real (real recordings and generated music) are measured against the same simulated training.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.signal import butter, lfilter, resample, sosfilt

sys.path.insert(0, str(Path(__file__).parents[2]))

from musiceval_sk import (
    ClipEmbedder,
    TrainingDomain,
    get_encoder,
    load_clips,
    make_listening_test,
    read_audio,
)
from musiceval_sk.scoring.result import summarise

RATE, SECONDS, LEFT_OUT = 22_050, 2.0, 10


def speech_like(rng):
    """A voice of pulses through three moving resonances, with four syllables a second."""
    time = np.arange(round(RATE * SECONDS)) / RATE
    pitch = 120 * rng.uniform(0.8, 1.8) * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * time + rng.uniform(0, 6)))
    sound = (np.diff(np.floor(np.cumsum(pitch) / RATE), prepend=0) > 0).astype(float)
    for centre, width in ((rng.uniform(300, 800), 80), (rng.uniform(900, 2200), 120), (2500, 160)):
        radius = np.exp(-np.pi * width / RATE)
        sound = lfilter([1 - radius], [1, -2 * radius * np.cos(2 * np.pi * centre / RATE), radius**2], sound)
    sound *= np.clip(np.sin(2 * np.pi * 4 * time + rng.uniform(0, 6)), 0, 1)
    return 0.3 * sound / np.abs(sound).max()


def alterations(rng):
    """What is done to a clip, or put in its place."""
    lowpass = butter(4, 1000, fs=RATE, output="sos")
    return {
        "as it is": lambda sound: sound,
        "silence": np.zeros_like,
        "white noise": lambda sound: rng.normal(0, 0.2, len(sound)),
        "speech-like": lambda sound: speech_like(rng),
        "1.5 times as fast": lambda sound: resample(sound, round(len(sound) / 1.5)),
        "1.1 times as fast": lambda sound: resample(sound, round(len(sound) / 1.1)),
        "1.5 times as slow": lambda sound: resample(sound, round(len(sound) * 1.5)),
        "20 dB softer": lambda sound: 0.1 * sound,
        "low-passed at 1 kHz": lambda sound: sosfilt(lowpass, sound),
        "with noise, 10 dB below": lambda sound: sound + rng.normal(0, sound.std() * 0.316, len(sound)),
    }


def embedded(sounds, names, index):
    encoder = get_encoder("spectral")
    vectors = [encoder.encode_audio(encoder.cut(sound.astype(np.float32))) for sound in sounds]
    return pd.DataFrame([some.mean(axis=0) for some in vectors], columns=names, index=index)


def judge(domain, X, systems):
    """Share of far clips, and of systems that raise an alarm."""
    clips = domain.measure(X).assign(system=systems, score=3.0)
    result = summarise(clips, ["score"], domain=domain)
    return (
        clips["sound_far"].mean(),
        clips["sound_percentile"].median(),
        len(result.warnings) / systems.nunique(),
    )


def main(n_splits, folders):
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        test = make_listening_test(folder, n_systems=31, n_prompts=8, n_raters=12, seconds=SECONDS)
        embedder = ClipEmbedder(modality="audio", cache=f"{folder}/e.h5").set_output(transform="pandas")
        X = embedder.fit_transform(test.clips)
        sounds = [read_audio(path, RATE) for path in test.clips["path"]]
    systems = test.clips["system"]
    variants = {
        name: X if name == "as it is" else embedded(map(change, sounds), X.columns, X.index)
        for name, change in alterations(rng).items()
    }
    splits = [rng.choice(systems.unique(), LEFT_OUT, replace=False) for _ in range(n_splits)]
    rows, domains = [], []
    for chosen in splits:
        new = systems.isin(chosen)
        domains.append(TrainingDomain().fit(X[~new], groups=systems[~new]))
        rows += [(name, *judge(domains[-1], some[new], systems[new])) for name, some in variants.items()]
    for real in folders:
        clips = load_clips(real)
        some = embedded([read_audio(path, RATE) for path in clips["path"]], X.columns, clips.index)
        one = pd.Series(Path(real).name, index=clips.index)
        rows += [(f"{real}, {len(clips)} clips", *judge(domain, some, one)) for domain in domains]
    table = pd.DataFrame(rows, columns=["clips", "far", "median percentile", "alarms by system"])
    print(f"{n_splits} splits, {31 - LEFT_OUT} systems in training, {LEFT_OUT} left out")
    print(table.groupby("clips", sort=False).mean().round(3).to_string())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--real", nargs="*", default=[])
    arguments = parser.parse_args()
    main(arguments.splits, arguments.real)
