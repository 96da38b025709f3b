import os
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.linear_model import Ridge

from musiceval_sk import (
    METRICS,
    LookupRegressor,
    bootstrap_metrics,
    compare_predictors,
    evaluate,
    intraclass_correlation,
    krippendorff_alpha,
    leakage,
    leakage_report,
    make_split,
    pairwise_accuracy,
    run_study,
    select_systems,
)
from musiceval_sk.statistics.align import clips_of, system_means, systems_in_order
from musiceval_sk.statistics.metrics import (
    s_ktau,
    s_lcc,
    s_mse,
    s_srcc,
    u_ktau,
    u_lcc,
    u_mse,
    u_srcc,
)

NAMES = ["U_MSE", "U_LCC", "U_SRCC", "U_KTAU", "S_MSE", "S_LCC", "S_SRCC", "S_KTAU"]
PROJECT = Path(__file__).parents[2]

# Six clips of three systems. Squared errors 1, 0, 0, 1, 0, 4. Around their means 3 and 10/3 the deviations of truth are
# -2, -1, 0, 2, 0, 1 and, thrice over, of prediction -4, -4, -1, 2, -1, 8.
TRUTH = [1.0, 2.0, 3.0, 5.0, 3.0, 4.0]
PREDICTION = [2.0, 2.0, 3.0, 4.0, 3.0, 6.0]
SYSTEMS = ["A", "A", "B", "B", "C", "C"]
# System means: truth 1.5, 4, 3.5; prediction 2, 3.5, 4.5. Pairs of systems: A-B and A-C agree, B-C does not.
FROZEN = {
    "U_MSE": 6 / 6,
    "U_LCC": (8 + 4 + 0 + 4 + 0 + 8) / np.sqrt(10 * (16 + 16 + 1 + 4 + 1 + 64)),
    # Ranks 1 2 3.5 6 3.5 5 and 1.5 1.5 3.5 5 3.5 6: deviations from 3.5 give 14 over sqrt(17 * 16.5).
    "U_SRCC": (5 + 3 + 0 + 3.75 + 0 + 3.75) / np.sqrt((6.25 + 2.25 + 6.25 + 2.25) * (4 + 4 + 2.25 + 6.25)),
    # Of 15 pairs one is tied in both (B1-C1), one in prediction only (A1-A2); 12 agree, one (B2-C2) does not.
    "U_KTAU": (12 - 1) / np.sqrt((15 - 1) * (15 - 2)),
    "S_MSE": (0.25 + 0.25 + 1) / 3,
    # Deviations of truth -1.5, 1, 0.5 from 3, of prediction -4/3, 1/6, 7/6 from 10/3.
    "S_LCC": (2 + 1 / 6 + 7 / 12) / np.sqrt((2.25 + 1 + 0.25) * (16 / 9 + 1 / 36 + 49 / 36)),
    "S_SRCC": 0.5,  # ranks 1 3 2 and 1 2 3: 1 - 6 * (0 + 1 + 1) / (3 * 8)
    "S_KTAU": (2 - 1) / 3,
}


def test_the_eight_are_the_papers():
    assert list(METRICS) == NAMES
    assert [METRICS[name].by_system for name in NAMES] == [False] * 4 + [True] * 4
    assert [name for name in NAMES if not METRICS[name].greater_is_better] == ["U_MSE", "S_MSE"]
    functions = [u_mse, u_lcc, u_srcc, u_ktau, s_mse, s_lcc, s_srcc, s_ktau]
    assert [METRICS[name].function for name in NAMES] == functions


@pytest.mark.parametrize("name", NAMES)
def test_metric_by_hand(name):
    metric = METRICS[name]
    value = metric.function(TRUTH, PREDICTION, *([SYSTEMS] if metric.by_system else []))
    assert isinstance(value, float)
    assert value == pytest.approx(FROZEN[name], abs=1e-12)


def test_evaluate_by_hand():
    table = evaluate(TRUTH, PREDICTION, systems=SYSTEMS)
    assert list(table.index) == NAMES
    assert_allclose(table, [FROZEN[name] for name in NAMES], rtol=0, atol=1e-12)


def test_evaluate_without_systems():
    table = evaluate(TRUTH, PREDICTION)
    assert_allclose(table[:4], [FROZEN[name] for name in NAMES[:4]], rtol=0, atol=1e-12)
    assert table[4:].isna().all()


