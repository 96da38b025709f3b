"""The feature stage: embed what the store does not hold yet."""

import hashlib
import time
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from musiceval_sk._text import counted, listed, printable
from musiceval_sk.datasets.clips import check_clips
from musiceval_sk.exceptions import AudioError, SkippedWarning, StoreError
from musiceval_sk.features.audio import Sound, sounds_of
from musiceval_sk.features.differences import describe_difference
from musiceval_sk.features.encoders import Encoder, get_encoder
from musiceval_sk.features.encoders.base import MODALITIES, Modality
from musiceval_sk.features.file_index import FileIndex
from musiceval_sk.features.pipeline import embed_batches
from musiceval_sk.features.store import EmbeddingStore

# An index in a caller's hands is written when it has grown by a quarter.
_GROWTH = 0.25
_COLUMNS: dict[Modality, str] = {"audio": "path", "text": "prompt"}


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
    notes : list of str
        What else is worth knowing: that vectors of another checkpoint or version of this encoder are stored, or that sounds
        embedded now are odd.
    audio_keys : pandas.Series
        Key of each readable clip's sound, by clip id.
    """

    encoder: str
    store: str
    stored: dict[str, int] = field(default_factory=dict)
    reused: dict[str, int] = field(default_factory=dict)
    skipped: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["path", "reason"]))
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    audio_keys: pd.Series = field(default_factory=lambda: pd.Series(dtype=object), repr=False)

    def __str__(self) -> str:
        lines = [f"{self.encoder} -> {self.store} in {self.seconds:.1f} s"]
        for modality in self.stored:
            lines.append(f"  {modality}: {self.stored[modality]} stored, {self.reused[modality]} reused")
        lines += [f"  note: {note}" for note in self.notes]
        lines.append(f"  skipped: {len(self.skipped)}")
        lines += [f"    {clip}: {reason}" for clip, reason in self.skipped["reason"].items()]
        return printable("\n".join(lines))


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
    verify: bool = False,
    file_index: FileIndex | None = None,
) -> ExtractionReport:
    """Embed the clips and prompts that the store does not hold yet.

    Sounds are found by the digest of their bytes (and of ``start_time`` and ``end_time``, where clips are parts of files) and
    prompts by that of their text, under the encoder's fingerprint: a renamed file costs nothing, a changed one is never
    mistaken for its former self. If nothing is missing, no sound
    is decoded and no model is built. Each batch is written while the next is embedded and the one after that is decoded,
    so a killed run loses at most those batches.

    Parameters
    ----------
    clips : pandas.DataFrame
        Clips table with ``path`` (for audio) and ``prompt`` (for text), see `load_clips`.
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
        Clips that are decoded, embedded and stored together; by default 16 or, with one job, the encoder's own
        batch size if that is larger.
    progress : bool, default=None
        Whether to show a bar on stderr; by default only on a terminal.
    strict : bool, default=False
        Whether to stop at the first clip that cannot be read instead of skipping it.
    verify : bool, default=False
        Whether to hash every sound again. By default a file whose size and modification time are those of an earlier
        run is taken to be unchanged (the index ``<store>.files.npy`` remembers; it may be deleted).
    file_index : FileIndex, default=None
        That index, already read by a caller that goes batch by batch and saves it in the end; `verify` is then its own. By
        default it is read, and written, by this call.

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
    UserWarning
        If clips embedded now are odd: their channels cancel each other, or a few frames of an MP3 are missing.
    """
    started = time.perf_counter()
    encoder = get_encoder(encoder)
    store = store if isinstance(store, EmbeddingStore) else EmbeddingStore(store)
    stored, reused = {}, {}
    skipped = keys_of_clips = pd.Series(dtype=object)
    wanted = MODALITIES if modality == "both" else (modality,)
    notes = [note for tower in wanted if (note := describe_difference(store, encoder, tower))]
    check_clips(clips, columns=[_COLUMNS[tower] for tower in wanted], filled=True)
    if "text" in wanted:
        warn_of_blank_prompts(clips["prompt"], stacklevel=3)
        prompts = {text_key(prompt): prompt for prompt in clips["prompt"]}
        missing = _missing(store, "text", encoder, list(prompts))
        for begin in range(0, len(missing), encoder.batch_size):
            keys = missing[begin : begin + encoder.batch_size]
            vectors = encoder.encode_text([prompts[key] for key in keys])
            store.append("text", encoder.describe("text"), keys, list(vectors[:, np.newaxis]))
        stored["text"], reused["text"] = len(missing), len(prompts) - len(missing)
    if "audio" in wanted:
        index = file_index or open_file_index(store, verify=verify)
        sounds = sounds_of(clips)
        keys_of_clips, skipped = audio_keys(sounds, index)
        index.save(growth=0.0 if file_index is None else _GROWTH)
        _stop_if(strict, skipped)
        sound_of = dict(zip(keys_of_clips, sounds[keys_of_clips.index], strict=True))
        missing = _missing(store, "audio", encoder, list(sound_of))
        failed, remarks = _embed_missing(
            encoder, store, {key: sound_of[key] for key in missing}, n_jobs, batch_size, progress, strict
        )
        skipped = pd.concat([skipped, _named(keys_of_clips, failed, sounds)])
        odd = _named(keys_of_clips, {key: "; ".join(some) for key, some in remarks.items()}, sounds)
        if len(odd):
            notes.append(f"{counted(len(odd), 'clip is', 'clips are')} heard, but: {listed(odd)}")
            warnings.warn(notes[-1], UserWarning, stacklevel=2)
        stored["audio"], reused["audio"] = len(missing) - len(failed), len(sound_of) - len(missing)
    if any(stored.values()):
        _tidy(store)
    if len(skipped):
        warnings.warn(
            f"skipped {len(skipped)} of {len(clips)} clips: {listed(skipped)}",
            SkippedWarning,
            stacklevel=2,
        )
    reasons = clips.reindex(columns=["path"]).loc[skipped.index].assign(reason=skipped)
    seconds = time.perf_counter() - started
    return ExtractionReport(
        encoder.name, str(store.path), stored, reused, reasons, seconds, notes, keys_of_clips
    )


def open_file_index(store: EmbeddingStore, *, verify: bool = False) -> FileIndex:
    """Read the digests of sound files that are kept beside a store.

    Parameters
    ----------
    store : EmbeddingStore
        The store.
    verify : bool, default=False
        Whether to hash every file again, whatever the index says.

    Returns
    -------
    FileIndex
        Empty where there was none.
    """
    return FileIndex(f"{store.path}.files.npy", verify=verify)


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


def warn_of_blank_prompts(prompts: pd.Series, *, stacklevel: int = 2) -> None:
    """Say how many clips have no prompt, and what that means.

    Parameters
    ----------
    prompts : pandas.Series
        Texts.
    stacklevel : int, default=2
        As in `warnings.warn`, counted from here.

    Warns
    -----
    UserWarning
        If there are any.
    """
    blank = int((prompts.str.strip() == "").sum())
    if blank:
        warnings.warn(
            f"{blank} of {len(prompts)} clips have no prompt: their text vector is that of an empty text, and a score of "
            "alignment made from it means nothing",
            UserWarning,
            stacklevel=stacklevel,
        )


def audio_keys(sounds: pd.Series, index: FileIndex) -> tuple[pd.Series, pd.Series]:
    """Digest every sound, and set aside those whose files cannot be opened.

    Parameters
    ----------
    sounds : pandas.Series of Sound
        By clip id, see `sounds_of`.
    index : FileIndex
        Digests of earlier runs.

    Returns
    -------
    keys : pandas.Series
        Keys by clip id, in the same order, without the unreadable.
    unreadable : pandas.Series
        Reasons by clip id.
    """
    paths = dict.fromkeys(sound.path for sound in sounds)
    digests = dict(zip(paths, index.digests(paths), strict=True))
    found = [
        digest if isinstance(digest := digests[sound.path], AudioError) else sound.key(digest)
        for sound in sounds
    ]
    keys = pd.Series(found, index=sounds.index, dtype=object)
    unreadable = keys.map(lambda key: isinstance(key, AudioError)).astype(bool)
    return keys[~unreadable], keys[unreadable].map(str)


def _missing(store: EmbeddingStore, modality: Modality, encoder: Encoder, keys: list[bytes]) -> list[bytes]:
    there = store.contains(modality, encoder.fingerprint_of(modality), keys)
    return [key for key, known in zip(keys, there, strict=True) if not known]


def _embed_missing(
    encoder: Encoder,
    store: EmbeddingStore,
    sounds: dict[bytes, Sound],
    n_jobs: int | None,
    batch_size: int | None,
    progress: bool | None,
    strict: bool,
) -> tuple[dict[bytes, str], dict[bytes, list[str]]]:
    """Embed sounds batch by batch into the store; return the reasons of those that failed, and remarks."""
    from tqdm import tqdm

    failed: dict[bytes, str] = {}
    remarks: dict[bytes, list[str]] = {}
    if not sounds:
        return failed, remarks
    description = encoder.describe("audio")
    hidden = None if progress is None else not progress
    bar = tqdm(total=len(sounds), desc=encoder.name, unit="clip", disable=hidden)
    with bar, ThreadPoolExecutor(1) as writer:
        writing = writer.submit(lambda: "")
        for batch in embed_batches(encoder, sounds, n_jobs, batch_size):
            writing.result()
            if batch.vectors:
                writing = writer.submit(
                    store.append, "audio", description, list(batch.vectors), list(batch.vectors.values())
                )
            failed |= batch.failed
            remarks |= batch.remarks
            _stop_if(strict, (f"{sounds[key]}: {reason}" for key, reason in batch.failed.items()))
            bar.update(len(batch))
        writing.result()
    return failed, remarks


def _named(keys: pd.Series, words: dict[bytes, str], sounds: pd.Series) -> pd.Series:
    """Give every clip the words about its key, under the clip's own path."""
    found = keys.map(words).dropna()
    return pd.Series(
        [f"{sounds[clip]}: {word}" for clip, word in found.items()], index=found.index, dtype=object
    )


def _tidy(store: EmbeddingStore) -> None:
    """Fold the parts in if that is due; a store that cannot be rewritten now is as good as before."""
    try:
        if store.needs_compaction():
            store.compact(timeout=0)
    except StoreError as error:
        warnings.warn(f"{error}; parts stay as they are", UserWarning, stacklevel=3)


def _stop_if(strict: bool, reasons: Iterable[str]) -> None:
    if strict:
        for reason in reasons:
            raise AudioError(reason)
