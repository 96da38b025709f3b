"""Figures of the data: what is drawn is what the tables hold."""

import numpy as np
import pandas as pd
import pytest

from musiceval_sk import (
    PromptLengthDisplay,
    ScoreDistributionDisplay,
    SystemAttributesDisplay,
    SystemScoresDisplay,
)
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


def systems_table():
    return pd.DataFrame(
        {
            "access": ["public"] * 25 + ["demo only"] * 6,
            "year": [2022] * 10 + [2023] * 14 + [2024] * 7,
            "size": np.linspace(10, 1510, 31),
            "kind": [f"kind {i % 11}" for i in range(30)] + [None],
        }
    )


@pytest.mark.parametrize("narrow", [False, True])
def test_attributes_count_every_system_in_each_block(narrow):
    display = SystemAttributesDisplay.from_systems(systems_table(), ax=narrow_axes() if narrow else None)
    counts = display.counts_
    assert counts["access"].to_dict() == {"public": 25, "demo only": 6}
    assert counts["year"].to_dict() == {"2022": 10, "2023": 14, "2024": 7}
    # Four ranges of 375: 10 to 385 holds 10, 60, ..., 360 and so on; both ends are counted.
    assert list(counts["size"].index) == ["10 to 385", "385 to 760", "760 to 1140", "1140 to 1510"]
    assert counts["size"].sum() == 31 and counts["size"].iloc[0] == 8
    # Seven values and the rest; every kind is there two or three times in thirty.
    assert list(counts["kind"].index[-2:]) == ["4 others", "not known"]
    assert counts["kind"].sum() == 31
    drawn = [bar.get_width() for bars in display.ax_.containers for bar in bars]
    assert drawn == counts.tolist()
    names = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert names == ["access", *counts["access"].index, "year", *counts["year"].index] + [
        "size",
        *counts["size"].index,
        "kind",
        *counts["kind"].index,
    ]
    assert_texts_are_whole(display)
    assert_apart(display.ax_.get_yticklabels())


def test_attributes_from_clips_count_systems_not_clips():
    clips = made_up(3).assign(open=lambda table: table["system"] != "S000")
    display = SystemAttributesDisplay.from_clips(clips, ["open"])
    assert display.counts_["open"].to_dict() == {"True": 2, "False": 1}
    clips.loc["clip8", "open"] = False
    with pytest.raises(
        ClipsTableError, match="same for all clips of a system, but these differ: 'open' within 'S001'"
    ):
        SystemAttributesDisplay.from_clips(clips, ["open"])
    with pytest.raises(ClipsTableError, match=r"missing column\(s\) size"):
        SystemAttributesDisplay.from_clips(clips, ["size"])
    with pytest.raises(ClipsTableError, match="nothing to draw: 0 systems"):
        SystemAttributesDisplay.from_systems(systems_table()[:0])


@pytest.mark.parametrize("narrow", [False, True])
def test_prompts_count_once_each_in_words(narrow):
    texts = ["calm piano", "calm piano", "a fast and loud march", " ", None, "drums"]
    display = PromptLengthDisplay.from_clips(
        pd.DataFrame({"prompt": texts}), ax=narrow_axes() if narrow else None
    )
    assert display.lengths.to_dict() == {"calm piano": 2, "a fast and loud march": 5, "drums": 1}
    assert display.quartiles_.tolist() == [1.5, 2.0, 3.5]
    assert sorted(lines_with(display.ax_, ".")[0].get_xdata()) == [1, 2, 5]
    title = display.ax_.get_legend().get_title().get_text()
    assert title == "3 distinct prompts: 1 to 5 words, median 2"
    assert_texts_are_whole(display)


def test_prompts_in_characters_and_of_one_length():
    display = PromptLengthDisplay.from_clips(pd.DataFrame({"prompt": ["ab", "cd"]}), unit="characters")
    assert display.lengths.tolist() == [2, 2]
    with pytest.raises(ClipsTableError, match="none of 1 clips has a prompt"):
        PromptLengthDisplay.from_clips(pd.DataFrame({"prompt": [""]}))
    with pytest.raises(ValueError, match="unknown unit 'beats'; choose from words, characters"):
        PromptLengthDisplay.from_clips(made_up(2), unit="beats")
