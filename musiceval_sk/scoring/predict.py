"""Scoring someone's new clips with a fitted model, batch by batch: sounds in, scores and their limits out."""

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from musiceval_sk import _progress
from musiceval_sk._ids import warn_of_skipped
from musiceval_sk._text import listed
from musiceval_sk.datasets.clips import check_clips
from musiceval_sk.estimators.domain import TrainingDomain
from musiceval_sk.estimators.lookup import CosineRegressor
from musiceval_sk.estimators.persistence import load_content
from musiceval_sk.estimators.preparation import check_fingerprint
from musiceval_sk.estimators.regressor import MOSRegressor
from musiceval_sk.exceptions import AudioError, ModelFileError, SkippedWarning
from musiceval_sk.features.digests import FileIndex
from musiceval_sk.features.embedder import ClipEmbedder
from musiceval_sk.features.encoders import Encoder
from musiceval_sk.features.extract import warn_of_blank_prompts
from musiceval_sk.features.store import EmbeddingStore
from musiceval_sk.scoring.regressors import RecalibratedRegressor
from musiceval_sk.scoring.result import ClipPredictions, summarise
from musiceval_sk.statistics.align import require_whole


def predict_clips(
    model: Any,
    clips: pd.DataFrame,
    *,
    cache: str | Path | None = None,
    encoder: Encoder | None = None,
    batch_size: int = 512,
    n_jobs: int | None = None,
    progress: bool | None = None,
    assessment: dict[str, Any] | None = None,
    on_batch: Callable[[pd.DataFrame], object] | None = None,
    allow_other_encoder: bool = False,
) -> ClipPredictions:
    """Predict what raters would say of clips and of the systems that made them, and say how far to trust it.

    Parameters
    ----------
    model : str, Path, dict or Pipeline
        A file of ``musiceval fit``, what `load_content` read of one, or a fitted pipeline from `ClipEmbedder` to a regressor. With `TrainingDomain` among
        its steps, clips unlike those of training are pointed out.
    clips : pandas.DataFrame
        Clips table with ``path`` and, for a model that reads prompts, ``prompt``; ``system`` where clips are of several.
    cache : str or Path, default=None
        Embedding store; by default `default_store_path`. Only vectors that it lacks are computed.
    encoder : Encoder, default=None
        The model's own encoder, made for this machine, such as with the path of a checkpoint.
    batch_size : int, default=512
        Clips that are embedded, predicted and handed on together.
    n_jobs : int, default=None
        Workers for embedding, see `extract`.
    progress : bool, default=None
        Whether to show progress on stderr, a bar or, without a terminal, a line every 10 s; by default only on a terminal.
    assessment : dict, default=None
        The model's error on new systems, from `assess_error`. A file of ``musiceval fit`` holds its own.
    on_batch : callable, default=None
        Called with each batch's table as soon as it is there, such as to write it down.
    allow_other_encoder : bool, default=False
        Whether an encoder that is not the one of training is warned of rather than refused.

    Returns
    -------
    ClipPredictions
        Tables per clip and per system, and in words what they mean.

    Raises
    ------
    AudioError
        If none of the clips can be read.
    ClipsTableError
        If the table lacks a column.
    ModelFileError
        If the model does not begin with a `ClipEmbedder`, or the encoder is not the one it was trained with.
    ValueError
        If another encoder is allowed, but its vectors are of another length.

    Warns
    -----
    UserWarning
        If clips lie far from training's, predictions are nearly one value, or leave the range of training's scores or the
        raters' scale (that of the assessment, else that of a `MOSRegressor`), prompts are missing, or another
        encoder is allowed and there.
    SkippedWarning
        If clips could not be read; with their count.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> from sklearn.linear_model import Ridge
    >>> from musiceval_sk import ClipEmbedder, make_listening_test
    >>> from musiceval_sk.estimators.lookup import scaled
    >>> test = make_listening_test(mkdtemp(), n_systems=2, n_prompts=10, n_raters=5, seconds=1.0)
    >>> cache = mkdtemp() + "/embeddings.h5"
    >>> embedder = ClipEmbedder(modality="audio", cache=cache).set_output(transform="pandas")
    >>> scores = test.ratings.groupby("clip_id")["impression"].mean()
    >>> model = scaled(embedder, Ridge(alpha=100.0)).fit(test.clips, scores.loc[test.clips.index])
    >>> predictions = predict_clips(model, test.clips, cache=cache)
    >>> predictions.systems["clips"].sort_index().to_dict()
    {'S01': 10, 'S02': 10}
    """
    scorer = ClipScorer(model, cache, encoder, n_jobs, assessment, allow_other_encoder)
    tables = []
    for table in scorer.stream(clips, batch_size, progress):
        tables.append(table)
        if on_batch is not None:
            on_batch(table)
    known = ("domain", "assessment", "ranges", "scale", "members", "skipped", "alarms")
    about: dict[str, Any] = {name: getattr(scorer, name) for name in known}
    result = summarise(pd.concat(tables), scorer.targets, **about)
    for warning in result.warnings:
        warnings.warn(warning, UserWarning, stacklevel=2)
    return result


