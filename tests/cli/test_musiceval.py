import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from musiceval_sk import write_answers
from musiceval_sk.cli.app import app
from tests.made_musiceval import make_musiceval


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_musiceval(tmp_path_factory.mktemp("made") / "MusicEval-full", n_systems=4, n_prompts=12)


@pytest.fixture(scope="module")
def answers(made, tmp_path_factory):
    """Noisy answers for the test list, as a challenger would send them."""
    test = made.clips[made.clips["split"] == "test"]
    scores = test[["impression", "alignment"]]
    noisy = scores * 0.5 + 1.5 + 0.3 * (pd.Series(range(len(test)), test.index) % 5 - 2).to_frame().to_numpy()
    path = tmp_path_factory.mktemp("answers") / "answer.txt"
    write_answers(noisy, path)
    return path, noisy.round(6), test


def table_of(stdout):
    header, *rows = [line.split() for line in stdout.splitlines()[1:]]
    return {row[0]: dict(zip(header, map(float, row[1:]), strict=True)) for row in rows}


def sixteen(predicted, test, system_truth=None):
    """Compute the challenge's sixteen numbers with scipy alone."""
    scores = {}
    for target in ("impression", "alignment"):
        true_of, said_of = (frame[target].groupby(test["system"]).mean() for frame in (test, predicted))
        if system_truth is not None:
            true_of = system_truth.loc[said_of.index, target]
        for level, true, said in (("U", test[target], predicted[target]), ("S", true_of, said_of)):
            scores[target, f"{level}_MSE"] = ((true - said) ** 2).mean()
            scores[target, f"{level}_LCC"] = stats.pearsonr(true, said)[0]
            scores[target, f"{level}_SRCC"] = stats.spearmanr(true, said)[0]
            scores[target, f"{level}_KTAU"] = stats.kendalltau(true, said)[0]
    return scores


def test_score_prints_the_challenges_sixteen_numbers(made, answers):
    path, predicted, test = answers
    result = run("score", path, "--truth", made.folder)
    assert result.exit_code == 0, result.output
    n_systems = test["system"].nunique()
    first = f"{len(test)} clips, {n_systems} systems; system truth: mean over the evaluated clips"
    assert result.stdout.splitlines()[0] == first
    printed = table_of(result.stdout)
    expected = sixteen(predicted, test)
    assert len(expected) == 16 == sum(len(row) for row in printed.values())
    for (target, metric), value in expected.items():
        assert printed[target][metric] == pytest.approx(value, abs=6e-5), (target, metric)


def test_score_knows_both_system_truths(made, answers):
    path, predicted, test = answers
    means = made.clips.groupby("system")[["impression", "alignment"]].mean()
    expected = sixteen(predicted, test, means)
    table = made.folder / "system_mos" / "system_mos_full.csv"
    for choice in ("table", table):
        result = run("score", path, "--truth", made.folder, "--system-truth", choice)
        assert result.exit_code == 0, result.output
        assert f"system truth: table ({choice})" in result.stdout
        printed = table_of(result.stdout)
        for (target, metric), value in expected.items():
            assert printed[target][metric] == pytest.approx(value, abs=2e-4), (target, metric)
    assert expected["impression", "S_MSE"] != pytest.approx(
        sixteen(predicted, test)["impression", "S_MSE"], abs=1e-3
    )


def test_score_holds_the_data_sets_own_scores_to_the_scale(made, answers):
    """As those of a CSV file: of the clips, and of the table of systems."""
    path, *_ = answers
    clips = run("score", path, "--truth", made.folder, "--scale", 4.5, 5)
    assert clips.exit_code == 2
    assert "column 'impression' has scores off the scale 4.5 to 5: " in clips.stderr
    narrow = made.clips.groupby("system")[["impression", "alignment"]].mean().round(3)
    table = made.folder / "system_mos" / "system_mos_full.csv"
    written = table.read_text()
    try:
        narrow.assign(impression=7.0).to_csv(table, header=False)
        for choice in ("table", table):
            command = ("score", path, "--truth", made.folder, "--system-truth", choice)
            refused = run(*command)
            assert refused.exit_code == 2 and "scores off the scale 1 to 5: 7 (line" in refused.stderr
            assert run(*command, "--scale", 1, 7).exit_code == 0
    finally:
        table.write_text(written)


def test_score_takes_a_list_as_truth_and_the_table_as_a_file(made, answers):
    path, *_ = answers
    whole = run("score", path, "--truth", made.folder)
    of_list = run("score", path, "--truth", made.folder / "sets" / "test_mos_list.txt")
    assert of_list.stdout == whole.stdout
    refused = run(
        "score", path, "--truth", made.folder / "sets" / "test_mos_list.txt", "--system-truth", "table"
    )
    assert refused.exit_code == 2
    assert "--system-truth table asks for a MusicEval folder" in refused.stderr


