"""From a sound file to fixed windows of mono float samples at the encoder's rate.

What becomes of unusual files:

=====================  ===================================================================================
empty, not sound       `AudioError`
no file                `AudioError`: a folder, pipe or device is never opened, let alone waited for
truncated              `AudioError`: the raters heard the whole clip
damaged                `AudioError` where checksums tell (Ogg, FLAC) or a part is not decoded; else what comes of it is embedded
several streams        `AudioError`: one after another in one file, of which only the first would be read
nan or infinite        `AudioError`, with the count of such samples
under 0.1 s            `AudioError`, with the duration
over 4 hours           `AudioError`: some kilobytes of FLAC can be days of silence; a part of it by its times is read
MP3 of a wrong header  a warning if up to 1 s and 5 % of the frames it promises never come, but the last is whole
channels that cancel   a warning: what the raters heard is lost in the mix to mono
silent                 embedded like any other: a generator that falls silent is judged for it
over full scale        kept as it is; encoders that quantise clip at full scale, as CLAP's training did
=====================  ===================================================================================

A file is decoded, mixed and resampled in blocks: it takes the memory of the result (half an hour at 48 kHz 330 MB), and before that,
for OGG, MP3 and FLAC, that of the file's bytes.
"""

import math
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
import soxr

from musiceval_sk._files import file_digest
from musiceval_sk.exceptions import AudioError
from musiceval_sk.features.digests import Sound, check_file, unreadable_in_words
from musiceval_sk.features.wholeness import survey

_MINIMUM_SECONDS = 0.1
# Containers whose length can be held against the file's; libsndfile reads others, such as VOC, cut short without a word.
_CONTAINERS = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG", "MP3")
_LOWEST_RATE = 1000
_MOST_HOURS = 4
_BLOCK_SAMPLES = 1 << 18
# Times are often rounded to two decimals.
_TIME_ROUNDING = 0.01
# Share of the channels' mean power below which they are said to cancel each other: 30 dB.
_CANCELLED = 1e-3
_READERS = 4
# What headers said, by the digest of the content.
_SECONDS: dict[bytes, float] = {}


def read_audio(
    path: str | Path, sample_rate: int, *, start_time: float = 0.0, end_time: float | None = None
) -> np.ndarray:
    """Decode a sound file to mono at ``sample_rate``.

    Channels are averaged; resampling is soxr's high quality. Formats are libsndfile's: WAV (RF64, W64), FLAC, MP3, OGG, Opus,
    AIFF, AU and CAF.

    Parameters
    ----------
    path : str or Path
        The sound file.
    sample_rate : int
        Wanted rate in Hz.
    start_time : float, default=0.0
        Where to begin, in seconds.
    end_time : float, default=None
        Where to end, in seconds; by default with the file.

    Returns
    -------
    np.ndarray [shape=(n,)], float32
        Samples, full scale at 1.

    Raises
    ------
    AudioError
        If the file is missing, empty, no sound, truncated, of several streams, ends before ``end_time``, is shorter than
        0.1 s, or holds nan or infinite samples; the message names the file.

    Warns
    -----
    UserWarning
        If channels cancel each other, or an MP3 lacks a few of the frames that its header promises.
    """
    sound = Sound(str(path), float(start_time), math.inf if end_time is None else float(end_time))
    if not 0 <= sound.start_time < sound.end_time:
        raise ValueError(f"start_time {start_time!r} must be at least 0 and less than end_time {end_time!r}")
    try:
        samples, remarks = decode(sound, sample_rate)
    except AudioError as error:
        raise AudioError(f"{sound}: {error}") from error
    for remark in remarks:
        warnings.warn(f"{sound}: {remark}", UserWarning, stacklevel=2)
    return samples


def decode(sound: Sound, sample_rate: int, *, expected: bytes | None = None) -> tuple[np.ndarray, list[str]]:
    """Decode to mono at ``sample_rate`` for a caller that names the sound in its own words.

    Parameters
    ----------
    sound : Sound
        What to decode.
    sample_rate : int
        Wanted rate in Hz.
    expected : bytes, default=None
        Key that the sound must have, where it was digested before.

    Returns
    -------
    samples : np.ndarray [shape=(n,)], float32
        Full scale at 1.
    remarks : list of str
        What is odd about the file.

    Raises
    ------
    AudioError
        As of `read_audio`, or if the file has changed since it was digested; the message does not name it.
    """
    check_file(sound.path)
    with unreadable_in_words(), open(sound.path, "rb") as file:
        decoded = _decode_file(file, sound, sample_rate)
        if expected is not None and sound.key(file_digest(file)) != expected:
            raise AudioError("has changed while embeddings were being computed; run it again")
        return decoded


