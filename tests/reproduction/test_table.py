"""`reproduce` on made data and the hand-made encoder: layouts, splits, intervals, what goes wrong."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from musiceval_sk import METRICS, ClipsTableError, SkippedWarning, reproduce
from musiceval_sk.cli.app import app
from musiceval_sk.reproduction.protocols import PROTOCOLS
from musiceval_sk.reproduction.result import published_results
from tests.made_musiceval import make_musiceval

TARGETS = ["impression", "alignment"]
# So small a data set has few systems in its test list.
pytestmark = pytest.mark.filterwarnings("ignore:.*systems:musiceval_sk.exceptions.FewSystemsWarning")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_musiceval(tmp_path_factory.mktemp("made") / "MusicEval-full", n_systems=3, n_prompts=5)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def quick(root, tmp_path, protocol="frozen", **options):
    given = {
        "encoder": "spectral",
        "cache": tmp_path / "e.h5",
        "counts": None,
        "n_seeds": 1,
        "n_resamples": 40,
    }
    return reproduce(root, protocol, **{**given, **options})


def official_files(root, name):
    return [line.split(",")[0] for line in (root / "sets" / f"{name}_mos_list.txt").read_text().splitlines()]


@pytest.mark.slow
def test_one_seed_has_one_interval(made, tmp_path):
    found = quick(made.folder, tmp_path)
    wide = found.table.set_index(["target", "row", "metric"])[["value", "low", "high"]].sort_index()
    for target in TARGETS:
        seed, ours = wide.loc[target, "seed 0"], wide.loc[target, "frozen, mean of 1 seed"]
        pd.testing.assert_frame_equal(seed, ours.loc[seed.index])
        has_interval = seed["low"] < seed["high"]
        # The test list is four clips of three systems. Without S002 its alignment is 2.0 throughout, which has no correlation, so
        # that two systems are left to leave out.
        correlations = ["U_LCC", "U_SRCC", "U_KTAU", "S_LCC", "S_SRCC", "S_KTAU"]
        assert has_interval.drop(correlations).all()
        assert (has_interval[correlations] == (target == "impression")).all()
    assert "range over seeds" not in str(found)
    assert str(found).startswith("MusicEval, protocol 'frozen': FROZEN SPECTRAL, NOT THE PAPER'S")
    assert "the system mean uses no audio" in str(found)


@pytest.mark.slow
def test_intervals_of_systems_follow_the_truth_of_systems(made, tmp_path):
    """The same predictions against either truth: clips' figures and intervals stay, systems' move."""
    by_clips = quick(made.folder, tmp_path)
    by_table = quick(made.folder, tmp_path, replace(PROTOCOLS["frozen"], system_truth="table"))
    for column in ("value", "low", "high"):
        pair = [
            found.table[found.table["row"] == "seed 0"].set_index(["target", "metric"])[column]
            for found in (by_clips, by_table)
        ]
        of_clips = pair[0].index.get_level_values("metric").str.startswith("U")
        np.testing.assert_array_equal(pair[0][of_clips], pair[1][of_clips])
        errors = pair[0].index.get_level_values("metric") == "S_MSE"
        ends_with_the_scale = (pair[0][errors] == 16) & (pair[1][errors] == 16) & (column == "high")
        assert ((pair[0][errors] != pair[1][errors]) | ends_with_the_scale).all()


@pytest.mark.slow
def test_phase_one_says_what_was_tested(tmp_path):
    root = make_musiceval(tmp_path / "MusicEval-phase1", "phase1", n_systems=2, n_prompts=5).folder
    own = quick(root, tmp_path)
    assert own.about["split"]["stopped_by"].startswith("a tenth of the training clips")
    assert "there is no test list, so the dev list was tested" in own.notes
    as_released = replace(PROTOCOLS["frozen"], tests_on_development=True)
    found = quick(root, tmp_path, as_released)
    assert found.about["split"]["test_stops_training"]
    assert found.notes[0].startswith("the tested clips also stopped the training, as in the released code")
    assert PROTOCOLS["released"].tests_on_development


@pytest.mark.slow
def test_parquet_has_no_systems_to_judge(tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow comes with the extra 'parquet'")
    root = make_musiceval(tmp_path / "parquet", "parquet", n_systems=2, n_prompts=5).folder
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(Parquet holds|have no prompt)", category=UserWarning)
        found = quick(root, tmp_path)
    assert "clips name no systems: there are no S metrics and no look-up by system" in found.notes
    scores = found.scores("impression").loc[["global mean", "frozen, mean of 1 seed"]]
    assert scores.filter(like="S_").isna().all(axis=None) and scores["U_MSE"].notna().all()
    with pytest.raises(ClipsTableError, match="Parquet holds no system table"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        quick(root, tmp_path, "released")


@pytest.mark.slow
def test_a_clip_that_cannot_be_read_is_left_out_and_named(tmp_path):
    root = make_musiceval(tmp_path / "MusicEval-full", n_systems=2, n_prompts=5).folder
    victim = official_files(root, "test")[0]
    (root / "wav" / victim).write_bytes(b"no sound")
    options = ("--any-size", "--seeds", 1, "--resamples", 20, "--cache", tmp_path / "e.h5")
    result = run("reproduce", root, "--encoder", "spectral", *options)
    assert result.exit_code == 1, result.output
    assert "skipped 1 of" in result.stderr
    assert f"Note: left out, {root / 'wav' / victim}: " in result.stdout
    assert f"{len(official_files(root, 'test')) - 1} tested" in result.stdout


@pytest.mark.slow
def test_a_clip_without_a_score_is_left_out(tmp_path):
    root = make_musiceval(tmp_path / "MusicEval-full", n_systems=2, n_prompts=5).folder
    n_train, first = len(official_files(root, "train")), official_files(root, "train")[0]
    for name in ("train", "total"):
        path = root / "sets" / f"{name}_mos_list.txt"
        lines = path.read_text().splitlines()
        path.write_text(
            "\n".join(f"{first},,3.0" if line.startswith(first) else line for line in lines) + "\n"
        )
    with (
        pytest.warns(UserWarning, match="differs from MusicEval"),
        pytest.warns(SkippedWarning, match=f"left out 1 clip that lacks a score: {first[:-4]}"),
    ):
        found = quick(root, tmp_path)
    assert found.about["split"]["train"] == n_train - 1


def test_errors_say_what_to_do(made, tmp_path):
    with pytest.raises(ValueError, match="unknown protocol 'papers'; choose from frozen, paper, released"):
        quick(made.folder, tmp_path, "papers")
    for wrong in ({"n_seeds": 0}, {"n_resamples": 0}, {"n_resamples": 2.5}, {"random_state": "0"}):
        [(name, value)] = wrong.items()
        words = f"{name}={value!r} must be a whole number and at least [01]"
        with pytest.raises(ValueError, match=words):
            quick("no such folder", tmp_path, **wrong)
    with pytest.raises(ValueError, match=r"encoder 'spectral' does not take these options \(sound\)"):
        quick(made.folder, tmp_path, "released")


def test_a_table_that_lacks_a_system_stops_before_anything_is_computed(tmp_path):
    root = make_musiceval(tmp_path / "MusicEval-full", n_systems=2, n_prompts=5).folder
    [path] = (root / "system_mos").iterdir()
    [tested, *_] = (name.split("-")[-1].split("_")[0] for name in official_files(root, "test"))
    kept = [line for line in path.read_text().splitlines() if not line.startswith(tested)]
    path.write_text("\n".join(kept) + "\n")
    with (
        pytest.warns(UserWarning, match="differs from MusicEval"),
        pytest.raises(ClipsTableError, match=rf"the table of systems lacks {tested}; correct it"),
    ):
        quick(root, tmp_path, "released")
    assert not (tmp_path / "e.h5").exists()


def test_published_figures_name_their_source():
    table = published_results()
    assert list(table) == ["name", "target", "metric", "value", "split", "source"]
    assert not table.duplicated(["name", "target", "metric"]).any()
    assert set(table["metric"]) == set(METRICS) and set(table["target"]) == set(TARGETS)
    # What the winner states, as an improvement over the baseline, gives the baseline: .991 / 1.2121, .952 / 1.3147.
    baseline = table[table["name"] == "challenge baseline, test"].set_index("target")["value"]
    np.testing.assert_allclose(baseline[TARGETS], [0.991 / 1.2121, 0.952 / 1.3147], atol=5e-4)


def test_protocols_differ_where_they_should():
    paper, released = PROTOCOLS["paper"], PROTOCOLS["released"]
    assert (paper.activation, paper.momentum, paper.split, paper.system_truth) == (
        "relu",
        0,
        "85/15",
        "clips",
    )
    assert (released.activation, released.momentum, released.split) == ("identity", 0.9, "official")
    assert (released.patience, released.stop_together, released.system_truth) == (20, True, "table")
    for protocol in PROTOCOLS.values():
        assert (protocol.batch_size, protocol.learning_rate) == (64, 5e-4)
        assert not (protocol.scaled and protocol.name != "frozen")
        assert "stay frozen" in protocol.deviations[0] and len(protocol.deviations) > 5
