"""Any audio model of Hugging Face's transformers, from a local folder and without the network."""

import hashlib
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musiceval_sk._device import resolve_device
from musiceval_sk._files import refused_as
from musiceval_sk._optional import import_optional
from musiceval_sk._text import listed
from musiceval_sk.exceptions import CheckpointError
from musiceval_sk.features.encoders.base import Modality
from musiceval_sk.features.encoders.local import (
    MOST_SECONDS,
    LayerEncoder,
    check_front_end,
    quiet_transformers,
    read_json,
    undisturbed_random_numbers,
)

if TYPE_CHECKING:
    from torch import Tensor

_INDEX, _WEIGHTS = "model.safetensors.index.json", "model.safetensors"
# Either may hold the extractor's settings; transformers 5 writes the second for models that take text, too.
_EXTRACTORS = ("preprocessor_config.json", "processor_config.json")
_ADAPTER = "adapter_config.json"
# Settings that may name attention that transformers would fetch and run.
_ATTENTION = ("attn_implementation", "_attn_implementation")
_SECONDS = 10.0
_MOST_BLOCKS = 10_000
_AST_FRAME_SECONDS = 0.01
# In no vector: for training alone, made anew, or of a summary that is not taken.
_UNUSED = ("masked_spec_embed", "position_ids", "num_batches_tracked", "pooler.")
_WITHOUT_SAFETENSORS = (
    "only pickled weights (.bin), which can run code when they are read, and those are never opened. Write them anew where "
    "you trust them: AutoModel.from_pretrained(folder).save_pretrained(folder)"
)

_OWN_CODE = "; if it brings code of its own that you trust, pass trust_remote_code=True"
_EXPECTED = (
    f"expected config.json, preprocessor_config.json and {_WEIGHTS}, as save_pretrained of a model and of its feature "
    "extractor write them"
)


