import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musiceval_sk import AudioError, cut_windows, read_audio
from musiceval_sk.features.audio import content_key

FORMATS = {
    "wav": {"subtype": "PCM_16"},
    "flac": {},
    "mp3": {},
    "ogg": {},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "aiff": {},
}
LOSSY = ("mp3", "ogg", "opus")
DATA = Path(os.environ.get("MUSICEVAL_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.fixture
def write(tmp_path):
    def write_file(samples, rate=48_000, suffix="wav", **options):
        path = tmp_path / f"clip.{suffix}"
        soundfile.write(path, samples, rate, **(options or FORMATS[suffix]))
        return path

    return write_file


def sine(frequency, seconds=1.0, rate=48_000, amplitude=0.5):
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def level(samples):
    """Root mean square away from the edges, where filters ring."""
    return np.sqrt(np.mean(samples[len(samples) // 4 : -len(samples) // 4] ** 2))


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("rate", [22_050, 48_000])
def test_every_format_decodes_to_its_length_frequency_and_level(write, suffix, rate):
    samples = read_audio(write(sine(1000, seconds=1.5), suffix=suffix), rate)
    assert samples.dtype == np.float32
    assert samples.flags.c_contiguous
    assert samples.shape == (round(1.5 * rate),)
    # 1.5 s give bins 1 / 1.5 Hz apart.
    assert np.argmax(np.abs(np.fft.rfft(samples))) == 1500
    # A sine of amplitude .5 has the level .5 / sqrt(2).
    assert level(samples) == pytest.approx(0.5 / np.sqrt(2), rel=0.02 if suffix in LOSSY else 1e-3)


@pytest.mark.parametrize("rate", [8000, 16_000, 32_000, 44_100])
def test_resampling_keeps_frequency_and_level(write, rate):
    path = write(sine(1000, rate=rate, seconds=2), rate=rate)
    samples = read_audio(path, 22_050)
    assert samples.shape == (44_100,)
    assert np.argmax(np.abs(np.fft.rfft(samples))) == 2000
    assert level(samples) == pytest.approx(0.5 / np.sqrt(2), rel=1e-3)


def test_what_the_new_rate_cannot_hold_is_filtered_out(write):
    # 15 kHz lies above half of 22,050 Hz; without a filter it would come back as 7,050 Hz.
    assert level(read_audio(write(sine(15_000)), 22_050)) < 0.5 * 10 ** (-80 / 20)


def test_channels_are_averaged(write):
    left, right = sine(1000), sine(1000, amplitude=-0.1)
    stereo = write(np.stack([left, right], axis=1), subtype="FLOAT")
    np.testing.assert_allclose(read_audio(stereo, 48_000), (left + right) / 2, atol=1e-7)


def test_at_its_own_rate_a_float_file_comes_back_exactly(write, rng):
    samples = rng.uniform(-1, 1, 8000).astype(np.float32)
    np.testing.assert_array_equal(read_audio(write(samples, 8000, subtype="FLOAT"), 8000), samples)


def test_samples_over_full_scale_are_kept(write):
    path = write(sine(1000, amplitude=1.5), subtype="FLOAT")
    assert read_audio(path, 48_000).max() == pytest.approx(1.5, rel=1e-3)


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3"])
def test_silence_is_a_sound(write, suffix):
    samples = read_audio(write(np.zeros(48_000), suffix=suffix), 48_000)
    assert samples.shape == (48_000,)
    np.testing.assert_array_equal(samples, 0)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("part", ["half", "nine tenths", "all but 200 bytes", "all but 1 byte"])
def test_a_truncated_file_is_refused(write, rng, suffix, part):
    noise = 0.1 * rng.standard_normal(3 * 48_000)  # so that no format packs it into a few bytes
    path = write(noise, suffix=suffix)
    whole = path.read_bytes()
    length = {
        "half": len(whole) // 2,
        "nine tenths": len(whole) * 9 // 10,
        "all but 200 bytes": len(whole) - 200,
        "all but 1 byte": len(whole) - 1,
    }[part]
    path.write_bytes(whole[:length])
    words = (
        "not a sound file" if suffix == "flac" else r"truncated after [0-3]\.\d\d s; the header promises more"
    )
    with pytest.raises(AudioError, match=rf"clip\.{suffix}: {words}"):
        read_audio(path, 22_050)


@pytest.mark.parametrize("suffix", ["ogg", "opus"])
def test_an_ogg_file_that_ends_at_a_page_is_truncated_too(write, rng, suffix):
    path = write(0.1 * rng.standard_normal(3 * 48_000), suffix=suffix)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rindex(b"OggS")])
    with pytest.raises(AudioError, match="truncated"):
        read_audio(path, 22_050)


@pytest.mark.parametrize("placeholder", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_a_streamed_wav_with_a_placeholder_for_its_length_is_whole(write, placeholder):
    path = write(sine(1000))
    streamed = bytearray(path.read_bytes())
    streamed[4:8] = streamed[40:44] = struct.pack("<I", placeholder)
    assert bytes(streamed[36:40]) == b"data"
    path.write_bytes(streamed)
    assert read_audio(path, 48_000).shape == (48_000,)


def test_bytes_after_the_sound_are_no_harm(write):
    path = write(sine(1000))
    tag = b"LIST" + struct.pack("<I", 4) + b"INFO"
    path.write_bytes(path.read_bytes() + tag)
    assert read_audio(path, 48_000).shape == (48_000,)


def test_under_a_tenth_of_a_second_is_too_short(write):
    # 799 samples at 8 kHz are .099875 s, 800 are .1 s.
    with pytest.raises(AudioError, match=r"clip\.wav: too short, 0\.100 s; at least 0\.1 s are needed"):
        read_audio(write(np.zeros(799), 8000), 8000)
    assert read_audio(write(np.zeros(800), 8000), 8000).shape == (800,)


def test_a_wav_without_samples_is_too_short(write):
    with pytest.raises(AudioError, match=r"too short, 0\.000 s"):
        read_audio(write(np.zeros(0)), 8000)


def test_broken_samples_are_counted(write):
    samples = sine(1000)
    samples[[5, 6, 700]] = np.nan, np.inf, -np.inf
    with pytest.raises(AudioError, match=r"clip\.wav: 3 samples are nan or infinite"):
        read_audio(write(samples, subtype="FLOAT"), 48_000)


def test_files_that_are_no_sound_are_refused(tmp_path):
    path = tmp_path / "clip.wav"
    for content, words in [
        (b"", r"the file is empty \(0 bytes\)"),
        (b"once upon a time" * 100, "not a sound file that libsndfile can read"),
        (b"RIFF", "not a sound file that libsndfile can read"),
    ]:
        path.write_bytes(content)
        with pytest.raises(AudioError, match=rf"clip\.wav: {words}"):
            read_audio(path, 8000)
    for path in (tmp_path, tmp_path / "none.wav"):
        with pytest.raises(AudioError, match=f"{path.name}: no such file"):
            read_audio(path, 8000)


@pytest.mark.parametrize("length", [4, 5, 7, 8, 9, 12, 13, 23])
@pytest.mark.parametrize("hop", [1, 3, 4])
def test_windows_cover_all_and_the_last_ends_with_the_clip(length, hop):
    clip = np.arange(length)
    windows = cut_windows(clip, 4, hop)
    assert windows.shape[1] == 4
    assert set(windows.ravel()) == set(range(length))
    np.testing.assert_array_equal(np.diff(windows, axis=1), 1)
    starts = windows[:, 0]
    assert starts[0] == 0
    assert starts[-1] == length - 4
    np.testing.assert_array_equal(starts[:-1], hop * np.arange(len(starts) - 1))
    # As few windows as can do it: one, and one more for each hop begun.
    assert len(windows) == 1 + -(-(length - 4) // hop)


@pytest.mark.parametrize("length, window", [(1, 7), (3, 7), (4, 7), (6, 7), (7, 7), (5, 20)])
def test_short_clips_are_repeat_padded_as_in_training(rng, length, window):
    clip = rng.standard_normal(length).astype(np.float32)
    # laion_clap, training/data.py, data_filling == "repeatpad": n_repeat = int(max_len / len(audio)),
    # tile, then F.pad with constant 0.
    expected = np.zeros(window, np.float32)
    for repeat in range(int(window / length)):
        expected[repeat * length : (repeat + 1) * length] = clip
    windows = cut_windows(clip, window, window)
    assert windows.dtype == np.float32
    np.testing.assert_array_equal(windows, expected[np.newaxis])


def test_bad_windows_are_refused():
    with pytest.raises(ValueError, match="cannot cut windows from an empty clip"):
        cut_windows(np.zeros(0), 4, 4)
    for hop in (0, 5):
        with pytest.raises(ValueError, match=f"hop_length={hop} must be between 1 and window_length=4"):
            cut_windows(np.zeros(9), 4, hop)


def test_the_content_key_is_of_the_bytes_and_not_of_the_name(tmp_path):
    one, two = tmp_path / "one.wav", tmp_path / "two.mp3"
    one.write_bytes(b"sound")
    two.write_bytes(b"sound")
    assert content_key(one) == content_key(str(two)) == hashlib.sha256(b"sound").digest()
    two.write_bytes(b"Sound")
    os.utime(two, ns=(0, 1_000_000_000))  # a later change, however coarse the file system's clock
    assert content_key(two) == hashlib.sha256(b"Sound").digest()


def test_the_content_key_of_what_cannot_be_read(tmp_path):
    with pytest.raises(AudioError, match=r"none\.wav: cannot be read \(No such file or directory\)"):
        content_key(tmp_path / "none.wav")
    with pytest.raises(AudioError, match=r"cannot be read \(Is a directory\)"):
        content_key(tmp_path)


@pytest.mark.parametrize("folder, suffix, count", [("jazz/audio", "mp3", 36), ("opus", "opus", 23)])
def test_real_music_decodes(folder, suffix, count):
    files = sorted((DATA / folder).glob(f"*.{suffix}"))
    if not files:
        pytest.skip(f"no real data in {DATA / folder}; set MUSICEVAL_TEST_DATA to a folder that has it")
    assert len(files) == count
    for file in files:
        samples = read_audio(file, 22_050)
        assert 1 < len(samples) / 22_050 < 60
        assert 0.001 < level(samples) < 1
