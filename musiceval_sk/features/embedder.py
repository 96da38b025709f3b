"""The feature stage as a scikit-learn transformer, and what it gives as one file for other tools."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted

from musiceval_sk._files import atomic_write, paths_as_text
from musiceval_sk._optional import import_optional
from musiceval_sk.datasets.clips import check_clips
from musiceval_sk.exceptions import ModelFileError
from musiceval_sk.features.audio import seconds_of
from musiceval_sk.features.digests import FileIndex, Sound, sounds_of
from musiceval_sk.features.encoders import Encoder, get_encoder
from musiceval_sk.features.encoders.base import Modality, changes_of
from musiceval_sk.features.extract import COLUMNS, ExtractionReport, extract, text_key
from musiceval_sk.features.pooling import POOLINGS, check_pooling, is_weighed, pool, provenance
from musiceval_sk.features.store import EmbeddingStore


class ClipEmbedder(TransformerMixin, BaseEstimator):
    """Turn a clips table into embeddings, through the cache.

    Vectors that the cache lacks are computed on `transform` and kept; all others are read. The windows of a clip are
    pooled on reading, so `pooling` can be searched over without touching audio. With ``set_output(transform="pandas")``
    the table says in ``attrs["encoder_fingerprint"]`` whose vectors it holds and how they were pooled, and pandas keeps
    that when rows are chosen: a `MOSRegressor` notes it and refuses vectors of another encoder or pooling. ``attrs["joint_space"]``
    is True where the table holds what a CLAP score is made of.

    Parameters
    ----------
    encoder : str or Encoder, default="spectral"
        See `list_encoders`.
    modality : {"audio", "text", "both"}, default="both"
        Which vectors to return; audio comes first. "both" is all that the encoder takes, of one without a text tower audio.
    pooling : {"mean", "mean+std", "max", "first"}, default="mean"
        How a clip's windows become one vector. A mean counts each by the new sound that it brings: of 12.5 s the second window of
        10 s, which is aligned to the end, counts a quarter.
    cache : str or path-like, default=None
        The store; by default the environment variable ``MUSICEVAL_CACHE``, else ``cache/embeddings.h5``.
    encoder_options : dict, default=None
        For an encoder given by name, its constructor's arguments, such as ``{"checkpoint": "clap.pt"}``.
    n_jobs : int, default=None
        Workers for what is missing, see `extract`.

    Attributes
    ----------
    encoder_ : Encoder
        The encoder in use.
    fingerprint_ : str
        Identity of the encoder at `fit`; `transform` refuses another.
    description_ : dict
        What the fingerprint is a digest of, per modality.
    feature_names_in_ : np.ndarray
        Columns of the clips table at `fit`.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> from musiceval_sk import ClipEmbedder, make_listening_test
    >>> test = make_listening_test(mkdtemp(), n_systems=2, n_prompts=2, n_raters=5, seconds=1.0)
    >>> embedder = ClipEmbedder("spectral", cache=mkdtemp() + "/embeddings.h5").set_output(transform="pandas")
    >>> embedder.fit_transform(test.clips).shape
    (4, 466)
    """

    def __init__(
        self,
        encoder: str | Encoder = "spectral",
        *,
        modality: str = "both",
        pooling: str = "mean",
        cache: Any = None,
        encoder_options: dict[str, Any] | None = None,
        n_jobs: int | None = None,
    ):
        self.encoder = encoder
        self.modality = modality
        self.pooling = pooling
        self.cache = cache
        self.encoder_options = encoder_options
        self.n_jobs = n_jobs

    def __getstate__(self) -> dict[str, Any]:
        return paths_as_text(super().__getstate__())

    def fit(self, clips: pd.DataFrame, y: Any = None) -> "ClipEmbedder":
        """Check the table and settle on the encoder; nothing is learnt and nothing embedded.

        Parameters
        ----------
        clips : pandas.DataFrame
            Clips table.
        y : object, default=None
            Ignored.

        Returns
        -------
        ClipEmbedder
            Itself.

        Raises
        ------
        ValueError
            If `modality`, `pooling` or `encoder` is unknown, or the table lacks a column.
        """
        check_pooling(self.pooling)
        encoder = get_encoder(self.encoder, **(self.encoder_options or {}))
        towers = encoder.towers(self.modality)
        check_clips(clips, columns=[COLUMNS[tower] for tower in towers])
        description = {modality: encoder.describe(modality) for modality in towers}
        # Settled only now: a failed refit leaves the old fit.
        self.encoder_, self.description_ = encoder, description
        self.fingerprint_ = self._fingerprint()
        self.feature_names_in_ = np.asarray(clips.columns, dtype=object)
        self.n_features_in_ = len(self.feature_names_in_)
        return self

    def transform(self, clips: pd.DataFrame) -> Any:
        """Read the vectors of clips, computing those that the cache lacks.

        Parameters
        ----------
        clips : pandas.DataFrame
            Clips table.

        Returns
        -------
        np.ndarray or pandas.DataFrame [shape=(n_clips, n_features)], float32
            One row a clip, see `get_feature_names_out`; a table after ``set_output(transform="pandas")``.

        Raises
        ------
        AudioError
            If clips cannot be read: a transformer may not drop rows, so leave them out before.
        ModelFileError
            If the encoder is not the one of `fit`.
        """
        table, _ = self.embed(clips, strict=True)
        return table if _get_output_config("transform", self)["dense"] == "pandas" else table.to_numpy()

    def embed(
        self,
        clips: pd.DataFrame,
        *,
        strict: bool = False,
        any_encoder: bool = False,
        progress: bool | None = None,
        file_index: FileIndex | None = None,
        store: EmbeddingStore | None = None,
    ) -> tuple[pd.DataFrame, ExtractionReport]:
        """Embed the clips that can be read, and say which are left out.

        Parameters
        ----------
        clips : pandas.DataFrame
            Clips table.
        strict : bool, default=False
            Whether to stop at the first clip that cannot be read, as `transform` does.
        any_encoder : bool, default=False
            Whether to go on with an encoder that is no longer the one of `fit`.
        progress : bool, default=None
            Whether to show progress on stderr, a bar or, without a terminal, a line every 10 s; by default only on a terminal.
        file_index : FileIndex, default=None
            Digests of files, already read by a caller that goes batch by batch, see `extract`.
        store : EmbeddingStore, default=None
            The store of `cache`, already open.

        Returns
        -------
        table : pandas.DataFrame [shape=(n_readable_clips, n_features)], float32
            One row a clip that can be read, see `get_feature_names_out`.
        report : ExtractionReport
            Its ``skipped`` names the others, with the reasons.

        Raises
        ------
        AudioError
            With ``strict``, if a clip cannot be read.
        ModelFileError
            If the encoder is not the one of `fit`, unless any is taken.

        Warns
        -----
        SkippedWarning
            If clips were skipped; with their count.

        Examples
        --------
        >>> from tempfile import mkdtemp
        >>> from musiceval_sk import ClipEmbedder, make_listening_test
        >>> test = make_listening_test(mkdtemp(), n_systems=2, n_prompts=2, n_raters=5, seconds=1.0)
        >>> embedder = ClipEmbedder("spectral", cache=mkdtemp() + "/embeddings.h5").fit(test.clips)
        >>> table, report = embedder.embed(test.clips)
        >>> table.shape, len(report.skipped)
        ((4, 466), 0)
        """
        check_is_fitted(self, "fingerprint_")
        check_clips(clips, columns=self.input_columns())
        if not any_encoder:
            self.check_encoder()
        store = store or EmbeddingStore(self.cache)
        options = {"n_jobs": self.n_jobs, "progress": progress, "strict": strict, "file_index": file_index}
        report = extract(clips, self.encoder_, store, modality=self.modality, **options)  # type: ignore[arg-type]
        clips = clips.drop(index=report.skipped.index)
        vectors = {}
        if "audio" in self.description_:
            keys = report.audio_keys[clips.index]
            vectors["audio"] = self._read(store, "audio", keys, self.pooling, sounds_of(clips))
        if "text" in self.description_:
            vectors["text"] = self._read(store, "text", clips["prompt"].map(text_key), "first")
        columns = self.get_feature_names_out()
        table = pd.DataFrame(np.hstack(list(vectors.values())), index=clips.index, columns=columns)
        table.attrs["encoder_fingerprint"] = self.provenance()
        if len(vectors) == 2 and self.encoder_.joint_space and "mean" in self.pooling:
            table.attrs["joint_space"] = True
        return table, report

    def check_encoder(self) -> None:
        """Raise unless the encoder is still that of `fit`; `transform` does so by itself.

        Raises
        ------
        ModelFileError
            If its fingerprint is another; the message names the fields that differ.
        """
        if self._fingerprint() == self.fingerprint_:
            return
        changes = changes_of(self.description_, self.encoder_, "at fit", "now")
        raise ModelFileError(
            f"this embedder was fitted with encoder {self.fingerprint_}, but {self.encoder_!r} is now "
            f"{self._fingerprint()}: its checkpoint or settings have changed ({changes})"
        )

    def provenance(self) -> str:
        """Say what makes two tables comparable: whose vectors they are, and for sound how windows became one.

        Returns
        -------
        str
            What a table notes in ``attrs["encoder_fingerprint"]``.
        """
        heard = "audio" in self.description_
        return provenance(self.fingerprint_, self.pooling) if heard else self.fingerprint_

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names such as ``audio_0`` or, with "mean+std", ``audio_std_0``.

        Parameters
        ----------
        input_features : object, default=None
            Ignored.

        Returns
        -------
        np.ndarray of str
            One name a column of `transform`.
        """
        check_is_fitted(self, "fingerprint_")
        names: list[str] = []
        for modality in self.encoder_.towers(self.modality):
            dim = self.encoder_.dim(modality)
            statistics = POOLINGS[self.pooling] if modality == "audio" else [""]
            names += [f"{modality}_{statistic}{i}" for statistic in statistics for i in range(dim)]
        return np.asarray(names, dtype=object)

    def input_columns(self) -> list[str]:
        """Name the columns of a clips table that `transform` reads.

        Returns
        -------
        list of str
            ``path``, ``prompt`` or both.
        """
        check_is_fitted(self, "fingerprint_")
        return [COLUMNS[tower] for tower in self.encoder_.towers(self.modality)]

    def _fingerprint(self) -> str:
        return "+".join(map(self.encoder_.fingerprint_of, self.encoder_.towers(self.modality)))

    def _read(
        self,
        store: EmbeddingStore,
        modality: Modality,
        keys: pd.Series,
        pooling: str,
        sounds: Sequence[Sound] = (),
    ) -> np.ndarray:
        if keys.empty:
            return np.empty((0, self.encoder_.dim(modality) * len(POOLINGS[pooling])), dtype=np.float32)
        vectors, offsets = store.read(modality, self.encoder_.fingerprint_of(modality), list(keys))
        counts = np.diff(offsets)
        weights = None
        if is_weighed(pooling) and counts.max() > 1:
            weights = self._weights(keys, sounds, counts)
        return pool(vectors, offsets, pooling, weights)

    def _weights(self, keys: pd.Series, sounds: Sequence[Sound], counts: np.ndarray) -> np.ndarray:
        """Weigh windows by the new sound that they bring, which the store does not know and files' headers do."""
        several = {key: sound for key, sound, count in zip(keys, sounds, counts, strict=True) if count > 1}
        seconds = dict(zip(several, seconds_of(several), strict=True))
        rate = self.encoder_.sample_rate
        lengths = [seconds.get(key, 0.0) * rate for key in keys]
        return np.concatenate([*map(self.encoder_.window_weights, counts, lengths)])


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
    with atomic_write(out) as aside, aside.open("wb") as file:
        if out.suffix == ".npz":
            np.savez(
                file,
                clip_id=np.array([str(clip) for clip in table.index]),  # objects would have to be unpickled
                columns=np.array(list(table.columns), dtype=str),
                X=table.to_numpy(dtype=np.float32),
                encoder=np.array(json.dumps(embedder.description_, ensure_ascii=False)),
                pooling=np.array(embedder.pooling),
            )
        else:
            table.reset_index().to_parquet(file, index=False)
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
    if out.suffix not in (".npz", ".parquet"):
        raise ValueError(f"{out}: cannot write {out.suffix or 'a name without suffix'}; use .npz or .parquet")
    if out.suffix == ".parquet":
        import_optional("pyarrow", extra="parquet", purpose="Writing Parquet")
