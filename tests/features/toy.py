"""An encoder whose vectors can be worked out by hand, as a third party might write it."""

import numpy as np

from musiceval_sk import Encoder


class ToyEncoder(Encoder):
    """Audio: mean, maximum and minimum of a window of half a second. Text: numbers of letters and of words."""

    name = "toy"
    sample_rate = 8000
    window_seconds = 0.5
    hop_seconds = 0.25
    audio_dim = 3
    text_dim = 2
    batch_size = 2

    def __init__(self, version=1):
        self.version = version

    def describe(self, modality):
        return {"name": self.name, "version": self.version, "modality": modality}

    def encode_audio(self, windows):
        windows = self.check_windows(windows)
        return np.stack([windows.mean(axis=1), windows.max(axis=1), windows.min(axis=1)], axis=1)

    def encode_text(self, prompts):
        return np.array([(len(prompt), len(prompt.split())) for prompt in prompts], dtype=np.float32).reshape(
            -1, 2
        )
