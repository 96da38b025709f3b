"""`design_test`: what holds of every design, whatever its size, and what is refused with which numbers."""

import json
from collections import Counter
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from musiceval_sk import ClipsTableError, RatingDesignError
from musiceval_sk.listening import ListeningTest, design_test, load_test
from musiceval_sk.listening.balance import clips_of
from musiceval_sk.listening.deal import Deal, group_clips
from tests.properties import few


def grid(systems, prompts, items=1):
    """Clips of every system for every prompt."""
    cells = [(f"P{p}", f"S{s}", i) for p in range(prompts) for s in range(systems) for i in range(items)]
    table = pd.DataFrame(cells, columns=["prompt", "system", "item"])
    names = [f"{c.system}_{c.prompt}_{c.item}" for c in table.itertuples()]
    return table.assign(path=[f"{name}.wav" for name in names]).set_axis(names)


def real(number):
    return pd.DataFrame(
        {"path": [f"r{i}.wav" for i in range(number)]}, index=[f"real{i}" for i in range(number)]
    )


@st.composite
def made(draw):
    """Clips and demands: full or with gaps, one or several clips a cell, with and without prompts, however named."""
    clips = grid(draw(st.integers(1, 6)), draw(st.integers(1, 11)), draw(st.integers(1, 2)))
    seed = draw(st.integers(0, 999))
    clips = clips.sample(frac=draw(st.sampled_from([1, 0.7])), random_state=seed)
    names = draw(st.permutations([f"S{number}" for number in range(6)]))
    clips["system"] = clips["system"].map({f"S{number}": name for number, name in enumerate(names)})
    if draw(st.integers(0, 4)) == 4:
        clips["prompt"] = ""
    per_clip = draw(st.integers(1, 5))
    demands = {
        "per_clip": per_clip,
        "n_raters": per_clip + draw(st.integers(0, 8)),
        "batch_size": draw(st.integers(6, 40)),
        "n_duplicates": draw(st.integers(0, 1)),
        "seed": seed,
    }
    return clips, demands


def batches_of(test):
    return [(rater, batch["trials"]) for rater, batches in test.raters.items() for batch in batches]


