"""The snippet of docs/reproduce.md runs as it stands."""

import re
from pathlib import Path

import pytest

from musiceval_sk.reproduction.protocols import PROTOCOLS
from tests.made_musiceval import make_musiceval

PAGE = Path(__file__).parents[1] / "docs" / "reproduce.md"


@pytest.mark.slow
def test_the_snippet_runs(tmp_path, monkeypatch, capsys, small_examples):
    monkeypatch.chdir(tmp_path)
    make_musiceval("MusicEval-full", n_systems=6, n_prompts=12, n_demo_clips=4)
    [block] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    exec(block, {})
    assert "FROZEN SPECTRAL, NOT THE PAPER'S FINE-TUNED TOWERS" in capsys.readouterr().out


def test_the_page_names_every_protocol():
    assert all(f"`{name}`" in PAGE.read_text() for name in PROTOCOLS)
