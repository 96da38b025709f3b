"""The page on figures and its example run as they stand, and the pictures shown are there and small."""

import os
import re
import runpy
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="figures need the extra 'report'")
pytestmark = pytest.mark.filterwarnings("ignore:training reached max_iter")

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "figures.md"


@pytest.mark.slow
def test_snippets_of_the_page_run(tmp_path, monkeypatch, small_examples):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL):
        exec(block, names)
    assert (tmp_path / "impression.png").read_bytes().startswith(b"\x89PNG")


def test_links_of_the_page_lead_somewhere_and_its_pictures_are_small():
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", PAGE.read_text())
    for target in targets:
        path = PAGE.parent / target
        assert path.exists(), target
        assert path.suffix != ".png" or path.stat().st_size < 80_000, target


@pytest.mark.slow
def test_example_draws_every_display(tmp_path, monkeypatch, capsys, small_examples):
    monkeypatch.setattr(sys, "argv", ["figures.py", str(tmp_path)])
    runpy.run_path(str(ROOT / "examples" / "figures.py"), run_name="__main__")
    written = capsys.readouterr().out.split()
    assert len(written) == 9
    assert all(Path(path).read_bytes().startswith(b"\x89PNG") for path in written)


@pytest.mark.parametrize("name", ["search_results", "prompt_lengths", "system_attributes"])
def test_examples_of_the_gallery_draw_a_figure(name, monkeypatch):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    drawn = []
    monkeypatch.setattr(pyplot, "show", lambda: drawn.append(pyplot.gcf()))
    with pyplot.style.context("default"):
        pyplot.switch_backend("Agg")
        runpy.run_path(str(ROOT / "examples" / "gallery" / f"plot_{name}.py"))
    assert len(drawn) == 1 and drawn[0].axes
    pyplot.close("all")


def test_real_labels_are_described_as_the_page_says(capsys, tmp_path):
    data = Path(os.environ.get("MUSICEVAL_TEST_DATA", ROOT.parent / "shared" / "data"))
    labels = data / "musiceval" / "sets" / "train_mos_list.txt"
    if not labels.is_file():
        pytest.skip(f"MusicEval's training labels are not at {labels}")
    script = runpy.run_path(str(ROOT / "examples" / "benchmarks" / "figures_on_musiceval.py"))
    script["main"](labels, tmp_path)
    printed = capsys.readouterr().out
    page = PAGE.read_text()
    for figure in ("2.21 (S020)", "4.55 (S002)", "2.46 (S020)", "4.34 (S004)"):
        assert figure in printed and figure in page
    assert "explained by system 61.5%" in printed and "61.5 %" in page
    assert "explained by system 35.1%" in printed and "35.1 %" in page
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "figure-1.png",
        "figure-2.png",
        "figure-3.png",
    ]
