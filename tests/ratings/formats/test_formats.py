"""Every format is recognised by its file alone, and read to the table that stands beside it."""

import json
import logging
import warnings

import pandas as pd
import pytest

from musiceval_sk import ClipsTableError, aggregate_ratings
from musiceval_sk.ratings.formats import FORMATS, read_ratings
from musiceval_sk.ratings.formats.export import Export
from musiceval_sk.ratings.formats.privacy import is_personal
from musiceval_sk.ratings.pairs import read_pairs
from tests.ratings.formats import samples
from tests.ratings.formats.samples import OTHERS, SAMPLES


@pytest.fixture
def write(tmp_path):
    def write_text(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write_text


def lines(table, columns=("rater", "clip_id", "impression")):
    cells = table[list(columns)].map(lambda cell: str(cell).strip().removesuffix(".0"))
    return [" ".join(row) for row in cells.to_numpy()]


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_file_is_recognised_and_read(write, sample):
    name, text, expected = SAMPLES[sample]
    path = write(name, text)
    found = read_ratings(path)
    assert found.attrs["format"] == sample.partition(",")[0]
    assert lines(found) == expected
    pd.testing.assert_frame_equal(read_ratings(path, found.attrs["format"]), found)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* repeats? a rater and clip")
        assert len(aggregate_ratings(path, scale=None)) == found["clip_id"].nunique()


@pytest.mark.parametrize("sample", OTHERS)
def test_a_file_of_other_columns_is_recognised_and_read(write, sample):
    name, text, columns, expected = OTHERS[sample]
    found = read_ratings(write(name, text))
    assert found.attrs["format"] == sample.partition(",")[0]
    assert lines(found, columns) == expected


def test_no_two_formats_claim_a_file(write):
    """Plain tables are looked at last, so they need not stand back."""
    assert {name.partition(",")[0] for name in SAMPLES | OTHERS} == {*FORMATS}
    for sample, (name, text, *_) in (SAMPLES | OTHERS).items():
        claimed = [
            one.name
            for one in FORMATS.values()
            if not one.general and one.recognises(Export(write(name, text)))
        ]
        assert claimed in ([], [sample.partition(",")[0]]), sample


def test_one_line_says_what_was_recognised_and_what_is_not_used(write, caplog):
    path = write("mushra.csv", samples.MUSHRA)
    with caplog.at_level(logging.INFO, "musiceval_sk"):
        table = read_ratings(path)
    assert caplog.messages == [
        f"{path}: read as results of webMUSHRA: 4 ratings of 3 clips by 2 raters; not used: session_test_id, rating_comment; "
        "personal and left out: email, age"
    ]
    assert table.attrs["unused"] == ["session_test_id", "rating_comment"] and table.attrs["personal"] == [
        "email",
        "age",
    ]
    assert "example.org" not in table.to_csv()
    assert table["seconds"].tolist() == [12.345, 12.345, 8.0, 5.0]
    assert table.index.tolist() == [2, 3, 4, 6]


def test_sessions_of_webmushra_that_cannot_be_told_apart(write):
    path = write("mushra.csv", samples.MUSHRA_OLD.replace("bert", "anna"))
    with pytest.raises(
        ClipsTableError, match=r"answers to 'email' do not .* \(line 4 repeats a clip\).* rater=session"
    ):
        read_ratings(path)
    named = samples.MUSHRA_OLD.replace("comment\n", "comment,person\n").replace("1000,\n", "1000,,p\n")
    path = write("mushra.csv", named.replace("bert", "anna"))
    assert read_ratings(path, columns={"rater": "person"})["rater"].unique().tolist() == ["p"]
    path = write("mushra.csv", samples.MUSHRA_OLD)
    assert read_ratings(path, columns={"rater": "email"})["rater"].tolist() == ["R1", "R1", "R2"]


def test_questions_of_a_likert_page_are_named(write):
    path = write("lss.csv", samples.LSS)
    with pytest.raises(
        ClipsTableError, match=r"asked 2 questions, stimuli_rating1, stimuli_rating2; name them"
    ):
        read_ratings(path)
    both = read_ratings(path, targets=["impression", "alignment"])
    assert lines(both, ["clip_id", "impression", "alignment"]) == ["S1_P1 4 5", "S2_P1 2 1"]
    one = read_ratings(path, columns={"alignment": "stimuli_rating2"})
    assert one["alignment"].tolist() == ["5", "1"] and one.attrs["unused"] == [
        "session_test_id",
        "stimuli_rating1",
    ]


def test_a_folder_is_read_as_one(tmp_path, write):
    write("a.json", samples.AUDIOCRAFT)
    write("b.json", samples.AUDIOCRAFT.replace("jade", "kim"))
    found = read_ratings(tmp_path)
    assert len(found) == 6 and found["rater"].tolist() == ["R1"] * 3 + ["R2"] * 3
    assert found.index[[0, -1]].tolist() == ["a.json:1", "b.json:3"]
    write("c.csv", "rater,clip_id,impression\nA,x,3\n")
    with pytest.raises(ClipsTableError, match=r"several formats, a\.json \(audiocraft\), .* c\.csv \(long\)"):
        read_ratings(tmp_path)


def test_a_salt_makes_pseudonyms_that_hold_across_files(write):
    first = read_ratings(write("a.csv", "rater,clip_id,impression\nAnna,x,3\nBert,x,4\n"), salt="sea")
    second = read_ratings(write("b.csv", "rater,clip_id,impression\nBert,y,3\n"), salt="sea")
    other = read_ratings(write("b.csv", "rater,clip_id,impression\nBert,y,3\n"), salt="rock")
    assert first["rater"][3] == second["rater"][2] != other["rater"][2]
    assert first["rater"].str.fullmatch("R[0-9a-f]{16}").all() and first["rater"].nunique() == 2


def test_a_worker_id_is_numbered_and_other_columns_of_persons_are_left_out(write):
    text = "WorkerId,clip_id,impression,Gender,ip_address,batch\nA1B2,x,3,f,1.2.3.4,1\nC3D4,x,4,m,1.2.3.5,1\nA1B2,y,5,f,1.2.3.4,2\n"
    found = read_ratings(write("r.csv", text))
    assert found["rater"].tolist() == ["R1", "R2", "R1"] and set(found) == {
        "rater",
        "clip_id",
        "impression",
        "batch",
    }
    assert found.attrs["personal"] == ["Gender", "ip_address"]


@pytest.mark.parametrize("name", ["Age", "age_group", "participant_email", "RecipientFirstName", "IPAddress", "X-Real-IP",
                                  "LocationLatitude", "PROLIFIC_PID", "Name", "user name", "user", "workerid",
                                  "Country", "rater_country", "Q3_age", "zip_code", "worker", "What is your age?", "Sex",
                                  "How old are you?", "In which country do you live?"])  # fmt: skip
def test_columns_of_persons(name):
    assert is_personal(name)


@pytest.mark.parametrize(
    "name",
    [
        *("file_name", "page", "system_name", "rater", "image", "usage", "clip_id", "stage", "condition"),
        *("country_1", "city pop", "city_pop_1", "mobile_2", "How good is this country song?"),
    ],
)
def test_columns_of_things(name):
    assert not is_personal(name)


@pytest.mark.parametrize(
    "text, words",
    [
        (
            "listener,subject,clip_id,impression\nA,B,x,3\n",
            r"'listener', 'subject' may all be the rater; .* rater=listener",
        ),
        (
            "rater,file,stimulus,impression\nA,B,x,3\n",
            r"'file', 'stimulus' may all be the clip_id; .*--column",
        ),
    ],
)
def test_columns_that_may_be_one_thing_are_asked_about(write, text, words):
    with pytest.raises(ClipsTableError, match=words):
        read_ratings(write("r.csv", text))


def test_a_column_that_is_said_decides(write):
    path = write("r.csv", "listener,subject,clip_id,mos\nA,B,x,3\n")
    found = read_ratings(path, columns={"rater": "subject", "impression": "mos"})
    assert lines(found) == ["B x 3"] and found.attrs["unused"] == ["listener"]
    with pytest.raises(ClipsTableError, match=r"missing column\(s\) person"):
        read_ratings(path, columns={"rater": "person"})


def test_a_column_that_is_said_takes_the_place_of_one_of_our_name(write):
    path = write("r.csv", "rater,subject,clip_id,impression\nA,B,x,3\n")
    assert lines(read_ratings(path, columns={"rater": "subject"})) == ["B x 3"]


def test_wide_tables_are_not_guessed_at(write):
    path = write("w.csv", "clip_id,quality,enjoyment\na,3,4\nb,1,2\n")
    assert read_ratings(path).attrs["format"] == "long"
    assert lines(read_ratings(path, "wide")) == [
        "quality a 3",
        "enjoyment a 4",
        "quality b 1",
        "enjoyment b 2",
    ]
    with pytest.raises(ClipsTableError, match="this one has both, as a long table has"):
        read_ratings(write("l.csv", "rater,clip_id,impression\nA,x,3\n"), "wide")
    with pytest.raises(ValueError, match="unknown format 'xls'; choose from auto, .*webmushra"):
        read_ratings(path, "xls")


def test_a_matrix_takes_the_names_of_a_list(write):
    path, names = write("m.csv", samples.BT500), write("clips.csv", "clip_id\na\nb\n")
    assert read_ratings(path, listing=names)["clip_id"].tolist()[:3] == ["a", "a", "b"]
    with pytest.raises(ClipsTableError, match="lists 1 clip for 2 lines"):
        read_ratings(path, listing=write("clips.csv", "clip_id\na\n"))
    with pytest.raises(ClipsTableError, match="as many rows as the first; they have 2, 1"):
        read_ratings(write("m.csv", "1,2,3\n4,5,1\n,\n3,3,3\n"))
    with pytest.raises(ClipsTableError, match="line 3 has 2 scores where the first row has 3"):
        read_ratings(write("m.csv", "1,2,3\n,,\n3,3\n"))
    with pytest.raises(
        ClipsTableError, match="as many rows as the first; they have 0, 1"
    ):  # nobody knows of what
        read_ratings(write("m.csv", "-1,-1\n3,3\n"))
    ended = read_ratings(write("m.csv", "1,2\n,\n3,\n,\n"))  # nothing stands after the last
    assert ended.apply(" ".join, axis=1).tolist() == ["1 R1 1", "1 R2 2", "1 R1 3"]


@pytest.mark.parametrize(
    "name, text, ratings",
    [
        ("matrix", "\n1,2\n\n3,4\n", ["1 R1 1", "1 R2 2", "2 R1 3", "2 R2 4"]),
        ("matrix", " \n1,2\n \n3,4\n\n", ["1 R1 1", "1 R2 2", "2 R1 3", "2 R2 4"]),
        (
            "golisten",
            " \n" + samples.GOLISTEN_ACR.replace("\nName", "\n \n\nName"),
            ["R1 calm piano 4", "R1 drums 5", "R2 calm piano 2"],
        ),
        ("mos_list", "a.wav,3\n\n \nb.wav,4\n", ["a.wav 3", "b.wav 4"]),
    ],
)
def test_a_blank_line_hides_no_format(write, name, text, ratings):
    table = read_ratings(write("m.csv", text))
    assert (table.attrs["format"], table.apply(" ".join, axis=1).tolist()) == (name, ratings)


def test_axes_of_audiobox_keep_their_names_whatever_their_order(write):
    lines = ['{"data_path": "a", "CE": [1], "PQ": [2]}', '{"data_path": "b", "PQ": [3], "CE": [4]}']
    table = read_ratings(write("a.jsonl", "\n".join([*lines, '{"data_path": "c", "PQ": [5]}'])))
    named = '{"data_path": "a", "CE": [1], "%s": ["x"]}'
    for axis in ("Clip_ID", "SLOT", "ce"):
        with pytest.raises(
            ClipsTableError, match=f"line 1: axes need names of their own; they are CE, {axis}"
        ):
            read_ratings(write("a.jsonl", named % axis))
    assert (
        read_ratings(write("a.jsonl", named % "rater"), salt="s")["rater"]
        .str.fullmatch("R[0-9a-f]{16}")
        .all()
    )
    assert table["ce"].tolist()[:2] == [1, 4] and table["pq"].tolist() == [2, 3, 5] and table["ce"].isna()[3]


def test_a_spreadsheet_is_read_as_the_table_it_holds(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in [["rater", "clip_id", "impression"], ["A", 1, 3], ["B", 1.0, 4.5], [None, None, None]]:
        book.active.append(row)
    book.create_sheet("empty")
    book.save(tmp_path / "r.xlsx")
    assert lines(read_ratings(tmp_path / "r.xlsx")) == ["A 1 3", "B 1 4.5"]
    book["empty"].append(["more"])
    book.save(tmp_path / "r.xlsx")
    with pytest.raises(ClipsTableError, match="2 sheets hold cells, 'Sheet', 'empty'; keep the one"):
        read_ratings(tmp_path / "r.xlsx")
    (tmp_path / "r.xlsx").write_text("no zip")
    with pytest.raises(ClipsTableError, match="no spreadsheet that can be read"):
        read_ratings(tmp_path / "r.xlsx")


@pytest.mark.parametrize(
    "sample, words",
    [
        (
            samples.P808_VOTES + "h2,A,s,x,https://x.y/b.wav,b.wav,1,CMOS,c\n",
            "votes on 2 questions, MOS, CMOS; give a file of one",
        ),
        ("[true, false]", "ABX test of BeaqleJS says whether X was found"),
        ('[{"TestID": "id1"}]', "results of BeaqleJS without any rating"),
        ("Tags,,\nName,Date,Which?\nAnna,2021,A\n", "no column is a rating of Go Listen"),
        ("rater,clip_a,clip_b,preference\nA,x,y,left\n", "one of a, b, tie, both_bad; 1 of 1 are not: left"),
        (samples.ARENA.splitlines()[1], "without any rating; left out 1 of 1 battles without a vote"),
        (
            '{"data_path": "a", "Q": [1, 2], "E": [1]}',
            "line 1: axes need equally many scores; they are Q 2, E 1",
        ),
        (
            '{"data_path": "a", "Q": [1, 2], "E": null}\n{"data_path": "b", "Q": [1], "E": [2]}\n{"data_path": "c", "Q": 4, "E": [2]}',
            "line 3: axis 'Q' is no list of scores, as it is in other lines",
        ),
        (
            "session_test_id,trial_id,choice_reference,choice_non_reference,choice_answer\np,t,r,c,correct\n",
            "whether the reference was found",
        ),
        (
            "session_test_id,trial_id,rating_stimulus,rating_score\np,t,c,1,2\n",
            "line 2 has 5 cells where its header has 4",
        ),
        (
            "session_test_id,trial_id,rating_stimulus,rating_score,session_uuid\np,t,c,,u\n",
            "results of webMUSHRA without any rating",
        ),
        (
            "".join(samples.JSPSYCH.splitlines(True)[::2]).replace('"80"', '""'),
            r"left out 1 trial without a rating \(1 audio-slider-response\)",
        ),
        (samples.PSYCHOPY.replace("a.wav", "").replace("b.wav", ""), "left out 3 rows without a clip"),
        ("a.wav,3\nb.wav,4\nc.wav,3\nd.wav,2\ne.wav\n", "line 5 has 1 cells instead of 2"),
        ("1,2\n3,4\n1,1\n2,2\nx,3\n", "line 5 is no row of scores: x, 3"),
        (
            "rater,clip_a,Clip A,clip_b,preference\nr,a,b,c,a\n",
            "'clip_a', 'Clip A' all stand for 'clip_a'; keep",
        ),
    ],
)
def test_what_is_no_rating_is_refused_in_words(write, sample, words):
    with pytest.raises(ClipsTableError, match=words):
        read_ratings(write("t.txt", sample))


def test_what_is_left_out_of_a_crowds_answers_is_counted(write, caplog):
    path = write("Batch_1.csv", samples.P808)
    with caplog.at_level(logging.INFO, "musiceval_sk"):
        read_ratings(path)
    words = "left out 2 ratings of a trapping or gold clip; left out 3 ratings of a rejected assignment; read as answers of P.808"
    assert (
        words in caplog.text and "personal and left out" not in caplog.text
    )  # the worker's id tells raters apart
    assert "not used: HITId, Answer.audio_n_play_q1" in caplog.text


def test_raters_of_voicemos_lose_age_gender_and_worker_id(write):
    table = read_ratings(write("TRAINSET", samples.VOICEMOS))
    assert table.attrs["personal"] == ["worker_info"] and table.attrs["unused"] == ["sample"]
    assert "Female" not in table.to_csv() and table["system"].tolist() == ["sys64e2f", "sys64e2f", "sysa0001"]


def test_trials_of_jspsych_without_a_slider(write, caplog):
    with caplog.at_level(logging.INFO, "musiceval_sk"):
        table = read_ratings(write("data.csv", samples.JSPSYCH))
    assert "left out 1 trial without a rating (1 html-button-response)" in caplog.text and table[
        "seconds"
    ].tolist() == [4.2, 3.1]
    path = write("data.csv", samples.JSPSYCH.replace("slider", "button").replace("html", "audio"))
    with pytest.raises(
        ClipsTableError, match="no trial is a slider .* audio-button-response.* impression=response"
    ):
        read_ratings(path)
    said = read_ratings(path, columns={"impression": "response", "rater": "study_id"})
    assert lines(said)[-1] == "R1 sounds/b.wav 35"


def test_scales_of_psychopy_are_not_guessed_at(write):
    two = samples.PSYCHOPY.replace("slider.rt", "other.response")
    with pytest.raises(
        ClipsTableError, match=r"2 columns may hold scores \(slider\.response, other\.response\)"
    ):
        read_ratings(write("p.csv", two))
    named = two.replace("slider.", "impression.").replace("other.", "alignment.")
    assert lines(read_ratings(write("p.csv", named)), ["impression", "alignment"]) == ["4 2.5", "2 1.5"]
    with pytest.raises(ClipsTableError, match="no column names the clips; .* clip_id=sound"):
        read_ratings(write("p.csv", samples.PSYCHOPY.replace("sound_file", "which")))


def test_surveys_are_read_in_their_own_encoding(tmp_path, write, caplog):
    (tmp_path / "s.csv").write_bytes(samples.SOSCI.encode("utf-16"))
    names = write("clips.csv", "clip_id\na\nb\n")
    with caplog.at_level(logging.INFO, "musiceval_sk"):
        assert lines(read_ratings(tmp_path / "s.csv", listing=names)) == ["123 a 4", "130 a 2", "130 b 5"]
        table = read_ratings(write("q.csv", samples.QUALTRICS))
    assert table.attrs["personal"] == ["IPAddress", "RecipientEmail", "LocationLatitude"]
    assert "left out 1 answer with a code of SoSci" in caplog.text
    assert "Q9_TEXT" in table.attrs["unused"] and "left out 1 preview of the survey" in caplog.text


def survey(*answers):
    names = [name for name, _ in answers]
    cells = [str(score) for _, score in answers]
    return "\t".join(["CASE", "QUESTNNR", *names]) + "\n" + "\t".join(["7", "base", *cells]) + "\n"


def test_questions_about_a_clip_need_names(write):
    two = ["impression", "alignment"]
    path = write(
        "s.tsv", survey(("Q1_1", 1), ("Q1_2", 2), ("Q1_3", 3), ("Q2_1", 4), ("Q2_2", 5), ("Q2_3", 1))
    )
    with pytest.raises(
        ClipsTableError, match=r"several numbers \(Q1_1, .* in their order with targets= .*S1_P1_impression"
    ):
        read_ratings(path)
    by_question = read_ratings(path, targets=two)
    assert lines(by_question, ["clip_id", *two]) == ["1 1 4", "2 2 5", "3 3 1"]
    by_clip = read_ratings(path, targets=["a", "b", "c"])
    assert lines(by_clip, ["clip_id", "a", "b", "c"]) == ["Q1 1 2 3", "Q2 4 5 1"]
    square = write("q.tsv", survey(("Q1_1", 1), ("Q1_2", 2), ("Q2_1", 4), ("Q2_2", 5)))
    with pytest.raises(ClipsTableError, match="either may be the clips"):
        read_ratings(square, targets=two)
    said = write("n.tsv", survey(("S1_P1_impression", 4), ("S1_P1_alignment", 2), ("S2_P1_impression", 1)))
    assert lines(read_ratings(said), ["rater", "clip_id", *two]) == ["7 S1_P1 4 2", "7 S2_P1 1 "]
    with pytest.raises(ClipsTableError, match="no question has numbers for answers"):
        read_ratings(write("t.tsv", survey(("Q1", "good"))))


def test_json_of_no_format_is_refused_with_those_that_are_read(write):
    with pytest.raises(
        ClipsTableError, match=r"x\.json: is JSON of no format that is read; these are .*sureal"
    ):
        read_ratings(write("x.json", '{"a": 1}'))


def test_json_on_one_long_line_is_read(write):
    videos = [{"path": f"{number}.wav", "os": {"R1": 3}} for number in range(9000)]
    assert len(read_ratings(write("set.json", json.dumps({"dis_videos": videos})))) == 9000


def test_pairs_of_any_format_give_strengths(write):
    battles = [
        samples.BATTLE | {"uuid": f"b{n}", "vote": {"preference": "A" if n < 3 else "B"}} for n in range(4)
    ]
    table = read_pairs(write("log.jsonl", "\n".join(map(json.dumps, battles))))
    assert table["preference"].tolist() == ["a", "a", "a", "b"] and table["system_a"].unique().tolist() == [
        "musicgen"
    ]


def test_columns_that_a_caller_names_keep_their_names(write):
    path = write("r.csv", "subject,stimulus,impression\nA,x,3\nB,x,4\n")
    scores = aggregate_ratings(path, rater="subject", items=["stimulus"])
    assert scores["impression"].to_dict() == {"x": 3.5} and scores.index.name == "stimulus"
    assert lines(read_ratings(path)) == ["A x 3", "B x 4"]


def test_a_folder_of_battles_has_some_without_a_vote(tmp_path, write, caplog):
    for number, vote in enumerate([{"preference": "TIE", "feedback": "so so"}, None, None]):
        write(f"{number}.json", json.dumps(samples.BATTLE | {"uuid": f"b{number}", "vote": vote}))
    with caplog.at_level(logging.INFO, "musiceval_sk"):
        assert read_ratings(tmp_path)["preference"].tolist() == ["tie"]
    assert "left out 1 of 1 battles without a vote (in each of 2 files); read as battles" in caplog.text
    assert (
        "1 judgement of a pair of 2 clips by 1 rater; not used: vote.feedback, vote_session.uuid, vote"
        in caplog.text
    )


def test_a_folder_of_plain_tables_is_read_if_one_says_so(tmp_path, write, caplog):
    write("a.csv", "rater,clip_id,impression\nA,x,3\n")
    with pytest.raises(ClipsTableError, match="is a folder, not a table"):
        read_ratings(tmp_path)
    write("b.csv", "rater,clip_id,impression\nB,x,4\n")
    with caplog.at_level(logging.INFO, "musiceval_sk"):
        assert lines(read_ratings(tmp_path, "long")) == ["A x 3", "B x 4"]
    assert not caplog.messages  # it is used as it stands


def qualtrics(names, labels, *rows):
    ids = [f'"{{""ImportId"":""{name}""}}"' for name in ("_recordId", *names)]
    lines = [["ResponseId", *names], ["Response ID", *labels], ids, *rows]
    return "\n".join(",".join(map(str, line)) for line in lines) + "\n"


def test_questions_about_the_person_are_no_clips_of_qualtrics(write):
    labels = ["How good?", "How well?", "What is your gender?"]
    text = qualtrics(["A_impression", "A_alignment", "Q1"], labels, ["R_1", 4, 2, 1], ["R_2", 5, 3, 2])
    found = read_ratings(write("q.csv", text))
    both = ["rater", "clip_id", "impression", "alignment"]
    assert lines(found, both) == ["R_1 A 4 2", "R_2 A 5 3"]
    assert found.attrs["unused"] == ["Q1"]


def test_questions_that_do_not_end_in_a_target_are_named_as_clips(write, caplog):
    text = qualtrics(["Q1", "Q2", "Q3"], ["Clip one", "Clip two", "How old are you?"], ["R_1", 4, 2, 33])
    with caplog.at_level(logging.INFO, "musiceval_sk"):
        found = read_ratings(write("q.csv", text))
    assert lines(found) == ["R_1 Q1 4", "R_1 Q2 2"] and found.attrs["unused"] == ["Q3"]
    assert "2 columns taken as clips: Q1, Q2; read as answers of Qualtrics" in caplog.text


def test_the_gender_of_a_person_is_no_clip_of_sosci(write, caplog):
    text = "CASE\tQUESTNNR\tA101\tA102\tSD01\nNumber\tName\tFirst\tSecond\tGender\n7\tbase\t4\t-9\t2\n8\tbase\t3\t5\t1\n"
    with caplog.at_level(logging.INFO, "musiceval_sk"):
        found = read_ratings(write("s.tsv", text))
    assert lines(found) == ["7 A101 4", "8 A101 3", "8 A102 5"] and "SD01" in found.attrs["unused"]
    assert "2 columns taken as clips: A101, A102" in caplog.text


@pytest.mark.parametrize(
    "clips", [["jazz_1", "jazz_2", "country_1", "country_2"], ["jazz_1", "country_1", "city_pop_1"]]
)
def test_clips_of_a_genre_are_kept(write, clips):
    path = write("w.csv", f"rater,{','.join(clips)}\nA,{','.join('4' * len(clips))}\n")
    found = read_ratings(path)
    assert found.attrs["format"] == "wide" and found["clip_id"].tolist() == clips
    assert found.attrs["personal"] == []


def test_a_wide_table_names_its_clips_or_takes_those_of_a_list(write, caplog):
    path = write("w.csv", "rater,a,b,years_of_training\nA,4,2,3\nB,5,1,5\n")
    with caplog.at_level(logging.INFO, "musiceval_sk"):
        assert read_ratings(path)["clip_id"].nunique() == 3
    assert "3 columns taken as clips: a, b, years_of_training; read as a wide table" in caplog.text
    found = read_ratings(path, listing=write("clips.csv", "path\na.wav\nb.wav\nc.wav\n"))
    assert lines(found) == ["A a 4", "A b 2", "B a 5", "B b 1"]
    assert found.attrs["unused"] == ["years_of_training"]
    with pytest.raises(ClipsTableError, match="no column bears the name of a clip of .*: columns are a, b, "):
        read_ratings(path, listing=write("clips.csv", "path\nx.wav\n"))


def test_a_column_that_is_named_is_no_clip_of_a_wide_table_and_stays(write, caplog):
    path = write("w.csv", "rater,a,b,took,day\nA,4,2,30,1\nB,5,1,25,2\n")
    with caplog.at_level(logging.INFO, "musiceval_sk"):
        found = read_ratings(path, columns={"took": "took", "day": "day"})
    assert lines(found, ["rater", "clip_id", "impression", "took", "day"]) == [
        "A a 4 30 1",
        "A b 2 30 1",
        "B a 5 25 2",
        "B b 1 25 2",
    ]
    assert "2 columns taken as clips: a, b; read as a wide table" in caplog.text
    by_rater = read_ratings(write("w.csv", "clip_id,r1,r2,took\nx,4,2,30\n"), columns={"took": "took"})
    assert lines(by_rater, ["rater", "clip_id", "impression", "took"]) == ["r1 x 4 30", "r2 x 2 30"]


def test_a_column_that_is_named_stays_in_any_export(write):
    found = read_ratings(write("p.csv", samples.PSYCHOPY), columns={"session": "session"})
    assert lines(found, ["clip_id", "impression", "session"]) == ["a.wav 4 001", "b.wav 2 001"]
    assert "session" not in found.attrs["unused"]


@pytest.mark.parametrize("name", ["t.jsonl", "t.csv"])
def test_rows_that_each_name_columns_of_their_own_do_not_fill_memory(write, name):
    rows = [json.dumps({"clip_id": number, f"column {number}": 1}) for number in range(2000)]
    if name == "t.csv":  # of webMUSHRA, whose sessions have a header each
        rows = [f"session_test_id,q{number},trial_id\nt,1,x" for number in range(2000)]
    with pytest.raises(
        ClipsTableError, match=r"first 1,\d\d\d rows name 1,\d\d\d columns, nearly all of them in few rows"
    ):
        read_ratings(write(name, "\n".join(rows)))


def test_columns_are_read_without_a_pass_of_pandas_over_each(write, monkeypatch):
    header, scores = ",".join(["clip_id", *(f"rater {number}" for number in range(500))]), ",3" * 500
    path, taken, usual = write("w.csv", f"{header}\na{scores}\nb{scores}\n"), [], pd.DataFrame.__getitem__
    monkeypatch.setattr(
        pd.DataFrame, "__getitem__", lambda table, key: taken.append(key) or usual(table, key)
    )
    table = read_ratings(path)
    assert (len(table), table["rater"].nunique(), list(table.index[[0, -1]])) == (1000, 500, [2, 3])
    assert len(taken) < 100


def test_unused_columns_are_not_copied_with_every_column(write):
    """Which pandas does with `attrs`: a table of 20,000 columns took minutes."""
    table = read_ratings(write("r.csv", "rater,clip_id,impression,mood,age\nA,x,3,1,30\n"))
    assert (table.attrs["unused"], table.attrs["personal"]) == (["mood"], ["age"])
    for column in table:
        assert table[column].attrs["unused"] is table.attrs["unused"]
        assert table[column].attrs["personal"] is table.attrs["personal"]


def test_a_field_that_is_null_throughout_is_named_as_unused(write):
    table = read_ratings(write("a.jsonl", '{"data_path": "a", "Q": [1, 2], "note": null, "E": null}\n'))
    assert table.attrs["unused"] == ["note", "E"] and table["q"].tolist() == [1, 2]


@pytest.mark.parametrize("target", ["rater", "trial", "seconds", "clip_id"])
def test_a_score_is_not_called_as_another_column_is(write, target):
    with pytest.raises(ClipsTableError, match=f"scores cannot be called {target}, for other columns are"):
        read_ratings(write("mushra.csv", samples.MUSHRA), targets=[target])
