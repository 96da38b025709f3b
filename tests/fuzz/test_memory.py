"""What reading a table takes beside its size in the file, of which a table of Python's texts would take fifty times."""

import json
import tracemalloc

import pandas as pd
import pytest

from musiceval_sk import load_clips
from musiceval_sk.ratings.answers import read_answers
from musiceval_sk.ratings.formats import read_ratings

N = 10_000
CLIPS = "clip_id,path,prompt,system,impression\n" + "".join(
    f"c{i},wav/c{i}.wav,calm piano number {i},S{i % 20},{i % 5 + 1}\n" for i in range(N)
)
RATINGS = "rater,clip_id,impression,alignment\n" + "".join(
    f"r{i % 50},c{i // 5},{i % 5 + 1},{i % 4 + 1}\n" for i in range(3 * N)
)
ANSWERS = "".join(f"S{i % 50:03}_P{i:06},{i % 401 / 100 + 1},{i % 307 / 100 + 1}\n" for i in range(N))
LINES = "".join(
    json.dumps({"rater": f"r{i % 50}", "clip_id": f"c{i // 5}", "x": i % 5}) + "\n" for i in range(N)
)
AUDIOBOX = "".join(
    json.dumps({"data_path": f"/x/{i}.wav", "CE": [i % 9] * 10, "CU": [i % 7] * 10}) + "\n"
    for i in range(N // 4)
)
PAIRS = "rater,clip_a,clip_b,preference\n" + "".join(
    f"r{i % 50},c{i % 997},c{i % 1009},{'ab'[i % 2]}\n" for i in range(2 * N)
)
WIDE = "clip_id," + ",".join(f"r{i}" for i in range(100)) + ("\nc" + ",5" * 100) * (N // 10)


def of_lines(path):
    return read_ratings(path, targets=["x"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, text, read, most",
    [
        ("clips.csv", CLIPS, load_clips, 10),
        ("ratings.csv", RATINGS, read_ratings, 10),
        ("answer.txt", ANSWERS, read_answers, 10),
        ("ratings.jsonl", LINES, of_lines, 10),
        ("audiobox.jsonl", AUDIOBOX, read_ratings, 10),
        ("pairs.csv", PAIRS, read_ratings, 10),
        # A digit and its comma become a row of three cells and a line: 32 bytes, or 16 times the file.
        ("wide.csv", WIDE, read_ratings, 26),
        ("matrix.csv", WIDE.partition("\nc,")[2].replace("\nc,", "\n").replace("5", "72"), read_ratings, 26),
    ],
    ids=["clips", "ratings", "answers", "lines", "audiobox", "pairs", "wide", "matrix"],
)
def test_a_table_takes_ten_times_the_room_of_its_file(tmp_path, name, text, read, most):
    path = tmp_path / name
    path.write_text("\n".join(text.splitlines()[:3]) + "\n")
    read(path)  # what is imported only now is not the table's
    path.write_text(text)
    tracemalloc.start()
    try:
        read(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < (most if pd.__version__ >= "3" else 1.5 * most) * len(text)
