"""A hand-made encoder that needs no weights: what a signal-processing textbook would measure.

It is the embedded default and an honest baseline, and it is not CLAP: its audio and text vectors share no space, and
it knows nothing of music beyond loudness, band energies and their movement.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from musiceval_sk.features.encoders.base import Encoder, Modality

_FLOOR = 1e-10
_SETTINGS = ["sample_rate", "window_seconds", "hop_seconds", "n_fft", "frame_hop", "n_mels", "fmin", "fmax"]


class SpectralEncoder(Encoder):
    """Log-mel statistics for audio, hashed word n-grams for text.

    Each window gives, over its frames (2,048 samples every 512 at 22,050 Hz):

    - mean and standard deviation of 64 log-mel bands (Slaney's scale, 30 Hz to 11,025 Hz), and the standard
      deviation of their differences between neighbouring frames;
    - mean and standard deviation of spectral centroid, bandwidth, 85 % roll-off, flatness, flux and zero-crossing
      rate;
    - loudness (RMS in dB): mean, standard deviation, 5th, 50th and 95th percentile; crest factor of the window.

    All are scaled by fixed constants to lie around 0 with a spread near 1, so nothing is learnt from data. A prompt
    gives the counts of its words and word pairs, hashed to 256 signed buckets (scikit-learn's `HashingVectorizer`)
    and scaled to length 1; an empty prompt gives zeros.

    Notes
    -----
    Definitions of the spectral descriptors follow G. Peeters, "A large set of audio features for sound description"
    (CUIDADO, 2004).

    Examples
    --------
    >>> import numpy as np
    >>> encoder = SpectralEncoder()
    >>> encoder.encode_audio(np.zeros((1, encoder.window_length), dtype="float32")).shape
    (1, 210)
    >>> encoder.encode_text(["calm piano", "loud drums"]).shape
    (2, 256)
    """

    name = "spectral"
    version = 1
    sample_rate = 22_050
    window_seconds = 10.0
    hop_seconds = 10.0
    n_fft = 2048
    frame_hop = 512
    n_mels = 64
    fmin, fmax = 30.0, 11_025.0
    audio_dim = 3 * n_mels + 12 + 6
    text_dim = 256
    batch_size = 16  # it measures window by window: more at once would only fill memory

    def __repr__(self) -> str:
        return "SpectralEncoder()"

    def describe(self, modality: Modality) -> dict[str, Any]:
        """Everything that could change a vector of this modality, as plain JSON values.

        Parameters
        ----------
        modality : {"audio", "text"}
            Which of the two towers to describe.

        Returns
        -------
        dict
            Name, version and the settings of the analysis.
        """
        description = {"name": self.name, "version": self.version}
        if modality == "text":
            return {**description, "n_features": self.text_dim, "ngrams": [1, 2]}
        return description | {setting: getattr(self, setting) for setting in _SETTINGS}

    def encode_audio(self, windows: np.ndarray) -> np.ndarray:
        """Measure windows of sound.

        Parameters
        ----------
        windows : np.ndarray [shape=(n, 220_500)], float32
            Mono windows at 22,050 Hz.

        Returns
        -------
        np.ndarray [shape=(n, 210)], float32
            One vector a window.

        Raises
        ------
        ValueError
            If the windows are of another shape.
        """
        measured = [self._measure(window) for window in self.check_windows(windows)]
        return np.array(measured, dtype=np.float32).reshape(-1, self.audio_dim)

    def encode_text(self, prompts: Sequence[str]) -> np.ndarray:
        """Hash the words and word pairs of prompts.

        Parameters
        ----------
        prompts : sequence of str
            Texts, possibly empty.

        Returns
        -------
        np.ndarray [shape=(n, 256)], float32
            One vector a prompt, of length 1, or 0 for an empty one.
        """
        from sklearn.feature_extraction.text import HashingVectorizer

        if not len(prompts):
            return np.empty((0, self.text_dim), dtype=np.float32)
        vectorizer = HashingVectorizer(n_features=self.text_dim, ngram_range=(1, 2), dtype=np.float32)
        return vectorizer.transform(list(prompts)).toarray()

    def _measure(self, window: np.ndarray) -> np.ndarray:
        frames = np.lib.stride_tricks.sliding_window_view(window, self.n_fft)[:: self.frame_hop]
        power = np.abs(np.fft.rfft(frames * np.hanning(self.n_fft).astype(np.float32), axis=1)) ** 2
        filters = _mel_filters(self.sample_rate, self.n_fft, self.n_mels, self.fmin, self.fmax)
        bands = 10 * np.log10(power @ filters.T + _FLOOR)
        measured = (
            (bands.mean(axis=0) + 20) / 20,
            bands.std(axis=0) / 10,
            np.diff(bands, axis=0).std(axis=0) / 5,
            _shape_statistics(power, frames),
            _loudness_statistics(frames, window),
        )
        return np.concatenate(measured)


def _shape_statistics(power: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Mean and spread over time of six descriptors of the spectrum, [shape=(12,)]."""
    frequencies = np.linspace(0, 1, power.shape[1])  # as a share of the Nyquist frequency
    share = power / (power.sum(axis=1, keepdims=True) + _FLOOR)
    centroid = share @ frequencies
    bandwidth = np.sqrt(np.maximum(share @ frequencies**2 - centroid**2, 0))
    rolloff = (np.cumsum(share, axis=1) < 0.85).mean(axis=1)
    flatness = np.log10(np.exp(np.log(power + _FLOOR).mean(axis=1)) / (power.mean(axis=1) + _FLOOR) + 1e-6)
    magnitude = np.sqrt(share)
    flux = np.linalg.norm(np.diff(magnitude, axis=0, prepend=magnitude[:1]), axis=1)
    crossings = (np.diff(np.signbit(frames), axis=1)).mean(axis=1)
    centroid, bandwidth, rolloff = 10 * centroid - 1.5, 10 * bandwidth - 1.5, 5 * rolloff - 1
    flatness, flux, crossings = (flatness + 3) / 1.5, 2 * flux - 1, 10 * crossings - 1
    scaled = np.stack([centroid, bandwidth, rolloff, flatness, flux, crossings])
    return np.concatenate([scaled.mean(axis=1), scaled.std(axis=1)])


def _loudness_statistics(frames: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Level in dB over time and crest factor of the window, [shape=(6,)]."""
    level = 10 * np.log10((frames**2).mean(axis=1) + _FLOOR)
    crest = 20 * np.log10((np.abs(window).max() + 1e-5) / (np.sqrt((window**2).mean()) + 1e-5))
    percentiles = np.percentile(level, (5, 50, 95))
    spread = level.std() / 5
    return np.array([(level.mean() + 25) / 10, spread, *(percentiles + 25) / 10, (crest - 15) / 5])


@lru_cache(maxsize=4)
def _mel_filters(sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float) -> np.ndarray:
    """Triangular filters of unit area on Slaney's mel scale, [shape=(n_mels, n_fft // 2 + 1)]."""
    edges = _mel_to_hertz(np.linspace(_hertz_to_mel(fmin), _hertz_to_mel(fmax), n_mels + 2))
    bins = np.fft.rfftfreq(n_fft, 1 / sample_rate)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.maximum(0, np.minimum(rising, falling))
    return (triangles * (2 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)


def _hertz_to_mel(hertz: float) -> float:
    """Slaney's scale: linear below 1 kHz, then 27 mel for each factor of 6.4."""
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * np.log(hertz / 1000) / np.log(6.4)


def _mel_to_hertz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))
