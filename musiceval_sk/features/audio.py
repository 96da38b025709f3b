"""From a sound file to fixed windows of mono float samples at the encoder's rate.

What becomes of unusual files:

=====================  ===================================================================================
empty, not sound       `AudioError`
no file                `AudioError`: a folder, pipe or device is never opened, let alone waited for
truncated              `AudioError`: the raters heard the whole clip
several streams        `AudioError`: one after another in one file, of which only the first would be read
nan or infinite        `AudioError`, with the count of such samples
under 0.1 s            `AudioError`, with the duration
MP3 of a wrong header  a warning if up to 1 s and 5 % of the frames it promises never come, but the last is whole
channels that cancel   a warning: what the raters heard is lost in the mix to mono
silent                 embedded like any other: a generator that falls silent is judged for it
over full scale        kept as it is; encoders that quantise clip at full scale, as CLAP's training did
=====================  ===================================================================================

A file is decoded, mixed and resampled in blocks: it takes the memory of the result (half an hour at 48 kHz 330 MB), and before that,
for OGG, MP3 and FLAC, that of the file's bytes.
"""

import hashlib
import math
import os
import stat
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from musiceval_sk._files import file_digest
from musiceval_sk._text import printable
from musiceval_sk.datasets.clips import clip_times
from musiceval_sk.exceptions import AudioError

_KINDS = {
    "a folder": stat.S_ISDIR,
    "a pipe": stat.S_ISFIFO,
    "a socket": stat.S_ISSOCK,
    "a device": lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
}


@dataclass(frozen=True)
class Sound:
    """A sound file, or the part of it between two times; prints as it is named in messages.

    Attributes
    ----------
    path : str
        The file.
    start_time, end_time : float
        In seconds, 0 <= ``start_time`` < ``end_time``.
    """

    path: str
    start_time: float = 0.0
    end_time: float = math.inf

    def __str__(self) -> str:
        end = "the end" if self.end_time == math.inf else f"{self.end_time:.12g} s"
        part = "" if self._is_whole else f" from {self.start_time:.12g} s to {end}"
        return f"{printable(self.path)}{part}"

    @property
    def _is_whole(self) -> bool:
        return self.start_time == 0 and self.end_time == math.inf

    def key(self, digest: bytes) -> bytes:
        """Say under what key vectors of this sound are stored.

        Parameters
        ----------
        digest : bytes
            SHA-256 of the file's bytes.

        Returns
        -------
        bytes
            The same for a whole file, else SHA-256 of it and the two times.
        """
        if self._is_whole:
            return digest
        return hashlib.sha256(digest + f"{self.start_time!r} {self.end_time!r}".encode()).digest()


def sounds_of(clips: pd.DataFrame) -> pd.Series:
    """Say for each clip what is to be heard of which file.

    Parameters
    ----------
    clips : pandas.DataFrame
        Clips table with ``path`` and, where clips are parts of files, ``start_time`` and ``end_time`` in seconds.

    Returns
    -------
    pandas.Series of Sound
        By clip id.

    Raises
    ------
    ClipsTableError
        If times are no numbers or out of order.
    """
    times = clip_times(clips)
    sounds = [Sound(str(path), *row) for path, *row in zip(clips["path"], *times, strict=True)]
    return pd.Series(sounds, index=clips.index, dtype=object)


def read_audio(
    path: str | Path,
    sample_rate: int,
    *,
    start_time: float = 0.0,
    end_time: float | None = None,
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
        raise ValueError(f"start_time={start_time!r} must be at least 0 and less than end_time={end_time!r}")
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
    from musiceval_sk.features.decoding import decode_file

    try:
        check_file(sound.path)
        with open(sound.path, "rb") as file:
            decoded = decode_file(file, sound.start_time, sound.end_time, sample_rate)
            if expected is not None and sound.key(file_digest(file)) != expected:
                raise AudioError("has changed while embeddings were being computed; run it again")
            return decoded
    except AudioError:
        raise
    except Exception as error:
        raise AudioError(f"cannot be read ({_reason(error)})") from error


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
    import soundfile

    try:
        check_file(sound.path)
        with open(sound.path, "rb") as file, soundfile.SoundFile(file) as opened:
            seconds = min(sound.end_time, opened.frames / opened.samplerate) - sound.start_time
            return max(seconds, 0) * sample_rate
    except Exception:  # decoding is going to say why
        return 0


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


def check_file(path: str | Path) -> os.stat_result:
    """Raise unless there is a file that can be opened without waiting.

    Parameters
    ----------
    path : str or Path
        Any path, be it no name that a file can have.

    Returns
    -------
    os.stat_result
        Of the file.

    Raises
    ------
    AudioError
        If there is none, or a folder, pipe, socket or device; the message does not name it.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise AudioError(f"cannot be read ({_reason(error)})") from error
    if not stat.S_ISREG(status.st_mode):
        kind = next((name for name, is_kind in _KINDS.items() if is_kind(status.st_mode)), "something else")
        raise AudioError(f"cannot be read (is {kind}, not a file)")
    return status


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
        status = check_file(path)
        return _hash_once(os.path.realpath(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    except AudioError as error:
        raise AudioError(f"{printable(path)}: {error}") from error


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
    AudioError
        If the file cannot be read; the message does not name it.
    """
    try:
        check_file(path)
        with open(path, "rb") as file:
            return file_digest(file)
    except OSError as error:
        raise AudioError(f"cannot be read ({_reason(error)})") from error


@lru_cache(maxsize=1 << 10)
def _hash_once(path: str, size: int, modified: int, changed: int) -> bytes:
    return hash_file(path)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
