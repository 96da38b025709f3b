"""Clips go through Hugging Face's datasets and come back as they were, without the network and without decoding."""

import gc
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from musiceval_sk import aggregate_ratings, load_clips
from musiceval_sk.exceptions import ClipsTableError

datasets = pytest.importorskip("datasets")

from musiceval_sk.integrations import clips_from_dataset, clips_to_dataset, write_audio_folder  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    datasets.disable_progress_bars()
    # Before it takes a path, datasets asks for torchcodec, which takes FFmpeg, although nothing is encoded.
    for name in ("torchcodec", "torchcodec.encoders"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(AudioEncoder=None))
    yield
    gc.collect()  # the files that datasets leaves open, while the warnings of it are ignored


@pytest.fixture
def clips(write_sounds):
    clips = write_sounds(0.1, 0.2, 0.3)
    clips.index = pd.Index(["007", "S1/a.b", "c"], name="clip_id")
    return clips.assign(prompt=["calm, piano", "NA", ""], impression=[3.5, np.nan, 1.0])


def same_sounds(first, second):
    return [Path(path).read_bytes() for path in first["path"]] == [
        Path(path).read_bytes() for path in second["path"]
    ]


def test_a_table_comes_back_from_a_dataset(clips):
    dataset = clips_to_dataset(clips)
    assert dataset.features["audio"] == datasets.Audio(decode=False)
    back = clips_from_dataset(dataset)
    pd.testing.assert_frame_equal(back[clips.columns], clips, check_dtype=False)


def test_an_audio_folder_is_read_by_both(clips, tmp_path):
    listing = write_audio_folder(clips, tmp_path / "folder")
    assert sorted(path.name for path in (tmp_path / "folder").rglob("*.*")) == [
        "007.wav",
        "a.b.wav",
        "c.wav",
        "metadata.jsonl",
    ]
    loaded = datasets.load_dataset("audiofolder", data_dir=str(tmp_path / "folder"), split="train")
    for back in (load_clips(listing), clips_from_dataset(loaded).loc[clips.index]):
        assert same_sounds(back, clips)
        pd.testing.assert_frame_equal(
            back[["prompt", "system", "impression"]],
            clips[["prompt", "system", "impression"]],
            check_dtype=False,
        )


def test_ids_that_look_like_numbers_stay_as_they_are(clips, tmp_path):
    ids = ["007", "1.0", "12"]
    write_audio_folder(clips.set_axis(ids), tmp_path / "folder")
    loaded = datasets.load_dataset("audiofolder", data_dir=str(tmp_path / "folder"), split="train")
    assert sorted(clips_from_dataset(loaded).index) == ids


def test_an_audio_folder_of_others_with_csv_or_folders_alone(clips, tmp_path):
    root = tmp_path / "others"
    for name, path in zip(("S1/x.wav", "S2/y.wav"), clips["path"], strict=False):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(Path(path).read_bytes())
    loaded = datasets.load_dataset("audiofolder", data_dir=str(root), split="train")
    found = clips_from_dataset(loaded, columns={"system": "label"})
    assert found["system"].to_dict() == {"x": "S1", "y": "S2"}
    (root / "metadata.csv").write_text("file_name,text,mos\nS1/x.wav,calm,2.5\nS2/y.wav,fast,4\n")
    loaded = datasets.load_dataset("audiofolder", data_dir=str(root), split="train")
    found = clips_from_dataset(loaded, columns={"impression": "mos"})
    assert found.loc["y", ["prompt", "impression"]].tolist() == ["fast", 4.0]
    assert load_clips(root / "metadata.csv", targets=["mos"])["prompt"].tolist() == ["calm", "fast"]


def test_sounds_as_bytes_are_written_as_files(clips, tmp_path):
    sounds = [{"bytes": Path(path).read_bytes(), "path": None} for path in clips["path"]]
    sounds[0]["path"] = "first.wav"
    dataset = datasets.Dataset.from_dict({"wav": sounds, "caption": ["a", "b", "c"]})
    dataset = dataset.cast_column("wav", datasets.Audio())
    with pytest.raises(ValueError, match="as bytes: give folder="):
        clips_from_dataset(dataset)
    found = clips_from_dataset(dataset, tmp_path / "laid", columns={"prompt": "caption"})
    assert same_sounds(found, clips)
    assert found.index[0] == "first"
    assert found["prompt"].tolist() == ["a", "b", "c"]


def test_ratings_are_a_table_like_any_other():
    ratings = pd.DataFrame({"clip_id": ["a", "a"], "rater": ["r1", "r2"], "impression": [3, 4]})
    dataset = datasets.Dataset.from_pandas(ratings)
    assert aggregate_ratings(dataset.to_pandas())["impression"].tolist() == [3.5]


def test_errors_teach(clips, tmp_path):
    dataset = clips_to_dataset(clips)
    with pytest.raises(TypeError, match="not DatasetDict with train: give one of these"):
        clips_from_dataset(datasets.DatasetDict(train=dataset))
    with pytest.raises(ClipsTableError, match="names mos, which the data set lacks; it has clip_id, audio"):
        clips_from_dataset(dataset, columns={"impression": "mos"})
    with pytest.raises(ClipsTableError, match="no column of type Audio; name the one to take"):
        clips_from_dataset(dataset.remove_columns("audio"))
    with pytest.raises(ClipsTableError, match="'path' is empty in row.*'audio' have no sound"):
        clips_from_dataset(datasets.Dataset.from_dict({"audio": ["a.wav", None]}), columns={"audio": "audio"})
    with pytest.raises(ClipsTableError, match=r"'\.\./x' leads out of the folder"):
        write_audio_folder(clips.iloc[:1].set_axis(["../x"]), tmp_path / "out")
    with pytest.raises(ClipsTableError, match="off the scale 1 to 5"):
        clips_from_dataset(clips_to_dataset(clips.assign(impression=9.0)))
