"""Learning curves against plain loops with scikit-learn, and against the study that they end in."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression, Ridge

from musiceval_sk import (
    ClipsTableError,
    LookupRegressor,
    MOSRegressor,
    RatingDesignError,
    aggregate_ratings,
    compare_predictors,
    human_ceiling,
    make_split,
    run_study,
    score_learning_curve,
)
from musiceval_sk.studies.curve.designs import Amounts, Design, make_designs, nested_ratings
from musiceval_sk.studies.curve.scores import _over_repeats

N_SYSTEMS, N_PROMPTS, N_RATINGS = 10, 6, 4
QUICK = {"n_splits": 2, "n_repeats": 3, "n_resamples": 50, "progress": False}


@pytest.fixture(scope="module")
def ratings():
    """Four ratings, 1 to 5, of sixty clips by ten systems."""
    rng = np.random.default_rng(0)
    quality = np.repeat(np.linspace(1.5, 4.5, N_SYSTEMS), N_PROMPTS) + 0.4 * rng.normal(
        size=N_SYSTEMS * N_PROMPTS
    )
    scores = np.clip(np.round(quality[:, None] + 0.9 * rng.normal(size=(len(quality), N_RATINGS))), 1, 5)
    rows = [
        (f"R{rater}", f"S{clip // N_PROMPTS}_P{clip % N_PROMPTS}", score)
        for clip, of_clip in enumerate(scores)
        for rater, score in enumerate(of_clip)
    ]
    return pd.DataFrame(rows, columns=["rater", "clip_id", "impression"])


@pytest.fixture(scope="module")
def clips(ratings):
    scores = aggregate_ratings(ratings)
    labels = scores.index.str.extract(r"(?P<system>S\d)_(?P<prompt>P\d)").set_axis(scores.index)
    return labels.assign(path="", impression=scores["impression"])


@pytest.fixture(scope="module")
def X(clips):
    rng = np.random.default_rng(1)
    heard = {f"audio_{i}": clips["impression"] + rng.normal(0, 1, len(clips)) for i in range(3)}
    return pd.DataFrame(heard, index=clips.index)


@pytest.fixture(scope="module")
def curve(clips, X, ratings):
    models = {
        "ridge": Ridge(),
        "global mean": DummyRegressor(),
        "system mean": LookupRegressor(clips["system"]),
    }
    grows = ["clips", "systems", "ratings", "budget"]
    return score_learning_curve(clips, X, models, grows=grows, ratings=ratings, random_state=0, **QUICK)


def test_table_is_tidy(curve):
    assert list(curve.table.columns) == [
        "target", "model", "grows", "budget", "size", "metric", "kind", "score", "low", "high", "n_repeats",
        "clips", "systems", "ratings",
    ]  # fmt: skip
    assert set(curve.table["kind"]) == {"pooled", "mean of folds"}
    sizes = curve.table.groupby("grows", sort=False)["size"].unique().map(list).to_dict()
    # Thirty clips of five systems in each training part. An eighth of them is below ten clips, a quarter of five systems below two.
    assert sizes["clips"] == [15, 30]
    assert sizes["systems"] == [2, 5]  # half of five, rounded to even
    assert sizes["ratings"] == [1, 2, 4]
    whole = curve.table[curve.table["size"].eq(30) & curve.table["grows"].eq("clips")]
    assert set(whole["clips"]) == {30} and set(whole["systems"]) == {5} and set(whole["ratings"]) == {4}
    half = curve.table[curve.table["size"].eq(2) & curve.table["grows"].eq("systems")]
    assert set(half["clips"]) == {2 * N_PROMPTS}


def test_budgets_share_their_sum_of_ratings(curve):
    rows = curve.line("impression", "S_SRCC", "budget")
    rows = rows[rows["model"] == "ridge"]
    # All thirty clips with one rating each, and with two; the same sums on fewer clips with more.
    assert rows[["budget", "clips", "ratings"]].values.tolist() == [
        [30, 30, 1], [30, 15, 2], [30, 7, 4], [60, 30, 2], [60, 15, 4],
    ]  # fmt: skip
    steps = curve.steps[curve.steps["grows"].eq("budget") & curve.steps["model"].eq("ridge")]
    steps = steps[steps["metric"].eq("S_SRCC") & steps["kind"].eq("pooled")]
    assert steps[["budget", "size_from", "size_to"]].values.tolist() == [[30, 1, 2], [30, 1, 4], [60, 2, 4]]


def test_with_everything_the_scores_are_those_of_a_study(curve, clips, X):
    study = run_study(
        clips, X, {"ridge": Ridge()}, "system", targets="impression", n_splits=2, random_state=0
    )
    last = {"clips": 30, "systems": 5, "ratings": 4}
    for kind in ("pooled", "mean of folds"):
        for grows, size in last.items():
            for metric in ("S_SRCC", "U_SRCC"):
                rows = curve.line("impression", metric, grows, kind)
                score = rows[rows["model"].eq("ridge") & rows["size"].eq(size)]["score"].item()
                assert score == pytest.approx(study.table("impression", kind).loc["ridge", metric], abs=1e-12)


def test_scores_by_a_plain_loop(curve, clips, X):
    """The mean over repeats of the pooled score of least squares on every fold's cut training part."""
    seed = int(np.random.default_rng(0).integers(2**31))
    y, systems = clips["impression"], clips["system"].to_numpy()
    folds = make_split("system", clips, n_splits=2, random_state=0).folds(clips)
    for grows, design in (("clips", Design("clips", clips=15)), ("systems", Design("systems", systems=2))):
        scores = []
        for repeat in range(3):
            predicted = pd.Series(index=clips.index, dtype=float)
            for fold, (train, test) in enumerate(folds):
                rows = design.rows(train, systems, (seed, repeat, fold))
                assert set(rows) <= set(train)
                if grows == "systems":
                    assert len(set(systems[rows])) == 2 and len(rows) == 12
                predicted.iloc[test] = Ridge().fit(X.iloc[rows], y.iloc[rows]).predict(X.iloc[test])
            scores.append(spearmanr(y, predicted).statistic)
        rows = curve.line("impression", "U_SRCC", grows, "pooled")
        assert rows[rows["model"] == "ridge"]["score"].iloc[0] == pytest.approx(np.mean(scores), abs=1e-12)


