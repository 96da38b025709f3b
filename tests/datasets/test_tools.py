"""What VERSA, audiobox-aesthetics and SongEval write, as their code writes it."""

import gzip
import json
import logging

import pytest

from musiceval_sk import ClipsTableError, load_clips, read_answers
from musiceval_sk.ratings.answers import match_answers

TRUTH = "clip_id,system,impression\nS1/a,S1,1\nS2/b,S2,3\nS1/c.d,S1,5\n"
AES = '{"CE": 5.146, "CU": 5.779, "PC": 2.148, "PQ": 7.22}\n{"CE": 4.0, "CU": 5.0, "PC": 2.0, "PQ": 7.0}\n'
VERSA = [
    '{"key": "a.wav", "utmos": 3.5, "vad_info": [{"start": 0, "end": 1}], "text": "la"}\n{"key": "b.wav", "utmos": NaN}\n',
    # older versions print Python's dict, numpy 2 with its types
    "{'key': 'a.wav', 'utmos': np.float64(3.5), 'vad_info': [{'start': 0}], 'ref': None}\n{'key': 'b.wav', 'utmos': nan}\n",
]


@pytest.fixture
def write(tmp_path):
    def write_text(name, text):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write_text


@pytest.mark.parametrize("text", VERSA)
@pytest.mark.parametrize("name", ["test_result", "utt_result.cpu.txt", "versa.jsonl"])
def test_versa(write, name, text):
    found = read_answers(write(name, text), columns={"impression": "utmos"})
    assert found["impression"].iloc[0] == 3.5 and found["impression"].isna().tolist() == [False, True]
    assert found.index.tolist() == ["a.wav", "b.wav"] and list(found) == ["impression"]


def test_songeval(write):
    text = '{\n    "a": {"Coherence": 3.1, "Musicality": 3.0},\n    "b": {"Coherence": 2.9, "Musicality": 2.5}\n}'
    found = read_answers(write("result.json", text), columns={"impression": "Musicality"})
    assert found["impression"].to_dict() == {"a": 3.0, "b": 2.5}


@pytest.mark.parametrize("preamble", ["", "using precision bf16\n"])
def test_audiobox_aesthetics_needs_the_list_that_was_given_to_it(write, preamble):
    scores = write("output.jsonl", preamble + AES)
    listing = write(
        "input.jsonl", '{"path": "/x/a.wav"}\n{"path": "/x/b.flac", "start_time": 0, "end_time": 5}\n'
    )
    found = read_answers(scores, columns={"impression": "CE"}, listing=listing)
    assert found["impression"].to_dict() == {"/x/a.wav": 5.146, "/x/b.flac": 4.0}
    with pytest.raises(ClipsTableError, match="names no clips .* audiobox-aesthetics; give the list"):
        read_answers(scores, columns={"impression": "CE"})
    with pytest.raises(ClipsTableError, match="lists 1 clip for 2 lines of scores"):
        read_answers(
            scores, columns={"impression": "CE"}, listing=write("short.jsonl", '{"path": "a.wav"}\n')
        )


def test_paths_meet_clips_by_their_end_and_cut_names_by_what_is_left(write):
    lines = ["/data/S1/a.wav", "data/S2/b.flac", "c"]
    scores = write(
        "p.jsonl", "".join(f'{{"key": "{name}", "mos": {i + 1}}}\n' for i, name in enumerate(lines))
    )
    true, predicted, systems = match_answers(scores, write("t.csv", TRUTH), columns={"impression": "mos"})
    assert predicted["impression"].to_dict() == {"S1/a": 1, "S2/b": 2, "S1/c.d": 3}
    assert true["impression"].tolist() == [1, 3, 5] and systems.tolist() == ["S1", "S2", "S1"]


def test_two_paths_with_one_end_are_refused(write):
    scores = write("p.jsonl", '{"key": "/x/S1/a.wav", "mos": 1}\n{"key": "/y/S1/a.wav", "mos": 2}\n')
    with pytest.raises(ClipsTableError, match="several predictions end like the clips S1/a"):
        match_answers(scores, write("t.csv", TRUTH), columns={"impression": "mos"})


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"key": "a", "mos": 1}\n[1, 2]\n', "line 2 is no object of names and scores"),
        ('{"key": "a", "mos": 1}\n{"key": "a", "mos": 2}\n', "repeats a value"),
        ('{"key": "a", "other": 1}\n', r"missing column\(s\) mos; found: clip_id, other"),
        ('{"key": "a", "mos": "good"}\n', "must hold numbers, but has"),
    ],
)
def test_what_cannot_be_read_is_told(write, text, message):
    with pytest.raises(ClipsTableError, match=message):
        read_answers(write("p.jsonl", text), targets=["impression"], columns={"impression": "mos"})


def test_an_scp_is_a_clips_table(write, tmp_path):
    clips = load_clips(write("wav.scp", "a /x/a.wav\nb\tsub/b c.wav\n\n"))
    assert clips["path"].to_dict() == {"a": "/x/a.wav", "b": str(tmp_path / "sub" / "b c.wav")}
    for line, words in (("a sox a.wav -t wav - |", "line 1 holds a command"), ("a", "line 1 holds no path")):
        with pytest.raises(ClipsTableError, match=words):
            load_clips(write("wav.scp", line))
    with pytest.raises(ClipsTableError, match="the list is empty"):
        load_clips(write("wav.scp", "\n"))


def test_a_line_ends_at_no_separator_within_a_text(write):
    text = '{"key": "a.wav", "utmos": 3.5, "words": "one\u2028two"}\n'
    for before in ("\n\n\n", "\nusing precision float32\n\n"):
        with pytest.raises(ClipsTableError, match="line 5 is no object of names and scores: 'nope'"):
            load_clips(write("t.txt", f"{before}{text}nope\n"), require_path=False)
    clips = load_clips(write("t.txt", text), targets=["utmos"], require_path=False)
    assert clips["words"].tolist() == ["one\u2028two"]


@pytest.mark.parametrize("text", VERSA)
def test_result_lines_of_versa_are_a_clips_table(write, text, caplog):
    with caplog.at_level(logging.INFO, "musiceval_sk"):
        clips = load_clips(write("utt_result.txt", text), targets=["utmos"], require_path=False)
    assert clips.index.tolist() == ["a.wav", "b.wav"] and clips.loc["a.wav", "utmos"] == 3.5
    assert "columns are not read, for they hold lists or objects: vad_info" in caplog.text
    with pytest.raises(ClipsTableError, match="path"):
        load_clips(write("utt_result.txt", text))


def test_a_manifest_of_audiocraft_is_a_clips_table(tmp_path):
    line = {
        "path": "/x/a.mp3",
        "duration": 4.2,
        "sample_rate": 44100,
        "amplitude": None,
        "weight": None,
        "info_path": None,
    }
    (tmp_path / "data.jsonl.gz").write_bytes(gzip.compress((json.dumps(line) + "\n").encode()))
    clips = load_clips(tmp_path / "data.jsonl.gz", scale=None)
    assert clips.index.tolist() == ["/x/a"] and clips["path"].tolist() == ["/x/a.mp3"]


def test_the_table_of_an_audiofolder_is_pointed_out(tmp_path, caplog):
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    (tmp_path / "metadata.csv").write_text("file_name,text\na.wav,calm\n")
    with caplog.at_level(logging.INFO, "musiceval_sk"):
        assert load_clips(tmp_path)["prompt"].tolist() == [""]
    assert "metadata.csv of an AudioFolder is not read; give it in the folder's place" in caplog.text
    assert load_clips(tmp_path / "metadata.csv")["prompt"].tolist() == ["calm"]
