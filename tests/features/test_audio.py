import hashlib
import io
import os
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import soxr

from musiceval_sk import AudioError, ClipsTableError, read_audio
from musiceval_sk.features import audio
from musiceval_sk.features.audio import cut_windows
from musiceval_sk.features.digests import Sound, content_key, sounds_of

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


def written(samples, rate=8000, **how):
    """Bytes of a sound file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **how)
    return file.getvalue()


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
    words = "truncated or damaged, it cannot be decoded on from" if suffix == "flac" else "truncated: it"
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


@pytest.mark.parametrize(
    "how",
    [
        *({"format": kind} for kind in ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU")),
        {"format": "WAV", "endian": "BIG"},
        {"format": "AU", "endian": "LITTLE"},
        {"format": "AIFF", "subtype": "FLOAT"},  # AIFC
        {"format": "CAF"},
        {"format": "WAV", "subtype": "GSM610"},
        {"format": "W64", "subtype": "MS_ADPCM"},
    ],
    ids=lambda how: "-".join(how.values()),
)
def test_a_container_is_held_against_the_length_that_it_names(tmp_path, rng, how):
    path, whole = tmp_path / "clip", written(0.1 * rng.standard_normal(16_000), **how)
    path.write_bytes(whole)
    assert read_audio(path, 8000).shape[0] == pytest.approx(16_000, abs=640)  # codecs fill their last block
    for length in (len(whole) - 1, len(whole) * 2 // 3):
        path.write_bytes(whole[:length])
        with pytest.raises(AudioError, match="clip: (truncated: its header promises|not a sound file)"):
            read_audio(path, 8000)
    if how["format"] not in ("RF64", "AU"):  # whose header speaks of no end
        path.write_bytes(whole + whole)
        with pytest.raises(AudioError, match="clip: (a further stream begins after|not a sound file)"):
            read_audio(path, 8000)


def test_the_words_for_missing_bytes(tmp_path):
    path = tmp_path / "clip.wav"
    path.write_bytes(written(np.zeros(16_000), format="WAV")[:-12_000])
    words = "clip.wav: truncated: its header promises 32,000 bytes of sound, 20,000 are there$"
    with pytest.raises(AudioError, match=words):
        read_audio(path, 8000)


@pytest.mark.parametrize("kind, place", [("WAV", 40), ("AU", 8), ("RF64", 28), ("AIFF", 42)])
def test_a_header_of_no_length_before_sound_is_told_from_no_sound(tmp_path, kind, place):
    path, data = tmp_path / "clip", bytearray(written(np.zeros(16_000), format=kind))
    width = 8 if kind == "RF64" else 4
    assert int.from_bytes(data[place : place + width], "big" if kind in ("AU", "AIFF") else "little") in (
        32_000,
        32_008,
    )
    data[place : place + width] = bytes(width)
    path.write_bytes(data)
    with pytest.raises(
        AudioError, match="clip: its header promises 0 bytes of sound, but 32,000 bytes follow: the program"
    ):
        read_audio(path, 8000)


def test_a_header_of_no_length_before_other_chunks_is_no_sound(tmp_path):
    path = tmp_path / "clip.wav"
    path.write_bytes(written(np.zeros(0), format="WAV") + b"LIST" + struct.pack("<I", 4) + b"INFO")
    with pytest.raises(AudioError, match=r"too short, 0\.000 s"):
        read_audio(path, 8000)


@pytest.mark.parametrize(
    "how",
    [{"format": "OGG"}, {"format": "OGG", "subtype": "OPUS"}, {"format": "FLAC"}, {"format": "MP3"}],
    ids=["vorbis", "opus", "flac", "mp3"],
)
def test_a_further_stream_would_go_unheard_and_is_refused(tmp_path, rng, how):
    path = tmp_path / "clip"
    path.write_bytes(written(0.1 * rng.standard_normal(16_000), **how) * 2)
    with pytest.raises(
        AudioError, match="clip: a further stream begins after .* write the file anew as one stream$"
    ):
        read_audio(path, 8000)


def test_the_length_of_a_flac_stream_may_be_unknown_but_not_wrong(tmp_path, rng):
    path = tmp_path / "clip.flac"
    data = bytearray(written(0.1 * rng.standard_normal(16_000), format="FLAC"))
    assert int.from_bytes(data[21:26], "big") & 0xF_FFFF_FFFF == 16_000
    data[21:26] = (int.from_bytes(data[21:26], "big") & ~0xF_FFFF_FFFF).to_bytes(5, "big")
    path.write_bytes(data)
    assert read_audio(path, 8000).shape == (16_000,)
    path.write_bytes(data[:-100])
    with pytest.raises(AudioError, match="clip.flac: truncated or damaged"):
        read_audio(path, 8000)
    data[21:26] = (int.from_bytes(data[21:26], "big") | 0xF_FFFF_FFFF).to_bytes(5, "big")
    path.write_bytes(data)
    # 2 ** 36 - 1 samples at 8 kHz
    with pytest.raises(AudioError, match=r"2\.00 s are read of at least 8589934\.59 s"):
        read_audio(path, 8000)


@pytest.mark.parametrize(
    "kind, subtype",
    [
        *(
            ("WAV", subtype)
            for subtype in ("GSM610", "G721_32", "NMS_ADPCM_16", "NMS_ADPCM_24", "NMS_ADPCM_32")
        ),
        *(("AU", subtype) for subtype in ("G721_32", "G723_24", "G723_40")),
        ("AIFF", "GSM610"),
        ("W64", "GSM610"),
    ],
)
def test_codecs_that_can_only_be_read_on_are_read(tmp_path, kind, subtype):
    path = tmp_path / "clip"
    path.write_bytes(written(sine(440, seconds=2, rate=8000, amplitude=0.1), format=kind, subtype=subtype))
    samples = read_audio(path, 8000)
    assert 16_000 <= len(samples) <= 16_000 + 640
    assert level(samples[:16_000]) == pytest.approx(0.1 / np.sqrt(2), rel=0.1)


class Mp3:
    """Frames of a second and a half of noise at 48 kHz: 64 of 24 ms, of equal length, and one that counts them."""

    def __init__(self, rng):
        noise = 0.1 * rng.standard_normal(72_000)
        data = written(noise, 48_000, format="MP3", bitrate_mode="CONSTANT", compression_level=0.5)
        length = 144 * 160_000 // 48_000
        assert len(data) % length == 0
        assert data.count(data[:2]) >= len(data) // length
        self.header, *self.frames = (data[begin : begin + length] for begin in range(0, len(data), length))
        self.tag = b"TAG" + bytes(125)

    def promising(self, count):
        begin = self.header.index(b"Info") + 8
        return self.header[:begin] + struct.pack(">I", count) + self.header[begin + 4 :]


@pytest.fixture
def mp3(rng):
    return Mp3(rng)


def test_an_mp3_is_whole_though_its_header_promises_a_few_frames_more(tmp_path, mp3):
    path, count = tmp_path / "song.mp3", len(mp3.frames)
    for tag in (b"", mp3.tag):
        path.write_bytes(mp3.promising(count + 3) + b"".join(mp3.frames) + tag)
        words = rf"song\.mp3: has {count} of the {count + 3} frames that its header promises, 0\.07 s less, but ends with a"
        with pytest.warns(UserWarning, match=words):
            assert len(read_audio(path, 48_000)) > 70_000


@pytest.mark.parametrize("lacking", [8, 32])
def test_an_mp3_that_ends_between_two_frames_is_truncated_if_many_are_missing(tmp_path, mp3, lacking):
    path, count = tmp_path / "song.mp3", len(mp3.frames)
    path.write_bytes(mp3.header + b"".join(mp3.frames[:-lacking]))
    words = rf"truncated: it has {count - lacking} of the {count} frames that its header promises, {lacking * 0.024:.2f} s less"
    with pytest.raises(AudioError, match=words):
        read_audio(path, 48_000)


def test_an_mp3_without_a_header_is_judged_by_its_end(tmp_path, mp3):
    path = tmp_path / "song.mp3"
    path.write_bytes(b"".join(mp3.frames) + mp3.tag)
    assert read_audio(path, 48_000).shape == (len(mp3.frames) * 1152,)
    path.write_bytes(b"".join(mp3.frames)[:-100])
    with pytest.raises(AudioError, match="truncated: it ends within a frame"):
        read_audio(path, 48_000)


def test_frames_of_several_mp3_files_are_one_stream_where_none_says_how_many_there_are(tmp_path, mp3):
    path, frames = tmp_path / "song.mp3", b"".join(mp3.frames)
    id3 = b"ID3\x04\0\0\0\0\0\x14" + bytes(20)
    path.write_bytes((id3 + frames) * 2)
    assert read_audio(path, 48_000).shape == (2 * len(mp3.frames) * 1152,)
    path.write_bytes(id3 + frames + id3 + mp3.header + frames)
    with pytest.raises(AudioError, match="a further stream begins after"):
        read_audio(path, 48_000)
    path.write_bytes(mp3.header + frames + mp3.tag + frames * 2)
    with pytest.raises(AudioError, match="are read of at least"):
        read_audio(path, 48_000)


def test_an_mp3_that_changes_its_rate_is_refused(tmp_path, mp3, rng):
    path = tmp_path / "song.mp3"
    path.write_bytes(b"".join(mp3.frames) + written(0.1 * rng.standard_normal(32_000), 32_000, format="MP3"))
    with pytest.raises(AudioError, match="a further stream begins after"):
        read_audio(path, 48_000)


def test_an_mp3_of_varying_bitrate_that_does_not_say_its_length_is_refused(tmp_path, rng):
    # libsndfile takes the first frame's bitrate for that of all, and stops where the file would then end.
    noise = 0.1 * rng.standard_normal(4 * 48_000) * np.repeat([1, 1, 0.01, 0.001], 48_000)[::-1]
    data = written(noise, 48_000, format="MP3", bitrate_mode="VARIABLE", compression_level=0.5)
    path = tmp_path / "song.mp3"
    path.write_bytes(data)
    assert read_audio(path, 48_000).shape == (4 * 48_000,)
    path.write_bytes(data[data.index(data[:2], 2) :])
    with pytest.raises(AudioError, match=r"song\.mp3: \d\.\d\d s are read of at least 3\.\d\d s"):
        read_audio(path, 48_000)


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
    path.write_bytes(written(np.zeros(16_000), format="VOC"))
    with pytest.raises(AudioError, match=r"clip\.wav: is VOC, which is not read; convert it to WAV or FLAC"):
        read_audio(path, 8000)
    path.write_bytes(written(np.zeros(16_000), 1, format="WAV"))
    with pytest.raises(AudioError, match=r"clip\.wav: a sample rate of 1 Hz is not that of music"):
        read_audio(path, 8000)


@pytest.fixture
def no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    return {
        tmp_path / "none.wav": "No such file or directory",
        tmp_path: "is a folder, not a file",
        tmp_path / "pipe.wav": "is a pipe, not a file",
        "/dev/zero": "is a device, not a file",
        f"{tmp_path}/a\0.wav": "embedded null (byte|character.*)",
        f"{tmp_path}/caf\udce9.wav": "No such file or directory",
        f"{tmp_path}/\ud800.wav": "surrogates not allowed",
    }


@pytest.mark.parametrize(
    "read", [lambda path: read_audio(path, 8000), content_key], ids=["read_audio", "content_key"]
)
def test_what_is_no_file_is_named_and_never_waited_for(no_file, read):
    for path, words in no_file.items():
        with pytest.raises(AudioError, match=rf"cannot be read \(.*{words}\)$") as caught:
            read(path)
        name = str(path).encode("utf-8", "backslashreplace").decode()
        assert str(caught.value).startswith(f"{name}: ")  # which any stream can print


def test_a_name_that_is_no_text_is_read(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9.wav"
    with open(path, "wb") as file:
        file.write(written(np.zeros(800), format="WAV"))
    assert read_audio(os.fsdecode(path), 8000).shape == (800,)


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(5, "Input/output error"), AssertionError("odd"), UnicodeError()]
)
def test_any_failure_to_decode_is_the_files_own(write, monkeypatch, error):
    path = write(sine(1000))

    def fail(*_, **__):
        raise error

    for name in ("read", "close"):
        with monkeypatch.context() as patched:
            patched.setattr(soundfile.SoundFile, name, fail)
            with pytest.raises(
                AudioError, match=r"clip\.wav: .*(MemoryError|Input/output error|odd|UnicodeError)"
            ):
                read_audio(path, 8000)


@pytest.mark.parametrize("rate, channels", [(44_100, 2), (8000, 1), (22_050, 5)])
def test_block_by_block_gives_the_bits_of_all_at_once(write, rng, monkeypatch, rate, channels):
    monkeypatch.setattr(audio, "_BLOCK_SAMPLES", 1000)
    samples = rng.uniform(-1, 1, (20_011, channels)).astype(np.float32)
    expected = soxr.resample(samples.mean(axis=1), rate, 22_050, quality="HQ")
    np.testing.assert_array_equal(read_audio(write(samples, rate, subtype="FLOAT"), 22_050), expected)


def test_channels_that_cancel_are_warned_of(write):
    left = sine(1000)
    with pytest.warns(
        UserWarning, match=r"clip\.wav: its channels cancel each other: of their power 0 is left in the mix"
    ):
        read_audio(write(np.stack([left, -left], axis=1), subtype="FLOAT"), 48_000)
    # The mix has amplitude (1 - .95) / 2 = .025, so .000625 of the left channel's power, which is 1.05 times the mean of both.
    with pytest.warns(UserWarning, match="of their power 0.0007 is left"):
        read_audio(write(np.stack([left, -0.95 * left], axis=1), subtype="FLOAT"), 48_000)
    for right in (-0.9 * left, 0 * left):
        read_audio(write(np.stack([left, right], axis=1), subtype="FLOAT"), 48_000)
    read_audio(write(np.zeros((4800, 2))), 48_000)


@pytest.mark.parametrize("suffix", ["wav", "mp3"])
def test_a_part_of_a_file_is_cut_before_it_is_resampled(write, rng, monkeypatch, suffix):
    monkeypatch.setattr(audio, "_BLOCK_SAMPLES", 1000)
    path = write(0.1 * rng.standard_normal(3 * 8000), 8000, suffix=suffix)
    whole = read_audio(path, 8000)
    for start, end in ((0.5, 1.25), (0, 1.25), (0.5, None), (0.5, 3)):
        expected = whole[round(start * 8000) : None if end is None else round(end * 8000)]
        np.testing.assert_array_equal(read_audio(path, 8000, start_time=start, end_time=end), expected)
    # A time that is rounded to hundredths may lie that much behind the end.
    assert len(read_audio(path, 8000, start_time=2.5, end_time=3.01)) == 4000


def test_a_part_that_is_not_there_is_refused(write):
    path = write(np.zeros(16_000), 8000)
    with pytest.raises(AudioError, match=r"clip\.wav from 1 s to 2\.5 s: ends before that, after 2\.00 s"):
        read_audio(path, 8000, start_time=1, end_time=2.5)
    with pytest.raises(AudioError, match=r"clip\.wav from 3 s to the end: ends before that, after 2\.00 s"):
        read_audio(path, 8000, start_time=3)
    with pytest.raises(AudioError, match=r"clip\.wav from 1 s to 1\.05 s: too short, 0\.050 s"):
        read_audio(path, 8000, start_time=1, end_time=1.05)
    for start, end in ((-1, 1), (1, 1), (np.nan, 1), (np.inf, np.inf)):
        with pytest.raises(ValueError, match="must be at least 0 and less than end_time"):
            read_audio(path, 8000, start_time=start, end_time=end)


def test_the_key_of_a_part_is_of_the_bytes_and_the_times():
    digest = hashlib.sha256(b"sound").digest()
    assert Sound("a.wav").key(digest) == digest
    assert Sound("a.wav", 0.5, 2.0).key(digest) == hashlib.sha256(digest + b"0.5 2.0").digest()
    assert Sound("b.wav", 0.5).key(digest) == hashlib.sha256(digest + b"0.5 inf").digest()


def test_which_part_of_its_file_a_clip_is_stands_in_the_table():
    clips = pd.DataFrame(
        {"path": "a.wav", "start_time": ["0", "", 1], "end_time": [None, 2, 1.5]}, index=list("abc")
    )
    expected = [Sound("a.wav"), Sound("a.wav", 0.0, 2.0), Sound("a.wav", 1.0, 1.5)]
    assert sounds_of(clips).to_dict() == dict(zip("abc", expected, strict=True))
    for times, words in [
        ({"start_time": "one"}, "column 'start_time' must hold numbers, but has: 'one'"),
        (
            {"start_time": 2, "end_time": 2},
            "start_time must be at least 0 and less than end_time, .*: 2 and 2 \\(row 'a'\\)",
        ),
        ({"start_time": -1}, "-1 and inf \\(row 'a'\\)"),
    ]:
        with pytest.raises(ClipsTableError, match=words):
            sounds_of(pd.DataFrame({"path": "a.wav", **times}, index=["a"]))


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


def test_hours_without_end_are_not_decoded_but_a_part_is(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "_MOST_HOURS", 0.5)
    path = tmp_path / "silence.flac"
    soundfile.write(path, np.zeros(2_000_000, dtype=np.int16), 1000)
    assert path.stat().st_size < 20_000
    for options in ({}, {"end_time": 1900}):
        with pytest.raises(AudioError, match="silence.flac.*: too long, over 0.5 hours of sound"):
            read_audio(path, 1000, **options)
    assert len(read_audio(path, 1000, start_time=10, end_time=11)) == 1000
