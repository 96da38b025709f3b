"""The snippet of docs/studies.md runs as it stands, and so do its study file's names."""

import re
from pathlib import Path

import pytest

from musiceval_sk import StudyPlan

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_snippet_runs(tmp_path, monkeypatch, capsys, small_examples):
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "studies.md").read_text(), flags=re.DOTALL)
    names: dict = {}
    exec(block, names)
    assert list(names["study"].table("impression", split="prompt").index)[-1] == "ridge (spectral, max)"
    assert "human ceiling" in capsys.readouterr().out


def test_the_example_file_is_a_plan():
    plan = StudyPlan.from_file(ROOT / "examples" / "study.toml")
    assert list(plan.feature_sets()) == ["both", "audio only"]
    assert list(plan.models) == ["ridge", "forest", "MOSRegressor"]
