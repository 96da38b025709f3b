"""Whether an encoder keeps its promises: checks that those who write one run on theirs, as the library does on its own.

In a test-suite, one test a check::

    @pytest.mark.parametrize("check", ENCODER_CHECKS, ids=lambda check: check.__name__)
    def test_my_encoder(check):
        check(MyEncoder())
"""

import json
import os
import pickle
import random
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.features.embedder import ClipEmbedder
from musiceval_sk.features.encoders import Encoder, get_encoder
from musiceval_sk.features.encoders.base import MODALITIES
from musiceval_sk.features.extract import extract
from musiceval_sk.features.store import EmbeddingStore

_MOST_PICKLED_BYTES = 100_000
# Of the largest number among vectors.
_TOLERANCE = 1e-5
_PROMPTS = ("calm piano", "", "loud drums, a fast bass and two voices " * 20, "音楽 é\n<s> ", "calm piano")


def check_encoder(encoder: str | Encoder, *, different: Sequence[Encoder] = (), **options: Any) -> None:
    """Raise unless an encoder keeps every promise that the cache, studies and models rely on.

    Parameters
    ----------
    encoder : str or Encoder
        The encoder, or the name under which its package registers it.
    different : sequence of Encoder, default=()
        Encoders whose vectors differ from its own and from each other's, such as of other weights, layers or settings: none
        may share a fingerprint.
    **options
        For an encoder given by name, its constructor's arguments.

    Raises
    ------
    AssertionError
        If a promise is broken; it names the check, what came and what was expected. The checks are in `ENCODER_CHECKS`.

    Examples
    --------
    >>> check_encoder("spectral")
    """
    made = get_encoder(encoder, **options)
    if isinstance(encoder, str):
        _require(made.name == encoder, f"it is registered as {encoder!r}, but its name is {made.name!r}")
    for check in ENCODER_CHECKS:
        try:
            check(made)
        except Exception as error:
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            raise AssertionError(f"{check.__name__}: {made!r}: {kind}{error}") from error
    check_fingerprints_differ([made, *different])


def check_fingerprints_differ(encoders: Sequence[Encoder]) -> None:
    """Check that encoders of different vectors have different fingerprints, or a cache would take one's for another's."""
    for modality in MODALITIES:
        having = [encoder for encoder in encoders if modality in encoder.modalities]
        prints = [encoder.fingerprint_of(modality) for encoder in having]
        same = [f"{encoder!r}" for encoder, one in zip(having, prints, strict=True) if prints.count(one) > 1]
        _require(
            not same,
            f"{listed(same)} have one {modality} fingerprint: describe({modality!r}) must hold what tells them apart",
        )


def check_attributes(encoder: Encoder) -> None:
    """Check that name, rate, windows and lengths are there and make sense."""
    _require(
        isinstance(encoder.name, str) and encoder.name.strip() != "", f"name={encoder.name!r} must be a text"
    )
    for name in ("sample_rate", "audio_dim", "batch_size"):
        value = getattr(encoder, name)
        _require(isinstance(value, int) and value > 0, f"{name}={value!r} must be a whole number above 0")
    window, hop = encoder.window_seconds, encoder.hop_seconds
    _require(0 < hop <= window, f"hop_seconds={hop!r} must be above 0 and at most window_seconds={window!r}")
    _require(
        encoder.modalities in (MODALITIES, ("audio",)),
        f"modalities={encoder.modalities!r} must be ('audio', 'text') or ('audio',)",
    )
    has_text = "text" in encoder.modalities
    _require(
        isinstance(encoder.text_dim, int) and (encoder.text_dim > 0) == has_text,
        f"text_dim={encoder.text_dim!r} must be above 0 where there is a text tower and 0 elsewhere",
    )


