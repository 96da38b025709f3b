"""CLAP with the audio tower of LAION's own package, from a local checkpoint and without the network."""

import functools
import importlib
import importlib.util
import json
import warnings
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from musiceval_sk._optional import pip_install
from musiceval_sk._text import require_known
from musiceval_sk.exceptions import CheckpointError
from musiceval_sk.features.encoders.base import Modality
from musiceval_sk.features.encoders.clap.checkpoint import fill
from musiceval_sk.features.encoders.clap.hf_clap import HfClapEncoder
from musiceval_sk.features.encoders.local import standing_in

if TYPE_CHECKING:
    from torch import Tensor

_TOWER = "audio_branch."
# What each audio tower gives to the projection is as long.
AMODELS = {"HTSAT-tiny": 768, "HTSAT-base": 1024, "HTSAT-large": 2048}
_STAND_INS = {
    "torchvision.ops.misc": ("FrozenBatchNorm2d",),
    "torchlibrosa.stft": ("Spectrogram", "LogmelFilterBank"),
    "torchlibrosa.augmentation": ("SpecAugmentation",),
}


class LaionClapEncoder(HfClapEncoder):
    """CLAP (HTS-AT and RoBERTa, without fusion) with HTS-AT as LAION's package ``laion_clap`` computes it.

    From LAION's ``.pt`` file it computes what ``CLAP_Module`` of that package computes, to 1e-5, and what `HfClapEncoder`
    does. The two share all but the audio tower.

    Parameters
    ----------
    checkpoint : str or Path, default=None
        Local ``.pt`` file in LAION's layout. Default: the environment variable ``MUSICEVAL_CLAP_CHECKPOINT``. The
        paper's is ``music_audioset_epoch_15_esc_90.14.pt`` of the Hugging Face repository ``lukewys/laion_clap``.
    amodel : {"HTSAT-tiny", "HTSAT-base", "HTSAT-large"}, default="HTSAT-base"
        Audio tower of the checkpoint.
    **options
        ``tokenizer``, ``layer``, ``sound``, ``dtype``, ``device`` and ``batch_size``, as `HfClapEncoder` takes them.

    Raises
    ------
    ValueError
        If ``amodel`` or a choice among the options is unknown or ``batch_size`` is not positive.

    Notes
    -----
    Nothing is read until a description or a vector is asked for, and nothing is ever downloaded. The weights stay
    memory-mapped: processes on one machine share them, and the file must not be rewritten in place meanwhile.

    Examples
    --------
    >>> encoder = LaionClapEncoder("clap.pt", device="cpu")
    >>> encoder.window_length
    480000
    """

    name = "laion-clap"
    extra = "clap"
    reads_folders = False
    shown = ("amodel", "device")

    def __init__(self, checkpoint: str | Path | None = None, *, amodel: str = "HTSAT-base", **options: Any):
        require_known("amodel", amodel, AMODELS)
        super().__init__(checkpoint, **options)
        self.amodel = amodel

    def describe(self, modality: Modality) -> dict[str, Any]:
        """Everything that could change a vector of this modality: as of "hf-clap", with the audio tower's name.

        Parameters
        ----------
        modality : {"audio", "text"}
            Which of the two towers to describe.

        Returns
        -------
        dict
            Plain JSON values.
        """
        described = super().describe(modality) | {"amodel": self.amodel}
        del described["layout"]
        return described

    def _finish(self, model: Any, laions: dict[str, "Tensor"], path: Path) -> None:
        """Put LAION's audio tower in."""
        import torch

        from musiceval_sk.features.encoders.clap.network import LaionTower, WithoutMemory

        width = model.config.audio_config.hidden_size
        fitting = {width: amodel for amodel, width in AMODELS.items()}.get(width, self.amodel)
        if fitting != self.amodel:
            raise CheckpointError(
                f"{path}: does not fit {self.amodel}. Its audio tower is {fitting}: pass amodel={fitting!r}"
            )
        code = import_htsat()
        settings = Path(str(code.__file__)).parent / "model_configs" / f"{self.amodel}.json"
        with torch.random.fork_rng(devices=[]), WithoutMemory(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.meshgrid")
            tower = code.create_htsat_model(SimpleNamespace(**json.loads(settings.read_text())["audio_cfg"]))
        named = {key.removeprefix(_TOWER): weight for key, weight in laions.items() if _TOWER in key}
        fill(tower, named, path, self.amodel)
        model.audio_model = LaionTower(tower)


@functools.cache
def import_htsat() -> ModuleType:
    """Import the audio tower of the installed package ``laion_clap``, and nothing else of that package.

    Its packages would download three tokenizers and ask for a torchvision that fits torch: an empty one stands in for them
    that knows only its folder. Of torchvision and torchlibrosa nothing is ever called but constructors, for `laion_log_mel`
    makes the spectrograms: layers that do nothing stand in for these.
    """
    from torch import nn

    spec = importlib.util.find_spec("laion_clap")
    if spec is None or spec.origin is None:
        raise ImportError(
            "the encoder 'laion-clap' needs the package 'laion_clap', which is not installed. "
            f"Install it with: {pip_install('clap')}"
        )
    package = ModuleType("clap_module")
    package.__path__ = [str(Path(spec.origin).parent / "clap_module")]
    stand_ins: dict[str, Any] = {"clap_module": package}
    for name, members in _STAND_INS.items():
        stand_ins[name] = SimpleNamespace(**dict.fromkeys(members, nn.Identity))
    with standing_in(stand_ins, "clap_module"):
        return importlib.import_module("clap_module.htsat")
