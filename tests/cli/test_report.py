"""`musiceval report` as a user meets it."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from musiceval_sk.cli.app import app
from tests.reporting.studies import made_clips, made_study

pytest.importorskip("jinja2", reason="reports come with the extra 'report'")
pytest.importorskip("matplotlib", reason="reports come with the extra 'report'")


@pytest.fixture
def folder(tmp_path):
    clips = made_clips(n_systems=3, n_prompts=3)
    made_study(clips, {"ridge": np.arange(9)}).to_json(tmp_path / "study.json")
    clips.assign(path=[f"{clip_id}.wav" for clip_id in clips.index]).to_csv(tmp_path / "clips.csv")
    for clip_id in clips.index[:8]:
        (tmp_path / f"{clip_id}.wav").write_bytes(b"RIFF" * 100)
    ratings = pd.DataFrame({"rater": ["A", "B"], "clip_id": "S00_P0", "impression": [2, 4]})
    ratings.to_csv(tmp_path / "ratings.csv", index=False)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def test_help_has_an_example():
    result = run("--help")
    assert result.exit_code == 0
    assert "Example:  musiceval report study --clips" in result.stdout


def test_writes_a_page_with_linked_sounds(folder):
    options = ["--clips", folder / "clips.csv", "--ratings", folder / "ratings.csv", "--note", "All made up."]
    result = run(folder / "study.json", *options, "--out", folder / "pages" / "r.html")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"wrote {folder / 'pages' / 'r.html'} (0.")
    text = (folder / "pages" / "r.html").read_text()
    assert '"../S00_P0.wav"' in text and "All made up." in text
    assert "1 clip has no sound here, for the file is not there: S02_P2." in text


def test_a_folder_gets_its_page_beside_the_study(folder, without_figures):
    result = run(folder)
    assert result.exit_code == 0, result.output
    assert "<html" in (folder / "report.html").read_text()
    assert "report.html: is there already; --force replaces that, or" in run(folder).stderr
    assert run(folder, "--force").exit_code == 0


@pytest.fixture
def without_figures(monkeypatch):
    monkeypatch.setattr("musiceval_sk.reporting.page.report.draw_pictures", lambda section: {})


@pytest.mark.usefixtures("without_figures")
def test_embeds_up_to_a_limit(folder):
    # 400 bytes are 536 characters in base64: three fit into 1,700.
    options = ["--clips", folder / "clips.csv", "--audio", "embed", "--max-audio-mb", "0.0017"]
    assert run(folder / "study.json", *options, "--out", folder / "r.html").exit_code == 0
    assert (folder / "r.html").read_text().count('data-type="audio/wav"') == 3


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["clips.csv"], 2, "holds no study"),
        (["gone.json"], 2, "gone.json: no such file or directory"),
        (["study.json", "--audio", "stream"], 2, "unknown audio 'stream'; choose from link, embed, none"),
    ],
)
def test_mistakes_are_one_line_and_a_status(folder, arguments, status, words):
    result = run(folder / arguments[0], *arguments[1:], "--out", folder / "r.html")
    assert result.exit_code == status
    assert result.stderr.startswith("error: ") and words in result.stderr
    assert not (folder / "r.html").exists()


@pytest.mark.usefixtures("without_figures")
def test_clips_that_are_not_in_the_table_are_skipped_with_status_1(folder):
    table = pd.read_csv(folder / "clips.csv").iloc[:-1]
    table.to_csv(folder / "fewer.csv", index=False)
    result = run(folder / "study.json", "--clips", folder / "fewer.csv", "--out", folder / "r.html")
    assert result.exit_code == 1
    assert "warning: the clips table lacks 1 of the study's 9 clips: S02_P2" in result.stderr
