import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from musiceval_sk import (
    RatingDesignError,
    human_ceiling,
    intraclass_correlation,
    krippendorff_alpha,
    leave_one_rater_out,
    split_half,
)
from musiceval_sk.ratings.bias import rater_table
from musiceval_sk.ratings.reliability import spearman_brown
from musiceval_sk.statistics.intervals import interval_of

DATA = Path(os.environ.get("MUSICEVAL_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
SINGLE = pd.DataFrame({"rater": list("ABC"), "clip_id": list("xyz"), "impression": [1, 2, 3]})
_ = None


def long(matrix, targets="impression"):
    """One row of the matrix a clip, one column a rater."""
    rows = [
        (f"R{rater}", f"c{clip}", score)
        for clip, scores in enumerate(matrix)
        for rater, score in enumerate(scores)
    ]
    return pd.DataFrame(rows, columns=["rater", "clip_id", targets]).dropna()


def simulated(rng, n_clips=300, n_raters=8, panel=4, noise=1.0, bias=0.0, n_systems=10):
    """Clip truths of variance 1, within ten systems; each clip rated by a panel drawn by lot."""
    truth = rng.normal(size=n_clips)
    of_rater = bias * rng.normal(size=n_raters)
    panels = np.argsort(rng.random((n_clips, n_raters)), axis=1)[:, :panel]
    scores = truth[:, None] + of_rater[panels] + noise * rng.normal(size=panels.shape)
    clips = np.repeat(np.arange(n_clips), panel)
    return pd.DataFrame(
        {
            "rater": [f"R{r}" for r in panels.ravel()],
            "clip_id": [f"c{c}" for c in clips],
            "system": [f"S{c % n_systems}" for c in clips],
            "impression": scores.ravel(),
        }
    )


def real(name):
    path = DATA / name / "ratings.csv.gz"
    if not path.is_file():
        pytest.skip(f"real ratings are not there: {path}")
    return pd.read_csv(path)


def test_alpha_is_that_of_krippendorffs_own_example():
    # Krippendorff, "Computing Krippendorff's alpha-reliability" (2011), section C: four observers, twelve units, missing
    # data; interval alpha .849. The last unit but for C's has one value and pairs with nothing.
    observers = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
        [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
    ]
    figure = krippendorff_alpha(long(np.array(observers, dtype=float).T))
    assert figure.value == pytest.approx(0.849, abs=5e-4)
    assert figure.n == 11
    assert figure.low < figure.value < figure.high


@pytest.mark.parametrize("k, value", [(1, 0.17), (4, 0.44), (None, 0.44)])
def test_icc_is_that_of_shrout_and_fleiss(k, value):
    # Shrout and Fleiss (1979), table 2: six targets, four judges; ICC(1,1) = .17, ICC(1,4) = .44.
    scores = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    figure = intraclass_correlation(long(scores), k=k)
    assert round(figure.value, 2) == value
    assert figure.low < figure.value < figure.high


def test_unbalanced_icc_by_hand():
    # x: 1, 3 (mean 2, SS 2); y: 4 (mean 4); z: 5, 5, 5. N = 6, mean 23/6.
    # between = 2*4 + 16 + 3*25 - 23**2/6 = 99 - 529/6 = 65/6, MSB = 65/12; within = 2, MSW = 2/3.
    # k0 = (6 - (4 + 1 + 9)/6) / 2 = 11/6; (65/12 - 2/3) / (65/12 + (11/6 - 1) * 2/3) = (57/12) / (215/36) = 171/215
    ratings = pd.DataFrame({"clip_id": list("xxyzzz"), "impression": [1, 3, 4, 5, 5, 5]})
    assert intraclass_correlation(ratings, n_bootstrap=0).value == pytest.approx(171 / 215)
    of_panel = (171 / 215) * 11 / 6 / (1 + 5 / 6 * 171 / 215)
    assert intraclass_correlation(ratings, k=None, n_bootstrap=0).value == pytest.approx(of_panel)


def test_figures_recover_a_known_reliability(rng):
    # Truth and noise of variance 1: one rating has reliability 1/2, four have 4/5, two halves of two 2/3.
    ratings = simulated(rng, n_clips=3000)
    assert krippendorff_alpha(ratings).value == pytest.approx(0.5, abs=0.03)
    assert intraclass_correlation(ratings).value == pytest.approx(0.5, abs=0.03)
    assert intraclass_correlation(ratings, k=4).value == pytest.approx(0.8, abs=0.02)
    halves = split_half(ratings)
    assert halves.halves.value == pytest.approx(2 / 3, abs=0.03)
    assert halves.panel.value == pytest.approx(0.8, abs=0.02)
    assert halves.factor == pytest.approx(2)
    assert halves.lowest < halves.halves.value < halves.highest
    # One rater against the mean of three: sqrt(1/2 * 3/4).
    assert leave_one_rater_out(ratings).value == pytest.approx(np.sqrt(3 / 8), abs=0.03)


@pytest.mark.slow
def test_intervals_cover_the_truth_about_as_often_as_they_say(rng):
    # 40 tests of known ICC(1,1) = 1/2 and reliability of four = 4/5; at 90 %, fewer than 31 of 40 has probability 0.7 %.
    covered = np.zeros(2, dtype=int)
    for seed in range(40):
        ratings = simulated(rng, n_clips=80)
        options = {"confidence": 0.9, "n_bootstrap": 300, "random_state": seed}
        one = intraclass_correlation(ratings, **options)
        panel = split_half(ratings, n_splits=30, **options).panel
        covered += [one.low < 0.5 < one.high, panel.low < 0.8 < panel.high]
    assert (covered >= 31).all()


def test_odd_panels_step_up_to_their_own_length(rng):
    # Five ratings: halves of 2 and 3, harmonic mean 2.4, the whole 5 / 2.4 as long; reliability of five 5/6.
    halves = split_half(simulated(rng, n_clips=3000, panel=5), n_bootstrap=0, n_splits=20)
    assert halves.factor == pytest.approx(5 / 2.4)
    assert halves.panel.value == pytest.approx(5 / 6, abs=0.02)


def test_halving_by_raters_counts_their_bias_in_crossed_designs_as_noise(rng):
    # Each rater favours systems of his own (sd 1); six crossed raters, 40 clips a system. By ratings, every half holds
    # all raters, and their favours look like agreement.
    favours = rng.normal(size=(6, 12))
    system = np.repeat(np.arange(12), 40)
    scores = rng.normal(size=12)[system, None] + favours.T[system] + rng.normal(size=(480, 6))
    ratings = long(scores).assign(system=lambda t: [f"S{system[int(c[1:])]}" for c in t["clip_id"]])
    by = {
        by: split_half(ratings, level="system", by=by, n_splits=20, n_bootstrap=0).halves.value
        for by in ("rating", "rater")
    }
    assert by["rating"] > 0.95
    assert by["rater"] < by["rating"] - 0.05


def test_spearman_halves_are_scipys(rng):
    from scipy.stats import spearmanr

    from musiceval_sk.ratings.reliability import _correlation

    first, second = rng.integers(1, 6, (2, 60)).astype(float)
    counts = rng.integers(0, 3, (2, 60)).astype(float)
    figures = _correlation("SRCC", np.column_stack([first, second]))(counts)
    for times, figure in zip(counts.astype(int), figures, strict=True):
        assert figure == pytest.approx(spearmanr(np.repeat(first, times), np.repeat(second, times))[0])


def test_leaving_one_rater_out_by_hand(rng):
    ratings = simulated(rng, n_clips=40, n_raters=5, panel=3)
    wide = ratings.pivot(index="clip_id", columns="rater", values="impression")
    expected = {name: wide[name].corr(wide.drop(columns=name).mean(axis=1)) for name in wide}
    table = rater_table(ratings)
    pd.testing.assert_series_equal(table["agreement"], pd.Series(expected)[table.index], check_names=False)
    assert leave_one_rater_out(ratings).value == pytest.approx(np.mean(list(expected.values())))


def test_rater_table_tells_who_is_harsh(rng):
    ratings = simulated(rng, n_clips=400, bias=0.0)
    ratings.loc[ratings["rater"] == "R3", "impression"] -= 1.4
    table = rater_table(ratings)
    # One of eight raters is lower by 1.4: biases sum to zero, so his is -1.4 * 7/8 and the others' +1.4/8.
    assert table.loc["R3", "bias"] == pytest.approx(-1.225, abs=0.2)
    assert table.loc["R3", "bias_low"] < -1.225 < table.loc["R3", "bias_high"]
    assert table["bias"].sum() == pytest.approx(0, abs=1e-9)
    assert table["count"].sum() == len(ratings)
    own = ratings.loc[ratings["rater"] == "R3", "impression"]
    assert table.loc["R3", ["mean", "sd"]].tolist() == pytest.approx([own.mean(), own.std()])


def test_a_rater_table_says_why_there_is_no_bias():
    table = rater_table(SINGLE)
    assert table["bias"].isna().all()
    assert "every item has a single rating" in table.attrs["bias_refused"]


def test_items_may_be_clip_and_text():
    ratings = pd.DataFrame(
        {"clip_id": list("xxxx"), "prompt": list("aabb"), "rater": list("ABAB"), "impression": [1, 1, 5, 5]}
    )
    assert krippendorff_alpha(ratings, items=["clip_id", "prompt"], n_bootstrap=0).value == 1
    assert krippendorff_alpha(ratings, items=["clip_id", "prompt"], n_bootstrap=0).n == 2
    with pytest.raises(RatingDesignError, match="one item alone has several ratings"):
        krippendorff_alpha(ratings)


@pytest.mark.parametrize(
    "figure", [krippendorff_alpha, intraclass_correlation, split_half, leave_one_rater_out]
)
def test_one_rating_a_clip_is_refused(figure):
    with pytest.raises(RatingDesignError, match="has one rating|none of 3 raters"):
        figure(SINGLE)


@pytest.mark.parametrize("figure", [leave_one_rater_out, rater_table])
def test_slots_are_no_raters(figure):
    with pytest.raises(RatingDesignError, match="slots of a clip are not raters"):
        figure(SINGLE, rater=None)
    with pytest.raises(RatingDesignError, match="halving by raters needs to know"):
        split_half(SINGLE, by="rater", rater=None)


def test_raters_that_look_like_slots_are_pointed_out():
    slots = pd.DataFrame({"rater": [0, 1] * 4, "clip_id": list("wwxxyyzz"), "impression": range(8)})
    with pytest.warns(UserWarning, match="numbered 0 to 1 and each rated all 4 items.*give rater=None"):
        rater_table(slots)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"level": "song"}, "unknown level 'song'; choose from clip, system"),
        ({"by": "day"}, "unknown by 'day'"),
        ({"correlation": "tau"}, "unknown correlation 'tau'"),
        ({"n_splits": 0}, "n_splits=0 must be a whole number and at least 1"),
        ({"level": "system"}, "need the system of every clip"),
    ],
)
def test_bad_options_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        split_half(long([[1, 2], [2, 3], [4, 4]]), **options)


