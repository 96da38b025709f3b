"""Heads on frozen vectors, as a protocol asks for them: what `reproduce` trains."""

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from musiceval_sk.datasets.clips import TARGETS
from musiceval_sk.estimators.lookup import TableScaler
from musiceval_sk.estimators.regressor import MOSRegressor
from musiceval_sk.features.embedder import ClipEmbedder
from musiceval_sk.features.encoders import get_encoder
from musiceval_sk.features.encoders.base import MODALITIES
from musiceval_sk.features.extract import extract
from musiceval_sk.reproduction.epochs import OUT_OF_EPOCHS, ran_out_of_epochs
from musiceval_sk.reproduction.parts import Parts
from musiceval_sk.reproduction.protocols import ReproductionProtocol


@dataclass
class FrozenHeads:
    """`MOSRegressor` on vectors of an encoder whose weights stay as they are.

    `TunedTowers` offers the same: `protocol`, `title`, `prepare`, `fit_predict`, `about` and `notes`.

    Attributes
    ----------
    protocol : ReproductionProtocol
        How to hear and train.
    encoder, encoder_options, cache, n_jobs
        As of `ClipEmbedder`.
    device : str
        Where to train.
    about : dict
        What was learnt on the way: encoders with their hashes, epochs of each seed.
    notes : list of str
        What a reader of the scores should know.
    """

    protocol: ReproductionProtocol
    encoder: Any
    encoder_options: dict[str, Any]
    cache: Any = None
    n_jobs: int | None = None
    device: str = "auto"
    about: dict[str, Any] = field(default_factory=lambda: {"encoders": {}, "epochs": {}})
    notes: list[str] = field(default_factory=list)
    _vectors: dict[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What a reader must know before any figure."""
        name = str(getattr(self.encoder, "name", self.encoder))
        return f"frozen {'CLAP' if 'clap' in name else name}, not the paper's fine-tuned towers"

    def prepare(self, parts: Parts) -> Parts:
        """Embed all clips, and return the parts without those that cannot be read."""
        learning = parts.learning
        if self.protocol.training_sound == self.protocol.test_sound:
            self._vectors = dict.fromkeys(("training", "test"), self._embed(parts.every, "training and test"))
        else:
            self._vectors = {
                "training": self._embed(learning, "training", self.protocol.training_sound),
                "test": self._embed(parts.test, "test", self.protocol.test_sound),
            }
            # A regressor refuses vectors of another encoder than it learnt from, which here is what is wanted.
            self._vectors["test"].attrs.clear()
        unread = [
            part.index[~part.index.isin(self._vectors[heard].index)]
            for part, heard in ((learning, "training"), (parts.test, "test"))
        ]
        return parts.without(unread[0].union(unread[1]))

    def fit_predict(self, parts: Parts, seed: int) -> pd.DataFrame:
        """Train both heads with one seed, and predict the test clips."""
        tables = [
            self._vectors[heard].loc[part.index] if part is not None else None
            for part, heard in (
                (parts.train, "training"),
                (parts.development, "training"),
                (parts.test, "test"),
            )
        ]
        X, X_dev, X_test = self._scaled(tables)
        y_dev = None if parts.development is None else parts.development[list(TARGETS)]
        regressor = self.make_regressor(seed)
        y = parts.train[list(TARGETS)]
        if ran_out_of_epochs(lambda: regressor.fit(X, y, X_val=X_dev, y_val=y_dev)):
            self.notes.append(OUT_OF_EPOCHS.format(seed, self.protocol.max_iter))
        best = dict(zip(TARGETS, regressor.best_iteration_[:, 0].tolist(), strict=True))
        self.about["epochs"][str(seed)] = {"best": best, "run": regressor.n_iter_}
        return pd.DataFrame(regressor.predict(X_test), index=parts.test.index, columns=list(TARGETS))

    def make_regressor(self, seed: int) -> MOSRegressor:
        """Make the heads that the protocol describes."""
        protocol = self.protocol
        return MOSRegressor(
            hidden_layer_sizes=protocol.hidden_layer_sizes,
            activation=protocol.activation,
            batch_size=protocol.batch_size,
            learning_rate_init=protocol.learning_rate,
            momentum=protocol.momentum,
            max_iter=protocol.max_iter,
            n_iter_no_change=protocol.patience,
            stop_together=protocol.stop_together,
            device=self.device,
            random_state=seed,
        )

    def _embed(self, clips: pd.DataFrame, purpose: str, sound: str = "resampled") -> pd.DataFrame:
        # Encoders that know only one way to hear a clip take no such option.
        heard = {} if sound == "resampled" else {"sound": sound}
        encoder = get_encoder(self.encoder, **self.encoder_options, **heard)
        report = extract(clips, encoder, self.cache, n_jobs=self.n_jobs)
        readable = clips.drop(index=report.skipped.index)
        embedder = ClipEmbedder(encoder, pooling=self.protocol.pooling, cache=self.cache, n_jobs=self.n_jobs)
        table = embedder.set_output(transform="pandas").fit_transform(readable)
        self.about["encoders"][purpose] = {
            modality: {"fingerprint": encoder.fingerprint_of(modality), **encoder.describe(modality)}
            for modality in MODALITIES
        }
        self.notes += [f"left out, {reason}" for reason in report.skipped["reason"]]
        return table

    def _scaled(self, tables: list[pd.DataFrame | None]) -> list[pd.DataFrame | None]:
        if not self.protocol.scaled:
            return tables
        scaler = TableScaler().set_output(transform="pandas").fit(tables[0])
        return [None if table is None else scaler.transform(table) for table in tables]
