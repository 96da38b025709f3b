import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import chirp

from musiceval_sk.features.encoders.base import digest_of
from musiceval_sk.features.encoders.spectral import (
    SpectralEncoder,
    _hertz_to_mel,
    _mel_filters,
    _mel_to_hertz,
)

FROZEN = json.loads(Path(__file__).with_name("spectral_v1.json").read_text())
RATE = SpectralEncoder.sample_rate
TIME = np.arange(10 * RATE) / RATE

# Where the features stand, in the order of the docstring.
BAND_MEANS, BAND_SPREADS, BAND_MOVES = slice(0, 64), slice(64, 128), slice(128, 192)
CENTROID, BANDWIDTH, ROLLOFF, FLATNESS, FLUX, CROSSINGS = range(192, 198)
SHAPE_SPREADS = slice(198, 204)
LEVEL, LEVEL_SPREAD, LEVEL_5, LEVEL_50, LEVEL_95, CREST = range(204, 210)


@pytest.fixture
def encoder():
    return SpectralEncoder()


@pytest.fixture
def measure(encoder):
    def measure_window(samples):
        return encoder.encode_audio(np.asarray(samples, dtype=np.float32)[np.newaxis])[0]

    return measure_window


def sine(frequency, amplitude=0.5):
    return amplitude * np.sin(2 * np.pi * frequency * TIME)


def test_a_batch_of_one_equals_a_batch_of_many(encoder, rng):
    windows = rng.uniform(-1, 1, (5, encoder.window_length)).astype(np.float32)
    many = encoder.encode_audio(windows)
    assert many.shape == (5, 210)
    assert many.dtype == np.float32
    np.testing.assert_array_equal(many, [encoder.encode_audio(window[np.newaxis])[0] for window in windows])
    np.testing.assert_array_equal(many[::-1], SpectralEncoder().encode_audio(windows[::-1]))


def test_vectors_of_version_1_stay_what_they_are(encoder, measure):
    # spectral_v1.json was written by version 1; another result needs another version, or caches go stale unseen.
    window = 0.4 * chirp(TIME, 100, 10, 8000, method="logarithmic") * (1 + np.sin(2 * np.pi * 2 * TIME)) / 2
    np.testing.assert_allclose(measure(window), FROZEN["audio"], atol=2e-3)
    text = encoder.encode_text(["A calm piano, slow and sad"])[0]
    np.testing.assert_array_equal(np.flatnonzero(text), FROZEN["text_buckets"])
    np.testing.assert_allclose(text[FROZEN["text_buckets"]], FROZEN["text_values"], rtol=1e-6)


def test_fingerprints_of_version_1_stay_what_they_are(encoder):
    assert encoder.fingerprint_of("audio") == FROZEN["audio_fingerprint"]
    assert encoder.fingerprint_of("text") == FROZEN["text_fingerprint"]
    assert encoder.fingerprint == FROZEN["fingerprint"]


@pytest.mark.parametrize("modality", ["audio", "text"])
def test_any_change_of_the_description_changes_the_fingerprint(encoder, modality):
    description = encoder.describe(modality)
    digests = {digest_of({**description, name: "another"}) for name in description}
    digests.add(digest_of({**description, "added": 1}))
    digests.add(encoder.fingerprint_of(modality))
    assert len(digests) == len(description) + 2
    backwards = dict(reversed(description.items()))
    assert digest_of(backwards) == encoder.fingerprint_of(modality)


@pytest.mark.parametrize(
    "name",
    [
        "version",
        "sample_rate",
        "window_seconds",
        "hop_seconds",
        "n_fft",
        "frame_hop",
        "n_mels",
        "fmin",
        "fmax",
    ],
)
def test_every_setting_is_in_the_fingerprint(encoder, name):
    changed = type("Changed", (SpectralEncoder,), {name: getattr(encoder, name) + 1})()
    assert changed.fingerprint_of("audio") != encoder.fingerprint_of("audio")


