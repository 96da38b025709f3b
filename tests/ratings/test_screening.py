import re
from pathlib import Path

import pandas as pd
import pytest

from musiceval_sk import (
    AnchorRule,
    ClipsTableError,
    Disagreement,
    DuplicateProbe,
    RatingDesignError,
    RealMusicProbe,
    StraightLining,
    TooFast,
    aggregate_ratings,
    screen_ratings,
)


def rows(rater, batch, scores, **columns):
    """Ratings of one rater and batch, from a dict of clip and score."""
    return pd.DataFrame(
        {
            "rater": rater,
            "batch": batch,
            "clip_id": list(scores),
            "impression": list(scores.values()),
            **columns,
        }
    )


def verdicts(screening, rule):
    return {
        (row.rater, row.batch): row.verdict
        for row in screening.units.rename(columns={rule: "verdict"}).itertuples()
    }


@pytest.fixture
def ratings():
    """Rater A is careful; B fails the real clip in batch 2 only; C scores the copies of x 1 and 4."""
    return pd.concat(
        [
            rows("A", 1, {"x": 4, "x2": 3, "real": 3, "y": 2}),
            rows("B", 1, {"x": 4, "x2": 4, "real": 5, "y": 2}),
            rows("C", 1, {"x": 1, "x2": 4, "real": 4, "y": 3}),
            rows("A", 2, {"z": 4, "real": 5}),
            rows("B", 2, {"z": 1, "real": 2}),
        ],
        ignore_index=True,
    )


PAPER = [RealMusicProbe(["real"]), DuplicateProbe([("x", "x2")])]


def test_the_papers_probes_invalidate_a_rater_in_that_batch_only(ratings):
    result = screen_ratings(ratings, PAPER)
    assert result.left_out[["rater", "batch", "rule"]].values.tolist() == [
        ["C", "1", "duplicates"],
        ["B", "2", "real music"],
    ]
    assert result.left_out["evidence"].tolist() == [
        "scored the two copies of x and x2 1 and 4, more than 1 apart",
        "scored 2 for the real clip real, below 3",
    ]
    # x, y of A and B in batch 1, z of A in batch 2; probes are not part of the test.
    left = result.kept[["rater", "clip_id"]].values.tolist()
    assert left == [["A", "x"], ["A", "y"], ["B", "x"], ["B", "y"], ["A", "z"]]
    assert aggregate_ratings(result.kept)["impression"].to_dict() == {"x": 4, "y": 2, "z": 4}


def test_who_heard_no_probe_is_not_called_passed(ratings):
    result = screen_ratings(ratings, PAPER)
    assert verdicts(result, "duplicates") == {
        ("A", "1"): "passed",
        ("B", "1"): "passed",
        ("C", "1"): "failed",
        ("A", "2"): "not judged",
        ("B", "2"): "not judged",
    }
    assert re.search("passed +failed +not judged\n.*\nduplicates +2 +1 +2\n", str(result))
    assert re.search("C +1 +duplicates +impression +scored the two copies", str(result))


def test_thresholds_are_inclusive_as_the_paper_says(ratings):
    # "lower than 3": A's 3 for the real clip stands; copies that differ by exactly `most` stand.
    assert set(screen_ratings(ratings, [RealMusicProbe(["real"], least=3.5)]).left_out["rater"]) == {"A", "B"}
    assert screen_ratings(ratings, [DuplicateProbe([("x", "x2")], most=3)]).left_out.empty


@pytest.mark.parametrize("scale", [(0, 100), (0, 10), (-3, 3)])
def test_thresholds_go_with_the_scale(ratings, scale):
    low, high = scale
    stretched = ratings.assign(impression=low + (ratings["impression"] - 1) * (high - low) / 4)
    rules = [*PAPER, AnchorRule(high=["x"], low=["y"])]
    ours, theirs = screen_ratings(stretched, rules, scale=scale), screen_ratings(ratings, rules)
    assert set(theirs.left_out["rule"]) == {"real music", "duplicates", "anchors"}
    pd.testing.assert_frame_equal(ours.units, theirs.units)
    middle, quarter = (low + high) / 2, (high - low) / 4
    given = [
        RealMusicProbe(["real"], middle),
        DuplicateProbe([("x", "x2")], quarter),
        AnchorRule(["x"], ["y"], middle),
    ]
    pd.testing.assert_frame_equal(screen_ratings(stretched, given, scale=scale).left_out, ours.left_out)


