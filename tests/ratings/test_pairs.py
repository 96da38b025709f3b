"""Preferences between pairs against computations of another kind."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import minimize
from scipy.special import expit
from typer.testing import CliRunner

from musiceval_sk import ClipsTableError, RatingDesignError, SkippedWarning
from musiceval_sk.cli.app import app
from musiceval_sk.ratings.pairs import pair_strengths, pairwise_agreement, read_pairs
from musiceval_sk.ratings.strengths import ClusterCovariance, fit_strengths, influence_of_comparisons


def made_pairs(rng, n=600, n_systems=5, nu=0.6):
    """Comparisons by ten raters on twelve prompts, with ties as in Davidson's model."""
    truth = np.linspace(-1, 1, n_systems)
    first, shift = rng.integers(0, n_systems, n), rng.integers(1, n_systems, n)
    second, prompt = (first + shift) % n_systems, rng.integers(0, 12, n)
    p, q = np.exp(truth[first]), np.exp(truth[second])
    tie = nu * np.sqrt(p * q)
    drawn = rng.random(n) * (p + q + tie)
    preference = np.select([drawn < p, drawn < p + q], ["a", "b"], "tie")
    clip = "S{}_P{:02}".format
    return pd.DataFrame(
        {
            "rater": [f"R{r}" for r in rng.integers(0, 10, n)],
            "clip_a": list(map(clip, first, prompt)),
            "clip_b": list(map(clip, second, prompt)),
            "preference": preference,
            "system_a": [f"S{s}" for s in first],
            "system_b": [f"S{s}" for s in second],
            "prompt": prompt,
        }
    )


def by_likelihood(pairs, davidson):
    """Strengths and nu where the likelihood, written out comparison by comparison, is highest."""
    names = sorted(set(pairs["system_a"]))
    first, second = (pairs[f"system_{side}"].map(names.index).to_numpy() for side in "ab")
    preference = pairs["preference"].to_numpy()

    def loss(x):
        p, q = np.exp(x[first]), np.exp(x[second])
        tie = np.exp(x[-1]) * np.sqrt(p * q) if davidson else 0
        a, b = np.log(p / (p + q + tie)), np.log(q / (p + q + tie))
        draw = np.log(tie / (p + q + tie)) if davidson else (a + b) / 2
        return -np.select([preference == "a", preference == "b"], [a, b], draw).sum() + x[:-1].sum() ** 2

    x = minimize(loss, np.zeros(len(names) + 1), options={"gtol": 1e-7}).x
    return dict(zip(names, x[:-1] - x[:-1].mean(), strict=True)), np.exp(x[-1]) if davidson else 0


@pytest.mark.parametrize("ties, davidson", [("davidson", True), ("half", False)])
def test_strengths_are_of_highest_likelihood(rng, ties, davidson):
    pairs = made_pairs(rng)
    expected, nu = by_likelihood(pairs, davidson)
    found = pair_strengths(pairs, ties=ties)
    assert found.table["strength"].to_dict() == pytest.approx(expected, abs=1e-6)
    assert found.tie == pytest.approx(nu, abs=1e-6)
    assert list(found.table.index) == ["S4", "S3", "S2", "S1", "S0"]
    counted = found.table[["wins", "losses", "ties"]]
    assert counted["wins"].sum() == counted["losses"].sum() == (pairs["preference"] != "tie").sum()
    assert counted["ties"].sum() == 2 * (pairs["preference"] == "tie").sum()


def test_strengths_are_those_of_choix_and_evalica(rng):
    choix, evalica = pytest.importorskip("choix"), pytest.importorskip("evalica")
    pairs = made_pairs(rng, nu=0)
    names = sorted(set(pairs["system_a"]))
    a, b = (pairs[f"system_{side}"].map(names.index).to_numpy() for side in "ab")
    a_won = (pairs["preference"] == "a").to_numpy()
    ours = pair_strengths(pairs).table["strength"].sort_index()
    data = list(zip(np.where(a_won, a, b), np.where(a_won, b, a), strict=True))
    np.testing.assert_allclose(ours, choix.opt_pairwise(len(names), data, tol=1e-10), atol=1e-5)
    winners = [evalica.Winner.X if won else evalica.Winner.Y for won in a_won]
    theirs = np.log(
        evalica.bradley_terry(pairs["system_a"], pairs["system_b"], winners, tolerance=1e-12).scores
    ).sort_index()
    np.testing.assert_allclose(ours, theirs - theirs.mean(), atol=1e-6)