@pytest.mark.parametrize("figure", [krippendorff_alpha, intraclass_correlation])
def test_scores_without_spread_carry_no_agreement(figure):
    with pytest.raises(RatingDesignError, match="all ratings are the same|scores that differ"):
        figure(long([[3, 3], [3, 3]]))


def test_spearman_brown():
    assert spearman_brown(0.5) == pytest.approx(2 / 3)
    assert spearman_brown(0.25, 4) == pytest.approx(4 / 7)


def test_nothing_is_stepped_up_from_disagreement():
    assert np.isnan(spearman_brown(-0.5)) and np.isnan(spearman_brown(-1.0))
    assert spearman_brown(0.0) == 0
    # Two raters of opposite minds: halves by rater correlate -1, where 2 r / (1 + r) would divide by zero.
    opposed = long([[1, 5], [2, 4], [4, 2], [5, 1]])
    found = split_half(opposed, by="rater", n_splits=3)
    assert found.halves.value == pytest.approx(-1)
    assert np.isnan(found.panel[:3]).all()
    # Four items of mean 3: nothing lies between them, so ICC(1,1) = -1 / (k - 1) = -1 and a panel of two has none.
    assert intraclass_correlation(opposed, n_bootstrap=0).value == pytest.approx(-1)
    with pytest.raises(
        RatingDesignError, match=r"differ more than .* \(ICC\(1,1\) = -1.000\), so there is no"
    ):
        intraclass_correlation(opposed, k=None)
    table = human_ceiling(opposed, by="rater").table.set_index("figure")
    assert table.loc["U_LCC, halves", "value"] == pytest.approx(-1)
    assert table.loc["U_LCC, another panel", "note"].startswith("halves correlate -1.000, which leaves no")
    assert "no U_LCC, another panel; U_LCC, perfect predictor; U_SRCC" in str(
        human_ceiling(opposed, by="rater")
    )


