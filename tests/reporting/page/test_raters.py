"""The page of a listening test: what it says, what it hides, and that texts stay texts."""

import re

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from musiceval_sk import RealMusicProbe, human_ceiling, screen_ratings
from musiceval_sk.cli.app import app
from musiceval_sk.reporting.page.raters import write_rating_report

pytest.importorskip("jinja2", reason="reports come with the extra 'report'")
HOSTILE = "<script>alert('x')</script>"


@pytest.fixture
def ratings(rng):
    """Twelve clips of three systems by four raters; on c05 they are of two minds, and R3 fails the real clip."""
    clips = [f"c{i:02}" for i in range(12)]
    quality = dict(zip(clips, np.tile([2, 3, 4], 4), strict=True))
    rows = [(f"R{r}", c, np.clip(quality[c] + rng.integers(0, 2), 1, 5)) for r in range(4) for c in clips]
    table = pd.DataFrame(rows, columns=["rater", "clip_id", "impression"])
    table.loc[table["clip_id"] == "c05", "impression"] = [1, 5, 1, 5]
    real = pd.DataFrame({"rater": [f"R{r}" for r in range(4)], "clip_id": "real", "impression": [5, 4, 5, 1]})
    return pd.concat([table, real], ignore_index=True)


@pytest.fixture
def clips(tmp_path):
    index = pd.Index([f"c{i:02}" for i in range(12)], name="clip_id")
    table = pd.DataFrame(
        {"system": list("ABC") * 4, "prompt": HOSTILE, "path": None}, index=index, dtype=object
    )
    (tmp_path / "c05.wav").write_bytes(b"RIFF")
    table.loc["c05", "path"] = str(tmp_path / "c05.wav")
    return table


def page_of(tmp_path, ratings, clips, **options):
    screening = screen_ratings(ratings, [RealMusicProbe(["real"])])
    ceiling = human_ceiling(screening.kept, clips=clips, n_bootstrap=50, n_splits=10)
    page = write_rating_report(
        screening.kept, ceiling, tmp_path / "out" / "r.html", screening=screening, clips=clips, **options
    )
    return page.read_text(encoding="utf-8")


def test_the_page_says_who_was_left_out_and_why(tmp_path, ratings, clips):
    text = page_of(tmp_path, ratings, clips)
    assert "1 of 4 batches of raters were left out, with 13 of 52 ratings: R3." in text
    assert "scored 1 for the real clip real, below 3" in text
    assert re.search(
        r"Another panel of 3 ratings a clip would rank the clips with a correlation of 0\.\d\d", text
    )
    assert text.count("<bdi>R0</bdi>") == 1 and "<dd>36</dd>" in text  # once in the table of raters


def test_clips_that_divide_raters_come_first_with_their_sound(tmp_path, ratings, clips):
    text = page_of(tmp_path, ratings, clips, n_clips=3)
    cards = re.findall(r'<li class="card">.*?</li>', text, re.DOTALL)
    assert len(cards) == 3 and "<bdi>c05</bdi> · <bdi>C</bdi>" in cards[0]
    assert 'src="../c05.wav"' in cards[0] and "No sound here." in cards[1]
    # 1, 5 and 1 by R0 to R2: mean 7 / 3, standard deviation 4 / sqrt(3).
    assert "impression: mean 2.33, spread 2.31, 3 ratings" in cards[0]
    assert "impression: [2, 0, 0, 0, 1] ratings from 1 to 5" in cards[0]
    assert 'src="data:audio/wav;base64,UklGRg=="' in page_of(tmp_path, ratings, clips, audio="embed")


def test_texts_stay_texts(tmp_path, ratings, clips):
    text = page_of(tmp_path, ratings.assign(rater=ratings["rater"] + HOSTILE), clips)
    assert HOSTILE not in text and "&lt;script&gt;alert" in text
    assert text.count("<script>") == 1 and "default-src 'none'" in text


def test_slider_scores_are_binned_and_what_is_not_known_is_said(tmp_path):
    ratings = pd.DataFrame({"clip_id": list("xxxyyy"), "impression": [0, 55, 100, 20, 20, 20]})
    ceiling = human_ceiling(ratings, rater=None, scale=(0, 100), n_bootstrap=0)
    page = write_rating_report(ratings, ceiling, tmp_path / "r.html", scale=(0, 100))
    text = page.read_text(encoding="utf-8")
    assert "[1, 0, 0, 0, 0, 1, 0, 0, 0, 1] ratings from 0 to 100" in text
    assert text.count('class="card"') == 1  # nobody is divided on y
    assert "<dd>not known</dd>" in text and 'id="raters"' not in text
    with pytest.raises(ValueError, match="unknown audio"):
        write_rating_report(ratings, ceiling, tmp_path / "r.html", audio="loud")


@pytest.mark.slow
@pytest.mark.parametrize("n_raters", [4, 60])
def test_what_is_printed_fits_on_a_screen(tmp_path, ratings, clips, n_raters, rng):
    """Of sixty raters, most of whom fail a rule and with two targets, the first and the most telling lines."""
    many = pd.concat([ratings.assign(rater=ratings["rater"] + f"_{i}") for i in range(n_raters // 4)])
    many["alignment"] = rng.integers(1, 6, len(many))
    many.to_csv(tmp_path / "r.csv", index=False)
    clips.drop(columns=["path", "prompt"]).to_csv(tmp_path / "clips.csv")
    (tmp_path / "p.csv").write_text("clip_id,kind\nreal,real\n")
    command = [
        "ratings",
        "r.csv",
        "--clips",
        "clips.csv",
        "--probes",
        "p.csv",
        "--agreement",
        "-0.5",
        "--bt500",
        "--p913",
    ]
    command = [str(tmp_path / word) if word.endswith(".csv") else word for word in command]
    short = CliRunner().invoke(app, [*command, "--report", str(tmp_path / "page.html")])
    assert short.exit_code == 0, short.output
    lines = short.stdout.splitlines()
    assert len(lines) <= 25
    assert (
        lines[-1] == "all figures, raters and evidence: --details"
        and "clips by mean; mean of all" in lines[-2]
    )
    assert "U_SRCC, another panel" in short.stdout
    whole = CliRunner().invoke(app, [*command, "--details"])
    assert len(whole.stdout.splitlines()) > 40 and "ICC(1,1)" in whole.stdout and "bias_low" in whole.stdout
    assert "What the screening left out" in (tmp_path / "page.html").read_text()
