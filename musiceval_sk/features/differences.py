"""Why vectors that seem to be there are not found: what tells two encoders of one name apart, field by field."""

from typing import Any

from musiceval_sk._text import counted, listed
from musiceval_sk.features.encoders.base import Encoder, Modality
from musiceval_sk.features.store import EmbeddingStore

_ABSENT = "absent"
_LONG, _SHOWN = 24, 12


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
    others = [
        (_differing(description, current), -items, description)
        for description, kind, items in zip(
            stored["encoder"], stored["modality"], stored["items"], strict=True
        )
        if description.get("name") == encoder.name and kind == modality
    ]
    if not others:
        return ""
    _, count, nearest = min(others, key=lambda other: (len(other[0]), other[1]))
    noun = {"audio": "sound", "text": "prompt"}[modality]
    more = f" (+{len(others) - 1} more encodings of that name)" if len(others) > 1 else ""
    fields = compare_descriptions(nearest, current, "there", "here")
    return f"the store holds {counted(-count, noun)} of {encoder.name} with another {fields}{more}"


def compare_descriptions(before: dict[str, Any], now: dict[str, Any], then_word: str, now_word: str) -> str:
    """Write out the fields in which two descriptions differ.

    Parameters
    ----------
    before, now : dict
        Descriptions, see `Encoder.describe`.
    then_word, now_word : str
        What to call the two, such as "at fit" and "now".

    Returns
    -------
    str
        Such as ``"version: 1 at fit, 2 now; hop_seconds: 10.0 at fit, 5.0 now"``; at most five fields, those that only
        ``before`` has at the end.
    """
    parts = []
    for name in _differing(before, now):
        texts = [str(description.get(name, _ABSENT)) for description in (before, now)]
        short = [text if len(text) <= _LONG else f"{text[:_SHOWN]}…" for text in texts]
        # Digests are shortened, unless they would then look the same.
        then, current = short if len(set(short)) > 1 else texts
        parts.append(f"{name}: {then} {then_word}, {current} {now_word}")
    return listed(parts, separator="; ")


def _differing(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [name for name in {**now, **before} if before.get(name, _ABSENT) != now.get(name, _ABSENT)]
