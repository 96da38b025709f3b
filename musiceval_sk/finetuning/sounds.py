"""Decoded clips kept on disk, so that many passes over them decode each once and hold none in memory."""

import os
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from musiceval_sk._text import counted, listed
from musiceval_sk.exceptions import AudioError
from musiceval_sk.features.audio import Sound, content_key, decode
from musiceval_sk.features.encoders import Encoder
from musiceval_sk.features.pipeline import read_ahead


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

    def decode(self, sounds: Sequence[Sound], n_threads: int | None = None) -> tuple[list[bytes], np.ndarray]:
        """Decode the sounds that are not decoded yet.

        Parameters
        ----------
        sounds : sequence of Sound
            See `sounds_of`.
        n_threads : int, default=None
            Files decoded at once; by default one a core.

        Returns
        -------
        keys : list of bytes
            Key of each sound, by which `windows` finds it.
        counts : np.ndarray of int [shape=(n,)]
            Windows of each.

        Raises
        ------
        AudioError
            If sounds cannot be read, with the first five reasons.
        """
        outcomes = self._attempts(sounds, n_threads)
        failed = [outcome for outcome in outcomes if isinstance(outcome, AudioError)]
        if failed:
            raise AudioError(
                f"{len(failed)} of {len(sounds)} clips cannot be read, leave them out: {listed(failed, separator='; ')}"
            )
        keys = [key for key, _ in outcomes]  # type: ignore[misc]
        return keys, np.array([count for _, count in outcomes], dtype=int)  # type: ignore[misc]

    def unreadable(self, sounds: Sequence[Sound], n_threads: int | None = None) -> list[str | None]:
        """Decode the sounds that are not decoded yet, and tell which cannot be read.

        Parameters
        ----------
        sounds : sequence of Sound
            See `sounds_of`.
        n_threads : int, default=None
            Files decoded at once; by default one a core.

        Returns
        -------
        list of str or None
            For each sound why it cannot be read, or None.
        """
        outcomes = self._attempts(sounds, n_threads)
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

    def _attempts(
        self, sounds: Sequence[Sound], n_threads: int | None
    ) -> list[tuple[bytes, int] | AudioError]:
        threads = n_threads or os.cpu_count() or 1
        remarks: list[str] = []

        def attempt(_: int, sound: Sound) -> tuple[bytes, int] | AudioError:
            return self._attempt(sound, remarks)

        ahead = read_ahead(attempt, enumerate(sounds), self._encoder, threads, 2 * threads)
        outcomes = [future.result() for _, future in ahead]
        if remarks:
            warnings.warn(
                f"{counted(len(remarks), 'sound is', 'sounds are')} heard, but: {listed(remarks)}",
                UserWarning,
                stacklevel=3,
            )
        return outcomes

    def _attempt(self, sound: Sound, remarks: list[str]) -> tuple[bytes, int] | AudioError:
        try:
            key = sound.key(content_key(sound.path))
        except AudioError as error:
            return error
        try:
            if not self._file(key).exists():
                samples, odd = decode(sound, self._encoder.sample_rate, expected=key)
                self._write(key, samples)
                remarks += [f"{sound}: {remark}" for remark in odd]
            return key, len(self.windows(key))
        except AudioError as error:
            return AudioError(f"{sound}: {error}")

    def _file(self, key: bytes) -> Path:
        return self.folder / f"{key.hex()}-{self._encoder.sample_rate}.npy"

    def _write(self, key: bytes, samples: np.ndarray) -> None:
        """Write a file that is whole once it has its name; two writers of one sound write the same."""
        descriptor, aside = tempfile.mkstemp(dir=self.folder, suffix=".tmp")
        with os.fdopen(descriptor, "wb") as file:
            np.save(file, samples)
        os.replace(aside, self._file(key))
