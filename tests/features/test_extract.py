import importlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import soundfile

from musiceval_sk import (
    AudioError,
    ClipEmbedder,
    ClipsTableError,
    EmbeddingStore,
    SkippedWarning,
    StoreError,
    extract,
)
from musiceval_sk.features import pipeline
from musiceval_sk.features.digests import FileIndex, Sound, content_key, sounds_of
from musiceval_sk.features.extract import text_key
from tests.features.toy import ToyEncoder

extract_module = importlib.import_module("musiceval_sk.features.extract")

SLOW_ENCODER = """
import time
from tests.features.toy import ToyEncoder

class SlowEncoder(ToyEncoder):
    name = "slow"
    batch_size = 1

    def encode_audio(self, windows):
        time.sleep(0.15)
        return super().encode_audio(windows)
"""
ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path):
    return EmbeddingStore(tmp_path / "embeddings.h5")


@pytest.fixture
def forbid(monkeypatch):
    """From here on no sound may be opened and nothing encoded."""

    def forbidden(*_, **__):
        raise AssertionError("computed anew")

    def forbid_all():
        monkeypatch.setattr(soundfile, "SoundFile", forbidden)
        monkeypatch.setattr(ToyEncoder, "encode_audio", forbidden)
        monkeypatch.setattr(ToyEncoder, "encode_text", forbidden)

    return forbid_all


def audio_of(store, clips, encoder=None):
    keys = [content_key(path) for path in clips["path"]]
    return store.read("audio", (encoder or ToyEncoder()).fingerprint_of("audio"), keys)


def counts(report):
    return report.stored, report.reused, len(report.skipped)


def test_windows_and_prompts_are_encoded_and_stored(store, write_sounds):
    clips = write_sounds(0.5, 0.3, 1.2)
    report = extract(clips, ToyEncoder(), store)
    assert counts(report) == ({"text": 3, "audio": 3}, {"text": 0, "audio": 0}, 0)
    vectors, offsets = audio_of(store, clips)
    # Windows of .5 s every .25 s: one, one, and for 1.2 s those at 0, .25, .5 and, aligned to the end, .7 s.
    assert offsets.tolist() == [0, 1, 2, 6]
    samples = [soundfile.read(path, dtype="float32")[0] for path in clips["path"]]
    padded = np.concatenate([samples[1], np.zeros(1600)])  # .3 s fits once into .5 s
    windows = [samples[0], padded, *(samples[2][begin : begin + 4000] for begin in (0, 2000, 4000, 5600))]
    np.testing.assert_allclose(vectors[:, 0], [window.mean() for window in windows], atol=1e-6)
    np.testing.assert_array_equal(vectors[:, 1], [window.max() for window in windows])
    text, _ = store.read("text", ToyEncoder().fingerprint_of("text"), [text_key("prompt 1")])
    assert text.tolist() == [[8, 2]]  # letters, words
    assert store.encoders()["encoder"].tolist() == [ToyEncoder().describe(name) for name in ("audio", "text")]


def test_a_second_run_computes_nothing(store, write_sounds, forbid):
    clips = write_sounds(0.5, 0.7, 1.2, 0.6)
    extract(clips, ToyEncoder(), store)
    forbid()
    files = sorted(store.path.parent.rglob("*.h5"))
    report = extract(clips, ToyEncoder(), str(store.path))
    # Four sounds; prompts 0, 1, 2 and again 0.
    assert counts(report) == ({"text": 0, "audio": 0}, {"text": 3, "audio": 4}, 0)
    assert sorted(store.path.parent.rglob("*.h5")) == files


def test_only_what_is_new_is_computed(store, write_sounds):
    clips = write_sounds(0.5, 0.7, 1.2, 0.6)
    extract(clips.iloc[:1], ToyEncoder(), store)
    assert counts(extract(clips, ToyEncoder(), store)) == (
        {"text": 2, "audio": 3},
        {"text": 1, "audio": 1},
        0,
    )


def test_a_renamed_file_is_reused_and_a_changed_one_is_not(store, write_sounds, rng):
    clips = write_sounds(0.5, 0.7)
    extract(clips, ToyEncoder(), store, modality="audio")
    before, _ = audio_of(store, clips)
    renamed, changed = map(Path, clips["path"])
    renamed.rename(renamed.with_name("renamed.wav"))
    clips.loc["clip0", "path"] = str(renamed.with_name("renamed.wav"))
    soundfile.write(changed, rng.uniform(-0.5, 0.5, 6000), 8000, subtype="FLOAT")
    report = extract(clips, ToyEncoder(), store, modality="audio")
    assert counts(report) == ({"audio": 1}, {"audio": 1}, 0)
    after, _ = audio_of(store, clips)
    np.testing.assert_array_equal(after[0], before[0])
    assert (after[1:] != before[1:]).all()


