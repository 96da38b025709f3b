"""Where a batch's vectors come from: a table of them, or decoded clips that go through the towers part by part."""

import os
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from musiceval_sk._files import abandoned, atomic_write, own_name
from musiceval_sk._optional import import_optional
from musiceval_sk._text import counted, listed
from musiceval_sk.exceptions import AudioError
from musiceval_sk.features.audio import decode
from musiceval_sk.features.digests import Sound, content_key, sounds_of
from musiceval_sk.features.encoders.base import Encoder, Modality

CLIPS_AT_ONCE_ON_CPU = 4
_MOST_DECODERS = 8


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
        if folder:
            self.folder = Path(folder)
            self.folder.mkdir(parents=True, exist_ok=True)
        else:
            self.folder = _temporary_folder()
            weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    def decode(self, sounds: Iterable[Sound]) -> list[tuple[bytes, np.ndarray] | AudioError]:
        """Decode the sounds that are not decoded yet.

        Parameters
        ----------
        sounds : iterable of Sound
            See `sounds_of`.

        Returns
        -------
        list of (bytes, np.ndarray) or AudioError
            Of each sound its key, by which `windows` finds it, and what each of its windows counts, or why it cannot be read.

        Warns
        -----
        UserWarning
            If sounds are odd, such as of channels that cancel each other.
        """
        remarks: list[str] = []
        with ThreadPoolExecutor(min(_MOST_DECODERS, os.cpu_count() or 1)) as pool:
            outcomes = list(pool.map(partial(self._decode, remarks=remarks), sounds))
        if remarks:
            what = counted(len(remarks), "sound is", "sounds are")
            warnings.warn(f"{what} heard, but: {listed(remarks)}", stacklevel=2)
        return outcomes

    def windows(self, key: bytes) -> np.ndarray:
        """Read the windows of one sound, [shape=(n_windows, window_length)], by its key."""
        return np.asarray(self._encoder.cut(np.load(self._file(key), mmap_mode="r")))

    def _decode(self, sound: Sound, remarks: list[str]) -> tuple[bytes, np.ndarray] | AudioError:
        try:
            key = sound.key(content_key(sound.path))
        except AudioError as error:
            return error
        try:
            if not self._file(key).exists():
                samples, odd = decode(sound, self._encoder.sample_rate, expected=key)
                self._write(key, samples)
                remarks += [f"{sound}: {remark}" for remark in odd]
            n_samples = len(np.load(self._file(key), mmap_mode="r"))
            return key, self._encoder.window_weights(len(self.windows(key)), n_samples)
        except AudioError as error:
            return AudioError(f"{sound}: {error}")

    def _file(self, key: bytes) -> Path:
        return self.folder / f"{key.hex()}-{self._encoder.sample_rate}.npy"

    def _write(self, key: bytes, samples: np.ndarray) -> None:
        """Write a file that is whole once it has its name; two writers of one sound write the same."""
        with atomic_write(self._file(key)) as aside, aside.open("wb") as file:
            np.save(file, samples)


def _temporary_folder() -> Path:
    """Make a folder that bears this process's name, and remove those of processes that were killed."""
    folder = own_name(Path(tempfile.gettempdir()) / "musiceval-sounds")
    for left in abandoned(folder.parent.glob("musiceval-sounds.*.tmp"), by_age=False):
        shutil.rmtree(left, ignore_errors=True)
    folder.mkdir(mode=0o700)
    return folder


