"""``musiceval curve`` as a user meets it."""

import re

import pandas as pd
import pytest
from typer.testing import CliRunner

from musiceval_sk import score_learning_curve
from musiceval_sk.cli.app import app
from musiceval_sk.datasets.synthetic import make_listening_test


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curve")
    make_listening_test(folder / "test", n_systems=6, n_prompts=4, n_raters=6, raters_per_clip=3, seconds=1.0)
    return folder


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setitem(score_learning_curve.__kwdefaults__, "n_resamples", 50)


def run(folder, *arguments):
    files = [
        folder / "test" / "clips.csv",
        "--ratings",
        folder / "test" / "ratings.csv",
        "--cache",
        folder / "e.h5",
    ]
    common = ["--folds", 2, "--repeats", 2, "--target", "impression"]
    return CliRunner().invoke(app, ["curve", *map(str, [*files, *common, *arguments])])


def test_help_has_an_example():
    result = CliRunner().invoke(app, ["curve", "--help"])
    assert result.exit_code == 0
    assert "Example:  musiceval curve clips.csv --ratings ratings.csv" in result.stdout


@pytest.mark.slow
def test_curve_prints_tables_and_advice_and_writes_files(folder, tmp_path):
    result = run(folder, "--out", tmp_path / "out", "--details")
    assert result.exit_code == 0, result.output
    for words in (
        "Split 'system': systems never heard in training; 2 fold(s), the same test clips at every size",
        "Features: spectral, ",
        "By training clips",
        "By training systems",
        "By ratings a training clip",
        "Human ceiling by ratings a test clip",
        "What to collect next, by the last step of each line",
    ):
        assert words in result.stdout
    assert re.search(r"impression +ridge +ratings +2.0 +3.0 +S_SRCC ", result.stdout)
    table = pd.read_csv(tmp_path / "out" / "curve.csv")
    assert set(table["grows"]) == {"clips", "systems", "ratings"}
    assert set(table["model"]) == {"global mean", "system mean", "prompt mean", "ridge"}
    assert (tmp_path / "out" / "curve.txt").read_text() == result.stdout
    assert {"gain", "low", "high"} <= set(pd.read_csv(tmp_path / "out" / "steps.csv"))
    assert {"another panel", "perfect predictor"} == set(pd.read_csv(tmp_path / "out" / "ceiling.csv")["who"])
    pytest.importorskip("matplotlib")
    drawn = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert drawn == {f"impression-{m}-by-{g}.png" for m in ("S_SRCC", "U_SRCC") for g in set(table["grows"])}
    assert (
        f"wrote curve.csv, steps.csv, ceiling.csv, curve.txt and 6 figures to {tmp_path / 'out'}"
        in result.stderr
    )


@pytest.mark.slow
def test_curve_closes_on_a_screen(folder):
    result = run(folder, "--target", "alignment")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) <= 25 and "--details, or curve.txt in --out" in lines[-1]
    for words in ("impression, ridge (S_SRCC ", "alignment, ridge (S_SRCC ", "alignment  ratings 2 to 3 "):
        assert words in result.stdout


@pytest.mark.slow
def test_sizes_models_and_metrics_are_chosen(folder):
    result = run(
        folder, "--grows", "clips", "--size", 6, "--size", "0.9", "--model", "ridge", "--metric", "U_LCC", "--cv", "random",
        "--details",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "By training clips, mean of folds" in result.stdout
    assert re.search(r"impression +ridge +clips +6.0 +11.0 +U_LCC ", result.stdout)
    assert "S_SRCC" not in result.stdout


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--size", "many"], "--size 'many' is no number"),
        (["--model", "oracle"], "unknown --model: oracle; choose from global mean, system mean"),
        (["--grows", "raters"], "unknown grows: raters"),
        (["--cv", "artist"], "unknown split 'artist'"),
        (["--grows", "clips", "--size", "500"], "sizes of clips: 500"),
    ],
)
def test_wrong_use_is_one_line(folder, arguments, words):
    result = run(folder, *arguments)
    assert result.exit_code == 2
    assert f"error: {words}" in result.stderr
