"""What a GPU asks of the encoders, on a CPU: batches halved as memory runs out, settings shared by threads."""

import threading

import numpy as np
import pytest
import torch

from musiceval_sk.features.encoders import local
from musiceval_sk.features.encoders.clap import network
from musiceval_sk.features.encoders.clap.hf_clap import HfClapEncoder
from musiceval_sk.features.encoders.clap.network import ClapNetwork
from tests.clap_files import write_transformers_folder

pytest.importorskip("transformers", reason="transformers (the extra 'hf') is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_transformers_folder(tmp_path_factory.mktemp("hf"))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Ask again at once for memory that has run out."""
    monkeypatch.setattr(local.time, "sleep", lambda seconds: None)


@pytest.fixture
def sizes(monkeypatch):
    """Note every batch, and let memory run out above three windows."""
    seen = []
    embed = ClapNetwork.embed_audio

    def scarce(network, windows, *options):
        seen.append(len(windows))
        if len(windows) > 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return embed(network, windows, *options)

    monkeypatch.setattr(ClapNetwork, "embed_audio", scarce)
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
    embed, failures = ClapNetwork.embed_audio, iter(range(7))

    def taken(*arguments):
        if next(failures, None) is not None:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return embed(*arguments)

    monkeypatch.setattr(ClapNetwork, "embed_audio", taken)
    encoder = HfClapEncoder(folder, device="cpu", batch_size=2)
    assert encoder.encode_audio(np.zeros((1, 480_000), np.float32)).shape == (1, 32)
    assert encoder.batch_size == 1


def test_memory_for_no_window_at_all_is_an_error_in_words(folder, monkeypatch):
    def full(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(ClapNetwork, "embed_audio", full)
    with pytest.raises(MemoryError, match=r"does not hold a single window .*pass device='cpu'"):
        HfClapEncoder(folder, device="cpu").encode_audio(np.zeros((1, 480_000), np.float32))


def test_without_a_word_a_cpu_takes_16_windows_and_a_gpu_64(folder, monkeypatch):
    assert HfClapEncoder(folder, device="cpu").batch_size == 16
    assert not HfClapEncoder(folder, device="cpu").on_accelerator
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert HfClapEncoder(folder, device="cuda").on_accelerator
    assert HfClapEncoder(folder, device="cuda").batch_size == 64
    assert HfClapEncoder(folder, device="cuda", batch_size=8).batch_size == 8


def test_quantised_as_laion_does_in_numpy(rng):
    samples = np.append(rng.normal(size=10_000), [-2, -1, 0, 1, 2, 0.5 / 32_767]).astype(np.float32)
    integers = (np.clip(samples, -1, 1) * np.float32(32_767)).astype(np.int16)
    expected = integers.astype(np.float32) / np.float32(32_767)
    np.testing.assert_array_equal(network.quantised(torch.from_numpy(samples)).numpy(), expected)


def test_precision_holds_until_the_last_thread_leaves():
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, cudnn.deterministic
    entered, leave = threading.Event(), threading.Event()

    def other():
        with ClapNetwork.precision():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with ClapNetwork.precision():
        thread.start()
        entered.wait()
    assert (cudnn.allow_tf32, cudnn.deterministic) == (False, True)
    leave.set()
    thread.join()
    assert (cudnn.allow_tf32, cudnn.deterministic) == before
