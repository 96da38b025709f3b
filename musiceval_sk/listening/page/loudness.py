"""Clips brought to one loudness, by ITU-R BS.1770."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from musiceval_sk._optional import import_optional
from musiceval_sk._text import listed

MOST_TRUE_PEAK = -1.0  # dBTP, as EBU R 128 has it
_BLOCK_SECONDS = 0.4
_OVERSAMPLING = 4


def write_levelled(sources: Mapping[Path, list[Path]], loudness: float) -> None:
    """Write clips at one loudness, as FLAC of 16 bits without tags.

    Parameters
    ----------
    sources : mapping of Path to list of Path
        Where each clip goes, by its sound file.
    loudness : float
        Integrated loudness by ITU-R BS.1770 in LUFS, such as -23. A mono file counts as two equal channels, as it is played by
        both loudspeakers; a clip shorter than 0.4 s is measured as if it were repeated.

    Raises
    ------
    ValueError
        If a clip is silent, or would pass -1 dB of true peak (4 times oversampled) at that loudness: nothing is limited or
        clipped, and no clip left quieter than the others. The message names the highest loudness at which all fit.
    """
    levels = {path: _level(*_read(path)) for path in sources}
    silent = [path for path, (level, _) in levels.items() if level == -math.inf]
    if silent:
        raise ValueError(
            f"silent clips cannot be brought to a loudness; leave them out of the test: {listed(silent)}"
        )
    highest = {path: level + MOST_TRUE_PEAK - peak for path, (level, peak) in levels.items()}
    over = [path for path, most in highest.items() if most < loudness]
    if over:
        fits = math.floor(10 * min(highest.values())) / 10
        raise ValueError(
            f"at {loudness:g} LUFS {len(over)} of {len(sources)} clips would pass {MOST_TRUE_PEAK:g} dB of true peak: "
            f"{listed(over)}; the highest loudness at which all fit is {fits:g}"
        )
    for path, targets in sources.items():
        samples, rate = _read(path)
        levelled = samples * 10 ** ((loudness - levels[path][0]) / 20)
        for target in targets:
            soundfile.write(target, levelled, rate, format="FLAC", subtype="PCM_16")


def _read(path: Path) -> tuple[np.ndarray, int]:
    return soundfile.read(path, dtype="float64", always_2d=True)


def _level(samples: np.ndarray, rate: int) -> tuple[float, float]:
    """Measure integrated loudness in LUFS and true peak in dB."""
    pyloudnorm: Any = import_optional("pyloudnorm", extra="listen", purpose="One loudness")
    if not samples.any():
        return -math.inf, -math.inf
    peak = np.abs(soxr.resample(samples, rate, _OVERSAMPLING * rate)).max()
    heard = samples.repeat(2, axis=1) if samples.shape[1] == 1 else samples
    times = math.ceil(_BLOCK_SECONDS * rate / len(heard)) + 1
    if len(heard) < _BLOCK_SECONDS * rate:
        heard = np.tile(heard, (times, 1))
    return float(pyloudnorm.Meter(rate).integrated_loudness(heard)), 20 * math.log10(peak)
