"""A CLAP checkpoint on disk: its weights, settings and tokenizer, read without running anything it holds and without the network."""

import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musiceval_sk._files import refused_as
from musiceval_sk._optional import import_optional
from musiceval_sk._text import listed
from musiceval_sk.exceptions import CheckpointError
from musiceval_sk.features.encoders.local import cached_file, check_front_end, read_json

if TYPE_CHECKING:
    from torch import Tensor, nn

CHECKPOINT_VARIABLE = "MUSICEVAL_CLAP_CHECKPOINT"
PAPER_FILE = "music_audioset_epoch_15_esc_90.14.pt"
FUSED = f"It is a fusion checkpoint; this encoder reads those without fusion, such as {PAPER_FILE}"
# Of the space that sound and text share, in every CLAP of LAION.
JOINT_DIM = 512
# Of transformers' layout: weights, settings, and the processor's settings, each by its name or an older one.
_FOLDER = (
    ("model.safetensors", "pytorch_model.bin"),
    ("config.json",),
    ("preprocessor_config.json", "processor_config.json"),
)
TOWERS = ("audio_config", "text_config")
_SOUND = {"sampling_rate": 48_000, "max_length_s": 10}
# Of transformers' ``ClapFeatureExtractor``, what changes a spectrogram: CLAP's own settings.
_MEL_BANDS = {"feature_size": 64, "frequency_min": 50.0, "frequency_max": 14_000.0}
_FRONT_END = {"fft_window_size": 1024, "hop_length": 480, **_MEL_BANDS}
# Filled in by the network itself; which of them a file holds depends on the release that wrote it.
_COMPUTED = ("position_ids", "token_type_ids", "relative_position_index", "num_batches_tracked", "attn_mask")
_FILTERS = (
    "audio_branch.spectrogram_extractor.stft.conv_real.weight",
    "audio_branch.spectrogram_extractor.stft.conv_imag.weight",
    "audio_branch.logmel_extractor.melW",
)
# The head for AudioSet's classes, and layers for the losses of training.
_UNUSED = ("audio_branch.tscam_conv.", "audio_branch.head.", "audio_transform.", "text_transform.")
_PATCHES = "audio_branch.patch_embed.proj.weight"
_WORDS = "text_branch.embeddings.word_embeddings.weight"
_RENAMES = (
    (r"^(audio|text)_projection\.0\.", r"\1_projection.linear1."),
    (r"^(audio|text)_projection\.2\.", r"\1_projection.linear2."),
    (r"^text_branch\.", "text_model."),
    (r"^audio_branch\.bn0\.", "audio_model.audio_encoder.batch_norm."),
    (r"^audio_branch\.", "audio_model.audio_encoder."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.", ".attention.self."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)

TOKENIZER_VARIABLE = "MUSICEVAL_ROBERTA"
MAX_LENGTH = 77
_FILE_SETS = (("vocab.json", "merges.txt"), ("tokenizer.json",))
_WANTED = "vocab.json and merges.txt or tokenizer.json"
_IDS = {"<s>": 0, "<pad>": 1, "</s>": 2}


def find_checkpoint(checkpoint: str | Path | None, encoder: str, folder_too: bool) -> tuple[Path, ...]:
    """Find the checkpoint that the argument names, else the environment variable.

    Parameters
    ----------
    checkpoint : str, Path or None
        Path of a local file.
    encoder : str
        Who asks, for errors.
    folder_too : bool
        Whether a folder in transformers' layout does as well.

    Returns
    -------
    tuple of Path
        A file in LAION's layout; or of a folder weights, ``config.json`` and, where there is one, the processor's settings.

    Raises
    ------
    CheckpointError
        If none is named, there is no such file, or the folder lacks one.
    """
    named = checkpoint or os.environ.get(CHECKPOINT_VARIABLE)
    or_folder = ", or a folder in transformers' layout" if folder_too else ""
    if not named:
        raise CheckpointError(
            f"the encoder {encoder!r} needs a checkpoint file{or_folder}. The paper's is {PAPER_FILE} in the Hugging Face "
            "repository lukewys/laion_clap: download it once "
            f"(hf download lukewys/laion_clap {PAPER_FILE} --local-dir .), then point to it with checkpoint= "
            f"(--checkpoint), or with the environment variable {CHECKPOINT_VARIABLE}"
        )
    path = Path(named).expanduser()
    if folder_too and path.is_dir():
        found = [[path / name for name in names if (path / name).is_file()] for names in _FOLDER]
        if not (found[0] and found[1]):
            raise CheckpointError(
                f"{path}: no CLAP in transformers' layout; expected config.json and model.safetensors or pytorch_model.bin "
                "in it, as ClapModel.save_pretrained writes them, the weights in one piece"
            )
        return tuple(files[0] for files in found if files)
    if not path.is_file():
        origin = "" if checkpoint else f" (named by the environment variable {CHECKPOINT_VARIABLE})"
        raise CheckpointError(
            f"{path}: no such checkpoint file{origin}; give the path of a local .pt file{or_folder}"
        )
    return (path,)


def read_weights(path: Path) -> "dict[str, Tensor]":
    """Read a checkpoint's weights, memory-mapped where its format allows.

    Parameters
    ----------
    path : Path
        An existing file.

    Returns
    -------
    dict of str to torch.Tensor
        By name, without the ``module.`` of distributed training.

    Raises
    ------
    CheckpointError
        If the file is no checkpoint, or reading it would run code.
    """
    import torch
    from safetensors.torch import load_file
    from torch import serialization

    before = serialization.get_safe_globals()
    serialization.add_safe_globals(_ignored_numpy_scalars())
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            # Mapped, the optimizer's two thirds of the file are never read, and processes share the weights.
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    # A file that is anything but a checkpoint can make the unpickler fail in any way.
    except Exception as error:
        reason = str(error).strip().split("\n")[-1] or type(error).__name__
        raise CheckpointError(
            f"{path} ({path.stat().st_size:,} bytes): not a checkpoint that can be read without running code from it; "
            f"is the download whole, and does it hold weights? ({type(error).__name__}: {reason})"
        ) from error
    finally:
        serialization.clear_safe_globals()
        serialization.add_safe_globals(before)
    weights = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not weights or not all(isinstance(weight, torch.Tensor) for weight in weights.values()):
        raise CheckpointError(
            f"{path}: holds no 'state_dict' of weights; expected a checkpoint as LAION publishes them"
        )
    return {str(key).removeprefix("module."): weight for key, weight in weights.items()}


def read_laion(path: Path) -> "tuple[dict[str, Tensor], list[Tensor], dict[str, Any]]":
    """Read a checkpoint in LAION's layout, and its architecture off the shapes of its weights.

    Parameters
    ----------
    path : Path
        An existing file.

    Returns
    -------
    weights : dict of str to torch.Tensor
        By name, without the filters.
    filters : list of three torch.Tensor
        Real and imaginary kernels of the Fourier transform, (513, 1, 1024) each, and mel filters, (513, 64).
    config : dict
        As transformers' ``ClapConfig`` takes it.

    Raises
    ------
    CheckpointError
        If it cannot be read, is a fusion checkpoint, or is none in LAION's layout.
    """
    weights = read_weights(path)
    if any("fusion_model" in key or "mel_conv" in key for key in weights):
        raise CheckpointError(f"{path}: {FUSED}")
    missing = [key for key in (_PATCHES, _WORDS, *_FILTERS) if key not in weights]
    if missing:
        raise CheckpointError(
            f"{path}: not a CLAP checkpoint in LAION's layout (HTS-AT for sound, RoBERTa for text); {missing[0]} is "
            f"missing. Its weights begin with {next(iter(weights))}; if they are in transformers' layout, give the folder "
            f"{path.parent}"
        )
    filters = [weights.pop(key).float() for key in _FILTERS]
    with refused_as(CheckpointError, f"{path}: {_PATCHES} and {_WORDS} must be of 4 and of 2 dimensions"):
        (width, *_), (vocab_size, hidden) = weights[_PATCHES].shape, weights[_WORDS].shape
    # What is not read off the weights is alike in all of LAION's, most of it transformers' default.
    audio = {
        "patch_embeds_hidden_size": width,
        "hidden_size": 8 * width,
        "depths": [_count(weights, rf"audio_branch\.layers\.{stage}\.blocks\.(\d+)\.") for stage in range(4)],
    }
    text = {
        "vocab_size": vocab_size,
        "hidden_size": hidden,
        "num_hidden_layers": _count(weights, r"text_branch\.encoder\.layer\.(\d+)\."),
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
    }
    return weights, filters, {"audio_config": audio, "text_config": text, "projection_dim": JOINT_DIM}


def transformers_names(weights: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """Name LAION's weights as transformers' ``ClapModel`` does, and part queries, keys and values.

    Parameters
    ----------
    weights : mapping of str to torch.Tensor
        As `read_laion` gives them.

    Returns
    -------
    dict of str to torch.Tensor
        Views of the same memory, without what ``ClapModel`` has no use for.
    """
    named: dict[str, Tensor] = {}
    for key, weight in weights.items():
        if key.startswith(_UNUSED):
            continue
        for pattern, replacement in _RENAMES:
            key = re.sub(pattern, replacement, key)
        if ".self.qkv." in key:
            thirds = zip(("query", "key", "value"), weight.chunk(3), strict=True)
            named |= {key.replace(".qkv.", f".{third}."): part for third, part in thirds}
        else:
            named[key] = weight
    return named


def fill(model: "nn.Module", weights: "Mapping[str, Tensor]", path: Path, network: str) -> None:
    """Give a network a checkpoint's weights, which become its parameters; it computes in float32 and evaluates.

    Parameters
    ----------
    model : torch.nn.Module
        The network, with or without weights of its own.
    weights : mapping of str to torch.Tensor
        What came.
    path : Path
        Where the weights are from.
    network : str
        What to call the network.

    Raises
    ------
    CheckpointError
        If weights are missing, unexpected or of another shape.
    """
    try:
        keys = model.load_state_dict(weights, strict=False, assign=True)
    except RuntimeError as error:
        reshaped = [line.strip() for line in str(error).splitlines()[1:]]
        raise CheckpointError(f"{path}: does not fit {network}; {listed(reshaped, separator=' ')}") from error
    kinds = {"missing": keys.missing_keys, "unexpected": keys.unexpected_keys}
    learned = {kind: [key for key in keys if not key.endswith(_COMPUTED)] for kind, keys in kinds.items()}
    found = [f"{len(keys)} {kind}: {listed(keys)}" for kind, keys in learned.items() if keys]
    if found:
        raise CheckpointError(f"{path}: does not fit {network}; {'; '.join(found)}")
    model.float().eval()


def _count(weights: "Mapping[str, Tensor]", pattern: str) -> int:
    return len({found[1] for key in weights if (found := re.match(pattern, key))})


class _Nothing:
    """What takes whatever a pickle passes and keeps none of it."""

    def __init__(self, *_: object):
        pass

    __setstate__ = __init__


def _ignored_numpy_scalars() -> list[Any]:
    """Classes by which the unpickler passes over numpy scalars, such as scores beside the weights."""
    names = [("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"), ("numpy", "dtype")]
    return [type(name, (_Nothing,), {"__module__": module, "__qualname__": name}) for module, name in names]


def read_config(path: Path) -> dict[str, Any]:
    """Read the settings of a CLAP without fusion from a folder's ``config.json``, with both towers in them."""
    config = read_json(path)
    if config.get("model_type") != "clap":
        raise CheckpointError(f"{path}: of a model of type {config.get('model_type')!r}, expected 'clap'")
    config |= {tower: config.get(tower) or {} for tower in TOWERS}
    if not all(isinstance(config[tower], dict) for tower in TOWERS):
        raise CheckpointError(f"{path}: {' and '.join(TOWERS)} must hold names and values")
    if config["audio_config"].get("enable_fusion"):
        raise CheckpointError(f"{path}: enable_fusion is true. {FUSED}")
    return config


def read_front_end(files: tuple[Path, ...]) -> dict[str, Any]:
    """Read how spectrograms are made of windows of 10 s at 48,000 Hz, from a folder's files."""
    settings = read_json(files[2]) if len(files) > 2 else {}
    # transformers 5 keeps a processor's settings in one file, in which those of sound are a part.
    settings = _SOUND | _FRONT_END | settings.get("feature_extractor", settings)
    config = read_config(files[1])["audio_config"]
    for name, expected in {**_SOUND, "feature_size": config.get("num_mel_bins", 64)}.items():
        if settings[name] != expected:
            raise CheckpointError(f"{files[-1]}: {name}={settings[name]}, but CLAP here takes {expected}")
    check_front_end(settings | {"spec_size": config.get("spec_size")}, files[-1])
    return {name: settings[name] for name in _FRONT_END}


def find_tokenizer(tokenizer: str | Path | None, checkpoint: Sequence[Path]) -> tuple[Path, ...]:
    """Look for the tokenizer in the folder that is named, in the checkpoint's, beside it, in Hugging Face's cache.

    Parameters
    ----------
    tokenizer : str, Path or None
        Folder with ``vocab.json`` and ``merges.txt``, or with ``tokenizer.json``.
    checkpoint : sequence of Path
        The checkpoint's files; if they are several, their folder may hold the tokenizer, and comes before that of the
        environment variable.

    Returns
    -------
    tuple of Path
        Two files or one.

    Raises
    ------
    CheckpointError
        If a named folder lacks the files, or no place holds them.
    """
    if not tokenizer and len(checkpoint) > 1 and (files := files_in(checkpoint[0].parent)):
        return files
    named = tokenizer or os.environ.get(TOKENIZER_VARIABLE)
    folder = Path(named).expanduser() if named else checkpoint[0].parent / "roberta-base"
    files = files_in(folder) or (() if named else _cached_files())
    if not files and named:
        raise CheckpointError(f"{folder}: not a tokenizer folder; expected {_WANTED} in it")
    if not files:
        raise CheckpointError(
            f"prompts need RoBERTa's tokenizer, which is not on this machine (audio does not need it). Get {_WANTED} "
            "of the Hugging Face repository roberta-base "
            f"(hf download roberta-base vocab.json merges.txt --local-dir {folder}) and put them into {folder}, or "
            f"name their folder with tokenizer= (--tokenizer) or the environment variable {TOKENIZER_VARIABLE}"
        )
    return files


def files_in(folder: Path) -> tuple[Path, ...]:
    """Pick a tokenizer's files out of a folder: ``vocab.json`` and ``merges.txt``, else ``tokenizer.json``, else none."""
    sets = (tuple(folder / name for name in names) for names in _FILE_SETS)
    return next((files for files in sets if all(file.is_file() for file in files)), ())


def load_tokenizer(files: Sequence[Path], vocab_size: int, encoder: str, extra: str) -> Any:
    """Build the tokenizer as RoBERTa sets it up, cutting and padding to 77 tokens as LAION does.

    Parameters
    ----------
    files : sequence of Path
        As `find_tokenizer` gives them.
    vocab_size : int
        Number of tokens that the checkpoint's text tower knows.
    encoder, extra : str
        Who asks, and what installs the library ``tokenizers``.

    Returns
    -------
    tokenizers.Tokenizer
        Ready for `tokenize`.

    Raises
    ------
    CheckpointError
        If the files are no byte-level BPE of RoBERTa, or know more tokens than the checkpoint.
    ImportError
        If the library ``tokenizers`` is not installed.
    """
    tokenizers = import_optional("tokenizers", extra=extra, purpose=f"the text tower of {encoder!r}")
    names = " and ".join(map(str, files))
    try:
        made = _from_bpe(tokenizers, *files) if len(files) > 1 else tokenizers.Tokenizer.from_file(names)
    # The library raises bare Exception for a file that it cannot parse.
    except Exception as error:
        raise CheckpointError(f"{names}: not a tokenizer that can be read ({error})") from error
    ids = {token: made.token_to_id(token) for token in _IDS}
    if ids != _IDS:
        raise CheckpointError(
            f"{names}: not RoBERTa's tokenizer; its special tokens are {ids}, expected {_IDS}"
        )
    if made.get_vocab_size() > vocab_size:
        raise CheckpointError(
            f"{names}: {made.get_vocab_size()} tokens, but the checkpoint's text tower knows {vocab_size}; "
            "they do not belong together"
        )
    made.enable_truncation(max_length=MAX_LENGTH)
    made.enable_padding(length=MAX_LENGTH, pad_id=_IDS["<pad>"], pad_token="<pad>")
    return made


def tokenize(tokenizer: Any, prompts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Turn prompts into token ids, [shape=(n, 77)], and 1 where they are no padding."""
    encoded = tokenizer.encode_batch([str(prompt) for prompt in prompts])
    ids = np.array([one.ids for one in encoded], dtype=np.int64)
    return ids, np.array([one.attention_mask for one in encoded], dtype=np.int64)


def _from_bpe(tokenizers: Any, vocab: Path, merges: Path) -> Any:
    made = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(str(vocab), str(merges)))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = tokenizers.processors.RobertaProcessing(
        ("</s>", _IDS["</s>"]), ("<s>", _IDS["<s>"]), trim_offsets=True, add_prefix_space=False
    )
    specials = [token for token in (*_IDS, "<unk>", "<mask>") if made.token_to_id(token) is not None]
    made.add_special_tokens(
        [tokenizers.AddedToken(token, lstrip=token == "<mask>", normalized=False) for token in specials]
    )
    return made


def _cached_files() -> tuple[Path, ...]:
    """Look RoBERTa's files up in Hugging Face's cache."""
    for repository, (name, *_) in product(("roberta-base", "FacebookAI/roberta-base"), _FILE_SETS):
        found = cached_file(repository, name)
        if found and (files := files_in(found.parent)):
            return files
    return ()