def test_evaluate_two_targets_judges_each_column_alone():
    truth = pd.DataFrame({"impression": TRUTH, "alignment": TRUTH[::-1]})
    prediction = np.stack([PREDICTION, TRUTH[::-1]], axis=1)
    table = evaluate(truth, prediction, systems=SYSTEMS)
    assert list(table.index) == ["impression", "alignment"]
    assert list(table.columns) == NAMES
    assert_allclose(table.loc["impression"], [FROZEN[name] for name in NAMES], rtol=0, atol=1e-12)
    assert_allclose(table.loc["alignment"], [0, 1, 1, 1, 0, 1, 1, 1], rtol=0, atol=1e-12)
    assert list(evaluate(truth.to_numpy(), prediction).index) == [0, 1]


@pytest.fixture(scope="module")
def labels():
    """The 1,923 public training labels of MusicEval, with predictions made of them and noise."""
    folder = Path(os.environ.get("MUSICEVAL_TEST_DATA", PROJECT / "../shared/data"))
    path = folder / "musiceval" / "sets" / "train_mos_list.txt"
    if not path.is_file():
        pytest.skip(f"no MusicEval labels at {path}; name their folder in MUSICEVAL_TEST_DATA")
    table = pd.read_csv(path, names=["file", "impression", "alignment"])
    table["clip_id"] = table["file"].str.removesuffix(".wav")
    table["system"] = table["clip_id"].map(lambda name: re.fullmatch(r".*-(S\d+)_P\d+", name)[1])
    rng = np.random.default_rng(20250701)
    for target in ("impression", "alignment"):
        # Rounded, so that predictions have ties as the labels have.
        table[f"{target} predicted"] = (table[target] + rng.normal(0, 0.7, len(table))).round(1)
    return table.set_index("clip_id")


def by_pandas_and_scipy(table, target):
    """Compute the eight anew, from scipy and a pandas groupby alone."""
    columns = [target, f"{target} predicted"]
    levels = {"U": table[columns], "S": table.groupby("system")[columns].mean()}
    expected = {}
    for level, scores in levels.items():
        truth, prediction = scores.to_numpy().T
        expected |= {
            f"{level}_MSE": ((truth - prediction) ** 2).mean(),
            f"{level}_LCC": stats.pearsonr(truth, prediction)[0],
            f"{level}_SRCC": stats.spearmanr(truth, prediction)[0],
            f"{level}_KTAU": stats.kendalltau(truth, prediction, variant="b")[0],
        }
    return expected


@pytest.mark.parametrize("target", ["impression", "alignment"])
def test_real_labels_against_scipy(labels, target):
    assert len(labels) == 1923
    assert labels["system"].nunique() == 31
    expected = by_pandas_and_scipy(labels, target)
    found = evaluate(labels[target], labels[f"{target} predicted"], systems=labels["system"])
    assert list(found.index) == NAMES
    assert_allclose(found, [expected[name] for name in NAMES], rtol=0, atol=1e-12)
    for name, metric in METRICS.items():
        arguments = [labels[target], labels[f"{target} predicted"]]
        arguments += [labels["system"]] if metric.by_system else []
        assert metric.function(*arguments) == pytest.approx(expected[name], abs=1e-12)
    assert 0.5 < found["U_SRCC"] < 0.9


def test_real_labels_two_targets_at_once(labels):
    targets = ["impression", "alignment"]
    predicted = labels[[f"{target} predicted" for target in targets]].set_axis(targets, axis=1)
    found = evaluate(labels[targets], predicted, systems=labels["system"])
    for target in targets:
        expected = by_pandas_and_scipy(labels, target)
        assert_allclose(found.loc[target], [expected[name] for name in NAMES], rtol=0, atol=1e-12)


def test_real_labels_system_truth_over_all_clips(labels):
    """The released baseline's S metrics: truth over all of a system's clips, predictions over those evaluated."""
    some = labels[::5]
    truth = labels.groupby("system")["impression"].mean()
    found = evaluate(
        some["impression"], some["impression predicted"], systems=some["system"], system_truth=truth
    )
    predicted = some.groupby("system")["impression predicted"].mean()
    expected = stats.spearmanr(truth[predicted.index], predicted)[0]
    assert found["S_SRCC"] == pytest.approx(expected, abs=1e-12)
    assert (
        found["S_SRCC"]
        != evaluate(some["impression"], some["impression predicted"], systems=some["system"])["S_SRCC"]
    )


