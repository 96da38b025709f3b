"""Several predictors on several data sets: figures, what lies off the scale, and drops with their intervals."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from musiceval_sk import FewSystemsWarning, bootstrap_metrics
from musiceval_sk.cli.app import app
from musiceval_sk.scoring.sets import Judged, difference_interval, score_sets


def make_set(rng, name, noise, n_systems=10, offset=0.0):
    systems = pd.Series(np.repeat([f"{name}{i}" for i in range(n_systems)], 5))
    ids = pd.Index([f"{name}_{i}" for i in range(len(systems))], name="clip_id")
    systems.index = ids
    truth = np.repeat(rng.uniform(1.5, 4.5, n_systems), 5) + rng.normal(0, 0.2, len(ids))
    truth = pd.DataFrame({"impression": truth.clip(1, 5)}, ids)
    return truth, truth + rng.normal(offset, noise, truth.shape), systems


@pytest.fixture
def sets(rng):
    return {"own": make_set(rng, "A", 0.3), "other": make_set(rng, "B", 1.5)}


def test_figures_are_those_of_each_set_and_drops_their_differences(sets):
    found = score_sets([Judged(name, "mine", *content) for name, content in sets.items()], n_resamples=300)
    table = found.table.set_index(["data_set", "metric"])
    for name, (truth, predicted, systems) in sets.items():
        alone = bootstrap_metrics(
            truth, predicted, systems=systems, scale=(1, 5), n_resamples=300, random_state=0
        ).to_frame()
        np.testing.assert_allclose(table.loc[name][["value", "low", "high"]], alone[["value", "low", "high"]])
        off = ((predicted < 0.995) | (predicted > 5.005)).mean().iloc[0]
        assert (table.loc[name]["off_scale"] == off).all()
    drop = found.drops.set_index("metric").loc["U_SRCC"]
    a, b = (table.loc[(name, "U_SRCC")] for name in ("own", "other"))
    assert drop["difference"] == b["value"] - a["value"] and drop["high"] < 0
    assert drop["low"] == pytest.approx(
        drop["difference"] - np.hypot(b["value"] - b["low"], a["high"] - a["value"])
    )
    text = str(found)
    assert "own" in text and "set_a" in text and "intervals from those of both" in text


def test_the_interval_of_a_drop_is_that_of_two_means_where_intervals_are_symmetric():
    """Of normal figures it is the one of textbooks: the root of the sum of both variances."""
    low, high = difference_interval([0.0, -0.3, 0.3], [1.0, 0.6, 1.4])
    assert (low, high) == pytest.approx((0.5, 1.5))


def test_intervals_of_drops_hold_as_often_as_they_say(rng):
    """Correlations of two independent samples, with Fisher's intervals."""
    held, true = 0, (0.8, 0.5)
    for _ in range(400):
        figures = []
        for rho in true:
            x, y = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], 30).T
            interval = stats.pearsonr(x, y).confidence_interval(0.95)
            figures.append([stats.pearsonr(x, y).statistic, interval.low, interval.high])
        low, high = difference_interval(*figures)
        held += low <= true[1] - true[0] <= high
    assert 0.92 <= held / 400 <= 0.985


def test_a_cosine_has_no_errors_and_several_predictors_are_told_apart(sets):
    truth, predicted, systems = sets["own"]
    judged = [
        Judged("own", "mine", truth, predicted, systems),
        Judged("own", "cosine", truth, predicted / 10, systems),
    ]
    found = score_sets(judged, n_resamples=50)
    of_cosine = found.table[found.table["predictor"] == "cosine"].set_index("metric")
    assert (
        of_cosine.loc[["U_MSE", "S_MSE"], ["value", "low"]].isna().all(axis=None)
        and of_cosine.loc["U_SRCC", "value"] > 0.9
    )
    assert (
        found.drops.empty
        and "cosine on own: U_MSE, S_MSE: predictions are not on the raters' scale" in str(found)
    )
    with pytest.raises(ValueError, match="predictors stand twice: mine on own: impression"):
        score_sets(judged[:1] * 2)


