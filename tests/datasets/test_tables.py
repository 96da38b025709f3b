"""What becomes of damaged tables, whichever reader meets them."""

import pandas as pd
import pytest

from musiceval_sk.datasets._tables import numbers, read_table
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
        ('"a,b\n', "t.csv", r"t\.csv: line 1 cannot be read: unexpected end of data"),
        ('{"a": 1}\n{"a": \n', "t.jsonl", r"t\.jsonl: line 2 is no JSON: Expecting value"),
        ('{"a": 1}\n[1, 2]\n', "t.jsonl", r"t\.jsonl: line 2 must be a JSON object, not list"),
        ("a,b\n", "t.xlsx", r"t\.xlsx: cannot read a table from '\.xlsx'; give \.csv, \.tsv or \.jsonl"),
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
