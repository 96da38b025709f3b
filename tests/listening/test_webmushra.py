"""`build_webmushra`: what its YAML says, and that what webMUSHRA writes of it is read as ratings of the design."""

import re
import zlib

import numpy as np
import pandas as pd
import pytest
import soundfile
from typer.testing import CliRunner

from musiceval_sk.cli.app import app
from musiceval_sk.listening import build_webmushra, design_test, load_test, read_answers
from musiceval_sk.ratings.formats import read_ratings
from tests.listening.designs import download, given_answers, made_design

yaml = pytest.importorskip("yaml")


def test_a_configuration_is_a_batch_in_the_designs_order(tmp_path):
    test = load_test(made_design(tmp_path))
    files = build_webmushra(test, tmp_path / "web")
    assert len(files) == 4
    assert {file.parent for file in files} == {tmp_path / "web" / "configs"}
    for (rater, number), file in zip([(r, n) for r in test.raters for n in (0, 1)], files, strict=True):
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert config["testId"].startswith("musiceval_")
        assert config["remoteService"] == "service/write.php"
        first, *pages, last = config["pages"]
        assert (first["type"], last["type"]) == ("generic", "finish")
        assert first["content"].count("<audio") == len(test.training)
        assert last["questionnaire"][0]["response"] == [{"value": rater, "label": rater}]
        trials = test.raters[rater][number]["trials"]
        names = [trial["clip_id"] + "_again" * trial.get("repeat", False) for trial in trials]
        assert [list(page["stimuli"]) for page in pages] == [[name] for name in names]
        assert [page["id"] for page in pages] == names
        for page, trial in zip(pages, trials, strict=True):
            assert page["type"] == "likert_single_stimulus"
            assert f"<b>{test.clips[trial['clip_id']]['prompt']}</b>" in page["content"]
            (sound,) = page["stimuli"].values()
            assert (tmp_path / "web" / sound).is_file()
            assert [[one["value"] for one in scale] for scale in page["response"]] == [[1, 2, 3, 4, 5]] * 2
        text = file.read_text(encoding="utf-8")
        assert "system" not in text


def test_texts_survive_yaml(tmp_path):
    design = made_design(tmp_path)
    test = load_test(design)
    test.clips["C000"]["prompt"] = 'a "fast" <tune>: 50 % \\ of it\n- é # 音楽'
    file, *_ = build_webmushra(test, tmp_path / "web")
    pages = yaml.safe_load(file.read_text(encoding="utf-8"))["pages"]
    assert "<b>a &quot;fast&quot; &lt;tune&gt;: 50 % \\ of it\n- é # 音楽</b>" in pages[1]["content"]


def php_cell(value):
    """A cell as PHP's fputcsv writes it: in quotes where it holds a comma, a quote, a backslash or a space."""
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if re.search(r'[",\\\s]', text) else text


