"""The feature stage: embed what the store does not hold yet.

Clips are keyed by content, the store says which keys it lacks, and those are decoded, embedded and written batch by batch.
"""

import contextlib
import hashlib
import time
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from musiceval_sk import _progress
from musiceval_sk._text import Shown, counted, listed, printable
from musiceval_sk.datasets.clips import check_clips
from musiceval_sk.exceptions import AudioError, SkippedWarning, StoreError
from musiceval_sk.features.digests import FileIndex, sounds_of
from musiceval_sk.features.encoders import Encoder, get_encoder
from musiceval_sk.features.encoders.base import Modality, compare_descriptions, differing
from musiceval_sk.features.pipeline import embed_batches
from musiceval_sk.features.store import EmbeddingStore

# An index in a caller's hands is written when it has grown by a quarter.
_GROWTH = 0.25
# What each tower reads of a clips table.
COLUMNS: dict[Modality, str] = {"audio": "path", "text": "prompt"}


@dataclass(repr=False)
class ExtractionReport(Shown):
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

    def to_frame(self) -> pd.DataFrame:
        """Give what was found as a tidy table.

        Returns
        -------
        pandas.DataFrame
            One row a modality: ``modality``, ``stored`` and ``reused``, numbers of sounds or prompts, and ``encoder``.
        """
        rows = [(name, self.stored[name], self.reused[name], self.encoder) for name in self.stored]
        return pd.DataFrame(rows, columns=["modality", "stored", "reused", "encoder"])

    def _remarks(self) -> list[str]:
        return [
            *self.notes,
            *(f"skipped {clip}: {reason}" for clip, reason in self.skipped["reason"].items()),
        ]

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
        What to embed; "both" is all that the encoder takes.
    n_jobs : int, default=None
        Workers of `joblib.Parallel`, each of which builds the encoder once. None means one, unless a
        `joblib.parallel_config` says otherwise, also with another backend such as "dask".
    batch_size : int, default=None
        Clips that are decoded, embedded and stored together; by default 16 or, with one job, the encoder's own
        batch size if that is larger.
    progress : bool, default=None
        Whether to show progress on stderr, a bar or, without a terminal, a line every 10 s; by default only on a terminal.
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
    wanted = encoder.towers(modality)
    check_clips(clips, columns=[COLUMNS[tower] for tower in wanted], filled=True)
    report = ExtractionReport(encoder.name, str(store.path))
    report.notes += [note for tower in wanted if (note := describe_difference(store, encoder, tower))]
    if "text" in wanted:
        warn_of_blank_prompts(clips["prompt"], stacklevel=3)
        _embed_prompts(clips["prompt"], encoder, store, report)
    if "audio" in wanted:
        index = file_index or FileIndex.beside(store.path, verify=verify)
        sounds = sounds_of(clips)
        report.audio_keys, unreadable = index.keys(sounds)
        index.save(growth=0.0 if file_index is None else _GROWTH)
        _stop_if(strict, unreadable)
        failed, odd = _embed_sounds(sounds, encoder, store, report, n_jobs, batch_size, progress, strict)
        skipped = pd.concat([unreadable, failed])
        report.skipped = clips.loc[skipped.index, ["path"]].assign(reason=skipped)
        if len(odd):
            report.notes.append(f"{counted(len(odd), 'clip is', 'clips are')} heard, but: {listed(odd)}")
            warnings.warn(report.notes[-1], UserWarning, stacklevel=2)
    if any(report.stored.values()) or store.clear_leftovers():
        _tidy(store)
    if len(report.skipped):
        words = f"skipped {len(report.skipped)} of {len(clips)} clips: {listed(report.skipped['reason'])}"
        warnings.warn(words, SkippedWarning, stacklevel=2)
    report.seconds = time.perf_counter() - started
    return report


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


@contextlib.contextmanager
def prompts_for(targets: Iterable[str]) -> Iterator[None]:
    """Leave out the warning of `warn_of_blank_prompts` where nothing but impression is judged.

    Parameters
    ----------
    targets : iterable of str
        What the vectors are for.
    """
    with warnings.catch_warnings():
        if set(targets) == {"impression"}:
            warnings.filterwarnings("ignore", message=".* clips have no prompt", category=UserWarning)
        yield


