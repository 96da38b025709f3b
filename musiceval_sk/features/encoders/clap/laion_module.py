"""LAION's own CLAP network, built offline around a checkpoint's weights.

``import laion_clap`` downloads three tokenizers, and its ``CLAP_Module`` a RoBERTa whose weights are then overwritten.
Only its model code is imported here, RoBERTa's configuration is read off the checkpoint, and nothing is initialised.
"""

import contextlib
import importlib
import importlib.util
import json
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

from musiceval_sk._optional import import_optional
from musiceval_sk.features.encoders.clap.checkpoint import check_fit
from musiceval_sk.features.encoders.clap.layout import text_settings
from musiceval_sk.features.encoders.empty_network import without_memory

if TYPE_CHECKING:
    import torch

# The length of what each audio tower gives to the projection.
AMODELS = {"HTSAT-tiny": 768, "HTSAT-base": 1024, "HTSAT-large": 2048}
_NAME = "clap_module"
_PURPOSE = "the encoder 'laion-clap'"
_TORCHVISION = {
    "torchvision": (),
    "torchvision.datasets": (),
    "torchvision.transforms": (
        *("CenterCrop", "Compose", "InterpolationMode", "Normalize"),
        *("RandomResizedCrop", "Resize", "ToTensor"),
    ),
    "torchvision.ops": (),
    "torchvision.ops.misc": ("FrozenBatchNorm2d",),
}
_IMPORTING = threading.Lock()


def build_clap(weights: "Mapping[str, torch.Tensor]", amodel: str, path: Path) -> "torch.nn.Module":
    """Build LAION's ``CLAP`` without fusion around ``weights``, in evaluation mode on the CPU.

    Parameters
    ----------
    weights : mapping of str to torch.Tensor
        As `read_weights` gives them.
    amodel : str
        One of `AMODELS`.
    path : Path
        Where the weights are from, for errors.

    Returns
    -------
    torch.nn.Module
        The network; its parameters are the given tensors, not copies.

    Raises
    ------
    CheckpointError
        If a weight is missing, unexpected or of another shape.
    """
    code = import_clap_module()
    roberta = _roberta_config(weights, path)
    model = _empty_clap(code, amodel, roberta)
    check_fit(weights, model.state_dict(), path, amodel)
    model.load_state_dict(weights, assign=True)
    return model.float().eval()


def import_clap_module() -> ModuleType:
    """Import LAION's model code without ``laion_clap`` itself; what it needs of torchvision is never called here.

    Returns
    -------
    module
        The package ``clap_module`` inside ``laion_clap``.

    Raises
    ------
    ImportError
        If ``laion_clap`` or ``transformers`` is not installed.
    """
    # Two threads would otherwise take each other's stand-ins for the real modules.
    with _IMPORTING:
        return _import_once()


@cache
def _import_once() -> ModuleType:
    folder = _package_folder()
    loaded = sys.modules.get(_NAME)
    if loaded is not None and Path(loaded.__file__ or "").parent.parent == folder:
        return loaded
    # Met for the first time beside the stand-ins, transformers would take torchvision for installed, and remember.
    transformers = import_optional("transformers", extra="clap", purpose=_PURPOSE)
    for name in ("BartModel", "BertModel", "RobertaModel"):
        getattr(transformers, name)
    vision = contextlib.nullcontext() if _importable("torchvision") else _torchvision_stand_ins()
    with vision, _first_on_path(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = importlib.import_module(_NAME)
    return code


def _package_folder() -> Path:
    spec = importlib.util.find_spec("laion_clap")
    if spec is None or spec.origin is None:
        raise ImportError(
            f"{_PURPOSE} needs the package 'laion_clap', which is not installed. "
            'Install it with: pip install "musiceval_sk[clap]"'
        )
    return Path(spec.origin).parent


@contextlib.contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    """Find ``clap_module`` for the length of an import, leaving ``sys.path`` and ``sys.modules`` as they were."""
    before = {name: sys.modules.pop(name) for name in _ours(_NAME)}
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in _ours(_NAME):
            del sys.modules[name]
        sys.modules.update(before)


def _importable(module: str) -> bool:
    # torchvision built for another torch fails with more than ImportError.
    try:
        importlib.import_module(module)
    except Exception:
        return False
    return True


@contextlib.contextmanager
def _torchvision_stand_ins() -> Iterator[None]:
    """Let ``from torchvision import ...`` succeed for the length of an import."""
    before = {name: sys.modules.pop(name) for name in _ours("torchvision")}
    for name, attributes in _TORCHVISION.items():
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None, is_package=True)
        module.__path__ = []
        for attribute in attributes:
            setattr(module, attribute, type(attribute, (), {}))
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in _ours("torchvision"):
            del sys.modules[name]
        sys.modules.update(before)


def _ours(package: str) -> list[str]:
    return [name for name in sys.modules if name.split(".")[0] == package]


def _empty_clap(code: ModuleType, amodel: str, roberta: Any) -> "torch.nn.Module":
    """LAION's network around RoBERTa of this configuration, its parameters without memory."""
    import torch
    from torch import nn
    from transformers import RobertaModel

    settings = json.loads((Path(str(code.__file__)).parent / "model_configs" / f"{amodel}.json").read_text())
    # LAION's constructor would download roberta-base; it is given the smallest text tower, replaced below.
    settings["text_cfg"] |= {
        "model_type": "transformer",
        "vocab_size": 1,
        "width": 64,
        "heads": 1,
        "layers": 1,
    }
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), without_memory(), _blank_filters():
        warnings.filterwarnings("ignore", message="torch.meshgrid")
        model = code.CLAP(**settings)
        del model.token_embedding, model.positional_embedding, model.ln_final
        joint = model.joint_embed_shape
        model.text_branch = RobertaModel(roberta)
        model.text_projection = nn.Sequential(
            nn.Linear(roberta.hidden_size, joint), nn.ReLU(), nn.Linear(joint, joint)
        )
    model.text_branch_type = "roberta"
    model.attn_mask = model.build_attention_mask()
    return model


@contextlib.contextmanager
def _blank_filters() -> Iterator[None]:
    """Let torchlibrosa leave its spectrogram's filters blank: checkpoints hold them, and computing them imports numba."""
    from torchlibrosa import stft

    filters = SimpleNamespace(
        get_window=lambda window, length, fftbins: np.zeros(length),
        mel=lambda sr, n_fft, n_mels, fmin, fmax: np.zeros((n_mels, n_fft // 2 + 1)),
    )
    blank = SimpleNamespace(
        filters=filters, util=SimpleNamespace(pad_center=lambda window, size: np.zeros(size))
    )
    with (
        mock.patch.object(stft, "librosa", blank),
        mock.patch.object(stft.DFTBase, "dft_matrix", lambda self, n: np.zeros((n, n), np.complex64)),
    ):
        yield


def _roberta_config(weights: "Mapping[str, torch.Tensor]", path: Path) -> Any:
    """RoBERTa's configuration, read off the shapes of its weights."""
    from transformers import RobertaConfig

    return RobertaConfig(**text_settings(weights, path))
