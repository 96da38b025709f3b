"""CLAP as Hugging Face's transformers computes it, from a local checkpoint and without the network."""

from pathlib import Path
from typing import Any

from musiceval_sk.exceptions import CheckpointError
from musiceval_sk.features.encoders.clap import tokenizer as roberta
from musiceval_sk.features.encoders.clap.checkpoint import find_checkpoint
from musiceval_sk.features.encoders.clap.encoder import ClapEncoder
from musiceval_sk.features.encoders.clap.forward import Towers
from musiceval_sk.features.encoders.clap.hf_folder import folder_files, read_config, read_front_end
from musiceval_sk.features.encoders.clap.layout import JOINT_DIM

# Of both towers in transformers' own defaults, which a config.json may leave out.
_WIDTH = 768


class HfClapEncoder(ClapEncoder):
    """CLAP (HTS-AT and RoBERTa, without fusion) on transformers' ``ClapModel``, which runs on numpy 2.

    From LAION's ``.pt`` file it computes what the encoder ``"laion-clap"`` computes, to 1e-5, without the package
    ``laion_clap``: the architecture is read off the weights, the filters of the spectrogram are the checkpoint's own, and
    windows are rounded to 16 bit. From a folder in transformers' layout it computes what ``ClapModel`` and
    ``ClapProcessor`` compute for a window of 10 s at 48 kHz. Prompts are cut at 77 tokens in both cases.

    Parameters
    ----------
    checkpoint : str or Path, optional
        Local ``.pt`` file in LAION's layout, or folder with ``config.json`` and ``model.safetensors`` or
        ``pytorch_model.bin``. Default: the environment variable ``MUSICEVAL_CLAP_CHECKPOINT``.
    tokenizer : str or Path, optional
        Local folder with RoBERTa's ``vocab.json`` and ``merges.txt``, or ``tokenizer.json``. Default: the checkpoint's
        folder if it holds them, else the environment variable ``MUSICEVAL_ROBERTA``, else a folder ``roberta-base``
        beside the checkpoint, else Hugging Face's cache. Only prompts need it.
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
        If ``layer``, ``sound`` or ``dtype`` is unknown or ``batch_size`` is not positive.

    Notes
    -----
    Nothing is read until a description or a vector is asked for, nothing is ever downloaded, and nothing that a
    checkpoint holds is run. Vectors of the two layouts, and of ``"laion-clap"``, have fingerprints of their own. A folder
    without ``preprocessor_config.json`` gets the spectrogram that CLAP was trained with (64 mels of 50 to 14,000 Hz).

    How far bfloat16 moves the vectors, measured on a CPU with random weights of HTSAT-base and 12 layers of RoBERTa: by at
    most 0.0011 for sound and 0.0035 for text, a cosine of at least 0.9999 and 0.9997 with those of float32.

    The model: Y. Wu, K. Chen, T. Zhang, Y. Hui, T. Berg-Kirkpatrick and S. Dubnov, "Large-scale contrastive
    language-audio pretraining with feature fusion and keyword-to-caption augmentation" (ICASSP 2023).

    Examples
    --------
    >>> encoder = HfClapEncoder("clap.pt")
    >>> encoder.window_length, encoder.audio_dim
    (480000, 512)
    """

    name = "hf-clap"
    extra = "hf"

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        *,
        tokenizer: str | Path | None = None,
        layer: str = "projection",
        sound: str = "resampled",
        dtype: str = "float32",
        device: str = "auto",
        batch_size: int | None = None,
    ):
        super().__init__(
            checkpoint,
            tokenizer=tokenizer,
            layer=layer,
            sound=sound,
            dtype=dtype,
            device=device,
            batch_size=batch_size,
        )
        self._widths: tuple[int, int] | None = None

    @property
    def audio_dim(self) -> int:  # type: ignore[override]
        """Length of an audio vector; but for LAION's layout and the projection, it is read from the checkpoint."""
        return self._both_dims()[0]

    @property
    def text_dim(self) -> int:  # type: ignore[override]
        """Length of a text vector; but for LAION's layout and the projection, it is read from the checkpoint."""
        return self._both_dims()[1]

    def _both_dims(self) -> tuple[int, int]:
        path = Path(self.checkpoint).expanduser() if self.checkpoint else self._path()
        if path.is_dir():
            config = read_config(folder_files(path))
            if self.layer == "projection":
                return (config.get("projection_dim", JOINT_DIM),) * 2
            audio, text = (
                config[tower].get("hidden_size", _WIDTH) for tower in ("audio_config", "text_config")
            )
            return audio, text
        if self.layer == "projection":
            return JOINT_DIM, JOINT_DIM
        if self._widths is None:
            from musiceval_sk.features.encoders.clap.hf_module import laion_widths

            self._widths = laion_widths(self._path())
        return self._widths

    def _path(self) -> Path:
        path = find_checkpoint(self.checkpoint, self.name, folder_too=True)
        if path.is_file() and (path.suffix == ".safetensors" or path.name == "pytorch_model.bin"):
            raise CheckpointError(
                f"{path}: weights in transformers' layout need the settings beside them; give the folder {path.parent}"
            )
        return path

    def _files(self) -> tuple[Path, ...]:
        path = self._path()
        return folder_files(path) if path.is_dir() else (path,)

    def _load(self, files: tuple[Path, ...]) -> Towers:
        from musiceval_sk.features.encoders.clap import hf_module as module

        return module.towers_of_file(files[0]) if len(files) == 1 else module.towers_of_folder(files)

    def _find_tokenizer(self, weights: Path) -> tuple[Path, ...]:
        own = roberta.files_in(weights.parent) if self._path().is_dir() and not self.tokenizer else ()
        return own or roberta.find_tokenizer(self.tokenizer, weights)

    def _describe_model(self, weights_sha256: str, *others_sha256: str) -> dict[str, Any]:
        if not others_sha256:
            return {"checkpoint_sha256": weights_sha256, "layout": "laion"}
        return {
            "checkpoint_sha256": weights_sha256,
            "layout": "transformers",
            "config_sha256": others_sha256[0],
        }

    def _describe_sound(self) -> dict[str, Any]:
        files = self._files()
        if len(files) == 1:
            return {"quantisation": "int16"}
        return {"quantisation": "none", "front_end": read_front_end(files)._asdict()}
