"""What a GPU asks of the encoders, on a CPU: batch sizes by memory, halving, settings shared by threads."""

import threading

import numpy as np
import pytest
import torch

from musiceval_sk.features.encoders import batch_size as _batch_size
from musiceval_sk.features.encoders.batch_size import fitting, measured
from musiceval_sk.features.encoders.clap import encoder as _clap_encoder
from musiceval_sk.features.encoders.clap import forward
from musiceval_sk.features.encoders.clap.hf_clap import HfClapEncoder
from tests.clap_files import write_transformers_folder

pytest.importorskip("transformers", reason="transformers (the extra 'hf') is not installed")

MIB = 1 << 20


@pytest.mark.parametrize(
    ("free", "each", "expected"),
    [
        (1000 * MIB, 10 * MIB, 32),  # two fifths hold 40 windows, the next lower power of two is 32
        (80_000 * MIB, 10 * MIB, 128),  # never more than 128
        (20 * MIB, 10 * MIB, 1),
        (0, 10 * MIB, 1),
        (1000 * MIB, 0, 128),
    ],
)
def test_as_many_as_two_fifths_of_the_memory_hold(free, each, expected):
    assert fitting(free, each) == expected


@pytest.fixture
def card(monkeypatch):
    """A GPU as torch would describe it: 100 MiB are taken, each window takes 10 MiB, 1,000 MiB are free."""
    state = {"peak": 100 * MIB}
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100 * MIB)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: state.update(peak=100 * MIB))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: state["peak"])
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000 * MIB, 2000 * MIB))
    return state


def test_a_probe_tells_what_a_window_takes(card):
    def encode(n_windows):
        card["peak"] += n_windows * 10 * MIB

    assert measured(torch.device("cuda"), encode) == 32


def test_a_probe_that_does_not_fit_leaves_one_window(card):
    def encode(n_windows):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    assert measured(torch.device("cuda"), encode) == 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_transformers_folder(tmp_path_factory.mktemp("hf"))


@pytest.fixture
def sizes(monkeypatch):
    """Note every batch, and let memory run out above three windows."""
    seen = []
    embed = _clap_encoder.embed_windows

    def scarce(towers, windows, *options):
        seen.append(len(windows))
        if len(windows) > 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return embed(towers, windows, *options)

    monkeypatch.setattr(_clap_encoder, "embed_windows", scarce)
    return seen


def test_a_batch_that_does_not_fit_is_halved_for_good(folder, sizes, rng):
    windows = rng.uniform(-0.5, 0.5, size=(5, 480_000)).astype(np.float32)
    encoder = HfClapEncoder(folder, device="cpu", batch_size=8)
    vectors = encoder.encode_audio(windows)
    # All five, then half of eight, which is still too many, then half of that, to which the rest keeps.
    assert sizes == [5, 4, 2, 2, 1]
    assert encoder.batch_size == 2
    expected = HfClapEncoder(folder, device="cpu", batch_size=1).encode_audio(windows)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_memory_that_another_holds_for_a_while_is_waited_for(folder, monkeypatch):
    embed, failures = _clap_encoder.embed_windows, iter(range(7))

    def taken(*arguments):
        if next(failures, None) is not None:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return embed(*arguments)

    monkeypatch.setattr(_clap_encoder, "embed_windows", taken)
    monkeypatch.setattr(_clap_encoder.time, "sleep", lambda seconds: None)
    encoder = HfClapEncoder(folder, device="cpu", batch_size=2)
    assert encoder.encode_audio(np.zeros((1, 480_000), np.float32)).shape == (1, 32)
    assert encoder.batch_size == 1


def test_memory_for_no_window_at_all_is_an_error_in_words(folder, monkeypatch):
    def full(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(_clap_encoder, "embed_windows", full)
    monkeypatch.setattr(_clap_encoder.time, "sleep", lambda seconds: None)
    with pytest.raises(MemoryError, match=r"does not hold a single window .*pass device='cpu'"):
        HfClapEncoder(folder, device="cpu").encode_audio(np.zeros((1, 480_000), np.float32))


def test_without_a_word_a_cpu_takes_the_usual_batch(folder):
    assert HfClapEncoder(folder, device="cpu").batch_size == _batch_size.USUAL == 16
    assert not HfClapEncoder(folder, device="cpu").on_accelerator


def test_quantised_as_laion_does_in_numpy(rng):
    samples = np.append(rng.normal(size=10_000), [-2, -1, 0, 1, 2, 0.5 / 32_767]).astype(np.float32)
    integers = (np.clip(samples, -1, 1) * np.float32(32_767)).astype(np.int16)
    expected = integers.astype(np.float32) / np.float32(32_767)
    np.testing.assert_array_equal(forward._quantised(torch.from_numpy(samples)).numpy(), expected)


def test_precision_holds_until_the_last_thread_leaves():
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, cudnn.deterministic
    entered, leave = threading.Event(), threading.Event()

    def other():
        with forward.full_precision():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with forward.full_precision():
        thread.start()
        entered.wait()
    assert (cudnn.allow_tf32, cudnn.deterministic) == (False, True)
    leave.set()
    thread.join()
    assert (cudnn.allow_tf32, cudnn.deterministic) == before
