"""Embedding many sounds: decoding runs ahead of the model, in threads here or in worker processes elsewhere.

In a process, threads decode (`_decoded_ahead`), clips gather until they fill a batch of the model (`_gathered`), and a thread
encodes one batch while the next one gathers (`_encoded`); two do where the model computes on a GPU, so that one copies while
the other computes. What is decoded ahead and what is being encoded are each at most `_SAMPLES_AHEAD` samples, or one clip if
that is longer.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import NamedTuple

import numpy as np

from musiceval_sk._text import listed
from musiceval_sk.exceptions import AudioError
from musiceval_sk.features.audio import decode, samples_expected
from musiceval_sk.features.digests import Sound
from musiceval_sk.features.encoders import Encoder

_DECODERS_BESIDE_A_MODEL = 2
_CLIPS_A_BATCH = 16
# 256 MiB in float32, 23 minutes at 48 kHz.
_SAMPLES_AHEAD = 1 << 26
_MEASURING_THREADS = 4
_DEATHS_IN_A_ROW = 3
# What a killed process may lose: a slow encoder hands over what it has after this time.
_SECONDS_AT_RISK = 10.0
_NOTHING = np.empty((0, 0), dtype=np.float32)
_RESIDENT: dict[str, Encoder] = {}


class Outcome(NamedTuple):
    """Windows or vectors of a sound, or why there are none, and what is odd about it; neither text names the sound."""

    key: bytes
    vectors: np.ndarray = _NOTHING
    error: str = ""
    remarks: Sequence[str] = ()


def embed_batches(
    encoder: Encoder, sounds: dict[bytes, Sound], n_jobs: int | None, size: int | None
) -> Iterator[list[Outcome]]:
    """Embed sounds by key, ``size`` at a time."""
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
                for outcome in batch:
                    del remaining[outcome.key]
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


def _embed_in_worker(encoder: Encoder, sounds: dict[bytes, Sound]) -> list[Outcome]:
    """Embed one batch with the encoder that this process has already built, if it has."""
    fingerprint = encoder.fingerprint_of("audio")
    if fingerprint not in _RESIDENT:
        _RESIDENT.clear()
        _RESIDENT[fingerprint] = encoder
    return [*chain.from_iterable(_embed_here(_RESIDENT[fingerprint], sounds, len(sounds)))]


def _embed_here(encoder: Encoder, sounds: dict[bytes, Sound], size: int) -> Iterator[list[Outcome]]:
    """Embed in this process, and hand over ``size`` sounds at a time, or fewer where they take long."""
    encoder.prepare()
    done: list[Outcome] = []
    since = time.monotonic()
    for batch in _encoded(encoder, _gathered(encoder, _decoded_ahead(encoder, sounds, size), size)):
        done += batch
        if len(done) >= size or time.monotonic() - since > _SECONDS_AT_RISK:
            yield done
            done, since = [], time.monotonic()
    if done:
        yield done


def _decoded_ahead(encoder: Encoder, sounds: dict[bytes, Sound], size: int) -> Iterator[Future]:
    """Decode in threads, some sounds ahead of the one asked for: as many as memory holds by what their headers say."""
    from joblib import cpu_count

    decoders = cpu_count() if encoder.on_accelerator else _DECODERS_BESIDE_A_MODEL
    most = min(size, max(_CLIPS_A_BATCH, 2 * decoders))

    def length_of(sound: Sound) -> float:
        return min(max(samples_expected(sound, encoder.sample_rate), encoder.window_length), _SAMPLES_AHEAD)

    def read(key: bytes, sound: Sound) -> Outcome:
        try:
            samples, remarks = decode(sound, encoder.sample_rate, expected=key)
        except AudioError as error:
            return Outcome(key, error=str(error))
        return Outcome(key, encoder.cut(samples), remarks=remarks)

    under_way: deque[tuple[Future, float]] = deque()
    held = 0.0
    with ThreadPoolExecutor(_MEASURING_THREADS) as measuring, ThreadPoolExecutor(decoders) as pool:
        try:
            for block in _split(sounds, most):
                lengths = measuring.map(length_of, block.values())
                for (key, sound), length in zip(block.items(), lengths, strict=True):
                    while under_way and (len(under_way) >= most or held + length > _SAMPLES_AHEAD):
                        yield under_way[0][0]
                        held -= under_way.popleft()[1]
                    under_way.append((pool.submit(read, key, sound), length))
                    held += length
            while under_way:
                yield under_way.popleft()[0]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _gathered(encoder: Encoder, decoded: Iterable[Future], size: int) -> Iterator[list[Outcome]]:
    """Windows of sounds that together fill a batch of the encoder or are ``size`` many."""
    waiting: list[Outcome] = []
    n_windows = 0
    for future in decoded:
        waiting.append(future.result())
        del future  # and with it what was read
        n_windows += len(waiting[-1].vectors)
        if n_windows >= encoder.batch_size or len(waiting) >= size:
            yield waiting
            waiting, n_windows = [], 0
    if waiting:
        yield waiting


def _encoded(encoder: Encoder, gathered: Iterable[list[Outcome]]) -> Iterator[list[Outcome]]:
    """Vectors of what is gathered, in order; the next batch gathers while one is encoded."""
    at_once = 2 if encoder.on_accelerator else 1
    under_way: deque[tuple[Future, int]] = deque()
    with ThreadPoolExecutor(at_once) as pool:
        for batch in gathered:
            n_samples = sum(outcome.vectors.size for outcome in batch)
            under_way.append((pool.submit(_encode, encoder, batch), n_samples))
            del batch
            while len(under_way) > at_once or sum(held for _, held in under_way) > _SAMPLES_AHEAD:
                yield under_way.popleft()[0].result()
        for future, _ in under_way:
            yield future.result()


def _encode(encoder: Encoder, batch: list[Outcome]) -> list[Outcome]:
    """Put vectors in the place of windows; clips whose vectors are not finite cost themselves, not the run."""
    windows = {outcome.key: outcome.vectors for outcome in batch if not outcome.error}
    if not windows:
        return batch
    parts = list(windows.values())
    vectors = encoder.encode_audio(np.concatenate(parts) if len(parts) > 1 else parts[0])
    ends = np.cumsum([len(some) for some in parts])
    encoded = dict(zip(windows, np.split(vectors, ends[:-1]), strict=True))
    broken = {key for key, some in encoded.items() if not np.isfinite(some).all()}
    words = f"encoder {encoder.name!r} gave nan or infinite values"
    return [
        outcome._replace(vectors=_NOTHING, error=words)
        if outcome.key in broken
        else outcome._replace(vectors=encoded.get(outcome.key, _NOTHING))
        for outcome in batch
    ]
