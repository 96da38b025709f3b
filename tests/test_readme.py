"""README and examples run as they stand."""

import re
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from tests.made_musiceval import make_musiceval

ROOT = Path(__file__).parents[1]


def python_blocks():
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:training reached max_iter")
def test_python_examples_run(tmp_path, monkeypatch, capsys, small_examples):
    monkeypatch.chdir(tmp_path)
    *blocks, _ = python_blocks()
    names: dict = {}
    for block in blocks:
        exec(block, names)
    assert (tmp_path / "impression.safetensors").is_file()
    assert "MOSRegressor" in capsys.readouterr().out
    assert len(names["scores"]) == 3


@pytest.mark.filterwarnings("ignore")  # a small set is not what the paper says, and loading says so
def test_musiceval_becomes_a_clips_table(tmp_path, monkeypatch):
    made = make_musiceval(tmp_path / "MusicEval-full")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(python_blocks()[-1], names)
    assert sorted(names["clips"].index) == sorted(made.clips.index)


@pytest.mark.parametrize("name", ["first_study", "clap_on_a_folder", "listening_test"])
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:training reached max_iter")
def test_examples_run_as_they_stand(name, tmp_path, monkeypatch, small_examples):
    script = ROOT / "examples" / f"{name}.py"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(script)])
    runpy.run_path(str(script), run_name="__main__")
    table, rows = {"first_study": ("study.csv", 16), "listening_test": ("study.csv", 14)}.get(
        name, ("embeddings.csv", 12)
    )
    assert len(pd.read_csv(next(tmp_path.rglob(table)))) == rows


def test_readme_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target


def test_a_package_index_shows_no_link_that_leads_nowhere(monkeypatch):
    interface = "hatchling.metadata.plugin.interface"  # needed to build the package alone
    names = [interface.rsplit(".", level)[0] for level in range(3, -1, -1)]
    for name in names:
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(MetadataHookInterface=object))
    text = runpy.run_path(str(ROOT / "hatch_build.py"))["standing_alone"]((ROOT / "README.md").read_text())
    assert not re.search(r"\]\((?!http)", text)
    assert "<https://www.aishelltech.com/AISHELL_7A>" in text
    assert (
        "docs/accuracy.md" in text
        and "first-study.png" not in text
        and "95 % bootstrap intervals" not in text
    )
