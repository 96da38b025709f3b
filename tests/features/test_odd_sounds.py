"""Sounds of every kind that libsndfile writes, whole and damaged: what becomes of each, and of the clips beside them."""

import random
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import soundfile

from musiceval_sk import AudioError, EmbeddingStore, SkippedWarning, extract, read_audio
from musiceval_sk.features.digests import content_key
from tests.features.toy import ToyEncoder

RATE = 8000
READ = ("AIFF", "AU", "CAF", "FLAC", "MP3", "OGG", "RF64", "W64", "WAV", "WAVEX")
# Codecs in blocks fill the last of them; what is written is at most so many samples longer.
BLOCK = 480
UNTOLD = "RAW", "SD2"  # have no header, or have it in a second file
DAMAGED = [
    *(("WAV", "PCM_16"), ("WAV", "GSM610"), ("WAV", "IMA_ADPCM"), ("WAVEX", "FLOAT"), ("RF64", "PCM_24")),
    *(("W64", "PCM_U8"), ("W64", "MS_ADPCM"), ("AIFF", "PCM_16"), ("AIFF", "DOUBLE"), ("AU", "ULAW")),
    *(("AU", "G723_24"), ("CAF", "PCM_32"), ("CAF", "ALAC_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")),
    *(("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")),
]
N_DAMAGES = 20
# Of a flipped bit these tell, by checksums; others say in their headers at most what there should be.
CHECKED = "FLAC", "OGG"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "clip"


def tone(rate=RATE, seconds=0.5, channels=1):
    """A sine of 440 Hz whose level is .3 / sqrt(2) = .212."""
    return np.tile(0.3 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)[:, None], channels)


def is_the_tone(samples, seconds=0.5):
    middle = samples[len(samples) // 4 : len(samples) // 4 * 3]
    return 0 <= len(samples) - seconds * RATE <= BLOCK and np.sqrt(np.mean(middle**2)) == pytest.approx(
        0.3 / np.sqrt(2), rel=0.03
    )


@pytest.mark.parametrize("kind", soundfile.available_formats())
def test_every_kind_and_subtype_that_libsndfile_writes(path, kind):
    for subtype in soundfile.available_subtypes(kind):
        try:
            soundfile.write(path, tone(), RATE, format=kind, subtype=subtype)
        except soundfile.LibsndfileError:  # a subtype that it names and does not write
            continue
        if kind in READ:
            assert is_the_tone(read_audio(path, RATE)), subtype
        else:
            words = (
                "not a sound file that libsndfile can read"
                if kind in UNTOLD
                else f"is {kind}, which is not read"
            )
            with pytest.raises(AudioError, match=f"clip: {words}"):
                read_audio(path, RATE)


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000, 88_200, 192_000, 352_800, 384_000])
@pytest.mark.parametrize("kind, most", [("WAV", 32), ("FLAC", 8), ("CAF", 32)])
def test_every_rate_and_number_of_channels(path, kind, most, rate):
    for channels in (1, 2, 6, 8, 32):
        if channels <= most:
            soundfile.write(path, tone(rate, 0.25, channels), rate, format=kind)
            assert is_the_tone(read_audio(path, RATE), 0.25), channels


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """Files of every container, truncated at twenty places and with one bit flipped at twenty; how many samples they had."""
    folder, chance = tmp_path_factory.mktemp("damaged"), random.Random(0)
    noise, rows = 0.1 * np.random.default_rng(0).standard_normal(2 * RATE), []
    for kind, subtype in DAMAGED:
        whole = folder / f"{kind}-{subtype}"
        soundfile.write(whole, noise, RATE, format=kind, subtype=subtype)
        content, length = whole.read_bytes(), len(read_audio(whole, RATE))
        rows.append((whole, kind, "whole", length))
        for number in range(N_DAMAGES):
            cut = len(content) * number // N_DAMAGES
            flipped = bytearray(content)
            flipped[chance.randrange(60 if number % 2 else len(content))] ^= 1 << chance.randrange(8)
            for damage, left in (("cut", content[:cut]), ("flipped", flipped)):
                rows.append((folder / f"{whole.name}-{damage}-{number}", kind, damage, length))
                rows[-1][0].write_bytes(left)
    return pd.DataFrame(rows, columns=["path", "kind", "damage", "samples"])


def outcome_of(path):
    try:
        return len(read_audio(path, RATE))
    except AudioError as error:
        assert str(error).startswith(f"{path}: ")
        return None


def test_a_file_cut_anywhere_is_refused(damaged):
    cut = damaged[damaged["damage"] == "cut"]
    assert len(cut) == N_DAMAGES * len(DAMAGED)
    assert [path for path in cut["path"] if outcome_of(path) is not None] == []


@pytest.mark.filterwarnings("ignore:.*its channels cancel:UserWarning")
def test_a_flipped_bit_is_refused_where_there_are_checksums_and_else_shortens_nothing(damaged):
    """Without a checksum, a bit of the header can make of 8,000 Hz another rate, or of one channel several."""
    for _, path, kind, _, samples in damaged[damaged["damage"] == "flipped"].itertuples():
        found = outcome_of(path)
        if found is None or found == samples:
            assert found is None or kind != "OGG"
            continue
        assert kind not in CHECKED, path
        with soundfile.SoundFile(path) as file:
            assert (file.samplerate, file.channels) != (RATE, 1), path


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*its channels cancel:UserWarning")
def test_no_bad_file_costs_another_clip_its_vector(damaged, tmp_path):
    clips = damaged.assign(path=damaged["path"].map(str), clip_id=damaged["path"].map(lambda path: path.name))
    clips = clips.set_index("clip_id").sample(frac=1, random_state=0)
    store = EmbeddingStore(tmp_path / "embeddings.h5")
    with pytest.warns(SkippedWarning):
        result = extract(clips, ToyEncoder(), store, modality="audio")
    failed = set(result.skipped.index)
    assert len(failed) > 400
    kept, encoder = clips.drop(index=failed), ToyEncoder()
    keys = [content_key(path) for path in kept["path"]]
    vectors, offsets = store.read("audio", encoder.fingerprint_of("audio"), keys)
    alone = [encoder.encode_audio(encoder.cut(read_audio(path, RATE))) for path in kept["path"]]
    np.testing.assert_array_equal(vectors, np.concatenate(alone))
    np.testing.assert_array_equal(offsets, np.cumsum([0, *map(len, alone)]))
    assert failed.isdisjoint(clips.index[clips["damage"] == "whole"])
    assert failed >= set(clips.index[clips["damage"] == "cut"])


def test_an_hour_takes_the_memory_of_its_samples(path):
    """Of 3,600 s at 8 kHz and 4 bytes: 115 MB, and at most half as much again while they grow."""
    minute = tone(seconds=60.0).astype(np.float32)
    with soundfile.SoundFile(path, "w", RATE, 1, format="WAV", subtype="PCM_U8") as file:
        for _ in range(60):
            file.write(minute)
    tracemalloc.start()
    samples = read_audio(path, RATE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(samples) == 3600 * RATE
    assert peak < 1.5 * samples.nbytes
