import sys

import numpy as np
import pandas as pd
import pytest

from musiceval_sk import ClipEmbedder, EmbeddingStore, export_embeddings
from tests.features.toy import ToyEncoder


@pytest.fixture
def store(tmp_path):
    return EmbeddingStore(tmp_path / "embeddings.h5")


def test_export_holds_what_the_embedder_gives(store, write_sounds, tmp_path):
    clips = write_sounds(0.5, 0.3, 1.2)
    embedder = ClipEmbedder(ToyEncoder(), pooling="mean+std", cache=store.path)
    table = export_embeddings(clips, embedder, tmp_path / "new" / "X.npz")
    with np.load(tmp_path / "new" / "X.npz") as file:  # without pickle, as np.load is by default
        assert file["clip_id"].tolist() == ["clip0", "clip1", "clip2"]
        assert file["columns"].tolist() == embedder.get_feature_names_out().tolist() == list(table.columns)
        np.testing.assert_array_equal(file["X"], embedder.transform(clips))
        assert file["X"].dtype == np.float32
        assert str(file["pooling"]) == "mean+std" and '"name": "toy"' in str(file["encoder"])
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "X.npz"]
    assert table.index.name == "clip_id"


def test_export_to_parquet(store, write_sounds, tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed to write Parquet with")
    clips = write_sounds(0.5, 0.3)
    embedder = ClipEmbedder(ToyEncoder(), cache=store.path)
    table = export_embeddings(clips, embedder, tmp_path / "X.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "X.parquet").set_index("clip_id"), table)


def test_export_says_what_it_cannot_write(store, write_sounds, tmp_path, monkeypatch):
    embedder = ClipEmbedder(ToyEncoder(), cache=store.path)
    with pytest.raises(ValueError, match=r"X\.xlsx: cannot write \.xlsx; use \.npz or \.parquet"):
        export_embeddings(write_sounds(0.5), embedder, tmp_path / "X.xlsx")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r'pip install "pyarrow>=14.0.1"'):
        export_embeddings(write_sounds(0.5), embedder, tmp_path / "X.parquet")
    assert not store.parts_folder.exists()
