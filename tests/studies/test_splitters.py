import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import GroupKFold, cross_val_score

from musiceval_sk import OfficialSplit, SystemPromptKFold, make_split

LISTS = ["train", "test", "dev", "train", "test"]


def split(splitter, lists=LISTS):
    return [(train.tolist(), test.tolist()) for train, test in splitter.split(lists, groups=lists)]


def test_train_against_test_by_default():
    assert split(OfficialSplit()) == [([0, 3], [1, 4])]
    assert OfficialSplit().get_n_splits() == 1


def test_other_lists_may_be_chosen():
    assert split(OfficialSplit(test="dev")) == [([0, 3], [2])]
    assert split(OfficialSplit(("train", "dev"))) == [([0, 2, 3], [1, 4])]


def test_it_is_a_splitter_of_scikit_learn():
    scores = cross_val_score(
        DummyRegressor(),
        [[0]] * 5,
        [1, 2, 9, 3, 4],
        groups=LISTS,
        cv=OfficialSplit(),
        scoring="neg_mean_squared_error",
    )
    # The mean of 1 and 3 is 2; against 2 and 4 that is off by 0 and 2.
    assert scores.tolist() == [-2.0]
    assert repr(OfficialSplit(test="dev")) == "OfficialSplit(test='dev', train=('train',))"


@pytest.mark.parametrize(
    "splitter, lists, words",
    [
        (OfficialSplit(), None, r"needs the list of each row as groups, as clips\['split'\]"),
        (OfficialSplit("train"), LISTS, r"train='train' must be a sequence of names, as \('train',\)"),
        (OfficialSplit(test="eval"), LISTS, "no clip is in eval; the lists are: dev, test, train"),
        (OfficialSplit(("fold 1",)), LISTS, "no clip is in fold 1"),
    ],
)
def test_what_cannot_be_split_is_refused(splitter, lists, words):
    with pytest.raises(ValueError, match=words):
        list(splitter.split(LISTS, groups=lists))


@pytest.mark.parametrize("blank", ["", " ", None, np.nan], ids=repr)
def test_clips_without_system_or_prompt_are_named(blank):
    clips = pd.DataFrame({"system": list("aabb"), "prompt": [*"xyx", blank]}, index=["c1", "c2", "c3", "c4"])
    with pytest.raises(ValueError, match="no prompt is known for clips: c4"):
        list(SystemPromptKFold(2).split(clips, groups=clips))
    with pytest.raises(ValueError, match="no prompt is known for the clips in rows: 3"):
        list(SystemPromptKFold(2).split(clips, groups=clips.to_numpy()))
    clips = clips.rename(columns={"system": "prompt", "prompt": "system"})
    for cv in ("system", GroupKFold(2)):
        with pytest.raises(ValueError, match="needs a system for every clip, but there is none for: c4"):
            make_split(cv, clips)
