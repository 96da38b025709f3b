import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, LeaveOneOut, cross_val_score

from musiceval_sk import ClipsTableError, OfficialSplit, SystemPromptKFold, leakage, make_split
from musiceval_sk.studies.splits import SPLITS
from tests.properties import fewer


@pytest.fixture
def clips():
    """Seven systems by eight prompts, three cells empty, rows shuffled."""
    cells = [
        (f"S{i}", f"prompt {j}") for i in range(7) for j in range(8) if (i, j) not in {(0, 0), (3, 4), (6, 7)}
    ]
    order = np.random.default_rng(0).permutation(len(cells))
    table = pd.DataFrame([cells[i] for i in order], columns=["system", "prompt"])
    return table.set_index(pd.Index([f"clip{i:02d}" for i in range(len(table))], name="clip_id"))


def lists(folds):
    return [(train.tolist(), test.tolist()) for train, test in folds]


@st.composite
def made_clips(draw):
    """Clips of four systems or more for four prompts or more, some cells twice, three at most empty, rows in any order."""
    systems, prompts = draw(st.integers(4, 7)), draw(st.integers(4, 8))
    cells = [(f"S{i}", f"P{j}") for i in range(systems) for j in range(prompts)]
    gaps = draw(st.lists(st.sampled_from(cells), max_size=3))
    cells = draw(st.permutations([cell for cell in cells if cell not in gaps]))
    return pd.DataFrame(
        cells + draw(st.lists(st.sampled_from(cells), max_size=9)), columns=["system", "prompt"]
    )


@fewer
@given(
    clips=made_clips(),
    cv=st.sampled_from(["system", "prompt", "system+prompt"]),
    n_splits=st.sampled_from([None, 2, 3, 4]),
    seed=st.integers(0, 9),
)
def test_what_holds_of_every_split_by_groups(clips, cv, n_splits, seed):
    columns = cv.split("+")

    def folds_of(clips):
        split = make_split(cv, clips, n_splits=n_splits, random_state=seed)
        assert (split.name, split.meaning) == (cv, SPLITS[cv])
        assert split.inner.equals(clips[columns[0]])
        return split.folds(clips)

    folds = folds_of(clips)
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(clips)))
    for train, test in folds:
        apart = np.ones(len(clips), dtype=bool)
        for column in columns:
            apart &= ~clips[column].isin(clips[column].iloc[test]).to_numpy()
        # What shares one of the groups is not there to learn from; all else is, but for groups of the fold whose test cells are empty.
        assert apart[train].all()
        if (
            len(columns) == 1
            or len(clips.drop_duplicates()) == clips["system"].nunique() * clips["prompt"].nunique()
        ):
            assert train.tolist() == np.flatnonzero(apart).tolist()
    if len(columns) == 1:
        sizes = [clips[cv].iloc[test].nunique() for _, test in folds]
        assert len(folds) == (n_splits or min(5, sum(sizes))) and max(sizes) - min(sizes) <= 1
    # The names of its groups say in which fold a clip is, wherever it stands and however many there are of it.
    twice = pd.concat([clips[::-1], clips], ignore_index=True)
    there, again = (
        {frozenset(map(tuple, table.iloc[test].to_numpy())) for _, test in folds_of(table)}
        for table in (clips, twice)
    )
    assert there == again


def test_system_prompt_folds_are_dealt_evenly(clips):
    folds = list(SystemPromptKFold(3, random_state=0).split(clips, groups=clips[["system", "prompt"]]))
    # Seven systems in three folds are 3, 2, 2; eight prompts 3, 3, 2.
    assert sorted({clips["system"].iloc[test].nunique() for _, test in folds}) == [2, 3]
    assert sorted({clips["prompt"].iloc[test].nunique() for _, test in folds}) == [2, 3]


def test_system_prompt_folds_are_reproducible(clips):
    def draw(seed):
        return lists(SystemPromptKFold(2, random_state=seed).split(clips, groups=clips[["system", "prompt"]]))

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_system_prompt_folds_serve_scikit_learn(clips):
    X = np.random.default_rng(0).normal(size=(len(clips), 2))
    splitter, groups = SystemPromptKFold(2, random_state=0), clips[["system", "prompt"]]
    scores = cross_val_score(Ridge(), X, X[:, 0], cv=splitter, groups=groups)
    assert scores.shape == (4,)
    search = GridSearchCV(Ridge(), {"alpha": [0.1, 10.0]}, cv=splitter).fit(X, X[:, 0], groups=groups)
    assert search.best_params_ == {"alpha": 0.1}


def test_too_few_labels_for_the_folds():
    groups = pd.DataFrame({"system": list("aabb"), "prompt": list("xyxy")})
    with pytest.raises(ValueError, match="cannot deal 2 labels into 3 folds"):
        list(SystemPromptKFold(3).split(groups, groups=groups))


