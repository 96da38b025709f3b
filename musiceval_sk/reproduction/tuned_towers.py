"""CLAP's towers trained under both heads, as a protocol asks for it: the fine-tuned road of `reproduce`."""

import re
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from musiceval_sk._optional import import_optional
from musiceval_sk._text import listed
from musiceval_sk.datasets.clips import TARGETS
from musiceval_sk.exceptions import SkippedWarning
from musiceval_sk.features.audio import sounds_of
from musiceval_sk.features.encoders import Encoder, get_encoder
from musiceval_sk.features.encoders.base import MODALITIES
from musiceval_sk.features.extract import warn_of_blank_prompts
from musiceval_sk.finetuning.regressor import CLAPFineTuneRegressor
from musiceval_sk.finetuning.sounds import DecodedSounds
from musiceval_sk.reproduction.epochs import OUT_OF_EPOCHS, ran_out_of_epochs
from musiceval_sk.reproduction.parts import Parts
from musiceval_sk.reproduction.protocols import ReproductionProtocol, tuned_protocol

MODES = ("full", "last_blocks", "lora")
# Of CLAPFineTuneRegressor: those of one mode, and those of the machine. All else is the protocol's.
_OF_MODE = {"n_blocks": "last_blocks", "lora_rank": "lora", "lora_alpha": "lora"}
_OF_MACHINE = ("precision", "max_batch_memory", "checkpoint_every", "sounds_dir", "verbose")