def test_a_prior_is_so_many_ties_with_an_average_one(rng):
    won = rng.integers(0, 9, (4, 4)).astype(float)
    np.fill_diagonal(won, 0)

    def loss(x):
        return (
            -(won * np.log(expit(x[:, None] - x))).sum() - 1.5 * (np.log(expit(x)) + np.log(expit(-x))).sum()
        )

    expected = minimize(loss, np.zeros(4), options={"gtol": 1e-8}).x
    np.testing.assert_allclose(fit_strengths(won, prior=3).values, expected - expected.mean(), atol=1e-6)


def test_elo_is_400_points_for_odds_of_ten():
    pairs = pd.DataFrame({"clip_a": ["x"] * 11, "clip_b": ["y"] * 11, "preference": ["a"] * 10 + ["b"]})
    found = pair_strengths(pairs, level="clip", elo=True)
    assert found.table["strength"].to_dict() == pytest.approx({"x": 1200, "y": 800})
    assert found.win_probability().loc["x", "y"] == pytest.approx(10 / 11)
    assert found.differences[["a", "b"]].values.tolist() == [["x", "y"]]
    assert found.differences.loc[0, "difference"] == pytest.approx(400)
    assert "Bradley and Terry's model; intervals over comparisons" in str(found)


def test_shares_of_davidsons_model_are_those_observed(rng):
    """Of two systems the model has the observed share of half-wins, as its likelihood equations say."""
    pairs = made_pairs(rng, n_systems=2)
    found = pair_strengths(pairs)
    row = found.table.loc["S1"]
    assert found.win_probability().loc["S1", "S0"] == pytest.approx(
        (row["wins"] + row["ties"] / 2) / len(pairs)
    )


def test_intervals_are_wider_where_raters_differ(rng):
    pairs = made_pairs(rng)
    by_both = pair_strengths(pairs)
    assert by_both.note == "intervals over raters and prompts"
    assert (
        (by_both.table["low"] < by_both.table["strength"])
        & (by_both.table["strength"] < by_both.table["high"])
    ).all()
    alone = pair_strengths(pairs.drop(columns=["rater", "prompt"]))
    assert alone.note == "intervals over comparisons, as if they were independent"
    half = pairs["rater"].isin([f"R{i}" for i in range(5)]) & (pairs["preference"] != "tie")
    pairs.loc[half, "preference"] = pairs["preference"].map({"a": "b", "b": "a"})[
        half
    ]  # they like the opposite
    width = [(found["high"] - found["low"]).mean() for found in (alone.table, pair_strengths(pairs).table)]
    assert width[1] > 1.5 * width[0]


def test_groups_that_never_met_are_named():
    pairs = pd.DataFrame(
        {"clip_a": list("xxuu"), "clip_b": list("yyvv"), "preference": ["a", "b", "a", "tie"]}
    )
    with pytest.raises(RatingDesignError, match=r"2 groups that were never compared .*\[x, y\], \[u, v\]"):
        pair_strengths(pairs, level="clip")
    assert len(pair_strengths(pairs, level="clip", prior=1).table) == 4


def test_who_won_always_has_no_finite_strength():
    pairs = pd.DataFrame({"clip_a": list("xxy"), "clip_b": list("yzz"), "preference": ["a", "a", "a"]})
    with pytest.raises(RatingDesignError, match="won all comparisons"):
        pair_strengths(pairs, level="clip")
    found = pair_strengths(pairs, level="clip", prior=1).table
    assert list(found.index) == ["x", "y", "z"] and np.isfinite(found.to_numpy()).all()


def test_ties_need_a_win_against_the_order():
    pairs = pd.DataFrame({"clip_a": list("xxyy"), "clip_b": list("yyzz"), "preference": ["a", "tie"] * 2})
    with pytest.raises(RatingDesignError, match="no win of a clip goes against the order"):
        pair_strengths(pairs, level="clip")
    for settings in ({"ties": "half"}, {"prior": 1}):
        found = pair_strengths(pairs, level="clip", **settings).table
        assert list(found.index) == ["x", "y", "z"] and np.isfinite(found.to_numpy()).all()


def test_ties_alone_say_that_all_are_equal():
    found = fit_strengths(np.array([[0, 2.0], [2, 0]]), 4, davidson=True)
    assert found.values.tolist() == [0, 0] and found.tie == 0


def test_the_docs_run(capsys, torch):
    text = (Path(__file__).parents[2] / "docs" / "pairs.md").read_text()
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(block, names)
    assert names["regressor"].predict(names["X"]).shape == (40,)
    assert "accuracy" in capsys.readouterr().out


