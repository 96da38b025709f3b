"""What becomes of damaged tables, whichever reader meets them."""

import gzip

import pandas as pd
import pytest

from musiceval_sk.datasets.readers import numbers, read_headerless, read_table, require_unique
from musiceval_sk.exceptions import ClipsTableError


@pytest.fixture
def table(tmp_path):
    def write(text, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_rows_are_indexed_by_their_line(table):
    # The blank line 3 is passed over, but counted.
    read = read_table(table("clip_id,score\na,1\n\nb,2\n"))
    assert read["clip_id"].to_dict() == {2: "a", 4: "b"}
    read = read_table(table('{"clip_id": "a"}\n\n{"clip_id": "b"}\n', "table.jsonl"))
    assert read["clip_id"].to_dict() == {1: "a", 3: "b"}


def test_a_byte_order_mark_and_quoted_cells_are_understood(table):
    read = read_table(table('\ufeffclip_id,prompt\na,"slow, ""sad""\nsong"\n'))
    assert list(read.columns) == ["clip_id", "prompt"]
    assert read["prompt"].tolist() == ['slow, "sad"\nsong']


def test_whole_numbers_in_json_stay_whole_beside_gaps(table):
    read = read_table(table('{"clip_id": 12}\n{"path": "b.wav"}\n', "table.jsonl"))
    assert str(read["clip_id"].iloc[0]) == "12"


@pytest.mark.parametrize("name", ["table.csv", "table.txt"])
def test_comma_separated(table, name):
    assert read_table(table("a,b\n1,2\n", name)).to_dict("records") == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize(
    "text, name, words",
    [
        ("", "t.csv", r"t\.csv: the table is empty"),
        ("clip_id,path\n", "t.csv", r"t\.csv: the table is empty"),
        ("\n\n", "t.jsonl", r"t\.jsonl: the table is empty"),
        ("a,b,a\n1,2,3\n", "t.csv", r"t\.csv: the header repeats a column name: a, b, a"),
        ("a,b\n1,2\n3\n", "t.csv", r"t\.csv: line 3 has 1 cells where the header has 2"),
        ("a\tb\n1\t2\t3\t4\n", "t.tsv", r"t\.tsv: line 2 has 4 cells where the header has 2"),
        ('a,b\n1,2\n3,"4\n', "t.csv", r"t\.csv: line 3 cannot be read: unexpected end of data"),
        ('a,b\n1,2\n3,"4"5\n', "t.csv", r"t\.csv: line 3 cannot be read: ',' expected after '\"'"),
        ('a,b\n\n\n3,"4"5\n', "t.csv", r"t\.csv: line 4 cannot be read: ',' expected after '\"'"),
        ('"a,b\n', "t.csv", r"t\.csv: line 1 cannot be read: unexpected end of data"),
        ('{"a": 1}\n{"a": \n', "t.jsonl", r"t\.jsonl: line 2 is no JSON: Expecting value"),
        ('{"a": 1}\n[1, 2]\n', "t.jsonl", r"t\.jsonl: line 2 must be a JSON object, not list"),
        ("a,b\n", "t.ods", r"t\.ods: cannot read a table from '\.ods'; give \.csv, \.tsv, \.jsonl or \.xlsx"),
        ("a,b\n1,2\n3,café\n".encode("latin-1"), "t.csv", r"t\.csv: line 3 is not UTF-8 text"),
        (
            "a\nb\n".encode("utf-16")[:-1],
            "t.tsv",
            r"t\.tsv: line \d is not UTF-16 text; save the table as UTF-8",
        ),
        ('{"a": "é"}\n'.encode("latin-1"), "t.jsonl", r"t\.jsonl: line 1 is not UTF-8 text"),
    ],
)
def test_an_error_names_file_and_line(table, text, name, words):
    with pytest.raises(ClipsTableError, match=words):
        read_table(table(text, name))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ClipsTableError, match=r"none\.csv: no such file"):
        read_table(tmp_path / "none.csv")


def test_numbers_takes_gaps_as_nan(table):
    read = read_table(table('score\n3\n 4.5 \n""\n   \n'))
    assert numbers(read, "score").tolist()[:2] == [3, 4.5]
    assert numbers(read, "score").isna().tolist() == [False, False, True, True]


@pytest.mark.parametrize("cell", ["good", "3,5", "inf", "-Infinity", "1 234"])
def test_numbers_refuses_what_is_no_finite_number(table, cell):
    read = read_table(table(f'score\n3\n"{cell}"\n'))
    with pytest.raises(
        ClipsTableError, match=rf"table\.csv: column 'score' must hold numbers, .* '{cell}' \(line 3\)"
    ):
        numbers(read, "score")


