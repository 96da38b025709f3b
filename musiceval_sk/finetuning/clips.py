"""From a clips table to what the towers take: decoded windows and tokens, row by row."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk.datasets.clips import check_clips
from musiceval_sk.features.audio import sounds_of
from musiceval_sk.features.encoders.base import MODALITIES, Encoder, Modality
from musiceval_sk.finetuning.batches import Sounds
from musiceval_sk.finetuning.sounds import DecodedSounds


class Clips:
    """Clips whose sounds are decoded.

    Parameters
    ----------
    tables : sequence of pandas.DataFrame
        Clips tables, one after another.
    encoder : Encoder
        Says the windows.
    text : bool
        Whether prompts are read.
    sounds_dir : str, Path or None
        See `DecodedSounds`.

    Raises
    ------
    ClipsTableError
        If the table lacks a column or a value.
    AudioError
        If clips cannot be read.
    """

    def __init__(self, tables: Sequence[pd.DataFrame], encoder: Encoder, text: bool, sounds_dir: Any = None):
        for clips in tables:
            check_clips(clips, columns=["path", "prompt"] if text else ["path"], filled=True)
        self.names = [str(name) for clips in tables for name in clips.index]
        self.prompts = [prompt for clips in tables for prompt in clips["prompt"]] if text else None
        self._sounds = DecodedSounds(encoder, sounds_dir)
        self.keys, self.counts = self._sounds.decode(
            [sound for clips in tables for sound in sounds_of(clips)]
        )

    def __len__(self) -> int:
        return len(self.keys)

    def windows_of(self, row: int) -> np.ndarray:
        """Windows of one clip, [shape=(n_windows, window_length)]."""
        return self._sounds.windows(self.keys[row])

    def through(self, network: Any, dtypes: tuple[str, str], max_batch_memory: int | None) -> Sounds:
        """Clips as a source of batches that come out of a network."""
        tokens = None if self.prompts is None else network.tokenize(self.prompts)
        return Sounds(network, self.windows_of, self.counts, tokens, dtypes, max_batch_memory)


def towers_for(targets: Sequence[str]) -> tuple[Modality, ...]:
    """Towers that the heads of these targets need: the head called "impression" sees audio only."""
    return MODALITIES if set(targets) != {"impression"} else ("audio",)


def column_names(encoder: Encoder, towers: Sequence[Modality]) -> list[str]:
    """Names of a clip's vector, audio first, as `ClipEmbedder` gives them."""
    return [f"{tower}_{i}" for tower in towers for i in range(encoder.dim(tower))]
