"""A CLAP checkpoint in transformers' layout: a folder of settings and weights, read without any look-up elsewhere."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from musiceval_sk._optional import import_optional
from musiceval_sk.exceptions import CheckpointError
from musiceval_sk.features.encoders.clap.checkpoint import FUSED, read_weights

if TYPE_CHECKING:
    from torch import Tensor

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_CONFIG = "config.json"
# transformers 5 keeps a processor's settings in one file, in which those of sound are a part.
_PROCESSORS = (("preprocessor_config.json", None), ("processor_config.json", "feature_extractor"))
_SOUND = {"sampling_rate": 48_000, "max_length_s": 10}


class FrontEnd(NamedTuple):
    """Settings of transformers' ``ClapFeatureExtractor`` that change a spectrogram; the defaults are CLAP's own.

    Attributes
    ----------
    feature_size : int
        Mel filters.
    fft_window_size, hop_length : int
        Samples in a frame, and between the starts of two.
    frequency_min, frequency_max : float
        Range of the mel filters in Hz.
    """

    feature_size: int = 64
    fft_window_size: int = 1024
    hop_length: int = 480
    frequency_min: float = 50.0
    frequency_max: float = 14_000.0


def folder_files(folder: Path) -> tuple[Path, ...]:
    """Find the files that hold a model.

    Parameters
    ----------
    folder : Path
        An existing folder.

    Returns
    -------
    tuple of Path
        Weights, ``config.json`` and, where there is one, the file of the processor's settings.

    Raises
    ------
    CheckpointError
        If there are no weights or no ``config.json``.
    """
    weights = [folder / name for name in _WEIGHTS if (folder / name).is_file()]
    config = folder / _CONFIG
    if not weights or not config.is_file():
        lacking = " or ".join(_WEIGHTS) if not weights else _CONFIG
        raise CheckpointError(
            f"{folder}: no CLAP in transformers' layout; {lacking} is not in it. Expected {_CONFIG} and "
            f"{' or '.join(_WEIGHTS)}, as ClapModel.save_pretrained writes them or as a repository on Hugging Face "
            "holds them, in one piece"
        )
    processors = [folder / name for name, _ in _PROCESSORS if (folder / name).is_file()]
    return (weights[0], config, *processors[:1])


def read_config(files: tuple[Path, ...]) -> dict[str, Any]:
    """Read a model's settings.

    Parameters
    ----------
    files : tuple of Path
        As `folder_files` gives them.

    Returns
    -------
    dict
        Content of ``config.json``, with both towers in it.

    Raises
    ------
    CheckpointError
        If they are not those of a CLAP without fusion.
    """
    config = _read_json(files[1])
    if config.get("model_type") != "clap":
        raise CheckpointError(f"{files[1]}: of a model of type {config.get('model_type')!r}, expected 'clap'")
    towers = {tower: {**(config.get(tower) or {})} for tower in ("audio_config", "text_config")}
    if towers["audio_config"].get("enable_fusion"):
        raise CheckpointError(f"{files[1]}: enable_fusion is true. {FUSED}")
    return {**config, **towers}


def read_front_end(files: tuple[Path, ...]) -> FrontEnd:
    """Read how spectrograms are made.

    Parameters
    ----------
    files : tuple of Path
        As `folder_files` gives them.

    Returns
    -------
    FrontEnd
        CLAP's own settings where the folder has none.

    Raises
    ------
    CheckpointError
        If the model wants other windows than 10 s at 48,000 Hz, or as many mel filters as its tower does not take.
    """
    mels = read_config(files)["audio_config"].get("num_mel_bins", 64)
    settings: dict[str, Any] = {}
    if len(files) > 2:
        part = dict(_PROCESSORS)[files[2].name]
        content = _read_json(files[2])
        settings = content.get(part, {}) if part else content
    for name, expected in _SOUND.items():
        if settings.get(name, expected) != expected:
            raise CheckpointError(
                f"{files[2]}: {name}={settings[name]}, this encoder computes {expected} only"
            )
    front_end = FrontEnd(**{name: settings[name] for name in FrontEnd._fields if name in settings})
    if front_end.feature_size != mels:
        raise CheckpointError(
            f"{files[-1]}: feature_size={front_end.feature_size}, but the audio tower takes {mels} (num_mel_bins in "
            f"{_CONFIG}); they do not belong together"
        )
    return front_end


def read_folder_weights(files: tuple[Path, ...]) -> "dict[str, Tensor]":
    """Read a model's weights, running nothing that the file holds.

    Parameters
    ----------
    files : tuple of Path
        As `folder_files` gives them.

    Returns
    -------
    dict of str to torch.Tensor
        By name.

    Raises
    ------
    CheckpointError
        If the file cannot be read.
    ImportError
        If the library ``safetensors`` is needed and not installed.
    """
    path = files[0]
    if path.suffix != ".safetensors":
        return read_weights(path)
    safetensors = import_optional("safetensors.torch", extra="hf", purpose=f"reading {path.name}")
    try:
        return safetensors.load_file(path)
    # The library raises an error of its own, which does not name the file.
    except Exception as error:
        raise CheckpointError(
            f"{path} ({path.stat().st_size:,} bytes): not a safetensors file that can be read; is the download whole? "
            f"({error})"
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path}: not JSON ({error}); is the download whole?") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, expected an object of settings")
    return content
