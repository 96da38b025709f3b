"""The folder of a test's page: what is in it, and what must not be."""

import contextlib
import json
from importlib.util import find_spec

import numpy as np
import pytest
import soundfile

from musiceval_sk.listening import build_page, load_test
from tests.listening.designs import made_design


def content_of(folder):
    return json.loads((folder / "test.json").read_text())


def trials_of(content, rater="R01"):
    return [trial for batch in content["raters"][rater] for trial in batch["trials"]]


def test_the_folder_holds_page_trials_and_sounds(tmp_path):
    folder = build_page(made_design(tmp_path), tmp_path / "test", heard_share=0.5)
    content = content_of(folder)
    assert (content["method"], content["scales"]) == ("acr", ["impression", "alignment"])
    assert content["heard_share"] == 0.5
    assert [trial["prompt"] for trial in trials_of(content)[:2]] == ["calm piano", "fast guitars"]
    sounds = {trial["audio"] for trial in trials_of(content)}
    assert sounds == {f"audio/{path.name}" for path in (folder / "audio").iterdir()}
    first = soundfile.read(folder / trials_of(content)[0]["audio"])[0]
    assert np.array_equal(first, soundfile.read(tmp_path / "sounds" / "system-0_take-0.wav")[0])
    for name, variable in (("test", "listenTest"), ("texts", "listenTexts")):
        script = (folder / f"{name}.js").read_text()
        assert json.loads(script.removeprefix(f"window.{variable} = ").rstrip("\n;")) == json.loads(
            (folder / f"{name}.json").read_text()
        )


@pytest.mark.parametrize("method", ["acr", "pairs"])
def test_nothing_in_it_tells_systems_probes_repeats_or_file_names(tmp_path, method):
    folder = build_page(made_design(tmp_path, method), tmp_path / "test")
    told = [path.name for path in folder.rglob("*")] + [(folder / "test.json").read_text()]
    for word in ("system", "take", "probe", "repeat", "C00", ".wav.", "seed"):
        assert not [text for text in told if word in text], word
    trials = trials_of(content_of(folder))
    keys = ["audio"] if method == "acr" else ["audio_a", "audio_b"]
    assert all(list(trial) == ["trial", "prompt", *keys] for trial in trials)
    assert len({trial["trial"] for trial in trials}) == len(trials)


def test_a_repeat_bears_another_name(tmp_path):
    trials = trials_of(content_of(build_page(made_design(tmp_path), tmp_path / "test")))
    first, again = trials[0]["audio"], trials[-1]["audio"]
    assert first != again
    read = [(tmp_path / "test" / name).read_bytes() for name in (first, again)]
    assert read[0] == read[1]


def test_built_again_it_is_the_same_test_and_old_sounds_go(tmp_path):
    design = made_design(tmp_path)
    before = content_of(build_page(design, tmp_path / "test"))
    assert content_of(build_page(design, tmp_path / "test")) == before
    changed = json.loads(design.read_text())
    changed["clips"]["C000"]["prompt"] = "other"
    design.write_text(json.dumps(changed))
    after = content_of(build_page(design, tmp_path / "test"))
    assert after["id"] != before["id"]
    sounds = {f"audio/{path.name}" for path in (tmp_path / "test" / "audio").iterdir()}
    assert sounds == {trial["audio"] for trial in trials_of(after)}


def test_a_design_in_memory_or_moved_is_the_same_test(tmp_path):
    design = made_design(tmp_path)
    before = content_of(build_page(design, tmp_path / "test"))
    test = load_test(design)
    assert content_of(build_page(test, tmp_path / "other")) == before
    (tmp_path / "moved").mkdir()
    test.save(tmp_path / "moved" / "design.json")
    assert content_of(build_page(tmp_path / "moved" / "design.json", tmp_path / "third")) == before


def test_own_texts_take_the_place_of_the_pages(tmp_path):
    own = {
        "next": "Weiter",
        "scales": {"groove": {"question": "Groove?", "anchors": ["1", "2", "3", "4", "5"]}},
    }
    (tmp_path / "de.json").write_text(json.dumps(own))
    folder = build_page(made_design(tmp_path), tmp_path / "test", texts=tmp_path / "de.json")
    texts = json.loads((folder / "texts.json").read_text())
    assert (texts["next"], texts["play"], texts["scales"]["groove"]["question"]) == (
        "Weiter",
        "Play",
        "Groove?",
    )
    assert texts["scales"]["impression"]["anchors"][0] == "Bad"


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"nxt": "Weiter"}, "unknown text 'nxt'"),
        ({"keys": {"mouse": "x"}}, "unknown text 'keys.mouse'"),
        ({"consent": "x"}, "'consent' must be a list"),
    ],
)
def test_texts_of_no_use_are_refused(tmp_path, own, words):
    (tmp_path / "own.json").write_text(json.dumps(own))
    with pytest.raises(ValueError, match=words):
        build_page(made_design(tmp_path), tmp_path / "test", texts=tmp_path / "own.json")


