"""What `reproduce` trains: heads on frozen vectors, or CLAP's towers under the heads, each as a protocol asks for it."""

import re
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.exceptions import ConvergenceWarning

from musiceval_sk._optional import import_optional
from musiceval_sk._text import listed
from musiceval_sk.datasets.clips import TARGETS
from musiceval_sk.estimators.lookup import TableScaler
from musiceval_sk.estimators.regressor import MOSRegressor
from musiceval_sk.exceptions import AudioError, SkippedWarning
from musiceval_sk.features.audio import sounds_of
from musiceval_sk.features.embedder import ClipEmbedder
from musiceval_sk.features.encoders import Encoder, get_encoder
from musiceval_sk.features.encoders.base import MODALITIES
from musiceval_sk.features.extract import extract, warn_of_blank_prompts
from musiceval_sk.finetuning.regressor import CLAPFineTuneRegressor
from musiceval_sk.reproduction.protocols import ReproductionProtocol, tuned_protocol

# Clips to learn from ("train"), to stop by ("development", if not a tenth of those) and to test on ("test").
Parts = dict[str, pd.DataFrame]

# Of CLAPFineTuneRegressor: those of one mode, and those of the machine. All else is the protocol's.
_OF_MODE: dict[str, tuple[str, ...]] = {
    "full": (),
    "last_blocks": ("n_blocks",),
    "lora": ("lora_rank", "lora_alpha"),
}
_OF_MACHINE = ("precision", "micro_batch_size", "sounds_dir", "verbose")