def iter_predictions(
    model: Any,
    clips: pd.DataFrame,
    *,
    cache: str | Path | None = None,
    encoder: Encoder | None = None,
    batch_size: int = 512,
    n_jobs: int | None = None,
    progress: bool | None = None,
    allow_other_encoder: bool = False,
) -> Iterator[pd.DataFrame]:
    """Predict batch by batch, keeping nothing.

    Parameters
    ----------
    model : str, Path, dict or Pipeline
        As in `predict_clips`.
    clips : pandas.DataFrame
        Clips table.
    cache : str or Path, default=None
        Embedding store.
    encoder : Encoder, default=None
        The model's own encoder, made for this machine.
    batch_size : int, default=512
        Clips that are embedded, predicted and yielded together.
    n_jobs : int, default=None
        Workers for embedding.
    progress : bool, default=None
        Whether to show progress on stderr, a bar or, without a terminal, a line every 10 s; by default only on a terminal.
    allow_other_encoder : bool, default=False
        Whether an encoder that is not the one of training is warned of rather than refused.

    Yields
    ------
    pandas.DataFrame
        Columns as in `ClipPredictions.clips`, for the readable ones of the next ``batch_size`` clips.

    Raises
    ------
    AudioError
        At the end, if none of the clips could be read.
    ModelFileError
        As `predict_clips` raises it.

    Warns
    -----
    SkippedWarning
        At the end, if clips could not be read; with their count.
    UserWarning
        At the end, if another encoder is allowed and there.
    """
    scorer = ClipScorer(model, cache, encoder, n_jobs, None, allow_other_encoder)
    yield from scorer.stream(clips, batch_size, progress)
    for alarm in scorer.alarms:
        warnings.warn(alarm, UserWarning, stacklevel=2)


