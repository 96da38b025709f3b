"""`read_answers`: what raters answered is what the table says, and files that cannot be true are refused."""

import json
import sqlite3

import pandas as pd
import pytest
from typer.testing import CliRunner

from musiceval_sk import ClipsTableError, SkippedWarning, aggregate_ratings
from musiceval_sk.cli.app import app
from musiceval_sk.listening import design_test, read_answers
from musiceval_sk.listening.answers import AnswerStore
from musiceval_sk.listening.page.build import test_id as id_of
from musiceval_sk.listening.page.build import trial_names
from musiceval_sk.ratings.pairs import pair_strengths
from tests.listening.designs import download, given_answers
from tests.listening.test_design import grid, real

pytestmark = pytest.mark.filterwarnings("ignore:.*have not finished")


@pytest.fixture(scope="module")
def test():
    return design_test(grid(3, 8), n_raters=6, probes=real(2))


def score(rater, clip, scale):
    """Systems S0, S1 and S2 are worth 2, 3 and 4; real music 5. R06 hates all music but that of S0."""
    if rater == "R06":
        return 5 if clip.startswith("S0") else 1
    return 5 if clip.startswith("real") else 2 + int(clip[1]) + (scale == "alignment")


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_the_table_is_what_was_answered(test, tmp_path):
    answers = given_answers(test, score)
    files = [download(tmp_path / "json", test, given) for given in answers.values()]
    table = read_answers(files, test)
    assert list(table) == ["rater", "batch", "clip_id", "impression", "alignment", "seconds", "position"]
    assert len(table) == len(list(test.trials()))
    for row in table.itertuples():
        clip = row.clip_id.removesuffix("_again")
        assert (row.impression, row.alignment) == (
            score(row.rater, clip, "impression"),
            score(row.rater, clip, "alignment"),
        )
    again = table[table["clip_id"].str.endswith("_again")]
    assert len(again) == 6
    assert not table.duplicated(["rater", "clip_id"]).any()
    pd.testing.assert_frame_equal(read_answers(tmp_path / "json", test), table)


def test_the_servers_file_gives_the_same_table(test, tmp_path):
    answers = given_answers(test, score)
    store = AnswerStore(tmp_path / "answers.sqlite", id_of(test))
    for given in answers.values():
        store.insert(given)
        store.commit()
    # The server may still be running.
    table = read_answers(tmp_path / "answers.sqlite", test)
    store.close()
    files = [download(tmp_path, test, given) for given in answers.values()]
    pd.testing.assert_frame_equal(table, read_answers(files, test))
    pd.testing.assert_frame_equal(table, read_answers(tmp_path, test))


def test_an_export_goes_through_the_command_ratings_without_an_edit(test, tmp_path):
    for given in given_answers(test, score).values():
        download(tmp_path / "json", test, given)
    test.save(tmp_path / "design.json")
    result = run(
        "listen",
        "export",
        tmp_path / "json",
        "--design",
        tmp_path / "design.json",
        "--out",
        tmp_path / "r.csv",
    )
    assert result.exit_code == 0, result.output
    result = run(
        "ratings", tmp_path / "r.csv", "--design", tmp_path / "design.json", "--out", tmp_path / "mos"
    )
    assert result.exit_code == 0, result.output
    left_out = pd.read_csv(tmp_path / "mos" / "left-out.csv")
    assert set(left_out["rater"]) == {"R06"}
    assert "S_SRCC" in result.output
    mos = pd.read_csv(tmp_path / "mos" / "mos.csv", index_col="clip_id")
    assert set(mos.index) == set(grid(3, 8).index)
    assert (mos["impression"] == [2 + int(clip[1]) for clip in mos.index]).all()
    counts = (
        pd.read_csv(tmp_path / "r.csv")
        .query("rater != 'R06' and clip_id in @mos.index")["clip_id"]
        .value_counts()
    )
    assert (mos["impression_count"] == counts.reindex(mos.index)).all()
    both = run(
        "ratings", tmp_path / "r.csv", "--design", tmp_path / "design.json", "--probes", tmp_path / "r.csv"
    )
    assert "give one of them" in both.output