@pytest.mark.parametrize("scores", [[5, 4], [5, 4, 3], [1, 5, 5]])
def test_one_clip_has_no_agreement(scores):
    # All pairs of ratings lie within the clip, so the disagreement observed is that expected: 0, be they alike or not.
    with pytest.raises(RatingDesignError, match="alpha is 0 whatever they are; it needs two items rated at"):
        krippendorff_alpha(long([scores]))
    with pytest.raises(RatingDesignError, match="there is one item; the intraclass correlation needs two"):
        intraclass_correlation(long([scores]))
    others = pd.DataFrame({"rater": "A", "clip_id": ["y", "z"], "impression": [1, 2]})
    with pytest.raises(RatingDesignError, match="one item alone has several ratings"):
        krippendorff_alpha(pd.concat([long([scores]), others]))


@pytest.mark.parametrize("of_systems", [False, True])
@pytest.mark.parametrize(
    ("scores", "alpha", "icc"),
    [
        # Six clips of mean 3: twelve ratings, all of whose disagreement is within clips, 1 - 2 * 11 / 12.
        ([[1, 5], [2, 4], [4, 2], [5, 1], [2, 4], [4, 2]], -5 / 6, -1),
        ([[1, 1], [2, 2], [4, 4], [5, 5], [2, 2], [4, 4]], 1, 1),
    ],
    ids=["opposed", "perfect"],
)
def test_what_no_choice_of_clips_or_systems_changes_has_no_interval(scores, alpha, icc, of_systems):
    ratings = long(scores)
    if of_systems:
        ratings["system"] = ratings["clip_id"].map(lambda clip: f"S{int(clip[1:]) % 3}")
    units = "systems" if of_systems else "items"
    note = f"no interval: the figure does not depend on which {units} are chosen"
    for figure, value in ((krippendorff_alpha, alpha), (intraclass_correlation, icc)):
        found = figure(ratings, n_bootstrap=50)
        assert found.value == pytest.approx(value)
        # Without one of three systems alpha of the opposed, 1 - 2 (n - 1) / n of n ratings, is -3 / 4 each time.
        assert np.isnan([found.low, found.high]).all() and found.note == note
    halves = split_half(ratings, by="rater", n_splits=3, n_bootstrap=50).halves
    assert halves.value == pytest.approx(icc)
    assert np.isnan([halves.low, halves.high]).all() and halves.note == note


