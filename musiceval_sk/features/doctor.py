"""Tell what is missing on this machine before each encoder and the store can be used."""

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from musiceval_sk.exceptions import StoreError
from musiceval_sk.features.encoders import Encoder, get_encoder, list_encoders
from musiceval_sk.features.encoders.base import Modality
from musiceval_sk.features.store import EmbeddingStore
from musiceval_sk.features.store.maintain import store_info

_EXTRAS = {
    "hf-clap": ("hf", ("transformers", "tokenizers", "safetensors")),
    "laion-clap": ("clap", ("laion_clap", "transformers", "tokenizers")),
}
_COLUMNS = ["subject", "part", "ok", "asked", "finding"]


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
        One row a thing that was tried: ``subject`` (an encoder's name or "store"), ``part``, whether it is ``ok``,
        whether it was ``asked`` for (the store always is), and the ``finding``, with the fix if it is not ok.

    Raises
    ------
    ValueError
        If no encoder has this name, or it does not take the options.

    Examples
    --------
    >>> found = check_setup(encoder="spectral")
    >>> found.loc[found["subject"] == "spectral", ["part", "ok", "asked"]].values.tolist()
    [['audio', True, True], ['text', True, True]]
    """
    store = store or EmbeddingStore()
    if encoder is not None:
        get_encoder(encoder, **options)
    rows = _store_rows(store)
    for name in list_encoders():
        if name == encoder or (encoder is None and options and _takes(name, options)):
            rows += _encoder_rows(name, options, tuple(modalities))
        else:
            rows += _encoder_rows(name, {}, ())
    return pd.DataFrame(rows, columns=_COLUMNS)


def _takes(name: str, options: dict[str, Any]) -> bool:
    try:
        get_encoder(name, **options)
    except (ValueError, ImportError):
        return False
    return True


def _encoder_rows(name: str, options: dict[str, Any], wanted: tuple[str, ...]) -> list[tuple]:
    rows = _package_rows(name, asked=bool(wanted))
    try:
        made = get_encoder(name, **options)
    except Exception as error:  # a third party's package may fail in any way when it is imported
        return [*rows, (name, "encoder", False, bool(wanted), str(error))]
    towers: tuple[Modality, ...] = ("audio", "text")
    return [*rows, *((name, tower, *_tower(made, tower, tower in wanted)) for tower in towers)]


def _package_rows(name: str, asked: bool) -> list[tuple]:
    extra, modules = _EXTRAS.get(name, ("", ()))
    missing = [module for module in modules if not _installed(module)]
    if missing:
        fix = f'pip install "musiceval_sk[{extra}]"'
        return [(name, "packages", False, asked, f"not installed: {', '.join(missing)}. Install with: {fix}")]
    return [(name, "packages", True, asked, f"installed: {', '.join(modules)}")] if modules else []


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # what sys.modules holds under this name is no module
        return False


def _tower(encoder: Encoder, modality: Modality, asked: bool) -> tuple[bool, bool, str]:
    try:
        description = encoder.describe(modality)
    except Exception as error:  # as above; ours say in their message what to do
        return False, asked, str(error)
    checkpoint = description.get("checkpoint_sha256")
    files = f", checkpoint {checkpoint[:12]}" if checkpoint else ""
    return True, asked, f"ready{files}, fingerprint {encoder.fingerprint_of(modality)}"


def _store_rows(store: EmbeddingStore) -> list[tuple]:
    return [
        ("store", "readable", *_readable(store)),
        ("store", "writable", *_writable(store)),
    ]


def _readable(store: EmbeddingStore) -> tuple[bool, bool, str]:
    try:
        info = store_info(store)
    except (StoreError, OSError) as error:
        return False, True, f"{store.path}: {error}"
    if info.unreadable:
        reasons = " ".join(info.unreadable.values())
        return False, True, f"{reasons}"
    if info.version is None:
        return True, True, f"{store.path}: nothing stored yet"
    items = int(info.encoders["items"].sum())
    return True, True, f"{store.path}: format {info.version}, {items:,} items, {info.n_parts} parts"


def _writable(store: EmbeddingStore) -> tuple[bool, bool, str]:
    for folder in (store.parts_folder, store.path.parent):
        there = _nearest(folder)
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            fix = f"chmod u+wx {there}, or name another place with --cache or MUSICEVAL_CACHE"
            return False, True, f"{there}: not a folder that may be written to. Fix: {fix}"
    return True, True, f"{store.path.parent.absolute()}: may be written to"


def _nearest(folder: Path) -> Path:
    """Find the folder, or the one in which it would be made."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder
