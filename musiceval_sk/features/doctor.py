"""Tell what is missing on this machine before each encoder and the store can be used."""

import importlib.util
import os
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from musiceval_sk._optional import pip_install
from musiceval_sk.exceptions import StoreError
from musiceval_sk.features.encoders import Encoder, get_encoder, list_encoders
from musiceval_sk.features.encoders.base import Modality
from musiceval_sk.features.store import EmbeddingStore
from musiceval_sk.features.store.maintain import store_info

_EXTRAS = {
    "hf-audio": ("hf", ("transformers", "safetensors")),
    "hf-clap": ("hf", ("transformers", "tokenizers", "safetensors")),
    "muq": ("muq", ("muq", "transformers", "einops", "easydict")),
    "laion-clap": ("clap", ("laion_clap", "transformers", "tokenizers")),
}


def check_setup(
    store: EmbeddingStore | None = None,
    *,
    encoder: str | None = None,
    modalities: Sequence[Modality] = ("audio", "text"),
    **options: Any,
) -> pd.DataFrame:
    """Try all that an extraction needs short of building a model, and say how to get what is missing.

    Parameters
    ----------
    store : EmbeddingStore, default=None
        The store to try; by default the one at `default_store_path`.
    encoder : str, default=None
        The encoder that is wanted. By default all that take the ``options``, if there are any.
    modalities : sequence of {"audio", "text"}, default=("audio", "text")
        The towers that are wanted.
    **options
        Passed to the constructors of those encoders that take them, such as ``checkpoint="clap.pt"``.

    Returns
    -------
    pandas.DataFrame
        One row a thing that was tried: ``subject`` (an encoder's name or "store"), ``part``, whether it was ``asked``
        for (the store always is), whether it is ``ok``, and the ``finding``, with the fix if it is not ok.

    Raises
    ------
    ValueError
        If no encoder has this name, or it does not take the options.

    Examples
    --------
    >>> found = check_setup(encoder="spectral")
    >>> found.loc[found["subject"] == "spectral", ["part", "asked", "ok"]].values.tolist()
    [['audio', True, True], ['text', True, True]]
    """
    store = store or EmbeddingStore()
    if encoder is not None:
        get_encoder(encoder, **options)
    found = [("store", "readable", True, *_tried(_store_content, store))]
    found.append(("store", "writable", True, *_tried(_writable_folder, store)))
    for name in list_encoders():
        takes_options, _ = _tried(get_encoder, name, **options)
        is_asked = name == encoder or (encoder is None and bool(options) and takes_options)
        if name in _EXTRAS:
            found.append((name, "packages", is_asked, *_tried(_packages, *_EXTRAS[name])))
        is_made, made = _tried(_with_towers, name, **options if is_asked else {})
        if not is_made:
            found.append((name, "encoder", is_asked, False, made))
            continue
        for tower in made.modalities:
            found.append((name, tower, is_asked and tower in modalities, *_tried(_tower, made, tower)))
    return pd.DataFrame(found, columns=["subject", "part", "asked", "ok", "finding"])


def _tried(look: Callable[..., Any], *what: Any, **options: Any) -> tuple[bool, Any]:
    """Whether there was no error, and what was found or what the error says to do."""
    try:
        return True, look(*what, **options)
    except Exception as error:  # a third party's package may fail in any way
        return False, str(error)


def _with_towers(name: str, **options: Any) -> Encoder:
    """Make an encoder that knows what it encodes, which may be written in its checkpoint."""
    made = get_encoder(name, **options)
    made.towers("both")
    return made


def _packages(extra: str, modules: tuple[str, ...]) -> str:
    missing = [module for module in modules if not _installed(module)]
    if missing:
        raise ImportError(f"not installed: {', '.join(missing)}. Install with: {pip_install(extra)}")
    return f"installed: {', '.join(modules)}"


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # what sys.modules holds under this name is no module
        return False


def _tower(encoder: Encoder, modality: Modality) -> str:
    checkpoint = encoder.describe(modality).get("checkpoint_sha256")
    files = f", checkpoint {checkpoint[:12]}" if checkpoint else ""
    return f"ready{files}, fingerprint {encoder.fingerprint_of(modality)}"


def _store_content(store: EmbeddingStore) -> str:
    info = store_info(store)
    if info.unreadable:
        raise StoreError(" ".join(info.unreadable.values()))
    if info.version is None:
        return f"{store.path}: nothing stored yet"
    items = int(info.encoders["items"].sum())
    return f"{store.path}: format {info.version}, {items:,} items, {info.n_parts} parts"


def _writable_folder(store: EmbeddingStore) -> str:
    for folder in (store.parts_folder.absolute(), store.main.parent.absolute()):
        there = next(one for one in (folder, *folder.parents) if one.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            fix = f"chmod u+wx {there}, or name another place with --cache or MUSICEVAL_CACHE"
            raise StoreError(f"{there}: not a folder that may be written to. Fix: {fix}")
    return f"{store.main.parent.absolute()}: may be written to"
