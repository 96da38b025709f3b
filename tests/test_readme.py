"""README and examples run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from musiceval_sk import load_clips

ROOT = Path(__file__).parents[1]


def python_blocks():
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


def test_python_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    *blocks, _ = python_blocks()
    names: dict = {}
    for block in blocks:
        exec(block, names)
    assert (tmp_path / "impression.safetensors").is_file()
    assert "MOSRegressor" in capsys.readouterr().out
    assert len(names["scores"]) == 3


def test_musiceval_lists_become_a_clips_table(tmp_path, monkeypatch):
    root = tmp_path / "MusicEval-full"
    (root / "sets").mkdir(parents=True)
    stem = "audiomos2025-track1-"
    rows = [f"{stem}S002_P044.wav,3.8,4.2", f"{stem}S001_P003.wav,2.0,3.0"]
    (root / "sets" / "train_mos_list.txt").write_text("\n".join(rows) + "\n")
    (root / "prompt_info.txt").write_text("id\ttext\nP044\tcalm piano\nP003\tthe shared text\n")
    (root / "demo_prompt_info.txt").write_text(f"id\ttext\n{stem}S001_P003.wav\tthe demo's own text\n")
    monkeypatch.chdir(tmp_path)
    exec(python_blocks()[-1], {})
    clips = load_clips(root / "clips.csv")
    assert clips["prompt"].tolist() == ["calm piano", "the demo's own text"]
    assert clips["system"].tolist() == ["S002", "S001"]
    assert clips["impression"].tolist() == [3.8, 2.0]
    assert clips["path"].iloc[0] == str(root / "wav" / f"{stem}S002_P044.wav")


@pytest.mark.parametrize("name", ["first_study", "clap_on_a_folder"])
def test_examples_run_as_they_stand(name, tmp_path):
    script = ROOT / "examples" / f"{name}.py"
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    written = next(tmp_path.rglob("study.csv" if name == "first_study" else "embeddings.csv"))
    assert len(pd.read_csv(written)) == (16 if name == "first_study" else 12)


def test_readme_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target
