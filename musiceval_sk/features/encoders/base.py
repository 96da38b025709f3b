"""What an encoder is, and encoders by name: ours and those that third parties register.

An encoder object costs nothing to make. Its *description* holds everything that could change a vector, so its
*fingerprint* can be compared with what a store holds before any model is built.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

import numpy as np

from musiceval_sk._text import listed, require_known
from musiceval_sk.features.audio import cut_windows, window_weights

Modality = Literal["audio", "text"]
MODALITIES: tuple[Modality, ...] = ("audio", "text")
GROUP = "musiceval_sk.encoders"
_WITH_TEXT = "'laion-clap', 'hf-clap' and 'muq' with a MuQ-MuLan checkpoint"
_ABSENT = "absent"
_LONG, _SHOWN = 24, 12  # of what descriptions say
_BUILT_IN = {
    "spectral": "musiceval_sk.features.encoders.spectral:SpectralEncoder",
    "laion-clap": "musiceval_sk.features.encoders.clap.laion_clap:LaionClapEncoder",
    "hf-clap": "musiceval_sk.features.encoders.clap.hf_clap:HfClapEncoder",
    "hf-audio": "musiceval_sk.features.encoders.hf_audio:HfAudioEncoder",
    "muq": "musiceval_sk.features.encoders.muq.encoder:MuQEncoder",
}


class Encoder(ABC):
    """Base class of everything that turns windows of sound and prompts into vectors.

    Subclasses set the attributes below and implement `describe`, `encode_audio` and, unless they take sound alone, `encode_text`;
    a constructor comes on top where there are options. Constructing and pickling one must stay cheap: heavy models are built by the first
    ``encode_*`` call and left out of pickles. Encoding is deterministic, and a batch of one equals a batch of many.

    Attributes
    ----------
    name : str
        Name in the registry, for example ``"laion-clap"``.
    sample_rate : int
        Rate in Hz at which `encode_audio` expects its windows.
    window_seconds : float
        Length of a window in seconds.
    hop_seconds : float
        Distance between the starts of neighbouring windows in seconds.
    modalities : tuple of {"audio", "text"}
        What it encodes: ``("audio", "text")`` unless a subclass says ``("audio",)``.
    audio_dim, text_dim : int
        Length of an audio and of a text vector.
    batch_size : int
        Number of windows or prompts that one ``encode_*`` call is best given; may be known only once prepared.
    on_accelerator : bool
        Whether the model computes elsewhere than on the CPU, so that all of its cores may decode, and two threads may
        call `encode_audio` at once, one preparing its windows while the other's are computed.
    joint_space : bool
        Whether vectors of sound and of text have length 1 in one space, so that their product is a cosine that says how well they
        agree, see `clap_score`; by default they do not.

    Examples
    --------
    A whole encoder, of loudness and of length:

    >>> import numpy as np
    >>> from musiceval_sk import Encoder
    >>> class Loudness(Encoder):
    ...     name, sample_rate, window_seconds, hop_seconds = "loudness", 8000, 1.0, 1.0
    ...     audio_dim = text_dim = 1
    ...
    ...     def describe(self, modality):
    ...         window = [self.sample_rate, self.window_seconds, self.hop_seconds]
    ...         return {"name": self.name, "version": 1, "window": window if modality == "audio" else None}
    ...
    ...     def encode_audio(self, windows):
    ...         return np.sqrt((self.check_windows(windows) ** 2).mean(axis=1, keepdims=True))
    ...
    ...     def encode_text(self, prompts):
    ...         return np.array([len(prompt) for prompt in prompts], dtype=np.float32).reshape(-1, 1)
    >>> encoder = Loudness()
    >>> encoder.encode_audio(encoder.cut(np.full(12_000, 0.5, dtype=np.float32)))
    array([[0.5],
           [0.5]], dtype=float32)

    `extract`, `ClipEmbedder` and all that take an encoder take this object. So that they, and ``--encoder`` at the command
    line, take its name as well, its package registers the class in ``pyproject.toml``::

        [project.entry-points."musiceval_sk.encoders"]
        loudness = "my_package:Loudness"

    ``musiceval_sk.testing.check_encoder(Loudness())`` tries whether it keeps its promises, and ``examples/own_encoder.py`` is a whole one with torch.
    """

    name: str
    sample_rate: int
    window_seconds: float
    hop_seconds: float
    modalities: tuple[Modality, ...] = MODALITIES
    audio_dim: int
    text_dim: int = 0
    batch_size: int = 32
    on_accelerator: bool = False
    joint_space: bool = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.modalities == ("audio",) and cls.encode_text is Encoder.encode_text:
            cls.encode_text = _refuse_text  # type: ignore[method-assign, assignment]

    def prepare(self) -> None:  # noqa: B027
        """Do what the first ``encode_*`` call would do before it encodes, such as building the model; by default nothing."""

    def trainable(self) -> Any:
        """Build a network to train, of its own: what becomes of it never changes what this encoder gives.

        Returns
        -------
        ClapNetwork
            Or what has its members `tokenize`, `embed_audio`, `embed_text` and `stage`, of another kind of encoder.

        Raises
        ------
        ValueError
            If there is nothing to train, as by default.
        """
        raise ValueError(
            f"the encoder {self.name!r} has no towers that could be trained; 'laion-clap' and 'hf-clap' have"
        )

    @abstractmethod
    def describe(self, modality: Modality) -> dict[str, Any]:
        """Everything that could change a vector of this modality, as plain JSON values.

        Parameters
        ----------
        modality : {"audio", "text"}
            Which of the two towers to describe.

        Returns
        -------
        dict
            JSON-serialisable; two encoders with equal descriptions give equal vectors.
        """

    @abstractmethod
    def encode_audio(self, windows: np.ndarray) -> np.ndarray:
        """Embed windows of sound.

        Parameters
        ----------
        windows : np.ndarray [shape=(n, window_seconds * sample_rate)], float32 in [-1, 1]
            Mono windows at `sample_rate`.

        Returns
        -------
        np.ndarray [shape=(n, audio_dim)], float32
            One vector a window.
        """

    @abstractmethod
    def encode_text(self, prompts: Sequence[str]) -> np.ndarray:
        """Embed prompts; a `ValueError` where ``modalities = ("audio",)``.

        Parameters
        ----------
        prompts : sequence of str
            Texts, possibly empty.

        Returns
        -------
        np.ndarray [shape=(n, text_dim)], float32
            One vector a prompt.
        """

    def cut(self, samples: np.ndarray) -> np.ndarray:
        """Cut a clip into the windows that `encode_audio` takes; by default as `cut_windows` does.

        Parameters
        ----------
        samples : np.ndarray [shape=(n,)]
            A clip at `sample_rate`.

        Returns
        -------
        np.ndarray [shape=(n_windows, window_seconds * sample_rate)]
            The windows, in order.
        """
        return cut_windows(samples, self.window_length, self.hop_length)

    def window_weights(self, n_windows: int, n_samples: float) -> np.ndarray:
        """Say how much sound each window of a clip brings that none before it covers, as a share of a window.

        By these shares windows are averaged. An encoder with a `cut` of its own that gives several windows has one of these, too.

        Parameters
        ----------
        n_windows : int
            How many windows `cut` gave.
        n_samples : float
            Length of the clip at `sample_rate`.

        Returns
        -------
        np.ndarray [shape=(n_windows,)], float32
            See `musiceval_sk.features.audio.window_weights`.
        """
        return window_weights(n_windows, n_samples, self.window_length, self.hop_length)

    def check_windows(self, windows: np.ndarray) -> np.ndarray:
        """Refuse windows that `encode_audio` does not take.

        Parameters
        ----------
        windows : np.ndarray
            What was given to `encode_audio`.

        Returns
        -------
        np.ndarray [shape=(n, window_seconds * sample_rate)], float32
            The windows.

        Raises
        ------
        ValueError
            If they are of another shape.
        """
        windows = np.asarray(windows, dtype=np.float32)
        if windows.ndim != 2 or windows.shape[1] != self.window_length:
            raise ValueError(
                f"expected windows of shape (n, {self.window_length}), got {windows.shape}; a window is "
                f"{self.window_seconds:g} s of mono sound at {self.sample_rate:,} Hz as "
                f"encoder.cut(read_audio(path, {self.sample_rate})) makes it"
            )
        return windows

    def towers(self, modality: str) -> tuple[Modality, ...]:
        """Name the towers that somebody asks for.

        Parameters
        ----------
        modality : {"audio", "text", "both"}
            What is to be encoded; "both" is all that this encoder takes.

        Returns
        -------
        tuple of {"audio", "text"}
            Audio first.

        Raises
        ------
        ValueError
            If there is no such modality, or no such tower.
        """
        if modality == "both":
            return self.modalities
        require_known("modality", modality, (*MODALITIES, "both"))
        if modality not in self.modalities:
            raise ValueError(f"the encoder {self.name!r} has no {modality} tower; {_WITH_TEXT} have both")
        return (modality,)

    def dim(self, modality: Modality) -> int:
        """Length of a vector of this modality.

        Parameters
        ----------
        modality : {"audio", "text"}
            Which of the two towers.

        Returns
        -------
        int
            `audio_dim` or `text_dim`.
        """
        return self.audio_dim if modality == "audio" else self.text_dim

    def fingerprint_of(self, modality: Modality) -> str:
        """Digest of `describe`: the name under which a store keeps vectors of this modality.

        Parameters
        ----------
        modality : {"audio", "text"}
            Which of the two towers.

        Returns
        -------
        str
            32 hexadecimal digits.
        """
        return digest_of(self.describe(modality))

    @property
    def fingerprint(self) -> str:
        """Digest of all towers' descriptions: the encoder's identity in models and reports."""
        return digest_of({modality: self.describe(modality) for modality in self.modalities})

    @property
    def window_length(self) -> int:
        """Samples in a window."""
        return round(self.window_seconds * self.sample_rate)

    @property
    def hop_length(self) -> int:
        """Samples between the starts of neighbouring windows."""
        return round(self.hop_seconds * self.sample_rate)


def _refuse_text(encoder: Encoder, prompts: Sequence[str]) -> np.ndarray:
    raise ValueError(f"the encoder {encoder.name!r} has no text tower; {_WITH_TEXT} have one")


def digest_of(description: dict[str, Any]) -> str:
    """Hash a JSON description independently of the order of its keys.

    Parameters
    ----------
    description : dict
        JSON-serialisable values.

    Returns
    -------
    str
        The first 32 hexadecimal digits of the SHA-256 of its canonical JSON.
    """
    canonical = json.dumps(description, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def compare_descriptions(before: dict[str, Any], now: dict[str, Any], then_word: str, now_word: str) -> str:
    """Write out the fields in which two descriptions differ.

    Parameters
    ----------
    before, now : dict
        Descriptions, see `Encoder.describe`.
    then_word, now_word : str
        What to call the two, such as "at fit" and "now".

    Returns
    -------
    str
        Such as ``"version: 1 at fit, 2 now; hop_seconds: 10.0 at fit, 5.0 now"``; at most five fields, those that only
        ``before`` has at the end.
    """
    parts = []
    for name in differing(before, now):
        texts = [str(description.get(name, _ABSENT)) for description in (before, now)]
        short = [text if len(text) <= _LONG else f"{text[:_SHOWN]}…" for text in texts]
        # Digests are shortened, unless they would then look the same.
        then, current = short if len(set(short)) > 1 else texts
        parts.append(f"{name}: {then} {then_word}, {current} {now_word}")
    return listed(parts, separator="; ")


def changes_of(
    described: dict[Modality, dict[str, Any]], encoder: Encoder, then_word: str, now_word: str
) -> str:
    """Write out in what an encoder differs from what was described, tower by tower; nothing where it is the same."""
    fields = {
        tower: compare_descriptions(before, encoder.describe(tower), then_word, now_word)
        for tower, before in described.items()
    }
    return "; ".join(f"{tower} {words}" for tower, words in fields.items() if words)


def differing(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Names of the fields in which two descriptions differ."""
    return [name for name in {**now, **before} if before.get(name, _ABSENT) != now.get(name, _ABSENT)]