def test_groups_are_asked_for_in_words(clips):
    with pytest.raises(ValueError, match="groups"):
        list(SystemPromptKFold(2).split(clips))


def test_both(clips):
    split = make_split("system+prompt", clips)
    folds = split.folds(clips)
    assert len(folds) == 9
    assert leakage(clips, folds) == {"system": 0.0, "prompt": 0.0}
    assert split.inner.equals(clips["system"])


def test_random(clips):
    split = make_split("random", clips, n_splits=4)
    folds = split.folds(clips)
    assert len(folds) == 4
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(clips)))
    assert split.inner is None


def test_the_papers_share(clips):
    ((train, test),) = make_split("85/15", clips).folds(clips)
    assert (len(train), len(test)) == (45, 8)  # 15 % of 53 are 7.95, rounded up
    assert not set(train) & set(test)


@pytest.mark.parametrize("cv", [cv for cv in SPLITS if cv != "official"])
def test_reproducible_by_seed(clips, cv):
    def draw(seed):
        return lists(make_split(cv, clips, random_state=seed).folds(clips))

    assert draw(0) == draw(0)
    assert draw(0) != draw(1)


def test_never_more_folds_than_groups(clips):
    assert len(make_split("system", clips).folds(clips)) == 5
    assert len(make_split("system", clips[clips["system"] < "S3"]).folds(clips[clips["system"] < "S3"])) == 3
    with pytest.raises(ValueError, match="n_splits=50, but there are 7 systems to deal; give at most 7"):
        make_split("system", clips, n_splits=50)
    assert len(make_split("random", clips[:3]).folds(clips[:3])) == 3
    with pytest.raises(ValueError, match="n_splits=4, but there are 3 clips to deal"):
        make_split("random", clips[:3], n_splits=4)
    few = clips[clips["system"].isin(["S1", "S2"])]
    assert len(make_split("system+prompt", few).folds(few)) == 4


def test_groups_follow_the_rows_that_are_kept(clips):
    split = make_split("system", clips, n_splits=3)
    part = clips.iloc[::-2]
    for train, test in split.folds(part):
        assert not set(part["system"].iloc[train]) & set(part["system"].iloc[test])


def test_any_splitter_of_scikit_learn(clips):
    split = make_split(LeaveOneOut(), clips)
    assert split.name == "LeaveOneOut()"
    assert len(split.folds(clips)) == len(clips)


def test_errors(clips):
    with pytest.raises(
        ValueError, match="unknown split 'systems'; choose from system, prompt, system\\+prompt"
    ):
        make_split("systems", clips)
    with pytest.raises(ClipsTableError, match="'system\\+prompt' needs a column 'prompt' in the clips table"):
        make_split("system+prompt", clips[["system"]])
    with pytest.raises(
        ClipsTableError, match="'system' needs at least two of 'system', the clips table has 1"
    ):
        make_split("system", clips[clips["system"] == "S1"])


def test_the_official_lists_leave_dev_out(clips):
    named = clips.assign(split=["train", "dev", "test", "train"] + ["train"] * (len(clips) - 4))
    ((train, test),) = make_split("official", named).folds(named)
    assert test.tolist() == [2]
    assert train.tolist() == [0, 3, *range(4, len(clips))]
    # Rows are found by the lists of what is split, whatever was left out before.
    ((train, test),) = make_split("official", named).folds(named.iloc[2:])
    assert test.tolist() == [0] and train[0] == 1


def test_without_a_test_list_dev_is_tested_on(clips):
    named = clips.assign(split=["dev"] * 5 + ["train"] * (len(clips) - 5))
    ((train, test),) = make_split("official", named).folds(named)
    assert test.tolist() == [0, 1, 2, 3, 4] and len(train) == len(clips) - 5


def test_the_official_split_needs_its_lists(clips):
    with pytest.raises(ClipsTableError, match=r"needs a column 'split' .* as load_musiceval gives"):
        make_split("official", clips)


def test_given_splitters_get_the_groups_that_they_go_by(clips):
    named = clips.assign(split=["test"] * 5 + ["dev"] * 5 + ["train"] * (len(clips) - 10))
    ((train, test),) = make_split(OfficialSplit(("train", "dev")), named).folds(named)
    assert (len(train), len(test)) == (len(clips) - 5, 5)
    folds = make_split(SystemPromptKFold(2), clips).folds(clips)
    assert lists(folds) == lists(SystemPromptKFold(2).split(clips, groups=clips[["system", "prompt"]]))


def test_one_fold_of_systems_and_prompts_is_refused():
    groups = [["a", "x"], ["b", "y"]]
    with pytest.raises(ValueError, match="n_splits=1 must be a whole number and at least 2"):
        next(SystemPromptKFold(1).split(groups, groups=groups))


def test_groups_of_another_length_are_refused():
    with pytest.raises(ValueError, match="groups has 2 rows, X has 3"):
        next(SystemPromptKFold(2).split([0, 1, 2], groups=[["a", "x"], ["b", "y"]]))