@pytest.mark.parametrize("name", [name for name in NAMES if "MSE" not in name])
@pytest.mark.parametrize("constant", ["y_true", "y_pred"])
def test_constant_input_is_nan_and_a_warning(name, constant):
    given = {"y_true": [1.0, 2.0, 3.0, 4.0], "y_pred": [1.0, 3.0, 2.0, 4.0]} | {constant: [3.1] * 4}
    systems = [["a", "b", "c", "c"]] if METRICS[name].by_system else []
    values = 3 if systems else 4
    words = (
        f"{constant if not systems else 'y_'}.*is constant over {values} values: a correlation is undefined"
    )
    with pytest.warns(stats.ConstantInputWarning, match=words) as warned:
        assert np.isnan(METRICS[name].function(given["y_true"], given["y_pred"], *systems))
    assert {one.filename for one in warned if one.category is stats.ConstantInputWarning} == {__file__}


def test_constant_clips_still_have_errors():
    with pytest.warns(stats.ConstantInputWarning) as warned:
        table = evaluate([1.0, 2.0, 4.0], [2.0, 2.0, 2.0], systems=["a", "a", "b"])
    assert {one.filename for one in warned} == {__file__}
    # Squared errors 1, 0, 4; systems 1.5 and 4 against 2.
    assert_allclose(table[["U_MSE", "S_MSE"]], [5 / 3, (0.25 + 4) / 2], rtol=1e-12)
    assert table.drop(["U_MSE", "S_MSE"]).isna().all()


@pytest.mark.parametrize("constant", [3.1, 3.5478467492858172, 0.0])
def test_a_constant_predictor_ranks_no_systems(constant):
    """Means of one number over more and fewer clips must not differ by their rounding."""
    systems = np.repeat(np.arange(12), np.arange(1, 13) * 7)
    truth = np.random.default_rng(0).uniform(1, 5, len(systems))
    with pytest.warns(stats.ConstantInputWarning):
        assert np.isnan(s_srcc(truth, np.full(len(truth), constant), systems))


def test_means_of_systems_that_differ_by_rounding_are_tied():
    truth, systems = [0.1, 0.2, 0.3, 0.2, 1.0], list("aaabc")
    assert system_means(truth, systems)["a"] != 0.2
    # Truth 0.2 0.2 1 and prediction 2 1 3: ranks 1.5 1.5 3 and 2 1 3; of three pairs one is tied in truth, and two agree.
    found = evaluate(truth, [2.0, 2, 2, 1, 3], systems=systems)
    assert found["S_SRCC"] == pytest.approx(1.5 / np.sqrt(1.5 * 2))
    assert found["S_KTAU"] == pytest.approx(2 / np.sqrt(2 * 3))


def test_ties_give_tau_b():
    # Pairs: 1-2 tied in truth, 3-4 tied in prediction, 1-3 1-4 2-3 2-4 agree. tau-b = 4 / sqrt((6 - 1) * (6 - 1)).
    assert u_ktau([1, 1, 2, 3], [1, 2, 3, 3]) == pytest.approx(4 / 5, abs=1e-12)
    # Average ranks 1.5 1.5 3 4 and 1 2 3.5 3.5: deviations give 3.5 + 0.5 ... = 4.0 over sqrt(4.5 * 4.5).
    ranks = np.array([[-1, -1, 0.5, 1.5], [-1.5, -0.5, 1, 1]])
    expected = (ranks[0] @ ranks[1]) / np.sqrt((ranks[0] @ ranks[0]) * (ranks[1] @ ranks[1]))
    assert u_srcc([1, 1, 2, 3], [1, 2, 3, 3]) == pytest.approx(expected, abs=1e-12)