def samples_expected(sound: Sound, sample_rate: int) -> float:
    """Tell from its header how many samples a sound is going to have.

    Parameters
    ----------
    sound : Sound
        What is going to be decoded.
    sample_rate : int
        Wanted rate in Hz.

    Returns
    -------
    float
        As the header says, however absurd; 0 for what cannot be read.
    """
    try:
        check_file(sound.path)
        with open(sound.path, "rb") as file, soundfile.SoundFile(file) as opened:
            seconds = min(sound.end_time, opened.frames / opened.samplerate) - sound.start_time
            return max(seconds, 0) * sample_rate
    except Exception:  # decoding is going to say why
        return 0


def seconds_of(sounds: Mapping[bytes, Sound]) -> list[float]:
    """Tell from their headers how long sounds are, several at a time; what this process was told once is not read again.

    Parameters
    ----------
    sounds : mapping of bytes to Sound
        By the digest of their content.

    Returns
    -------
    list of float
        Seconds, in order.

    Raises
    ------
    AudioError
        If a file can no longer be read.
    """
    unknown = {key: sound for key, sound in sounds.items() if key not in _SECONDS}
    with ThreadPoolExecutor(_READERS) as pool:
        found = list(pool.map(lambda sound: samples_expected(sound, 1), unknown.values()))
    for key, seconds in zip(unknown, found, strict=True):
        if not seconds:
            raise AudioError(f"{unknown[key]}: its header cannot be read any more")
        _SECONDS[key] = seconds
    return [_SECONDS[key] for key in sounds]


def window_weights(n_windows: int, n_samples: float, window_length: int, hop_length: int) -> np.ndarray:
    """Say how much sound each window of `cut_windows` brings that none before it covers, as a share of a window.

    Parameters
    ----------
    n_windows : int
        Number of windows of a clip.
    n_samples : float
        Length of the clip.
    window_length, hop_length : int
        As for `cut_windows`.

    Returns
    -------
    np.ndarray [shape=(n_windows,)], float32
        1 for the first window; the last one, aligned to the end, may bring little.

    Examples
    --------
    >>> window_weights(3, 22.5, window_length=10, hop_length=10)
    array([1.  , 1.  , 0.25], dtype=float32)
    """
    weights = np.full(n_windows, hop_length / window_length, dtype=np.float32)
    weights[0] = 1
    if n_windows > 1:
        rest = n_samples - window_length - (n_windows - 2) * hop_length
        weights[-1] = min(max(rest, 0), hop_length) / window_length
    return weights