def test_the_reason_that_holds_is_given_alone():
    table = human_ceiling(DESIGNS["two clips"], n_bootstrap=20).table.set_index("figure")
    assert table.loc["Krippendorff's alpha", "note"] == "no interval: 2 items, and 3 are needed"
    assert table.loc["ICC(1,k)", "note"] == "k = 2.00; no interval: 2 items, and 3 are needed"
    two = DESIGNS["two raters"].assign(
        system=lambda table: table["clip_id"].map(lambda clip: clip in ("c0", "c1"))
    )
    assert krippendorff_alpha(two).note == "no interval: 2 systems, and 3 are needed"
    ten = pd.concat(
        [DESIGNS["two raters"].assign(clip_id=lambda t, n=n: t["clip_id"] + str(n)) for n in range(3)]
    )
    assert leave_one_rater_out(ten).note == "no interval: 2 raters, and 3 are needed"
    assert krippendorff_alpha(ten).note == krippendorff_alpha(two, n_bootstrap=0).note == ""
    assert human_ceiling(DESIGNS["two clips"], n_bootstrap=0).table["note"][0] == ""
    one_draw = krippendorff_alpha(ten, n_bootstrap=1)
    assert one_draw.note == "no interval: too few choices of the items have a figure" and np.isnan(
        one_draw.low
    )


