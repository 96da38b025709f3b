"""The feature stage: embed what the store does not hold yet."""

import hashlib
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.exceptions import AudioError, SkippedWarning
from musiceval_sk.features.audio import content_key, cut_windows, read_audio
from musiceval_sk.features.encoders import Encoder, get_encoder
from musiceval_sk.features.encoders.base import MODALITIES, Modality
from musiceval_sk.features.store import EmbeddingStore

_RESIDENT: dict[str, Encoder] = {}


@dataclass(frozen=True)
class ExtractionReport:
    """What `extract` did.

    Attributes
    ----------
    encoder : str
        Name of the encoder.
    store : str
        Path of the store.
    stored, reused : dict of str to int
        Per modality, how many sounds or prompts were embedded now and how many were there already.
    skipped : pandas.DataFrame
        One row a clip left out, indexed by ``clip_id``, with ``path`` and ``reason``.
    seconds : float
        Wall time.
    """

    encoder: str
    store: str
    stored: dict[str, int] = field(default_factory=dict)
    reused: dict[str, int] = field(default_factory=dict)
    skipped: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["path", "reason"]))
    seconds: float = 0.0

    def __str__(self) -> str:
        lines = [f"{self.encoder} -> {self.store} in {self.seconds:.1f} s"]
        for modality in self.stored:
            lines.append(f"  {modality}: {self.stored[modality]} stored, {self.reused[modality]} reused")
        lines.append(f"  skipped: {len(self.skipped)}")
        lines += [f"    {clip}: {reason}" for clip, reason in self.skipped["reason"].items()]
        return "\n".join(lines)


def extract(
    clips: pd.DataFrame,
    encoder: str | Encoder = "spectral",
    store: EmbeddingStore | str | None = None,
    *,
    modality: Literal["audio", "text", "both"] = "both",
    n_jobs: int | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
    strict: bool = False,
) -> ExtractionReport:
    """Embed the clips and prompts that the store does not hold yet.

    Sounds are found by the digest of their bytes and prompts by that of their text, under the encoder's fingerprint:
    a renamed file costs nothing, a changed one is never mistaken for its former self. If nothing is missing, no sound
    is decoded and no model is built. Each batch is on disk before the next begins.

    Parameters
    ----------
    clips : pandas.DataFrame
        Clips table with ``path`` (for audio) and ``prompt`` (for text).
    encoder : str or Encoder, default="spectral"
        See `get_encoder`.
    store : EmbeddingStore or str, default=None
        Where to keep the vectors; by default `default_store_path`.
    modality : {"audio", "text", "both"}, default="both"
        What to embed.
    n_jobs : int, default=None
        Workers of `joblib.Parallel`, each of which builds the encoder once. None means one, unless a
        `joblib.parallel_config` says otherwise, also with another backend such as "dask".
    batch_size : int, default=None
        Clips that are decoded, embedded and stored together; by default the encoder's own batch size.
    progress : bool, default=None
        Whether to show a bar on stderr; by default only on a terminal.
    strict : bool, default=False
        Whether to stop at the first clip that cannot be read instead of skipping it.

    Returns
    -------
    ExtractionReport
        Counts of stored, reused and skipped, with the reasons.

    Raises
    ------
    AudioError
        With ``strict``, if a clip cannot be read.

    Warns
    -----
    SkippedWarning
        If clips were skipped; with their count.
    """
    started = time.perf_counter()
    encoder = get_encoder(encoder)
    store = store if isinstance(store, EmbeddingStore) else EmbeddingStore(store)
    stored, reused, skipped = {}, {}, pd.Series(dtype=object)
    wanted = MODALITIES if modality == "both" else (modality,)
    if "text" in wanted:
        prompts = {text_key(prompt): prompt for prompt in clips["prompt"]}
        missing = _missing(store, "text", encoder, list(prompts))
        for begin in range(0, len(missing), encoder.batch_size):
            keys = missing[begin : begin + encoder.batch_size]
            vectors = encoder.encode_text([prompts[key] for key in keys])
            store.append("text", encoder.describe("text"), keys, list(vectors[:, np.newaxis]))
        stored["text"], reused["text"] = len(missing), len(prompts) - len(missing)
    if "audio" in wanted:
        keys_of_clips, skipped = audio_keys(clips["path"])
        _stop_if(strict, skipped)
        path_of = dict(zip(keys_of_clips, clips.loc[keys_of_clips.index, "path"], strict=True))
        missing = _missing(store, "audio", encoder, list(path_of))
        failed = _embed_missing(
            encoder, store, {key: path_of[key] for key in missing}, n_jobs, batch_size, progress, strict
        )
        skipped = pd.concat([skipped, keys_of_clips.map(failed).dropna()])
        stored["audio"], reused["audio"] = len(missing) - len(failed), len(path_of) - len(missing)
    if store.needs_compaction():
        store.compact(timeout=0)
    if len(skipped):
        warnings.warn(
            f"skipped {len(skipped)} of {len(clips)} clips: {listed(skipped)}", SkippedWarning, stacklevel=2
        )
    reasons = clips.reindex(columns=["path"]).loc[skipped.index].assign(reason=skipped)
    return ExtractionReport(
        encoder.name, str(store.path), stored, reused, reasons, time.perf_counter() - started
    )


