"""Which sound a clip is, and the digest of its bytes by which its vectors are found again.

Digests are kept by path, size and times in an index beside a store, so that unchanged files are not hashed again. The index
only saves time: losing it costs hashing anew. Several processes may write it; the last one wins.
"""

import hashlib
import math
import os
import stat
import time
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from musiceval_sk._files import atomic_write, file_digest
from musiceval_sk._text import printable
from musiceval_sk.datasets.clips import clip_times
from musiceval_sk.exceptions import AudioError

# By the first letter of a mode as `stat.filemode` writes it.
_KINDS = {"d": "a folder", "p": "a pipe", "s": "a socket", "c": "a device", "b": "a device"}
_FILES_UNDER_WAY = 256
_THREADS = 4
# A file written again within the same tick of its file system's clock may keep size and time.
_SETTLED_NANOSECONDS = 2_000_000_000
_ENTRY = np.dtype(
    [("path", "V32"), ("size", np.int64), ("modified", np.int64), ("changed", np.int64), ("digest", "V32")]
)


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
    with unreadable_in_words():
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            kind = _KINDS.get(stat.filemode(status.st_mode)[0], "something else")
            raise AudioError(f"cannot be read (is {kind}, not a file)")
        return status


@contextmanager
def unreadable_in_words() -> Iterator[None]:
    """Make an `AudioError`, which does not name the file, of whatever keeps it from being read."""
    try:
        yield
    except AudioError:
        raise
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise AudioError(f"cannot be read ({reason})") from error


def hash_file(path: str | Path) -> bytes:
    """Digest a file's bytes anew: SHA-256, 32 bytes. An `AudioError` does not name it."""
    check_file(path)
    with unreadable_in_words(), open(path, "rb") as file:
        return file_digest(file)


class FileIndex:
    """Digests of files, recalled where size and times (of content and of status) are unchanged.

    The file is read once. An index that is kept while files or the file on disk change is no less true: what it recalls
    is held against each file's present size and times.

    Parameters
    ----------
    path : str, Path or None
        Where to keep it; need not exist. With None it lasts as long as this object.
    verify : bool, default=False
        Whether to hash every file again, whatever the index says.
    """

    def __init__(self, path: str | Path | None, *, verify: bool = False):
        self._path = None if path is None else Path(path)
        self._known = {} if verify or self._path is None else _load(self._path)
        self._n_written, self._n_new = len(self._known), 0

    @classmethod
    def beside(cls, store: str | Path, *, verify: bool = False) -> "FileIndex":
        """Read the digests of sound files that are kept beside the store of this path; empty where there are none."""
        return cls(f"{store}.files.npy", verify=verify)

    def digest(self, path: str | Path) -> bytes:
        """Digest a file.

        Parameters
        ----------
        path : str or Path
            Any path.

        Returns
        -------
        bytes
            SHA-256, 32 bytes.

        Raises
        ------
        AudioError
            If the file cannot be read.
        """
        try:
            status = check_file(path)
            stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            name = hashlib.sha256(os.fsencode(os.path.realpath(path))).digest()
            known = self._known.get(name)
            if known is not None and known[:3] == stamp:
                return known[3]
            digest = hash_file(path)
        except AudioError as error:
            raise AudioError(f"{printable(path)}: {error}") from error
        if time.time_ns() - max(stamp[1:]) > _SETTLED_NANOSECONDS:
            self._known[name] = (*stamp, digest)
            self._n_new += 1
        return digest

    def digests(self, paths: Iterable[str | Path]) -> list[bytes | AudioError]:
        """Digest files, several at a time.

        Parameters
        ----------
        paths : iterable of str or Path
            Files.

        Returns
        -------
        list of bytes or AudioError
            SHA-256 of each file's bytes, or why it cannot be read.
        """

        def outcome(path: str | Path) -> bytes | AudioError:
            try:
                return self.digest(path)
            except AudioError as error:
                return error

        remaining = iter(paths)
        found: list[bytes | AudioError] = []
        with ThreadPoolExecutor(_THREADS) as pool:
            while block := list(islice(remaining, _FILES_UNDER_WAY)):
                found += pool.map(outcome, block)
        return found

    def keys(self, sounds: pd.Series) -> tuple[pd.Series, pd.Series]:
        """Digest every sound, and set aside those whose files cannot be opened.

        Parameters
        ----------
        sounds : pandas.Series of Sound
            By clip id, see `sounds_of`.

        Returns
        -------
        keys : pandas.Series
            Keys by clip id, in the same order, without the unreadable.
        unreadable : pandas.Series
            Reasons by clip id.
        """
        paths = dict.fromkeys(sound.path for sound in sounds)
        digests = dict(zip(paths, self.digests(paths), strict=True))
        found = sounds.map(lambda sound: digests[sound.path])
        failed = found.map(lambda digest: isinstance(digest, AudioError)).astype(bool)
        keys = [sound.key(digest) for sound, digest in zip(sounds[~failed], found[~failed], strict=True)]
        return pd.Series(keys, index=found.index[~failed], dtype=object), found[failed].map(str)

    def save(self, *, growth: float = 0.0) -> None:
        """Write the index, if anything in it is new; failing to is no error, since it can be made again.

        Parameters
        ----------
        growth : float, default=0.0
            Write only once there is more new than this share of what was written before. With any share above zero, many
            calls together write in proportion to the files and not to their square.
        """
        if self._path is None or self._n_new <= growth * self._n_written:
            return
        entries = np.array([(name, *values) for name, values in self._known.items()], dtype=_ENTRY)
        try:
            with atomic_write(self._path) as aside, aside.open("wb") as file:
                np.save(file, entries, allow_pickle=False)
            self._n_written, self._n_new = len(entries), 0
        except OSError as error:
            warnings.warn(
                f"{self._path}: cannot keep the digests of files ({error})", UserWarning, stacklevel=3
            )


def _load(path: Path) -> dict[bytes, tuple[int, int, int, bytes]]:
    try:
        entries = np.load(path, allow_pickle=False).astype(_ENTRY, casting="equiv")
        return {name: tuple(values) for name, *values in entries.tolist()}
    except Exception:  # numpy raises nearly any kind of a damaged header
        return {}  # missing or damaged: it is only a memory


_OF_THIS_PROCESS = FileIndex(None)


def content_key(path: str | Path) -> bytes:
    """Digest of a file's bytes, under which its vectors are stored.

    Parameters
    ----------
    path : str or Path
        Any file.

    Returns
    -------
    bytes
        SHA-256, 32 bytes; remembered within the process while size and times stay the same.

    Raises
    ------
    AudioError
        If the file cannot be read.
    """
    return _OF_THIS_PROCESS.digest(path)