def test_sliders_are_screened_on_their_scale(tmp_path):
    sliders = design_test(grid(3, 4), n_raters=6, probes=real(2), method="slider")
    sliders.save(tmp_path / "design.json")
    for rater, given in given_answers(sliders, lambda *asked: 25 * (score(*asked) - 1)).items():
        # Copies 24 apart are near enough; R01 hears the second as 40 worse than the first.
        for answer in [one for one in given if one["trial"] in repeats_of(sliders, rater)]:
            answer["scores"] = {
                name: abs(value - (40 if rater == "R01" else 24)) for name, value in answer["scores"].items()
            }
        download(tmp_path / "json", sliders, given)
    read_answers(tmp_path / "json", sliders).to_csv(tmp_path / "r.csv", index=False)
    asked = ("ratings", tmp_path / "r.csv", "--design", tmp_path / "design.json", "--out", tmp_path)
    result = run(*asked)
    assert result.exit_code == 0, result.output
    assert set(pd.read_csv(tmp_path / "left-out.csv")["rater"]) == {"R01", "R06"}
    refused = run(*asked, "--scale", 1, 5, "--force")
    assert refused.exit_code == 2 and "1 to 5" in refused.stderr


def repeats_of(test, rater):
    names = trial_names(test)[rater]
    return {names[trial[1:3]] for trial in test.trials() if trial[0] == rater and trial[3].get("repeat")}


def test_files_of_one_rater_are_merged(test, tmp_path):
    answers = given_answers(test, score)["R01"]
    download(tmp_path, test, answers[:9], "first")
    download(tmp_path, test, answers[5:], "second")
    table = read_answers(tmp_path, test)
    assert table["position"].tolist() == list(range(1, len(answers) + 1))


def test_of_two_answers_the_first_stands(test, tmp_path):
    answers = given_answers(test, score)["R01"]
    later = answers[3] | {"scores": {"impression": 1, "alignment": 1}, "answered_at": "2026-01-01T09:00:00Z"}
    download(tmp_path, test, [later], "a")
    download(tmp_path, test, answers, "b")
    with pytest.warns(
        SkippedWarning, match="1 trial was answered differently in two files.*R01 batch 1 position 4"
    ):
        table = read_answers(tmp_path, test)
    assert table["impression"].iloc[3] == answers[3]["scores"]["impression"]


@pytest.mark.filterwarnings("default:.*have not finished")
def test_unfinished_raters_are_named(test, tmp_path):
    answers = given_answers(test, score)
    for rater in ("R01", "R02", "R03", "R04", "R05"):
        download(tmp_path, test, answers[rater][: 7 if rater == "R02" else None])
    total, none = len(answers["R02"]), len(answers["R06"])
    words = rf"2 of 6 raters have not finished: R02 \(7 of {total} answers\), R06 \(0 of {none} answers\)"
    with pytest.warns(UserWarning, match=words):
        read_answers(tmp_path, test)


def test_answers_of_another_test_are_refused(test, tmp_path):
    other = design_test(grid(3, 8), n_raters=6, probes=real(2), seed=1)
    path = download(tmp_path, other, given_answers(other, score)["R01"])
    with pytest.raises(ClipsTableError, match="holds answers of another test"):
        read_answers(path, test)
    store = AnswerStore(tmp_path / "answers.sqlite", id_of(other))
    store.close()
    with pytest.raises(ClipsTableError, match="holds answers of another test"):
        read_answers(tmp_path / "answers.sqlite", test)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ({"scores": {"impression": 7, "alignment": 3}}, "scores .*7.* cannot be given"),
        ({"scores": {"impression": 3}}, "cannot be given"),
        ({"position": 99}, "has no trial at batch and position"),
        ({"trial": "t_0"}, "is another than 't_0'"),
        ({"rater": "R02"}, "is of rater R01, but holds answers of R02"),
        ({"note": 1}, "exactly the fields"),
        ({"seconds": 10**400}, "seconds must be 0 or more"),
        ({"rater": []}, "unhashable"),
        ({"answered_at": "yesterday"}, "answered_at must be a time such as"),
    ],
)
def test_edited_files_are_refused(test, tmp_path, edit, words):
    answers = given_answers(test, score)["R01"]
    path = download(tmp_path, test, [*answers[:3], answers[3] | edit])
    with pytest.raises(ClipsTableError, match=words):
        read_answers(path, test)


