"""Damaged files, whichever reader meets them: a short run of the targets, always the same; and what longer ones found."""

import gzip
import json
import random
import zipfile

import pytest

from musiceval_sk import ClipsTableError, load_clips
from musiceval_sk.datasets import text
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import FORMATS, OURS, TARGETS, judge, made

N_INPUTS = 8
DEEP = b"[" * 200_000
DIGITS = b"1" * 5000
# By the kind of fault: a target, its input, and what is said.
FOUND = {
    "nested JSON": ("side_table", b'\2{"clip_id": ' + DEEP, "line 1 is no JSON: its values lie too deep"),
    "a number of many digits": ("clips", b'\2{"clip_id": "a", "impression": %b}' % DIGITS, "column 'impression' must hold numbers"),
    "a number beyond floats in a Python dict": ("clips", b"\2{'key': 'a.wav', 'impression': %b}" % DIGITS[:400], "column 'impression' must hold numbers, but has: inf"),
    "a list of preferences": ("ratings", b'\3[{"TestID": 0.5, "PresentationOrder": "A=0, B=1", "Runtime": 9, "Preference": [[]]}]', "what stands for 'preference' holds lists"),
    "a list beside a number": ("ratings_of_a_format", bytes([sorted(FORMATS).index("beaqlejs"), 1]) + b'[{"TestID": "t", "rating": {"A": 3, "B": 4}, "filename": {"A": 1, "B": [2]}}]', "what stands for 'clip_id' holds lists"),
    "a list of clips": ("ratings", b'\4{"data_path": ["x"], "Content_Enjoyment": 3}', "what stands for 'clip_id' holds lists|holds a list"),
    "an id beyond whole numbers of the machine": ("side_table", b'\2{"clip_id": 1180591620717411303424}', "no clip_id of the side table belongs to a clip; e.g. '1180591620717411303424'"),
    "a cell without end": ("clips", b"\0clip_id,path\na," + b"x" * 140_000, "line 2 cannot be read: field larger"),
    "a quote for a delimiter": ("clips", b'\0sep="\nclip_id,path\na,a.wav\n', "header repeats|cells where|read"),
    "XML of a spreadsheet": ("spreadsheet", b"\2<cp", "is no spreadsheet that can be read"),
    "a page of Parquet": ("parquet", None, "cannot be read as Parquet"),
    "half a character in a Python dict": ("clips", b"\2{'key': 'a\\ud800', 'utmos': 3.0}", "is no object of names and scores|is no JSON"),
    "half a character of a preference": ("ratings_of_a_format", bytes([sorted(FORMATS).index("music_arena"), 1]) + b'{"battle_uuid": 1, "preference": "\\ud800"}', "line 1 is no object of JSON that can be read"),
    "marks of a format alone": ("ratings_of_a_format", bytes([sorted(FORMATS).index("audiobox"), 2]) + b"{}", "audiobox-aesthetics without any rating"),
    "half a pair": ("pairs", b'\1{"clip_a": "x", "preference": "b"}', r"missing column\(s\) clip_b"),
    "a design of other values": ("design", None, "was damaged or changed after musiceval listen design wrote it"),
    "an answer that is no JSON": ("raters_answers", b"\1{", "holds an answer that is no JSON"),
    "texts that are a list": ("texts", b"\0[]", "cannot be used as the page's texts"),
    "a served page": ("served_test", b"{}", "is no test of this version .KeyError: 'format'"),
    "a path that is none": ("plan", b"\0clips = [1]", "clips must be paths"),
    "a study of other values": ("study", b'\0{"scores": 1}', "holds no study"),
    "no notes": ("reproduction", b'\0{"table": []}', "holds no reproduction"),
    "a model's content": ("model_tensors", b"{\0", "what it says of its arrays is no JSON"),
    "a model without a model": ("model_skops", None, "lacks a part of a model file"),
    "a schema that is no text": ("model_skops", b"\1" + b" " * 30_000 + b"\xff", r"versions of packages: UnicodeDecodeError: .{,300}$"),
    "a part packed in a way of its own": ("model_bytes", None, "not a model file of musiceval_sk.*compression"),
    "a state without a seed": ("training_state", b'{"identity": {}}\0', "lacks a part of a checkpoint"),
    "a tower that is a text": ("clap_settings", b'\0{"model_type": "clap", "audio_config": "x"}', "must hold names and values"),
    "widths that are a text": ("muq_settings", b'{"encoder_dim": "x", "encoder_depth": 2}', "its settings are those of no MuQ"),
    "a name of no file": ("audio_model_settings", b'\2{"weight_map": {"a": "%b"}}' % (b"x" * 300), "lacks xxx"),
    "a fraction of a layer": ("muq_settings", b'{"encoder_dim": 8, "encoder_depth": 2.5}', "its settings are those of no MuQ"),
    "a model of no name": ("muq_settings", None, "config.json names 'xxx.*' for its audio_model, which no folder can be called"),
    "a tower that is null": ("audio_model_settings", b'\0{"audio_config": null, "auto_map": 1}', "its settings are those of no audio model"),
    "words of one dimension": ("clap_weights", None, "must be of 4 and of 2 dimensions"),
    "half a character": ("clap_settings", b'\0{"model_type": "clap", "audio_config": {"num_mel_bins": "\\ud800"}}', r"CLAP here takes \\ud800"),
    "layers that are a list": ("audio_model_settings", b'\0{"hidden_size": 8, "num_hidden_layers": [1]}', "those of no model"),
}  # fmt: skip


