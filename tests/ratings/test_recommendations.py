"""Screening by standards."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from musiceval_sk import ClipsTableError, screen_ratings
from musiceval_sk.ratings.recommendations import BT500Screening, MushraScreening, P913Screening


def table_of(scores, **columns):
    """Ratings of a matrix, a row a clip and a column a rater."""
    clips, raters = np.nonzero(~np.isnan(scores))
    return pd.DataFrame(
        {
            "rater": [f"R{r}" for r in raters],
            "clip_id": [f"c{c:02}" for c in clips],
            "impression": scores[clips, raters],
        }
        | {name: np.asarray(values)[clips] for name, values in columns.items()}
    )


def left_out(ratings, rule, **options):
    return set(screen_ratings(ratings, [rule], **options).left_out["rater"])


@pytest.fixture
def panel(rng):
    """Twenty clips and thirty raters; R3 is far above as often as far below, R5 always far above."""
    scores = rng.normal(50, 15, (20, 1)) + rng.normal(0, 5, (20, 30))
    scores[:8, 3] += np.tile([70, -70], 4)
    scores[8:16, 5] += 70
    return scores


def bt500_by_the_book(scores):
    """The procedure in loops, with the moments as the standard writes them."""
    above, below = np.zeros((2, scores.shape[1]))
    for item in scores:
        deviations = item - item.mean()
        kurtosis = np.mean(deviations**4) / np.mean(deviations**2) ** 2
        assert kurtosis == pytest.approx(stats.kurtosis(item, fisher=False))
        limit = (2 if 2 <= kurtosis <= 4 else np.sqrt(20)) * item.std(ddof=1)
        above += item >= item.mean() + limit
        below += item <= item.mean() - limit
    both = above + below
    with np.errstate(invalid="ignore"):
        rejected = (both / len(scores) > 0.05) & (abs((above - below) / both) < 0.3)
    return {f"R{rater}" for rater in np.flatnonzero(rejected)}


def test_bt500_leaves_out_whom_the_book_leaves_out(panel):
    options = {"scale": None}
    expected = bt500_by_the_book(panel)
    assert "R3" in expected and "R5" not in expected
    assert left_out(table_of(panel), BT500Screening(), **options) == expected
    found = screen_ratings(table_of(panel), [BT500Screening()], **options)
    assert found.left_out["evidence"].str.contains(r"of 20 scores lie far above .* on both sides").all()


def test_a_rater_is_judged_by_all_his_batches_together(panel):
    ratings = table_of(panel, batch=np.arange(20) // 10)
    found = screen_ratings(ratings, [BT500Screening()], scale=None)
    assert set(map(tuple, found.left_out[["rater", "batch"]].to_numpy())) >= {("R3", "0"), ("R3", "1")}


def test_five_ratings_an_item_can_convict_nobody_by_bt500(panel):
    # The farthest of five is at most 4 / sqrt(5) = 1.79 standard deviations away.
    found = screen_ratings(table_of(panel[:, :5]), [BT500Screening()], scale=None)
    assert (found.units["BT.500"] == "not judged").all()


def test_an_item_on_which_all_agree_puts_nobody_off(panel):
    panel[:] = 40.0
    assert left_out(table_of(panel), BT500Screening(), scale=None) == set()


def p913_by_the_book(scores, systems):
    """Leave out the worst of those below both bounds, and begin anew."""
    alive = list(range(scores.shape[1]))
    while True:
        means = scores[:, alive].mean(1)
        of_systems = [means[systems == s].mean() for s in np.unique(systems)]
        found = {}
        for rater in alive:
            own = [scores[systems == s, rater].mean() for s in np.unique(systems)]
            found[rater] = np.corrcoef(scores[:, rater], means)[0, 1], np.corrcoef(own, of_systems)[0, 1]
        low = {rater: np.mean(pair) for rater, pair in found.items() if pair[0] < 0.75 and pair[1] < 0.8}
        if not low:
            return {f"R{rater}" for rater in set(range(scores.shape[1])) - set(alive)}
        alive.remove(min(low, key=low.get))


def test_p913_leaves_out_the_worst_first(rng):
    systems = np.arange(20) % 5
    scores = rng.normal(50, 8, 5)[systems][:, None] + rng.normal(0, 8, (20, 1)) + rng.normal(0, 6, (20, 10))
    scores[:, [2, 7]] = rng.normal(50, 15, (20, 2))
    expected = p913_by_the_book(scores, systems)
    assert expected >= {"R2", "R7"}
    assert left_out(table_of(scores, system=systems), P913Screening(), scale=None) == expected
    items_alone = screen_ratings(table_of(scores), [P913Screening()], scale=None)
    assert set(items_alone.left_out["rater"]) >= {"R2", "R7"}
    assert (
        items_alone.left_out["evidence"]
        .str.fullmatch(r"correlates -?0.\d+ with the panel over items, below 0.75")
        .all()
    )


def test_p913_judges_nobody_who_shares_few_items(panel):
    found = screen_ratings(table_of(panel[:9]), [P913Screening()], scale=None)
    assert (found.units["P.913"] == "not judged").all()


MUSHRA = pd.DataFrame(
    {
        "rater": list("AAABBBCCC"),
        "clip_id": ["x", "y", "z"] * 3,
        "system": ["Reference", "Reference", "Anchor"] * 3,
        "impression": [95, 90, 20, 89, 100, 95, 80, 85, 10],
    }
)


@pytest.mark.parametrize(
    "settings, expected",
    [({}, {"B", "C"}), ({"most": 1}, {"C"}), ({"most": 2}, set()), ({"most": 1, "anchors": "anchor"}, {"C"}),
     ({"most": 0.5, "anchors": "anchor"}, {"B", "C"}), ({"least": 80}, set())],
)  # fmt: skip
def test_mushra_references_are_to_be_found(settings, expected):
    assert left_out(MUSHRA, MushraScreening(**settings), scale=(0, 100)) == expected


def test_mushra_names_what_is_not_there():
    with pytest.raises(ClipsTableError, match=r"no rating is of hidden; conditions are Reference, Anchor"):
        screen_ratings(MUSHRA, [MushraScreening("hidden")], scale=(0, 100))
    with pytest.raises(ClipsTableError, match=r"no column 'condition'.*--condition-column"):
        screen_ratings(MUSHRA, [MushraScreening(column="condition")], scale=(0, 100))


def test_the_authors_rule_leaves_out_raters_6_and_17():
    data = Path(os.environ.get("MUSICEVAL_TEST_DATA", "../shared/data")) / "mushra-speech" / "ratings.csv"
    if not data.exists():
        pytest.skip(f"no {data}")
    rule = MushraScreening(column="condition", most=1)
    assert left_out(data, rule, scale=(0, 100)) == {"6", "17"}
