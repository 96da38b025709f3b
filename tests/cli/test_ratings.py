"""``musiceval ratings`` as a user meets it."""

import re
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from musiceval_sk import aggregate_ratings
from musiceval_sk.cli.app import app
from musiceval_sk.datasets.synthetic import make_listening_test
from tests.ratings.formats import samples


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ratings")
    made = make_listening_test(
        folder / "test", n_systems=5, n_prompts=8, n_raters=7, n_careless=1, seconds=1.0
    )
    real = pd.DataFrame({"rater": made.ratings["rater"].unique(), "clip_id": "real", "impression": 5})
    real.loc[real["rater"] == "R02", "impression"] = 1
    pd.concat([made.ratings, real]).to_csv(folder / "ratings.csv", index=False)
    (folder / "probes.csv").write_text("clip_id,kind,copy_of\nreal,real,\n")
    return folder


def run(*arguments):
    return CliRunner().invoke(app, ["ratings", *map(str, arguments)])


@pytest.mark.slow
def test_raters_are_screened_and_scores_written(folder, tmp_path):
    result = run(
        folder / "ratings.csv", "--clips", folder / "test" / "clips.csv", "--probes", folder / "probes.csv",
        "--agreement", 0.3, "--method", "bias", "--out", tmp_path / "mos",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert re.search("R02 +all +real music +impression +scored 1 for the real clip real", result.stdout)
    assert re.search("R07 +all +disagreement", result.stdout)
    assert "S_SRCC, another panel" in result.stdout
    left_out = pd.read_csv(tmp_path / "mos" / "left-out.csv")
    assert set(left_out["rater"]) == {"R02", "R07"}
    kept = pd.read_csv(tmp_path / "mos" / "ratings.csv")
    assert set(kept["rater"]) == {"R01", "R03", "R04", "R05", "R06"}
    mos = pd.read_csv(tmp_path / "mos" / "mos.csv", index_col="clip_id")
    expected = aggregate_ratings(kept, method="bias")
    pd.testing.assert_frame_equal(mos.sort_index(), expected.sort_index(), check_dtype=False)
    assert set(pd.read_csv(tmp_path / "mos" / "raters.csv")["rater"]) == set(kept["rater"])
    assert "ICC(1,k)" in pd.read_csv(tmp_path / "mos" / "reliability.csv")["figure"].tolist()


def test_anonymous_ratings_have_no_rater_table(folder, tmp_path):
    table = pd.read_csv(folder / "test" / "ratings.csv").drop(columns="rater")
    table.to_csv(tmp_path / "r.csv", index=False)
    result = run(tmp_path / "r.csv", "--anonymous")
    assert result.exit_code == 0, result.output
    assert "no leave one rater out" in result.stdout
    assert "raters\n" not in result.stdout
    refused = run(tmp_path / "r.csv", "--anonymous", "--agreement", 0.2)
    assert refused.exit_code == 2
    assert "raters cannot be screened where nobody knows them" in refused.stderr


@pytest.mark.parametrize(
    "line, words", [("real,reel,", "kind 'reel'"), ("x2,copy,", "copy_of ''"), (",real,", "clip_id ''")]
)
def test_bad_probes_are_named_by_line(folder, tmp_path, line, words):
    (tmp_path / "probes.csv").write_text(f"clip_id,kind,copy_of\n{line}\n")
    result = run(folder / "ratings.csv", "--probes", tmp_path / "probes.csv")
    assert result.exit_code == 2
    assert "probes.csv: line 2" in result.stderr
    assert words in result.stderr


@pytest.mark.parametrize(
    "option, value, needed",
    [
        ("--batch", "day", "a rule that screens raters"),
        ("--time-column", "took", "--fastest"),
        ("--real-least", 2.0, "--probes with real music"),
        ("--copies-apart", 2.0, "--probes with copies"),
        ("--most-missed", 1.0, "--reference"),
    ],
)
def test_an_option_that_nothing_uses_is_refused(folder, option, value, needed):
    result = run(folder / "ratings.csv", option, value)
    assert result.exit_code == 2
    assert f"error: {option} {value} does nothing without {needed}" in result.stderr


TWO = "rater,clip_id,impression\nr1,a,3\nr2,a,4\nr1,b,2\nr2,b,1\nr1,c,5\nr2,c,4\n"


@pytest.mark.parametrize("clips", ["clip_id,system\na,S1\nb,S2\nc,S2\n", "path\na.wav\nb.wav\nc.wav\n"])
def test_clips_need_no_path_and_match_without_suffix(tmp_path, clips):
    (tmp_path / "clips.csv").write_text(clips)
    (tmp_path / "r.csv").write_text(TWO.replace(",a,", ",a.wav,").replace(",b,", ",b.mp3,"))
    result = run(tmp_path / "r.csv", "--clips", tmp_path / "clips.csv", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert pd.read_csv(tmp_path / "mos.csv").set_index("clip_id")["impression"].to_dict() == {
        "a": 3.5,
        "b": 1.5,
        "c": 4.5,
    }


def test_a_clip_without_system_is_named_once(tmp_path):
    (tmp_path / "clips.csv").write_text("clip_id,system\na,S1\nb,\nc,S2\n")
    (tmp_path / "r.csv").write_text(TWO)
    result = run(tmp_path / "r.csv", "--clips", tmp_path / "clips.csv")
    assert result.exit_code == 0, result.output
    words = "1 of 3 clips name no system, so clips are resampled as if they were independent, and intervals say nothing of other systems: b"
    assert result.stderr.count(words) == 1
    assert "no S_LCC; S_SRCC: impression: halves of systems need the system of every clip" in result.stdout


def test_how_a_table_was_understood_is_said_once(tmp_path):
    text = TWO.replace(",", ";").replace("3\n", "3,5\n").replace("clip_id", "Clip ID")
    (tmp_path / "r.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    result = run(tmp_path / "r.csv", "--same-share", 1)
    assert result.exit_code == 0, result.output
    note = f"note: {tmp_path / 'r.csv'}: semicolons between cells; column 'Clip ID' taken as 'clip_id'; decimal commas in"
    assert result.stderr.count("note: ") == 1 and note in result.stderr
    assert "3 clips by mean; mean of all: impression 3.250" in result.stdout


def test_an_unknown_target_is_named(tmp_path):
    (tmp_path / "r.csv").write_text(TWO.replace("impression", "MOS"))
    result = run(tmp_path / "r.csv")
    assert result.exit_code == 2
    assert "looked for impression, alignment; columns of numbers found: MOS" in result.stderr
    assert run(tmp_path / "r.csv", "--target", "mos").exit_code == 0


@pytest.mark.parametrize("extra", [[], ["--halves", "rater"], ["--clips", "clips.csv"], ["--method", "bias"]])
@pytest.mark.parametrize(
    "rows",
    [
        {"a": (5, 4), "b": (2, 1)},
        {"a": (1, 2), "b": (3, 4), "c": (5, 1), "d": (2, 3), "e": (4, 5)},
        {"a": (1, 5), "b": (2, 4), "c": (4, 2), "d": (5, 1)},
    ],
    ids=["two clips", "halves that disagree", "raters of opposite minds"],
)
def test_small_tests_end_in_figures_or_reasons(tmp_path, monkeypatch, rows, extra):
    monkeypatch.chdir(tmp_path)
    lines = [f"r{n},{clip},{score}" for clip, scores in rows.items() for n, score in enumerate(scores)]
    Path("r.csv").write_text("\n".join(["rater,clip_id,impression", *lines, ""]))
    Path("clips.csv").write_text("clip_id,path,system\na,a.wav,S1\nb,b.wav,S2\n")  # few clips are left
    result = run("r.csv", *extra)
    assert result.exit_code == ("left out" in result.output), result.output
    assert f"{2 if '--clips' in extra else len(rows)} clips by" in result.stdout
    assert "Krippendorff's alpha" in result.stdout and "no S_LCC; S_SRCC: impression:" in result.stdout
    assert not re.search(r"-[1-9]\.\d*[1-9]", result.stdout.split("impression:")[0])  # below -1


def test_times_that_are_not_there_are_asked_for_by_their_option(tmp_path):
    (tmp_path / "r.csv").write_text(TWO)
    result = run(tmp_path / "r.csv", "--fastest", 5)
    assert result.exit_code == 2
    assert "have no column 'seconds'" in result.stderr and "--time-column" in result.stderr
    assert "trusted" not in result.stderr


def test_times_of_a_wide_table_are_no_clip(tmp_path):
    (tmp_path / "r.csv").write_text("rater,a,b,took\nr1,3,2,9\nr2,4,1,8\nr3,5,2,1\n")
    result = run(tmp_path / "r.csv", "--fastest", 5, "--time-column", "took", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert pd.read_csv(tmp_path / "mos.csv", index_col=0)["impression"].to_dict() == {"a": 3.5, "b": 1.5}
    assert pd.read_csv(tmp_path / "left-out.csv")["rater"].tolist() == ["r3"]


def test_mushra_scores_stay_on_their_scale_unless_asked(tmp_path):
    scores = {"A": (95, 20, 60), "B": (98, 10, 40), "C": (50, 55, 45)}
    rows = [
        f"{r},{c},{s}"
        for r, given in scores.items()
        for c, s in zip(("ref", "low", "mid"), given, strict=True)
    ]
    (tmp_path / "r.csv").write_text("\n".join(["rater,clip_id,impression", *rows, ""]))
    (tmp_path / "clips.csv").write_text("clip_id,system\nref,Reference\nlow,Anchor\nmid,codec\n")
    options = [tmp_path / "r.csv", "--clips", tmp_path / "clips.csv", "--scale", 0, 100, "--out", tmp_path]
    result = run(*options, "--reference", "reference", "--bt500", "--p913")
    assert result.exit_code == 0, result.output
    assert "scored the reference below 90 in 1 of 1 trials" in result.stdout
    assert pd.read_csv(tmp_path / "mos.csv", index_col=0)["impression"].to_dict() == {
        "ref": 96.5,
        "low": 15,
        "mid": 50,
    }
    run(*options, "--reference", "reference", "--rescale", 1, 5, "--force")
    scores = pd.read_csv(tmp_path / "mos.csv", index_col=0)
    assert scores["impression"].to_dict() == pytest.approx({"ref": 4.86, "low": 1.6, "mid": 3.0})
    assert scores.loc["low", "impression_se"] == pytest.approx(5 * 4 / 100)
    refused = run(tmp_path / "r.csv", "--scale", 0, 100, "--rescale", 5, 1)
    assert refused.exit_code == 2 and "--rescale 5.0 1.0" in refused.stderr


def test_an_export_is_read_and_said_in_one_line(tmp_path):
    path = tmp_path / "mushra.csv"
    path.write_text(samples.MUSHRA)
    result = run(path, "--scale", 0, 100, "--salt", "sea", "--out", tmp_path / "mos")
    assert result.exit_code == 0, result.output
    note = f"note: {path}: read as results of webMUSHRA: 4 ratings of 3 clips by 2 raters; not used: session_test_id, rating_comment; personal"
    assert result.stderr.count("note: ") == 1 and note in result.stderr
    written = "".join(file.read_text() for file in (tmp_path / "mos").iterdir())
    assert "example.org" not in written and "u-1" not in written
    mos = pd.read_csv(tmp_path / "mos" / "mos.csv").set_index("clip_id")["impression"]
    assert mos.to_dict() == {"item1/C1": 70, "item1/reference": 100, "item2/C1": 20}


def test_what_an_export_leaves_open_is_asked_for_by_options(tmp_path):
    path = tmp_path / "lss.csv"
    path.write_text(samples.LSS)
    refused = run(path)
    assert refused.exit_code == 2 and "with --target, or say which are wanted with --column" in refused.stderr
    assert run(path, "--target", "impression", "--target", "alignment").exit_code == 0
    assert run(path, "--column", "impression=stimuli_rating1").exit_code == 0
    wrong = run(path, "--column", "impression")
    assert wrong.exit_code == 2 and "--column impression must be NAME=COLUMN" in wrong.stderr
    unknown = run(path, "--format", "csv")
    assert unknown.exit_code == 2 and "unknown format 'csv'; choose from auto, " in unknown.stderr


def test_texts_that_a_spreadsheet_would_compute_are_guarded_and_read_back(tmp_path):
    clips = ["=a", "-b", "@c", "+d"]
    rows = [
        f"{rater},{clip},{score},-1,=HYPERLINK(1)"
        for rater in ("@x", "y")
        for clip, score in zip(clips, (1, 2, 3, 4), strict=True)
    ]
    (tmp_path / "r.csv").write_text("\n".join(["rater,clip_id,impression,shift,comment", *rows]) + "\n")
    result = run(tmp_path / "r.csv", "--out", tmp_path / "mos")
    assert result.exit_code == 0, result.output
    for name in ("ratings", "mos", "raters"):
        cells = (
            pd.read_csv(tmp_path / "mos" / f"{name}.csv", dtype=str, keep_default_na=False).to_numpy().ravel()
        )
        assert not [cell for cell in cells if re.match(r"[=+@-](?!\d)", cell)], name
    kept = pd.read_csv(tmp_path / "mos" / "ratings.csv")
    assert kept["comment"].unique().tolist() == ["'=HYPERLINK(1)"] and kept["shift"].unique().tolist() == [-1]
    again = aggregate_ratings(tmp_path / "mos" / "ratings.csv")
    assert again["impression"].to_dict() == {"=a": 1, "-b": 2, "@c": 3, "+d": 4}


def test_pairs_of_other_columns_are_read(tmp_path):
    rows = ["who,left,right,preference"] + [
        f"{who},a,b,{one}" for who, one in zip("xyz", ["a", "a", "b"], strict=True)
    ]
    (tmp_path / "p.csv").write_text("\n".join(rows) + "\n")
    columns = ["--column", "rater=who", "--column", "clip_a=left", "--column", "clip_b=right"]
    command = ["pairs", str(tmp_path / "p.csv"), "--level", "clip", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, [*command, *columns])
    assert result.exit_code == 0, result.output
    strengths = pd.read_csv(tmp_path / "strengths.csv", index_col=0)
    assert strengths["wins"].to_dict() == {"a": 2, "b": 1}
