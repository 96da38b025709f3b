"""Why vectors that seem to be there are not found: what tells two encoders of one name apart, field by field."""

from typing import Any

from musiceval_sk._text import listed
from musiceval_sk.features.encoders.base import Encoder, Modality
from musiceval_sk.features.store import EmbeddingStore

_ABSENT = object()
_LONG = 24
_SHOWN = 12


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
    stored = store.encoders()
    named = [description.get("name") == encoder.name for description in stored["encoder"]]
    others = stored[
        [match and kind == modality for match, kind in zip(named, stored["modality"], strict=True)]
    ]
    if others.empty:
        return ""
    current = encoder.describe(modality)
    ranked = sorted(
        zip(others["encoder"], others["items"], strict=True),
        key=lambda pair: (len(differing_fields(pair[0], current)), -pair[1]),
    )
    nearest, count = ranked[0]
    noun = {"audio": "sound", "text": "prompt"}[modality] + ("s" if count > 1 else "")
    more = f" (+{len(ranked) - 1} more encodings of that name)" if len(ranked) > 1 else ""
    fields = compare_descriptions(nearest, current, "there", "here")
    return f"the store holds {count} {noun} of {encoder.name} with another {fields}{more}"


def differing_fields(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Name the fields in which two descriptions differ.

    Parameters
    ----------
    before, now : dict
        Descriptions, see `Encoder.describe`.

    Returns
    -------
    list of str
        In the order in which they are described, those that only ``before`` has at the end.
    """
    return [name for name in {**now, **before} if before.get(name, _ABSENT) != now.get(name, _ABSENT)]


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
        Such as ``"version: 1 at fit, 2 now; hop_seconds: 10.0 at fit, 5.0 now"``; at most five fields.
    """
    parts = []
    for name in differing_fields(before, now):
        then_value, now_value = _shown(before.get(name, _ABSENT), now.get(name, _ABSENT))
        parts.append(f"{name}: {then_value} {then_word}, {now_value} {now_word}")
    return listed(parts, separator="; ")


def _shown(*values: Any) -> list[str]:
    """Shorten digests, unless they would then look the same."""
    texts = ["absent" if value is _ABSENT else str(value) for value in values]
    short = [text if len(text) <= _LONG else f"{text[:_SHOWN]}…" for text in texts]
    return short if len(set(short)) == len(short) else texts
