"""Settings of a checkpoint that ask for more than its weights hold."""

from itertools import count

import pytest

from musiceval_sk.exceptions import CheckpointError
from musiceval_sk.features.encoders.local import check_front_end

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def little_beside_the_weights(monkeypatch):
    monkeypatch.setattr("musiceval_sk.features.encoders.limits._MOST_BESIDE", 1 << 20)


def built(tmp_path, make):
    from musiceval_sk.features.encoders.limits import within_weights

    (tmp_path / "weights").write_bytes(bytes(1000))
    with within_weights([tmp_path / "weights"], "makes no network", "; get another"):
        return make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.nn.Linear(1 << 20, 1 << 20),
        lambda: torch.nn.Embedding(1 << 50, 8),
        lambda: [torch.nn.LayerNorm(0) for _ in count()],
        lambda: torch.linspace(0, 1, 10**12),
        lambda: torch.zeros(1 << 40),
        lambda: torch.arange(1 << 40),
    ],
    ids=["width", "words", "blocks", "rates", "positions", "indices"],
)
def test_a_network_that_the_weights_cannot_fill_is_not_built(tmp_path, make):
    with pytest.raises(
        CheckpointError, match=r"^makes no network \(.* weights of 1,000 bytes cannot fill\); get"
    ):
        built(tmp_path, make)


def test_one_that_they_can_fill_is_built_and_an_error_is_a_checkpoints(tmp_path):
    assert built(tmp_path, lambda: torch.nn.Linear(8, 8)).weight.shape == (8, 8)
    with pytest.raises(CheckpointError, match=r"makes no network \(division by zero\); get another"):
        built(tmp_path, lambda: 1 / 0)


def test_settings_of_no_spectrogram_are_refused():
    check_front_end({"n_fft": 400, "hop_length": 160, "sampling_rate": 16_000, "feature_size": None}, "s")
    for name in (
        "sampling_rate",
        "n_fft",
        "fft_window_size",
        "feature_size",
        "num_mel_bins",
        "n_mels",
        "spec_size",
    ):
        for value in (1 << 40, 0, "x"):
            with pytest.raises(CheckpointError, match=rf"s: {name}=.* must be a number above 0"):
                check_front_end({name: value}, "s")
    for hop in (1, 0, 1.5):
        with pytest.raises(CheckpointError, match="hop_length=.* must be a whole number of at least 16"):
            check_front_end({"n_fft": 1024, "hop_length": hop}, "s")
