"""Log-mel spectrograms as CLAP takes them: with a checkpoint's own filters, or as transformers computes them."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from musiceval_sk.features.encoders.clap.hf_folder import FrontEnd

_HOP = 480
_FLOOR = 1e-10


class LaionLogMel(nn.Module):
    """Spectrogram in decibels by convolution with a checkpoint's own filters, as torchlibrosa computes it in LAION's network.

    Parameters
    ----------
    real, imaginary : torch.Tensor [shape=(n_bins, 1, frame)]
        Kernels of the windowed Fourier transform.
    mel : torch.Tensor [shape=(n_bins, n_mels)]
        Mel filters.
    """

    real: Tensor
    imaginary: Tensor
    mel: Tensor

    def __init__(self, real: Tensor, imaginary: Tensor, mel: Tensor):
        super().__init__()
        for name, tensor in (("real", real), ("imaginary", imaginary), ("mel", mel)):
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """Turn samples, (n, length), into decibels, (n, 1, frames, n_mels)."""
        half = self.real.shape[-1] // 2
        padded = functional.pad(samples[:, None], (half, half), mode="reflect")
        real, imaginary = (
            functional.conv1d(padded, kernel, stride=_HOP) for kernel in (self.real, self.imaginary)
        )
        power = (real**2 + imaginary**2).transpose(1, 2)[:, None]
        return _decibels(power @ self.mel)


class TransformersLogMel(nn.Module):
    """Spectrogram in decibels as transformers' ``ClapFeatureExtractor`` computes it for models without fusion.

    Its Fourier transform is of float64, as numpy's is there, so that bands without sound agree as well.

    Parameters
    ----------
    settings : FrontEnd
        Frames and filters.
    """

    window: Tensor
    mel: Tensor

    def __init__(self, settings: FrontEnd):
        from transformers.audio_utils import mel_filter_bank

        super().__init__()
        frame = settings.fft_window_size
        filters = mel_filter_bank(
            num_frequency_bins=frame // 2 + 1,
            num_mel_filters=settings.feature_size,
            min_frequency=settings.frequency_min,
            max_frequency=settings.frequency_max,
            sampling_rate=48_000,
            norm="slaney",
            mel_scale="slaney",
        )
        self.hop = settings.hop_length
        self.register_buffer(
            "window", torch.hann_window(frame, periodic=True, dtype=torch.float64), persistent=False
        )
        self.register_buffer("mel", torch.from_numpy(filters), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """Turn samples, (n, length), into decibels, (n, 1, frames, n_mels)."""
        half = len(self.window) // 2
        padded = functional.pad(samples.double()[:, None], (half, half), mode="reflect")
        frames = padded.unfold(-1, len(self.window), self.hop)
        power = torch.fft.rfft(frames * self.window).abs() ** 2
        return _decibels(power @ self.mel).float()


def _decibels(power: Tensor) -> Tensor:
    return 10 * torch.log10(power.clamp(min=_FLOOR))