def test_one_system_constant_scores_and_no_systems(sets, rng):
    truth, predicted, systems = sets["own"]
    with pytest.warns(FewSystemsWarning):
        found = score_sets([Judged("own", "mine", truth[:5], predicted[:5], systems[:5])], n_resamples=50)
    assert (
        found.table.set_index("metric").loc["S_SRCC", "note"]
        == "truth and prediction constant over 1 systems"
    )
    same = score_sets([Judged("own", "mine", truth, predicted * 0 + 3, systems)], n_resamples=50)
    assert same.table.set_index("metric").loc["U_SRCC", "value"] is not None and "prediction constant" in str(
        same
    )
    nameless = score_sets([Judged("own", "mine", truth, predicted, None)], n_resamples=50)
    assert nameless.table.set_index("metric").loc["S_SRCC", "note"] == "no systems were given"
    assert "S_SRCC" in str(nameless)


def test_sets_that_share_clips_are_pointed_out(sets):
    truth, predicted, systems = sets["own"]
    found = score_sets(
        [
            Judged("own", "m", truth, predicted, systems),
            Judged("part", "m", truth[:30], predicted[:30], systems[:30]),
        ],
        n_resamples=50,
    )
    assert "own and part (30 clips)" in str(found)


class TestCommand:
    @pytest.fixture
    def files(self, sets, tmp_path):
        for name, (truth, predicted, systems) in sets.items():
            truth.assign(system=systems).to_csv(tmp_path / f"{name}.csv")
            lines = [
                json.dumps(
                    {"key": f"/some/where/{clip}.wav", "mos": score, "clap_score": score / 10, "vad": [1]}
                )
                for clip, score in predicted["impression"].items()
            ]
            (tmp_path / f"{name}_result").write_text("\n".join(lines))
        return tmp_path

    def run(self, *arguments):
        return CliRunner().invoke(app, ["score", *map(str, arguments)])

    def test_a_tool_on_two_sets(self, files):
        columns = ["--column", "impression=mos", "--column", "impression=clap_score"]
        truths = ["--truth", files / "own.csv", "--truth", files / "other.csv"]
        result = self.run(
            files / "own_result", files / "other_result", *truths, *columns, "--out", files / "out"
        )
        assert result.exit_code == 0, result.output
        scores, drops = (pd.read_csv(files / "out" / name) for name in ("scores.csv", "drops.csv"))
        assert len(scores) == 2 * 2 * 8 and len(drops) == 2 * 8
        assert set(scores["predictor"]) == {"mos", "clap_score"} and set(scores["data_set"]) == {
            "own",
            "other",
        }
        drop = drops.set_index(["predictor", "metric"]).loc[("mos", "U_SRCC")]
        assert drop["set_a"] == "own" and drop["high"] < 0
        assert "off_scale" in result.stdout and "lie off the raters' scale" in result.stderr

    def test_names_and_scales_of_sets(self, files, sets):
        truth, predicted, _ = sets["other"]
        other = pd.read_csv(files / "other.csv")
        other.assign(impression=other["impression"] * 2).to_csv(files / "ten.csv", index=False)
        (predicted * 2).to_csv(files / "p.csv")
        sets["own"][1].to_csv(files / "q.csv")
        arguments = [f"m={files / 'q.csv'}", f"m={files / 'p.csv'}", "--truth", f"A={files / 'own.csv'}"]
        arguments += ["--truth", f"B={files / 'ten.csv'}"]
        result = self.run(*arguments, "--set-scale", "B=0:10")
        assert result.exit_code == 0, result.output
        assert "1 to 5 (A), 0 to 10 (B)" in result.stdout and " m " in result.stdout
        refused = self.run(*arguments, "--set-scale", "C=0:10")
        assert refused.exit_code == 2 and "; choose from A, B" in refused.stderr
        refused = self.run(*arguments, "--truth", "x.csv")
        assert refused.exit_code == 2 and "--truth is given 3 times for 2 files" in refused.stderr

    def test_one_file_is_printed_as_before(self, files):
        result = self.run(files / "own_result", "--column", "impression=mos", "--truth", files / "own.csv")
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith("50 clips, 10 systems; system truth: mean over the evaluated clips")
        for wrong, words in (
            ("impression", "must be TARGET=COLUMN"),
            ("impression=nope", "missing column(s) nope"),
        ):
            refused = self.run(files / "own_result", "--column", wrong, "--truth", files / "own.csv")
            assert refused.exit_code == 2 and words in refused.stderr