@few
@given(made=made())
def test_what_holds_of_every_design(made):
    clips, demands = made
    try:
        test = design_test(clips, probes=real(60), n_probes=1, **demands)
    except RatingDesignError as error:
        assert any(words in str(error) for words in ("no room for 1 that", "60 probes", "would hear nothing"))
        reject()
    times, apart, sizes = Counter(), [], []
    for rater, batches in test.raters.items():
        trials = [trial for batch in batches for trial in batch["trials"]]
        assert trials, rater
        assert [batch["batch"] for batch in batches] == [*range(1, len(batches) + 1)]
        heard = [trial["clip_id"] for trial in trials if "repeat" not in trial]
        assert len(heard) == len(set(heard)), rater
        times.update(clip for clip in heard if not test.clips[clip]["probe"])
    assert times == dict.fromkeys(clips.index, demands["per_clip"])
    for _, trials in batches_of(test):
        names = [trial["clip_id"] for trial in trials]
        once = [trial["clip_id"] for trial in trials if "repeat" not in trial]
        tested = [name for name in once if not test.clips[name]["probe"]]
        sizes.append(len(tested))
        assert len(once) - len(tested) == 1
        again = [place for place, trial in enumerate(trials) if trial.get("repeat")]
        assert len(again) == demands["n_duplicates"]
        apart += [place - names.index(names[place]) for place in again]
        assert all(place - names.index(names[place]) >= len(once) // 2 for place in again)
        prompts = [test.clips[name]["prompt"] for name in once]
        if any(clips["prompt"]):
            changes = sum(one != other for one, other in pairwise(prompts))
            assert changes == len(set(prompts)) - 1
            for place in set(again) - {len(names) - 1}:  # between two prompts
                before, after = (test.clips[names[place + step]]["prompt"] for step in (-1, 1))
                assert before != after
    assert max(sizes) <= demands["batch_size"]
    assert test.balance["clips_in_a_batch"] == [min(sizes), max(sizes)]
    assert test.balance["repeats"] == len(apart)
    assert test.balance["least_distance_of_a_repeat"] == min(apart, default=None)


@pytest.mark.parametrize("seed", [39, 96, 100])
def test_batches_of_one_rater_exchange_and_nobody_hears_a_clip_twice(seed):
    clips = grid(4, 10).sample(frac=0.6, random_state=seed)
    test = design_test(clips, n_raters=4, per_clip=3, batch_size=8, n_duplicates=0, seed=seed)
    heard = test.to_frame()[["rater", "clip_id"]]
    assert not heard.duplicated().any()
    assert set(heard["clip_id"].value_counts()) == {3}


@pytest.mark.parametrize(
    ("clips", "demands"),
    [
        (grid(3, 20), {"n_raters": 14}),
        (grid(3, 20), {"n_raters": 8, "n_batches": 1}),
        (grid(3, 3, items=4), {"n_raters": 16}),
        (grid(6, 30).assign(prompt=""), {"n_raters": 9, "batch_size": 20}),
        (grid(31, 30), {"n_raters": 14}),
    ],
    ids=["in part", "full", "several clips a cell", "no prompts", "many systems"],
)  # fmt: skip
def test_full_designs_are_as_even_as_can_be(clips, demands):
    test = design_test(clips, **demands)
    tables = []
    for _, trials in batches_of(test):
        names = [trial["clip_id"] for trial in trials if "repeat" not in trial]
        tables.append(clips.loc[names, "system"].value_counts())
    counts = pd.DataFrame(tables).fillna(0)
    reached = (counts.max() - counts.min()).max()
    assert reached == test.balance["systems_in_a_batch"]["largest_difference"] <= 1
    assert test.balance["systems_in_a_batch"]["least_possible"] == int((counts.sum() % len(counts)).any())


# With the first seed the furthest off finds no place and the next one does; with the others it goes at once.
@pytest.mark.parametrize("seed", [1, 2, 16, 19, 32])
def test_each_exchange_evens_out_kinds_from_the_furthest_off_and_then_what_raters_share(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 4, 40)
    groups = np.split(np.arange(sizes.sum()), np.cumsum(sizes)[:-1])
    kinds = np.stack([rng.multinomial(size, [0.4, 0.3, 0.2, 0.1]) for size in sizes])
    raters, batches = 6, 2
    most = -(
        -3 * sizes.sum() // (raters * batches)
    )  # three raters a clip: batches as even as can be are full
    dealt = Deal(groups, kinds, 3, raters, batches, most, rng)
    assert dealt.fill()

    def counted():
        """How often each batch has each kind, and how many clips."""
        counts = np.zeros((raters * batches, 5), int)
        for group, places in enumerate(dealt.batches):
            counts[places] += [*kinds[group], sizes[group]]
        return counts

    def unlike():
        """Sums of squares: of each kind, and of clips, in batches; and of clips that two raters share."""
        counts, heard = counted(), np.zeros((raters, sizes.sum()), int)
        for group, places in enumerate(dealt.batches):
            heard[np.ix_(places // batches, groups[group])] += 1
        assert heard.max() == 1 and (heard.sum(axis=0) == 3).all()
        assert counts[:, -1].max() <= most
        return (counts**2).sum(), (np.triu(heard @ heard.T, 1) ** 2).sum(), np.ptp(counts, axis=0).max()

    swap, found, moved = Deal._swap, [unlike()], []

    def watched(dealt, one, other):
        moved.append(one)
        swap(dealt, one, other)
        found.append(unlike())

    far = np.abs(counted() - counted().mean(axis=0))
    off = [
        max(far[place][np.append(kinds[group], sizes[group]) > 0])
        for group, places in enumerate(dealt.batches)
        for place in places
    ]
    monkeypatch.setattr(Deal, "_swap", watched)
    dealt.exchange(tries=1)
    assert [off[one] for one in moved] == [max(off)] * (seed != 1)
    dealt.exchange()
    evened = len(found)
    dealt.mix()
    assert found[0][2] <= 2 and 1 < evened < len(found)
    assert all(after[0] < before[0] for before, after in pairwise(found[:evened]))
    assert all(
        after[0] == before[0] and after[1] < before[1] for before, after in pairwise(found[evened - 1 :])
    )


@pytest.mark.parametrize("seed", range(3))
def test_raters_who_share_least_get_the_next_group(seed):
    # 90 clips, each to one of the 45 pairs of ten raters: two for each pair.
    groups = list(np.arange(90)[:, None])
    dealt = Deal(groups, np.ones((90, 1), int), 2, 10, 1, 18, np.random.default_rng(seed))
    assert dealt.fill()
    shared = Counter(tuple(sorted(raters)) for raters in dealt.batches.tolist())
    assert len(shared) == 45 and set(shared.values()) <= {1, 2, 3}


@pytest.mark.parametrize("seed", [2, 52, 174])
def test_no_exchange_fills_a_batch_above_its_most(seed):
    # Half of the clips have no system, so that an exchange may even out systems and yet make a full batch larger.
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, 24)
    groups = np.split(np.arange(sizes.sum()), np.cumsum(sizes)[:-1])
    kinds = np.stack([rng.multinomial(size, [0.25, 0.25, 0.5])[:2] for size in sizes])
    most = -(-2 * sizes.sum() // 8)
    dealt = Deal(groups, kinds, 2, 4, 2, most, rng)
    assert dealt.fill()
    dealt.exchange()
    assert np.bincount(dealt.batches.ravel(), weights=np.repeat(sizes, 2)).max() == most


def test_the_balance_says_what_a_count_by_hand_finds():
    clips = grid(3, 20)
    test = design_test(clips, n_raters=14, probes=real(4))
    heard = {rater: {t["clip_id"] for t in trials} & set(clips.index) for rater, trials in batches_of(test)}
    shared = [len(one & other) for one, other in combinations(heard.values(), 2)]
    assert test.balance["clips_two_raters_share"] == [min(shared), max(shared)]
    assert test.balance["clips_in_a_batch"] == [21, 24]
    assert test.balance["raters_of_a_clip"] == [5, 5]
    assert test.balance["trials"] == 300 + 14 * 2 + 14
    assert test.balance["probes_in_a_batch"] == [2, 2]
    # 100 clips of each system do not divide by 14; of 21 to 24 clips and 2 probes half is 11 or more.
    assert test.report().split("\n") == [
        "5 raters a clip; 1 batch a rater, of 21 to 24 clips and 2 probes; 342 trials in all",
        f"any two raters share {min(shared)} to {max(shared)} clips",
        "3 systems: two batches differ by 1 clip of a system at most; the least possible is 1",
        "14 clips come again, 11 places later or more",
    ]


def test_the_balance_of_pairs_counts_comparisons():
    # Four prompts of three clips, each in five comparisons, one of a prompt in six: 4 x 8 of them, and 12 come again.
    # 32 comparisons for 12 raters are 2 or 3; half of two is one place.
    test = design_test(grid(3, 4), n_raters=12, method="pairs")
    shared = test.balance["clips_two_raters_share"]
    assert test.report().split("\n") == [
        "5 to 6 raters a clip; 1 batch a rater, of 2 to 3 comparisons and 0 probes; 44 trials in all",
        f"any two raters share {shared[0]} to {shared[1]} clips",
        "3 systems: two batches differ by 1 comparison of a system at most; the least possible is 1",
        "4 prompts: two batches differ by 1 group of a prompt at most; the least possible is 1",
        "12 comparisons come again, 1 place later or more",
    ]


def test_a_seed_is_a_test_and_raters_have_orders_of_their_own():
    clips = grid(3, 20)
    one, same, other = (design_test(clips, n_raters=14, seed=seed) for seed in (3, 3, 4))
    assert one == same != other
    everyone = design_test(clips, n_raters=5)
    orders = {tuple(str(trial) for trial in trials) for _, trials in batches_of(everyone)}
    prompts = {
        tuple(everyone.clips[t["clip_id"]]["prompt"] for t in trials) for _, trials in batches_of(everyone)
    }
    assert len(orders) == len(prompts) == len(batches_of(everyone))


def test_a_test_is_read_as_it_was_written(tmp_path):
    test = design_test(grid(3, 4), n_raters=6, probes=real(2), training=3)
    test.save(tmp_path / "sub" / "design.json")
    assert load_test(tmp_path / "sub" / "design.json") == test
    assert len(test.training) == 3
    assert {test.clips[name]["system"] for name in test.training} == {"S0", "S1", "S2"}
    rated = {clip for *_, trial in test.trials() for clip in clips_of(trial)}
    assert not rated & set(test.training)


def made_by_hand(**changes):
    names = {"a": ("calm", "S0"), "b": ("fast", "S1"), "never heard": ("fast", "S1"), "real": ("calm", "")}
    clips = {
        name: {"path": f"/{name}.wav", "prompt": prompt, "system": system, "probe": name == "real"}
        for name, (prompt, system) in names.items()
    }
    first = [{"clip_id": "a"}, {"clip_id": "real"}, {"clip_id": "a", "repeat": True}]
    batches = [{"batch": 1, "trials": first}, {"batch": 2, "trials": [{"clip_id": "b"}]}]
    return ListeningTest(**{"clips": clips, "raters": {"R01": batches, "R02": batches[1:]}} | changes)


def test_a_test_lists_its_trials_and_the_clips_that_it_is_about():
    test = made_by_hand()
    rows = [
        ("R01", 1, 1, "a", False),
        ("R01", 1, 2, "real", False),
        ("R01", 1, 3, "a", True),
        ("R01", 2, 1, "b", False),
        ("R02", 2, 1, "b", False),
    ]
    columns = ["rater", "batch", "position", "clip_id", "repeat"]
    pd.testing.assert_frame_equal(test.to_frame(), pd.DataFrame(rows, columns=columns))
    table = {"path": ["/a.wav", "/b.wav"], "prompt": ["calm", "fast"], "system": ["S0", "S1"]}
    expected = pd.DataFrame(table, index=pd.Index(["a", "b"], name="clip_id"))
    pd.testing.assert_frame_equal(test.rated_clips(), expected)
    unknown = made_by_hand(clips={name: clip | {"system": ""} for name, clip in test.clips.items()})
    pd.testing.assert_frame_equal(unknown.rated_clips(), expected.drop(columns="system"))
    pairs = [{"batch": 1, "trials": [{"clip_a": "a", "clip_b": "b"}]}]
    asked = made_by_hand(method="pairs", raters={"R01": pairs}).to_frame()
    expected = {"rater": "R01", "batch": 1, "position": 1, "clip_a": "a", "clip_b": "b", "repeat": False}
    pd.testing.assert_frame_equal(asked, pd.DataFrame([expected]))
    assert list(made_by_hand(raters={}).to_frame()) == columns


@pytest.mark.parametrize(("method", "ends"), [("acr", (1, 5)), ("slider", (0, 100))])
def test_scores_have_ends(method, ends):
    assert made_by_hand(method=method).score_range == ends


def test_a_test_is_shown_by_its_report():
    test = design_test(grid(2, 2), n_raters=2, per_clip=1)
    assert str(test) == test.report() != ""
    assert repr(test) == f"<ListeningTest: {test.report().splitlines()[0]}>"


@pytest.mark.parametrize(
    ("clips", "method", "scales"),
    [
        (grid(2, 4), "acr", ["impression", "alignment"]),
        (grid(2, 4), "slider", ["impression", "alignment"]),
        (grid(2, 4).assign(prompt=""), "acr", ["impression"]),
        (grid(2, 4)[["path"]], "acr", ["impression"]),
        (grid(2, 4), "pairs", ["preference"]),
    ],
)
def test_alignment_is_asked_for_where_there_are_prompts(clips, method, scales):
    test = design_test(clips, n_raters=4, per_clip=2, method=method)
    assert (test.method, test.scales) == (method, scales)


def test_a_file_is_read_by_people_too_and_names_sounds_from_its_folder(tmp_path, monkeypatch):
    test = made_by_hand(scales=["Höreindruck"])
    test.clips["a"]["path"] = str(tmp_path / "sounds" / "a.wav")
    path = tmp_path / "tests" / "design.json"
    test.save(path)
    assert "Höreindruck" in path.read_text(encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8"))["clips"]["a"]["path"] == "../sounds/a.wav"

    def on_another_drive(*_):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    with monkeypatch.context() as patch:
        patch.setattr("os.path.relpath", on_another_drive)
        test.save(path)
    assert json.loads(path.read_text(encoding="utf-8"))["clips"]["a"]["path"] == test.clips["a"]["path"]


@pytest.mark.parametrize("batches", ["", []])
def test_a_design_with_a_rater_of_no_trials_is_refused(tmp_path, batches):
    path = tmp_path / "design.json"
    design_test(grid(2, 2), n_raters=4, per_clip=2).save(path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"raters": dict.fromkeys(content["raters"], batches)}))
    with pytest.raises(ClipsTableError, match="was damaged or changed"):
        load_test(path)


def test_files_that_are_no_design_are_refused(tmp_path):
    path = tmp_path / "d.json"
    path.write_text("rater,clip")
    with pytest.raises(ClipsTableError, match="is no JSON"):
        load_test(path)
    path.write_text('{"format": "musiceval-listening-test", "version": 2}')
    with pytest.raises(ClipsTableError, match="is of version 2, and this musiceval_sk reads up to 1"):
        load_test(path)
    path.write_text('{"answers": []}')
    with pytest.raises(ClipsTableError, match="is no design of a listening test"):
        load_test(path)


@pytest.mark.parametrize("n_raters", [10, 17, 20])
def test_no_rater_is_left_out_where_batches_are_more_than_there_is_to_hear(n_raters):
    """Twenty prompts stay whole: of two batches a rater, some stay empty, and each rater has one that is not."""
    test = design_test(grid(3, 20), n_raters=n_raters, per_clip=1, n_batches=2)
    n_trials = [sum(len(batch["trials"]) for batch in batches) for batches in test.raters.values()]
    assert len(n_trials) == n_raters and min(n_trials) > 0


@pytest.mark.parametrize(
    ("demands", "words"),
    [
        ({"n_raters": 7, "n_batches": 1}, "60 clips x 5 ratings = 300 do not fit 7 raters of 1 batch of 40.*"
         "give n_raters=8 or batch_size=45 or n_batches=2"),
        ({"n_raters": 4}, "there are 4; give n_raters=5 or per_clip=4"),
        # Twenty prompts make twenty groups, each for one rater.
        ({"n_raters": 23, "per_clip": 1}, "^3 of 23 raters would hear nothing.*give n_raters=20$"),
        ({"n_raters": 23, "per_clip": 1, "n_batches": 2}, "^3 of 23 raters would hear nothing.*give n_raters=20$"),
        ({"n_raters": 14, "n_duplicates": 12}, "has no room for 12 that come again.*give n_duplicates=11"),
        ({"n_raters": 8, "batch_size": 10, "probes": real(3)}, "3 probes for 5 batches.*give 5 of them$"),
        ({"n_raters": 8, "n_batches": 2, "probes": real(4), "n_probes": 3}, "4 probes for 2 batches.*give 6 of them or n_probes=2$"),
        ({"n_raters": 8, "n_batches": 0}, "n_batches=0 must be a whole number and at least 1"),
        ({"n_raters": 8, "per_clip": 0}, "per_clip=0 must be a whole number and at least 1"),
        ({"n_raters": 8, "batch_size": 0}, "batch_size=0 must be a whole number and at least 1"),
        ({"n_raters": 8, "n_probes": -1}, "n_probes=-1 must be a whole number and at least 0"),
        ({"n_raters": 8, "n_duplicates": -1}, "n_duplicates=-1 must be a whole number and at least 0"),
        ({"n_raters": 14, "n_probes": 1}, "give probes="),
        ({"n_raters": 0}, "n_raters=0 must be a whole number and at least 1"),
        ({"n_raters": 9, "method": "mushra"}, "choose from acr, slider, pairs"),
        ({"n_raters": 9, "training": 60}, "less than the 60 clips"),
        ({"n_raters": 9, "training": -1}, "at least 0 and less"),
        ({"n_raters": 9, "probes": real(2)[:0]}, "the clips table is empty"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_what_can(demands, words):
    with pytest.raises(ValueError, match=words):
        design_test(grid(3, 20), **demands)


def test_the_numbers_of_a_refusal_do():
    clips = grid(3, 20)
    design_test(clips, n_raters=8, n_batches=1)
    design_test(clips, n_raters=7, n_batches=1, batch_size=45)
    with pytest.raises(RatingDesignError, match="give n_raters=8 or batch_size=45 or"):
        design_test(clips, n_raters=7, n_batches=1, batch_size=44)
    design_test(clips, n_raters=7, n_batches=2)
    for demands in ({"n_raters": 2, "batch_size": 200}, {"n_raters": 4, "n_batches": 2}):
        with pytest.raises(ValueError) as error:
            design_test(clips, method="pairs", **demands)
        enough = int(str(error.value).rpartition("n_raters=")[2])
        with pytest.raises(ValueError):
            design_test(clips, method="pairs", **demands | {"n_raters": enough - 1})
        test = design_test(clips, method="pairs", **demands | {"n_raters": enough})
        assert len(test.raters) == enough


def test_where_no_number_will_do_it_is_said(monkeypatch):
    monkeypatch.setattr("musiceval_sk.listening.deal.Deal.fill", lambda self: False)
    with pytest.raises(ValueError, match="give more raters, larger or more batches, or fewer clips"):
        design_test(grid(3, 20), n_raters=8)


def test_a_prompt_of_more_clips_than_a_batch_is_parted():
    test = design_test(grid(31, 4), n_raters=6, batch_size=20)
    assert test.balance["clips_in_a_batch"][1] <= 20
    assert test.balance["raters_of_a_clip"] == [5, 5]


def test_prompts_in_several_groups_are_balanced_and_whole_ones_are_not():
    # Two clips of each system for each of three prompts make two groups of it.
    test = design_test(grid(2, 3, items=2), n_raters=4, per_clip=2)
    assert test.balance["prompts_in_a_batch"]["kinds"] == 3
    assert "prompts_in_a_batch" not in design_test(grid(2, 3), n_raters=4, per_clip=2).balance


def test_clips_are_named_by_path_whatever_their_scores(tmp_path):
    (tmp_path / "clips.csv").write_text("clip_id,path,impression\na,a.wav,70\nb,b.wav,30\n")
    test = design_test(tmp_path / "clips.csv", n_raters=2, per_clip=1, n_duplicates=0)
    assert {name: clip["path"] for name, clip in test.clips.items()} == {
        name: str(tmp_path / f"{name}.wav") for name in "ab"
    }
    with pytest.raises(ClipsTableError, match="path"):
        design_test(grid(2, 2).drop(columns="path"), n_raters=2, per_clip=1)
    # A clip without a path is no sound in the folder where the design is made.
    with pytest.raises(ClipsTableError, match="'path' must hold text in every row.* S1_P0_0"):
        design_test(grid(2, 2).replace({"path": {"S1_P0_0.wav": None}}), n_raters=2, per_clip=1)


def test_a_probe_is_no_clip_of_the_test():
    clips = grid(3, 20)
    with pytest.raises(ClipsTableError, match="share clip ids"):
        design_test(clips, n_raters=8, probes=clips[:2])


def probes_of(test):
    return [
        (rater, [trial["clip_id"] for trial in trials if test.clips[trial["clip_id"]]["probe"]], trials)
        for rater, trials in batches_of(test)
    ]


def test_a_rater_of_several_batches_hears_each_probe_once():
    # Forty clips in batches of ten are two for each of ten raters, with two of the four probes in each.
    test = design_test(grid(2, 20), n_raters=10, batch_size=10, n_batches=2, probes=real(4), n_duplicates=0)
    heard = {rater: [] for rater in test.raters}
    for rater, probes, _ in probes_of(test):
        assert len(probes) == 2
        heard[rater] += probes
    assert len(probes_of(test)) == 20
    assert all(sorted(probes) == ["real0", "real1", "real2", "real3"] for probes in heard.values())
    # Of three there is one for each of two batches.
    fewer = design_test(grid(2, 20), n_raters=10, batch_size=10, n_batches=2, probes=real(3), n_duplicates=0)
    assert {len(probes) for _, probes, _ in probes_of(fewer)} == {1}
    none = design_test(
        grid(2, 20), n_raters=10, batch_size=10, n_batches=2, probes=real(4), n_probes=0, n_duplicates=0
    )
    assert {len(probes) for _, probes, _ in probes_of(none)} == {0}


@pytest.mark.parametrize("seed", range(3))
def test_probes_are_heard_equally_often(seed):
    # Two probes in each of nine batches, of six: three times each.
    test = design_test(grid(2, 9).assign(prompt=""), n_raters=9, probes=real(6), seed=seed, n_duplicates=0)
    times = Counter(name for _, probes, _ in probes_of(test) for name in probes)
    assert times == {f"real{i}": 3 for i in range(6)}


def test_probes_are_of_the_prompts_of_their_batch_where_there_are_such():
    # Every batch is of two or three prompts of six, and of each prompt there is a probe.
    probes = real(6).assign(prompt=[f"P{i}" for i in range(6)])
    test = design_test(grid(2, 6), n_raters=5, per_clip=2, probes=probes, n_duplicates=0)
    for _, own, trials in probes_of(test):
        prompts = [{test.clips[t["clip_id"]]["prompt"] for t in trials if (t["clip_id"] in own) == is_probe}
                   for is_probe in (True, False)]  # fmt: skip
        assert len(own) == 2 and prompts[0] <= prompts[1] != set(probes["prompt"])


def test_probes_without_a_prompt_are_given_one():
    test = design_test(grid(3, 20), n_raters=8, probes=real(4))
    assert all(clip["prompt"].startswith("P") for clip in test.clips.values())


@pytest.mark.parametrize(
    ("systems", "prompts", "per_clip", "n_raters"),
    [(2, 9, 5, 6), (3, 20, 5, 14), (4, 6, 3, 8), (5, 20, 2, 6), (7, 11, 4, 12), (12, 5, 5, 13)],
)
def test_what_holds_of_every_design_of_pairs(systems, prompts, per_clip, n_raters):
    clips = grid(systems, prompts)
    test = design_test(clips, n_raters=n_raters, per_clip=per_clip, method="pairs", batch_size=30)
    pairs = [(rater, t["clip_a"], t["clip_b"]) for rater, _, _, t in test.trials() if "repeat" not in t]
    again = [(rater, t["clip_b"], t["clip_a"]) for rater, _, _, t in test.trials() if "repeat" in t]
    assert set(again) <= set(pairs)
    assert len(again) == len(batches_of(test))
    table = pd.DataFrame(pairs, columns=["rater", "a", "b"])
    assert (clips["prompt"][table["a"]].to_numpy() == clips["prompt"][table["b"]].to_numpy()).all()
    for _, own in table.groupby("rater"):
        assert not pd.concat([own["a"], own["b"]]).duplicated().any()
    left, right = (table[side].value_counts().reindex(clips.index, fill_value=0) for side in "ab")
    more = left + right - per_clip
    assert more.isin([0, 1]).all()
    is_odd = systems * per_clip % 2
    assert (more.groupby(clips["prompt"]).sum() == is_odd).all()
    assert (left - right).abs().max() <= 1
    assert (left - right).groupby(clips["system"]).sum().abs().max() <= 1
    for _, own in table.groupby(clips["prompt"][table["a"]].to_numpy()):
        reached = {own["a"].iloc[0]}
        for _ in range(systems):
            reached |= {*own["a"][own["b"].isin(reached)], *own["b"][own["a"].isin(reached)]}
        assert len(reached) == systems
    met = Counter(frozenset((clips["system"][a], clips["system"][b])) for _, a, b in pairs)
    assert len(met) == systems * (systems - 1) // 2
    assert max(met.values()) - min(met.values()) <= max(2, prompts // 4)


@pytest.mark.parametrize(
    ("clips", "demands", "words"),
    [
        (grid(3, 4), {"per_clip": 1}, "give per_clip=2 or more"),
        (grid(3, 4)[:-2], {}, "the only one of a prompt: S0_P3_0"),
        (pd.concat([grid(2, 2), grid(2, 2).assign(prompt="Q", system=["X", "Y"] * 2).add_prefix("", axis=1).set_axis(list("abcd"))]),
         {}, "no chain of prompts connects the systems S0, S1 with X, Y"),
        (grid(3, 20), {"n_raters": 5}, "do not fit 5 raters.*give n_raters="),
        (grid(3, 20), {"n_raters": 2, "batch_size": 200}, "do not fit 2 raters of 1 batch of 200.*give n_raters=[5-9]$"),
        (grid(3, 20), {"n_raters": 4, "n_batches": 2}, "give n_raters=[5-9]$"),
        (grid(3, 4), {"probes": real(2)}, "method='pairs' takes no probes="),
    ],
)  # fmt: skip
def test_pairs_that_cannot_be_are_refused(clips, demands, words):
    with pytest.raises(ValueError, match=words):
        design_test(clips, **({"n_raters": 12, "method": "pairs"} | demands))


def test_without_prompts_a_repeat_may_come_before_the_end():
    test = design_test(grid(6, 5).assign(prompt=""), n_raters=8, seed=1)
    places = {
        len(trials) - next(i for i, trial in enumerate(trials) if trial.get("repeat"))
        for _, trials in batches_of(test)
    }
    assert len(places) > 2


def test_a_clip_that_comes_again_may_do_so_at_each_place_that_is_far_enough():
    # Half of three is one place: the first may come again after each of the three, the second after two.
    test = design_test(grid(3, 1).assign(prompt=""), n_raters=30, per_clip=30)
    found = set()
    for _, trials in batches_of(test):
        again = next(place for place, trial in enumerate(trials) if "repeat" in trial)
        first = [trial["clip_id"] for trial in trials].index(trials[again]["clip_id"])
        found.add((first, again))
    assert found == {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3)}


def test_clips_that_came_again_least_often_come_again_next():
    test = design_test(grid(6, 1).assign(prompt=""), n_raters=20, per_clip=20)
    times = Counter()
    for _, trials in batches_of(test):
        once = [trial["clip_id"] for trial in trials if "repeat" not in trial]
        (again,) = (trial["clip_id"] for trial in trials if "repeat" in trial)
        # Half a batch must come between, so that it is one of the first three of six.
        assert again in once[:3]
        assert times[again] == min(times[clip] for clip in once[:3])
        times[again] += 1


def test_clips_of_unknown_systems_stay_with_their_prompt(rng):
    clips = grid(4, 2)
    clips.loc[["S2_P0_0", "S3_P0_0"], "system"] = ""
    assert sorted(map(sorted, group_clips(clips, 4, rng))) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_group_is_of_one_prompt_and_holds_a_system_once(rng):
    clips = grid(3, 4, items=2)
    clips.loc[clips.index[-4:], "prompt"] = ""
    groups = group_clips(clips, 3, rng)
    assert sorted(np.concatenate(groups)) == list(range(len(clips)))
    for group in groups:
        prompts, systems = (clips[name].iloc[group] for name in ("prompt", "system"))
        assert prompts.nunique() == 1 and systems.is_unique
        assert len(group) == 1 if prompts.iloc[0] == "" else len(group) <= 3
    # Two clips a system: every whole prompt makes two groups of all three systems.
    assert sum(len(group) == 3 for group in groups) == 2 * 3


@pytest.mark.parametrize(
    ("clips", "demands", "ends"),
    [
        # 180 clips x 10 pairs of their raters, over 45 pairs: 40 each.
        (grid(6, 30).assign(prompt=""), {"n_raters": 10}, [39, 41]),
        # 120 clips x 3 pairs, over 66 pairs: 5.5 each, and prompts of four clips stay whole.
        (grid(4, 30), {"n_raters": 12, "per_clip": 3}, [4, 8]),
    ],
    ids=["no prompts", "whole prompts"],
)
def test_any_two_raters_share_about_as_much(clips, demands, ends):
    test = design_test(clips, **demands)
    assert test.balance["clips_two_raters_share"] == ends
    assert test.balance["panels"] == 1


def test_panels_that_share_no_clip_are_reported():
    # Two prompts of two clips for two raters: each hears one of them.
    test = design_test(grid(2, 2), n_raters=2, per_clip=1, n_duplicates=0)
    assert test.balance["panels"] == 2
    assert test.report().split("\n") == [
        "1 rater a clip; 1 batch a rater, of 2 clips and 0 probes; 4 trials in all",
        "any two raters share 0 clips; they are 2 panels that share none, so that nothing tells raters' bias from their clips",
        "2 systems: two batches differ by 0 clips of a system at most; the least possible is 0",
    ]


@pytest.mark.parametrize(("n_raters", "shared"), [(1, [0, 0]), (2, [3, 3])])
def test_raters_who_hear_everything_share_everything(n_raters, shared):
    # Two clips of one system and one of the other, in each batch.
    test = design_test(grid(2, 2)[:3], n_raters=n_raters, per_clip=n_raters)
    assert test.balance["clips_two_raters_share"] == shared
    assert test.balance["systems_in_a_batch"] == {"kinds": 2, "largest_difference": 0, "least_possible": 0}


def test_what_does_not_divide_by_the_batches_differs_by_one():
    # Three clips of one system and one of the other, in two batches.
    test = design_test(grid(2, 3).iloc[[0, 1, 2, 4]], n_raters=2, per_clip=1, n_duplicates=0)
    assert test.balance["systems_in_a_batch"] == {"kinds": 2, "largest_difference": 1, "least_possible": 1}