def test_mel_filters_are_those_of_librosa():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        librosa = pytest.importorskip("librosa", reason="librosa is not installed to compare with")
        expected = librosa.filters.mel(sr=RATE, n_fft=2048, n_mels=64, fmin=30, fmax=11_025)
    np.testing.assert_allclose(_mel_filters(RATE, 2048, 64, 30.0, 11_025.0), expected, atol=1e-7)


def test_slaney_mel_scale_by_hand():
    # Linear below 1 kHz at 200 / 3 Hz a mel, then 27 mel for each factor of 6.4.
    for hertz, mel in [(0, 0), (200, 3), (1000, 15), (6400, 42), (6.4 * 6400, 69)]:
        assert _hertz_to_mel(hertz) == pytest.approx(mel)
        assert _mel_to_hertz(np.array([mel]))[0] == pytest.approx(hertz)


def test_loudness_of_a_constant_by_hand(measure):
    # RMS .1 is -20 dB: (-20 + 25) / 10 = .5; no spread; crest factor 0 dB: (0 - 15) / 5 = -3.
    vector = measure(np.full(TIME.size, 0.1))
    np.testing.assert_allclose(vector[[LEVEL, LEVEL_5, LEVEL_50, LEVEL_95]], 0.5, atol=1e-4)
    assert vector[LEVEL_SPREAD] == pytest.approx(0, abs=1e-4)
    assert vector[CREST] == pytest.approx(-3, abs=1e-4)


def test_loudness_of_a_fading_sound_by_hand(measure):
    # A constant that falls from 0 dB to -60 dB, evenly in dB: mean -30, percentiles -57, -30, -3 (give or take
    # the half frame at either end, .3 dB); spread of a uniform distribution, 60 / sqrt(12).
    vector = measure(10 ** (-60 * TIME / 10 / 20))
    np.testing.assert_allclose(
        vector[[LEVEL, LEVEL_5, LEVEL_50, LEVEL_95]], [-0.5, -3.2, -0.5, 2.2], atol=0.04
    )
    assert vector[LEVEL_SPREAD] == pytest.approx(60 / np.sqrt(12) / 5, abs=0.04)


def test_crest_factor_by_hand(measure):
    # A cosine peaks (at sample 0) at sqrt(2) times its RMS, 3.01 dB; one impulse of 1 in 220,500 samples at
    # sqrt(220,500) times, 53.4 dB, less what the 1e-5 that guards against silence takes.
    cosine = 0.5 * np.cos(2 * np.pi * 441 * TIME)
    assert measure(cosine)[CREST] == pytest.approx((20 * np.log10(np.sqrt(2)) - 15) / 5, abs=1e-3)
    impulse = np.zeros(TIME.size)
    impulse[0] = 1
    assert measure(impulse)[CREST] == pytest.approx((20 * np.log10(np.sqrt(220_500)) - 15) / 5, abs=0.01)


def test_a_louder_sound_only_moves_loudness_and_band_means(measure, rng):
    noise = 0.01 * rng.standard_normal(TIME.size)
    quiet, loud = measure(noise), measure(10 * noise)
    # 20 dB more: level features by 20 / 10, band means by 20 / 20.
    np.testing.assert_allclose((loud - quiet)[[LEVEL, LEVEL_5, LEVEL_50, LEVEL_95]], 2, atol=1e-3)
    np.testing.assert_allclose((loud - quiet)[BAND_MEANS], 1, atol=1e-3)
    for same in (BAND_SPREADS, BAND_MOVES, CENTROID, BANDWIDTH, ROLLOFF, FLUX, CROSSINGS, LEVEL_SPREAD):
        np.testing.assert_allclose(loud[same], quiet[same], atol=2e-3)
    assert loud[CREST] == pytest.approx(quiet[CREST], abs=0.02)


