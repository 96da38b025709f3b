"""What `reproduce` trains: heads on frozen vectors, or CLAP's towers under the heads, each as a protocol asks for it."""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning

from musiceval_sk._ids import warn_of_skipped
from musiceval_sk._optional import import_optional
from musiceval_sk._progress import is_wanted
from musiceval_sk._text import listed, require_known
from musiceval_sk.datasets.clips import TARGETS
from musiceval_sk.estimators.lookup import TableScaler
from musiceval_sk.estimators.regressor import MOSRegressor
from musiceval_sk.exceptions import AudioError
from musiceval_sk.features.digests import sounds_of
from musiceval_sk.features.embedder import ClipEmbedder
from musiceval_sk.features.encoders import Encoder, get_encoder
from musiceval_sk.features.extract import warn_of_blank_prompts
from musiceval_sk.finetuning.regressor import CLAPFineTuneRegressor
from musiceval_sk.reproduction.protocols import ReproductionProtocol, tuned_protocol

# Clips to learn from ("train"), to stop by ("development", if not a tenth of those) and to test on ("test").
Parts = dict[str, pd.DataFrame]

# Of CLAPFineTuneRegressor: those of one mode, and those of the machine. All else is the protocol's.
_OF_MODE = {"full": [], "last_blocks": ["n_blocks"], "lora": ["lora_rank", "lora_alpha"]}
_OF_MACHINE = ("precision", "micro_batch_size", "sounds_dir", "verbose")


class FrozenHeads:
    """`MOSRegressor` on vectors of an encoder whose weights stay as they are.

    Parameters
    ----------
    protocol : ReproductionProtocol
        How to hear and train.
    encoder, encoder_options
        As of `get_encoder`.
    cache : str or Path, default=None
        As of `reproduce`.
    n_jobs : int, default=None
        As of `reproduce`.
    device : str, default="auto"
        As of `reproduce`.

    Attributes
    ----------
    title : str
        What a reader must know before any figure.
    about : dict
        What was learnt on the way: encoders with their hashes, epochs of each seed.
    notes : list of str
        What a reader of the scores should know.
    """

    _development = "X_val"

    def __init__(
        self,
        protocol: ReproductionProtocol,
        encoder: Any,
        encoder_options: dict[str, Any],
        *,
        cache: Any = None,
        n_jobs: int | None = None,
        device: str = "auto",
    ):
        self.protocol, self._cache, self._n_jobs, self._device = protocol, cache, n_jobs, device
        name = str(getattr(encoder, "name", encoder))
        self.title = f"frozen {'CLAP' if 'clap' in name else name}, not the paper's fine-tuned towers"
        self.notes: list[str] = []
        self._given = (encoder, encoder_options)
        self.about: dict[str, Any] = {"encoders": {}, "epochs": {}}

    def prepare(self, parts: Parts) -> Parts:
        """Embed all clips, and return the parts without those that cannot be read."""
        self._make_encoders()
        readable, self._X = {}, {}
        learning = [name for name in parts if name != "test"]
        for names, encoder in ((learning, self._encoders[0]), (["test"], self._encoders[-1])):
            vectors = self._embed(each_once(parts[name] for name in names), encoder)
            for name in names:
                readable[name] = parts[name][parts[name].index.isin(vectors.index)]
                self._X[name] = vectors.loc[readable[name].index]
        # A regressor refuses vectors of another encoder than it learnt from, which here may be what is wanted.
        self._X["test"].attrs.clear()
        if self.protocol.scaled:
            scaler = TableScaler().set_output(transform="pandas").fit(self._X["train"])
            self._X = {name: scaler.transform(table) for name, table in self._X.items()}
        return readable

    def fit_predict(self, parts: Parts, seed: int) -> pd.DataFrame:
        """Train both heads with one seed, or go on where its checkpoint stands, and predict the test clips."""
        protocol, regressor = self.protocol, self._regressor(seed)
        y = {name: part[list(TARGETS)] for name, part in parts.items()}
        stopped_by = {}
        if "development" in parts:
            stopped_by = {self._development: self._X["development"], "y_val": y["development"]}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # which becomes a note
            regressor.fit(self._X["train"], y["train"], **stopped_by)
        best = np.broadcast_to(np.ravel(regressor.best_iteration_), len(TARGETS)).tolist()
        if max(best) + protocol.patience > protocol.max_iter:
            words = f"{protocol.max_iter} epochs passed before training stopped by itself"
            self.notes.append(f"seed {seed}: {words}")
        epochs = {"best": dict(zip(TARGETS, best, strict=True)), "run": regressor.n_iter_}
        self.about["epochs"][str(seed)] = epochs
        return pd.DataFrame(self._predict(regressor, seed), index=parts["test"].index, columns=list(TARGETS))

    def _regressor(self, seed: int) -> Any:
        given = self.protocol.parameters() | {"stop_together": self.protocol.stop_together}
        return MOSRegressor.from_protocol("paper", **given, device=self._device, random_state=seed)

    def _predict(self, regressor: Any, seed: int) -> np.ndarray:
        return regressor.predict(self._X["test"])

    def _make_encoders(self) -> None:
        """Make and describe the encoder of all clips, or those of clips to learn from and to test on."""
        encoder, options = self._given
        heard = {"training": self.protocol.training_sound, "test": self.protocol.test_sound}
        if len(set(heard.values())) == 1:
            heard = {"training and test": self.protocol.test_sound}
        self._encoders = []
        for purpose, sound in heard.items():
            # Encoders that know only one way to hear a clip take no such option.
            way = {} if sound == "resampled" else {"sound": sound}
            made = get_encoder(encoder, **options, **way)
            self._encoders.append(made)
            self.about["encoders"][purpose] = {
                modality: {"fingerprint": made.fingerprint_of(modality), **made.describe(modality)}
                for modality in made.modalities
            }

    def _embed(self, clips: pd.DataFrame, encoder: Encoder) -> pd.DataFrame:
        settings = {"pooling": self.protocol.pooling, "cache": self._cache, "n_jobs": self._n_jobs}
        table, report = ClipEmbedder(encoder, **settings).fit(clips).embed(clips)
        self.notes += [f"left out, {reason}" for reason in report.skipped["reason"]]
        return table