def test_score_names_missing_and_unknown_clips(made, answers, tmp_path):
    path, _, test = answers
    first, *rest = path.read_text().splitlines()
    (tmp_path / "a.txt").write_text(
        "\n".join([*(line.replace(",", ".wav,", 1) for line in rest), "no-such,3,3"])
    )
    result = run("score", tmp_path / "a.txt", "--truth", made.folder)
    assert result.exit_code == 1
    assert f"1 clip has no prediction: {first.split(',')[0]}" in result.stderr
    assert "1 clip has no true score: no-such" in result.stderr
    assert f"{len(test) - 1} clips, " in result.stdout
    (tmp_path / "a.txt").write_text(f"{first}\n{first}\n")
    doubled = run("score", tmp_path / "a.txt", "--truth", made.folder)
    assert doubled.exit_code == 2 and "column 'clip_id' repeats a value" in doubled.stderr


def test_system_truth_needs_systems(tmp_path):
    (tmp_path / "t.csv").write_text("clip_id,impression\na,1\nb,2\nc,3\n")
    (tmp_path / "s.csv").write_text("S1,1,2\n")
    result = run(
        "score", tmp_path / "t.csv", "--truth", tmp_path / "t.csv", "--system-truth", tmp_path / "s.csv"
    )
    assert (
        result.exit_code == 2 and "names no systems, so there is nothing for --system-truth" in result.stderr
    )


def test_check_prints_differences_and_says_so_by_its_exit_status(made, tmp_path):
    good = run("check", made.folder, "--any-size")
    assert (good.exit_code, good.stdout) == (0, "31 checks, 0 differences\n")
    bad = run("check", made.folder, "--split", "test", "--out", tmp_path / "checks.csv")
    n = (made.clips["split"] == "test").sum()
    assert bad.exit_code == 1
    assert bad.stdout.splitlines()[0] == f"test list: expected 413 clips, found {n} clips"
    assert bad.stdout.splitlines()[-1].endswith("checks, 1 differences")
    table = pd.read_csv(tmp_path / "checks.csv")
    assert list(table.columns) == ["check", "expected", "found", "differs", "examples"]
    every = run("check", made.folder, "--any-size", "--all")
    assert len(every.stdout.splitlines()) == 32
    assert every.stdout.splitlines()[0].startswith(
        "as it should be  train list: clips named twice: expected 0"
    )


def test_check_refuses_what_is_no_musiceval(tmp_path):
    result = run("check", tmp_path)
    assert result.exit_code == 2 and "not one MusicEval folder" in result.stderr


@pytest.mark.parametrize(
    "text", ["system,impression\nS1,2\nS2,4\nS3,3\n", "S1,2\nS2,4\nS3,3\n", "S1,2,1\nS2,4,1\nS3,3,1\n"]
)
def test_system_truth_of_one_target(tmp_path, text):
    (tmp_path / "t.csv").write_text("clip_id,system,impression,alignment\na,S1,1,1\nb,S2,2,2\nc,S3,3,3\n")
    (tmp_path / "s.csv").write_text(text)
    command = [
        "score",
        tmp_path / "t.csv",
        "--truth",
        tmp_path / "t.csv",
        "--system-truth",
        tmp_path / "s.csv",
    ]
    result = run(*command, "--target", "impression")
    assert result.exit_code == 0, result.output
    # By hand: errors 1, 2 and 0 of three systems.
    assert table_of(result.stdout)["impression"]["S_MSE"] == pytest.approx(5 / 3, abs=1e-4)
    (tmp_path / "s.csv").write_text(text.replace("4", "40"))
    refused = run(*command, "--target", "impression")
    assert refused.exit_code == 2 and "scores off the scale 1 to 5: 40 (line" in refused.stderr
    assert run(*command, "--target", "impression", "--scale", 0, 100).exit_code == 0
    (tmp_path / "s.csv").write_text(text)
    if "1\n" not in text:
        refused = run(*command)
        assert refused.exit_code == 2 and "alignment" in refused.stderr


def test_commands_that_need_no_scores_take_the_folder_as_it_is(made, tmp_path):
    result = run("extract", made.folder, "--modality", "text", "--cache", tmp_path / "e.h5")
    assert result.exit_code == 0, result.output
    assert "have no prompt" not in result.stderr
    ratings = tmp_path / "ratings.csv"
    made.ratings.to_csv(ratings, index=False)
    result = run("ratings", ratings, "--clips", made.folder, "--out", tmp_path / "mos")
    assert result.exit_code == 0, result.output
    assert set(pd.read_csv(tmp_path / "mos" / "mos.csv")["clip_id"]) == set(made.clips.index)