DESIGNS = {
    "two clips": long([[5, 4], [2, 1]]),
    "one clip": long([[5, 4, 3]]),
    "one rater": long([[1], [2], [3], [4]]),
    "one rating a clip": SINGLE,
    "two raters": long([[1, 2], [3, 3], [5, 4], [2, 2]]),
    "opposed": long([[1, 5], [2, 4], [4, 2], [5, 1]]),
    "halves that disagree": long([[1, 2], [3, 4], [5, 1], [2, 3], [4, 5]]),
    "one score": long([[3, 3], [3, 3], [3, 3]]),
    "clips alike": long([[1, 5], [1, 5], [1, 5], [5, 1]]),
    "perfect": long([[1, 1], [2, 2], [3, 3], [5, 5]]),
    "one rated twice": long([[1, 2], [3, _], [4, _], [_, 5]]),
}


@pytest.mark.parametrize("by", ["rating", "rater"])
@pytest.mark.parametrize("n_systems", [None, 1, 2, 3])
@pytest.mark.parametrize("design", DESIGNS)
def test_small_and_odd_designs_have_figures_or_reasons(design, n_systems, by):
    ratings = DESIGNS[design]
    if n_systems:
        ratings = ratings.assign(
            system=[
                f"S{int(clip[1:]) % n_systems}" if clip[0] == "c" else "S0" for clip in ratings["clip_id"]
            ]
        )
    ceiling = human_ceiling(ratings, by=by, n_splits=4, n_bootstrap=20)
    table = ceiling.table
    assert (table["note"][table["value"].isna()] != "").all()
    assert (table["note"][table["low"].isna()] != "").all()
    assert table[["value", "low", "high"]].abs().max().max() <= 1 + 1e-9 or table["value"].isna().all()
    assert (table["low"].isna() == table["high"].isna()).all()
    bounded = table.dropna(subset="low")
    assert ((bounded["low"] <= bounded["value"]) & (bounded["value"] <= bounded["high"])).all()
    assert (bounded["low"] < bounded["high"]).all()
    assert "impression" in str(ceiling)
    steps = ceiling.by_ratings([1, 20])
    assert steps["value"].dropna().between(0, 1).all()
    assert len(ceiling.metrics()) == 2


def test_the_same_seed_gives_the_same_figures(rng):
    ratings = simulated(rng, n_clips=50)
    assert split_half(ratings, random_state=3) == split_half(ratings, random_state=3)
    assert split_half(ratings, random_state=3) != split_half(ratings, random_state=4)


def test_human_ceiling_lists_figures_and_reasons(rng):
    ratings = simulated(rng, n_clips=120, panel=4).drop(columns="system")
    ceiling = human_ceiling(ratings, scale=None, n_bootstrap=200, n_splits=20)
    table = ceiling.table.set_index("figure")
    assert table.loc["U_LCC, halves", "value"] == pytest.approx(
        split_half(ratings, n_splits=20, n_bootstrap=0).halves.value
    )
    assert table.loc["U_LCC, perfect predictor", "value"] == pytest.approx(
        np.sqrt(table.loc["U_LCC, another panel", "value"])
    )
    assert np.isnan(table.loc["S_SRCC, halves", "value"])
    assert "need the system of every clip" in table.loc["S_SRCC, halves", "note"]
    assert "no S_LCC; S_SRCC: impression: halves of systems need" in str(ceiling)
    assert list(ceiling.metrics().columns) == ["U_LCC", "U_SRCC", "S_LCC", "S_SRCC"]
    assert ceiling.metrics().index.tolist() == [
        ("impression", "another panel"),
        ("impression", "perfect predictor"),
    ]