def test_another_encoder_shares_nothing(store, write_sounds):
    clips = write_sounds(0.5)
    extract(clips, ToyEncoder(), store)
    report = extract(clips, ToyEncoder(version=2), store)
    assert counts(report) == ({"text": 1, "audio": 1}, {"text": 0, "audio": 0}, 0)


def test_the_same_content_under_two_names_is_encoded_once(store, write_sounds, monkeypatch):
    clips = write_sounds(0.5, 0.5)
    shutil.copy(*clips["path"])
    encoded = []
    encode = ToyEncoder.encode_audio
    monkeypatch.setattr(ToyEncoder, "encode_audio", lambda self, x: encoded.append(len(x)) or encode(self, x))
    assert extract(clips, ToyEncoder(), store).stored["audio"] == 1
    assert encoded == [1]
    vectors, offsets = audio_of(store, clips)
    assert offsets.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(vectors[0], vectors[1])


class Accelerated(ToyEncoder):
    """Computes elsewhere: its first two calls wait for each other, as only two threads at once can make them."""

    on_accelerator = True

    def prepare(self):
        self.meeting, self.calls, self.batch_size = threading.Barrier(2, timeout=30), 0, 3

    def encode_audio(self, windows):
        self.calls += 1
        if self.calls <= 2:
            self.meeting.wait()
        return super().encode_audio(windows)


