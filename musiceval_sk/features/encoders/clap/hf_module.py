"""transformers' CLAP network around a checkpoint's weights, whichever library wrote them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from musiceval_sk._optional import import_optional
from musiceval_sk.exceptions import CheckpointError
from musiceval_sk.features.encoders.clap import layout as laion
from musiceval_sk.features.encoders.clap.checkpoint import FUSED, check_fit, is_fused, read_weights
from musiceval_sk.features.encoders.clap.forward import Towers
from musiceval_sk.features.encoders.clap.front_end import LaionLogMel, TransformersLogMel
from musiceval_sk.features.encoders.clap.hf_folder import (
    read_config,
    read_folder_weights,
    read_front_end,
)
from musiceval_sk.features.encoders.empty_network import without_memory

# Filled in by the network itself; which of them a file holds depends on the release that wrote it.
_COMPUTED = ("position_ids", "token_type_ids", "relative_position_index", "num_batches_tracked")


def towers_of_file(path: Path) -> Towers:
    """Build transformers' ``ClapModel`` around a checkpoint in LAION's layout.

    Parameters
    ----------
    path : Path
        An existing file.

    Returns
    -------
    Towers
        Steps that compute on the model's device, with the checkpoint's own filters for spectrograms.

    Raises
    ------
    CheckpointError
        If it cannot be read, is a fusion checkpoint, or lacks weights.
    ImportError
        If ``transformers`` is not installed.
    """
    _transformers()
    weights = _laion_weights(path)
    text = laion.text_settings(weights, path)
    audio = laion.audio_settings(weights, path)
    front_end = LaionLogMel(*laion.front_end_filters(weights, path))
    config = {"audio_config": audio, "text_config": text, "projection_dim": laion.JOINT_DIM}
    model = _model(config, laion.transformers_names(weights), path)
    return _towers(model, front_end, quantised=True)


def towers_of_folder(files: tuple[Path, ...]) -> Towers:
    """Build transformers' ``ClapModel`` from a folder in its own layout.

    Parameters
    ----------
    files : tuple of Path
        As `folder_files` gives them.

    Returns
    -------
    Towers
        Steps that compute on the model's device, with spectrograms as transformers' ``ClapFeatureExtractor`` makes them.

    Raises
    ------
    CheckpointError
        If a file cannot be read, or the weights do not fit the settings.
    ImportError
        If ``transformers`` is not installed.
    """
    _transformers()
    front_end = TransformersLogMel(read_front_end(files))
    model = _model(read_config(files), read_folder_weights(files), files[0])
    return _towers(model, front_end, quantised=False)


def laion_widths(path: Path) -> tuple[int, int]:
    """Read off a checkpoint in LAION's layout how long its towers' representations are.

    Parameters
    ----------
    path : Path
        An existing file.

    Returns
    -------
    tuple of two int
        Of audio and of text.

    Raises
    ------
    CheckpointError
        If it cannot be read or is a fusion checkpoint.
    """
    weights = _laion_weights(path)
    audio, text = laion.audio_settings(weights, path), laion.text_settings(weights, path)
    return audio["hidden_size"], text["hidden_size"]


def _laion_weights(path: Path) -> dict[str, Tensor]:
    weights = read_weights(path)
    if is_fused(weights):
        raise CheckpointError(f"{path}: {FUSED}")
    return weights


def _model(config: dict[str, Any], weights: Mapping[str, Tensor], path: Path) -> nn.Module:
    """Build the network of this configuration around the weights, in evaluation mode on the CPU."""
    transformers = _transformers()
    # The one implementation that transformers 4 and 5 both have for CLAP.
    config = {**config, "text_config": {**config["text_config"], "attn_implementation": "eager"}}
    with torch.random.fork_rng(devices=[]), without_memory():
        model = transformers.ClapModel(transformers.ClapConfig.from_dict(config))
    learned, expected = (
        {key: weight for key, weight in kind.items() if not key.endswith(_COMPUTED)}
        for kind in (weights, model.state_dict())
    )
    check_fit(learned, expected, path, "transformers' ClapModel")
    model.load_state_dict(learned, strict=False, assign=True)
    return model.float().eval()


def _towers(model: Any, front_end: nn.Module, *, quantised: bool) -> Towers:
    # As a part of the model it goes where the model goes.
    model.log_mel = front_end

    def audio(log_mel: Tensor) -> Tensor:
        return model.audio_model(input_features=log_mel, return_dict=True).pooler_output

    def text(ids: Tensor, mask: Tensor) -> Tensor:
        return model.text_model(input_ids=ids, attention_mask=mask, return_dict=True).pooler_output

    return Towers(model, front_end, audio, text, model.config.text_config.vocab_size, quantised)


def _transformers() -> Any:
    return import_optional("transformers", extra="hf", purpose="the encoder 'hf-clap'")
