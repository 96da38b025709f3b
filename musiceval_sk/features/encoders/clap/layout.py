"""What a checkpoint in LAION's layout says: its architecture, and its weights by the names that transformers gives them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musiceval_sk.exceptions import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

# Of the space that sound and text share, in every CLAP of LAION.
JOINT_DIM = 512
_AUDIO = "audio_branch."
_FRONT_END = (
    "audio_branch.spectrogram_extractor.stft.conv_real.weight",
    "audio_branch.spectrogram_extractor.stft.conv_imag.weight",
    "audio_branch.logmel_extractor.melW",
)
# The head for AudioSet's classes, the layers for losses, and what is computed and not learned.
_UNUSED = re.compile(
    r"audio_branch\.(spectrogram_extractor|logmel_extractor|tscam_conv|head)\."
    r"|(audio|text)_transform\."
    r"|.*\.(attn_mask|relative_position_index)$"
)
_PROJECTIONS = (
    (r"^(audio|text)_projection\.0\.", r"\1_projection.linear1."),
    (r"^(audio|text)_projection\.2\.", r"\1_projection.linear2."),
    (r"^text_branch\.", "text_model."),
)
_AUDIO_RENAMES = (
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.", ".attention.self."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"^audio_branch\.bn0\.", "audio_model.audio_encoder.batch_norm."),
    (r"^audio_branch\.", "audio_model.audio_encoder."),
)


def text_settings(weights: "Mapping[str, Tensor]", path: Path) -> dict[str, Any]:
    """Read the text tower's architecture off the shapes of its weights.

    Parameters
    ----------
    weights : mapping of str to torch.Tensor
        As `read_weights` gives them.
    path : Path
        Where they are from, for errors.

    Returns
    -------
    dict
        Keywords of transformers' ``RobertaConfig`` and ``ClapTextConfig``.

    Raises
    ------
    CheckpointError
        If there is no RoBERTa in them.
    """
    tower = "text_branch."
    try:
        vocab_size, hidden = weights[tower + "embeddings.word_embeddings.weight"].shape
        positions = weights[tower + "embeddings.position_embeddings.weight"].shape[0]
        types = weights[tower + "embeddings.token_type_embeddings.weight"].shape[0]
        intermediate = weights[tower + "encoder.layer.0.intermediate.dense.weight"].shape[0]
    except KeyError as error:
        raise CheckpointError(
            f"{path}: not a CLAP checkpoint with a RoBERTa text tower; {error} is missing"
        ) from error
    return {
        "vocab_size": vocab_size,
        "hidden_size": hidden,
        "num_hidden_layers": _count(weights, r"text_branch\.encoder\.layer\.(\d+)\."),
        "num_attention_heads": max(1, hidden // 64),
        "intermediate_size": intermediate,
        "max_position_embeddings": positions,
        "type_vocab_size": types,
        "layer_norm_eps": 1e-5,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        # The one implementation that transformers 4 and 5 both have for RoBERTa.
        "attn_implementation": "eager",
    }


def audio_settings(weights: "Mapping[str, Tensor]", path: Path) -> dict[str, Any]:
    """Read the audio tower's architecture off the shapes of its weights.

    Parameters
    ----------
    weights : mapping of str to torch.Tensor
        As `read_weights` gives them.
    path : Path
        Where they are from, for errors.

    Returns
    -------
    dict
        Keywords of transformers' ``ClapAudioConfig``.

    Raises
    ------
    CheckpointError
        If there is no HTS-AT in them.
    """
    stages = range(_count(weights, r"audio_branch\.layers\.(\d+)\."))
    blocks = [f"{_AUDIO}layers.{stage}.blocks.0." for stage in stages]
    try:
        width, _, _, patch = weights[_AUDIO + "patch_embed.proj.weight"].shape
        positions, heads = zip(
            *(weights[block + "attn.relative_position_bias_table"].shape for block in blocks), strict=True
        )
        mlp = weights[blocks[0] + "mlp.fc1.weight"].shape[0]
        mels = weights[_AUDIO + "bn0.weight"].shape[0]
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not a CLAP checkpoint with an HTS-AT audio tower ({error}); its weights begin with "
            f"{next(iter(weights))}"
        ) from error
    return {
        "patch_size": patch,
        "patch_stride": [patch, patch],
        "patch_embeds_hidden_size": width,
        "hidden_size": width * 2 ** (len(blocks) - 1),
        "depths": [_count(weights, rf"audio_branch\.layers\.{stage}\.blocks\.(\d+)\.") for stage in stages],
        "num_attention_heads": list(heads),
        # A table has a row for every offset between two patches of a window: (2 w - 1) squared.
        "window_size": (int(positions[0] ** 0.5) + 1) // 2,
        "mlp_ratio": mlp / width,
        "num_mel_bins": mels,
        "enable_fusion": False,
    }


def transformers_names(weights: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """Name weights as transformers' ``ClapModel`` does, and part queries, keys and values.

    Parameters
    ----------
    weights : mapping of str to torch.Tensor
        By LAION's names.

    Returns
    -------
    dict of str to torch.Tensor
        Views of the same memory; what ``ClapModel`` has no use for is left out.
    """
    named: dict[str, Tensor] = {}
    for key, weight in weights.items():
        if _UNUSED.match(key):
            continue
        for pattern, replacement in _AUDIO_RENAMES if key.startswith(_AUDIO) else _PROJECTIONS:
            key = re.sub(pattern, replacement, key)
        if ".self.qkv." in key:
            thirds = zip(("query", "key", "value"), weight.chunk(3), strict=True)
            named |= {key.replace(".qkv.", f".{third}."): part for third, part in thirds}
        else:
            named[key] = weight
    return named


def front_end_filters(weights: "Mapping[str, Tensor]", path: Path) -> "tuple[Tensor, Tensor, Tensor]":
    """Pick the filters with which LAION's network makes spectrograms.

    Parameters
    ----------
    weights : mapping of str to torch.Tensor
        By LAION's names.
    path : Path
        Where they are from, for errors.

    Returns
    -------
    tuple of three torch.Tensor
        Real and imaginary kernels of the Fourier transform, (513, 1, 1024) each, and mel filters, (513, 64).

    Raises
    ------
    CheckpointError
        If one is missing.
    """
    missing = [key for key in _FRONT_END if key not in weights]
    if missing:
        raise CheckpointError(f"{path}: not a CLAP checkpoint in LAION's layout; {missing[0]} is missing")
    real, imaginary, mel = (weights[key].float() for key in _FRONT_END)
    return real, imaginary, mel


def _count(weights: "Mapping[str, Tensor]", pattern: str) -> int:
    return len({found[1] for key in weights if (found := re.match(pattern, key))})