def target_named(name, folder):
    try:
        return made(name, folder)
    except ImportError as error:
        pytest.skip(f"{error.name} is not installed")


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_our_errors_comes_of_damaged_files(tmp_path, name):
    target, rng = target_named(name, tmp_path / "file"), random.Random(name)
    for number in range(N_INPUTS):
        data = mutated(rng.choice(target.seeds), rng, target.seeds)
        try:
            judge(target, data)
        except Exception as error:
            raise AssertionError(f"input {number} of {name}, {data[:1000]!r}: {error!r}") from error


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_is_refused_in_words(tmp_path, name):
    kind, data, words = FOUND[name]
    target = target_named(kind, tmp_path / "file")
    data = damaged(kind, target.seeds) if data is None else data
    with pytest.raises(OURS + target.documented, match=words):
        target.read(data)


def damaged(kind, seeds):
    """Damage a whole file in the one place that matters."""
    seed = seeds[0]
    if kind == "model_bytes":  # what the directory of the zip file says of each part
        return seeds[1].replace(b"PK\1\2\x14\3\x14\0\0\0\0\0", b"PK\1\2\x14\3\x14\0\0\0\x7f\0")
    if kind == "parquet":
        return seed[:30] + bytes(10) + seed[40:]
    if kind == "muq_settings":
        return seeds[1].replace(b"OpenMuQ/audio", b"x" * 6000)
    if kind == "design":
        return seed.replace(b'"probe": false', b'"probe": "no"', 1)
    if kind == "clap_weights":
        return seed.replace(b"[273, 768]", b"[273]")
    content = json.loads(seed[1:])
    del content["content"]["model"]
    return seed[:1] + json.dumps(content).encode()


def test_files_that_would_fill_any_memory_are_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "_MOST_BYTES", 10_000)
    small, large = b"clip_id,path\n" + b"a,a.wav\n", b"clip_id,path\n" + b"a,a.wav\n" * 2000
    (tmp_path / "clips.csv.gz").write_bytes(gzip.compress(small))
    assert len(load_clips(tmp_path / "clips.csv.gz")) == 1
    (tmp_path / "clips.csv.gz").write_bytes(gzip.compress(large))
    with zipfile.ZipFile(tmp_path / "clips.xlsx", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("xl/workbook.xml", large)
    for name in ("clips.csv.gz", "clips.xlsx"):
        if name.endswith("xlsx"):
            pytest.importorskip("openpyxl")
        with pytest.raises(ClipsTableError, match=rf"{name}: holds more than 10,000 bytes when unpacked"):
            load_clips(tmp_path / name)


def test_a_cell_far_out_makes_no_blanks_without_end(tmp_path, monkeypatch):
    openpyxl = pytest.importorskip("openpyxl")
    monkeypatch.setattr(text, "_MOST_BLANKS", 1000)
    book = openpyxl.Workbook()
    book.active.append(["clip_id", "path"])
    book.active["A40000"] = "a"
    book.save(tmp_path / "clips.xlsx")
    with pytest.raises(ClipsTableError, match=r"sheet 'Sheet' has more than [\d,]+ cells, nearly all blank"):
        load_clips(tmp_path / "clips.xlsx")
