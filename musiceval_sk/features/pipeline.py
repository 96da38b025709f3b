"""Embedding many sounds: decoding runs ahead of the model, in threads here or in worker processes elsewhere.

In a process, three stages hand on to each other: threads decode (`_decoded`), clips gather until they fill a batch of the
model (`_gathered`), and a thread encodes one batch while the next one gathers (`_encoded`); two do where the model computes on a
GPU, so that one copies while the other computes. What is decoded ahead and what is being encoded are each at most
`_SAMPLES_AHEAD` samples, or one clip if that is longer.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from musiceval_sk._text import listed
from musiceval_sk.exceptions import AudioError
from musiceval_sk.features.audio import Sound, decode, samples_expected
from musiceval_sk.features.encoders import Encoder

_DECODERS_BESIDE_A_MODEL = 2
_CLIPS_A_BATCH = 16
# 256 MiB in float32, 23 minutes at 48 kHz.
_SAMPLES_AHEAD = 1 << 26
_MEASURING_THREADS = 4
_DEATHS_IN_A_ROW = 3
# What a killed process may lose: a slow encoder hands over what it has after this time.
_SECONDS_AT_RISK = 10.0
_RESIDENT: dict[str, Encoder] = {}


@dataclass
class Batch:
    """Sounds that are done, by key: their windows or vectors, why others have none, and what is odd about some."""

    vectors: dict[bytes, np.ndarray] = field(default_factory=dict)
    failed: dict[bytes, str] = field(default_factory=dict)
    remarks: dict[bytes, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.vectors) + len(self.failed)

    def add(self, other: "Batch") -> None:
        """Take in another batch."""
        self.vectors |= other.vectors
        self.failed |= other.failed
        self.remarks |= other.remarks


def embed_batches(
    encoder: Encoder, sounds: dict[bytes, Sound], n_jobs: int | None, size: int | None
) -> Iterator[Batch]:
    """Embed sounds, ``size`` at a time. Reasons and remarks do not name the sound."""
    from joblib import effective_n_jobs

    if effective_n_jobs(n_jobs) == 1:
        yield from _embed_ahead(encoder, sounds, size)
        return
    remaining, deaths = dict(sounds), 0
    while remaining:
        try:
            for batch in _embed_in_workers(encoder, remaining, n_jobs, size or _CLIPS_A_BATCH):
                for key in (*batch.vectors, *batch.failed):
                    del remaining[key]
                deaths = 0
                yield batch
        except BrokenExecutor as error:
            # A worker died, of memory or by a signal: what it held is given out again.
            deaths += 1
            if deaths == _DEATHS_IN_A_ROW:
                raise RuntimeError(
                    f"workers died {deaths} times in a row with {len(remaining)} sounds left, among them "
                    f"{listed(remaining.values(), most=2)}; give fewer n_jobs or a smaller batch_size if memory ran out"
                ) from error


def _embed_in_workers(
    encoder: Encoder, sounds: dict[bytes, Sound], n_jobs: int | None, size: int
) -> Iterator[Batch]:
    from joblib import Parallel, delayed

    waiting = iter(list(sounds.items()))
    batches = iter(lambda: dict(islice(waiting, size)), {})
    tasks = (delayed(_embed_in_worker)(encoder, batch) for batch in batches)
    yield from Parallel(n_jobs=n_jobs, return_as="generator_unordered")(tasks)


def _embed_in_worker(encoder: Encoder, sounds: dict[bytes, Sound]) -> Batch:
    """Embed one batch with the encoder that this process has already built, if it has."""
    fingerprint = encoder.fingerprint_of("audio")
    if fingerprint not in _RESIDENT:
        _RESIDENT.clear()
        _RESIDENT[fingerprint] = encoder
    whole = Batch()
    for batch in _embed_ahead(_RESIDENT[fingerprint], sounds, len(sounds)):
        whole.add(batch)
    return whole


def _embed_ahead(encoder: Encoder, sounds: dict[bytes, Sound], size: int | None) -> Iterator[Batch]:
    """Embed in this process; 16 clips at most, or two a core, are decoded ahead of the batches that gather and are encoded."""
    encoder.prepare()
    size = size or max(_CLIPS_A_BATCH, encoder.batch_size)
    done = Batch()
    due = time.monotonic() + _SECONDS_AT_RISK
    for batch in _encoded(encoder, _gathered(encoder, _decoded(encoder, sounds, size), size)):
        done.add(batch)
        if len(done) >= size or time.monotonic() > due:
            yield _checked(encoder, done)
            done = Batch()
            due = time.monotonic() + _SECONDS_AT_RISK
    if len(done):
        yield _checked(encoder, done)


def read_ahead(
    work: Callable[[Any, Sound], Any],
    sounds: Iterable[tuple[Any, Sound]],
    encoder: Encoder,
    n_threads: int,
    most: int,
) -> Iterator[tuple[Any, Future]]:
    """Do work on sounds in threads: yields names and futures in order, some sounds ahead of the one asked for.

    These are at most ``most`` and, by what their headers say, hold at most `_SAMPLES_AHEAD` samples; one that holds more is
    waited for alone.
    """
    remaining, held = iter(sounds), 0.0
    measured: deque[tuple[Any, Sound, Future]] = deque()
    under_way: deque[tuple[Any, float, Future]] = deque()
    with ThreadPoolExecutor(_MEASURING_THREADS) as measuring, ThreadPoolExecutor(n_threads) as pool:
        try:
            while True:
                for name, sound in islice(remaining, most - len(measured) - len(under_way)):
                    measured.append(
                        (name, sound, measuring.submit(samples_expected, sound, encoder.sample_rate))
                    )
                while measured and (measured[0][2].done() or not under_way):
                    name, sound, length = measured[0]
                    size = min(max(length.result(), encoder.window_length), _SAMPLES_AHEAD)
                    if under_way and held + size > _SAMPLES_AHEAD:
                        break
                    measured.popleft()
                    under_way.append((name, size, pool.submit(work, name, sound)))
                    held += size
                if not under_way:
                    return
                name, size, future = under_way.popleft()
                yield name, future
                del future  # and with it what was read
                held -= size
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _decoded(
    encoder: Encoder, sounds: dict[bytes, Sound], size: int
) -> Iterator[tuple[bytes, np.ndarray | str, list[str]]]:
    """Windows of each sound, or why there are none, and remarks, in order."""
    from joblib import cpu_count

    decoders = cpu_count() if encoder.on_accelerator else _DECODERS_BESIDE_A_MODEL
    most = min(size, max(_CLIPS_A_BATCH, 2 * decoders))

    def windows_of(key: bytes, sound: Sound) -> tuple[np.ndarray, list[str]]:
        samples, remarks = decode(sound, encoder.sample_rate, expected=key)
        return encoder.cut(samples), remarks

    for key, future in read_ahead(windows_of, sounds.items(), encoder, decoders, most):
        try:
            yield key, *future.result()
        except AudioError as error:
            yield key, str(error), []
        del future


def _gathered(
    encoder: Encoder, decoded: Iterator[tuple[bytes, np.ndarray | str, list[str]]], size: int
) -> Iterator[Batch]:
    """Sounds that together fill a batch of the encoder or are ``size`` many, and those that failed meanwhile."""
    waiting = Batch()
    for key, outcome, remarks in decoded:
        if isinstance(outcome, str):
            waiting.failed[key] = outcome
        else:
            waiting.vectors[key] = outcome
        if remarks:
            waiting.remarks[key] = remarks
        del outcome
        if sum(map(len, waiting.vectors.values())) >= encoder.batch_size or len(waiting) >= size:
            yield waiting
            waiting = Batch()
    if len(waiting):
        yield waiting


def _encoded(encoder: Encoder, gathered: Iterator[Batch]) -> Iterator[Batch]:
    """Vectors of what is gathered, in order; the next batch gathers while one is encoded."""
    at_once = 2 if encoder.on_accelerator else 1
    with ThreadPoolExecutor(at_once) as pool:
        under_way: deque[tuple[Future, int, Batch]] = deque()
        for batch in gathered:
            windows, batch.vectors = batch.vectors, {}
            size = sum(some.size for some in windows.values())
            under_way.append((pool.submit(_encode, encoder, windows), size, batch))
            del windows
            while len(under_way) > at_once or sum(size for _, size, _ in under_way) > _SAMPLES_AHEAD:
                yield _finished(*under_way.popleft())
        for one in under_way:
            yield _finished(*one)


def _finished(vectors: Future, _: int, batch: Batch) -> Batch:
    batch.vectors = vectors.result()
    return batch


def _encode(encoder: Encoder, windows: dict[bytes, np.ndarray]) -> dict[bytes, np.ndarray]:
    if not windows:
        return {}
    parts = list(windows.values())
    vectors = encoder.encode_audio(np.concatenate(parts) if len(parts) > 1 else parts[0])
    ends = np.cumsum([len(some) for some in parts])
    return dict(zip(windows, np.split(vectors, ends[:-1]), strict=True))


def _checked(encoder: Encoder, batch: Batch) -> Batch:
    """Set aside clips whose vectors are not finite: they cost themselves, not the run."""
    for key in [key for key, some in batch.vectors.items() if not np.isfinite(some).all()]:
        del batch.vectors[key]
        batch.failed[key] = f"encoder {encoder.name!r} gave nan or infinite values"
    return batch