class HfAudioEncoder(LayerEncoder):
    """Mean over time of one layer, or of all, of an audio model of ``transformers``.

    It reads what ``AutoModel`` and ``AutoFeatureExtractor`` read, among others MERT, wav2vec 2.0, HuBERT, WavLM, AST, the encoder of
    Whisper and the audio tower of CLAP, and computes what they compute, to 1e-5. It has no text tower.

    Parameters
    ----------
    checkpoint : str or Path, default=None
        Local folder with ``config.json``, ``preprocessor_config.json`` and ``model.safetensors`` (or its parts and their
        index), as ``save_pretrained`` writes them.
    layer : int or "mean", default=-1
        Which of the model's ``hidden_states``: 0 is what the first block is given, n what the n-th block gives; the last, also -1, is
        ``last_hidden_state``, behind the final norm where there is one. "mean" is the mean of all.
    window_seconds : float, default=None
        Length of a window. By default what the extractor fills every sound up to (30 s for Whisper, 10.24 s for AST, 10 s for
        CLAP), which is the only length for these, else 10 s. A shorter clip is repeated, see `cut_windows`.
    trust_remote_code : bool, default=False
        Whether to run the Python files in the folder, as MERT needs it. They are part of the fingerprint.
    device : str, default="auto"
        ``"auto"`` (CUDA where there is one, else the CPU) or torch's name of a device.
    batch_size : int, default=None
        Windows that go through the network at once; by default 8 on a CPU, 32 on a GPU, halved when a GPU's memory runs out.

    Raises
    ------
    ValueError
        If ``layer``, ``window_seconds`` or ``batch_size`` cannot be.

    Notes
    -----
    Nothing is read until a description or a vector is asked for, and nothing is ever downloaded. Weights of any precision are
    computed with in float32. The mean is over all positions that the model gives: time, for AST and CLAP also frequency, and AST's two summary
    tokens. The sample rate is the extractor's.

    Examples
    --------
    >>> HfAudioEncoder("models/MERT-v1-95M", layer=7, trust_remote_code=True)
    HfAudioEncoder('models/MERT-v1-95M', layer=7, device='auto')
    """

    name = "hf-audio"
    version = 1
    modalities = ("audio",)
    batch_sizes = (8, 32)

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        *,
        layer: int | str = -1,
        window_seconds: float | None = None,
        trust_remote_code: bool = False,
        device: str = "auto",
        batch_size: int | None = None,
    ):
        super().__init__(checkpoint, layer, window_seconds, device, batch_size)
        self.trust_remote_code = trust_remote_code

    @property
    def sample_rate(self) -> int:  # type: ignore[override]
        """Rate in Hz that the extractor names."""
        return int(self._settings[1]["sampling_rate"])

    @property
    def window_seconds(self) -> float:  # type: ignore[override]
        """Length of a window."""
        return float(self._settings[2])

    @property
    def audio_dim(self) -> int:  # type: ignore[override]
        """Length of an audio vector."""
        config = self._settings[0]
        with refused_as(CheckpointError, f"{self.checkpoint}: its settings do not say how wide layers are"):
            widths = _widths(config)
        return self._width(widths)

    def describe(self, modality: Modality) -> dict[str, Any]:
        """Everything that could change a vector, as plain JSON values.

        Parameters
        ----------
        modality : {"audio"}
            The tower to describe.

        Returns
        -------
        dict
            Name, version, layer, windows, and SHA-256 of weights, settings, the extractor's settings and, where it is run, code.

        Raises
        ------
        ValueError
            If ``modality`` is "text", or the model has no such layer.
        CheckpointError
            If the folder lacks something, or has changed since last asked.
        """
        self.towers(modality)
        files = self._files()
        digests = dict(zip((file.name for file in files), self._digests, strict=True))
        weights = [digest for name, digest in digests.items() if name.endswith(".safetensors")]
        described = {"name": self.name, "version": self.version, "layer": self.layer, "dim": self.audio_dim}
        described["checkpoint_sha256"] = weights[0] if len(weights) == 1 else _digest(weights)
        described["config_sha256"] = digests["config.json"]
        described["extractor_sha256"] = _digest([digests[name] for name in _EXTRACTORS if name in digests])
        if self.trust_remote_code:
            described["code_sha256"] = _digest([digests[name] for name in digests if name.endswith(".py")])
        return described | self._windows()

    @cached_property
    def _settings(self) -> tuple[dict[str, Any], dict[str, Any], float]:
        """Of the model, of the extractor, and the length of a window."""
        files = {file.name: file for file in self._files()}
        config = read_json(files["config.json"])
        found = [read_json(files[name]) for name in _EXTRACTORS if name in files]
        with refused_as(CheckpointError, f"{self.checkpoint}: its settings are those of no audio model"):
            # A processor's file holds the extractor's settings as a part.
            parts = [one.get("feature_extractor", one) for one in found]
            extractor: dict[str, Any] = next((one for one in parts if "sampling_rate" in one), {})
            if not isinstance(extractor.get("sampling_rate"), int):
                raise CheckpointError(
                    f"{self.checkpoint}: its {listed(name for name in _EXTRACTORS if name in files)} has no sampling_rate: no "
                    f"settings of sound. Is {config.get('model_type')!r} an audio model?"
                )
            self._refuse_chance(config, extractor)
            check_front_end(extractor | config.get("audio_config", {}), self.checkpoint)
            fixed = _filled_seconds(extractor)
            if fixed and not 0.1 <= fixed <= MOST_SECONDS:
                raise CheckpointError(
                    f"{self.checkpoint}: its windows of {fixed:g} s are those of no audio model"
                )
        if fixed and self._window_seconds not in (None, fixed):
            raise ValueError(
                f"window_seconds={self._window_seconds:g}: {extractor.get('feature_extractor_type')} makes every window "
                f"{fixed:g} s long; leave window_seconds out"
            )
        return config, extractor, fixed or self._window_seconds or _SECONDS

    def _refuse_chance(self, config: dict[str, Any], extractor: dict[str, Any]) -> None:
        """Refuse what would give another vector another time, or by code that is not in the folder."""
        in_parts = config.get("audio_config", {}).get("enable_fusion")
        fusion = extractor.get("truncation") == "fusion" or in_parts
        named = [*config.get("auto_map", {}).values(), *extractor.get("auto_map", {}).values()]
        elsewhere = [str(name) for name in named if self.trust_remote_code and "--" in str(name)]
        kernels = [str(config[name]) for name in _ATTENTION if "/" in str(config.get(name))]
        faults = {
            f"dither={extractor.get('dither')} adds random noise; set it to 0": extractor.get("dither"),
            "a CLAP with fusion, whose extractor draws at random which sounds are long; take one without, such as "
            "laion/clap-htsat-unfused": fusion,
            f"its code is in another repository ({listed(elsewhere)}); put the files into the folder and name them in "
            "auto_map without it": elsewhere,
            f"its attention is code of another repository ({listed(kernels)}); leave {listed(_ATTENTION)} out": kernels,
        }
        for fault, is_so in faults.items():
            if is_so:
                raise CheckpointError(f"{self.checkpoint}: {fault}")

    def _find_files(self) -> tuple[Path, ...]:
        folder = self._named_folder()
        if not self.checkpoint or not folder.is_dir():
            raise self._no_folder("in transformers' layout", "m-a-p/MERT-v1-95M")
        index, weights = folder / _INDEX, [folder / _WEIGHTS]
        if index.is_file():
            named = read_json(index).get("weight_map") or {"": f"weight_map of {_INDEX}"}
            with refused_as(CheckpointError, f"{index}: its weight_map must name files by weights"):
                names = sorted(set(named.values()))
                if any(Path(name).name != name for name in names):
                    raise ValueError(f"{listed(names)} lie outside of it")
                weights = [folder / name for name in names]
        extractors = [folder / name for name in _EXTRACTORS if (folder / name).is_file()]
        needed = [*weights, folder / "config.json", *(extractors or [folder / _EXTRACTORS[0]])]
        missing = [file.name for file in needed if not os.path.isfile(file)]  # a name may be too long
        if missing:
            if _WEIGHTS in missing and any(folder.glob("*.bin")):
                raise CheckpointError(f"{folder}: holds {_WITHOUT_SAFETENSORS}")
            raise CheckpointError(f"{folder}: lacks {listed(missing)}; {_EXPECTED}")
        if (folder / _ADAPTER).is_file():
            raise CheckpointError(
                f"{folder}: holds {_ADAPTER}, which names a model elsewhere; write the merged model by save_pretrained"
            )
        code = sorted(folder.glob("*.py")) if self.trust_remote_code else []
        return (*needed, *([index] if index.is_file() else []), *code)

    def _load(self) -> Any:
        device, files = resolve_device(self.device), self._files()
        _ = self.audio_dim  # whether there is such a layer
        transformers = import_optional("transformers", extra=self.extra, purpose=f"the encoder {self.name!r}")
        from musiceval_sk.features.encoders.limits import within_weights

        folder = files[0].parent
        options = {"local_files_only": True, "trust_remote_code": self.trust_remote_code}
        weights = [file for file in files if file.suffix == ".safetensors"]
        advice = "" if self.trust_remote_code else _OWN_CODE
        loading = within_weights(weights, f"{folder}: cannot be loaded by transformers", advice)
        with loading, undisturbed_random_numbers(), quiet_transformers():
            extractor = transformers.AutoFeatureExtractor.from_pretrained(folder, **options)
            model, found = transformers.AutoModel.from_pretrained(
                folder, use_safetensors=True, output_loading_info=True, **options
            )
        prefix, model = _audio_part(model, folder)
        missing = [key for key in found["missing_keys"] if key.startswith(prefix)]
        missing = sorted(key for key in missing if not any(name in key for name in _UNUSED))
        reshaped = sorted(str(key[0] if isinstance(key, tuple) else key) for key in found["mismatched_keys"])
        if missing or reshaped:
            raise CheckpointError(
                f"{folder}: its weights do not fit its config.json; {len(missing)} missing: {listed(missing)}; "
                f"{len(reshaped)} of another shape: {listed(reshaped)}"
            )
        return model.float().eval().to(device), extractor

    def _embed(self, network: tuple[Any, Any], modality: Modality, batch: np.ndarray) -> "Tensor":
        model, extractor = network
        kind = type(model).__name__
        with undisturbed_random_numbers():
            inputs = extractor(list(batch), sampling_rate=self.sample_rate, return_tensors="pt")
            sent = {name: value.to(model.device) for name, value in inputs.items()}
            given = model(**sent, output_hidden_states=True, return_dict=True)
        if getattr(given, "hidden_states", None) is None or getattr(given, "last_hidden_state", None) is None:
            raise CheckpointError(f"{kind} gives no hidden_states: it cannot be used here")
        vectors = self._mean([*given.hidden_states[:-1], given.last_hidden_state])
        if vectors.shape[1] != self.audio_dim:
            said = f"its config.json says {self.audio_dim}"
            raise CheckpointError(f"{kind} gives {vectors.shape[1]} numbers a window, {said}")
        return vectors


