import hashlib
import io
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musiceval_sk import ClipsTableError, extract, load_musiceval, load_musiceval_ratings
from musiceval_sk.datasets.musiceval.layout import check_musiceval
from tests.made_musiceval import make_musiceval

STEM = "audiomos2025-track1-"
MISSING = (
    "holds sounds and two scores only. No systems: no S metrics, .* No prompts: .* No raters: no reliability"
)


@pytest.fixture
def write_shard():
    """Write Parquet, where pyarrow is there to do so."""
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed to write Parquet with")
    parquet = pytest.importorskip("pyarrow.parquet")

    def write(path, rows, names=("audio", "impression", "alignment")):
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
        audio, *scores = zip(*rows, strict=True)
        columns = [pyarrow.array([{"bytes": data, "path": name} for data, name in audio], type=kind)]
        columns += [pyarrow.array(values, type=pyarrow.float32()) for values in scores]
        parquet.write_table(pyarrow.table(dict(zip(names, columns, strict=True))), path)
        return path

    return write


def sound(seed, kind="WAV"):
    buffer = io.BytesIO()
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, 8000)
    soundfile.write(buffer, samples, 16000, format=kind)
    return buffer.getvalue()


@pytest.fixture
def three(write_shard, tmp_path):
    root = tmp_path / "hf"
    train = [((sound(1), None), 3.0, 4.2), ((sound(2, "FLAC"), None), 1.4, 2.0)]
    write_shard(root / "data" / "train-00000-of-00001.parquet", train)
    write_shard(root / "data" / "validation-00000-of-00001.parquet", [((sound(3), None), 5.0, 5.0)])
    return root


def test_sounds_become_files_named_by_their_content(three):
    with pytest.warns(UserWarning, match=MISSING):
        clips = load_musiceval(three, counts=None, strict=True)
    digests = [hashlib.sha256(sound(*which)).hexdigest() for which in ((1,), (2, "FLAC"), (3,))]
    assert clips.index.tolist() == [digest[:16] for digest in digests]
    names = [f"{digest}{suffix}" for digest, suffix in zip(digests, (".wav", ".flac", ".wav"), strict=True)]
    assert clips["path"].tolist() == [str(three / "data" / "sounds" / name) for name in names]
    assert Path(clips["path"].iloc[1]).read_bytes() == sound(2, "FLAC")
    assert clips["impression"].round(6).tolist() == [3.0, 1.4, 5.0]
    assert clips["split"].tolist() == ["train", "train", "dev"]
    assert clips["prompt"].tolist() == ["", "", ""] and "system" not in clips and "prompt_id" not in clips


def test_scores_of_single_precision_are_on_their_steps(three):
    table = check_musiceval(three, counts=None)
    assert not table["differs"].any()
    assert table.loc[table["check"] == "impression: scores off the steps of 0.2", "found"].tolist() == ["0"]


def test_a_split_lays_down_its_own_sounds_only_and_once(three, tmp_path):
    folder = tmp_path / "elsewhere"
    with pytest.warns(UserWarning, match="Parquet"):
        clips = load_musiceval(three, "dev", counts=None, sounds=folder)
    (path,) = folder.iterdir()
    assert clips["path"].tolist() == [str(path)]
    before = path.stat().st_mtime_ns
    with pytest.warns(UserWarning, match="Parquet"):
        load_musiceval(three, "dev", counts=None, sounds=folder)
    assert path.stat().st_mtime_ns == before and len(list(folder.iterdir())) == 1


def test_the_feature_stage_reads_them(three, tmp_path):
    with pytest.warns(UserWarning, match="Parquet"):
        clips = load_musiceval(three, counts=None)
    report = extract(clips, "spectral", str(tmp_path / "store.h5"), modality="audio")
    assert report.stored == {"audio": 3} and report.skipped.empty


def test_names_that_tell_systems_are_used(write_shard, tmp_path):
    rows = [((sound(n), f"wav/{STEM}S00{n}_P044.wav"), 3.0, 3.0) for n in (1, 2)]
    file = write_shard(tmp_path / "one.parquet", rows)
    with pytest.warns(UserWarning, match="Where clip names tell systems, S metrics can be had"):
        clips = load_musiceval(file, counts=None, strict=True)
    assert clips.index.tolist() == [f"{STEM}S001_P044", f"{STEM}S002_P044"]
    assert clips["system"].tolist() == ["S001", "S002"]
    assert clips["prompt_id"].tolist() == ["S001_P044", "P044"]
    assert clips["split"].tolist() == ["", ""]


