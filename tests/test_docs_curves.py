"""The snippets of docs/curves.md run as they stand."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "curves.md"


@pytest.mark.slow
def test_the_snippets_run(tmp_path, monkeypatch, capsys, small_examples):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL):
        exec(block, names)
    printed = capsys.readouterr().out
    assert "What to collect next" in printed and "Human ceiling by ratings a test clip" in printed
    assert set(names["curve"].table["grows"]) == {"systems", "ratings"}
