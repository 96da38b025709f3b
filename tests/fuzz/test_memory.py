"""What reading takes at its peak: ten times the file, or two and a half times the table where digits become rows."""

import json
import tracemalloc

import pandas as pd
import pytest

from musiceval_sk import load_clips
from musiceval_sk.datasets.tools import read_system_table
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
SYSTEMS = "system,impression,alignment\n" + "".join(
    f"MusicGen-large-{i:05},{i % 401 / 100 + 1},3.{i % 97}\n" for i in range(N)
)
SCP = "".join(f"utt{i} /data/wav/utt{i}.wav\n" for i in range(N))
WEBMUSHRA = "session_test_id,age,trial_id,rating_stimulus,rating_score,rating_time,session_uuid\n" + "".join(
    f"t,2{i % 9},trial{i % 40},C{i % 7},{i % 101},{i},s{i // 280}\n" for i in range(N)
)
WIDE = "clip_id," + ",".join(f"r{i}" for i in range(100)) + ("\nc" + ",5" * 100) * (N // 10)
MATRIX = "".join(",".join(str((i * 7 + j) % 5 + 1) for j in range(24)) + "\n" for i in range(N // 4))
COLUMN = "".join(f"{i % 5 + 1},{i % 4 + 1}\n" for i in range(N))
QUALTRICS = "\n".join(
    [
        "Status,ResponseId," + ",".join(f"Q{k}_impression" for k in range(60)),
        "Status,Response," + ",".join(f"clip {k}" for k in range(60)),
        ",".join(f'"{{""ImportId"":""QID{k}""}}"' for k in range(62)),
        *(f"IP,R_{i}," + ",".join(str((i + k) % 5 + 1) for k in range(60)) for i in range(N // 20)),
    ]
)
GOLISTEN = "\n".join(
    [
        "Tags,,pilot" + "," * 49,
        "Name,Date," + ",".join(f"clip {k} rating" for k in range(50)),
        *(f"p{i},d," + ",".join(str((i + k) % 5 + 1) for k in range(50)) for i in range(N // 20)),
    ]
)
SUREAL = json.dumps(
    {"dis_videos": [{"asset_id": i, "content_id": 0, "os": [i % 5 + 1] * 20} for i in range(N // 10)]}
)


def of_lines(path):
    return read_ratings(path, targets=["x"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, text, read",
    [
        ("clips.csv", CLIPS, load_clips),
        ("wav.scp", SCP, load_clips),
        ("systems.csv", SYSTEMS, read_system_table),
        ("ratings.csv", RATINGS, read_ratings),
        ("answer.txt", ANSWERS, read_answers),
        ("ratings.jsonl", LINES, of_lines),
        ("audiobox.jsonl", AUDIOBOX, read_ratings),
        ("pairs.csv", PAIRS, read_ratings),
        ("webmushra.csv", WEBMUSHRA, read_ratings),
        ("wide.csv", WIDE, read_ratings),
        ("matrix.csv", MATRIX, read_ratings),
        ("column.csv", COLUMN, read_ratings),
        ("qualtrics.csv", QUALTRICS, read_ratings),
        ("golisten.csv", GOLISTEN, read_ratings),
        ("sureal.json", SUREAL, read_ratings),
    ],
    ids=[
        "clips",
        "scp",
        "systems",
        "ratings",
        "answers",
        "lines",
        "audiobox",
        "pairs",
        "webmushra",
        "wide",
        "matrix",
        "column",
        "qualtrics",
        "golisten",
        "sureal",
    ],
)
def test_reading_takes_ten_times_the_file_or_two_and_a_half_times_the_table(tmp_path, name, text, read):
    path = tmp_path / name
    path.write_text(text)
    read(path)  # what is imported only now is not the table's
    tracemalloc.start()
    try:
        table = read(path)
        taken, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(table) > 0
    assert peak < (1 if pd.__version__ >= "3" else 1.5) * max(10 * len(text), 2.5 * taken)
