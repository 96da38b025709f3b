"""The same `extract` on other engines' workers."""

import contextlib
import os
import signal

import joblib
import numpy as np
import pytest

from musiceval_sk import EmbeddingStore, extract
from tests.features.toy import ToyEncoder


class Mortal(ToyEncoder):
    """Kills the process that it runs in, for as long as there are lives to take."""

    def __init__(self, lives):
        super().__init__()
        self.lives = lives

    def describe(self, modality):
        return super().describe(modality) | {"lives": str(self.lives)}

    def encode_audio(self, windows):
        for life in sorted(self.lives.glob("*")):
            with contextlib.suppress(FileNotFoundError):  # the other worker may have taken this one
                life.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().encode_audio(windows)


@pytest.fixture
def lives(tmp_path):
    def make(count):
        folder = tmp_path / "lives"
        folder.mkdir()
        for i in range(count):
            (folder / str(i)).touch()
        return folder

    return make


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:A worker stopped")
def test_a_worker_that_dies_costs_a_retry(tmp_path, write_sounds, lives):
    clips = write_sounds(*np.linspace(0.5, 2.0, 6))
    report = extract(clips, Mortal(lives(1)), str(tmp_path / "e.h5"), n_jobs=2, batch_size=1)
    assert report.stored["audio"] == 6


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:A worker stopped")
def test_workers_that_always_die_end_the_run_in_words(tmp_path, write_sounds, lives):
    clips = write_sounds(0.5, 0.6)
    with pytest.raises(
        RuntimeError, match="workers died 3 times in a row with 2 sounds left, among them .*clip0.wav"
    ):
        extract(clips, Mortal(lives(50)), str(tmp_path / "e.h5"), n_jobs=2, batch_size=1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_dask_workers_store_what_one_process_stores(tmp_path, write_sounds):
    distributed = pytest.importorskip("distributed", reason="dask.distributed comes with the extra 'dask'")
    clips = write_sounds(*np.linspace(0.5, 3.0, 9))
    extract(clips, ToyEncoder(), str(tmp_path / "here.h5"))
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    )
    with cluster, distributed.Client(cluster), joblib.parallel_config(backend="dask"):
        report = extract(clips, ToyEncoder(), str(tmp_path / "there.h5"), batch_size=2)
    assert report.stored == {"text": 3, "audio": 9}
    fingerprint = ToyEncoder().fingerprint_of("audio")
    keys = list(report.audio_keys)
    here, there = (
        EmbeddingStore(tmp_path / f"{name}.h5").read("audio", fingerprint, keys) for name in ("here", "there")
    )
    np.testing.assert_array_equal(here[0], there[0])
    np.testing.assert_array_equal(here[1], there[1])
