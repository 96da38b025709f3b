"""MuQ's and MuQ-MuLan's networks as their authors' package builds them, from settings and not from a hub."""

import functools
import importlib
import importlib.util
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from musiceval_sk._optional import pip_install
from musiceval_sk.features.encoders.clap.checkpoint import fill
from musiceval_sk.features.encoders.local import check_front_end, standing_in, undisturbed_random_numbers

# Of MuQ, for training alone, or made and never called.
_UNUSED = ("linear.", "rvq.", "quantizer_", "cls_token", "recon_proj.", "conformer.pos_conv_embed.")
_AS_IN_PACKAGE = {
    "is_flash": False,
    "use_rvq_target": False,
    "use_vq_target": False,
    "use_encodec_target": False,
    "recon_loss_ratio": None,
}
_LOWEST_POWER = 1e-10
_N_FFT = 2048  # of the package
# Of the package, those that make networks.
_PARTS = ("muq.muq.muq", *(f"muq.muq_mulan.models.{name}" for name in ("audio", "text", "mulan")))


class MelSpectrogram(nn.Module):
    """Power in mel bands, as torchaudio's class of this name computes it at its defaults.

    Parameters
    ----------
    sample_rate, n_fft, hop_length, n_mels : int
        As torchaudio names them.
    """

    def __init__(self, sample_rate: int, n_fft: int, hop_length: int, n_mels: int):
        super().__init__()
        from transformers.audio_utils import mel_filter_bank

        bands = mel_filter_bank(
            n_fft // 2 + 1, n_mels, 0.0, sample_rate / 2, sample_rate, norm=None, mel_scale="htk"
        )
        self.n_fft, self.hop_length = n_fft, hop_length
        self.register_buffer("bands", torch.from_numpy(bands).float(), persistent=False)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """Turn samples, (n, length), into power, (n, n_mels, frames)."""
        window: Any = self.window
        spectrum = torch.stft(samples, self.n_fft, self.hop_length, window=window, return_complex=True)
        return (spectrum.abs() ** 2).transpose(-1, -2).matmul(self.bands).transpose(-1, -2)  # type: ignore[arg-type]


class AmplitudeToDB(nn.Module):
    """Decibels of power, as torchaudio's class of this name computes them at its defaults."""

    def forward(self, power: Tensor) -> Tensor:
        """Take the logarithm."""
        return 10 * torch.log10(power.clamp(min=_LOWEST_POWER))


@functools.cache
def import_muq() -> SimpleNamespace:
    """Import the authors' package without torchaudio and x_clip, of which a spectrogram and the size of a vocabulary are all it uses."""
    if importlib.util.find_spec("muq") is None:
        raise ImportError(
            "the encoder 'muq' needs the package 'muq', which is not installed. Install it with: "
            f"{pip_install('muq')}, or, where that finds no torchaudio for your torch, "
            "pip install einops easydict transformers && pip install --no-deps muq"
        )
    layers = ("Spectrogram", "TimeStretch", "FrequencyMasking", "TimeMasking")
    transforms = SimpleNamespace(
        MelSpectrogram=MelSpectrogram, AmplitudeToDB=AmplitudeToDB, **dict.fromkeys(layers, nn.Identity)
    )
    stand_ins = {
        "torchaudio": SimpleNamespace(transforms=transforms),
        "torchaudio.transforms": transforms,
        "x_clip": SimpleNamespace(),
        "x_clip.tokenizer": SimpleNamespace(tokenizer=SimpleNamespace(vocab_size=0)),
    }
    with standing_in(stand_ins, "muq"):
        parts = {name.split(".")[-1]: importlib.import_module(name) for name in _PARTS}
    return SimpleNamespace(**parts)


def build_muq(settings: Mapping[str, Any]) -> Any:
    """Build the package's ``MuQ``, weights undetermined, without what only training needs.

    Parameters
    ----------
    settings : mapping
        Its ``config.json``.

    Returns
    -------
    torch.nn.Module
        With ``hidden_states`` also where transformers' conformer no longer gives any.

    Raises
    ------
    CheckpointError
        If its spectrogram is none.
    """
    from transformers import Wav2Vec2ConformerConfig

    code = import_muq().muq
    # What this release of transformers asks for and the one that wrote the settings did not, at its default.
    conformer = Wav2Vec2ConformerConfig().to_dict() | settings.get("w2v2_config", {})
    conformer = {name: value for name, value in conformer.items() if not isinstance(value, dict)}
    conformer["_attn_implementation"] = "eager"
    check_front_end({"n_fft": _N_FFT} | dict(settings), "config.json")
    with undisturbed_random_numbers():
        model = code.MuQ(code.MuQConfig(**{**settings, **_AS_IN_PACKAGE, "w2v2_config": conformer}))
    model.model.linear = nn.Identity()
    model.model.conformer = _Conformer(model.model.conformer)
    for name in [name for name, _ in model.model.named_children() if name.startswith("quantizer_")]:
        delattr(model.model, name)
    del model.model.cls_token
    return model


