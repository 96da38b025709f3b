"""The snippets of docs/musiceval.md run as they stand, one after the other."""

import re
from pathlib import Path

from tests.made_musiceval import make_musiceval

PAGE = Path(__file__).parents[1] / "docs" / "musiceval.md"


def test_the_snippets_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_musiceval("MusicEval-full")
    names: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 6
    for block in blocks:
        exec(block, names)
    printed = capsys.readouterr().out
    assert "Shared between training and test:" in printed and "total list  2748 clips" in printed
    assert (tmp_path / "answer.txt").read_text().count(",") == 2 * len(names["test"])
