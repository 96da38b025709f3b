"""What `musiceval_sk.testing` says of encoders that break a promise, one a check."""

import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from musiceval_sk.testing import check_encoder
from tests.features.toy import ToyEncoder


def broken(**members):
    """Make one with a fault, by the name of the member that has it."""
    # Pickles name the class, so it must be found here.
    globals()["Changed"] = type("Changed", (ToyEncoder,), {**members, "__module__": __name__})
    return globals()["Changed"]()


def scaled_by_batch(self, windows):
    return ToyEncoder.encode_audio(self, windows) * len(windows)


def overwriting(self, windows):
    vectors = ToyEncoder.encode_audio(self, windows)
    windows *= 0
    return vectors


def random(self, windows):
    return ToyEncoder.encode_audio(self, windows) + np.random.rand() * 0


def asking(self, windows):
    socket.socket().close()
    return ToyEncoder.encode_audio(self, windows)


def whole_windows(self, windows):
    return ToyEncoder.encode_audio(self, np.resize(windows, (len(windows), self.window_length)))


def with_model(self):
    return {**self.__dict__, "model": np.ones(100_000)}


def counted(self, modality, calls=[]):  # noqa: B006
    calls.append(modality)
    return {"name": "toy", "modality": modality, "call": len(calls)}


FAULTS = {
    "sample_rate=8000.0 must be a whole number": {"sample_rate": 8000.0},
    "hop_seconds=1.0 must be above 0 and at most window_seconds=0.5": {"hop_seconds": 1.0},
    r"modalities=\('text',\) must be": {"modalities": ("text",)},
    "text_dim=0 must be above 0 where there is a text tower": {"text_dim": 0},
    r"describe\('audio'\) must hold plain JSON": {
        "describe": lambda self, modality: {"name": "toy", "a": {1}}
    },
    r"must hold lists and text keys": {"describe": lambda self, modality: {"name": "toy", "a": (1, 2)}},
    r"\['name'\] is None, expected 'toy'": {"describe": lambda self, modality: {"modality": modality}},
    "gave another answer the second time": {"describe": counted},
    "say what tells the towers apart": {"describe": lambda self, modality: {"name": "toy"}},
    "leave the model out by __getstate__": {"__getstate__": with_model},
    r"cut gave shape \(1, 10\) of": {"cut": lambda self, samples: samples[np.newaxis, :10]},
    r"encode_audio gave shape \(4, 3\), expected \(4, 4\)": {"audio_dim": 4},
    "encode_audio gave float64": {
        "encode_audio": lambda self, windows: self.check_windows(windows)[:, :3].astype(float)
    },
    "encode_audio gave nan": {
        "encode_audio": lambda self, windows: np.full((len(windows), 3), np.nan, np.float32)
    },
    "4 different sounds have 1 different vectors": {
        "encode_audio": lambda self, windows: np.ones((len(windows), 3), np.float32)
    },
    "one by one and together have different vectors: by up to": {"encode_audio": scaled_by_batch},
    "changed the windows that it was given": {"encode_audio": overwriting},
    "took windows of shape .* begin it with windows = self.check_windows": {"encode_audio": whole_windows},
    "encode_text gave list, expected np.ndarray": {
        "encode_text": lambda self, prompts: [[1.0, 2.0]] * len(prompts)
    },
    "2 different prompts have 1 different vectors": {
        "encode_text": lambda self, prompts: np.ones((len(prompts), 2), np.float32)
    },
    "joint_space=True, but encoder.audio_dim=3, encoder.text_dim=2": {"joint_space": True},
    "joint_space=True, but vectors have norms of 0.* expected 1": {
        "joint_space": True,
        "text_dim": 3,
        "encode_text": lambda self, prompts: np.array(
            [[len(prompt), 1, 0] for prompt in prompts], np.float32
        ).reshape(-1, 3),
    },
    "changes numpy's random numbers of the process": {"encode_audio": random},
    "it asks the network": {"encode_audio": asking},
}


@pytest.mark.parametrize("words", FAULTS)
def test_a_fault_is_named_with_what_would_be_right(words):
    with pytest.raises(AssertionError, match=f"check_.*: .*{words}"):
        check_encoder(broken(**FAULTS[words]))


def test_what_is_sound_passes():
    check_encoder(ToyEncoder(), different=[ToyEncoder(version=2)])


def test_encoders_that_differ_must_say_so():
    with pytest.raises(
        AssertionError, match=r"have one audio fingerprint: describe\('audio'\) must hold what tells them"
    ):
        check_encoder(ToyEncoder(), different=[ToyEncoder()])


def test_a_sound_that_it_cannot_encode_is_said(tmp_path):
    def refusing(self, windows):
        raise KeyError("no such layer")

    with pytest.raises(AssertionError, match="check_audio_vectors: .*: KeyError: 'no such layer'"):
        check_encoder(broken(encode_audio=refusing))


@pytest.mark.slow
def test_the_worked_example_runs_as_it_stands(tmp_path):
    pytest.importorskip("torch", reason="the example's network is of torch")
    script = Path(__file__).parents[1] / "examples" / "own_encoder.py"
    run = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "bands keeps its promises" in run.stdout and "ridge (bands)" in run.stdout