def test_few_ratings_train_and_all_ratings_judge(curve, clips, X, ratings):
    """With one rating a clip: training scores are single ratings, the truth stays the mean of four."""
    seed = int(np.random.default_rng(0).integers(2**31))
    folds = make_split("system", clips, n_splits=2, random_state=0).folds(clips)
    scores = []
    for repeat in range(3):
        drawn = ratings[nested_ratings(ratings["clip_id"], (seed, repeat)) < 1].set_index("clip_id")[
            "impression"
        ]
        single, predicted = drawn[clips.index], pd.Series(index=clips.index, dtype=float)
        for train, test in folds:
            predicted.iloc[test] = Ridge().fit(X.iloc[train], single.iloc[train]).predict(X.iloc[test])
        scores.append(spearmanr(clips["impression"], predicted).statistic)
    rows = curve.line("impression", "U_SRCC", "ratings", "pooled")
    assert rows[rows["model"] == "ridge"]["score"].iloc[0] == pytest.approx(np.mean(scores), abs=1e-12)


def test_smaller_parts_lie_within_larger_ones():
    train, systems = np.arange(40)[::2], np.repeat(list("abcdefgh"), 5)
    for kind, sizes in (("clips", [3, 9, 0.7]), ("systems", [2, 5, 7])):
        parts = [set(Design(kind, **{kind: size}).rows(train, systems, (5, 0, 1))) for size in sizes]
        assert parts[0] < parts[1] < parts[2] < set(train)
    assert len(Design("clips", clips=0.7).rows(train, systems, (5, 0, 1))) == 14
    assert set(Design("clips", clips=9).rows(train, systems, (5, 1, 1))) != parts[1]
    clip_ids = pd.Series(list("xyxyxzx"))
    numbers = nested_ratings(clip_ids, (0, 0))
    for _, of_clip in pd.Series(numbers).groupby(clip_ids):
        assert sorted(of_clip) == list(range(len(of_clip)))