class FrozenHeads:
    """`MOSRegressor` on vectors of an encoder whose weights stay as they are.

    Parameters
    ----------
    protocol : ReproductionProtocol
        How to hear and train.
    encoder, encoder_options
        As of `get_encoder`.
    cache, n_jobs
        As of `ClipEmbedder`.
    device : str
        Where to train.

    Attributes
    ----------
    about : dict
        What was learnt on the way: encoders with their hashes, epochs of each seed.
    notes : list of str
        What a reader of the scores should know.
    """

    def __init__(
        self,
        protocol: ReproductionProtocol,
        encoder: Any,
        encoder_options: dict[str, Any],
        cache: Any = None,
        n_jobs: int | None = None,
        device: str = "auto",
    ):
        self.protocol, self._encoder, self._encoder_options = protocol, encoder, encoder_options
        self._cache, self._n_jobs, self._device = cache, n_jobs, device
        self.about: dict[str, Any] = {"encoders": {}, "epochs": {}}
        self.notes: list[str] = []

    @property
    def title(self) -> str:
        """What a reader must know before any figure."""
        name = str(getattr(self._encoder, "name", self._encoder))
        return f"frozen {'CLAP' if 'clap' in name else name}, not the paper's fine-tuned towers"

    def prepare(self, parts: Parts) -> Parts:
        """Embed all clips, and return the parts without those that cannot be read."""
        learning = [part for name, part in parts.items() if name != "test"]
        if self.protocol.training_sound == self.protocol.test_sound:
            vectors = self._embed([*learning, parts["test"]], "training and test", self.protocol.test_sound)
            self._vectors = dict.fromkeys(parts, vectors)
        else:
            vectors = self._embed(learning, "training", self.protocol.training_sound)
            tested = self._embed([parts["test"]], "test", self.protocol.test_sound)
            # A regressor refuses vectors of another encoder than it learnt from, which here is what is wanted.
            tested.attrs.clear()
            self._vectors = dict.fromkeys(parts, vectors) | {"test": tested}
        return {name: part[part.index.isin(self._vectors[name].index)] for name, part in parts.items()}

    def fit_predict(self, parts: Parts, seed: int) -> pd.DataFrame:
        """Train both heads with one seed, and predict the test clips."""
        X = {name: self._vectors[name].loc[part.index] for name, part in parts.items()}
        if self.protocol.scaled:
            scaler = TableScaler().set_output(transform="pandas").fit(X["train"])
            X = {name: scaler.transform(table) for name, table in X.items()}
        regressor = MOSRegressor(
            **self.protocol.parameters(),
            stop_together=self.protocol.stop_together,
            device=self._device,
            random_state=seed,
        )
        judged = {"X_val": X["development"]} if "development" in X else {}
        self._fit(regressor, X["train"], parts, seed, **judged)
        self._note_epochs(seed, regressor, regressor.best_iteration_[:, 0].tolist())
        return pd.DataFrame(regressor.predict(X["test"]), index=parts["test"].index, columns=list(TARGETS))

    def _fit(self, regressor: Any, X: pd.DataFrame, parts: Parts, seed: int, **judged: Any) -> None:
        if judged:
            judged["y_val"] = parts["development"][list(TARGETS)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # which becomes a note
            regressor.fit(X, parts["train"][list(TARGETS)], **judged)

    def _note_epochs(self, seed: int, regressor: Any, best: list[int]) -> None:
        if max(best) + self.protocol.patience > self.protocol.max_iter:
            epochs = self.protocol.max_iter
            self.notes.append(f"seed {seed}: {epochs} epochs passed before training stopped by itself")
        epochs = {"best": dict(zip(TARGETS, best, strict=True)), "run": regressor.n_iter_}
        self.about["epochs"][str(seed)] = epochs

    def _make_encoder(self, sound: str) -> Encoder:
        # Encoders that know only one way to hear a clip take no such option.
        heard = {} if sound == "resampled" else {"sound": sound}
        return get_encoder(self._encoder, **self._encoder_options, **heard)

    def _describe(self, purpose: str, encoder: Encoder) -> None:
        self.about["encoders"][purpose] = {
            modality: {"fingerprint": encoder.fingerprint_of(modality), **encoder.describe(modality)}
            for modality in MODALITIES
        }

    def _embed(self, parts: list[pd.DataFrame], purpose: str, sound: str) -> pd.DataFrame:
        clips = each_once(parts)
        encoder = self._make_encoder(sound)
        report = extract(clips, encoder, self._cache, n_jobs=self._n_jobs)
        self._describe(purpose, encoder)
        self.notes += [f"left out, {reason}" for reason in report.skipped["reason"]]
        embedder = ClipEmbedder(
            encoder, pooling=self.protocol.pooling, cache=self._cache, n_jobs=self._n_jobs
        )
        return embedder.set_output(transform="pandas").fit_transform(clips.drop(index=report.skipped.index))


class TunedTowers(FrozenHeads):
    """`CLAPFineTuneRegressor` on sounds, by a protocol that was written for frozen towers.

    Parameters
    ----------
    protocol : ReproductionProtocol
        How to hear and train; it is changed as `tuned_protocol` says.
    encoder, encoder_options
        Where the towers start from.
    mode : {"full", "last_blocks", "lora"}
        Which of their weights are trained.
    options : mapping
        Further parameters of `CLAPFineTuneRegressor` that no protocol fixes.
    checkpoints : str, Path or None
        Folder for each seed's state of training and for decoded sounds.
    """

    def __init__(
        self,
        protocol: ReproductionProtocol,
        encoder: Any,
        encoder_options: dict[str, Any],
        mode: str,
        options: Mapping[str, Any],
        checkpoints: str | Path | None = None,
    ):
        _check(protocol, mode, options)
        super().__init__(tuned_protocol(protocol, mode), encoder, encoder_options)
        self._mode, self._options = mode, dict(options)
        self._checkpoints = None if checkpoints is None else Path(checkpoints)
        self._training = self._make_encoder(protocol.training_sound)
        alike = protocol.training_sound == protocol.test_sound
        self._test = self._training if alike else self._make_encoder(protocol.test_sound)
        if type(self._training).trainable is Encoder.trainable:
            self._training.trainable()  # says why there is nothing to train
        self.about["tuned"] = {}

    @property
    def title(self) -> str:
        """What a reader must know before any figure."""
        way = (
            "end to end as in the paper" if self._mode == "full" else "in part, not the paper's whole towers"
        )
        return f"CLAP fine-tuned in mode '{self._mode}', {way}"

    def prepare(self, parts: Parts) -> Parts:
        """Decode all clips, and return the parts without those that cannot be read."""
        from musiceval_sk.finetuning.batches import DecodedSounds

        clips = each_once(parts.values())
        warn_of_blank_prompts(clips["prompt"], stacklevel=4)
        if self._test is self._training:
            self._describe("training and test", self._test)
        else:
            self._describe("training", self._training)
            self._describe("test", self._test)
        beside = None if self._checkpoints is None else self._checkpoints / "sounds"
        self._sounds = DecodedSounds(self._training, self._options.get("sounds_dir") or beside)
        outcomes = pd.Series(self._sounds.decode(sounds_of(clips)), index=clips.index, dtype=object)
        reasons = outcomes[[isinstance(outcome, AudioError) for outcome in outcomes]]
        if len(reasons):
            message = f"skipped {len(reasons)} of {len(clips)} clips: {listed(reasons)}"
            warnings.warn(message, SkippedWarning, stacklevel=3)
        self.notes += [f"left out, {reason}" for reason in reasons]
        return {name: part.drop(index=reasons.index, errors="ignore") for name, part in parts.items()}

    def fit_predict(self, parts: Parts, seed: int) -> pd.DataFrame:
        """Train towers and heads with one seed, or go on where its checkpoint stands, and predict the test clips."""
        given = {"verbose": sys.stderr.isatty(), **self._options, "sounds_dir": self._sounds.folder}
        if self._checkpoints is not None:
            name = re.sub(r"\W+", "-", self.protocol.name)
            given["checkpoint"] = self._checkpoints / f"{name}-seed-{seed}.safetensors"
        regressor = CLAPFineTuneRegressor(
            self._training, train=self._mode, **self.protocol.parameters(), random_state=seed, **given
        )
        judged = {"clips_val": parts["development"]} if "development" in parts else {}
        self._fit(regressor, parts["train"], parts, seed, **judged)
        self._note_epochs(seed, regressor, [regressor.best_iteration_] * len(TARGETS))
        self.about["tuned"][str(seed)] = regressor.fingerprint_
        self._note_settings(regressor)
        regressor.encoder_ = self._test  # its way to hear clips; the towers are the trained ones
        predicted = regressor.predict(parts["test"])
        return pd.DataFrame(predicted, index=parts["test"].index, columns=list(TARGETS))

    def _note_settings(self, regressor: CLAPFineTuneRegressor) -> None:
        """Say what was trained and how, as JSON values."""
        from musiceval_sk.finetuning.loop import resolve_precision

        device = regressor.network_.device
        precision = resolve_precision(regressor.precision, device)
        if precision != "float32" and "training" not in self.about:
            self.notes.append(
                f"the towers' products were computed in {precision} while they were trained, in the released code in "
                "float32"
            )
        self.about["training"] = {
            "mode": self._mode,
            **{name: getattr(regressor, name) for name in _OF_MODE[self._mode]},
            "tuned_weights": sum(array.size for array in regressor.tuned_parameters_.values()),
            "precision": precision,
            "device": device.type,
        }


def each_once(parts: Any) -> pd.DataFrame:
    """Put clips together of which some stand in several parts."""
    clips = pd.concat(list(parts))
    return clips[~clips.index.duplicated()]


def _check(protocol: ReproductionProtocol, mode: str, options: Mapping[str, Any]) -> None:
    """Raise for what cannot go together."""
    if mode == "frozen":
        raise ValueError("finetune='frozen' trains no towers; leave finetune out for heads on frozen CLAP")
    if mode not in _OF_MODE:
        raise ValueError(f"finetune={mode!r} is unknown; choose from {listed(_OF_MODE)}")
    if protocol.scaled:
        raise ValueError(
            f"protocol {protocol.name!r} scales CLAP's vectors, which move with every step while its towers are trained; "
            "choose protocol 'paper' or 'released'"
        )
    if protocol.pooling != "mean":
        raise ValueError(
            f"protocol {protocol.name!r} pools windows by {protocol.pooling!r}, but with finetune a clip's vector is the "
            "mean over its windows; set pooling='mean'"
        )
    known = [name for names in _OF_MODE.values() for name in names]
    unknown = set(options) - {*known, *_OF_MACHINE}
    if unknown:
        raise ValueError(
            f"finetune_options does not take {listed(sorted(unknown))}, only {listed([*known, *_OF_MACHINE], most=8)}; "
            "what a protocol fixes is changed there, with dataclasses.replace"
        )
    for other, names in _OF_MODE.items():
        wrong = set(names) & set(options)
        if other != mode and wrong:
            raise ValueError(
                f"{wrong.pop()} counts with finetune={other!r} alone, and finetune={mode!r} was asked for"
            )
    CLAPFineTuneRegressor(train=mode, **options)._validate_params()
    if mode == "lora":
        import_optional("peft", extra="finetune", purpose="finetune='lora'")