def list_encoders() -> list[str]:
    """Names that `get_encoder` knows, without importing any of them.

    Returns
    -------
    list of str
        Sorted; ours and those registered under the entry-point group ``musiceval_sk.encoders``.

    Examples
    --------
    >>> from musiceval_sk import list_encoders
    >>> {"laion-clap", "spectral"} <= set(list_encoders())
    True
    """
    return sorted(_entry_points())


def get_encoder(encoder: str | Encoder, **options: Any) -> Encoder:
    """Make the encoder of this name; only its own module is imported, and no model is built.

    Parameters
    ----------
    encoder : str or Encoder
        A name from `list_encoders`, or an encoder, which is returned as it is.
    **options
        Passed to the encoder's constructor, for example ``checkpoint="path/to/clap.pt"``.

    Returns
    -------
    Encoder
        Ready to describe itself; its model is built on first use.

    Raises
    ------
    ValueError
        If no encoder has this name, or options come with an encoder that is already made.

    Examples
    --------
    >>> from musiceval_sk import get_encoder
    >>> get_encoder("spectral").name
    'spectral'
    """
    if isinstance(encoder, Encoder):
        if options:
            raise ValueError(
                f"options {listed(options)} came with an encoder that is already made: {encoder!r}"
            )
        return encoder
    known = _entry_points()
    require_known("encoder", encoder, sorted(known))
    try:
        return known[encoder].load()(**options)
    except TypeError as error:
        raise ValueError(
            f"encoder {encoder!r} does not take these options ({listed(options)}): {error}"
        ) from error


def _entry_points() -> dict[str, EntryPoint]:
    ours = {name: EntryPoint(name, value, GROUP) for name, value in _BUILT_IN.items()}
    return {point.name: point for point in entry_points(group=GROUP)} | ours