def test_a_share_that_is_met_exactly_is_not_passed():
    # 0.29 * 100 is 28.999999999999996 in floating point.
    quick = rows("A", 1, {f"c{i}": 1 + i % 5 for i in range(100)}, seconds=[1] * 29 + [9] * 71)
    careful = rows("B", 1, {"c0": 2}, seconds=9)
    table = pd.concat([quick, careful], ignore_index=True)
    assert screen_ratings(table, [TooFast(5, share=0.29)]).left_out.empty
    assert screen_ratings(table, [TooFast(5, share=0.28)]).left_out["rater"].tolist() == ["A"]


def test_copies_are_matched_with_the_ratings_at_once(monkeypatch):
    from musiceval_sk.ratings import screening as room

    names = [f"c{n}" for n in range(40)]
    table = pd.concat([rows(rater, 1, dict.fromkeys(names, 3)) for rater in "AB"], ignore_index=True)
    table.loc[0, "impression"] = 5  # A's c0

    def matched(pairs):
        calls = []
        match = room.match_ids
        with monkeypatch.context() as patch:
            patch.setattr(room, "match_ids", lambda *names: calls.append(names) or match(*names))
            result = screen_ratings(table, [DuplicateProbe(pairs)])
        assert result.left_out["evidence"].tolist() == [
            "scored the two copies of c0 and c1 3 and 5, more than 1 apart"
        ]
        return len(calls)

    pairs = list(zip(names[::2], names[1::2], strict=True))
    assert matched(pairs) == matched(pairs[:1])


def test_without_batches_a_rater_loses_everything(ratings):
    result = screen_ratings(ratings.drop(columns="batch"), PAPER[:1])
    assert result.left_out[["rater", "batch"]].values.tolist() == [["B", "all"]]
    assert set(result.kept["rater"]) == {"A", "C"}


def test_a_batch_column_may_have_another_name(ratings):
    result = screen_ratings(ratings.rename(columns={"batch": "session"}), PAPER, batch="session")
    assert list(result.kept.columns) == ["rater", "session", "clip_id", "impression"]
    with pytest.raises(ClipsTableError, match=r"missing column\(s\) session"):
        screen_ratings(ratings, PAPER, batch="session")


def test_probes_may_be_kept(ratings):
    assert set(screen_ratings(ratings, PAPER, drop_probes=False).kept["clip_id"]) == {
        "x",
        "x2",
        "real",
        "y",
        "z",
    }


def test_copies_under_one_id_are_found_without_a_list(ratings):
    again = ratings.replace({"clip_id": {"x2": "x"}})
    result = screen_ratings(again, [DuplicateProbe()])
    assert result.left_out["rater"].tolist() == ["C"]
    assert result.probes == ()


def test_invalid_scores_are_those_of_all_targets(ratings):
    result = screen_ratings(ratings.assign(alignment=3), PAPER)
    assert set(result.left_out["target"]) == {"impression"}
    assert len(result.kept) == 5
    # Real music need not fit the text it is shown with, unless one says so.
    assert screen_ratings(ratings.assign(alignment=1), PAPER[:1]).left_out["rater"].tolist() == ["B"]
    strict = screen_ratings(
        ratings.assign(alignment=ratings["rater"].map({"A": 3, "B": 3, "C": 1})),
        [RealMusicProbe(["real"], targets=None)],
    )
    assert set(strict.left_out["rater"]) == {"B", "C"}


def test_anchors_on_the_wrong_side():
    table = pd.concat(
        [rows("A", 1, {"h1": 4, "h2": 2, "l": 1}), rows("B", 1, {"h1": 2, "h2": 3, "l": 4})],
        ignore_index=True,
    )
    result = screen_ratings(table, [AnchorRule(high=["h1", "h2"], low=["l"])])
    # A: mean of high (4 + 2) / 2 = 3 is not below the middle. B: 2.5 and 4 are both wrong.
    assert result.left_out["evidence"].tolist() == [
        "mean 2.5 over 2 high anchors, below 3",
        "mean 4 over 1 low anchors, above 3",
    ]
    assert set(result.left_out["rater"]) == {"B"}
    assert len(result.kept) == 3  # anchors are part of the test


