"""Results on a terminal and in a pipe."""

import io
import re

import numpy as np
import pandas as pd
import pytest

from musiceval_sk import human_ceiling
from musiceval_sk._text import Table, parts_of
from musiceval_sk.cli import output
from musiceval_sk.ratings.ceiling import HumanCeiling
from musiceval_sk.reporting.summary import detail_ratings, summarize_ratings, summary_parts
from tests.reporting.studies import made_clips, made_study

STYLED = re.compile(r"\x1b\[[\d;]*m")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """Print as a terminal of some width would show it."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")

    def show(parts, width, stream="stdout"):
        made = Terminal()
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setattr(f"sys.{stream}", made)
        output.show(parts, err=stream == "stderr")
        return made.getvalue()

    return show


@pytest.fixture(scope="module")
def study():
    predicted = {"ridge": np.arange(16) % 5, "SVR": np.arange(16) % 3, "system mean": np.arange(16) // 4}
    return made_study(made_clips(4), predicted, splits=["system", "prompt"], resamples=20)


FIGURES = pd.DataFrame(
    {
        ("impression", "U_MSE"): [0.25, np.nan],
        ("impression", "95 %"): ["[0.1, 0.2]", ""],
        ("alignment", "S_SRCC"): [0.5, 1.0],
    },
    index=["ridge [bold] :smile:", "SVR"],
)


def test_a_pipe_gets_plain_text(capsys):
    output.show(["title", Table(FIGURES, "  ", strip=True, na_rep="-")])
    lines = [f"  {line}".rstrip() for line in FIGURES.to_string(na_rep="-").splitlines()]
    assert capsys.readouterr().out == "\n".join(["title", *lines, ""])


@pytest.mark.filterwarnings("ignore")
def test_parts_are_the_text(study):
    assert "\n".join(parts_of(study)) == str(study)
    assert sum(isinstance(part, Table) for part in summary_parts(study)) == 2  # figures of two splits
    assert sum(isinstance(part, Table) for part in parts_of(study)) == 4  # figures and tests of two splits
    rows = [
        (r, f"c{i}", (i + shift) % 5 + 1) for r, shift in (("A", 0), ("B", 1), ("C", 0)) for i in range(9)
    ]
    ratings = pd.DataFrame(rows, columns=["rater", "clip_id", "impression"])
    ceiling = human_ceiling(ratings, n_splits=2, n_bootstrap=5)
    for lay_out in (detail_ratings, summarize_ratings):
        parts = lay_out(None, ceiling, "last")
        assert any(isinstance(part, Table) for part in parts)
        assert len("\n".join(parts).splitlines()) <= 25 or lay_out is detail_ratings


def test_a_summary_of_many_targets_is_cut_to_a_screen():
    targets = [f"quality {i}" for i in range(30)]
    figures = pd.DataFrame({"target": targets, "figure": "ICC(1,k)", "value": 0.5, "low": 0.4, "high": 0.6})
    figures = figures.assign(n=4, lowest=np.nan, highest=np.nan, note="")
    raters = {target: pd.DataFrame({"agreement": [0.5, 0.6]}, index=["A", "B"]) for target in targets}
    parts = summarize_ratings(None, HumanCeiling(figures, raters), "last")
    *_, more, last, hint = lines = "\n".join(parts).splitlines()
    assert len(lines) == 25 and (last, hint[:11]) == ("last", "all figures")
    # An empty line, a title, and of the table of one figure its header and row come before thirty lines of raters.
    assert more == f"(+{4 + 30 - 22} more lines)" and isinstance(parts[2], Table)


def test_a_terminal_gets_tables_with_the_same_words(terminal):
    shown = terminal(["title", Table(FIGURES, na_rep="-"), "note"], 80)
    assert "\x1b[1m" in shown
    title, above, below, rule, ridge, svr, note = STYLED.sub("", shown).splitlines()
    assert (title, note) == ("title", "note")
    assert above.split() == ["impression", "alignment"] and below.split() == ["U_MSE", "95", "%", "S_SRCC"]
    assert set(rule.strip()) == {"─"}
    assert re.split(" {2,}", ridge.strip()) == ["ridge [bold] :smile:", "0.25", "[0.1, 0.2]", "0.5"]
    assert svr.split() == ["SVR", "-", "1.0"]
    assert STYLED.sub("", terminal([Table(FIGURES)], 80, "stderr")).splitlines()[-1].startswith("SVR ")


def test_without_colour_there_is_none_and_a_dumb_terminal_gets_plain_text(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[\d;]*(3\d|4\d|9\d)[\d;]*m", terminal([Table(FIGURES)], 80))
    monkeypatch.setenv("TERM", "dumb")
    assert terminal([Table(FIGURES, na_rep="-")], 80) == FIGURES.to_string(na_rep="-") + "\n"


@pytest.mark.parametrize("width", [30, 60, 100, 200])
def test_nothing_is_wider_than_the_terminal_and_no_number_is_cut(terminal, width):
    rng = np.random.default_rng(0)
    wide = pd.DataFrame(rng.normal(size=(3, 12)), columns=[f"metric_{i}" for i in range(12)])
    wide = wide.assign(note=["words " * 12, "", "x"]).set_axis(
        pd.MultiIndex.from_tuples([("A", "x"), ("A", "y"), ("B", "x")], names=["target", "who"])
    )
    shown = STYLED.sub("", terminal([Table(wide, "    ", float_format="{:.3f}".format)], width))
    assert max(map(len, shown.splitlines())) <= width
    words = shown.split()
    for number in wide.iloc[:, :12].to_numpy().ravel():
        assert f"{number:.3f}" in words
    assert words.count("words") == 12 and words.count("metric_3") == 1
    tables = shown.split("\n\n")
    assert all(table.split()[:2] == ["target", "who"] for table in tables)
    assert (len(tables) == 1) == (width == 200)


def test_a_table_without_names_or_rows(terminal):
    plain = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    assert terminal([Table(plain, index=False)], 80).count("\n") == 4
    empty = plain.iloc[:0]
    assert terminal([Table(empty)], 80) == empty.to_string() + "\n"


@pytest.mark.filterwarnings("ignore")
def test_a_study_fits_a_narrow_terminal(terminal, study):
    shown = STYLED.sub("", terminal(summary_parts(study), 60))
    assert "ridge" in shown and "S_SRCC" in shown
    rules = [line for line in shown.splitlines() if set(line.strip()) == {"─"}]
    assert len(rules) >= 2 and max(map(len, rules)) <= 60
