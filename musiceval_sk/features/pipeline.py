"""Embedding many sounds: decoding runs ahead of the model, in threads here or in worker processes elsewhere.

In a process, threads decode (`_decoded_ahead`), clips gather until they fill a batch of the model (`_gathered`), and a thread
encodes one batch while the next one gathers (`_encoded`); two do where the model computes on a GPU, so that one copies while
the other computes. What is decoded ahead and what is being encoded are each at most `_SAMPLES_AHEAD` samples, or one clip if
that is longer.
"""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from musiceval_sk._text import listed
from musiceval_sk.exceptions import AudioError
from musiceval_sk.features.audio import decode, samples_expected
from musiceval_sk.features.encoders import Encoder
from musiceval_sk.features.sounds import Sound

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
    from joblib import Parallel, delayed, effective_n_jobs

    if effective_n_jobs(n_jobs) == 1:
        yield from _embed_here(encoder, sounds, size or max(_CLIPS_A_BATCH, encoder.batch_size))
        return
    remaining, deaths = dict(sounds), 0
    while remaining:
        batches = _split(remaining, size or _CLIPS_A_BATCH)
        tasks = (delayed(_embed_in_worker)(encoder, batch) for batch in batches)
        try:
            for batch in Parallel(n_jobs=n_jobs, return_as="generator_unordered")(tasks):
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


def _split(sounds: dict[bytes, Sound], size: int) -> Iterator[dict[bytes, Sound]]:
    waiting = iter(list(sounds.items()))
    while batch := dict(islice(waiting, size)):
        yield batch


def _embed_in_worker(encoder: Encoder, sounds: dict[bytes, Sound]) -> Batch:
    """Embed one batch with the encoder that this process has already built, if it has."""
    fingerprint = encoder.fingerprint_of("audio")
    if fingerprint not in _RESIDENT:
        _RESIDENT.clear()
        _RESIDENT[fingerprint] = encoder
    whole = Batch()
    for batch in _embed_here(_RESIDENT[fingerprint], sounds, len(sounds)):
        whole.add(batch)
    return whole


def _embed_here(encoder: Encoder, sounds: dict[bytes, Sound], size: int) -> Iterator[Batch]:
    """Embed in this process, and hand over ``size`` sounds at a time, or fewer where they take long."""
    encoder.prepare()
    done, since = Batch(), time.monotonic()
    for batch in _encoded(encoder, _gathered(encoder, sounds, size)):
        done.add(batch)
        if len(done) >= size or time.monotonic() - since > _SECONDS_AT_RISK:
            yield done
            done, since = Batch(), time.monotonic()
    if len(done):
        yield done


def _gathered(encoder: Encoder, sounds: dict[bytes, Sound], size: int) -> Iterator[Batch]:
    """Windows of sounds that together fill a batch of the encoder or are ``size`` many, and of those that failed meanwhile why."""
    waiting = Batch()
    for key, future in _decoded_ahead(encoder, sounds, size):
        try:
            waiting.vectors[key], remarks = future.result()
            if remarks:
                waiting.remarks[key] = remarks
        except AudioError as error:
            waiting.failed[key] = str(error)
        del future
        if sum(map(len, waiting.vectors.values())) >= encoder.batch_size or len(waiting) >= size:
            yield waiting
            waiting = Batch()
    if len(waiting):
        yield waiting


def _decoded_ahead(encoder: Encoder, sounds: dict[bytes, Sound], size: int) -> Iterator[tuple[bytes, Future]]:
    """Decode in threads, some sounds ahead of the one asked for: as many as their headers say that memory should hold."""
    from joblib import cpu_count

    decoders = cpu_count() if encoder.on_accelerator else _DECODERS_BESIDE_A_MODEL
    most = min(size, max(_CLIPS_A_BATCH, 2 * decoders))

    def windows_of(key: bytes, sound: Sound) -> tuple[np.ndarray, list[str]]:
        samples, remarks = decode(sound, encoder.sample_rate, expected=key)
        return encoder.cut(samples), remarks

    def samples_of(sound: Sound) -> float:
        return min(max(samples_expected(sound, encoder.sample_rate), encoder.window_length), _SAMPLES_AHEAD)

    under_way: deque[tuple[bytes, float, Future]] = deque()
    held = 0.0
    with ThreadPoolExecutor(_MEASURING_THREADS) as measuring, ThreadPoolExecutor(decoders) as pool:
        try:
            for block in _split(sounds, most):
                lengths = measuring.map(samples_of, block.values())
                for (key, sound), length in zip(block.items(), lengths, strict=True):
                    while under_way and (len(under_way) >= most or held + length > _SAMPLES_AHEAD):
                        yield under_way[0][::2]
                        held -= under_way.popleft()[1]
                    under_way.append((key, length, pool.submit(windows_of, key, sound)))
                    held += length
            while under_way:
                yield under_way.popleft()[::2]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


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
                yield _finished(encoder, *under_way.popleft())
        for one in under_way:
            yield _finished(encoder, *one)


def _encode(encoder: Encoder, windows: dict[bytes, np.ndarray]) -> dict[bytes, np.ndarray]:
    if not windows:
        return {}
    parts = list(windows.values())
    vectors = encoder.encode_audio(np.concatenate(parts) if len(parts) > 1 else parts[0])
    ends = np.cumsum([len(some) for some in parts])
    return dict(zip(windows, np.split(vectors, ends[:-1]), strict=True))


def _finished(encoder: Encoder, vectors: Future, _: int, batch: Batch) -> Batch:
    """Set aside clips whose vectors are not finite: they cost themselves, not the run."""
    for key, some in vectors.result().items():
        if np.isfinite(some).all():
            batch.vectors[key] = some
        else:
            batch.failed[key] = f"encoder {encoder.name!r} gave nan or infinite values"
    return batch