class TunedTowers(FrozenHeads):
    """`CLAPFineTuneRegressor` on sounds, by a protocol that was written for frozen towers.

    Parameters
    ----------
    protocol : ReproductionProtocol
        How to hear and train; it is changed as `tuned_protocol` says.
    *encoder
        Encoder and its options, where the towers start from.
    mode : {"full", "last_blocks", "lora"}
        Which of their weights are trained.
    options : mapping
        Further parameters of `CLAPFineTuneRegressor` that no protocol fixes.
    checkpoints : str, Path or None
        Folder for each seed's state of training and for decoded sounds.
    """

    _development = "clips_val"

    def __init__(
        self, protocol: ReproductionProtocol, *encoder: Any, mode: str, options: Any, checkpoints: Any
    ):
        _check(protocol, mode, options)
        super().__init__(tuned_protocol(protocol, mode), *encoder)
        way = "end to end as in the paper" if mode == "full" else "in part, not the paper's whole towers"
        self.title = f"CLAP fine-tuned in mode '{mode}', {way}"
        self._mode, self._options, self._checkpoints = mode, dict(options), checkpoints
        self._make_encoders()
        if type(self._encoders[0]).trainable is Encoder.trainable:
            self._encoders[0].trainable()  # says why there is nothing to train
        self.about["tuned"] = {}

    def prepare(self, parts: Parts) -> Parts:
        """Decode all clips, and return the parts without those that cannot be read."""
        from musiceval_sk.finetuning.batches import DecodedSounds

        clips = each_once(parts.values())
        warn_of_blank_prompts(clips["prompt"], stacklevel=4)
        if self._checkpoints is not None:
            self._options.setdefault("sounds_dir", Path(self._checkpoints) / "sounds")
        self._sounds = DecodedSounds(self._encoders[0], self._options.get("sounds_dir"))
        outcomes = pd.Series(self._sounds.decode(sounds_of(clips)), index=clips.index, dtype=object)
        reasons = outcomes[[isinstance(outcome, AudioError) for outcome in outcomes]]
        if len(reasons):
            warn_of_skipped(f"skipped {len(reasons)} of {len(clips)} clips", reasons, stacklevel=3)
        self.notes += [f"left out, {reason}" for reason in reasons]
        self._X = {name: part.drop(index=reasons.index, errors="ignore") for name, part in parts.items()}
        return self._X

    def _regressor(self, seed: int) -> Any:
        given = {"verbose": is_wanted(), **self._options, "sounds_dir": self._sounds.folder}
        if self._checkpoints is not None:
            name = re.sub(r"\W+", "-", self.protocol.name)
            given["checkpoint"] = Path(self._checkpoints) / f"{name}-seed-{seed}.safetensors"
        given |= self.protocol.parameters()
        given |= {"encoder": self._encoders[0], "train": self._mode, "random_state": seed}
        return CLAPFineTuneRegressor.from_protocol("paper", **given)

    def _predict(self, regressor: Any, seed: int) -> np.ndarray:
        """Predict, and say what was trained and how, as JSON values."""
        from musiceval_sk.finetuning.loop import resolve_precision

        device = regressor.network_.device
        precision = resolve_precision(regressor.precision, device)
        if precision != "float32" and "training" not in self.about:
            words = f"the towers' products were computed in {precision} while they were trained"
            self.notes.append(f"{words}, in the released code in float32")
        self.about["tuned"][str(seed)] = regressor.fingerprint_
        self.about["training"] = {
            "mode": self._mode,
            **{name: getattr(regressor, name) for name in _OF_MODE[self._mode]},
            "tuned_weights": sum(array.size for array in regressor.tuned_parameters_.values()),
            "precision": precision,
            "device": device.type,
        }
        regressor.encoder_ = self._encoders[-1]  # its way to hear clips; the towers are the trained ones
        return regressor.predict(self._X["test"])