@pytest.mark.parametrize("frequency", [441, 2205, 5512.5])
def test_shape_of_a_sine_by_hand(measure, frequency):
    vector = measure(sine(frequency))
    share = frequency / 11_025  # of the Nyquist frequency
    assert vector[CENTROID] == pytest.approx(10 * share - 1.5, abs=0.01)
    assert vector[BANDWIDTH] == pytest.approx(-1.5, abs=0.02)
    assert vector[ROLLOFF] == pytest.approx(5 * share - 1, abs=0.01)
    assert vector[FLUX] == pytest.approx(-1, abs=0.02)  # the spectrum stands still
    assert vector[CROSSINGS] == pytest.approx(10 * share - 1, abs=0.01)  # two a period: 2 f / 22,050
    np.testing.assert_allclose(vector[SHAPE_SPREADS], 0, atol=0.02)
    # The loudest band is the one whose triangle peaks nearest to the frequency.
    peaks = _mel_to_hertz(np.linspace(_hertz_to_mel(30), _hertz_to_mel(11_025), 66))[1:-1]
    assert abs(np.argmax(vector[BAND_MEANS]) - np.argmin(np.abs(peaks - frequency))) <= 1


def test_noise_is_flat_broad_and_moving(measure, rng):
    noise, tone = measure(0.1 * rng.standard_normal(TIME.size)), measure(sine(1000))
    # White noise: power even over frequency, so centroid 1/2, bandwidth sqrt(1/12), roll-off .85, and half of
    # neighbouring samples differ in sign.
    assert noise[CENTROID] == pytest.approx(10 * 0.5 - 1.5, abs=0.1)
    assert noise[BANDWIDTH] == pytest.approx(10 * np.sqrt(1 / 12) - 1.5, abs=0.05)
    assert noise[ROLLOFF] == pytest.approx(5 * 0.85 - 1, abs=0.05)
    assert noise[CROSSINGS] == pytest.approx(10 * 0.5 - 1, abs=0.1)
    # Mean of the logarithm of a chi-square power: the geometric mean is exp(-0.5772) of the arithmetic one.
    assert noise[FLATNESS] == pytest.approx((np.log10(np.exp(-0.5772)) + 3) / 1.5, abs=0.02)
    assert noise[FLATNESS] > tone[FLATNESS] + 1
    assert noise[FLUX] > tone[FLUX] + 0.5


@pytest.mark.parametrize(
    "kind", ["silence", "full-scale noise", "constant", "square", "impulse", "far over scale"]
)
def test_vectors_are_finite_and_moderate(measure, rng, kind):
    impulse = np.zeros(TIME.size)
    impulse[12_345] = 1
    windows = {
        "silence": np.zeros(TIME.size),
        "full-scale noise": rng.choice([-1.0, 1.0], TIME.size),
        "constant": np.ones(TIME.size),
        "square": np.sign(sine(440)),
        "impulse": impulse,
        "far over scale": 1000 * rng.standard_normal(TIME.size),
    }
    vector = measure(windows[kind])
    assert np.isfinite(vector).all()
    assert np.abs(vector).max() < 20


def test_text_is_counted_in_words_and_pairs_of_length_one(encoder):
    vectors = encoder.encode_text(["calm piano", "Calm, PIANO!", "calm", "", "?!"])
    assert vectors.shape == (5, 256)
    assert vectors.dtype == np.float32
    # calm, piano and the pair: three buckets of +-1 / sqrt(3).
    np.testing.assert_allclose(np.abs(vectors[0][vectors[0] != 0]), 3 * [1 / np.sqrt(3)], rtol=1e-6)
    np.testing.assert_array_equal(vectors[1], vectors[0])
    assert np.count_nonzero(vectors[2]) == 1
    np.testing.assert_array_equal(vectors[3:], 0)


def test_the_order_of_words_matters_through_pairs(encoder):
    one, other = encoder.encode_text(["calm piano", "piano calm"])
    # Of three buckets each they share the two of the single words: their cosine is 2 / 3.
    assert one @ other == pytest.approx(2 / 3, rel=1e-6)