def test_steps_are_paired(clips, X):
    """With one repeat and one fold, the interval of a step is that of `compare_predictors`, up to the draw."""
    split = make_split("random", clips, n_splits=2, random_state=0)
    one_fold = [split.folds(clips)[0]]
    options = {"cv": one_fold, "sizes": [4, 1.0], "n_repeats": 1, "metrics": ["U_LCC"], "n_resamples": 4000}
    found = score_learning_curve(clips, X, LinearRegression(), progress=False, random_state=0, **options)
    seed = int(np.random.default_rng(0).integers(2**31))
    (train, test), y = one_fold[0], clips["impression"]
    few = Design("clips", clips=4).rows(train, None, (seed, 0, 0))
    small, large = (
        LinearRegression().fit(X.iloc[rows], y.iloc[rows]).predict(X.iloc[test]) for rows in (few, train)
    )
    table = compare_predictors(
        y.iloc[test], {"large": large, "small": small}, systems=clips["system"], metrics=["U_LCC"],
        method="percentile", n_resamples=4000, random_state=1,
    )  # fmt: skip
    for _, step in found.steps.iterrows():
        assert step["gain"] == pytest.approx(table["difference"][0], abs=1e-12)
        assert step["low"] == pytest.approx(table["low"][0], abs=0.05)
        assert step["high"] == pytest.approx(table["high"][0], abs=0.05)


def test_resamples_draw_repeats_too():
    """Two repeats that score 1 and 3: drawn as 0 0, 0 1 and 1 1 they average to 1, 2 and 3."""
    samples = np.tile(np.array([1.0, 3.0])[None, :, None, None], (3, 1, 2, 8))
    drawn = np.array([[0, 0], [0, 1], [1, 1]])
    assert _over_repeats(samples, drawn)[:, 0, 0].tolist() == [1, 2, 3]
    samples[1, 1] = np.nan  # undefined in this resample, so the mean is of the other
    assert _over_repeats(samples, drawn)[:, 1, 7].tolist() == [1, 1, 3]
    assert _over_repeats(samples[:, :1], drawn)[:, 0, 0].tolist() == [1, 1, 1]


def test_gain_of_an_error_is_its_fall(clips, X):
    found = score_learning_curve(clips, X, Ridge(), sizes=[4, 1.0], metrics=["U_MSE"], **QUICK)
    scores = found.line("impression", "U_MSE", kind="pooled")["score"]
    step = found.steps[found.steps["kind"] == "pooled"].iloc[0]
    assert scores[1] < scores[0]
    assert step["gain"] == pytest.approx(scores[0] - scores[1])
    assert found.last_steps()["verdict"].tolist() == ["raised"]
    assert "Ridge, U_MSE: more clips raised it (4 to 30: +" in str(found)


def test_what_cannot_be_judged_is_said_and_not_read(curve):
    rows = curve.table[curve.table["model"].eq("system mean")]
    assert rows["score"].isna().all() and rows["low"].isna().all() and set(rows["n_repeats"]) == {0}
    words = str(curve)
    assert "system mean: cannot be judged under this split" in words
    assert "impression, ridge, S_SRCC: more" in words
    assert "impression, system mean" not in words
    assert "for 30 ratings in all, 4 a clip instead of 1" in words
    assert set(curve.last_steps()["model"]) == {"ridge"}


