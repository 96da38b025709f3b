"""A CLAP checkpoint on disk: where it is, what names it, and its weights, read without running anything it holds."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from musiceval_sk._text import listed
from musiceval_sk.exceptions import CheckpointError
from musiceval_sk.features.audio import content_key

if TYPE_CHECKING:
    from torch import Tensor

CHECKPOINT_VARIABLE = "MUSICEVAL_CLAP_CHECKPOINT"
PAPER_FILE = "music_audioset_epoch_15_esc_90.14.pt"
FUSED = f"It is a fusion checkpoint; this encoder reads those without fusion, such as {PAPER_FILE}"
# RoBERTa of transformers < 4.31 saved this constant; later ones neither hold nor take it.
_LEFT_OUT = "text_branch.embeddings.position_ids"
_PATCHES = "audio_branch.patch_embed.proj.weight"
_AMODEL_OF_WIDTH = {96: "HTSAT-tiny", 128: "HTSAT-base", 256: "HTSAT-large"}
_NUMPY_SCALAR = (
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy", "dtype"),
)


class FileIdentity(NamedTuple):
    """What names a file's content, and what tells without reading it that it is still the same."""

    size: int
    modified: int
    sha256: str


def identify(path: Path, known: FileIdentity | None = None) -> FileIdentity:
    """Digest a file, unless its size and modification time are those of ``known``.

    Parameters
    ----------
    path : Path
        An existing file.
    known : FileIdentity, optional
        What this function said before, perhaps in another process.

    Returns
    -------
    FileIdentity
        ``known`` where nothing changed.
    """
    status = path.stat()
    if known is not None and (known.size, known.modified) == (status.st_size, status.st_mtime_ns):
        return known
    return FileIdentity(status.st_size, status.st_mtime_ns, content_key(path).hex())


def find_checkpoint(checkpoint: str | Path | None, encoder: str, *, folder_too: bool = False) -> Path:
    """Find the checkpoint that the argument names, else the environment variable.

    Parameters
    ----------
    checkpoint : str, Path or None
        Path of a local file.
    encoder : str
        Who asks, for errors.
    folder_too : bool, default=False
        Whether a folder in transformers' layout does as well.

    Returns
    -------
    Path
        An existing file, or folder.

    Raises
    ------
    CheckpointError
        If none is named, or there is no such file.
    """
    named = checkpoint or os.environ.get(CHECKPOINT_VARIABLE)
    folder = ", or a folder in transformers' layout" if folder_too else ""
    if not named:
        raise CheckpointError(
            f"the encoder {encoder!r} needs a checkpoint file{folder}. The paper's is {PAPER_FILE} in the Hugging Face "
            "repository lukewys/laion_clap: download it once "
            f"(hf download lukewys/laion_clap {PAPER_FILE} --local-dir .), then point to it with checkpoint=, "
            f"with --checkpoint, or with the environment variable {CHECKPOINT_VARIABLE}"
        )
    path = Path(named).expanduser()
    if not (path.is_file() or (folder_too and path.is_dir())):
        origin = "" if checkpoint else f" (named by the environment variable {CHECKPOINT_VARIABLE})"
        raise CheckpointError(
            f"{path}: no such checkpoint file{origin}; give the path of a local .pt file{folder}"
        )
    return path


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

    content = _load(path)
    weights = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(weights, Mapping) or not weights:
        raise CheckpointError(f"{path}: holds no 'state_dict'; expected a checkpoint as LAION publishes them")
    strangers = [key for key, value in weights.items() if not isinstance(value, torch.Tensor)]
    if strangers:
        raise CheckpointError(f"{path}: these entries are no weights: {listed(strangers)}")
    named = {str(key).removeprefix("module."): weight for key, weight in weights.items()}
    named.pop(_LEFT_OUT, None)
    return named


def check_fit(
    weights: "Mapping[str, Tensor]", expected: "Mapping[str, Tensor]", path: Path, network: str
) -> None:
    """Hold a checkpoint against the network that is to take it.

    Parameters
    ----------
    weights, expected : mapping of str to torch.Tensor
        What came, and what the network has.
    path : Path
        Where the weights are from.
    network : str
        What to call the network, such as its audio tower's name.

    Raises
    ------
    CheckpointError
        If weights are missing, unexpected or of another shape, with the likely reason.
    """
    missing = [key for key in expected if key not in weights]
    unexpected = [key for key in weights if key not in expected]
    reshaped = [
        f"{key} {tuple(weights[key].shape)} instead of {tuple(weight.shape)}"
        for key, weight in expected.items()
        if key in weights and weights[key].shape != weight.shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    found = [f"{len(keys)} {kind}: {listed(keys)}" for kind, keys in kinds.items() if keys]
    if found:
        raise CheckpointError(f"{path}: does not fit {network}; {'; '.join(found)}.{_hint(weights, network)}")


def is_fused(weights: "Mapping[str, Tensor]") -> bool:
    """Tell whether weights are those of a CLAP that fuses several spectrograms of a long clip.

    Parameters
    ----------
    weights : mapping of str to torch.Tensor
        By LAION's or by transformers' names.

    Returns
    -------
    bool
        True for LAION's checkpoints with "fusion" in their names.
    """
    return any("fusion_model" in key or "mel_conv" in key for key in weights)


def _hint(weights: "Mapping[str, Tensor]", amodel: str) -> str:
    if is_fused(weights):
        return f" {FUSED}"
    patches = weights.get(_PATCHES)
    other = _AMODEL_OF_WIDTH.get(patches.shape[0]) if patches is not None else None
    return f" Its audio tower is {other}: pass amodel={other!r}" if other not in (None, amodel) else ""


def _load(path: Path) -> Any:
    import zipfile

    import torch

    try:
        with _numpy_scalars_ignored():
            # Mapped, the optimizer's two thirds of the file are never read, and processes share the weights.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    # A file that is anything but a checkpoint can make the unpickler fail in any way.
    except Exception as error:
        reason = str(error).strip().split("\n")[-1] or type(error).__name__
        raise CheckpointError(
            f"{path} ({path.stat().st_size:,} bytes): not a checkpoint that torch can read without running code from "
            f"it; is the download whole, and is it a .pt of weights? ({type(error).__name__}: {reason})"
        ) from error


@contextmanager
def _numpy_scalars_ignored() -> Iterator[None]:
    """Let the unpickler pass over numpy scalars, such as scores beside the weights, by reading them as nothing."""
    from torch import serialization

    before = serialization.get_safe_globals()
    serialization.add_safe_globals([_nothing_called(*name) for name in _NUMPY_SCALAR])
    try:
        yield
    finally:
        serialization.clear_safe_globals()
        serialization.add_safe_globals(before)


def _nothing_called(module: str, name: str) -> type:
    def accept(self: object, *_: object) -> None:
        """Take whatever the pickle passes and keep none of it."""

    return type(
        name, (), {"__module__": module, "__qualname__": name, "__init__": accept, "__setstate__": accept}
    )
