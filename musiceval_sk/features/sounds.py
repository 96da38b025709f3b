"""Decoded clips kept on disk, so that many passes over them decode each once and hold none in memory."""

import os
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from musiceval_sk._text import listed
from musiceval_sk.exceptions import AudioError
from musiceval_sk.features.audio import content_key, read_audio
from musiceval_sk.features.encoders import Encoder


class DecodedSounds:
    """Windows of clips, decoded once and read from memory-mapped files.

    Parameters
    ----------
    encoder : Encoder
        Says the sample rate and the windows.
    folder : str or Path, default=None
        Where to keep samples, 4 bytes each: 11 MB a minute at 48 kHz. A given folder is filled and left as it is, so
        that a later run finds its sounds decoded; by default a folder among the system's temporary files, which goes
        with this object.
    """

    def __init__(self, encoder: Encoder, folder: str | Path | None = None):
        self._encoder = encoder
        self.folder = Path(folder or tempfile.mkdtemp(prefix="musiceval-sounds-"))
        if not folder:
            weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)

    def decode(self, paths: Sequence[str], n_threads: int | None = None) -> tuple[list[bytes], np.ndarray]:
        """Decode the sounds that are not decoded yet.

        Parameters
        ----------
        paths : sequence of str
            Sound files.
        n_threads : int, default=None
            Files decoded at once; by default one a core.

        Returns
        -------
        keys : list of bytes
            Digest of each file's bytes, by which `windows` finds it.
        counts : np.ndarray of int [shape=(n,)]
            Windows of each.

        Raises
        ------
        AudioError
            If sounds cannot be read, with the first five reasons.
        """
        outcomes = self._attempts(paths, n_threads)
        failed = [outcome for outcome in outcomes if isinstance(outcome, AudioError)]
        if failed:
            raise AudioError(
                f"{len(failed)} of {len(paths)} clips cannot be read, leave them out: {listed(failed, separator='; ')}"
            )
        keys = [key for key, _ in outcomes]  # type: ignore[misc]
        return keys, np.array([count for _, count in outcomes], dtype=int)  # type: ignore[misc]

    def unreadable(self, paths: Sequence[str], n_threads: int | None = None) -> list[str | None]:
        """Decode the sounds that are not decoded yet, and tell which cannot be read.

        Parameters
        ----------
        paths : sequence of str
            Sound files.
        n_threads : int, default=None
            Files decoded at once; by default one a core.

        Returns
        -------
        list of str or None
            For each file why it cannot be read, or None.
        """
        outcomes = self._attempts(paths, n_threads)
        return [str(outcome) if isinstance(outcome, AudioError) else None for outcome in outcomes]

    def windows(self, key: bytes) -> np.ndarray:
        """Read the windows of one sound.

        Parameters
        ----------
        key : bytes
            From `decode`.

        Returns
        -------
        np.ndarray [shape=(n_windows, window_length)], float32
            As the encoder cuts them.
        """
        samples = np.load(self._file(key), mmap_mode="r")
        return np.asarray(self._encoder.cut(samples))

    def _attempts(self, paths: Sequence[str], n_threads: int | None) -> list[tuple[bytes, int] | AudioError]:
        with ThreadPoolExecutor(n_threads or os.cpu_count() or 1) as pool:
            return list(pool.map(self._attempt, paths))

    def _attempt(self, path: str) -> tuple[bytes, int] | AudioError:
        try:
            key = content_key(path)
            if not self._file(key).exists():
                self._write(key, read_audio(path, self._encoder.sample_rate, expected=key))
            return key, len(self.windows(key))
        except AudioError as error:
            return error

    def _file(self, key: bytes) -> Path:
        return self.folder / f"{key.hex()}-{self._encoder.sample_rate}.npy"

    def _write(self, key: bytes, samples: np.ndarray) -> None:
        """Write a file that is whole once it has its name; two writers of one sound write the same."""
        descriptor, aside = tempfile.mkstemp(dir=self.folder, suffix=".tmp")
        with os.fdopen(descriptor, "wb") as file:
            np.save(file, samples)
        os.replace(aside, self._file(key))