def test_look_ups_are_lines_where_folds_share_their_labels(clips, X):
    models = {"system mean": LookupRegressor(clips["system"])}
    found = score_learning_curve(clips, X, models, "random", sizes=[0.2, 1.0], **QUICK)
    assert found.kind == "mean of folds"
    scores = found.line("impression", "U_SRCC")["score"]
    assert 0 < scores[0] < scores[1]


def test_kind_to_read(curve, clips, X):
    assert curve.kind == "pooled"
    assert set(curve.line("impression", "U_SRCC")["kind"]) == {"pooled"}
    assert "Pooled, a predictor that hears nothing scores below 0" in str(curve)
    one = score_learning_curve(clips, X, Ridge(), "85/15", sizes=[1.0], n_resamples=10, progress=False)
    assert one.kind == "pooled"  # of one fold both kinds are the same
    assert "What to collect next: no line has two sizes" in str(one)


def test_human_ceiling_stands_beside(curve, clips, ratings):
    panel = human_ceiling(ratings, clips=clips).metrics()["U_SRCC"]["impression", "another panel"]
    assert f"U_SRCC, another panel       1: {panel / (panel + 4 * (1 - panel)):.3f}" in str(curve)
    assert f"4: {panel:.3f}" in str(curve)


def test_unequal_numbers_of_ratings(clips, X, ratings):
    """Ten clips keep one rating; with "two" they have one, so the mean is (50 * 2 + 10) / 60 over all clips."""
    few = clips.index[::N_PROMPTS]
    unequal = ratings[~(ratings["clip_id"].isin(few) & ratings["rater"].ne("R0"))]
    found = score_learning_curve(
        clips, X, Ridge(), grows="ratings", ratings=unequal, sizes=[1, 2, 1.0], **QUICK
    )
    sizes = found.line("impression", "U_SRCC")["size"].tolist()
    assert sizes == pytest.approx([1, 110 / 60, 210 / 60])
    assert "Clips have 1 to 4 ratings, 3.50 in the mean; one with fewer" in str(found)


def test_result_does_not_depend_on_jobs_or_other_sizes(clips, X):
    one = score_learning_curve(clips, X, Ridge(), sizes=[12, 24], **QUICK).table
    two = score_learning_curve(clips, X, Ridge(), sizes=[24, 12, 1.0], n_jobs=2, **QUICK).table
    shared = ["size", "kind", "metric", "score"]
    pd.testing.assert_frame_equal(one[shared], two[two["size"] < 30][shared].reset_index(drop=True))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_networks_get_the_groups_of_their_part(clips, X, torch):
    model = MOSRegressor(max_iter=3, random_state=0)
    found = score_learning_curve(clips, X, model, grows="systems", sizes=[3], **(QUICK | {"n_repeats": 1}))
    assert np.isfinite(found.table["score"]).all()


def test_tables_are_written(curve, tmp_path):
    written = curve.to_csv(tmp_path / "out")
    assert [path.name for path in written] == ["curve.csv", "steps.csv", "ceiling.csv"]
    table = pd.read_csv(written[0])
    assert len(table) == len(curve.table)
    assert "cannot be judged" in table.set_index("model").loc["system mean", "note"].iloc[0]


AMOUNTS = Amounts(clips=80, systems=12, ratings=5.0, most_ratings=5)


def test_default_sizes():
    assert [design.clips for design in make_designs(["clips"], None, AMOUNTS)] == [0.125, 0.25, 0.5, None]
    assert [design.systems for design in make_designs(["systems"], None, AMOUNTS)] == [0.25, 0.5, None]
    assert [design.ratings for design in make_designs(["ratings"], None, AMOUNTS)] == [1, 2, 3, None]
    by_name = make_designs(["clips", "ratings"], {"clips": [0.5, 7]}, AMOUNTS)
    assert [design.clips for design in by_name[:2]] == [7, 0.5]