def _audio_part(model: Any, folder: Path) -> tuple[str, Any]:
    """Pick what hears out of a model: its audio tower, its encoder, or all of it; also the prefix of its weights."""
    if hasattr(model, "audio_model"):
        return "audio_model.", model.audio_model
    if getattr(model.config, "is_encoder_decoder", False):
        return "encoder.", model.get_encoder()
    if model.main_input_name not in ("input_values", "input_features"):
        raise CheckpointError(
            f"{folder}: {type(model).__name__} takes {model.main_input_name}, no sound; expected an audio model"
        )
    return "", model


def _widths(config: dict[str, Any]) -> list[int]:
    """Say how wide each of the hidden states is, the last one as often as it is counted."""
    part = config.get("audio_config") or config
    if {"patch_embeds_hidden_size", "depths"} <= part.keys():
        # HTS-AT's stages, each twice as wide as the last.
        first = int(part["patch_embeds_hidden_size"])
        stages = [first * 2**stage for stage in range(len(part["depths"]))]
        return [*stages, part.get("hidden_size", stages[-1])]
    width = part.get("hidden_size") or part.get("d_model")
    blocks = part.get("encoder_layers") or part.get("num_hidden_layers")
    if not width or not blocks:
        raise CheckpointError(
            f"config.json of {config.get('model_type')!r} says neither hidden_size nor d_model, or no number of layers"
        )
    if not isinstance(width, int) or not isinstance(blocks, int) or not 0 < blocks < _MOST_BLOCKS:
        raise CheckpointError(
            f"config.json: a width of {width!r} and {blocks!r} layers are those of no model"
        )
    return [width] * (blocks + 1)


def _filled_seconds(extractor: dict[str, Any]) -> float | None:
    """Length that an extractor fills every sound up to, or cuts it down to; None if it takes any."""
    if extractor.get("feature_extractor_type") == "ASTFeatureExtractor":
        return float(extractor.get("max_length", 1024) * _AST_FRAME_SECONDS)
    seconds = extractor.get("chunk_length") or extractor.get("max_length_s")
    return float(seconds) if seconds else None


def _digest(digests: list[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()
