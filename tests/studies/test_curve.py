"""Learning curves against plain loops with scikit-learn, and against the study that they end in."""

import re

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
from musiceval_sk.studies.curve import Size, make_sizes, nested_ratings, over_repeats

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
    grows = ["clips", "systems", "ratings"]
    return score_learning_curve(clips, X, models, grows=grows, ratings=ratings, random_state=0, **QUICK)


def test_table_is_tidy(curve):
    assert list(curve.table.columns) == [
        "target", "model", "grows", "size", "metric", "kind", "score", "low", "high", "n_repeats",
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


def test_steps_lead_to_the_next_size_of_the_same_line(curve):
    steps = curve.steps[curve.steps["model"].eq("ridge") & curve.steps["metric"].eq("S_SRCC")]
    steps = steps[steps["kind"].eq("pooled")]
    assert steps[["grows", "size_from", "size_to"]].values.tolist() == [
        ["clips", 15, 30], ["systems", 2, 5], ["ratings", 1, 2], ["ratings", 2, 4],
    ]  # fmt: skip


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
    for size in (Size("clips", 15), Size("systems", 2)):
        scores = []
        for repeat in range(3):
            predicted = pd.Series(index=clips.index, dtype=float)
            for fold, (train, test) in enumerate(folds):
                rows = size.rows(train, systems, (seed, repeat, fold))
                assert set(rows) <= set(train)
                if size.grows == "systems":
                    assert len(set(systems[rows])) == 2 and len(rows) == 12
                predicted.iloc[test] = Ridge().fit(X.iloc[rows], y.iloc[rows]).predict(X.iloc[test])
            scores.append(spearmanr(y, predicted).statistic)
        rows = curve.line("impression", "U_SRCC", size.grows, "pooled")
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
        parts = [set(Size(kind, size).rows(train, systems, (5, 0, 1))) for size in sizes]
        assert parts[0] < parts[1] < parts[2] < set(train)
    assert len(Size("clips", 0.7).rows(train, systems, (5, 0, 1))) == 14
    assert set(Size("clips", 9).rows(train, systems, (5, 1, 1))) != parts[1]
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
    few = Size("clips", 4).rows(train, None, (seed, 0, 0))
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
    assert over_repeats(samples, drawn)[:, 0, 0].tolist() == [1, 2, 3]
    samples[1, 1] = np.nan  # undefined in this resample, so the mean is of the other
    assert over_repeats(samples, drawn)[:, 1, 7].tolist() == [1, 1, 3]
    assert over_repeats(samples[:, :1], drawn)[:, 0, 0].tolist() == [1, 1, 1]


def test_gain_of_an_error_is_its_fall(clips, X):
    found = score_learning_curve(clips, X, Ridge(), sizes=[4, 1.0], metrics=["U_MSE"], **QUICK)
    scores = found.line("impression", "U_MSE", kind="pooled")["score"]
    step = found.steps[found.steps["kind"] == "pooled"].iloc[0]
    assert scores[1] < scores[0]
    assert step["gain"] == pytest.approx(scores[0] - scores[1])
    assert found.last_steps()["verdict"].tolist() == ["raised"]
    assert re.search(r"impression +Ridge +clips +4.0 +30.0 +U_MSE +0.\d+ .* raised\n", str(found))


def test_what_cannot_be_judged_is_said_and_not_read(curve):
    rows = curve.table[curve.table["model"].eq("system mean")]
    assert rows["score"].isna().all() and rows["low"].isna().all() and set(rows["n_repeats"]) == {0}
    words = str(curve)
    assert "system mean: cannot be judged under this split" in words
    assert re.search(r"U_SRCC ridge .*\n +global mean +- +-\n +system mean +- +-\n", words)
    assert re.search(r"impression +ridge +clips +15.0 +30.0 +S_SRCC", words)
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
    assert "Pooled, a predictor that uses no audio scores below 0" in str(curve)
    one = score_learning_curve(clips, X, Ridge(), "85/15", sizes=[1.0], n_resamples=10, progress=False)
    assert one.kind == "pooled"  # of one fold both kinds are the same
    assert "What to collect next: no line has two sizes" in str(one)


def test_human_ceiling_stands_beside(curve, clips, ratings):
    panel = human_ceiling(ratings, clips=clips).metrics()["U_SRCC"]["impression", "another panel"]
    words = str(curve)
    table = words[words.index("Human ceiling by ratings a test clip") :]
    assert re.search(r"ratings +1 +2 +4 +8\n", table)
    one = panel / (panel + 4 * (1 - panel))
    assert re.search(rf"U_SRCC another panel +{one:.3f} +0.\d+ +{panel:.3f} ", table)


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


@pytest.mark.slow
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


MOST = {"clips": 80, "systems": 12, "ratings": 5}


@pytest.mark.parametrize(
    "grows, sizes, amounts",
    [
        ("clips", None, [0.125, 0.25, 0.5, None]),
        ("systems", None, [0.25, 0.5, None]),
        ("ratings", None, [1, 2, 3, None]),
        ("clips", {"clips": [0.5, 7], "ratings": [1]}, [7, 0.5]),
        ("clips", {"ratings": [1]}, [0.125, 0.25, 0.5, None]),
        ("clips", 7, [7]),
        ("clips", np.array([0.5, 1.0]), [0.5, None]),
        ("clips", [40, 0.5, 80, 40], [0.5, 80]),  # a number that all folds can give is not all of larger ones
        ("ratings", [5, 0.5, 1.0], [2, None]),  # half of five, rounded to even
    ],
)
def test_sizes(grows, sizes, amounts):
    assert make_sizes([grows], sizes, MOST) == [(grows, amount) for amount in amounts]


@pytest.mark.parametrize(
    "grows, sizes, words",
    [
        ("clips", [81], "sizes of clips: 81; give shares .* from 1 to 80, the number of training clips"),
        ("systems", [0, 13], "sizes of systems: 0, 13; .* from 1 to 12"),
        ("ratings", [6], "sizes of ratings: 6; .* from 1 to 5, the number of ratings a training clip"),
        ("clips", [1.5], "sizes of clips: 1.5"),
        ("clips", 81, "sizes of clips: 81; give shares"),
        ("clips", [], "sizes of clips: none; give shares"),
    ],
)
def test_sizes_that_are_not_there(grows, sizes, words):
    with pytest.raises(ValueError, match=words):
        make_sizes([grows], sizes, MOST)


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"grows": "raters"}, ValueError, "unknown grows: raters; choose from clips, systems, ratings$"),
        ({"grows": []}, ValueError, "unknown grows: none; choose from clips"),
        ({"grows": "ratings"}, RatingDesignError, "draws among the single ratings: give ratings="),
        ({"metrics": ["S_FOO"]}, ValueError, "unknown metrics: S_FOO; choose from U_MSE"),
        ({"n_repeats": 0}, ValueError, "n_repeats=0 must be a whole number and at least 1"),
        ({"confidence": 95}, ValueError, "confidence must lie between 0 and 1"),
        ({"models": "ridge"}, ValueError, "models must be an estimator, or a dict .* got str"),
        ({"models": {}}, ValueError, "models must be an estimator, or a dict .* got dict"),
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
    with pytest.raises(ValueError, match="S_SRCC compare systems: give the system of every clip"):
        score_learning_curve(nameless, X, Ridge(), "random", metrics=["S_SRCC"])
    found = score_learning_curve(nameless, X, Ridge(), "random", **QUICK)
    assert set(found.table["metric"]) == {"U_SRCC"} and found.table["score"].notna().all()
    single = ratings[ratings["rater"] == "R0"]
    with pytest.raises(RatingDesignError, match="impression: no clip has two ratings, so there are none"):
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

    with pytest.raises(ValueError, match="Picky could not be fitted to 5 clips: too little"):
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
