"""The site names all that is public, and what its how-tos say runs as it stands."""

import json
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

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


PAGES = [
    DOCS.parent / "README.md",
    *sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts),
]
SPELLED_OUT = {
    r"(?<![A-Z])LCC\b": "linear",
    r"(?<![A-Z])SRCC\b": "rank",
    r"KTAU\b": "tau",
    r"\bU_": "utterance-level",
    r"\bS_": "system-level",
}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_metrics_are_spelled_out_where_they_first_appear(page):
    paragraphs = page.read_text().split("\n\n")
    for short, words in SPELLED_OUT.items():
        first = next((i for i, text in enumerate(paragraphs) if re.search(short, text)), -1)
        assert first < 0 or words in " ".join(paragraphs[: first + 1]).lower(), short


def test_nights_are_compared_prompt_by_prompt(tmp_path, monkeypatch, capsys):
    gains = np.arange(20) / 20
    nights = {27: np.full(20, 3.0), 28: 3 + gains}
    rows = [
        (f"2026-11-{day}/P{i:02}", score) for day, scores in nights.items() for i, score in enumerate(scores)
    ]
    pd.DataFrame(rows, columns=["clip_id", "impression"]).to_csv(tmp_path / "scores.csv", index=False)
    monkeypatch.chdir(tmp_path)
    run_snippets(DOCS / "howto" / "every_night.md")
    words = re.fullmatch(r"(.*) \[(.*), (.*)\] over 20 prompts\n", capsys.readouterr().out)
    half = stats.norm.ppf(0.975) * stats.sem(gains)  # what a bootstrap of a mean comes to
    expected = [gains.mean(), gains.mean() - half, gains.mean() + half]
    assert [float(number) for number in words.groups()] == pytest.approx(expected, abs=0.02)


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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_other_libraries(tmp_path, monkeypatch, small_examples):
    for package in ("torch", "torchmetrics", "datasets", "onnx"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    names = run_snippets(DOCS / "howto" / "other_libraries.md")
    assert names["clips"].index.equals(names["test"].clips.index)
    assert (tmp_path / "heads.onnx").is_file()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_study_is_logged_offline(tmp_path, monkeypatch, small_examples):
    pytest.importorskip("torch")
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.chdir(tmp_path)
    table = run_snippets(DOCS / "howto" / "track.md")["table"]
    (run,) = tmp_path.glob("wandb/offline-run-*")
    (logged,) = run.glob("files/media/table/*.table.json")
    logged = json.loads(logged.read_text())
    assert logged["columns"] == ["model", *table.columns]
    assert [row[0] for row in logged["data"]] == list(table.index)
    np.testing.assert_allclose([row[1:] for row in logged["data"]], table, rtol=1e-6)
    (file,) = run.glob("*.wandb")
    content = payloads(file.read_bytes())
    assert all(f"{model}/S_SRCC".encode() in content for model in table.index)


def payloads(log, block=32_768):
    """Join what a log of LevelDB's form holds: chunks, each after seven bytes that tell its size, of which none goes over the end of a block."""
    found, at = b"", 7
    while at < len(log):
        size = int.from_bytes(log[at + 4 : at + 6], "little")
        found += log[at + 7 : at + 7 + size]
        at += 7 + size
        at += -at % block if -at % block < 7 else 0
    return found


@pytest.mark.slow
def test_the_encoder_of_the_how_to_passes_all_checks(tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "howto" / "encoder.md").read_text(), flags=re.DOTALL)
    (tmp_path / "loudness_of_windows.py").write_text("\n".join(blocks))  # a module, for it has to pickle
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert list(import_module("loudness_of_windows").X.columns) == ["audio_0"]
