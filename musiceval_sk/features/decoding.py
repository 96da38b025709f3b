"""Decoding, mixing and resampling block by block, so that a long file takes the memory of the result alone."""

import math
from collections.abc import Iterator
from contextlib import closing
from typing import Any, BinaryIO

import numpy as np
import soundfile
import soxr

from musiceval_sk.exceptions import AudioError
from musiceval_sk.features.wholeness import survey

MINIMUM_SECONDS = 0.1
# Containers whose length can be held against the file's; libsndfile reads others, such as VOC, cut short without a word.
_CONTAINERS = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG", "MP3")
_LOWEST_RATE = 1000
_BLOCK_SAMPLES = 1 << 18
# Times are often rounded to two decimals.
_TIME_ROUNDING = 0.01
# Share of the channels' mean power below which they are said to cancel each other: 30 dB.
_CANCELLED = 1e-3


def decode_file(
    file: BinaryIO, start_time: float, end_time: float, sample_rate: int
) -> tuple[np.ndarray, list[str]]:
    """Decode what is between two times; also say what is odd. Errors do not name the file."""
    if not file.read(1):
        raise AudioError("the file is empty (0 bytes)")
    file.seek(0)
    try:
        opened = soundfile.SoundFile(file)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        reason = getattr(error, "error_string", error)
        raise AudioError(f"not a sound file that libsndfile can read ({reason})") from error
    with opened:
        rate = opened.samplerate
        if opened.format not in _CONTAINERS:
            raise AudioError(f"is {opened.format}, which is not read; convert it to WAV or FLAC")
        if rate < _LOWEST_RATE:
            raise AudioError(f"a sample rate of {rate} Hz is not that of music")
        position = file.tell()
        found = survey(file, opened.format, opened.frames)
        file.seek(position)
        if found.fault:
            raise AudioError(found.fault)
        begin = round(start_time * rate)
        end = opened.frames if end_time == math.inf else round(end_time * rate)
        least = found.least_frames if end_time == math.inf else min(found.least_frames, end)
        heard = 0
        with closing(_Mix(rate, sample_rate)) as mix:
            for block in _blocks(opened, min(end, opened.frames)):
                mix.add(block[max(begin - heard, 0) :])
                heard += len(block)
            if heard < least:
                raise AudioError(
                    f"{heard / rate:.2f} s are read of at least {least / rate:.2f} s that the file is said to hold: it is "
                    "truncated, of several streams, or does not say its length; write it anew"
                )
            if end_time < math.inf and heard < end - _TIME_ROUNDING * rate or heard < begin:
                raise AudioError(f"ends before that, after {heard / rate:.2f} s")
            return mix.finish(), [found.remark] * bool(found.remark) + mix.remarks


def _blocks(opened: Any, frames: int) -> Iterator[np.ndarray]:
    """Decode block by block, [shape=(n, channels)], float32, as far as there is something."""
    # soundfile seeks after each block where it can, which costs time with some codecs; others can only be read on.
    opened.seekable = lambda: False
    length = max(_BLOCK_SAMPLES // opened.channels, 1)
    decoded = 0
    while decoded < frames:
        try:
            block = opened.read(min(length, frames - decoded), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            place = f"{decoded / opened.samplerate:.2f} s ({error.error_string})"
            raise AudioError(f"truncated or damaged, it cannot be decoded on from {place}") from error
        if not len(block):
            return
        decoded += len(block)
        yield block


class _Mix:
    """Mono samples at the wanted rate, growing block by block."""

    def __init__(self, rate: int, sample_rate: int):
        # Gives the bits of soxr.resample on the whole.
        self._stream = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32", quality="HQ")
        self._samples = bytearray()  # grows in place
        self._rate, self._frames, self._broken = rate, 0, 0
        self._power = self._power_of_channels = 0.0

    def add(self, block: np.ndarray) -> None:
        self._frames += len(block)
        self._broken += np.count_nonzero(~np.isfinite(block))
        if self._broken or not len(block):
            return
        mono = block.mean(axis=1)
        self._power += float(np.vdot(mono, mono))
        self._power_of_channels += float(np.vdot(block, block)) / block.shape[1]
        self._samples += self._stream.resample_chunk(mono).tobytes()

    def close(self) -> None:
        """Let go of what an error that is kept would keep, too."""
        del self._stream, self._samples

    def finish(self) -> np.ndarray:
        if self._frames < MINIMUM_SECONDS * self._rate:
            raise AudioError(
                f"too short, {self._frames / self._rate:.3f} s; at least {MINIMUM_SECONDS} s are needed"
            )
        if self._broken:
            raise AudioError(f"{self._broken} samples are nan or infinite")
        self._samples += self._stream.resample_chunk(np.empty(0, np.float32), last=True).tobytes()
        return np.frombuffer(self._samples, dtype=np.float32)

    @property
    def remarks(self) -> list[str]:
        if self._power >= _CANCELLED * self._power_of_channels:
            return []
        share = self._power / self._power_of_channels
        return [f"its channels cancel each other: of their power {share:.1g} is left in the mix to mono"]
