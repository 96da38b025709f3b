"""Embeddings as one table in one file, for other tools."""

import json
import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._optional import import_optional
from musiceval_sk.features.embedder import ClipEmbedder

_SUFFIXES = (".npz", ".parquet")


def export_embeddings(clips: pd.DataFrame, embedder: ClipEmbedder, out: str | Path) -> pd.DataFrame:
    """Write one row a clip, with its id and the columns of `ClipEmbedder`.

    Parameters
    ----------
    clips : pandas.DataFrame
        Clips table.
    embedder : ClipEmbedder
        Says which encoder, modality, pooling and store; what the store lacks is computed.
    out : str or Path
        File to write. ``.npz`` holds the arrays ``clip_id``, ``columns``, ``X`` [shape=(n_clips, n_columns)] and, as
        JSON, ``encoder`` (the descriptions of its towers) and ``pooling``. ``.parquet`` holds a column ``clip_id`` and
        one for each of the embedder's; it needs the extra ``parquet``.

    Returns
    -------
    pandas.DataFrame [shape=(n_clips, n_columns)]
        What was written, indexed by ``clip_id``.

    Raises
    ------
    ValueError
        If ``out`` has another suffix.
    ImportError
        If the package for Parquet is not installed.
    AudioError
        If clips cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> from tempfile import mkdtemp
    >>> from musiceval_sk import ClipEmbedder, make_listening_test
    >>> folder = mkdtemp()
    >>> test = make_listening_test(folder, n_systems=2, n_prompts=2, n_raters=5, seconds=1.0)
    >>> embedder = ClipEmbedder("spectral", modality="audio", cache=folder + "/embeddings.h5")
    >>> table = export_embeddings(test.clips, embedder, folder + "/embeddings.npz")
    >>> np.load(folder + "/embeddings.npz")["X"].shape
    (4, 210)
    """
    out = Path(out)
    check_suffix(out)
    matrix = embedder.fit(clips).transform(clips)
    columns = embedder.get_feature_names_out()
    table = pd.DataFrame(np.asarray(matrix), index=clips.index.rename("clip_id"), columns=columns)
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f"{out.name}.{uuid.uuid4().hex}.tmp{out.suffix}")
    try:
        if out.suffix == ".npz":
            np.savez(aside, **_arrays(table, embedder))
        else:
            table.reset_index().to_parquet(aside, index=False)
        os.replace(aside, out)
    finally:
        aside.unlink(missing_ok=True)
    return table


def check_suffix(out: Path) -> None:
    """Raise unless a table can be written under this name.

    Parameters
    ----------
    out : Path
        The file to write.

    Raises
    ------
    ValueError
        If its suffix is neither ``.npz`` nor ``.parquet``.
    ImportError
        If it is ``.parquet`` and pyarrow is not installed.
    """
    if out.suffix not in _SUFFIXES:
        raise ValueError(f"{out}: cannot write {out.suffix or 'a name without suffix'}; use .npz or .parquet")
    if out.suffix == ".parquet":
        import_optional("pyarrow", extra="parquet", purpose="Writing Parquet")


def _arrays(table: pd.DataFrame, embedder: ClipEmbedder) -> dict[str, Any]:
    return {
        "clip_id": np.array([str(clip) for clip in table.index]),  # objects would have to be unpickled
        "columns": np.array(list(table.columns), dtype=str),
        "X": table.to_numpy(dtype=np.float32),
        "encoder": np.array(json.dumps(embedder.description_, ensure_ascii=False)),
        "pooling": np.array(embedder.pooling),
    }
