"""The site names all that is public, and what its how-tos say runs as it stands."""

import re
from pathlib import Path

import pandas as pd
import pytest

import musiceval_sk

DOCS = Path(__file__).parents[1] / "docs"


def run_snippets(page):
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL):
        exec(block, names)
    return names


def test_the_reference_is_complete():
    listed = re.findall(r"^   ([\w.]+)$", (DOCS / "api.rst").read_text(), flags=re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert {name for name in listed if "." not in name} == set(musiceval_sk.__all__) - {"__version__"}


def test_every_page_has_its_place():
    pages = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")}
    for name in ("index", "guide", "reference", "howto/index"):
        text = (DOCS / f"{name}.md").read_text()
        toctree = "\n".join(re.findall(r"```\{toctree\}\n(.*?)```", text, flags=re.DOTALL))
        folder = Path(name).parent
        pages -= {name, *(path.as_posix() for path in map(folder.joinpath, toctree.split()))}
        pages -= {path.removeprefix("../") for path in toctree.split()}
    assert not {page for page in pages if not page.startswith(("_build", "gallery", "generated"))}


def test_nights_are_compared_prompt_by_prompt(tmp_path, monkeypatch, capsys):
    rows = [(f"2026-11-{day}/P{i:02}", 3 + 0.1 * (day - 27) + i / 10) for day in (27, 28) for i in range(10)]
    pd.DataFrame(rows, columns=["clip_id", "impression"]).to_csv(tmp_path / "scores.csv", index=False)
    monkeypatch.chdir(tmp_path)
    run_snippets(DOCS / "howto" / "every_night.md")
    assert capsys.readouterr().out == "+0.10 [+0.10, +0.10] over 10 prompts\n"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", ["compare", "share"])
def test_snippets_run(page, tmp_path, monkeypatch, small_examples):
    monkeypatch.chdir(tmp_path)
    names = run_snippets(DOCS / "howto" / f"{page}.md")
    if page == "share":
        assert names["shared"].predict(names["X"]).shape == (len(names["X"]), 2)
    else:
        assert set(names["study"].scores["model"]) >= {"partial least squares", "neighbours", "ridge, weak"}
