"""Figures of the data: what is drawn is what the tables hold."""

import numpy as np
import pandas as pd
import pytest

from musiceval_sk import ScoreDistributionDisplay, SystemScoresDisplay
from musiceval_sk.exceptions import ClipsTableError, SkippedWarning

from .drawing import LONG, SHORT, assert_apart, assert_texts_are_whole, lines_with, made_up, narrow_axes

pytest.importorskip("matplotlib", reason="figures need the extra 'report'")


def test_distribution_counts_every_clip_once():
    clips = made_up(5)
    display = ScoreDistributionDisplay.from_clips(clips)
    for bars, target in zip(display.ax_.containers, ("impression", "alignment"), strict=True):
        expected = clips[target].round(1).value_counts().sort_index()
        heights = {centre: bar.get_height() for centre, bar in zip(display.counts_.index, bars, strict=True)}
        assert {centre: height for centre, height in heights.items() if height} == expected.to_dict()
        assert sum(heights.values()) == 40
    label = display.ax_.get_legend().get_texts()[0].get_text()
    mean, sd = clips["impression"].mean(), clips["impression"].std()
    assert label == f"impression: mean {mean:.2f}, sd {sd:.2f}, 40 clips"
    hatches = {bars[0].get_hatch() for bars in display.ax_.containers}
    assert len(hatches) == 2
    assert_texts_are_whole(display)


def test_bars_hold_their_lower_edge():
    # Steps of 0.1 in bars of 0.2: the bar at 3.2 reaches from 3.1 (included) to 3.3.
    clips = pd.DataFrame({"impression": [3.0, 3.1, 3.2, 3.3, 3.4]})
    counts = ScoreDistributionDisplay.from_clips(clips).counts_["impression"]
    assert counts.to_dict() == {3.0: 1, 3.2: 2, 3.4: 2}


def test_distribution_averages_raw_ratings():
    clips = pd.DataFrame({"prompt": ["", ""]}, index=pd.Index(["x", "y"], name="clip_id"))
    ratings = pd.DataFrame({"rater": list("ABA"), "clip_id": list("xxy"), "impression": [4, 2, 5]})
    display = ScoreDistributionDisplay.from_clips(clips, ratings=ratings)
    assert display.counts_["impression"][lambda counts: counts > 0].to_dict() == {3.0: 1, 5.0: 1}
    from_means = SystemScoresDisplay.from_clips(clips.assign(system="S", impression=1.0), ratings=ratings)
    assert sorted(lines_with(from_means.ax_, ".")[0].get_ydata()) == [3.0, 5.0]


def test_distribution_says_what_is_missing():
    with pytest.raises(
        ClipsTableError, match="no target columns: looked for impression, alignment, found prompt"
    ):
        ScoreDistributionDisplay.from_clips(pd.DataFrame({"prompt": ["a"]}))
    with pytest.raises(ClipsTableError, match="none of 1 clips has a score in column 'impression'"):
        ScoreDistributionDisplay.from_clips(pd.DataFrame({"impression": [np.nan]}))
    with pytest.raises(ValueError, match="bin_width must be greater than 0, got 0"):
        ScoreDistributionDisplay.from_clips(made_up(2), bin_width=0)


@pytest.mark.parametrize("names", [SHORT, LONG])
@pytest.mark.parametrize("n_systems", [1, 12, 31])
@pytest.mark.parametrize("narrow", [False, True])
def test_names_of_systems_are_whole_and_apart(names, n_systems, narrow):
    clips = made_up(n_systems, names)
    display = SystemScoresDisplay.from_clips(clips, ax=narrow_axes() if narrow else None)
    assert_texts_are_whole(display)
    labels = display.ax_.get_xticklabels()
    assert [label.get_text() for label in labels] == display.order_
    if not (narrow and n_systems == 31):  # 31 names in three inches are drawn at the smallest size there is
        assert_apart(labels)


def test_order_of_one_target_serves_another():
    clips = made_up(6)
    first = SystemScoresDisplay.from_clips(clips)
    second = SystemScoresDisplay.from_clips(clips, "alignment", order=first.order_)
    assert second.order_ == first.order_
    diamonds = [line.get_ydata()[0] for line in lines_with(second.ax_, "D")]
    np.testing.assert_allclose(diamonds, clips.groupby("system")["alignment"].mean()[first.order_])
    with pytest.raises(ValueError, match="each of the 6 systems once; doubled, missing or unknown: S009"):
        SystemScoresDisplay.from_clips(clips, order=[*first.order_, "S009"])


def test_scores_say_what_is_missing():
    clips = made_up(2)
    with pytest.raises(ClipsTableError, match=r"missing column\(s\) system; found: impression"):
        SystemScoresDisplay.from_clips(clips.drop(columns="system"))
    with pytest.raises(ClipsTableError, match=r"missing column\(s\) joy"):
        SystemScoresDisplay.from_clips(clips, "joy")
    with pytest.raises(ClipsTableError, match="none of 16 clips with a score names its system"):
        SystemScoresDisplay.from_clips(clips.assign(system=""))
    clips.loc["clip0", "system"] = ""
    with pytest.warns(SkippedWarning, match="left out 1 clip that names no system: clip0"):
        display = SystemScoresDisplay.from_clips(clips)
    assert sorted(len(line.get_ydata()) for line in lines_with(display.ax_, ".")) == [7, 8]