def test_what_is_wrong_is_in_the_table(write_shard, tmp_path):
    rows = [((sound(1), "a"), 3.0, 3.1), ((sound(1), "b"), 3.0, 3.0), ((None, "c"), 3.0, 7.0)]
    file = write_shard(tmp_path / "one.parquet", [*rows, ((b"no sound", "d"), 3.0, 3.0)])
    table = check_musiceval(file).set_index("check")
    found = table.loc[table["differs"], "examples"].to_dict()
    name = f"{hashlib.sha256(b'no sound').hexdigest()}.wav"
    assert found.pop("sounds that cannot be read").startswith(name)
    assert found == {
        "total clips": "",
        "alignment: scores that are no number from 1 to 5": "c (7)",
        "alignment: scores off the steps of 0.2": "a (3.1)",
        "sounds that are missing": "c",
        "sounds whose bytes another clip has too": "b",
    }


def test_equal_sounds_without_names_get_ids_of_their_own(write_shard, tmp_path):
    file = write_shard(
        tmp_path / "one.parquet", [((sound(1), None), 3.0, 3.0)] * 2 + [((None, None), 3.0, 3.0)]
    )
    with pytest.warns(UserWarning, match="Parquet"):
        clips = load_musiceval(file, check=False)
    digest = hashlib.sha256(sound(1)).hexdigest()[:16]
    assert clips.index.tolist() == [digest, f"{digest}-2", "no-sound"]


def test_columns_are_found_by_what_the_field_calls_them_or_as_given(write_shard, tmp_path):
    rows = [((sound(1), None), 3.0, 4.0)]
    file = write_shard(tmp_path / "a.parquet", rows, ("wav", "Musical Impression", "textual_alignment"))
    with pytest.warns(UserWarning, match="Parquet"):
        assert load_musiceval(file, check=False)[["impression", "alignment"]].iloc[0].tolist() == [3, 4]
    file = write_shard(tmp_path / "b.parquet", rows, ("wav", "x", "y"))
    with pytest.raises(
        ClipsTableError, match="no column for impression, alignment; it has wav, x, y. Name them"
    ):
        load_musiceval(file)
    with pytest.warns(UserWarning, match="Parquet"):
        clips = load_musiceval(file, check=False, columns={"impression": "y", "alignment": "x"})
    assert clips[["impression", "alignment"]].iloc[0].tolist() == [4, 3]
    with pytest.raises(ClipsTableError, match="no column for impression"):
        load_musiceval(file, columns={"impression": "z", "alignment": "x"})


def test_the_made_shards_are_those_of_the_made_lists(tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed to write Parquet with")
    arguments = {"n_systems": 2, "n_prompts": 3, "n_demo_clips": 1}
    made = make_musiceval(tmp_path / "hf", "parquet", **arguments)
    full = make_musiceval(tmp_path / "MusicEval-full", **arguments)
    with pytest.warns(UserWarning, match=MISSING):
        clips = load_musiceval(made.folder, counts=made.clips["split"].value_counts(), strict=True)
    scores = ["split", "impression", "alignment"]
    ordered = load_musiceval(full.folder, counts=None)[scores].sort_values(scores)
    assert clips[scores].sort_values(scores).to_numpy().tolist() == ordered.to_numpy().tolist()
    sounds = {path.read_bytes() for path in (full.folder / "wav").iterdir()}
    assert {Path(path).read_bytes() for path in clips["path"]} == sounds
    assert not (made.folder / "wav").exists() and "path" not in made.clips


@pytest.mark.parametrize(
    ("n_rows", "data"), [(300_000, None), (200, bytes(1 << 21))], ids=["rows", "a long sound"]
)
def test_a_shard_that_would_fill_any_memory_is_not_unpacked(write_shard, tmp_path, n_rows, data):
    """The sound stands in the file once and is packed; its rows would be 400 MiB."""
    shard = write_shard(tmp_path / "train.parquet", [((data, "a.wav"), 3.0, 4.0)] * n_rows)
    assert shard.stat().st_size < 1 << 18
    with pytest.raises(
        ClipsTableError, match=f"train.parquet: {n_rows:,} rows of far more bytes than the file has"
    ):
        load_musiceval(shard, counts=None)


def test_what_parquet_cannot_give_is_refused(three, tmp_path, monkeypatch):
    with pytest.raises(ClipsTableError, match="no shard is named test; the names tell: dev, train"):
        load_musiceval(three, "test")
    with pytest.raises(ClipsTableError, match="Parquet holds no ratings; MusicEval-full does"):
        load_musiceval_ratings(three)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r'Reading Parquet needs .* pip install "pyarrow>=14.0.1"'):
        load_musiceval(three)
