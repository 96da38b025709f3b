"""Digests of sound files by path, size and time, kept beside a store so that unchanged files are not hashed again.

The index only saves time: losing it costs hashing anew. Several processes may write it; the last one wins.
"""

import hashlib
import os
import time
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np

from musiceval_sk._files import atomic_write
from musiceval_sk._text import printable
from musiceval_sk.exceptions import AudioError
from musiceval_sk.features.audio import check_file, hash_file

_FILES_UNDER_WAY = 256
_THREADS = 4
# A file written again within the same tick of its file system's clock may keep size and time.
_SETTLED_NANOSECONDS = 2_000_000_000
_ENTRY = np.dtype(
    [("path", "V32"), ("size", np.int64), ("modified", np.int64), ("changed", np.int64), ("digest", "V32")]
)


class FileIndex:
    """Digests of files, recalled where size and times (of content and of status) are unchanged.

    The file is read once. An index that is kept while files or the file on disk change is no less true: what it recalls
    is held against each file's present size and times.

    Parameters
    ----------
    path : str or Path
        Where to keep it; need not exist.
    verify : bool, default=False
        Whether to hash every file again, whatever the index says.
    """

    def __init__(self, path: str | Path, *, verify: bool = False):
        self.path = Path(path)
        self._known = {} if verify else _load(self.path)
        self._n_written, self._n_new = len(self._known), 0

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
        remaining = iter(paths)
        found: list[bytes | AudioError] = []
        with ThreadPoolExecutor(_THREADS) as pool:
            while block := list(islice(remaining, _FILES_UNDER_WAY)):
                found += pool.map(self._digest, block)
        return found

    def save(self, *, growth: float = 0.0) -> None:
        """Write the index, if anything in it is new; failing to is no error, since it can be made again.

        Parameters
        ----------
        growth : float, default=0.0
            Write only once there is more new than this share of what was written before. With any share above zero, many
            calls together write in proportion to the files and not to their square.
        """
        if self._n_new <= growth * self._n_written:
            return
        entries = np.array([(key, *values) for key, values in self._known.items()], dtype=_ENTRY)
        try:
            with atomic_write(self.path) as aside, aside.open("wb") as file:
                np.save(file, entries, allow_pickle=False)
            self._n_written, self._n_new = len(entries), 0
        except OSError as error:
            warnings.warn(
                f"{self.path}: cannot keep the digests of files ({error})", UserWarning, stacklevel=3
            )

    def _digest(self, path: str | Path) -> bytes | AudioError:
        try:
            status = check_file(path)
            stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            key = hashlib.sha256(os.fsencode(os.path.realpath(path))).digest()
            known = self._known.get(key)
            if known is not None and known[:3] == stamp:
                return known[3]
            digest = hash_file(path)
        except AudioError as error:
            return AudioError(f"{printable(path)}: {error}")
        if time.time_ns() - max(stamp[1:]) > _SETTLED_NANOSECONDS:
            self._known[key] = (*stamp, digest)
            self._n_new += 1
        return digest


def _load(path: Path) -> dict[bytes, tuple[int, int, int, bytes]]:
    try:
        entries = np.load(path, allow_pickle=False)
        return {
            path: (size, modified, changed, digest)
            for path, size, modified, changed, digest in entries.tolist()
        }
    except (OSError, ValueError, EOFError, IndexError, TypeError):
        return {}  # missing or damaged: it is only a memory
