"""A toy encoder whose sound and text share a space: what a window is loudest in, and what a prompt names."""

import numpy as np

from musiceval_sk import Encoder

WORDS = ("low", "middle", "high")


class JointEncoder(Encoder):
    """Audio: the share of energy below 500, below 1500 and below 4000 Hz. Text: which of these a prompt names."""

    name, sample_rate, window_seconds, hop_seconds = "joint", 8000, 1.0, 1.0
    audio_dim = text_dim = 3
    joint_space = True

    def describe(self, modality):
        return {"name": self.name, "version": 1, "modality": modality}

    def encode_audio(self, windows):
        power = np.abs(np.fft.rfft(windows, axis=1)) ** 2
        bands = np.stack([power[:, :500].sum(1), power[:, 500:1500].sum(1), power[:, 1500:].sum(1)], axis=1)
        return unit(bands + 1e-9)

    def encode_text(self, prompts):
        return unit(np.array([[word in prompt for word in WORDS] for prompt in prompts], dtype=float) + 0.01)


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