@pytest.mark.slow
def test_human_ceiling_takes_systems_and_clips_from_the_clips_table(rng):
    ratings = simulated(rng, n_clips=60)
    clips = ratings.drop_duplicates("clip_id").set_index("clip_id")[["system"]]
    with_clips = human_ceiling(ratings.drop(columns="system"), clips=clips, scale=None, n_bootstrap=0)
    pd.testing.assert_frame_equal(with_clips.table, human_ceiling(ratings, scale=None, n_bootstrap=0).table)
    fewer = human_ceiling(ratings, clips=clips.iloc[:30], scale=None, n_bootstrap=0).table
    assert fewer.set_index("figure").loc["ICC(1,1)", "n"] == 30


def test_ceiling_by_ratings_recovers_a_known_reliability(rng):
    """Truth and noise of variance 1: r ratings have a reliability of r / (r + 1), a perfect predictor its root."""
    ceiling = human_ceiling(simulated(rng, n_clips=3000), scale=None, n_bootstrap=0, n_splits=5)
    assert ceiling.panels == {"impression": 4}
    table = ceiling.by_ratings([1, 4, 9]).set_index(["metric", "who", "ratings"])["value"].sort_index()
    assert table["U_LCC", "another panel"].tolist() == pytest.approx([0.5, 0.8, 0.9], abs=0.02)
    assert table["U_LCC", "perfect predictor"].tolist() == pytest.approx(np.sqrt([0.5, 0.8, 0.9]), abs=0.02)
    as_it_is = ceiling.metrics().loc["impression"]
    assert table["S_SRCC", "another panel", 4] == pytest.approx(as_it_is.loc["another panel", "S_SRCC"])
    with pytest.raises(ValueError, match="a number of ratings must be above 0; got 0"):
        ceiling.by_ratings([2, 0])


def test_ceiling_by_ratings_of_unequal_panels_and_without_any(rng):
    ratings = simulated(rng, n_clips=60)
    first = ~ratings["clip_id"].duplicated()
    unequal = ratings[first | (ratings["clip_id"].str[1:].astype(int) % 2 == 0)]
    ceiling = human_ceiling(unequal, scale=None, n_bootstrap=50, n_splits=5)
    assert ceiling.panels == {"impression": 4}  # of the items that have two or more
    table = ceiling.by_ratings([4]).set_index(["metric", "who"])
    found = ceiling.table.set_index("figure").loc["U_LCC, another panel"]
    assert table.loc[("U_LCC", "another panel"), ["value", "low", "high"]].tolist() == pytest.approx(
        found[["value", "low", "high"]].tolist()
    )
    alone = human_ceiling(ratings[first], scale=None, n_bootstrap=0)
    assert alone.panels == {} and alone.by_ratings().empty


def test_human_ceiling_survives_a_target_without_ratings(rng):
    ratings = simulated(rng, n_clips=20).assign(alignment=np.nan)
    ceiling = human_ceiling(ratings, scale=None, n_bootstrap=0)
    assert list(ceiling.raters) == ["impression"]
    assert "alignment: there are no ratings" in str(ceiling)
    with pytest.raises(
        ValueError, match="no rating belongs to a clip .* ratings name c0, .* clips are other"
    ):
        human_ceiling(ratings, clips=pd.DataFrame(index=["other"]), scale=None)


def test_vcc2018_is_as_documented():
    ratings = real("vcc2018")
    # The one-way analysis of variance by pandas.
    clips = ratings.groupby("clip_id")["score"]
    n, means, sizes = len(ratings), clips.mean(), clips.size()
    within = ((ratings["score"] - clips.transform("mean")) ** 2).sum() / (n - len(means))
    between = (sizes * (means - ratings["score"].mean()) ** 2).sum() / (len(means) - 1)
    k0 = (n - (sizes**2).sum() / n) / (len(means) - 1)
    expected = (between - within) / (between + (k0 - 1) * within)
    figure = intraclass_correlation(ratings, "score")
    assert figure.value == pytest.approx(expected, abs=1e-10)
    assert figure.value == pytest.approx(0.281, abs=5e-4)
    assert krippendorff_alpha(ratings, "score").value == pytest.approx(0.281, abs=5e-4)
    # Four raters' names end in blanks in that file; three of these are the same persons as those without.
    assert leave_one_rater_out(ratings, "score").n == 267