def text_key(prompt: str) -> bytes:
    """Digest of a prompt's UTF-8 text, under which its vector is stored.

    Parameters
    ----------
    prompt : str
        The text as it is; nothing is trimmed or folded.

    Returns
    -------
    bytes
        SHA-256, 32 bytes.
    """
    return hashlib.sha256(prompt.encode()).digest()


def audio_keys(paths: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Digest every file, and set aside those that cannot be opened.

    Parameters
    ----------
    paths : pandas.Series
        Paths by clip id.

    Returns
    -------
    keys : pandas.Series
        Digests by clip id, in the same order, without the unreadable.
    unreadable : pandas.Series
        Reasons by clip id.
    """
    keys, unreadable = {}, {}
    for clip, path in paths.items():
        try:
            keys[clip] = content_key(path)
        except AudioError as error:
            unreadable[clip] = str(error)
    return pd.Series(keys, dtype=object), pd.Series(unreadable, dtype=object)


def _missing(store: EmbeddingStore, modality: Modality, encoder: Encoder, keys: list[bytes]) -> list[bytes]:
    there = store.contains(modality, encoder.fingerprint_of(modality), keys)
    return [key for key, known in zip(keys, there, strict=True) if not known]


def _embed_missing(
    encoder: Encoder,
    store: EmbeddingStore,
    paths: dict[bytes, str],
    n_jobs: int | None,
    batch_size: int | None,
    progress: bool | None,
    strict: bool,
) -> dict[bytes, str]:
    """Embed sounds batch by batch into the store; return the reasons of those that failed."""
    from joblib import Parallel, delayed, effective_n_jobs
    from tqdm import tqdm

    failed: dict[bytes, str] = {}
    if not paths:
        return failed
    size = batch_size or encoder.batch_size
    embed = _embed_batch if effective_n_jobs(n_jobs) == 1 else _embed_batch_in_worker
    tasks = (delayed(embed)(encoder, batch) for batch in _batches(list(paths.items()), size))
    description = encoder.describe("audio")
    with tqdm(
        total=len(paths), desc=encoder.name, unit="clip", disable=None if progress is None else not progress
    ) as bar:
        for vectors, reasons in Parallel(n_jobs=n_jobs, return_as="generator_unordered")(tasks):
            if vectors:
                store.append("audio", description, list(vectors), list(vectors.values()))
            failed |= reasons
            _stop_if(strict, pd.Series(reasons, dtype=object))
            bar.update(len(vectors) + len(reasons))
    return failed


def _batches(items: Sequence[tuple[bytes, str]], size: int) -> Iterator[dict[bytes, str]]:
    for begin in range(0, len(items), size):
        yield dict(items[begin : begin + size])


def _embed_batch(
    encoder: Encoder, paths: dict[bytes, str]
) -> tuple[dict[bytes, np.ndarray], dict[bytes, str]]:
    """Decode and embed some clips; a clip that cannot be read costs only itself."""
    vectors: dict[bytes, np.ndarray] = {}
    failed: dict[bytes, str] = {}
    waiting: dict[bytes, np.ndarray] = {}
    for key, path in paths.items():
        try:
            samples = read_audio(path, encoder.sample_rate)
            waiting[key] = cut_windows(samples, encoder.window_length, encoder.hop_length)
        except AudioError as error:
            failed[key] = str(error)
        if sum(map(len, waiting.values())) >= encoder.batch_size:  # long clips must not pile up in memory
            vectors |= _encode(encoder, waiting)
            waiting = {}
    vectors |= _encode(encoder, waiting)
    for key in [key for key, some in vectors.items() if not np.isfinite(some).all()]:
        del vectors[key]
        failed[key] = f"{paths[key]}: encoder {encoder.name!r} gave nan or infinite values"
    return vectors, failed


def _encode(encoder: Encoder, windows: dict[bytes, np.ndarray]) -> dict[bytes, np.ndarray]:
    if not windows:
        return {}
    vectors = encoder.encode_audio(np.concatenate(list(windows.values())))
    ends = np.cumsum([len(some) for some in windows.values()])
    return dict(zip(windows, np.split(vectors, ends[:-1]), strict=True))


def _embed_batch_in_worker(
    encoder: Encoder, *arguments: Any
) -> tuple[dict[bytes, np.ndarray], dict[bytes, str]]:
    """Like `_embed_batch`, with the encoder that this process has already built, if it has."""
    fingerprint = encoder.fingerprint_of("audio")
    if fingerprint not in _RESIDENT:
        _RESIDENT.clear()
        _RESIDENT[fingerprint] = encoder
    return _embed_batch(_RESIDENT[fingerprint], *arguments)


def _stop_if(strict: bool, reasons: Iterable[str]) -> None:
    if strict:
        for reason in reasons:
            raise AudioError(reason)