def test_straight_lining():
    table = pd.concat(
        [
            rows("A", 1, {f"c{i}": 1 + i % 5 for i in range(10)}),
            rows("B", 1, {f"c{i}": 3 if i else 4 for i in range(10)}),
            rows("C", 1, {f"c{i}": 3 for i in range(9)}),
        ],
        ignore_index=True,
    )
    result = screen_ratings(table, [StraightLining()])
    assert result.left_out[["rater", "evidence"]].values.tolist() == [
        ["B", "gave 3 in 9 of 10 ratings, at least 0.9 of them"]
    ]
    assert verdicts(result, "straight-lining")["C", "1"] == "not judged"


def test_rating_too_fast():
    table = pd.concat(
        [
            rows("A", 1, {"x": 1, "y": 2, "z": 3}, seconds=[1, 30, 30]),
            rows("B", 1, {"x": 1, "y": 2, "z": 3}, seconds=[1, 2, 30]),
        ],
        ignore_index=True,
    )
    result = screen_ratings(table, [TooFast(5)])
    assert result.left_out[["rater", "target", "evidence"]].values.tolist() == [
        ["B", "", "took less than 5 s for 2 of 3 ratings (median 2.0 s), more than 0.5 of them"]
    ]
    with pytest.raises(
        ClipsTableError, match=r"no column 'time'; name .* column= \(--time-column\)"
    ) as caught:
        screen_ratings(table, [TooFast(5, column="time")])
    assert "trusted" not in str(caught.value)


@pytest.fixture
def panel(rng):
    """Rater R0 answers by chance, R1 upside down, R2 to R5 hear the truth."""
    truth = rng.integers(1, 6, 60)
    heard = {
        "R0": rng.integers(1, 6, 60),
        "R1": 6 - truth,
        **{f"R{n}": (truth + rng.integers(-1, 2, 60)).clip(1, 5) for n in range(2, 6)},
    }
    return pd.concat(
        [rows(name, 1, {f"c{i}": s for i, s in enumerate(scores)}) for name, scores in heard.items()],
        ignore_index=True,
    )


def test_disagreement_by_pandas(panel):
    result = screen_ratings(panel, [Disagreement(least=0.5)])
    wide = panel.pivot(index="clip_id", columns="rater", values="impression")
    rest = {name: wide[name].corr(wide.drop(columns=name).mean(axis=1)) for name in wide}
    assert set(result.left_out["rater"]) == {name for name, r in rest.items() if r < 0.5} == {"R0", "R1"}
    assert (
        result.left_out["evidence"]
        .iloc[0]
        .startswith(f"correlates {rest['R0']:.3f} with the other raters over 60 items, below 0.5")
    )


def test_disagreement_takes_earlier_findings_for_granted(panel):
    table = panel.assign(seconds=panel["rater"].map(lambda name: 1 if name == "R1" else 9))
    result = screen_ratings(table, [TooFast(5), Disagreement(least=0.5)])
    wide = panel.pivot(index="clip_id", columns="rater", values="impression").drop(columns="R1")
    r = wide["R0"].corr(wide.drop(columns="R0").mean(axis=1))
    evidence = result.left_out.set_index(["rater", "rule"])["evidence"]
    assert evidence["R0", "disagreement"].startswith(f"correlates {r:.3f}")
    assert ("R1", "disagreement") in evidence.index  # the evidence is complete


def test_a_target_may_be_called_score(ratings):
    renamed = ratings.rename(columns={"impression": "score"})
    assert len(screen_ratings(renamed, PAPER, targets=["score"]).left_out) == 2


def test_a_rule_of_ones_own(ratings):
    class Never(StraightLining):
        name = "never batch 2"

        def judge(self, ratings, targets):
            found = ratings[["rater", "batch"]].drop_duplicates()
            return found.assign(target="", failed=found["batch"] == "2", evidence="it rained")

    result = screen_ratings(ratings, [Never()])
    assert set(result.kept["batch"]) == {1}