def test_pairs_take_systems_from_clips():
    clips = pd.DataFrame(
        {"system": ["A", "B"], "prompt": ["p", "p"]}, index=pd.Index(["x.wav", "y.wav"], name="clip_id")
    )
    pairs = pd.DataFrame(
        {"clip_a": ["x", "y", "x"], "clip_b": ["y", "x", "z"], "preference": ["A", "Both Bad", "b"]}
    )
    with pytest.warns(SkippedWarning, match="left out 1 pair of 1 unknown clip: z"):
        table = read_pairs(pairs, clips)
    assert table["preference"].tolist() == ["a", "both_bad"]
    assert table[["clip_a", "system_a", "system_b", "prompt"]].values.tolist() == [
        ["x.wav", "A", "B", "p"],
        ["y.wav", "B", "A", "p"],
    ]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"preference": ["a", "c"]}, "preference must be one of a, b, tie, both_bad; 1 of 2 are not: c"),
        ({"preference": ["a", ["b"]]}, r"preference must be one of .*; 1 of 2 are not: \[.b.\]"),
        ({"clip_b": ["y", "x"]}, "compared with themselves: x"),
    ],
)
def test_bad_pairs_are_named(change, words):
    pairs = pd.DataFrame({"clip_a": ["x", "x"], "clip_b": ["y", "y"], "preference": ["a", "b"]} | change)
    with pytest.raises(ClipsTableError, match=words):
        read_pairs(pairs)


