"""Every command that takes ratings is told by the same options how to read them."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from musiceval_sk import StudyPlan, StudyResult, load_clips, score_learning_curve
from musiceval_sk.cli import app as cli
from musiceval_sk.cli import options
from musiceval_sk.datasets.synthetic import make_listening_test
from tests.reporting.studies import made_study

RATINGS = "ratings.csv"  # may name the rater by either of two columns
COMMANDS = {
    "study": "study clips.csv --ratings {} --model ridge --target impression --resamples 0 --folds 2 --cache e.h5",
    "curve": "curve clips.csv --ratings {} --model ridge --target impression --folds 2 --repeats 1 --size 1.0 --grows clips --cache e.h5",
    "fit": "fit clips.csv --ratings {} --model ridge --no-assess --cache e.h5 --out fitted.skops --force",
    "recalibrate": "recalibrate model.skops clips.csv --ratings {} --cache e.h5 --force",
    "score": "score predictions.csv --truth clips.csv --ratings {}",
    "report": "report study.json --clips clips.csv --ratings {} --force",
    "ratings": "ratings {}",
    "pairs": "pairs {} --clips clips.csv --level clip",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reading")
    made = make_listening_test(folder, n_systems=4, n_prompts=4, n_raters=5, n_careless=0, seconds=1.0)
    clips = load_clips(folder / "clips.csv")
    ratings = made.ratings.rename(columns={"rater": "listener"})
    ratings["judge"] = ratings["listener"].str.lower()
    ratings.to_csv(folder / RATINGS, index=False)
    means = ratings.groupby("clip_id")[["impression", "alignment"]].mean()
    means.to_csv(folder / "predictions.csv")
    study = made_study(clips.join(means), {"ridge": np.arange(len(clips))})
    study.to_json(folder / "study.json")
    ids = [*clips.index]
    pairs = pd.DataFrame({"clip_a": ids, "clip_b": ids[1:] + ids[:1], "preference": "a"})
    pairs.assign(listener="x", judge="y").to_csv(folder / "pairs.csv", index=False)
    plain = folder / "plain.csv"
    made.ratings.to_csv(plain, index=False)
    fit = "fit clips.csv --ratings plain.csv --model ridge --no-assess --cache e.h5 --out model.skops"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(fit).exit_code == 0
    return folder


@pytest.fixture
def here(made, monkeypatch):
    monkeypatch.chdir(made)
    monkeypatch.setitem(score_learning_curve.__kwdefaults__, "n_resamples", 20)
    monkeypatch.setattr("musiceval_sk.reporting.page.report.draw_pictures", lambda section: {})
    return made


def run(line, *more):
    return CliRunner().invoke(cli.app, [*line.split(), *more])


def line_of(command):
    return COMMANDS[command].format("pairs.csv" if command == "pairs" else RATINGS)


def test_no_command_that_takes_ratings_is_left_out():
    takes = {
        command.__name__
        for command in cli._COMMANDS
        if {"ratings", "reading"} & {option.name for option in cli._options_of(command)[1]}
        or options.Reading in cli._options_of(command)[0].values()
    }
    assert takes == {*COMMANDS}


@pytest.mark.parametrize("command", COMMANDS)
def test_an_ambiguous_file_is_refused_until_an_option_decides(here, command):
    if command == "report":
        pytest.importorskip("jinja2", reason="reports come with the extra 'report'")
    column = "--ratings-column" if command == "score" else "--column"
    refused = run(line_of(command))
    assert refused.exit_code == 2
    words = (
        f"columns 'listener', 'judge' may all be the rater; say which with {column}, such as rater=listener"
    )
    assert words in refused.stderr
    read = run(line_of(command), column, "rater=judge")
    assert read.exit_code == 0, read.output
    assert read.stderr.count("read as ") == 1
    assert "not used: listener" in read.stderr


@pytest.mark.parametrize("command", [*COMMANDS])
def test_a_format_and_a_salt_can_be_named(here, command):
    wrong = run(line_of(command), "--format", "matrix", "--salt", "sea")
    assert wrong.exit_code == 2 and "line 1 is no row of scores" in wrong.stderr
    unknown = run(line_of(command), "--format", "MUSHRA")
    assert "unknown format 'MUSHRA'; choose from auto, " in unknown.stderr


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("ratings", "pairs")])
def test_options_without_ratings_are_refused(here, command):
    result = run(line_of(command).replace(f" --ratings {RATINGS}", ""), "--format", "wide")
    assert result.exit_code == 2
    words = "--format says how ratings are read, and there are none; give --ratings or leave it out"
    assert words in result.stderr


def test_a_numbered_file_takes_its_clips_from_a_list(here):
    (here / "matrix.csv").write_text("4,5,3\n" * 16)
    found = run("score predictions.csv --truth clips.csv --ratings matrix.csv --listing clips.csv")
    assert found.exit_code == 0, found.output
    assert "matrix.csv: read as a matrix of scores" in found.stderr


def test_a_study_file_says_how_ratings_are_read(here):
    plan = f'clips = "clips.csv"\nratings = "{RATINGS}"\nmodels = ["ridge"]\ncache = "e.h5"\nn_resamples = 0\ntargets = "impression"\n'
    (here / "study.toml").write_text(plan)
    refused = run("study study.toml")
    assert "say which with ratings_options.columns, such as rater=listener" in refused.stderr
    (here / "study.toml").write_text(plan + 'ratings_options = {colums = {rater = "judge"}}')
    assert "ratings_options: unknown key 'colums', did you mean 'columns'?" in run("study study.toml").stderr
    more = 'n_splits = 2\nratings_options.columns.rater = "judge"\nratings_options.listing = "clips.csv"\n'
    (here / "study.toml").write_text(plan + more)
    assert StudyPlan.from_file("study.toml").ratings_options == {
        "columns": {"rater": "judge"},
        "listing": "clips.csv",
    }
    read = run("study study.toml --out of-file")
    assert read.exit_code == 0, read.output


def test_a_report_reads_the_ratings_as_the_study_did(here):
    pytest.importorskip("jinja2", reason="reports come with the extra 'report'")
    study = run(line_of("study"), "--column", "rater=judge", "--salt", "sea", "--out", "of-options")
    assert study.exit_code == 0, study.output
    about = StudyResult.from_json("of-options/study.json").about["ratings"]
    assert about == {"file": RATINGS, "options": {"columns": {"rater": "judge"}}}
    again = run(f"report of-options --clips clips.csv --ratings {RATINGS}")
    assert again.exit_code == 0 and "not used: listener" in again.stderr
    (here / "other.csv").write_text((here / RATINGS).read_text())
    assert run("report of-options --clips clips.csv --ratings other.csv").exit_code == 2