def test_numbers_shows_five_offenders_and_counts_the_rest():
    made_by_hand = pd.DataFrame({"score": list("abcdefg")}, index=[0, 1, 2, 3, 4, 5, 5])
    with pytest.raises(ClipsTableError, match=r"^column 'score'.*'e' \(row 4\) \(\+2 more\)$"):
        numbers(made_by_hand, "score")


PLAIN = [{"clip_id": "a", "impression": "3.5"}, {"clip_id": "b", "impression": "2"}]


@pytest.mark.parametrize(
    "text, name, understood",
    [
        ("clip_id,impression\na,3.5\nb,2\n", "t.csv", None),
        ("clip_id;impression\na;3,5\nb;2\n", "t.csv", "semicolons between cells; decimal commas in column 'imp"),
        ("\ufeffclip_id;impression\r\na;3,5\r\nb;2\r\n", "t.csv", "semicolons between cells; decimal commas"),
        ("clip_id;impression\na;3.5\nb;2\n", "t.tsv", "semicolons between cells"),
        ("clip_id\timpression\na\t3.5\nb\t2\n", "t.csv", "tabs between cells"),
        ("clip_id\timpression\na\t3,5\nb\t2\n", "t.tsv", "decimal commas in column 'impression'"),
        ("clip_id,impression\na,3.5\nb,2\n", "t.tsv", "commas between cells"),
        ("sep=;\nclip_id;impression\na;3,5\nb;2\n", "t.csv", "semicolons between cells"),
        ('"sep=|"\r\nclip_id|impression\r\na|3.5\r\nb|2\r\n', "t.csv", "'|' between cells"),
        ("clip_id\timpression\na\t3.5\nb\t2\n".encode("utf-16"), "t.csv", "tabs between cells"),
        (b"\xfe\xff" + "clip_id,impression\na,3.5\nb,2\n".encode("utf-16-be"), "t.csv", None),
        (gzip.compress(b"clip_id,impression\na,3.5\nb,2\n", mtime=0), "t.csv.gz", None),
        (gzip.compress(b"clip_id\timpression\na\t3.5\nb\t2\n", mtime=0), "t.tsv.gz", None),
        (gzip.compress(b'{"clip_id": "a", "impression": "3.5"}\n{"clip_id": "b", "impression": "2"}', mtime=0), "t.jsonl.gz", None),
        ('{"clip_id": "a", "impression": "3.5"}\n{"clip_id": "b", "impression": "2"}', "t.txt", None),
        ("clip_id,impression,,\na,3.5,,\nb,2,,\n,,,\n,,,\n", "t.csv", None),
        ("clip_id,impression\na,3.5,\nb,2,,\n", "t.csv", None),
        (" Clip ID , Impression\na,3.5\nb,2\n", "t.csv", "column 'Clip ID' taken as 'clip_id'; column 'Impression' taken"),
        ("clip-id,IMPRESSION\na,3.5\nb,2\n", "t.csv", "column 'clip-id' taken as 'clip_id'"),
        ('{"key": "a", "impression": "3.5"}\n{"key": "b", "impression": "2"}', "t.jsonl", "column 'key' taken as 'clip_id'"),
    ],
)  # fmt: skip
def test_tables_of_other_forms_are_read_and_it_is_said_how(table, caplog, text, name, understood):
    caplog.set_level("INFO", logger="musiceval_sk")
    assert read_table(table(text, name)).to_dict("records") == PLAIN
    if understood is None:
        assert caplog.messages == []
    else:
        assert len(caplog.messages) == 1 and f"{name}: {understood}" in caplog.text


def test_lines_are_counted_in_the_file_that_was_given(table):
    assert read_table(table("sep=;\n\na;b\n1;2\n;\n3;4\n")).index.tolist() == [4, 6]


def test_commas_that_are_no_decimal_ones_stay(table):
    read = read_table(table("prompt;path;note;mixed;score\n1,5;2,5;3,5 or so;1,5;-1,5e1\n2;3;4;1.5;,5\n"))
    assert read.to_dict("records") == [
        {"prompt": "1,5", "path": "2,5", "note": "3,5 or so", "mixed": "1,5", "score": "-1.5e1"},
        {"prompt": "2", "path": "3", "note": "4", "mixed": "1.5", "score": ".5"},
    ]
    with pytest.raises(ClipsTableError, match=r"column 'mixed' must hold numbers, but has: '1,5' \(line 2\)"):
        numbers(read, "mixed")