def test_agreement_by_hand():
    scores = pd.Series({"x": 4.0, "y": 3.0, "z": 3.0})
    pairs = pd.DataFrame(
        {"clip_a": list("xyyx"), "clip_b": list("yxzz"), "preference": ["a", "a", "b", "tie"]}
    )
    # Leads of the preferred: 1, -1, 0; the link is 1 / (1 + exp(-2 lead)).
    found = pairwise_agreement(scores, pairs, slope=2)["value"]
    assert found["accuracy"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert found["log loss"] == pytest.approx(-np.log([expit(2), expit(-2), 0.5]).mean())
    # Two pairs at 0.88, of which one is right, and one at 0.5.
    assert found["calibration error"] == pytest.approx(2 / 3 * (expit(2) - 0.5))


def test_what_has_no_score_and_a_slope_below_0_are_refused():
    scores = pd.Series({"x": 4.0, "y": np.nan})
    pairs = pd.DataFrame({"clip_a": ["x"], "clip_b": ["y"], "preference": ["a"]})
    with pytest.raises(ClipsTableError, match="1 clip of the pairs have no score: y"):
        pairwise_agreement(scores, pairs)
    with pytest.raises(ValueError, match="slope=-1 must not be below 0"):
        pairwise_agreement(scores.fillna(3.0), pairs, slope=-1)


def test_the_link_has_the_least_log_loss(rng):
    lead = rng.normal(size=400)
    scores = pd.Series(np.append(lead, 0), index=[f"c{i}" for i in range(401)])
    preference = np.where(rng.random(400) < expit(1.7 * lead), "a", "b")
    pairs = pd.DataFrame(
        {
            "rater": np.arange(400) % 8,
            "clip_a": scores.index[:400],
            "clip_b": "c400",
            "preference": preference,
        }
    )
    found = pairwise_agreement(scores, pairs)
    signed = lead * np.where(preference == "a", 1, -1)
    expected = minimize(lambda s: np.logaddexp(0, -s * signed).mean(), 1.0, tol=1e-12).x.item()
    assert found.loc["slope", "value"] == pytest.approx(expected, abs=1e-5)
    assert (
        found.loc["accuracy", "low"]
        < found.loc["accuracy", "value"]
        == np.mean(signed > 0)
        < found.loc["accuracy", "high"]
    )
    opposite = pairwise_agreement(-scores, pairs)["value"]
    assert opposite["slope"] == 0 and opposite["log loss"] == pytest.approx(np.log(2))
    with pytest.raises(ClipsTableError, match="1 clip of the pairs have no score: c400"):
        pairwise_agreement(scores[:-1], pairs)


def test_musiceval_pairs(rng, tmp_path):
    pairs = made_pairs(rng, n=200)
    pairs[["rater", "clip_a", "clip_b", "preference"]].to_csv(tmp_path / "pairs.csv", index=False)
    clips = pd.DataFrame({"clip_id": sorted(set(pairs["clip_a"]) | set(pairs["clip_b"]))})
    clips["system"], clips["prompt"] = clips["clip_id"].str[:2], clips["clip_id"].str[3:]
    clips.assign(impression=clips["system"].str[1].astype(float)).to_csv(tmp_path / "clips.csv", index=False)
    command = [
        "pairs",
        tmp_path / "pairs.csv",
        "--clips",
        tmp_path / "clips.csv",
        "--elo",
        "--out",
        tmp_path / "out",
    ]
    result = CliRunner().invoke(app, [*map(str, command), "--predictions", str(tmp_path / "clips.csv")])
    assert result.exit_code == 0, result.output
    assert "Davidson's model, nu = " in result.stdout and "intervals over raters and prompts" in result.stdout
    strengths = pd.read_csv(tmp_path / "out" / "strengths.csv", index_col="system")
    assert len(pd.read_csv(tmp_path / "out" / "differences.csv")) == 10
    assert strengths["strength"].mean() == pytest.approx(1000)
    agreement = pd.read_csv(tmp_path / "out" / "agreement.csv").set_index("figure")
    assert agreement.loc["accuracy", "value"] > 0.6


def made_panel(rng, likings, n=6, n_raters=10, n_prompts=20, per_rater=60):
    """Numbers of raters, prompts and two systems, of which pairs are equal, and who won; raters and prompts have likings."""
    given, size = np.repeat([-1.0, 0.0, 1.0], n // 3), n_raters * per_rater
    rater, prompt = np.repeat(np.arange(n_raters), per_rater), rng.integers(n_prompts, size=size)
    first = rng.integers(n, size=size)
    second = (first + rng.integers(1, n, size)) % n
    of_rater, of_prompt = rng.normal(0, likings, (n_raters, n)), rng.normal(0, likings, (n_prompts, n))
    a, b = (given[s] + of_rater[rater, s] + of_prompt[prompt, s] for s in (first, second))
    return given, rater, prompt, first, second, (rng.random(size) < expit(a - b)).astype(float)


@pytest.mark.parametrize("likings", [0, 0.5])
def test_intervals_tell_equals_apart_as_often_as_they_say(rng, likings):
    """Of 120 panels with three pairs of equals each, 5 % of pairs: 18, with a binomial standard deviation of 4.1."""
    found = []
    for _ in range(120):
        given, rater, prompt, first, second, share = made_panel(rng, likings)
        won = np.zeros((6, 6))
        np.add.at(won, (first, second), share)
        np.add.at(won, (second, first), 1 - share)
        fit = fit_strengths(won)
        covariance = ClusterCovariance(influence_of_comparisons(first, second, share, fit), [rater, prompt])
        half = covariance.half_widths_of_differences(0.95)
        found += [abs(fit.values[i] - fit.values[i + 1]) > half[i, i + 1] for i in (0, 2, 4)]
    assert 3 <= sum(found) <= 30  # three standard deviations above, and cautious without likings


def test_variances_are_those_written_out_cluster_by_cluster(rng):
    given, rater, prompt, first, second, share = made_panel(rng, 0.5)
    pairs = pd.DataFrame(
        {
            "rater": rater,
            "prompt": prompt,
            "system_a": first,
            "system_b": second,
            "clip_a": "x",
            "clip_b": "y",
        }
    ).assign(preference=np.where(share == 1, "a", "b"))
    found = pair_strengths(pairs)
    names = found.table.index.astype(int)
    x = found.table["strength"].to_numpy()[np.argsort(names)]
    rows = np.eye(6)[first] - np.eye(6)[second]
    expected = expit(rows @ x)
    inverse = np.linalg.pinv((rows * (expected * (1 - expected))[:, None]).T @ rows)
    scores = rows * (share - expected)[:, None]

    def covariance(clusters):
        sums = np.array([scores[clusters == one].sum(axis=0) for one in np.unique(clusters)])
        return inverse @ sums.T @ sums @ inverse * len(sums) / (len(sums) - 1), len(sums) - 1

    (by_rater, r), (by_prompt, p), (by_both, cells) = map(covariance, (rater, prompt, 100 * rater + prompt))
    for row in found.differences.itertuples():
        contrast = np.eye(6)[int(row.a)] - np.eye(6)[int(row.b)]
        of_rater, of_prompt, noise = (contrast @ v @ contrast for v in (by_rater, by_prompt, by_both))
        both = of_rater + of_prompt - noise
        freedom = both**2 / (of_rater**2 / r + of_prompt**2 / p) if both > noise else cells
        half = stats.t.ppf(0.975, freedom) * np.sqrt(max(both, noise))
        assert [row.low, row.high] == pytest.approx([row.difference - half, row.difference + half], abs=1e-6)