def cut_windows(samples: np.ndarray, window_length: int, hop_length: int) -> np.ndarray:
    """Cut a clip into fixed windows that together cover all of it.

    A clip shorter than a window is repeated as often as it fits whole and then filled with zeros, as CLAP was
    trained ("repeatpad"). A longer one is cut every ``hop_length``; the last window is aligned to the end.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,)]
        The clip.
    window_length : int
        Samples in a window.
    hop_length : int
        Samples between the starts of neighbouring windows; at most ``window_length``.

    Returns
    -------
    np.ndarray [shape=(n_windows, window_length)]
        The windows, in order.

    Examples
    --------
    >>> import numpy as np
    >>> cut_windows(np.arange(1, 6), window_length=4, hop_length=4)
    array([[1, 2, 3, 4],
           [2, 3, 4, 5]])
    >>> cut_windows(np.array([1, 2, 3]), window_length=8, hop_length=8)
    array([[1, 2, 3, 1, 2, 3, 0, 0]])
    """
    if not 1 <= hop_length <= window_length:
        raise ValueError(f"hop_length={hop_length} must be between 1 and window_length={window_length}")
    if len(samples) == 0:
        raise ValueError("cannot cut windows from an empty clip")
    if len(samples) <= window_length:
        window = np.zeros(window_length, dtype=samples.dtype)
        repeated = np.tile(samples, window_length // len(samples))
        window[: len(repeated)] = repeated
        return window[np.newaxis]
    last = len(samples) - window_length
    starts = [*range(0, last, hop_length), last]
    return np.stack([samples[start : start + window_length] for start in starts])


def _decode_file(file: BinaryIO, sound: Sound, sample_rate: int) -> tuple[np.ndarray, list[str]]:
    """Decode block by block what is to be heard, once the container is known to be whole."""
    if not file.read(1):
        raise AudioError("the file is empty (0 bytes)")
    file.seek(0)
    try:
        opened = soundfile.SoundFile(file)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        reason = getattr(error, "error_string", error)
        raise AudioError(f"not a sound file that libsndfile can read ({reason})") from error
    with opened:
        position = file.tell()
        if opened.format not in _CONTAINERS:
            raise AudioError(f"is {opened.format}, which is not read; convert it to WAV or FLAC")
        if opened.samplerate < _LOWEST_RATE:
            raise AudioError(f"a sample rate of {opened.samplerate} Hz is not that of music")
        remark, least = survey(file, opened.format, opened.frames)
        file.seek(position)
        samples, remarks = _mixed(_blocks(opened, sound, least), opened.samplerate, sample_rate)
    return samples, [remark] * bool(remark) + remarks


def _blocks(opened: Any, sound: Sound, least: int) -> Iterator[np.ndarray]:
    """Yield what is asked for, [shape=(n, channels)], of a file that should hold at least so many frames."""
    # soundfile seeks after each block where it can, which costs time with some codecs; others can only be read on.
    opened.seekable = lambda: False
    rate, length, n_read = opened.samplerate, max(_BLOCK_SAMPLES // opened.channels, 1), 0
    begin, is_cut = round(sound.start_time * rate), sound.end_time < math.inf
    end = round(sound.end_time * rate) if is_cut else opened.frames
    least = min(least, end) if is_cut else least
    while n_read < min(end, opened.frames):
        try:
            n_frames = min(length, end - n_read, opened.frames - n_read)
            block = opened.read(n_frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            place = f"{n_read / rate:.2f} s ({error.error_string})"
            raise AudioError(f"truncated or damaged, it cannot be decoded on from {place}") from error
        if not len(block):
            break
        yield block[max(begin - n_read, 0) :]
        n_read += len(block)
        if n_read - begin > _MOST_HOURS * 3600 * rate:
            words = "which no memory need hold; cut it, or give start_time and end_time"
            raise AudioError(f"too long, over {_MOST_HOURS} hours of sound, {words}")
    if n_read < least:
        raise AudioError(
            f"{n_read / rate:.2f} s are read of at least {least / rate:.2f} s that the file is said to hold: it is "
            "truncated, of several streams, or does not say its length; write it anew"
        )
    if n_read < begin or (is_cut and n_read < end - _TIME_ROUNDING * rate):
        raise AudioError(f"ends before that, after {n_read / rate:.2f} s")


def _mixed(blocks: Iterator[np.ndarray], rate: int, sample_rate: int) -> tuple[np.ndarray, list[str]]:
    """Mix to mono and resample block by block; also say whether channels cancel each other."""
    # Gives the bits of soxr.resample on the whole.
    stream = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32", quality="HQ")
    samples, n_frames, n_broken = bytearray(), 0, 0
    power = power_of_channels = 0.0
    for block in blocks:
        n_frames += len(block)
        n_broken += np.count_nonzero(~np.isfinite(block))
        if n_broken or not len(block):
            continue
        mono = block.mean(axis=1)
        power += float(np.vdot(mono, mono))
        power_of_channels += float(np.vdot(block, block)) / block.shape[1]
        samples += stream.resample_chunk(mono).tobytes()  # grows in place
    if n_frames < _MINIMUM_SECONDS * rate:
        raise AudioError(f"too short, {n_frames / rate:.3f} s; at least {_MINIMUM_SECONDS} s are needed")
    if n_broken:
        raise AudioError(f"{n_broken} samples are nan or infinite")
    samples += stream.resample_chunk(np.empty(0, np.float32), last=True).tobytes()
    remarks = []
    if power < _CANCELLED * power_of_channels:
        share = f"{power / power_of_channels:.1g}"
        remarks = [f"its channels cancel each other: of their power {share} is left in the mix to mono"]
    return np.frombuffer(samples, dtype=np.float32), remarks
