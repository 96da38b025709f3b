"""An encoder of one's own in one file: a small torch network that is found by name, fingerprinted, cached, checked and in a study.

Runs as it stands, in about half a minute: python examples/own_encoder.py [FOLDER]

Its weights are random, and so is what the study says of it. For your own, put your network in the place of `Bands`, and say in `describe`
all that changes a vector: the digest of the weights' file, and the settings.
"""

import hashlib
import sys
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from musiceval_sk import Encoder, get_encoder, make_listening_test
from musiceval_sk.studies.plan import StudyPlan
from musiceval_sk.testing import check_encoder


class Bands(torch.nn.Module):
    """Mean and spread over time of what 24 learnt filters give."""

    def __init__(self):
        super().__init__()
        self.filters = torch.nn.Conv1d(1, 24, kernel_size=400, stride=160)

    def forward(self, samples):
        bands = self.filters(samples[:, None]).abs().log1p()
        return torch.cat([bands.mean(dim=2), bands.std(dim=2)], dim=1)


class BandsEncoder(Encoder):
    """The network with the weights of a file."""

    name = "bands"
    sample_rate = 16_000
    window_seconds = hop_seconds = 2.0
    modalities = ("audio",)  # leave this out, and write encode_text and text_dim, where there is a text tower
    audio_dim = 48

    def __init__(self, weights):
        self.weights = str(weights)  # cheap: nothing is read before it is needed

    def describe(self, modality):
        # The bytes, not the path: a file that moved is the same encoder, one that was trained on is another.
        digest = hashlib.sha256(Path(self.weights).read_bytes()).hexdigest()
        window = [self.sample_rate, self.window_seconds, self.hop_seconds]
        return {"name": self.name, "version": 1, "weights": digest, "window": window}

    def encode_audio(self, windows):
        windows = self.check_windows(windows)
        with torch.inference_mode():
            # One window at a time costs little here, and gives the same bits in any batch.
            vectors = [self.network(torch.from_numpy(window[np.newaxis].copy())) for window in windows]
        return np.array([vector[0].numpy() for vector in vectors], np.float32).reshape(-1, self.audio_dim)

    @cached_property
    def network(self):
        with torch.random.fork_rng(devices=[]):  # leave the caller's random numbers as they are
            network = Bands()
        network.load_state_dict(load_file(self.weights))
        return network.eval()

    def __getstate__(self):
        return {"weights": self.weights}  # workers read the file themselves


def write_weights(path, seed):
    torch.manual_seed(seed)
    save_file(Bands().state_dict(), path)
    return path


def install(folder):
    """Do what pip does of these two lines in a package's pyproject.toml, for as long as this script runs.

    [project.entry-points."musiceval_sk.encoders"]
    bands = "own_encoder:BandsEncoder"
    """
    metadata = folder / "own_encoder-1.0.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: own-encoder\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[musiceval_sk.encoders]\nbands = own_encoder:BandsEncoder\n")
    sys.path[:0] = [str(folder), str(Path(__file__).parent)]


def main(folder: Path) -> None:
    install(folder / "site-packages")
    weights, others = (write_weights(folder / f"{seed}.safetensors", seed) for seed in (0, 1))
    check_encoder("bands", weights=weights, different=[get_encoder("bands", weights=others)])
    print("bands keeps its promises")

    make_listening_test(folder / "listening-test", n_systems=4, n_prompts=6, seconds=2.0, random_state=1)
    plan = StudyPlan(
        folder / "listening-test" / "clips.csv",
        ratings=folder / "listening-test" / "ratings.csv",
        features={
            "bands": {"encoder": "bands", "weights": str(weights)},
            "spectral": {"encoder": "spectral"},
        },
        models=["ridge"],
        targets=["impression"],
        n_resamples=0,
        cache=folder / "embeddings.h5",
    )
    print(plan.run(progress=False))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "own-encoder-out"))
