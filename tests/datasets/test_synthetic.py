import hashlib

import numpy as np
import pandas as pd
import pytest
from scipy.io import wavfile
from scipy.stats import spearmanr

from musiceval_sk.datasets.clips import load_clips
from musiceval_sk.datasets.synthetic import VALUES, Attributes, Defects, make_listening_test, phrase, render

RATE = 22050
BASIS = Attributes("moderate", "major", "piano", "solo")
FLAWLESS = Defects(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
SMALL = {"n_systems": 3, "n_prompts": 2, "seconds": 1.0}


def digests(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def listening_test(tmp_path_factory):
    return make_listening_test(tmp_path_factory.mktemp("made"), seconds=1.5)


@pytest.fixture
def tune():
    def play(attributes=BASIS, seed=0, seconds=2, **defects):
        rng = np.random.default_rng(seed)
        return render(attributes, FLAWLESS._replace(**defects), seconds * RATE, RATE, rng)

    return play


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    make_listening_test(tmp_path / "one", **SMALL)
    make_listening_test(tmp_path / "two", **SMALL)
    one = digests(tmp_path / "one")
    assert one == digests(tmp_path / "two")
    assert len(one) == 3 * 2 + 4  # clips; three tables and the README


def test_another_seed_gives_other_sounds(tmp_path):
    make_listening_test(tmp_path / "one", **SMALL)
    make_listening_test(tmp_path / "two", **SMALL, random_state=1)
    one, two = digests(tmp_path / "one"), digests(tmp_path / "two")
    assert {name for name in one if one[name] == two[name]} == {"README.txt"}


def test_clips_table(listening_test):
    clips = listening_test.clips
    assert clips.index.name == "clip_id"
    assert clips.index.is_unique
    assert list(clips.columns) == ["path", "prompt", "system"]
    assert clips.loc["S12_P10", "path"] == str(listening_test.folder / "audio" / "S12_P10.wav")
    assert clips.groupby("system").size().tolist() == [10] * 12
    assert clips.groupby("prompt").size().tolist() == [12] * 10


def test_sounds_are_readable_and_of_the_asked_length(listening_test):
    for path in listening_test.clips["path"]:
        rate, samples = wavfile.read(path)
        assert rate == RATE
        assert samples.dtype == np.int16
        assert samples.shape == (33075,)  # 1.5 s * 22050 Hz
        assert np.abs(samples).max() == pytest.approx(0.8 * 32767, abs=1)


def test_files_hold_what_is_returned(listening_test):
    folder = listening_test.folder
    read = load_clips(folder / "clips.csv")
    pd.testing.assert_frame_equal(read[listening_test.clips.columns], listening_test.clips, check_dtype=False)
    pd.testing.assert_frame_equal(
        pd.read_csv(folder / "ratings.csv"), listening_test.ratings, check_dtype=False
    )
    systems = pd.read_csv(folder / "systems.csv", index_col="system")
    pd.testing.assert_frame_equal(systems, listening_test.systems)
    assert "simulated" in (folder / "README.txt").read_text()


def test_ratings_are_likert_scores_of_different_raters(listening_test):
    ratings = listening_test.ratings
    assert list(ratings.columns) == ["rater", "clip_id", "impression", "alignment"]
    assert (ratings["clip_id"].value_counts() == 5).all()
    assert set(ratings["clip_id"]) == set(listening_test.clips.index)
    assert not ratings.duplicated(["rater", "clip_id"]).any()
    for target in ("impression", "alignment"):
        assert ratings[target].dtype.kind == "i"
        assert set(ratings[target]) == {1, 2, 3, 4, 5}


def test_raters_bear_the_same_load(tmp_path):
    ratings = make_listening_test(tmp_path, **SMALL, n_raters=4, raters_per_clip=3).ratings
    # 3 * 2 clips * 3 ratings = 18 on 4 raters.
    assert sorted(ratings["rater"].value_counts()) == [4, 4, 5, 5]


def test_careless_raters_score_by_chance_and_change_nothing_else(tmp_path):
    careful, careless = (
        make_listening_test(tmp_path / str(n), **SMALL, n_raters=5, n_careless=n).ratings for n in (0, 2)
    )
    changed = (careful != careless).any(axis=1)
    assert set(careless.loc[changed, "rater"]) == {"R04", "R05"}
    assert careless[["impression", "alignment"]].isin(range(1, 6)).all(axis=None)


def test_panels_of_raters_vary(listening_test):
    panels = listening_test.ratings.groupby("clip_id")["rater"].agg(frozenset)
    assert panels.nunique() > 50


@pytest.mark.parametrize("truth, target", [("quality", "impression"), ("obedience", "alignment")])
def test_raters_hear_the_truth(listening_test, truth, target):
    scores = listening_test.ratings.join(listening_test.clips["system"], on="clip_id")
    means = scores.groupby("system")[target].mean()
    assert spearmanr(listening_test.systems[truth], means[listening_test.systems.index])[0] > 0.8


def test_names_do_not_tell_quality(listening_test):
    quality = listening_test.systems["quality"]
    np.testing.assert_allclose(np.sort(quality), np.linspace(0.05, 0.95, 12), atol=1e-4)
    assert abs(spearmanr(quality, np.arange(12))[0]) < 0.7


def test_prompts_are_sentences_all_different(tmp_path):
    # 3 tempos * 2 modes * 6 instruments * 3 textures
    prompts = make_listening_test(tmp_path, n_systems=2, n_prompts=108, seconds=1).clips["prompt"]
    assert prompts.nunique() == 108
    assert prompts.str.fullmatch(r"[A-Z][a-z ,:]+\.").all()


def test_a_prompt_names_what_it_asks_for():
    asked = Attributes("slow", "minor", "organ", "drums")
    sentence = phrase(asked, np.random.default_rng(0))
    for word in ("slow", "melancholic", "an organ", "drum"):
        assert word in sentence


def test_an_earlier_test_is_overwritten(tmp_path):
    make_listening_test(tmp_path, **SMALL | {"n_systems": 4})
    (tmp_path / "notes.md").write_text("mine")
    make_listening_test(tmp_path, **SMALL)
    made = digests(tmp_path)
    assert "audio/S04_P01.wav" not in {name.replace("\\", "/") for name in made}
    assert (tmp_path / "notes.md").read_text() == "mine"


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "README.txt").write_text("My recordings")
    before = digests(tmp_path)
    with pytest.raises(
        ValueError, match="is not a synthetic listening test.*nothing was written.*empty folder"
    ):
        make_listening_test(tmp_path, **SMALL)
    assert digests(tmp_path) == before
    with pytest.raises(ValueError, match="is not a synthetic listening test"):
        make_listening_test(tmp_path / "README.txt", **SMALL)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"n_systems": 1}, "n_systems=1: .* at least 2 systems"),
        ({"n_prompts": 0}, "n_prompts=0: ask for 1 to 108"),
        ({"n_prompts": 109}, "n_prompts=109: ask for 1 to 108, as many as are distinct"),
        ({"n_raters": 4}, "raters_per_clip=5 with n_raters=4: .* at most n_raters"),
        ({"n_careless": 11}, "n_careless=11 with n_raters=10: ask for 0 to n_raters"),
        ({"raters_per_clip": 0}, "raters_per_clip=0 .* at least 1"),
        ({"seconds": 0.5}, "seconds=0.5 is too short for a tune; ask for at least 1"),
        ({"seconds": float("nan")}, "seconds=nan is too short"),
        ({"sample_rate": 8000}, "sample_rate=8000 is too low; ask for at least 16000 Hz"),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_written(tmp_path, arguments, words):
    with pytest.raises(ValueError, match=words):
        make_listening_test(tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("attribute", range(4))
def test_every_value_of_an_attribute_sounds_different(tune, attribute):
    name = Attributes._fields[attribute]
    sounds = [tune(BASIS._replace(**{name: value})) for value in VALUES[attribute]]
    for number, sound in enumerate(sounds):
        assert all(np.abs(sound - other).max() > 0.1 for other in sounds[:number])


@pytest.mark.parametrize("instrument", VALUES[2])
def test_the_worst_short_clip_is_finite_and_not_silent(tune, instrument):
    worst = dict.fromkeys(Defects._fields, 1.0)
    for seed in range(5):
        sound = tune(Attributes("slow", "minor", instrument, "solo"), seed, seconds=1, **worst)
        assert np.abs(sound).max() == pytest.approx(0.8)


def test_each_defect_does_what_its_name_says(tune):
    def band_energy(sound, lowest):
        power = np.abs(np.fft.rfft(sound)) ** 2
        return power[np.fft.rfftfreq(sound.size, 1 / RATE) > lowest].sum() / power.sum()

    clean = tune()
    assert band_energy(tune(hiss=0.8), 5000) > 100 * band_energy(clean, 5000)
    assert band_energy(tune(muffling=0.8), 1000) < 0.1 * band_energy(clean, 1000)
    assert np.mean(np.abs(tune(distortion=1.0))) > 2 * np.mean(np.abs(clean))
    assert np.mean(tune(dropouts=1.0) == 0) > 0.1
    assert np.mean(clean == 0) < 0.01
    assert np.corrcoef(clean, tune(wrong_notes=1.0))[0, 1] < 0.7
    assert np.corrcoef(clean, tune(jitter=1.0))[0, 1] < 0.7