@pytest.mark.parametrize(
    "rules, words",
    [
        ([], "rules must be one or more"),
        ([TooFast(1), TooFast(2)], "each name once"),
        (
            [RealMusicProbe(["reel"])],
            "names 1 of 1 clips that nobody rated: reel; the ratings name x, x2, real",
        ),
        ([RealMusicProbe([])], "rule 'real music' names no clips"),
        ([AnchorRule()], "AnchorRule names no clips"),
        ([RealMusicProbe(["real"], least=6)], "the rules leave nothing: 5 of 5 raters x batches fail"),
    ],
)
def test_mistakes_are_answered_in_words(ratings, rules, words):
    with pytest.raises(ValueError, match=words):
        screen_ratings(ratings, rules)


def test_nameless_and_unknown_raters_cannot_be_screened(ratings):
    with pytest.raises(ClipsTableError, match=r"column 'rater' is empty in row\(s\) 0. Name the raters"):
        screen_ratings(ratings.assign(rater=["", *ratings["rater"][1:]]), PAPER)
    with pytest.raises(RatingDesignError, match="screening needs to know who gave each rating"):
        screen_ratings(ratings, PAPER, rater=None)


def test_chance_raters_of_a_listening_test_are_found(tmp_path):
    from musiceval_sk import make_listening_test

    made = make_listening_test(tmp_path, n_systems=6, n_prompts=10, n_raters=8, n_careless=2, seconds=1.0)
    result = screen_ratings(made.ratings, [Disagreement(least=0.3)])
    assert set(result.left_out["rater"]) == {"R07", "R08"}


@pytest.mark.slow
def test_the_page_on_raters_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "docs" / "raters.md").read_text()
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(block, names)
    printed = capsys.readouterr().out
    assert set(names["screening"].left_out["rater"]) == {"R08", "R09", "R10"}
    assert "U_SRCC, perfect predictor" in printed


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ([RealMusicProbe("real")], r"takes clip ids as a list, such as \['real'\], not one text"),
        ([DuplicateProbe(["a", "b"])], r"takes pairs of clip ids, such as .*; got \['a', 'b'\]"),
        ([StraightLining], "rules must be made, as StraightLining.. is; got <class"),
        (["straight-lining"], "rules must be made"),
    ],
)
def test_what_is_no_rule_or_list_is_told_apart(ratings, rules, words):
    with pytest.raises(TypeError, match=words):
        screen_ratings(ratings, rules)


def test_one_rule_needs_no_list(ratings):
    assert str(screen_ratings(ratings, StraightLining())) == str(screen_ratings(ratings, [StraightLining()]))


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (lambda: StraightLining(share=9), "share must lie above 0 and be at most 1; got 9"),
        (lambda: TooFast(5, share=1), "share must lie between 0 and below 1; got 1"),
        (lambda: Disagreement(least=20), "must lie between -1 and 1; got 20"),
    ],
)
def test_thresholds_out_of_range_are_refused(rule, words):
    with pytest.raises(ValueError, match=words):
        rule()


def test_row_labels_may_repeat(ratings):
    timed = ratings.assign(seconds=range(len(ratings)))
    rules = [*PAPER, TooFast(5), StraightLining(least_ratings=2), Disagreement(least_ratings=2)]
    found = screen_ratings(timed.set_index(timed["batch"].to_numpy()), rules, drop_probes=False)
    assert str(found) == str(screen_ratings(timed, rules, drop_probes=False))


def test_times_in_words_are_an_error(ratings):
    with pytest.raises(ClipsTableError, match="column 'seconds' holds no number of seconds"):
        screen_ratings(ratings.assign(seconds="quick"), [TooFast(5)])


def test_rules_name_clips_with_and_without_suffix(ratings):
    rules = [RealMusicProbe(["real.wav"]), DuplicateProbe([("x.wav", "x2.mp3")])]
    expected, found = screen_ratings(ratings, PAPER), screen_ratings(ratings, rules)
    pd.testing.assert_frame_equal(found.units, expected.units)
    pd.testing.assert_frame_equal(found.kept, expected.kept)
    with pytest.raises(
        ClipsTableError, match="nobody rated: REAL; .*'REAL' and 'real' differ in upper and lower"
    ):
        screen_ratings(ratings, [RealMusicProbe(["REAL"])])