class ClipScorer:
    """A model made ready for this machine; counts what it had to skip."""

    def __init__(
        self, model: Any, cache: Any, encoder: Any, n_jobs: int | None, assessment: Any, allow_other: bool
    ):
        about: dict[str, Any] = {}
        if isinstance(model, str | Path):
            model = load_content(model)
        if isinstance(model, dict):
            model, about = model["model"], model["about"]
        if not isinstance(model, Pipeline) or not isinstance(model[0], ClipEmbedder):
            words = f"a model for clips begins with ClipEmbedder, got {type(model).__name__}"
            raise ModelFileError(f"{words}; a regressor alone predicts from embeddings: call its predict")
        self.pipeline, self.about = model, about
        steps = [step for _, step in model.steps if step not in (None, "passthrough")]
        embedder, *self._between, self._regressor = steps
        # A copy: the caller's model keeps its own cache and encoder.
        self._embedder = copy.copy(embedder).set_output(transform="pandas")
        self._embedder.set_params(cache=None if cache is None else str(cache), n_jobs=n_jobs)
        if encoder is not None:
            self._embedder.encoder_ = encoder
        self._allow_other_encoder = allow_other
        self.alarms: list[str] = []
        with self._other_encoder():
            self._embedder.check_encoder()
        self.domain = next((step for step in self._between if isinstance(step, TrainingDomain)), None)
        self.assessment = assessment or about.get("assessment")
        self.members = _members_of(self._regressor)
        self.ranges = getattr(self._regressor, "target_range_", None)
        self.scale = (self.assessment or {}).get("scale") or getattr(self._regressor, "scale", None)
        self.targets = _target_names(self._regressor, about, self.assessment)
        self.skipped = pd.DataFrame(columns=["path", "reason"])
        # Both for all batches: reading them anew for each would take the longer the more there is.
        self._store = EmbeddingStore(self._embedder.cache)
        self._index = FileIndex.beside(self._store.path)

    def stream(self, clips: pd.DataFrame, batch_size: int, progress: bool | None) -> Iterator[pd.DataFrame]:
        """Yield what `iter_predictions` does."""
        require_whole(batch_size=batch_size)
        columns = self._embedder.input_columns()
        check_clips(clips, columns=columns, filled=True)
        if "prompt" in columns:
            warn_of_blank_prompts(clips["prompt"], stacklevel=4)
        with _progress.progress(len(clips), "predict", "clip", progress) as shown:
            try:
                for begin in range(0, len(clips), batch_size):
                    batch = clips.iloc[begin : begin + batch_size]
                    table = self._predict(batch, progress)
                    shown.update(len(batch))
                    if len(table):
                        yield table
            finally:
                self._index.save()
        reasons = self.skipped["reason"]
        if len(reasons) == len(clips):
            raise AudioError(f"none of the clips could be read: {listed(reasons)}")
        if len(reasons):
            warn_of_skipped(f"skipped {len(reasons)} of {len(clips)} clips", reasons, stacklevel=3)

    @contextmanager
    def _other_encoder(self) -> Iterator[None]:
        """Let an encoder that is not the one of training pass where that is allowed, and keep the words for it."""
        try:
            yield
        except ModelFileError as error:
            if not self._allow_other_encoder:
                raise
            alarm = f"another encoder than in training: {error}; distances and scores compare vectors that differ in kind"
            self.alarms = list(dict.fromkeys([*self.alarms, alarm]))

    def _predict(self, clips: pd.DataFrame, progress: bool | None) -> pd.DataFrame:
        """Embed and predict those of a batch that can be read."""
        how: dict[str, Any] = {"any_encoder": self._allow_other_encoder, "progress": progress}
        with warnings.catch_warnings():
            # Said once for all batches.
            warnings.simplefilter("ignore", SkippedWarning)
            warnings.filterwarnings("ignore", message=".* clips have no prompt", category=UserWarning)
            X, report = self._embedder.embed(clips, store=self._store, file_index=self._index, **how)
        if len(report.skipped):
            self.skipped = pd.concat([self.skipped, report.skipped])
        readable = clips.loc[X.index].rename_axis("clip_id").filter(["system"])
        if not len(readable):
            return readable
        if CosineRegressor.applies_to(X):
            cosine = pd.Series(CosineRegressor().fit(X).predict(X), X.index)
            readable["clap_score"] = cosine.mask(clips.loc[X.index, "prompt"].str.strip() == "")
        return readable.join(self._scores(X))

    def _scores(self, X: pd.DataFrame) -> pd.DataFrame:
        """Scores, spread and distance of embedded clips."""
        index, regressor = X.index, self._regressor
        measured = pd.DataFrame(index=index)
        for step in self._between:
            if isinstance(step, TrainingDomain):
                measured = step.measure(X).set_index(index)
            X = step.transform(X)
        if self._allow_other_encoder:
            with self._other_encoder():
                check_fingerprint(getattr(regressor, "encoder_fingerprint_", None), X)
            getattr(X, "attrs", {}).clear()
        found = regressor.predict(X, return_std=True) if self.members > 1 else [regressor.predict(X)]
        shape = (len(index), len(self.targets))
        tables = [pd.DataFrame(np.reshape(values, shape), index, self.targets) for values in found]
        tables[1:] = [spread.add_suffix("_spread") for spread in tables[1:]]
        return pd.concat([*tables, measured], axis=1)


def _members_of(regressor: Any) -> int:
    """Count the members of a `MOSRegressor`; 0 of another regressor."""
    if isinstance(regressor, RecalibratedRegressor):
        return _members_of(regressor.regressor)
    return len(regressor.coefs_[0][0]) if isinstance(regressor, MOSRegressor) else 0


def _target_names(regressor: Any, about: dict[str, Any], assessment: dict[str, Any] | None) -> list[str]:
    """Names of the scores; a regressor of scikit-learn's knows only how many there are."""
    of_error = (assessment or {}).get("targets")
    names = getattr(regressor, "target_names_", None) or about.get("targets") or of_error
    if names:
        return list(names)
    shape = np.shape(getattr(regressor, "coef_", ()))
    return ["score"] if len(shape) < 2 else [f"target_{i}" for i in range(shape[0])]