def test_an_accelerator_is_given_two_batches_at_once(store, write_sounds):
    clips = write_sounds(*np.linspace(0.3, 2, 12))
    encoder = Accelerated()
    report = extract(clips, encoder, store)
    assert report.stored["audio"] == 12
    expected = EmbeddingStore(store.path.with_name("other.h5"))
    extract(clips, ToyEncoder(), expected)
    for found, wanted in zip(audio_of(store, clips), audio_of(expected, clips), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("modality, other", [("audio", "text"), ("text", "audio")])
def test_one_modality_alone(store, write_sounds, modality, other):
    report = extract(write_sounds(0.5), ToyEncoder(), store, modality=modality)
    assert report.stored == {modality: 1}
    assert store.encoders()["modality"].tolist() == [modality]
    assert other not in str(report)


def spoil(clips):
    """Make the first clip go missing and the third no sound."""
    first, _, third, *_ = map(Path, clips["path"])
    first.unlink()
    third.write_text("no sound")


def test_unreadable_clips_are_skipped_with_their_reasons(store, write_sounds):
    clips = write_sounds(0.5, 0.7, 0.5, 0.05)
    spoil(clips)
    with pytest.warns(
        SkippedWarning, match=r"^skipped 3 of 4 clips: .*clip0\.wav: cannot be read \(No"
    ) as caught:
        report = extract(clips, ToyEncoder(), store)
    assert caught[0].filename == __file__
    assert counts(report) == ({"text": 3, "audio": 1}, {"text": 0, "audio": 0}, 3)
    assert report.skipped["path"].to_dict() == clips["path"].drop("clip1").to_dict()
    assert report.skipped.index.tolist() == ["clip0", "clip2", "clip3"]
    for reason, words in zip(
        report.skipped["reason"], ("No such file", "not a sound file", "too short"), strict=True
    ):
        assert words in reason
    summary = str(report)
    assert summary.startswith(f"toy -> {store.path} in ")
    assert "\n  audio: 1 stored, 0 reused\n  skipped: 3\n    clip0: " in summary
    # What could be stored is there, and the rest is tried again.
    with pytest.warns(SkippedWarning, match="^skipped 3 of 4 clips"):
        assert extract(clips, ToyEncoder(), store).reused == {"text": 3, "audio": 1}


def test_nothing_readable_at_all_is_no_crash(store, write_sounds):
    clips = write_sounds(0.5)
    Path(clips["path"].iloc[0]).unlink()
    with pytest.warns(SkippedWarning, match="^skipped 1 of 1 clips"):
        assert counts(extract(clips, ToyEncoder(), store, modality="audio")) == (
            {"audio": 0},
            {"audio": 0},
            1,
        )


def test_strict_stops_at_an_unreadable_clip_and_keeps_what_was_done(store, write_sounds):
    clips = write_sounds(0.5, 0.7, 0.5, 0.6)
    Path(clips["path"].iloc[2]).write_text("no sound")
    with pytest.raises(AudioError, match=r"clip2\.wav: not a sound file"):
        extract(clips, ToyEncoder(), store, strict=True)
    # Batches of two: clips 0 and 1 were stored before, clip 3 with the one that failed.
    assert audio_of(store, clips.drop("clip2"))[1].tolist() == [0, 1, 3, 5]
    Path(clips["path"].iloc[0]).unlink()
    with pytest.raises(AudioError, match=r"clip0\.wav: cannot be read"):
        extract(clips, ToyEncoder(), store, strict=True)


def test_two_workers_do_what_one_does(store, write_sounds, tmp_path):
    clips = write_sounds(*np.linspace(0.2, 1.5, 9))
    Path(clips["path"].iloc[4]).write_text("no sound")
    with pytest.warns(SkippedWarning, match="^skipped 1 of 9 clips: .*clip4"):
        one = extract(clips, ToyEncoder(), store)
    other = EmbeddingStore(tmp_path / "other.h5")
    with pytest.warns(SkippedWarning, match="^skipped 1 of 9 clips: .*clip4"):
        two = extract(clips, ToyEncoder(), other, n_jobs=2)
    assert counts(one) == counts(two) == ({"text": 3, "audio": 8}, {"text": 0, "audio": 0}, 1)
    pd.testing.assert_frame_equal(one.skipped, two.skipped)
    good = clips.drop("clip4")
    for by_one, by_two in zip(audio_of(store, good), audio_of(other, good), strict=True):
        np.testing.assert_array_equal(by_one, by_two)


def test_another_backend_of_joblib_does_the_same(store, write_sounds):
    clips = write_sounds(0.5, 0.7, 0.9)
    with joblib.parallel_config(backend="threading"):
        assert extract(clips, ToyEncoder(), store, n_jobs=2).stored["audio"] == 3


def test_a_bar_is_shown_where_asked_for(store, write_sounds, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("musiceval_sk._progress._on_terminal", lambda: True)
        extract(write_sounds(0.5, 0.6), ToyEncoder(), store, progress=True)
    assert "toy: 100%" in capsys.readouterr().err
    extract(write_sounds(0.5, 0.6), ToyEncoder(version=2), store)
    assert capsys.readouterr().err == ""


def test_keys(tmp_path):
    # SHA-256 of nothing, a published constant.
    assert text_key("").hex().startswith("e3b0c44298fc1c149afbf4c8996fb924")
    assert len({text_key(prompt) for prompt in ("é", "e", "E", "e ")}) == 4
    sounds = pd.Series({"here": Sound(__file__), "gone": Sound("/nowhere.wav")})
    keys, unreadable = FileIndex(tmp_path / "files.npy").keys(sounds)
    assert keys.to_dict() == {"here": content_key(__file__)}
    assert list(unreadable) == ["/nowhere.wav: cannot be read (No such file or directory)"]


@pytest.fixture
def slow_package(tmp_path, monkeypatch):
    """Install, as far as Python can tell, a package whose entry point is an encoder that takes its time."""
    folder = tmp_path / "site"
    metadata = folder / "slow-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / "slow_encoder.py").write_text(SLOW_ENCODER)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: slow\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[musiceval_sk.encoders]\nslow = slow_encoder:SlowEncoder\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{ROOT}")
    yield importlib.import_module("slow_encoder").SlowEncoder()
    sys.modules.pop("slow_encoder")


@pytest.mark.slow
def test_a_killed_extraction_goes_on_from_where_it_was(store, write_sounds, slow_package):
    clips = write_sounds(*[0.5] * 40)
    table = store.path.with_name("clips.csv")
    clips.to_csv(table)
    command = [sys.executable, "-m", "musiceval_sk.cli.app", "extract", str(table)]
    command += ["--encoder", "slow", "--cache", str(store.path)]
    keys = [content_key(path) for path in clips["path"]]
    fingerprint = slow_package.fingerprint_of("audio")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and store.contains("audio", fingerprint, keys).sum() < 3:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        errors = process.stderr.read()
    assert process.returncode == -signal.SIGKILL, errors
    done = store.contains("audio", fingerprint, keys)
    assert 3 <= done.sum() < 40
    kept, _ = store.read("audio", fingerprint, [key for key, there in zip(keys, done, strict=True) if there])
    report = extract(clips, "slow", store)
    assert report.reused == {"text": 3, "audio": done.sum()}
    assert report.stored == {"text": 0, "audio": 40 - done.sum()}
    vectors, offsets = audio_of(store, clips, slow_package)
    assert offsets.tolist() == list(range(41))
    np.testing.assert_array_equal(vectors[done], kept)
    expected = [soundfile.read(path, dtype="float32")[0].max() for path in clips["path"]]
    np.testing.assert_array_equal(vectors[:, 1], expected)


def test_a_file_that_changes_after_it_was_digested_is_skipped(store, write_sounds, monkeypatch):
    clips = write_sounds(0.5, 0.6)
    changing = Path(clips["path"].iloc[0])
    missing = extract_module._missing

    def change_meanwhile(*arguments):
        soundfile.write(changing, np.full(4000, 0.25, dtype=np.float32), 8000, subtype="FLOAT")
        return missing(*arguments)

    monkeypatch.setattr(extract_module, "_missing", change_meanwhile)
    with pytest.warns(SkippedWarning, match="clip0.wav: has changed while embeddings were being computed"):
        report = extract(clips, ToyEncoder(), store, modality="audio")
    assert report.stored == {"audio": 1}


def test_a_store_that_cannot_be_rewritten_is_still_read(store, write_sounds, monkeypatch):
    clips = write_sounds(0.5, 0.6)
    extract(clips, ToyEncoder(), store)

    def refuse(*_, **__):
        raise StoreError("cannot compact (read-only file system)")

    monkeypatch.setattr(EmbeddingStore, "needs_compaction", lambda self: True)
    monkeypatch.setattr(EmbeddingStore, "compact", refuse)
    assert extract(clips, ToyEncoder(), store).reused == {"text": 2, "audio": 2}
    with pytest.warns(UserWarning, match=r"cannot compact \(read-only file system\); parts stay as they are"):
        report = extract(write_sounds(0.5, 0.6, 0.7), ToyEncoder(), store)
    assert report.stored["audio"] > 0


def test_clips_without_a_prompt_are_counted(store, write_sounds):
    clips = write_sounds(0.5, 0.6)
    clips["prompt"] = ["", "calm piano"]
    with pytest.warns(
        UserWarning, match="^1 of 2 clips have no prompt: their text vector is that of an empty text"
    ):
        extract(clips, ToyEncoder(), store)
    clips["prompt"] = [None, "calm piano"]
    with pytest.raises(ClipsTableError, match="column 'prompt' must hold text in every row .* clips: clip0"):
        extract(clips, ToyEncoder(), store)


def test_each_of_several_equal_clips_is_skipped_under_its_own_path(store, write_sounds):
    clips = write_sounds(0.05, 0.5, 0.05)
    shutil.copy(clips["path"].iloc[0], clips["path"].iloc[2])
    with pytest.warns(
        SkippedWarning, match="^skipped 2 of 3 clips: .*clip0.wav: too short.*clip2.wav: too short"
    ):
        report = extract(clips, ToyEncoder(), store, modality="audio")
    for clip in ("clip0", "clip2"):
        assert report.skipped.loc[clip, "reason"].startswith(clips.loc[clip, "path"] + ": too short")


def test_what_is_no_sound_file_costs_itself_and_not_the_run(store, write_sounds, tmp_path):
    clips = write_sounds(0.5, 0.5, 0.5, 0.5, 0.5)
    os.mkfifo(tmp_path / "pipe.wav")
    others = (f"{tmp_path}/pipe.wav", "/dev/zero", "a\0.wav", f"{tmp_path}/caf\udce9.wav")
    clips["path"] = pd.Series([clips["path"].iloc[0], *others], index=clips.index, dtype=object)
    with pytest.warns(SkippedWarning, match="^skipped 4 of 5 clips: .*is a pipe, not a file"):
        report = extract(clips, ToyEncoder(), store)
    assert counts(report) == ({"text": 3, "audio": 1}, {"text": 0, "audio": 0}, 4)
    assert "caf\\udce9.wav: cannot be read (No such file or directory)" in str(report)
    str(report).encode()  # can be printed


def test_parts_of_one_file_are_clips_of_their_own(store, write_sounds):
    whole = write_sounds(2.0)
    path = whole["path"].iloc[0]
    times = {"start_time": [None, 0.5, 1.5, 1.5], "end_time": [None, 1, None, 3]}
    clips = pd.DataFrame({"path": path, "prompt": "", **times}, index=["whole", "part", "rest", "beyond"])
    with pytest.warns(
        SkippedWarning,
        match=r"^skipped 1 of 4 clips: .*clip0.wav from 1.5 s to 3 s: ends before that, after 2.00 s",
    ):
        report = extract(clips, ToyEncoder(), store, modality="audio")
    assert report.skipped.index.tolist() == ["beyond"]
    digest = content_key(path)
    expected = [sound.key(digest) for sound in sounds_of(clips)]
    assert report.audio_keys.tolist() == expected
    assert expected[0] == digest
    vectors, offsets = store.read("audio", ToyEncoder().fingerprint_of("audio"), expected[1:3])
    assert offsets.tolist() == [0, 1, 2]  # half a second each
    samples = soundfile.read(path, dtype="float32")[0]
    np.testing.assert_array_equal(vectors[:, 1], [samples[4000:8000].max(), samples[12_000:].max()])
    # Parts that are stored are found again, by another clip too.
    again = clips.loc[["part"]].set_axis(["other"])
    assert extract(again, ToyEncoder(), store, modality="audio").reused == {"audio": 1}


def test_a_transformer_gives_the_vector_of_the_part(tmp_path, write_sounds):
    path = write_sounds(2.0)["path"].iloc[0]
    clips = pd.DataFrame(
        {"path": path, "start_time": [0.0, 1.0], "end_time": [1.0, np.nan]}, index=["a", "b"]
    )
    samples = soundfile.read(path, dtype="float32")[0]
    embedder = ClipEmbedder(ToyEncoder(), modality="audio", pooling="max", cache=tmp_path / "embeddings.h5")
    assert embedder.fit_transform(clips)[:, 1].tolist() == [samples[:8000].max(), samples[8000:].max()]
    with pytest.raises(ClipsTableError, match="start_time must be at least 0 and less than end_time"):
        embedder.fit(clips.assign(start_time=2))


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_odd_sounds_are_counted_and_named_once(store, write_sounds, n_jobs):
    clips = write_sounds(0.5, 0.5, 0.5, 0.5)
    for path in clips["path"].iloc[:2]:
        left = soundfile.read(path)[0]
        soundfile.write(path, np.stack([left, -left], axis=1), 8000, subtype="FLOAT")
    words = (
        "^2 clips are heard, but: .*clip0.wav: its channels cancel each other.*clip1.wav: its channels cancel"
    )
    with pytest.warns(UserWarning, match=words) as caught:
        report = extract(clips, ToyEncoder(), store, n_jobs=n_jobs)
    assert len(caught) == 1
    assert report.notes == [str(caught[0].message)]
    assert report.stored["audio"] == 4


class Measuring(ToyEncoder):
    """Counts the samples that are cut and not yet embedded."""

    def __init__(self):
        super().__init__()
        self.lock, self.held, self.most = threading.Lock(), 0, 0

    def _count(self, samples):
        with self.lock:
            self.held += samples
            self.most = max(self.most, self.held)

    def cut(self, samples):
        self._count(len(samples))
        return super().cut(samples)[:1] + len(samples)  # tells how many there were

    def encode_audio(self, windows):
        time.sleep(0.005)
        for window in windows:
            self._count(-int(window[0]))
        return super().encode_audio(windows)


def test_decoding_runs_ahead_by_samples_and_not_by_clips(store, write_sounds, monkeypatch):
    clips = write_sounds(*np.linspace(9.9, 10, 12))
    monkeypatch.setattr(pipeline, "_SAMPLES_AHEAD", 200_000)  # two and a half clips
    encoder = Measuring()
    assert extract(clips, encoder, store, modality="audio", batch_size=12).stored["audio"] == 12
    # Two ahead, one taken, and those of two batches of two windows that gather and are encoded.
    assert encoder.most <= 7 * 80_000
    monkeypatch.setattr(pipeline, "_SAMPLES_AHEAD", 1000)  # less than a clip: one after another
    encoder = Measuring()
    assert extract(clips, encoder, f"{store.path}2", modality="audio", batch_size=12).stored["audio"] == 12
    assert encoder.most <= 4 * 80_000