@dataclass
class TunedTowers:
    """`CLAPFineTuneRegressor` on sounds, by a protocol that was written for frozen towers.

    Attributes
    ----------
    protocol : ReproductionProtocol
        How to hear and train; once this is made, as `tuned_protocol` says.
    encoder, encoder_options
        Where the towers start from.
    mode : {"full", "last_blocks", "lora"}
        Which of their weights are trained.
    options : mapping
        Further parameters of `CLAPFineTuneRegressor` that no protocol fixes.
    checkpoints : str, Path or None
        Folder for each seed's state of training and for decoded sounds.
    about, notes
        As of `FrozenHeads`.
    """

    protocol: ReproductionProtocol
    encoder: Any
    encoder_options: dict[str, Any]
    mode: str
    options: Mapping[str, Any]
    checkpoints: str | Path | None = None
    about: dict[str, Any] = field(default_factory=lambda: {"encoders": {}, "epochs": {}, "tuned": {}})
    notes: list[str] = field(default_factory=list)
    _encoders: dict[str, Encoder] = field(default_factory=dict)
    _sounds: Any = None

    def __post_init__(self) -> None:
        _check(self.protocol, self.mode, self.options)
        CLAPFineTuneRegressor(train=self.mode, **self.options)._validate_params()
        if self.mode == "lora":
            import_optional("peft", extra="finetune", purpose="finetune='lora'")
        self._encoders = self._make_encoders()
        if type(self._encoders["training"]).trainable is Encoder.trainable:
            self._encoders["training"].trainable()  # says why there is nothing to train
        self.protocol = tuned_protocol(self.protocol, self.mode)

    @property
    def title(self) -> str:
        """What a reader must know before any figure."""
        way = "end to end as in the paper" if self.mode == "full" else "in part, not the paper's whole towers"
        return f"CLAP fine-tuned in mode '{self.mode}', {way}"

    def prepare(self, parts: Parts) -> Parts:
        """Decode all clips, and return the parts without those that cannot be read."""
        if self.checkpoints is not None:
            Path(self.checkpoints).mkdir(parents=True, exist_ok=True)
        clips = parts.every
        warn_of_blank_prompts(clips["prompt"], stacklevel=4)
        self.about["encoders"] = {
            purpose: {
                modality: {"fingerprint": encoder.fingerprint_of(modality), **encoder.describe(modality)}
                for modality in MODALITIES
            }
            for purpose, encoder in self._encoders_by_purpose().items()
        }
        self._sounds = DecodedSounds(self._encoders["training"], self._sounds_dir())
        reasons = pd.Series(self._sounds.unreadable(list(sounds_of(clips))), index=clips.index, dtype=object)
        reasons = reasons.dropna()
        if len(reasons):
            warnings.warn(
                f"skipped {len(reasons)} of {len(clips)} clips: {listed(reasons)}",
                SkippedWarning,
                stacklevel=3,
            )
        self.notes += [f"left out, {reason}" for reason in reasons]
        return parts.without(reasons.index)

    def fit_predict(self, parts: Parts, seed: int) -> pd.DataFrame:
        """Train towers and heads with one seed, or go on where its checkpoint stands, and predict the test clips."""
        regressor = self.make_regressor(seed)
        development = parts.development
        judged: dict[str, Any] = {"clips_val": development}
        if development is not None:
            judged["y_val"] = development[list(TARGETS)]
        if ran_out_of_epochs(lambda: regressor.fit(parts.train, parts.train[list(TARGETS)], **judged)):
            self.notes.append(OUT_OF_EPOCHS.format(seed, self.protocol.max_iter))
        self.about["epochs"][str(seed)] = {
            "best": dict.fromkeys(TARGETS, regressor.best_iteration_),
            "run": regressor.n_iter_,
        }
        self.about["tuned"][str(seed)] = regressor.fingerprint_
        settings = self._settings(regressor)
        if settings["precision"] != "float32" and "training" not in self.about:
            self.notes.append(
                f"the towers' products were computed in {settings['precision']} while they were trained, in the released code "
                "in float32"
            )
        self.about["training"] = settings
        regressor.encoder_ = self._encoders["test"]  # its way to hear clips; the towers are the trained ones
        return pd.DataFrame(regressor.predict(parts.test), index=parts.test.index, columns=list(TARGETS))

    def make_regressor(self, seed: int) -> CLAPFineTuneRegressor:
        """Make the towers and heads that the protocol describes."""
        protocol = self.protocol
        given = {"verbose": sys.stderr.isatty(), **self.options, "sounds_dir": self._sounds.folder}
        return CLAPFineTuneRegressor(
            self._encoders["training"],
            train=self.mode,
            hidden_layer_sizes=protocol.hidden_layer_sizes,
            activation=protocol.activation,
            batch_size=protocol.batch_size,
            learning_rate_init=protocol.learning_rate,
            momentum=protocol.momentum,
            max_iter=protocol.max_iter,
            n_iter_no_change=protocol.patience,
            checkpoint=self._checkpoint(seed),
            random_state=seed,
            **given,
        )

    def _settings(self, regressor: CLAPFineTuneRegressor) -> dict[str, Any]:
        """Say what was trained and how, as JSON values."""
        from musiceval_sk.finetuning.fit import resolve_precision

        device = regressor.network_.device
        return {
            "mode": self.mode,
            **{name: getattr(regressor, name) for name, mode in _OF_MODE.items() if mode == self.mode},
            "tuned_weights": sum(array.size for array in regressor.tuned_parameters_.values()),
            "precision": resolve_precision(regressor.precision, device),
            "device": device.type,
        }

    def _make_encoders(self) -> dict[str, Encoder]:
        """One for each way to hear clips that the protocol knows."""
        made: dict[str, Encoder] = {}
        for sound in (self.protocol.training_sound, self.protocol.test_sound):
            heard = {} if sound == "resampled" else {"sound": sound}
            made[sound] = made.get(sound) or get_encoder(self.encoder, **self.encoder_options, **heard)
        return {"training": made[self.protocol.training_sound], "test": made[self.protocol.test_sound]}

    def _encoders_by_purpose(self) -> dict[str, Encoder]:
        if self._encoders["training"] is self._encoders["test"]:
            return {"training and test": self._encoders["training"]}
        return self._encoders

    def _sounds_dir(self) -> str | Path | None:
        beside = None if self.checkpoints is None else Path(self.checkpoints) / "sounds"
        return self.options.get("sounds_dir") or beside

    def _checkpoint(self, seed: int) -> Path | None:
        if self.checkpoints is None:
            return None
        name = re.sub(r"\W+", "-", self.protocol.name)
        return Path(self.checkpoints) / f"{name}-seed-{seed}.safetensors"


def _check(protocol: ReproductionProtocol, mode: str, options: Mapping[str, Any]) -> None:
    """Raise for what cannot go together."""
    if mode == "frozen":
        raise ValueError("finetune='frozen' trains no towers; leave finetune out for the road of frozen CLAP")
    if mode not in MODES:
        raise ValueError(f"finetune={mode!r} is unknown; choose from {listed(MODES)}")
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
    unknown = set(options) - {*_OF_MODE, *_OF_MACHINE}
    if unknown:
        raise ValueError(
            f"finetune_options does not take {listed(sorted(unknown))}, only {listed([*_OF_MODE, *_OF_MACHINE], most=8)}; "
            "what a protocol fixes is changed there, with dataclasses.replace"
        )
    for name, of_mode in _OF_MODE.items():
        if name in options and of_mode != mode:
            raise ValueError(
                f"{name} counts with finetune={of_mode!r} alone, and finetune={mode!r} was asked for"
            )