def test_system_truth_replaces_the_mean_of_evaluated_clips():
    truth = pd.Series({"C": 1.0, "B": 2.0, "A": 3.0, "D": 9.0})
    table = evaluate(TRUTH, PREDICTION, systems=SYSTEMS, system_truth=truth)
    pd.testing.assert_series_equal(
        evaluate(TRUTH, PREDICTION, systems=SYSTEMS, system_truth=truth.to_frame("any name")), table
    )
    # Truth 3, 2, 1 against predicted 2, 3.5, 4.5.
    assert table["S_MSE"] == pytest.approx((1 + 2.25 + 12.25) / 3, abs=1e-12)
    assert table["S_SRCC"] == pytest.approx(-1, abs=1e-12)
    assert_allclose(table[:4], [FROZEN[name] for name in NAMES[:4]], rtol=0, atol=1e-12)


def test_system_truth_of_two_targets():
    truth = pd.DataFrame({"one": TRUTH, "two": TRUTH})
    both = pd.DataFrame({"two": {"A": 1.5, "B": 4.0, "C": 3.5}, "one": {"A": 3.0, "B": 2.0, "C": 1.0}})
    table = evaluate(truth, np.stack([PREDICTION] * 2, axis=1), systems=SYSTEMS, system_truth=both)
    assert table.loc["one", "S_SRCC"] == pytest.approx(-1, abs=1e-12)
    assert table.loc["two", "S_SRCC"] == pytest.approx(0.5, abs=1e-12)


def test_systems_are_found_by_clip_id():
    ids = list("uvwxyz")
    of_clip = pd.Series([*SYSTEMS, "unused"], index=[*ids, "other"]).iloc[::-1]
    table = evaluate(pd.Series(TRUTH, index=ids), PREDICTION, systems=of_clip)
    assert_allclose(table, [FROZEN[name] for name in NAMES], rtol=0, atol=1e-12)
    assert s_mse(pd.Series(TRUTH, index=ids), PREDICTION, of_clip) == pytest.approx(
        FROZEN["S_MSE"], abs=1e-12
    )
    assert systems_in_order(clips_of(y=pd.DataFrame(index=["z", "u"])), of_clip, 2).tolist() == ["C", "A"]


def test_systems_go_by_position_where_y_has_no_index():
    systems = pd.Series(SYSTEMS, index=list("zyxwvu"))
    assert s_mse(TRUTH, PREDICTION, systems) == pytest.approx(FROZEN["S_MSE"], abs=1e-12)


def test_system_means_are_sorted_by_system():
    means = system_means([4.0, 1.0, 2.0], ["b", "a", "b"])
    assert means.to_dict() == {"a": 1.0, "b": 3.0}
    assert list(means.index) == ["a", "b"]


@pytest.mark.parametrize(
    ("truth", "prediction", "words"),
    [
        ([1.0, 2.0], [1.0], r"one length; got \(2,\) and \(1,\)"),
        ([], [], r"must be non-empty.*got \(0,\) and \(0,\)"),
        ([[1.0], [2.0]], [[1.0], [2.0]], "For several targets use evaluate"),
        ([1.0, np.nan, 2.0], [1.0, 2.0, 3.0], "y_true holds 1 values that are nan or infinite, of 3"),
        ([1.0, 2.0, 3.0], [np.inf, np.nan, 2.0], "y_pred holds 2 values that are nan or infinite, of 3"),
    ],
)
@pytest.mark.parametrize("metric", [u_mse, u_lcc, u_srcc, u_ktau])
def test_bad_values(metric, truth, prediction, words):
    with pytest.raises(ValueError, match=words):
        metric(truth, prediction)


@pytest.mark.parametrize("metric", [s_mse, s_lcc, s_srcc, s_ktau])
def test_bad_systems(metric):
    y = pd.Series(TRUTH, index=list("uvwxyz"))
    of_clip = pd.Series(SYSTEMS, index=y.index)
    with pytest.raises(ValueError, match=r"systems has shape \(5,\) for 6 clips"):
        metric(TRUTH, PREDICTION, SYSTEMS[:5])
    with pytest.raises(ValueError, match="no system is known for clips: w, y"):
        metric(y, PREDICTION, of_clip.drop(["w", "y"]))
    with pytest.raises(ValueError, match="systems repeats clip ids: u"):
        metric(y, PREDICTION, pd.concat([of_clip, of_clip[:1]]))
    with pytest.raises(ValueError, match="y_pred holds 1 values"):
        metric(y, [np.nan, *PREDICTION[1:]], of_clip)


