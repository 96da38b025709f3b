"""The same `extract` on other engines' workers."""

import joblib
import numpy as np
import pytest

from musiceval_sk import EmbeddingStore, extract
from tests.features.toy import ToyEncoder

distributed = pytest.importorskip("distributed", reason="dask.distributed comes with the extra 'dask'")


@pytest.mark.filterwarnings("ignore")
def test_dask_workers_store_what_one_process_stores(tmp_path, write_sounds):
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