def describe_difference(store: EmbeddingStore, encoder: Encoder, modality: Modality = "audio") -> str:
    """Say what tells an encoder from those of the same name whose vectors are stored.

    Parameters
    ----------
    store : EmbeddingStore
        Where to look.
    encoder : Encoder
        The encoder in hand.
    modality : {"audio", "text"}, default="audio"
        Which of its towers.

    Returns
    -------
    str
        One sentence about the stored encoder that differs in the fewest fields; empty if vectors of this very
        encoder are stored, or none of its name are.

    Examples
    --------
    >>> import numpy as np
    >>> from tempfile import mkdtemp
    >>> from musiceval_sk import EmbeddingStore, get_encoder
    >>> store, encoder = EmbeddingStore(mkdtemp() + "/embeddings.h5"), get_encoder("spectral")
    >>> former = {**encoder.describe("text"), "version": 0}
    >>> _ = store.append("text", former, [bytes(32)], [np.ones(256)])
    >>> describe_difference(store, encoder, "text")
    'the store holds 1 prompt of spectral with another version: 0 there, 1 here'
    """
    if (modality, encoder.fingerprint_of(modality)) in store.groups():
        return ""
    current, stored = encoder.describe(modality), store.encoders()
    alike = stored[(stored["modality"] == modality) & (stored["encoder"].str["name"] == encoder.name)]
    if alike.empty:
        return ""
    changes = alike["encoder"].map(lambda one: len(differing(one, current)))
    nearest = alike.assign(changes=changes).sort_values(["changes", "items"], ascending=[True, False]).iloc[0]
    noun = {"audio": "sound", "text": "prompt"}[modality]
    more = f" (+{len(alike) - 1} more encodings of that name)" if len(alike) > 1 else ""
    fields = compare_descriptions(nearest["encoder"], current, "there", "here")
    return f"the store holds {counted(nearest['items'], noun)} of {encoder.name} with another {fields}{more}"


def _embed_prompts(
    texts: pd.Series, encoder: Encoder, store: EmbeddingStore, report: ExtractionReport
) -> None:
    prompts = {text_key(prompt): prompt for prompt in texts}
    missing = list(_missing(store, "text", encoder, prompts))
    for begin in range(0, len(missing), encoder.batch_size):
        keys = missing[begin : begin + encoder.batch_size]
        vectors = encoder.encode_text([prompts[key] for key in keys])
        store.append("text", encoder.describe("text"), keys, list(vectors[:, np.newaxis]))
    report.stored["text"], report.reused["text"] = len(missing), len(prompts) - len(missing)


def _missing(store: EmbeddingStore, modality: Modality, encoder: Encoder, items: dict) -> dict:
    """Leave out the keys, of sounds or prompts, whose vectors are stored."""
    there = store.contains(modality, encoder.fingerprint_of(modality), list(items))
    return {key: item for (key, item), known in zip(items.items(), there, strict=True) if not known}


def _embed_sounds(
    sounds: pd.Series,
    encoder: Encoder,
    store: EmbeddingStore,
    report: ExtractionReport,
    n_jobs: int | None,
    batch_size: int | None,
    progress: bool | None,
    strict: bool,
) -> tuple[pd.Series, pd.Series]:
    """Write each batch while the next one is embedded; say by clip why some failed, and what is odd about others."""
    keys = report.audio_keys
    sound_of = dict(zip(keys, sounds[keys.index], strict=True))
    missing = _missing(store, "audio", encoder, sound_of)
    failed: dict[bytes, str] = {}
    remarks: dict[bytes, str] = {}
    shown = _progress.progress(len(missing), encoder.name, "clip", progress if missing else False)
    with shown, ThreadPoolExecutor(1) as writer:
        writing = writer.submit(lambda: "")
        for batch in embed_batches(encoder, missing, n_jobs, batch_size) if missing else ():
            writing.result()
            vectors = {outcome.key: outcome.vectors for outcome in batch if not outcome.error}
            if vectors:
                content = list(vectors), list(vectors.values())
                writing = writer.submit(store.append, "audio", encoder.describe("audio"), *content)
            failed |= {outcome.key: outcome.error for outcome in batch if outcome.error}
            remarks |= {outcome.key: "; ".join(outcome.remarks) for outcome in batch if outcome.remarks}
            _stop_if(strict, (f"{missing[key]}: {reason}" for key, reason in failed.items()))
            shown.update(len(batch))
        writing.result()
    report.stored["audio"] = len(missing) - len(failed)
    report.reused["audio"] = len(sound_of) - len(missing)
    return _by_clip(failed, keys, sounds), _by_clip(remarks, keys, sounds)


def _by_clip(words: dict[bytes, str], keys: pd.Series, sounds: pd.Series) -> pd.Series:
    """Give every clip the words about its key, under the clip's own path."""
    found = keys.map(words).dropna()
    texts = [f"{sounds[clip]}: {word}" for clip, word in found.items()]
    return pd.Series(texts, index=found.index, dtype=object)


def _tidy(store: EmbeddingStore) -> None:
    """Fold the parts in if that is due; a store that cannot be rewritten now is as good as before."""
    try:
        if store.needs_compaction():
            store.compact(timeout=0)
    except StoreError as error:
        warnings.warn(f"{error}; parts stay as they are", UserWarning, stacklevel=3)


def _stop_if(strict: bool, reasons: Iterable[str]) -> None:
    for reason in reasons if strict else ():
        raise AudioError(reason)