class ClipBatches:
    """Batches of clips that go through the towers; a clip's windows are averaged, each by the new sound that it brings.

    Parameters
    ----------
    regressor : CLAPFineTuneRegressor
        Says how many clips are computed at once, and where decoded sounds are kept.
    clips : pandas.DataFrame
        Clips table; ids may come twice.
    encoder : Encoder
        Says the windows, and what to compute in where nothing is trained.
    network : ClapNetwork
        The towers.
    towers : sequence of {"audio", "text"}
        Those in use.

    Raises
    ------
    AudioError
        If clips cannot be read.
    """

    def __init__(
        self, regressor: Any, clips: pd.DataFrame, encoder: Encoder, network: Any, towers: Sequence[Modality]
    ):
        self.network, self.device, self._regressor = network, network.device, regressor
        self.dtype = getattr(encoder, "dtype", "float32")
        self.columns = [f"{tower}_{i}" for tower in towers for i in range(encoder.dim(tower))]
        self._sounds = DecodedSounds(encoder, regressor.sounds_dir)
        outcomes = self._sounds.decode(sounds_of(clips))
        failed = [outcome for outcome in outcomes if isinstance(outcome, AudioError)]
        if failed:
            reasons = listed(failed, separator="; ")
            raise AudioError(
                f"{len(failed)} of {len(outcomes)} clips cannot be read, leave them out: {reasons}"
            )
        self.keys, self._weights = zip(*outcomes, strict=True)
        self.prompts = clips["prompt"].tolist() if "text" in towers else []
        self._tokens = network.tokenize(self.prompts) if "text" in towers else None

    def parts(self, rows: np.ndarray, micro_batch_size: int, dtype: str) -> Iterator[Any]:
        """Give part by part places among rows and their vectors, [shape=(n_places, n_features)], audio first, then text.

        Parameters
        ----------
        rows : np.ndarray of int
            What to embed; the next part's windows are read while one is computed.
        micro_batch_size : int
            Clips that go through the towers at once.
        dtype : {"float32", "bfloat16", "float16"}
            What the towers compute in.
        """
        places = np.split(np.arange(len(rows)), range(micro_batch_size, len(rows), micro_batch_size))
        with ThreadPoolExecutor(1) as reader:
            reading = reader.submit(self._read, rows[places[0]])
            for some, following in zip_longest(places, places[1:]):
                windows = reading.result()
                if following is not None:
                    reading = reader.submit(self._read, rows[following])
                yield some, self._embed(windows, rows[some], dtype)

    def embed(self) -> np.ndarray:
        """Embed every clip without gradients, [shape=(n, n_features)]."""

        def attempt(micro_batch_size: int) -> np.ndarray:
            with torch.no_grad(), self.network.precision():
                parts = self.parts(np.arange(len(self.keys)), micro_batch_size, self.dtype)
                return np.concatenate([vectors.cpu().numpy() for _, vectors in parts])

        return self.as_memory_allows(attempt)

    def as_memory_allows(self, run: Callable[[int], Any]) -> Any:
        """Call ``run`` with the number of clips to compute at once: on a GPU a whole batch, halved until it fits."""
        micro_batch_size = self._regressor.micro_batch_size
        if micro_batch_size is not None or self.device.type == "cpu":
            return run(micro_batch_size or CLIPS_AT_ONCE_ON_CPU)
        accelerate = import_optional(
            "accelerate", extra="finetune", purpose="finding out what a GPU holds (micro_batch_size=None)"
        )
        micro_batch_size = self._regressor.batch_size

        def halve() -> int:
            nonlocal micro_batch_size
            if micro_batch_size == 1:
                raise MemoryError(
                    "the GPU's memory does not hold one clip; train fewer weights (train='last_blocks' or 'lora'), free "
                    "memory, or leave out long clips"
                )
            micro_batch_size //= 2
            return micro_batch_size

        return accelerate.find_executable_batch_size(run, micro_batch_size, halve)()

    def _read(self, rows: np.ndarray) -> np.ndarray:
        return np.concatenate([self._sounds.windows(self.keys[row]) for row in rows])

    def _embed(self, windows: np.ndarray, rows: np.ndarray, dtype: str) -> torch.Tensor:
        embedded = self.network.embed_audio(windows, dtype)
        parts = [self._weights[row] for row in rows]
        lengths = torch.tensor([len(part) for part in parts], device=embedded.device)
        weights = torch.from_numpy(np.concatenate(parts)).to(embedded.device)[:, None]
        sums = torch.segment_reduce(embedded * weights, "sum", lengths=lengths, axis=0)
        pooled = sums / torch.segment_reduce(weights, "sum", lengths=lengths, axis=0)
        if self._tokens is None:
            return pooled
        text = self.network.embed_text(*(part[rows] for part in self._tokens), dtype)
        return torch.cat([pooled, text], dim=1)