@pytest.mark.parametrize("missing", [None, np.nan], ids=str)
def test_a_clip_without_system_is_an_error(missing):
    with pytest.raises(ValueError, match="system"):
        evaluate(TRUTH, PREDICTION, systems=[missing, *SYSTEMS[1:]])
    with pytest.raises(ValueError, match="system"):
        s_mse(TRUTH, PREDICTION, np.array([missing, *SYSTEMS[1:]], dtype=object))


def test_targets_of_other_names_are_refused():
    truth = pd.DataFrame({"impression": TRUTH, "alignment": TRUTH})
    with pytest.raises(
        ValueError, match="targets impression, alignment, y_pred alignment, musical: give both"
    ):
        evaluate(truth, pd.DataFrame({"alignment": PREDICTION, "musical": PREDICTION}))


def test_evaluate_errors():
    with pytest.raises(ValueError, match=r"y_true has shape \(6,\), y_pred \(6, 1\); they must be the same"):
        evaluate(TRUTH, np.reshape(PREDICTION, (6, 1)))
    with pytest.raises(ValueError, match="system_truth lacks systems: B, C"):
        evaluate(TRUTH, PREDICTION, systems=SYSTEMS, system_truth=pd.Series({"A": 1.0}))
    with pytest.raises(ValueError, match=r"x0, x1, x2, x3, x4 \(\+1 more\)"):
        y = pd.Series(TRUTH, index=[f"x{i}" for i in range(6)])
        evaluate(y, PREDICTION, systems=pd.Series(SYSTEMS, index=list("uvwxyz")))