@pytest.mark.parametrize("word", ["NA", "nan", "N/A", "-", "null", "None", "#N/A"])
def test_words_for_missing_cells_count_where_names_and_numbers_stand(table, caplog, word):
    caplog.set_level("INFO", logger="musiceval_sk")
    read = read_table(table(f"clip_id,system,prompt,impression\na,{word},{word},{word}\n{word},S1,x,3\n"))
    assert read[["clip_id", "system"]].values.tolist() == [["a", ""], ["", "S1"]]
    assert numbers(read, "impression").isna().tolist() == [True, False]
    assert read["prompt"].tolist() == [word, "x"]  # a prompt is taken as it is
    assert f"{word!r} taken as missing in column 'clip_id'" in caplog.text
    assert f"{word!r} taken as missing in column 'impression'" in caplog.text


def test_names_of_other_tools_are_taken_only_where_ours_are_lacking(table):
    folder = read_table(table("file_name,text\na.wav,calm\n"))
    assert folder.to_dict("records") == [{"path": "a.wav", "prompt": "calm"}]
    ours = read_table(table("path,prompt,key,file_name,text\na.wav,calm,C minor,b.wav,loud\n"))
    assert list(ours.columns) == ["path", "prompt", "key", "file_name", "text"]
    # A target is called what the user calls it.
    assert list(read_table(table("clip_id,mos\na,3\n"), ["MOS"]).columns) == ["clip_id", "MOS"]
    assert list(read_table(table("path,key\na.wav,3\n"), ["key"]).columns) == ["path", "key"]


@pytest.mark.parametrize(
    "text, name, words",
    [
        (
            '{"a": 1}\n{"a": ["x", "y"]}',
            "t.jsonl",
            r't\.jsonl: line 2: column \'a\' holds a list, \["x", "y"\]',
        ),
        (
            '{"a": {"b": 1}}',
            "t.jsonl",
            r"t\.jsonl: line 1: column 'a' holds an object, .* one text or number",
        ),
        (
            '{"a": "x"}\n{"a": "caf\\ud800"}',
            "t.jsonl",
            r"t\.jsonl: line 2: column 'a' holds half a character .*, \"caf\\ud800\"; a cell is one text",
        ),
        ('{"\\udce9": 1}', "t.jsonl", r"t\.jsonl: line 1: column '\\udce9' holds half a character"),
        (
            "Clip ID,clip-id\na,b\n",
            "t.csv",
            r"t\.csv: columns 'Clip ID', 'clip-id' all stand for 'clip_id'; keep",
        ),
        (gzip.compress(b"a,b\n1,2\n", mtime=0)[:-9], "t.csv.gz", r"t\.csv\.gz: cannot be unpacked: "),
        (b"a,b\n", "t.csv.gz", r"t\.csv\.gz: cannot be unpacked: "),
        (
            "a,b\n".encode("utf-16-le"),
            "t.csv",
            r"t\.csv: holds NUL characters, as UTF-16 without its mark does",
        ),
        ("a;b\n1;2\n1;2;3\n", "t.csv", r"t\.csv: line 3 has 3 cells where the header has 2"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_its_line(table, text, name, words):
    with pytest.raises(ClipsTableError, match=words):
        read_table(table(text, name))


def test_an_index_that_was_written_along_is_a_column_without_a_name(table):
    assert read_table(table(",clip_id\n0,a\n1,b\n"))["clip_id"].tolist() == ["a", "b"]


def test_a_truth_value_is_no_number(table):
    read = read_table(table('{"score": true}\n{"score": 2}\n', "t.jsonl"))
    with pytest.raises(ClipsTableError, match=r"column 'score' must hold numbers, but has: True \(line 1\)"):
        numbers(read, "score")


def test_a_value_with_and_without_a_suffix_is_one_value_twice(table):
    read = read_table(table("clip_id\na\nb.wav\na.wav\n"))
    with pytest.raises(
        ClipsTableError, match=r"with and without its suffix: 'a' \(line 2\), 'a\.wav' \(line 4\)"
    ):
        require_unique(read, "clip_id")
    require_unique(read_table(table("clip_id\na.wav\na.mp3\n")), "clip_id")


def test_headerless_lists_share_the_forms(table):
    for text in ("a;3,5\n\nb;2,0\n;\n", "clip;score\na;3,5\nb;2,0\n"):
        read, broken = read_headerless(table(text.encode("utf-16"), "t.txt"), ["clip_id", "impression"])
        assert read.to_dict("list") == {"clip_id": ["a", "b"], "impression": ["3.5", "2.0"]} and not broken
