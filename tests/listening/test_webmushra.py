"""`build_webmushra`: what its YAML says, and that what webMUSHRA writes of it is read as ratings of the design."""

import csv

import pandas as pd
import pytest
from typer.testing import CliRunner

from musiceval_sk.cli.app import app
from musiceval_sk.listening import build_webmushra, design_test, load_test
from tests.listening.designs import made_design

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


@pytest.mark.filterwarnings("ignore:S metrics over")
def test_what_webmushra_writes_goes_through_the_command_ratings(tmp_path):
    design = made_design(tmp_path, raters=("R01", "R02", "R03"))
    rows = []
    for file in build_webmushra(design, tmp_path / "web"):
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        rater = config["pages"][-1]["questionnaire"][0]["response"][0]["value"]
        for page in config["pages"][1:-1]:
            (clip,) = page["stimuli"]
            score = 4 if clip == "C001" else 1 + int(clip[3]) % 4
            score = 1 if (rater, clip) == ("R03", "C001") else score
            rows.append([config["testId"], rater, page["id"], score, score, clip, 9000])
    # As service/write.php of webMUSHRA lays it out for pages of two scales.
    names = [
        "session_test_id",
        "rater",
        "trial_id",
        "stimuli_rating1",
        "stimuli_rating2",
        "stimuli",
        "rating_time",
    ]
    with (tmp_path / "lss.csv").open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    arguments = [
        "--target",
        "impression",
        "--target",
        "alignment",
        "--design",
        str(design),
        "--out",
        str(tmp_path / "mos"),
    ]
    result = CliRunner().invoke(app, ["ratings", str(tmp_path / "lss.csv"), *arguments])
    assert result.exit_code == 0, result.output
    left_out = pd.read_csv(tmp_path / "mos" / "left-out.csv")
    assert left_out[["rater", "batch"]].to_numpy().tolist() == [["R03", 1]]
    mos = pd.read_csv(tmp_path / "mos" / "mos.csv", index_col="clip_id")
    assert mos["impression"].to_dict() == {f"C{n:03d}": 1 + n % 4 for n in (0, 2, 3, 4, 5)}
    assert mos["impression_count"].to_dict() == {"C000": 2, "C002": 2, "C003": 2, "C004": 3, "C005": 3}


def test_sliders_and_pairs_are_refused(tmp_path):
    with pytest.raises(ValueError, match="only beside a reference, which this test by 'pairs' has not"):
        build_webmushra(made_design(tmp_path, "pairs"), tmp_path / "web")


def test_a_design_of_one_scale_has_one_list_of_responses(tmp_path):
    made = load_test(made_design(tmp_path))
    clips = pd.DataFrame({"path": [clip["path"] for clip in made.clips.values()]}, index=list(made.clips))
    test = design_test(clips, n_raters=3, per_clip=2)
    file, *_ = build_webmushra(test, tmp_path / "web")
    page = yaml.safe_load(file.read_text(encoding="utf-8"))["pages"][1]
    assert [one["value"] for one in page["response"]] == [1, 2, 3, 4, 5]