def test_files_without_answers_are_refused(test, tmp_path):
    (tmp_path / "cut.json").write_text('{"format": "musiceval-ans')
    with pytest.raises(ClipsTableError, match="perhaps cut off"):
        read_answers(tmp_path / "cut.json", test)
    (tmp_path / "design.json").write_text(json.dumps({"format": "musiceval-listening-test"}))
    with pytest.raises(ClipsTableError, match="give the files that raters downloaded"):
        read_answers(tmp_path / "design.json", test)
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(ClipsTableError, match="is no JSON"):
        read_answers(tmp_path / "deep.json", test)
    for strange in ({"version": "1"}, {"rater": []}, {"answers": 1}):
        content = {"format": "musiceval-answers", "version": 1, "test": "", "rater": "R01", "answers": []}
        (tmp_path / "design.json").write_text(json.dumps(content | strange))
        with pytest.raises(ClipsTableError, match="give the files that raters downloaded"):
            read_answers(tmp_path / "design.json", test)
    (tmp_path / "other.sqlite").write_bytes(b"SQLite format 3\0 and no more")
    with pytest.raises(ClipsTableError, match="is no file of answers"):
        read_answers(tmp_path / "other.sqlite", test)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ClipsTableError, match="holds no .json or .sqlite"):
        read_answers(tmp_path / "empty", test)
    nothing = AnswerStore(tmp_path / "nothing.sqlite", id_of(test))
    nothing.close()
    with pytest.raises(ClipsTableError, match="no answers yet"):
        read_answers(tmp_path / "nothing.sqlite", test)


def test_preferences_become_a_table_of_pairs(tmp_path):
    test = design_test(grid(3, 8), n_raters=10, method="pairs")
    for given in given_answers(test, lambda rater, a, b: "a" if a[1] > b[1] else "b").values():
        download(tmp_path, test, given)
    table = read_answers(tmp_path, test, repeats=True)
    once = read_answers(tmp_path, test)
    assert list(once) == ["rater", "batch", "clip_a", "clip_b", "preference", "seconds", "position"]
    first = table[~table["repeat"]].drop(columns="repeat").reset_index(drop=True)
    pd.testing.assert_frame_equal(once, first)
    strengths = pair_strengths(once, clips=test.rated_clips(), prior=1).table
    assert strengths.index.tolist() == ["S2", "S1", "S0"]
    better = table["clip_a"].where(table["preference"] == "a", table["clip_b"])
    assert (better.str[1] == table[["clip_a", "clip_b"]].max(axis=1).str[1]).all()
    assert table["repeat"].sum() == 10


def test_means_are_those_of_the_raters(test, tmp_path):
    for given in given_answers(test, lambda rater, clip, scale: int(rater[1:]) % 5 + 1).values():
        download(tmp_path, test, given)
    table = read_answers(tmp_path, test)
    mos = aggregate_ratings(table)
    expected = (
        table.assign(score=table["rater"].str[1:].astype(int) % 5 + 1).groupby("clip_id")["score"].mean()
    )
    assert mos["impression"].sub(expected).abs().max() < 1e-12


@pytest.mark.parametrize(
    "answers",
    [
        "VIEW answers AS WITH RECURSIVE r(answer) AS (SELECT '{}' UNION ALL SELECT answer FROM r) SELECT * FROM r",
        "TABLE answers (rater, batch, position, answer TEXT AS (hex(zeroblob(500000000))))",
    ],
    ids=["a view", "a generated column"],
)
def test_a_database_that_computes_answers_is_refused(tmp_path, test, answers):
    file = sqlite3.connect(tmp_path / "answers.sqlite")
    file.executescript(
        f"CREATE TABLE about (name, value); INSERT INTO about VALUES ('test', 'x'); CREATE {answers};"
    )
    file.close()
    with pytest.raises(ClipsTableError, match="its tables about and answers are missing or computed"):
        read_answers(tmp_path / "answers.sqlite", test)
