"""`musiceval demo`: what it writes, says and shows."""

import functools
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import musiceval_sk
from musiceval_sk import MOSRegressor, aggregate_ratings, load_clips, predict_clips, run_study
from musiceval_sk.cli.app import app
from musiceval_sk.cli.demo import _CONTENTS
from musiceval_sk.statistics.metrics import s_mse
from musiceval_sk.studies.result import StudyResult

pytestmark = pytest.mark.slow
pytest.importorskip("matplotlib", reason="the demo draws figures; matplotlib comes with the extra 'report'")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """What it wrote and said, with fewer clips, epochs and resamples than users get."""
    out = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        little = functools.partial(musiceval_sk.make_listening_test, n_systems=10, n_prompts=6, seconds=1.0)
        patch.setattr(musiceval_sk, "make_listening_test", little)
        patch.setitem(MOSRegressor.__init__.__kwdefaults__, "max_iter", 60)
        patch.setitem(run_study.__kwdefaults__, "n_resamples", 100)
        result = CliRunner().invoke(app, ["demo", "--out", str(out)])
    assert result.exit_code == 0, result.output
    return out, result.stdout


def test_says_what_is_simulated_and_how_to_do_the_real_thing(demo):
    _, printed = demo
    assert "SIMULATED" in printed and "not CLAP" in printed
    assert "musiceval study clips.csv --ratings ratings.csv --encoder laion-clap" in printed


def test_says_where_everything_is(demo):
    out, printed = demo
    assert f"{out / 'report.html'}: the study by system" in printed
    for name in re.findall(r"[\w.*-]+[./]\w*", _CONTENTS):
        assert [*out.glob(name)], name


def test_closes_on_one_screen_with_figures_only_where_training_heard_no_system(demo):
    lines = demo[1].splitlines()
    assert len(lines) <= 25
    assert max(len(line.replace(str(demo[0]), "demo-out")) for line in lines) <= 140
    assert sum(line.startswith("ridge ") for line in lines) == 1
    assert sum(line.startswith("alignment: ") for line in lines) == 2


def test_figures_are_png(demo):
    out, _ = demo
    for name in ("scores-per-system.png", "predicted-system-means.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")


def test_the_report_says_what_is_simulated_and_finds_its_sounds(demo):
    page = (demo[0] / "report.html").read_text()
    assert "SIMULATED: the sounds are synthetic tunes" in page
    assert '"listening-test/audio/S01_P01.wav"' in page
    assert "no sound here" not in page


def test_sound_ranks_systems_that_training_never_heard_and_lookups_cannot(demo):
    out, _ = demo
    table = StudyResult.from_json(out / "study-by-system.json").table("impression")
    assert (table.loc[["ridge", "SVR", "MOSRegressor"], "S_SRCC"] > 0.7).all()
    assert table.loc[["global mean", "system mean", "prompt mean"], "S_SRCC"].isna().all()


@pytest.mark.parametrize(
    ("split", "target", "expected"),
    [
        ("system", "impression", [1.8072, 0.7187, 0.9166, 0.7770]),
        ("system", "alignment", [1.2761, 0.8503, 1.1897, 0.8649]),
        ("prompt", "impression", [1.4829, 0.6570, 0.6579, 0.5530]),
        ("prompt", "alignment", [1.1693, 0.7368, 0.8273, 0.6730]),
    ],
)
def test_figures_stay_what_they_are(demo, split, target, expected):
    """Vector instructions and versions of libraries move the last digits, early stopping now and then an epoch."""
    errors = StudyResult.from_json(demo[0] / f"study-by-{split}.json").table(target)["U_MSE"]
    found = errors[["global mean", "ridge", "SVR", "MOSRegressor"]]
    assert found.to_list() == pytest.approx(expected, rel=0.02)


def test_the_readme_has_the_figures_of_the_demo_as_users_run_it(tmp_path, monkeypatch):
    monkeypatch.setitem(
        run_study.__kwdefaults__, "n_resamples", 100
    )  # of intervals, which the table leaves out
    assert CliRunner().invoke(app, ["demo", "--out", str(tmp_path)]).exit_code == 0
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    models = ["global mean", "ridge", "SVR", "MOSRegressor (paper)", "MOSRegressor"]
    rows = re.findall(
        r"^\| (impression|alignment), unseen (system|prompt)s \| (.*) \|$", readme, re.MULTILINE
    )
    assert len(rows) == 4
    for target, split, cells in rows:
        figures = [float(cell.strip("* ")) for cell in cells.split("|")]
        errors = StudyResult.from_json(tmp_path / f"study-by-{split}.json").table(target)["U_MSE"]
        assert errors[models].to_list() == pytest.approx(figures, abs=0.007)


def test_reloaded_model_predicts_the_same(demo):
    assert "predictions of the file read back are equal" in demo[1]


@pytest.mark.filterwarnings("ignore:.*lie outside the scores of training:UserWarning")
def test_the_model_has_learned_and_tells_its_limits(demo):
    clips = load_clips(demo[0] / "listening-test" / "clips.csv")
    truth = aggregate_ratings(demo[0] / "listening-test" / "ratings.csv").loc[clips.index, "impression"]
    predictions = predict_clips(
        demo[0] / "model.skops", clips, cache=demo[0] / "cache" / "embeddings.h5", progress=False
    )
    assert s_mse(truth, predictions.clips["impression"], clips["system"]) < 0.2
    assert {"impression_raters_low", "sound_far"} <= set(predictions.systems)
    assert "impression_spread" in predictions.clips
