"""Embedding many sounds: decoding runs ahead of the model, in threads here or in worker processes elsewhere.

In a process, three stages hand on to each other: threads decode (`_decoded`), clips gather until they fill a batch of the
model (`_gathered`), and a thread encodes one batch while the next one gathers (`_encoded`); two do where the model computes on a
GPU, so that one copies while the other computes.
"""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from itertools import islice

import numpy as np

from musiceval_sk._text import listed
from musiceval_sk.exceptions import AudioError
from musiceval_sk.features.audio import read_audio
from musiceval_sk.features.encoders import Encoder

_DECODERS_BESIDE_A_MODEL = 2
_CLIPS_A_BATCH = 16
_DEATHS_IN_A_ROW = 3
# What a killed process may lose: a slow encoder hands over what it has after this time.
_SECONDS_AT_RISK = 10.0
_RESIDENT: dict[str, Encoder] = {}

Batch = tuple[dict[bytes, np.ndarray], dict[bytes, str]]


def embed_batches(
    encoder: Encoder, paths: dict[bytes, str], n_jobs: int | None, size: int | None
) -> Iterator[Batch]:
    """Embed sounds, ``size`` at a time: yields their vectors by key, and reasons for those that failed."""
    from joblib import effective_n_jobs

    if effective_n_jobs(n_jobs) == 1:
        yield from _embed_ahead(encoder, paths, size)
        return
    remaining, deaths = dict(paths), 0
    while remaining:
        try:
            for vectors, failed in _embed_in_workers(encoder, remaining, n_jobs, size or _CLIPS_A_BATCH):
                for key in (*vectors, *failed):
                    del remaining[key]
                deaths = 0
                yield vectors, failed
        except BrokenExecutor as error:
            # A worker died, of memory or by a signal: what it held is given out again.
            deaths += 1
            if deaths == _DEATHS_IN_A_ROW:
                raise RuntimeError(
                    f"workers died {deaths} times in a row with {len(remaining)} sounds left, among them "
                    f"{listed(remaining.values(), most=2)}; give fewer n_jobs or a smaller batch_size if memory ran out"
                ) from error


def _embed_in_workers(
    encoder: Encoder, paths: dict[bytes, str], n_jobs: int | None, size: int
) -> Iterator[Batch]:
    from joblib import Parallel, delayed

    waiting = iter(list(paths.items()))
    batches = iter(lambda: dict(islice(waiting, size)), {})
    tasks = (delayed(_embed_in_worker)(encoder, batch) for batch in batches)
    yield from Parallel(n_jobs=n_jobs, return_as="generator_unordered")(tasks)


def _embed_in_worker(encoder: Encoder, paths: dict[bytes, str]) -> Batch:
    """Embed one batch with the encoder that this process has already built, if it has."""
    fingerprint = encoder.fingerprint_of("audio")
    if fingerprint not in _RESIDENT:
        _RESIDENT.clear()
        _RESIDENT[fingerprint] = encoder
    vectors: dict[bytes, np.ndarray] = {}
    failed: dict[bytes, str] = {}
    for some, reasons in _embed_ahead(_RESIDENT[fingerprint], paths, len(paths)):
        vectors |= some
        failed |= reasons
    return vectors, failed


def _embed_ahead(encoder: Encoder, paths: dict[bytes, str], size: int | None) -> Iterator[Batch]:
    """Embed in this process; 16 clips, or two a core, are decoded ahead of the batches that gather and are encoded."""
    encoder.prepare()
    size = size or max(_CLIPS_A_BATCH, encoder.batch_size)
    vectors: dict[bytes, np.ndarray] = {}
    failed: dict[bytes, str] = {}
    due = time.monotonic() + _SECONDS_AT_RISK
    for some, reasons in _encoded(encoder, _gathered(encoder, _decoded(encoder, paths, size), size)):
        vectors |= some
        failed |= reasons
        if len(vectors) + len(failed) >= size or time.monotonic() > due:
            yield _checked(encoder, paths, vectors, failed)
            vectors, failed = {}, {}
            due = time.monotonic() + _SECONDS_AT_RISK
    if vectors or failed:
        yield _checked(encoder, paths, vectors, failed)


def _decoded(
    encoder: Encoder, paths: dict[bytes, str], size: int
) -> Iterator[tuple[bytes, np.ndarray | str]]:
    """Windows of each sound, or why there are none, in order, some decoded ahead of the one asked for."""
    from joblib import cpu_count

    decoders = cpu_count() if encoder.on_accelerator else _DECODERS_BESIDE_A_MODEL
    most = min(size, max(_CLIPS_A_BATCH, 2 * decoders))
    pool = ThreadPoolExecutor(decoders)
    try:
        remaining = iter(paths.items())
        ahead: deque[tuple[bytes, Future]] = deque()
        while True:
            for key, path in islice(remaining, most - len(ahead)):
                ahead.append((key, pool.submit(_windows_of, key, path, encoder)))
            if not ahead:
                return
            key, windows = ahead.popleft()
            try:
                yield key, windows.result()
            except AudioError as error:
                yield key, str(error)
    finally:
        pool.shutdown(cancel_futures=True)


def _gathered(
    encoder: Encoder, decoded: Iterator[tuple[bytes, np.ndarray | str]], size: int
) -> Iterator[tuple[dict[bytes, np.ndarray], dict[bytes, str]]]:
    """Sounds that together fill a batch of the encoder or are ``size`` many, and those that failed meanwhile."""
    waiting: dict[bytes, np.ndarray] = {}
    failed: dict[bytes, str] = {}
    for key, outcome in decoded:
        if isinstance(outcome, str):
            failed[key] = outcome
        else:
            waiting[key] = outcome
        if sum(map(len, waiting.values())) >= encoder.batch_size or len(waiting) + len(failed) >= size:
            yield waiting, failed
            waiting, failed = {}, {}
    if waiting or failed:
        yield waiting, failed


def _encoded(encoder: Encoder, gathered: Iterator[Batch]) -> Iterator[Batch]:
    """Vectors of what is gathered, in order; the next batch gathers while one is encoded."""
    at_once = 2 if encoder.on_accelerator else 1
    with ThreadPoolExecutor(at_once) as pool:
        under_way: deque[tuple[Future, dict[bytes, str]]] = deque()
        for windows, failed in gathered:
            under_way.append((pool.submit(_encode, encoder, windows), failed))
            if len(under_way) > at_once:
                vectors, reasons = under_way.popleft()
                yield vectors.result(), reasons
        for vectors, reasons in under_way:
            yield vectors.result(), reasons


def _windows_of(key: bytes, path: str, encoder: Encoder) -> np.ndarray:
    return encoder.cut(read_audio(path, encoder.sample_rate, expected=key))


def _encode(encoder: Encoder, windows: dict[bytes, np.ndarray]) -> dict[bytes, np.ndarray]:
    if not windows:
        return {}
    vectors = encoder.encode_audio(np.concatenate(list(windows.values())))
    ends = np.cumsum([len(some) for some in windows.values()])
    return dict(zip(windows, np.split(vectors, ends[:-1]), strict=True))


def _checked(
    encoder: Encoder, paths: dict[bytes, str], vectors: dict[bytes, np.ndarray], failed: dict[bytes, str]
) -> Batch:
    """Set aside clips whose vectors are not finite: they cost themselves, not the run."""
    for key in [key for key, some in vectors.items() if not np.isfinite(some).all()]:
        del vectors[key]
        failed[key] = f"{paths[key]}: encoder {encoder.name!r} gave nan or infinite values"
    return vectors, failed
