"""The features that a study plan names: vectors of an encoder, or a table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from musiceval_sk._ids import id_texts
from musiceval_sk._text import listed
from musiceval_sk.datasets.readers import read_table
from musiceval_sk.exceptions import AudioError, ClipsTableError

_OWN = ("encoder", "modality", "pooling")


def read_features(path: str | Path) -> tuple[pd.DataFrame, str]:
    """Read vectors from a table, and say what they are.

    Parameters
    ----------
    path : str or Path
        CSV, TSV or JSON Lines with a column ``clip_id``; all others are numbers.

    Returns
    -------
    (pandas.DataFrame, str)
        Vectors by clip id, and a description.

    Raises
    ------
    ClipsTableError
        If there is no such column, or a cell is no number.
    """
    table = read_table(path)
    if "clip_id" not in table:
        raise ClipsTableError(f"{path}: has no column 'clip_id'; found {listed(table.columns)}")
    cells = table.drop(columns="clip_id").apply(pd.to_numeric, errors="coerce")
    broken = cells.isna().any(axis=1)
    if broken.any():
        raise ClipsTableError(
            f"{path}: lines without a number in every column: {listed(table.index[broken])}"
        )
    return cells.set_axis(pd.Index(id_texts(table["clip_id"]), name="clip_id")).astype(float), f"table {path}"


def embed_features(
    clips: pd.DataFrame, given: Mapping[str, Any], *, cache: Any, n_jobs: int | None
) -> tuple[pd.DataFrame, str]:
    """Embed clips that can be read, and say with what.

    Parameters
    ----------
    clips : pandas.DataFrame
        Clips table.
    given : mapping
        ``encoder``, ``pooling``, ``modality`` and the encoder's options.
    cache : str, Path or None
        Embedding store.
    n_jobs : int or None
        Processes.

    Returns
    -------
    (pandas.DataFrame, str)
        Vectors by clip id, and encoder, fingerprint and pooling in words.

    Raises
    ------
    AudioError
        If no clip can be read.
    """
    from musiceval_sk.features.embedder import ClipEmbedder

    options = {key: value for key, value in given.items() if key not in _OWN}
    embedder = ClipEmbedder(
        given["encoder"],
        modality=given.get("modality", "both"),
        pooling=given.get("pooling", "mean"),
        cache=None if cache is None else str(cache),
        encoder_options={
            key: str(value) if isinstance(value, Path) else value for key, value in options.items()
        }
        or None,
        n_jobs=n_jobs,
    )
    table, _ = embedder.fit(clips).embed(clips)
    if table.empty:
        raise AudioError("none of the clips could be read")
    words = ", ".join(
        f"{modality} {description['name']} ({embedder.encoder_.fingerprint_of(modality)})"
        for modality, description in embedder.description_.items()
    )
    return table, f"{words}; pooling {embedder.pooling}"