def test_inputs_are_left_alone_and_no_warning_is_given():
    truth, prediction = np.array(TRUTH), pd.Series(PREDICTION, index=list("fedcba"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(truth, prediction, systems=list("ABCDEF"))
    assert truth.tolist() == TRUTH
    assert prediction.tolist() == PREDICTION


IDS = list("uvwxyz")
LABELLED = {
    "y_true": pd.Series(TRUTH, IDS),
    "y_pred": pd.Series(PREDICTION, IDS),
    "systems": pd.Series(SYSTEMS, IDS),
}


@pytest.mark.parametrize("shuffled", [["y_pred"], ["systems"], ["y_true"], ["y_pred", "systems"]], ids=str)
def test_whatever_carries_an_index_is_matched_by_it(shuffled):
    given = LABELLED | {name: LABELLED[name].iloc[::-1] for name in shuffled}
    assert_allclose(evaluate(**given), [FROZEN[name] for name in NAMES], rtol=0, atol=1e-12)
    frames = given | {name: given[name].rename("impression").to_frame() for name in ("y_true", "y_pred")}
    assert_allclose(
        evaluate(**frames).loc["impression"], [FROZEN[name] for name in NAMES], rtol=0, atol=1e-12
    )
    assert s_srcc(*given.values()) == FROZEN["S_SRCC"]


def test_without_an_index_of_the_truth_that_of_the_predictions_counts():
    order = [3, 0, 5, 1, 4, 2]
    truth, prediction = np.array(TRUTH)[order], LABELLED["y_pred"].iloc[order]
    found = evaluate(truth, prediction, systems=LABELLED["systems"])
    assert_allclose(found, [FROZEN[name] for name in NAMES], rtol=0, atol=1e-12)
    assert s_mse(truth, prediction, LABELLED["systems"]) == pytest.approx(FROZEN["S_MSE"], abs=1e-12)


def test_clip_ids_meet_with_and_without_suffix_and_as_numbers():
    named = pd.Series(PREDICTION, [f"{clip}.wav" for clip in IDS]).iloc[::-1]
    assert evaluate(LABELLED["y_true"], named)["U_MSE"] == FROZEN["U_MSE"]
    numbers = pd.Series(PREDICTION, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).iloc[::-1]
    assert evaluate(pd.Series(TRUTH, list("123456")), numbers)["U_MSE"] == FROZEN["U_MSE"]


@pytest.mark.parametrize(
    "index, words",
    [
        (range(6), "y_true and y_pred are about different clips by their index: y_true alone has u, v, w, x, y .*; "
                   "y_pred alone has 0, 1, .* Where rows are in one order, give y_pred.to_numpy()"),
        (list("uvwxy_"), "y_true alone has z; y_pred alone has _"),
        (list("Uvwxyz"), "'u' and 'U' differ in upper and lower case only: write them alike"),
        (list("uuwxyz"), "^y_pred repeats clip ids: u$"),
    ],
)  # fmt: skip
def test_indices_that_do_not_agree_are_refused(index, words):
    for function in (evaluate, u_srcc):
        with pytest.raises(ValueError, match=words):
            function(LABELLED["y_true"], pd.Series(PREDICTION, index))


@pytest.mark.parametrize("shorter", ["y_true", "y_pred"])
def test_a_clip_that_only_one_of_both_has_is_named(shorter):
    other = {"y_true": "y_pred", "y_pred": "y_true"}[shorter]
    given = {
        name: LABELLED[name].iloc[:-1] if name == shorter else LABELLED[name].iloc[::-1]
        for name in ("y_true", "y_pred")
    }
    words = (
        f"^y_true and y_pred are about different clips by their index: {other} alone has z. Where rows are"
    )
    for function in (evaluate, u_srcc):
        with pytest.raises(ValueError, match=words):
            function(**given)


def test_repeated_ids_are_those_of_the_argument_that_repeats_them():
    doubled = LABELLED["y_true"].rename({"v": "u"})
    with pytest.raises(ValueError, match="^y_true repeats clip ids: u$"):
        evaluate(doubled, LABELLED["y_pred"])
    assert evaluate(doubled, LABELLED["y_pred"].rename({"v": "u"}))["U_MSE"] == FROZEN["U_MSE"]  # row by row


def test_columns_of_two_tables_are_matched_by_name():
    truth = pd.DataFrame({"impression": TRUTH, "alignment": PREDICTION})
    assert (evaluate(truth, truth[["alignment", "impression"]])["U_MSE"] == 0).all()
    for columns in (["a", "b"], [0, 1]):
        with pytest.raises(ValueError, match=r"y_pred .*give both the same names, .* y_pred\.to_numpy\(\)"):
            evaluate(truth, truth.set_axis(columns, axis=1))


@pytest.mark.parametrize("blank", ["", "  ", None, np.nan, pd.NA], ids=repr)
def test_no_system_is_no_system_in_every_form(blank):
    with pytest.raises(ValueError, match="no system is known for the clips in rows: 2"):
        evaluate(TRUTH, PREDICTION, systems=[*SYSTEMS[:2], blank, *SYSTEMS[3:]])
    systems = LABELLED["systems"].mask(LABELLED["systems"].index == "w", blank)
    for call in (
        lambda: evaluate(LABELLED["y_true"], PREDICTION, systems=systems),
        lambda: s_ktau(TRUTH, PREDICTION, systems),
        lambda: bootstrap_metrics(LABELLED["y_true"], PREDICTION, systems=systems, n_resamples=2),
        lambda: compare_predictors(TRUTH, {"a": TRUTH, "b": PREDICTION}, systems=systems, n_resamples=2),
        lambda: pairwise_accuracy(TRUTH, PREDICTION, systems=systems),
        lambda: select_systems(systems),
        lambda: LookupRegressor(systems).fit(LABELLED["y_true"].to_frame(), TRUTH),
    ):
        with pytest.raises(ValueError, match=r"(no system|no label is known for clips).*: w"):
            call()


def test_systems_match_as_numbers_and_text():
    systems = [1, 1, 2, 2, 3, 3]
    truth = pd.Series({"3": 1.0, "2": 2.0, "1": 3.0})
    expected = evaluate(
        TRUTH, PREDICTION, systems=SYSTEMS, system_truth=pd.Series({"A": 3.0, "B": 2.0, "C": 1.0})
    )
    assert_allclose(evaluate(TRUTH, PREDICTION, systems=systems, system_truth=truth), expected)
    assert select_systems(systems, leave_out=["1"]).tolist() == [False, False, True, True, True, True]
    assert select_systems(systems, only=[1.0]).sum() == 2


@pytest.mark.parametrize(
    "system_truth, words",
    [
        (pd.Series({"A": 1.0, "B": np.nan, "C": 2.0}), "system_truth has no finite score of systems: B"),
        (pd.Series([1.0, 2.0, 3.0, 4.0], list("AABC")), "system_truth repeats systems: A"),
        (
            pd.Series({"a": 1.0, "B": 1.0, "C": 2.0}),
            "lacks systems: A; it has a, B, C; 'A' and 'a' differ in upper",
        ),
        (
            pd.DataFrame({"x": [1.0], "y": [2.0]}, ["A"]),
            "in a Series, as .* one target; got a DataFrame with x, y",
        ),
        (
            {"A": 1.0, "B": 1.0, "C": 2.0},
            r"^system_truth must be the scores by system in a Series, as pd\.Series\(\{'S1': 3\.5, 'S2': 4\.0\}\), since there is one target; got a dict$",
        ),
    ],
)
def test_what_is_wrong_with_a_system_truth_is_said(system_truth, words):
    with pytest.raises(ValueError, match=words):
        evaluate(TRUTH, PREDICTION, systems=SYSTEMS, system_truth=system_truth)


def test_a_system_truth_that_lacks_a_target_is_refused():
    truth = pd.DataFrame({"impression": TRUTH, "alignment": TRUTH})
    of_systems = pd.DataFrame({"impression": [1.0, 2.0, 3.0]}, list("ABC"))
    with pytest.raises(
        ValueError, match="in a DataFrame with a column 'alignment'; got a DataFrame with imp"
    ):
        evaluate(truth, truth, systems=SYSTEMS, system_truth=of_systems)
    assert evaluate(
        truth[["impression"]], truth[["impression"]], systems=SYSTEMS, system_truth=of_systems
    ).shape == (1, 8)


def test_systems_may_be_chosen_by_an_array():
    y, systems = np.arange(6.0), np.repeat(["x", "y", "z"], 2)
    chosen = evaluate(y, y[::-1].copy(), systems=systems, only=np.array(["x", "y"]))
    assert chosen["U_MSE"] == evaluate(y[:4], y[:1:-1].copy(), systems=systems[:4])["U_MSE"]


def test_repeated_names_of_targets_are_refused():
    y = pd.DataFrame(np.ones((3, 2)), columns=["a", "a"])
    with pytest.raises(ValueError, match="y_true repeats the names of targets: a, a"):
        evaluate(y, np.ones((3, 2)))


@pytest.mark.parametrize(
    "systems", [["1", 1, 1.0, "2", 2, "2 "], [("S", 1), ("S", 1), ("S", 1), ("S", 2), ("S", 2), ("S", 2)]]
)
def test_systems_are_told_apart_by_their_text_everywhere(systems):
    labels = pd.Series(systems, list("uvwxyz"), dtype=object)
    expected = evaluate(TRUTH, PREDICTION, systems=list("aaabbb"))
    assert_allclose(evaluate(TRUTH, PREDICTION, systems=labels.to_numpy()), expected)
    assert s_srcc(TRUTH, PREDICTION, labels.to_numpy()) == expected["S_SRCC"]
    found = bootstrap_metrics(TRUTH, PREDICTION, systems=labels.to_numpy(), n_resamples=2, random_state=0)
    assert found.n_systems == 2
    assert_allclose(found.estimates[0], expected)
    table = compare_predictors(
        TRUTH, {"a": PREDICTION, "b": TRUTH}, systems=labels.to_numpy(), metrics=["S_MSE"], n_resamples=2
    )
    assert (table["n"].item(), table["value_a"].item()) == (2, pytest.approx(expected["S_MSE"]))
    clips = pd.DataFrame({"system": labels, "impression": TRUTH, "prompt": "p"}, index=labels.index)
    assert leakage(clips, make_split("system", clips).folds(clips))["system"] == 0
    assert leakage_report(clips, clips).table.loc["system", "in_test"] == 2
    assert select_systems(labels, min_clips=3).all()
    study = run_study(clips, np.array([[value] for value in PREDICTION]), {"ridge": Ridge()}, n_resamples=0)
    counts = study.about["splits"]["system"]["targets"]["impression"]
    assert (counts["systems"], counts["least_systems_in_a_fold"]) == (2, 1)
    ratings = pd.DataFrame({"clip_id": [*labels.index] * 2, "impression": [*TRUTH, *PREDICTION]})
    for function in (krippendorff_alpha, intraclass_correlation):
        same = [function(ratings, "impression", clips=pd.DataFrame({"system": names}, index=labels.index))
                for names in (labels, list("aaabbb"))]  # fmt: skip
        assert repr(same[0]) == repr(same[1])