@pytest.mark.slow
def test_spearman_brown_foretells_fewer_ratings_of_vcc2018():
    """Two of the four ratings against the other two: what the panel of four, stepped down, says of panels of two."""
    ratings = real("vcc2018").dropna()
    options = {"targets": ["score"], "n_bootstrap": 0, "n_splits": 5}
    foretold = (
        human_ceiling(ratings, **options).by_ratings([1, 2]).set_index(["metric", "who", "ratings"])["value"]
    )
    shuffled = ratings.sample(frac=1, random_state=0)
    place = shuffled.groupby("clip_id").cumcount()
    four = shuffled["clip_id"].isin(shuffled["clip_id"][place == 3])
    halves = [
        shuffled[four & chosen].groupby("clip_id")["score"].mean()
        for chosen in (place < 2, place.between(2, 3))
    ]
    assert foretold["U_LCC", "another panel", 2] == pytest.approx(halves[0].corr(halves[1]), abs=0.02)
    single = [shuffled[four & (place == n)].set_index("clip_id")["score"] for n in (0, 1)]
    assert foretold["U_LCC", "another panel", 1] == pytest.approx(single[0].corr(single[1]), abs=0.02)


def test_pam_has_no_raters_and_still_a_reliability():
    ratings = real("pam")
    options = {"targets": ["production_quality"], "scale": (0, 10), "n_bootstrap": 0, "n_splits": 10}
    with pytest.raises(
        ValueError, match="'slot' numbers the ratings of a clip, not persons; give rater=None"
    ):
        human_ceiling(ratings, **options)
    ceiling = human_ceiling(ratings, rater=None, **options)
    table = ceiling.table.set_index("figure")
    assert table.loc["ICC(1,1)", "value"] == pytest.approx(0.298, abs=5e-4)
    assert "slots of a clip are not raters" in table.loc["leave one rater out", "note"]
    assert ceiling.raters == {}


def test_a_clip_without_system_is_named(rng):
    ratings = simulated(rng, n_clips=40, panel=3)
    names = ratings["system"].where(ratings["clip_id"] != ratings["clip_id"][0], " ")
    partly, options = ratings.assign(system=names), {"n_bootstrap": 20, "random_state": 0}
    words = (
        f"^1 of 40 clips name no system, so clips are resampled .* of other systems: {ratings['clip_id'][0]}$"
    )
    for function in (krippendorff_alpha, intraclass_correlation, split_half):
        with pytest.warns(UserWarning, match=words):
            found = function(partly, "impression", **options)
        without = function(ratings.drop(columns="system"), "impression", **options)
        pd.testing.assert_frame_equal(found.to_frame(), without.to_frame(), check_exact=True)
    with pytest.raises(
        RatingDesignError, match=f"that names all of them; there is none of: {ratings['clip_id'][0]}$"
    ):
        split_half(partly, level="system")
    with pytest.warns(UserWarning, match=words) as warned:
        ceiling = human_ceiling(partly, scale=None, n_splits=5, **options)
    assert len(warned) == 1
    without = human_ceiling(ratings.drop(columns="system"), scale=None, n_splits=5, **options)
    pd.testing.assert_frame_equal(ceiling.table, without.table)


def test_leaving_out_many_systems_takes_bounded_memory(rng, monkeypatch):
    """All weights of 20 systems at once are 20 rows; in blocks of 300 cells a figure sees at most 3 at a time."""
    values, systems, rows = rng.normal(size=100), np.repeat(np.arange(20), 5), []

    def figure(counts):
        rows.append(len(counts))
        return np.tanh((counts * values).sum(axis=1) / counts.sum(axis=1))

    whole = interval_of(100, figure, 0.95, 1, 0, systems)
    assert max(rows) == 20
    rows.clear()
    monkeypatch.setattr("musiceval_sk.statistics.intervals._CELLS_AT_ONCE", 300)
    assert interval_of(100, figure, 0.95, 1, 0, systems) == whole
    assert max(rows) == 3 and sum(rows) == 21
    with pytest.raises(ValueError, match="n_bootstrap='9' must be a whole number and at least 0"):
        interval_of(100, figure, 0.95, "9", 0, systems)
