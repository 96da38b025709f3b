"""From a sound file to fixed windows of mono float samples at the encoder's rate.

What becomes of unusual files:

=====================  ===================================================================================
empty, not sound       `AudioError`
truncated              `AudioError`: the raters heard the whole clip (an MP3 without a header does not tell)
nan or infinite        `AudioError`, with the count of such samples
under 0.1 s            `AudioError`, with the duration
silent                 embedded like any other: a generator that falls silent is judged for it
over full scale        kept as it is; encoders that quantise clip at full scale, as CLAP's training did
=====================  ===================================================================================
"""

import hashlib
import io
import os
import re
from functools import lru_cache
from pathlib import Path

import numpy as np

from musiceval_sk.exceptions import AudioError

MINIMUM_SECONDS = 0.1
_CHUNK_BYTES = 1 << 20
_STREAMED_LENGTH = 0x7FFFF000
_OGG_PAGE_BYTES = 65_307
_OGG_HEADER_BYTES = 27


def read_audio(path: str | Path, sample_rate: int, *, expected: bytes | None = None) -> np.ndarray:
    """Decode a sound file to mono at ``sample_rate``.

    Channels are averaged; resampling is soxr's high quality. Formats are libsndfile's: WAV, FLAC, MP3, OGG, Opus.

    Parameters
    ----------
    path : str or Path
        The sound file.
    sample_rate : int
        Wanted rate in Hz.
    expected : bytes, default=None
        SHA-256 that the file's bytes must have, where it was digested before.

    Returns
    -------
    np.ndarray [shape=(n,)], float32
        Samples, full scale at 1.

    Raises
    ------
    AudioError
        If the file is missing, empty, no sound, truncated, shorter than 0.1 s, holds nan or infinite samples, or
        has changed since it was digested.
    """
    import soxr

    samples, rate = _decode(Path(path), expected)
    mono = samples.mean(axis=1)
    resampled = soxr.resample(mono, rate, sample_rate, quality="HQ")
    return np.ascontiguousarray(resampled, dtype=np.float32)


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


def content_key(path: str | Path) -> bytes:
    """Digest of a file's bytes, under which its vectors are stored.

    Parameters
    ----------
    path : str or Path
        Any file.

    Returns
    -------
    bytes
        SHA-256, 32 bytes; remembered within the process while size and modification time stay the same.

    Raises
    ------
    AudioError
        If the file cannot be read.
    """
    try:
        status = os.stat(path)
        return _hash_once(os.path.realpath(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror})") from error


def hash_file(path: str | Path) -> bytes:
    """Digest a file's bytes anew.

    Parameters
    ----------
    path : str or Path
        Any file.

    Returns
    -------
    bytes
        SHA-256, 32 bytes.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.digest()


@lru_cache(maxsize=1 << 10)
def _hash_once(path: str, size: int, modified: int, changed: int) -> bytes:
    return hash_file(path)


def _decode(path: Path, expected: bytes | None) -> tuple[np.ndarray, int]:
    import soundfile

    if not path.is_file():
        raise AudioError(f"{path}: no such file")
    data = path.read_bytes()
    if not data:
        raise AudioError(f"{path}: the file is empty (0 bytes)")
    if expected is not None and hashlib.sha256(data).digest() != expected:
        raise AudioError(f"{path}: has changed while embeddings were being computed; run it again")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            promised, rate = file.frames, file.samplerate
            cut_short = _chunk_cut_short(file.extra_info) or (file.format == "OGG" and _ogg_cut_short(data))
            samples = file.read(dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioError(
            f"{path}: not a sound file that libsndfile can read ({getattr(error, 'error_string', error)})"
        ) from error
    if cut_short or len(samples) < promised:
        raise AudioError(f"{path}: truncated after {len(samples) / rate:.2f} s; the header promises more")
    if len(samples) < MINIMUM_SECONDS * rate:
        raise AudioError(
            f"{path}: too short, {len(samples) / rate:.3f} s; at least {MINIMUM_SECONDS} s are needed"
        )
    broken = np.count_nonzero(~np.isfinite(samples))
    if broken:
        raise AudioError(f"{path}: {broken} samples are nan or infinite")
    return samples, rate


def _chunk_cut_short(log: str) -> bool:
    """Whether libsndfile's log of a WAV or AIFF file found less sound than its header names."""
    found = re.search(r"^ ?(?:data|SSND) : (\d+) \(should be (\d+)\)", log, re.MULTILINE)
    # Programs that write to a pipe cannot know the length and leave a placeholder near 2**32 there.
    return found is not None and int(found[2]) < int(found[1]) < _STREAMED_LENGTH


def _ogg_cut_short(data: bytes) -> bool:
    """Whether the last page of an Ogg file is incomplete or does not end the stream (RFC 3533, section 6)."""
    tail = data[-_OGG_PAGE_BYTES:]
    begin = tail.rfind(b"OggS\0")
    page = tail[begin:]
    if begin < 0 or len(page) < _OGG_HEADER_BYTES or not page[5] & 4:
        return True
    lengths_of_segments = page[_OGG_HEADER_BYTES : _OGG_HEADER_BYTES + page[26]]
    return len(page) < _OGG_HEADER_BYTES + page[26] + sum(lengths_of_segments)