def each_once(parts: Any) -> pd.DataFrame:
    """Put clips together of which some stand in several parts."""
    clips = pd.concat(list(parts))
    return clips[~clips.index.duplicated()]


def _check(protocol: ReproductionProtocol, mode: str, options: Mapping[str, Any]) -> None:
    """Raise for what cannot go together."""
    known = [*sum(_OF_MODE.values(), []), *_OF_MACHINE]
    unknown = sorted(set(options) - set(known))
    if mode == "frozen":
        raise ValueError("finetune='frozen' trains no towers; leave finetune out for heads on frozen CLAP")
    require_known("finetune", mode, _OF_MODE)
    if protocol.scaled or protocol.pooling != "mean":
        how = "scales" if protocol.scaled else f"pools windows by {protocol.pooling!r} into"
        words = f"protocol {protocol.name!r} {how} CLAP's vectors, which with finetune move with every step"
        advice = "choose protocol 'paper' or 'released', or set scaled=False and pooling='mean'"
        raise ValueError(f"{words}; {advice}")
    if unknown:
        words = f"finetune_options does not take {listed(unknown)}, only {listed(known, most=8)}"
        raise ValueError(f"{words}; what a protocol fixes is changed there, with dataclasses.replace")
    for other, names in _OF_MODE.items():
        for name in set(names) & set(options) if other != mode else ():
            raise ValueError(f"{name} counts with finetune={other!r} alone, not with finetune={mode!r}")
    CLAPFineTuneRegressor(train=mode, **options)._validate_params()
    if mode == "lora":
        import_optional("peft", extra="finetune", purpose="finetune='lora'")