def test_what_cannot_be_built_is_refused(tmp_path):
    design = made_design(tmp_path)
    with pytest.raises(ValueError, match="heard_share is a share"):
        build_page(design, tmp_path / "test", heard_share=90)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("dear")
    with pytest.raises(ValueError, match="holds other files; name a new or empty folder"):
        build_page(design, tmp_path / "full")
    (tmp_path / "sounds" / "system-0_take-0.wav").write_bytes(b"no sound")
    with pytest.raises(ValueError, match="take-0.wav: cannot be read as sound"):
        build_page(design, tmp_path / "test")
    (tmp_path / "sounds" / "system-0_take-0.wav").unlink()
    with pytest.raises(ValueError, match="1 sound files are not there"):
        build_page(design, tmp_path / "test")
    assert not (tmp_path / "test").exists()
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(ValueError, match="is no design"):
        build_page(tmp_path / "other.json", tmp_path / "test")


@pytest.mark.parametrize(("content", "fits"), [(b"root:x:0:0", False), (b"\0\0\0 ftypM4A ", True)])
def test_what_a_browser_alone_can_play_must_begin_as_a_sound(tmp_path, content, fits):
    design = made_design(tmp_path)
    design.write_text(design.read_text().replace("system-0_take-0.wav", "secret.m4a"))
    (tmp_path / "secret").write_bytes(content)
    (tmp_path / "sounds" / "secret.m4a").symlink_to(tmp_path / "secret")
    with (
        contextlib.nullcontext()
        if fits
        else pytest.raises(ValueError, match="secret.m4a: does not begin as a sound")
    ):
        build_page(design, tmp_path / "test")


@pytest.mark.skipif(find_spec("pyloudnorm") is None, reason="one loudness comes with the extra 'listen'")
class TestLoudness:
    @pytest.fixture
    def uneven(self, tmp_path):
        """Noise at levels 20 dB apart, the first mono, the second as two equal channels; one of 0.3 s, one quiet with a peak."""
        design = made_design(tmp_path, n_clips=6)
        noise = np.random.default_rng(0).normal(0, 0.1, 16000)
        sounds = sorted((tmp_path / "sounds").iterdir())
        soundfile.write(sounds[0], noise, 16000)
        soundfile.write(sounds[1], np.column_stack([noise, noise]) / 4, 16000)
        noise_with_peak = np.where(np.arange(16000) == 8000, 0.9, noise / 4)
        for sound, samples in zip(
            sounds[2:], (0.4 * noise, 0.1 * noise, noise[:4800], noise_with_peak), strict=True
        ):
            soundfile.write(sound, samples, 16000)
        return design

    def test_all_clips_come_to_it(self, tmp_path, uneven):
        import pyloudnorm

        content = content_of(build_page(uneven, tmp_path / "test", loudness=-30))
        for trial in trials_of(content):
            samples, rate = soundfile.read(tmp_path / "test" / trial["audio"], always_2d=True)
            assert trial["audio"].endswith(".flac")
            both = np.tile(samples.repeat(3 - samples.shape[1], axis=1), (2, 1))
            assert pyloudnorm.Meter(rate).integrated_loudness(both) == pytest.approx(-30, abs=0.1)

    def test_mono_and_two_equal_channels_sound_alike(self, tmp_path, uneven):
        content = content_of(build_page(uneven, tmp_path / "test", loudness=-30))
        sounds = [
            soundfile.read(tmp_path / "test" / trial["audio"], always_2d=True)[0]
            for trial in trials_of(content)
        ]
        mono = next(sound for sound in sounds if sound.shape == (16000, 1))
        stereo = next(sound for sound in sounds if sound.shape[1] == 2)
        assert np.abs(mono[:, 0] - stereo[:, 1]).max() < 1e-3

    def test_a_clip_that_would_clip_is_refused_with_what_fits(self, tmp_path, uneven):
        with pytest.raises(ValueError, match=r"would pass -1 dB of true peak.*all fit is -\d+") as refused:
            build_page(uneven, tmp_path / "test", loudness=-3)
        fits = float(str(refused.value).rsplit(" ", 1)[1])
        build_page(uneven, tmp_path / "other", loudness=fits)
        with pytest.raises(ValueError, match="1 of 6 clips would pass"):
            build_page(uneven, tmp_path / "third", loudness=fits + 0.1)

    def test_silence_is_refused(self, tmp_path, uneven):
        soundfile.write(sorted((tmp_path / "sounds").iterdir())[0], np.zeros(8000), 8000)
        with pytest.raises(ValueError, match="silent clips"):
            build_page(uneven, tmp_path / "test", loudness=-30)