@pytest.mark.parametrize(
    "grows, sizes, words",
    [
        ("clips", [81], "sizes of clips: 81; give shares .* from 1 to 80, the number of training clips"),
        ("systems", [0, 13], "sizes of systems: 0, 13; .* from 1 to 12"),
        ("ratings", [6], "sizes of ratings: 6; .* from 1 to 5, the number of ratings a clip"),
        ("clips", [1.5], "sizes of clips: 1.5"),
        ("budget", [401], "sizes of budget: 401; .* from 1 to 400, the number of ratings in all"),
        ("clips", 7, "sizes of clips must be a list of numbers or of shares up to 1.0; got 7"),
    ],
)
def test_sizes_that_are_not_there(grows, sizes, words):
    with pytest.raises(ValueError, match=words):
        make_designs([grows], sizes, AMOUNTS)


@pytest.mark.parametrize(
    "options, error, words",
    [
        (
            {"grows": "raters"},
            ValueError,
            "unknown grows: raters; choose from clips, systems, ratings, budget",
        ),
        ({"grows": "ratings"}, RatingDesignError, "draws among the single ratings: give ratings="),
        ({"metrics": ["S_FOO"]}, ValueError, "unknown metrics: S_FOO; choose from U_MSE"),
        ({"n_repeats": 0}, ValueError, "n_repeats must be a whole number and at least 1; got 0"),
        ({"confidence": 95}, ValueError, "confidence must lie between 0 and 1"),
        ({"models": "ridge"}, ValueError, "models must be an estimator, or a dict .* got str"),
        ({"targets": "joy"}, ClipsTableError, "joy"),
    ],
)
def test_bad_options_are_named(clips, X, options, error, words):
    with pytest.raises(error, match=words):
        score_learning_curve(clips, X, **(options | {"progress": False}))


def test_designs_that_cannot_be_cut(clips, X, ratings):
    nameless = clips.drop(columns="system")
    with pytest.raises(ClipsTableError, match="systems cannot be left out: not every clip names its system"):
        score_learning_curve(nameless, X, Ridge(), "random", grows="systems")
    with pytest.raises(ValueError, match="S_SRCC compare systems, and not every clip names its system"):
        score_learning_curve(nameless, X, Ridge(), "random", metrics=["S_SRCC"])
    found = score_learning_curve(nameless, X, Ridge(), "random", **QUICK)
    assert set(found.table["metric"]) == {"U_SRCC"} and found.table["score"].notna().all()
    single = ratings[ratings["rater"] == "R0"]
    with pytest.raises(
        RatingDesignError, match="each of 60 clips has one rating, so there are none to leave out"
    ):
        score_learning_curve(clips, X, Ridge(), grows="ratings", ratings=single)
    with pytest.raises(
        ValueError, match=r"there is no S_LCC of 'impression', .*; there are target: impression"
    ):
        found.line("impression", "S_LCC")


def test_a_fit_that_fails_says_to_what(clips, X):
    class Picky(LinearRegression):
        def fit(self, X, y):
            if len(X) < 10:
                raise ValueError("too little")
            return super().fit(X, y)

    with pytest.raises(
        ValueError, match=r"picky could not be fitted to 5 clips of \d systems .*: too little. Ask"
    ):
        score_learning_curve(clips, X, {"picky": Picky()}, sizes=[5], **QUICK)


def test_features_are_made_when_all_else_is_right(clips, X):
    def refuse():
        raise AssertionError("features were made")

    for wrong, words in (
        ({"sizes": [1000]}, "sizes of clips: 1000"),
        ({"metrics": ["foo"]}, "unknown metrics: foo"),
    ):
        with pytest.raises(ValueError, match=words):
            score_learning_curve(clips, refuse, Ridge(), **QUICK, **wrong)
    made, given = (score_learning_curve(clips, some, Ridge(), sizes=[12], **QUICK) for some in (lambda: X, X))
    pd.testing.assert_frame_equal(made.table, given.table)
