"""The snippet of docs/predict.md runs as it stands."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "predict.md"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*lie outside the scores of training:UserWarning")
def test_the_snippet_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    names: dict = {}
    exec(block, names)
    assert len(names["predictions"].clips) == 30 and len(names["predictions"].systems) == 6
    printed = capsys.readouterr().out
    assert "impression_raters" in printed and "6 training systems left out" in printed
