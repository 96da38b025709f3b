"""LAION's CLAP, the paper's encoder, from a local checkpoint and without the network."""

from pathlib import Path
from typing import Any

from musiceval_sk._text import listed
from musiceval_sk.features.encoders.clap import tokenizer as roberta
from musiceval_sk.features.encoders.clap.checkpoint import find_checkpoint, read_weights
from musiceval_sk.features.encoders.clap.encoder import ClapEncoder
from musiceval_sk.features.encoders.clap.forward import Towers, laion_towers
from musiceval_sk.features.encoders.clap.laion_module import AMODELS, build_clap
from musiceval_sk.features.encoders.clap.layout import JOINT_DIM

_ROBERTA_WIDTH = 768


class LaionClapEncoder(ClapEncoder):
    """CLAP (HTS-AT and RoBERTa, without fusion) as LAION's package ``laion_clap`` computes it.

    Windows of 10 s at 48 kHz are rounded to 16 bit, as CLAP was trained, and embedded one by one; prompts are cut at
    77 tokens. By default audio and text vectors have length 1 and share one space of 512 dimensions.

    Parameters
    ----------
    checkpoint : str or Path, optional
        Local ``.pt`` file in LAION's layout. Default: the environment variable ``MUSICEVAL_CLAP_CHECKPOINT``. The
        paper's is ``music_audioset_epoch_15_esc_90.14.pt`` of the Hugging Face repository ``lukewys/laion_clap``.
    amodel : {"HTSAT-tiny", "HTSAT-base", "HTSAT-large"}, default="HTSAT-base"
        Audio tower of the checkpoint.
    tokenizer : str or Path, optional
        Local folder with RoBERTa's ``vocab.json`` and ``merges.txt``, or ``tokenizer.json``. Default: the environment
        variable ``MUSICEVAL_ROBERTA``, else a folder ``roberta-base`` beside the checkpoint, else Hugging Face's
        cache. Only prompts need it.
    layer : {"projection", "encoder"}, default="projection"
        ``"projection"``: vectors of length 1 in the space that sound and text share. ``"encoder"``: what the towers give to
        the projection, as it is: 768 numbers of HTSAT-tiny, 1024 of HTSAT-base, 2048 of HTSAT-large, 768 of RoBERTa.
    sound : {"resampled", "16k-padded", "16k-repeated"}, default="resampled"
        ``"resampled"``: the whole clip at 48 kHz, in windows of 10 s. The other two are the released MusicEval
        baseline's mistake, for reproducing it and nothing else: the first 480,000 samples at 16 kHz are taken for 10 s at
        48 kHz, so that 30 s are heard in 10 s and three times too high, not rounded to 16 bit; a shorter clip is filled up
        with zeros (as in that baseline's training) or repeated (as in its prediction). Each has fingerprints of its own.
    dtype : {"float32", "bfloat16"}, default="float32"
        What the towers' matrix products are computed in; spectrograms, norms and vectors are of float32 either way.
    device : str, default="auto"
        ``"auto"`` (CUDA where there is one, else the CPU) or torch's name of a device.
    batch_size : int, optional
        Number of windows or prompts that go through the network at once. Default: 16 on a CPU; on a GPU as many as its
        free memory holds, at most 128. Either is halved when a GPU's memory runs out.

    Raises
    ------
    ValueError
        If ``amodel``, ``layer``, ``sound`` or ``dtype`` is unknown or ``batch_size`` is not positive.

    Notes
    -----
    Nothing is read until a description or a vector is asked for, and nothing is ever downloaded. The weights stay
    memory-mapped: processes on one machine share them, and the file must not be rewritten in place meanwhile.

    How far bfloat16 moves the vectors, measured on a CPU with random weights of HTSAT-base and 12 layers of RoBERTa: by at
    most 0.0011 for sound and 0.0035 for text, a cosine of at least 0.9999 and 0.9997 with those of float32.

    The model: Y. Wu, K. Chen, T. Zhang, Y. Hui, T. Berg-Kirkpatrick and S. Dubnov, "Large-scale contrastive
    language-audio pretraining with feature fusion and keyword-to-caption augmentation" (ICASSP 2023).

    Examples
    --------
    >>> encoder = LaionClapEncoder("clap.pt")
    >>> encoder.window_length, encoder.audio_dim
    (480000, 512)
    """

    name = "laion-clap"
    extra = "clap"

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        *,
        amodel: str = "HTSAT-base",
        tokenizer: str | Path | None = None,
        layer: str = "projection",
        sound: str = "resampled",
        dtype: str = "float32",
        device: str = "auto",
        batch_size: int | None = None,
    ):
        if amodel not in AMODELS:
            raise ValueError(f"unknown amodel {amodel!r}; known are: {listed(AMODELS)}")
        super().__init__(
            checkpoint,
            tokenizer=tokenizer,
            layer=layer,
            sound=sound,
            dtype=dtype,
            device=device,
            batch_size=batch_size,
        )
        self.amodel = amodel
        inner = layer == "encoder"
        self.audio_dim = AMODELS[amodel] if inner else JOINT_DIM
        self.text_dim = _ROBERTA_WIDTH if inner else JOINT_DIM

    def _files(self) -> tuple[Path, ...]:
        return (find_checkpoint(self.checkpoint, self.name),)

    def _load(self, files: tuple[Path, ...]) -> Towers:
        return laion_towers(build_clap(read_weights(files[0]), self.amodel, files[0]))

    def _find_tokenizer(self, weights: Path) -> tuple[Path, ...]:
        return roberta.find_tokenizer(self.tokenizer, weights)

    def _describe_model(self, weights_sha256: str, *others_sha256: str) -> dict[str, Any]:
        return {"checkpoint_sha256": weights_sha256, "amodel": self.amodel}

    def _describe_sound(self) -> dict[str, Any]:
        return {"quantisation": "int16"}

    def _model_option(self) -> str:
        return f", amodel={self.amodel!r}"
