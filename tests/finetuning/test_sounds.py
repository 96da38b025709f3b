"""Decoded clips on disk: what is kept, and for which part of which file."""

import os
import re
import stat
import subprocess
import sys
import tempfile

import numpy as np
import pandas as pd
import pytest
import soundfile

from musiceval_sk import AudioError
from musiceval_sk.features.digests import Sound, content_key, sounds_of
from musiceval_sk.finetuning.batches import DecodedSounds
from tests.features.toy import ToyEncoder


def test_parts_of_one_file_are_kept_apart(write_sounds, tmp_path):
    path = write_sounds(2.0)["path"].iloc[0]
    clips = pd.DataFrame(
        {"path": path, "start_time": [None, 0.5], "end_time": [None, 1.0]}, index=["whole", "part"]
    )
    sounds = DecodedSounds(ToyEncoder(), tmp_path / "decoded")
    keys, weights = zip(*sounds.decode(sounds_of(clips)), strict=True)
    digest = content_key(path)
    assert keys == (digest, Sound(path, 0.5, 1.0).key(digest))
    # Windows of half a second every quarter: the first brings all of itself, each other a half.
    assert [part.tolist() for part in weights] == [[1] + 6 * [0.5], [1]]
    samples = soundfile.read(path, dtype="float32")[0]
    np.testing.assert_array_equal(sounds.windows(keys[1]), [samples[4000:8000]])
    [error] = sounds.decode([Sound(path, 1.0, 3.0)])
    assert isinstance(error, AudioError)
    assert re.search("clip0.wav from 1 s to 3 s: ends before that, after 2.00 s", str(error))


def test_a_file_that_cannot_be_read_costs_itself_alone(write_sounds):
    clips = write_sounds(*np.linspace(0.3, 1, 7))
    clips.loc["clip3", "path"] = "gone.wav"
    outcomes = DecodedSounds(ToyEncoder()).decode(sounds_of(clips))
    assert [isinstance(outcome, tuple) for outcome in outcomes] == [True] * 3 + [False] + [True] * 3
    assert str(outcomes[3]) == "gone.wav: cannot be read (No such file or directory)"


def test_odd_sounds_are_counted_and_named(write_sounds):
    clips = write_sounds(0.5, 0.5)
    left = soundfile.read(clips["path"].iloc[1])[0]
    soundfile.write(clips["path"].iloc[1], np.stack([left, -left], axis=1), 8000, subtype="FLOAT")
    with pytest.warns(
        UserWarning, match="^1 sound is heard, but: .*clip1.wav: its channels cancel each other"
    ):
        DecodedSounds(ToyEncoder()).decode(sounds_of(clips))


@pytest.mark.skipif(os.name != "posix", reason="who is alive cannot be asked here")
def test_sounds_of_a_killed_process_are_removed_by_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True)
    alive = DecodedSounds(ToyEncoder())
    left = tmp_path / alive.folder.name.replace(f"-{os.getpid()}-", f"-{int(dead.stdout)}-")
    left.mkdir()
    (left / "sound.npy").touch()
    again = DecodedSounds(ToyEncoder())
    assert sorted(tmp_path.iterdir()) == sorted([alive.folder, again.folder])
    assert stat.S_IMODE(alive.folder.stat().st_mode) == 0o700