def check_description(encoder: Encoder) -> None:
    """Check that descriptions are plain JSON, name the encoder and do not change by themselves."""
    for modality in encoder.modalities:
        described = encoder.describe(modality)
        try:
            again = json.loads(json.dumps(described, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise AssertionError(f"describe({modality!r}) must hold plain JSON values: {error}") from error
        _require(
            again == described,
            f"describe({modality!r}) must hold lists and text keys, as JSON has them: {described}",
        )
        _require(
            described.get("name") == encoder.name,
            f"describe({modality!r})['name'] is {described.get('name')!r}, expected {encoder.name!r}",
        )
        _require(
            encoder.describe(modality) == described,
            f"describe({modality!r}) gave another answer the second time",
        )
    if "text" in encoder.modalities:
        _require(
            encoder.fingerprint_of("audio") != encoder.fingerprint_of("text"),
            "describe('audio') and describe('text') are equal; say what tells the towers apart",
        )


def check_joint_space(encoder: Encoder) -> None:
    """Check that, where sound and text are said to share a space, their vectors have one length and norm 1."""
    if not encoder.joint_space:
        return
    _require(
        encoder.audio_dim == encoder.text_dim,
        f"joint_space=True, but {encoder.audio_dim=}, {encoder.text_dim=}",
    )
    vectors = np.concatenate([encoder.encode_audio(_windows(encoder)), encoder.encode_text(list(_PROMPTS))])
    norms = np.linalg.norm(vectors, axis=1)
    _require(
        bool(np.allclose(norms, 1, atol=1e-4)),
        f"joint_space=True, but vectors have norms of {norms.min():.3g} to {norms.max():.3g}, expected 1",
    )


def check_pickles(encoder: Encoder) -> None:
    """Check that it travels to workers: light before and after use, with the same fingerprint and vectors."""
    windows = _windows(encoder)[:1]
    for when in ("before", "after"):
        pickled = pickle.dumps(encoder)
        _require(
            len(pickled) < _MOST_PICKLED_BYTES,
            f"pickled {when} encoding it takes {len(pickled):,} bytes: leave the model out by __getstate__",
        )
        copy = pickle.loads(pickled)
        _require(
            copy.fingerprint == encoder.fingerprint, f"pickled {when} encoding it has another fingerprint"
        )
        vectors = encoder.encode_audio(windows)
    _require_close(copy.encode_audio(windows), vectors, "its copy by pickle gives other vectors")


def check_cut(encoder: Encoder) -> None:
    """Check that clips of any length become windows of one length."""
    for length in (encoder.window_length // 3 + 1, encoder.window_length, encoder.window_length * 5 // 2):
        windows = encoder.cut(_sound(length))
        _require(
            windows.ndim == 2 and len(windows) > 0 and windows.shape[1] == encoder.window_length,
            f"cut gave shape {windows.shape} of {length} samples, expected (n, {encoder.window_length}) with n above 0",
        )


def check_audio_vectors(encoder: Encoder) -> None:
    """Check that windows give finite vectors of float32, and different sounds different ones, also silence and overload."""
    windows = np.concatenate([_windows(encoder), np.zeros((1, encoder.window_length), np.float32)])
    windows[0] *= 20
    vectors = encoder.encode_audio(windows)
    _require_vectors(vectors, len(windows), encoder.audio_dim, "encode_audio")
    _require_different(vectors, "sounds")


def check_batches_of_audio(encoder: Encoder) -> None:
    """Check that a window has one vector, whatever is encoded with it; without windows there are no rows."""
    windows = _windows(encoder)
    together = encoder.encode_audio(windows)
    alone = np.concatenate([encoder.encode_audio(windows[i : i + 1]) for i in range(len(windows))])
    _require_close(alone, together, "windows encoded one by one and together have different vectors")
    _require_close(
        encoder.encode_audio(windows[::-1])[::-1], together, "the order of windows changes their vectors"
    )
    _require_vectors(encoder.encode_audio(windows[:0]), 0, encoder.audio_dim, "encode_audio of no windows")


def check_windows_are_left_alone(encoder: Encoder) -> None:
    """Check that the caller's windows are read and not written."""
    windows = _windows(encoder)[:1]
    before = windows.copy()
    encoder.encode_audio(windows)
    _require(
        np.array_equal(windows, before), "encode_audio changed the windows that it was given; copy them first"
    )


def check_wrong_windows_are_refused(encoder: Encoder) -> None:
    """Check that windows of another shape are a ValueError and no vector of something else."""
    length = encoder.window_length
    for shape in ((1, length - 1), (length,), (1, 2, length)):
        _require_refusal(
            lambda shape=shape: encoder.encode_audio(np.zeros(shape, np.float32)),  # type: ignore[misc]
            f"encode_audio took windows of shape {shape}; begin it with windows = self.check_windows(windows)",
        )


def check_text(encoder: Encoder) -> None:
    """Check that a prompt has one vector, whatever is encoded with it; without a text tower prompts are a ValueError."""
    if "text" not in encoder.modalities:
        for ask in (lambda: encoder.encode_text(["calm"]), lambda: encoder.towers("text")):
            _require_refusal(ask, "without a text tower encode_text must raise ValueError")
        return
    prompts = list(_PROMPTS)
    vectors = encoder.encode_text(prompts)
    _require_vectors(vectors, len(prompts), encoder.text_dim, "encode_text")
    _require_close(vectors[-1], vectors[0], "the same prompt has two vectors in one call")
    _require_different(vectors[[0, 2]], "prompts")
    alone = np.concatenate([encoder.encode_text([prompt]) for prompt in prompts])
    _require_close(alone, vectors, "prompts encoded one by one and together have different vectors")
    _require_vectors(encoder.encode_text([]), 0, encoder.text_dim, "encode_text of no prompts")


def check_process_is_left_alone(encoder: Encoder) -> None:
    """Check that random numbers, torch's defaults, environment and folder stay what they are, and no network is asked."""
    before = _state_of_process()
    with _no_network():
        fresh = pickle.loads(pickle.dumps(encoder))
        fresh.encode_audio(_windows(encoder)[:1])
        if "text" in encoder.modalities:
            fresh.encode_text(list(_PROMPTS[:1]))
    changed = [name for name, value in _state_of_process().items() if before.get(name, value) != value]
    _require(
        not changed, f"building or encoding changes {listed(changed)} of the process; leave them as they were"
    )


def check_cached(encoder: Encoder) -> None:
    """Check that sounds of any rate and number of channels, extracted once, are found again, also under another name."""
    import soundfile

    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch("musiceval_sk.features.extract.warn_of_blank_prompts"),
    ):
        rate, seconds = 44_100, (0.1, 1.5 * encoder.window_seconds)
        sounds = [np.stack(2 * [_sound(int(rate * length))], axis=1) for length in seconds]
        names = [str(Path(folder, f"{number}.wav")) for number in range(2)]
        for name, sound in zip(names, sounds, strict=True):
            soundfile.write(name, sound, rate, subtype="FLOAT")
        index = pd.Index(["a", "b"], name="clip_id")
        clips = pd.DataFrame({"path": names, "prompt": ["calm", "loud"]}, index=index)
        store = EmbeddingStore(Path(folder, "embeddings.h5"))
        report = extract(clips, encoder, store, progress=False)
        _require(not len(report.skipped), f"extract left clips out: {listed(report.skipped['reason'])}")
        os.rename(names[0], names[0] + ".renamed.wav")
        clips["path"] = [names[0] + ".renamed.wav", names[1]]
        expected = dict.fromkeys(encoder.modalities, 0)
        _require(
            extract(clips, encoder, store, progress=False).stored == expected,
            "extract computes anew what it stored a moment ago: its fingerprint changes by itself",
        )
        embedder = ClipEmbedder(encoder, cache=str(store.path)).set_output(transform="pandas")
        table = embedder.fit_transform(clips)
        width = encoder.audio_dim + encoder.text_dim
        _require(table.shape == (2, width), f"ClipEmbedder gave shape {table.shape}, expected (2, {width})")


ENCODER_CHECKS: tuple[Callable[[Encoder], None], ...] = (
    check_attributes,
    check_description,
    check_cut,
    check_audio_vectors,
    check_windows_are_left_alone,
    check_wrong_windows_are_refused,
    check_batches_of_audio,
    check_text,
    check_joint_space,
    check_pickles,
    check_process_is_left_alone,
    check_cached,
)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)


def _require_vectors(vectors: Any, n: int, dim: int, what: str) -> None:
    _require(isinstance(vectors, np.ndarray), f"{what} gave {type(vectors).__name__}, expected np.ndarray")
    _require(vectors.shape == (n, dim), f"{what} gave shape {vectors.shape}, expected {(n, dim)}")
    _require(vectors.dtype == np.float32, f"{what} gave {vectors.dtype}, expected float32")
    _require(bool(np.isfinite(vectors).all()), f"{what} gave nan or infinite values")


def _require_close(one: np.ndarray, other: np.ndarray, message: str) -> None:
    apart = float(np.abs(one - other).max())
    most = _TOLERANCE * max(float(np.abs(other).max()), 1e-30)
    _require(apart <= most, f"{message}: by up to {apart:.2g}, at most {most:.2g} is rounding")


def _require_different(vectors: np.ndarray, what: str) -> None:
    distinct = len(np.unique(vectors, axis=0))
    _require(distinct == len(vectors), f"{len(vectors)} different {what} have {distinct} different vectors")


def _require_refusal(ask: Callable[[], Any], message: str) -> None:
    try:
        ask()
    except ValueError:
        return
    raise AssertionError(message)


def _sound(n_samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(n_samples)).astype(np.float32)


def _windows(encoder: Encoder) -> np.ndarray:
    """Noise, a tone and a rising tone that falls silent."""
    time = np.arange(encoder.window_length) / encoder.sample_rate
    tone = 0.5 * np.sin(2 * np.pi * 440 * time)
    rising = 0.8 * np.sin(2 * np.pi * 100 * time * (1 + time)) * (time < 0.8 * time[-1])
    return np.stack([_sound(len(time)), tone, rising]).astype(np.float32)


def _state_of_process() -> dict[str, Any]:
    state: dict[str, Any] = {
        "numpy's random numbers": pickle.dumps(np.random.get_state()),
        "Python's random numbers": random.getstate(),
        "the environment": dict(os.environ),
        "the working folder": os.getcwd(),
    }
    if "torch" in sys.modules:
        import torch

        state["torch's random numbers"] = torch.get_rng_state().numpy().tobytes()
        state["torch's default type"] = torch.get_default_dtype()
        state["whether torch records gradients"] = torch.is_grad_enabled()
    return state


@contextmanager
def _no_network() -> Iterator[None]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("it asks the network; read local files alone, so that runs can be repeated")

    with mock.patch.object(socket, "socket", refuse), mock.patch.object(socket, "getaddrinfo", refuse):
        yield