def hold(files, path, answer, is_of_2015=False):
    """Write lss.csv as service/write.php of webMUSHRA does, a session a configuration; ``answer(rater, page)`` gives a value a scale."""
    lines = []
    for file in files:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        (question,) = config["pages"][-1]["questionnaire"]
        rater = question["response"][0]["value"]
        for page in config["pages"][1:-1]:
            answers, (clip,) = answer(rater, page), page["stimuli"]
            scales = page["response"] if isinstance(page["response"][0], list) else [page["response"]]
            for value, scale in zip(answers, scales, strict=True):
                assert value in [one["value"] for one in scale]
            asked = [""] if len(answers) == 1 else range(1, len(answers) + 1)
            names = [question["name"], "trial_id", *(f"stimuli_rating{number}" for number in asked)]
            if not lines:
                lines.append(["session_test_id", *names, "stimuli", "rating_time"])
            shown = [f" {value} " for value in answers] if is_of_2015 else answers
            lines.append([config["testId"], rater, page["id"], *shown, clip, 12500])
    path.write_text("".join(",".join(map(php_cell, line)) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.mark.filterwarnings("ignore:S metrics over")
def test_what_webmushra_writes_goes_through_the_command_ratings(tmp_path):
    design = made_design(tmp_path, raters=("R01", "R02", "R03"))

    def answer(rater, page):
        (clip,) = page["stimuli"]
        score = 4 if clip == "C001" else 1 + int(clip[3]) % 4
        return [1 if (rater, clip) == ("R03", "C001") else score] * 2

    mos = mean_scores(hold(build_webmushra(design, tmp_path / "web"), tmp_path / "lss.csv", answer), design)
    left_out = pd.read_csv(tmp_path / "mos" / "left-out.csv")
    assert left_out[["rater", "batch"]].to_numpy().tolist() == [["R03", 1]]
    assert mos["impression"].to_dict() == {f"C{n:03d}": 1 + n % 4 for n in (0, 2, 3, 4, 5)}
    assert mos["impression_count"].to_dict() == {"C000": 2, "C002": 2, "C003": 2, "C004": 3, "C005": 3}


def mean_scores(results, design):
    """The table that the command ``ratings`` writes of results."""
    targets = ["--target", "impression", "--target", "alignment"]
    arguments = [*targets, "--design", str(design), "--out", str(results.parent / "mos")]
    result = CliRunner().invoke(app, ["ratings", str(results), *arguments])
    assert result.exit_code == 0, result.output
    return pd.read_csv(results.parent / "mos" / "mos.csv", index_col="clip_id")


@pytest.mark.filterwarnings("ignore:S metrics over")
def test_sliders_become_eleven_points_and_come_back_from_0_to_100(tmp_path):
    design = made_design(tmp_path, "slider")
    files = build_webmushra(design, tmp_path / "web")
    page = yaml.safe_load(files[0].read_text(encoding="utf-8"))["pages"][1]
    labels = [one["label"] for one in page["response"][0]]
    assert labels == [
        "0",
        "10 Bad",
        "20",
        "30 Poor",
        "40",
        "50 Fair",
        "60",
        "70 Good",
        "80",
        "90 Excellent",
        "100",
    ]

    def answer(rater, page):
        (clip,) = page["stimuli"]
        return [10 * (5 + int(clip[3])) - 10 * (rater == "R02"), 100 if rater == "R01" else 50]

    results = hold(files, tmp_path / "lss.csv", answer)
    table = read_ratings(results, targets=["impression", "alignment"])
    given = given_answers(
        load_test(design),
        lambda rater, clip, scale: answer(rater, {"stimuli": [clip]})[scale != "impression"],
    )
    own = read_answers([download(tmp_path / "own", load_test(design), one) for one in given.values()], design)
    for name in ("rater", "clip_id", "impression", "alignment", "seconds"):
        assert table[name].astype(str).tolist() == own[name].astype(str).tolist(), name
    mos = mean_scores(results, design)
    assert mos["impression"].to_dict() == {f"C{n:03d}": 45 + 10 * n for n in (0, 2, 3, 4, 5)}
    assert set(mos["alignment"]) == {75}


@pytest.mark.parametrize("is_of_2015", [False, True])
def test_pairs_come_back_as_they_were_answered(tmp_path, is_of_2015):
    made = load_test(made_design(tmp_path))
    clips = pd.DataFrame.from_dict(made.clips, orient="index")[["path", "prompt", "system"]]
    clips = clips.rename({"C000": 'C0, "1.2: x"'})
    test = design_test(clips, n_raters=3, per_clip=2, n_duplicates=1, method="pairs")
    repeats = sum(trial.get("repeat", False) for *_, trial in test.trials())
    assert repeats
    files = build_webmushra(test, tmp_path / "web")

    def choice(rater, a, b):
        return ("a", "b", "tie", "both_bad")[zlib.crc32(f"{rater}{a}{b}".encode()) % 4]

    def answer(rater, page):
        (clip,) = page["stimuli"]
        return [choice(rater, page["id"].partition(": ")[2], clip)]

    results = hold(files, tmp_path / "lss.csv", answer, is_of_2015)
    given = given_answers(test, choice)
    own = read_answers([download(tmp_path / "own", test, one) for one in given.values()], test)
    table = read_ratings(results)
    pd.testing.assert_frame_equal(table.reset_index(drop=True), own, check_dtype=False)
    assert set(own["preference"]) > {"a", "b"}
    result = CliRunner().invoke(app, ["pairs", str(results), "--level", "clip", "--prior", "1"])
    assert result.exit_code == 0, result.output
    assert f"left out {repeats} comparisons that came again" in result.output


def test_a_pair_is_one_sound_of_both_clips_with_a_player_each(tmp_path):
    design = made_design(tmp_path, "pairs")
    soundfile.write(tmp_path / "sounds" / "system-1_take-1.wav", np.full((4410, 2), 0.25), 44100)
    file, *_ = build_webmushra(design, tmp_path / "web")
    first, page, *_ = yaml.safe_load(file.read_text(encoding="utf-8"))["pages"]
    assert first["content"].count("<audio") == 2
    players = re.findall(r"(Clip [AB]) <audio controls src='([^']+)'", page["content"])
    assert [name for name, _ in players] == ["Clip A", "Clip B"]
    assert all((tmp_path / "web" / sound).is_file() for _, sound in players)
    (sound,) = page["stimuli"].values()
    samples, rate = soundfile.read(tmp_path / "web" / sound)
    # 0.3 s at 8 kHz, mono; a second of nothing; 0.1 s at 44.1 kHz in stereo.
    assert (rate, samples.shape) == (44100, (13230 + 44100 + 4410, 2))
    parts = np.split(samples, [13230, 13230 + 44100])
    assert np.abs(parts[0]).max() > 0.25 and not parts[1].any() and np.allclose(parts[2], 0.25, atol=1e-4)


def test_a_design_of_one_scale_has_one_list_of_responses(tmp_path):
    made = load_test(made_design(tmp_path))
    clips = pd.DataFrame({"path": [clip["path"] for clip in made.clips.values()]}, index=list(made.clips))
    test = design_test(clips, n_raters=3, per_clip=2)
    file, *_ = build_webmushra(test, tmp_path / "web")
    page = yaml.safe_load(file.read_text(encoding="utf-8"))["pages"][1]
    assert [one["value"] for one in page["response"]] == [1, 2, 3, 4, 5]