def build_mulan(settings: Mapping[str, Any], muq: Mapping[str, Any], text: Path | None) -> Any:
    """Build the package's ``MuLanModel``, weights undetermined.

    Parameters
    ----------
    settings, muq : mapping
        ``config.json`` of MuQ-MuLan and of the MuQ in it.
    text : Path or None
        Folder of XLM-RoBERTa with settings and tokenizer; without it there is no text tower.

    Returns
    -------
    torch.nn.Module
        With `get_audio_latents` and, with ``text``, `get_text_latents`.
    """
    code: Any = import_muq()
    kinds: Any = code.audio.AudioSpectrogramTransformerPretrained, code.text.TextTransformerPretrained

    class Audio(kinds[0]):
        def _init_pretrained_model(self, model_name: str) -> None:
            self.model = build_muq(muq)

    class Text(kinds[1]):
        def _init_pretrained_model(self) -> Any:
            from transformers import XLMRobertaConfig, XLMRobertaModel

            config = XLMRobertaConfig.from_pretrained(text, local_files_only=True)
            config._attn_implementation = "eager"
            return XLMRobertaModel(config)

    def made(kind: Any, tower: str, **options: Any) -> Any:
        name, width = (settings[f"{tower}_model"][key] for key in ("name", "model_dim"))
        options |= {"model_name": name, "model_dim": width, "frozen_pretrained": False}
        return kind(**options, **settings[f"{tower}_transformer"])

    with undisturbed_random_numbers():
        audio = made(Audio, "audio", use_layer_idx=settings["audio_model"]["use_layer_idx"])
        tower: Any = SimpleNamespace(dim=settings["text_transformer"]["dim"])
        if text is not None:
            tower = made(Text, "text")
            tower._tokenizer = _tokenizer(text, tower.model.config.max_position_embeddings)
        return code.mulan.MuLanModel(audio_transformer=audio, text_transformer=tower, **settings["mulan"])


def fill_with(model: Any, weights: Mapping[str, Tensor], path: Path, prefix: str, network: str) -> None:
    """Give a network the weights that it has a use for.

    Parameters
    ----------
    model : torch.nn.Module
        Of `build_muq` or `build_mulan`.
    weights : mapping of str to torch.Tensor
        A checkpoint's.
    path : Path
        Where the weights are from.
    prefix : str
        Of MuQ's weights among them.
    network : str
        What to call the network.

    Raises
    ------
    CheckpointError
        If weights are missing, unexpected or of another shape.
    """
    has_text = isinstance(getattr(model, "text", None), nn.Module)
    unused = (*(prefix + name for name in _UNUSED), *(() if has_text else ("text.",)))
    # Of the frequencies some releases of transformers write a copy, all compute them.
    kept = {name: weight for name, weight in model.state_dict().items() if name.endswith("inv_freq")}
    for name, weight in weights.items():
        if not name.startswith(unused) and not name.endswith("inv_freq"):
            kept[name.replace(f"{prefix}conformer.", f"{prefix}conformer.inner.")] = weight
    fill(model, kept, path, network)


class _Conformer(nn.Module):
    """Transformers' conformer with its hidden states: what each block is given, and what comes out in the end."""

    def __init__(self, inner: Any):
        super().__init__()
        self.inner = inner
        inner.pos_conv_embed = nn.Identity()  # never called

    def forward(self, states: Tensor, output_hidden_states: bool = True) -> dict[str, Any]:
        given: list[Tensor] = []
        hooks = [
            layer.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
            for layer in self.inner.layers
        ]
        try:
            last = self.inner(states)["last_hidden_state"]
        finally:
            for hook in hooks:
                hook.remove()
        return {"last_hidden_state": last, "hidden_states": (*given, last)}


def _tokenizer(folder: Path, positions: int) -> Any:
    """Make XLM-RoBERTa's tokenizer, which cuts what goes beyond the positions that the model knows."""
    from transformers import AutoTokenizer

    made = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return partial(made, truncation=True, max_length=positions - 2)
