"""How results show: a line in a console, a table in a notebook, and a tidy table on request."""

import html.parser
import importlib
import pkgutil
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyRegressor

import musiceval_sk
from musiceval_sk import bootstrap_metrics, human_ceiling, leakage_report, screen_ratings
from musiceval_sk._text import Shown, Table, listed, visible
from musiceval_sk.features.extract import ExtractionReport
from musiceval_sk.features.store.maintain import StoreInfo, VerifyReport
from musiceval_sk.ratings import reliability
from musiceval_sk.ratings.pairs import pair_strengths
from musiceval_sk.ratings.screening import StraightLining
from musiceval_sk.reproduction.result import ReproductionResult, published_results
from musiceval_sk.scoring.result import summarise
from musiceval_sk.scoring.sets import Judged, score_sets
from musiceval_sk.studies.curve import score_learning_curve
from tests.reporting.studies import made_clips, made_study

N_CLIPS = 12
NAME = "<A>&"  # of a system, to be escaped
CLIPS = pd.DataFrame(
    {
        "path": "",
        "prompt": [f"p{i % 3}" for i in range(N_CLIPS)],
        "system": np.repeat([NAME, "B", "C", "D"], 3),
        "impression": 1.5 + np.arange(N_CLIPS) / 4,
    },
    index=pd.Index([f"c{i:02}" for i in range(N_CLIPS)], name="clip_id"),
)
PREDICTED = CLIPS[["impression"]] + 0.2 * (-1.0) ** np.arange(N_CLIPS)[:, None]
RATINGS = pd.DataFrame(
    [
        (rater, clip, min(5, max(1, round(score) + shift)), system)
        for rater, shift in (("R1", 0), ("R2", 1), ("R3", -1))
        for clip, score, system in zip(CLIPS.index, CLIPS["impression"], CLIPS["system"], strict=True)
    ],
    columns=["rater", "clip_id", "impression", "system"],
)


def learning_curve():
    X = PREDICTED.add_prefix("audio_")
    options = {"n_splits": 2, "n_repeats": 2, "n_resamples": 5, "progress": False, "grows": ["clips"]}
    return score_learning_curve(CLIPS, X, {"mean": DummyRegressor()}, sizes=[1.0], **options)


def predictions():
    return summarise(CLIPS[["system"]].join(PREDICTED), ["impression"])


def listening_test():
    from musiceval_sk.listening import design_test

    return design_test(
        CLIPS.drop(columns="impression").assign(path="a.wav"), n_raters=4, per_clip=2, batch_size=6
    )


def strengths():
    preferred = [(f"r{i}", NAME if i % 2 else "B", "C", "ab"[i % 3 == 0]) for i in range(12)]
    pairs = pd.DataFrame(preferred, columns=["rater", "system_a", "system_b", "preference"])
    return pair_strengths(pairs.assign(clip_a="x" + pairs["system_a"], clip_b="y"))


def fitted():
    from musiceval_sk.scoring.fit import FittedModel

    errors = {"impression": {"clip_rmse": 0.5, "system_rmse": 0.25}}
    about = {"n_clips": 12, "targets": ["impression"], "assessment": {"targets": errors}}
    return FittedModel([SimpleNamespace(n_iter_=3)], about, "systems")


def choice():
    from musiceval_sk.scoring.fit import Choice

    other = {"model": "SVR", "score": 0.5, "difference": 0.1, "low": 0.01, "high": 0.2, "p_holm": 0.01}
    found = {"model": "ridge", "score": 0.4, "clips": 12, "others": [other]}
    return Choice(None, {"metric": "U_MSE", "split": "system", "folds": 5, "targets": {"impression": found}})


def recalibration():
    from musiceval_sk.scoring.recalibration import Recalibration

    row = {"clips": 12, "level": 0.1, "level_sd": 0.0, "slope": 1.0, "slope_sd": 0.0, "verdict": "helped"}
    return Recalibration(None, pd.DataFrame([row], index=["impression"]), {}, ["for <few> clips"])


def reproduction():
    table = published_results().rename(columns={"name": "row"}).assign(kind="published")
    about = {"protocol": {"name": "paper"}, "title": "frozen", "seeds": [0]}
    return ReproductionResult(table, pd.DataFrame(), ["from <papers>"], about)


def store_info():
    encoders = pd.DataFrame([("audio", "spectral", 3)], columns=["modality", "name", "items"])
    return StoreInfo("e.h5", 2, 10, 0, 0, encoders, {"<part>": "damaged"})


# Each result, the columns of its tidy table, and the rows: one a what?
RESULTS = {
    "StudyResult": (
        lambda: made_study(made_clips(4, names="<S{:02d}>"), {"ridge": np.arange(16) % 5}, resamples=0),
        ["split", "target", "features", "model", "kind", "metric", "value", "low", "high"],
        2 * 8,  # kinds x metrics
    ),
    "MetricBootstrap": (
        lambda: bootstrap_metrics(CLIPS[["impression"]], PREDICTED, systems=CLIPS["system"], n_resamples=5),
        ["target", "metric", "value", "low", "high"],
        8,
    ),
    "HumanCeiling": (
        lambda: human_ceiling(RATINGS, n_splits=2, n_bootstrap=5),
        ["target", "figure", "value", "low", "high"],
        None,
    ),
    "Screening": (
        lambda: screen_ratings(RATINGS, [StraightLining()]),
        ["rater", "batch", "ratings", "kept", "straight-lining"],
        3,
    ),
    "PairStrengths": (strengths, ["system", "strength", "low", "high", "wins", "losses", "ties"], 3),
    "ClipPredictions": (predictions, ["clip_id", "system", "impression"], N_CLIPS),
    "Choice": (choice, ["target", "model", "chosen", "metric", "score", "clips"], 2),
    "FittedModel": (fitted, ["target", "clips", "regressor", "clip_rmse", "system_rmse"], 1),
    "Recalibration": (recalibration, ["target", "clips", "level"], 1),
    "SetScores": (
        lambda: score_sets(
            [Judged(NAME, "mine", CLIPS[["impression"]], PREDICTED, CLIPS["system"])], n_resamples=5
        ),
        ["data_set", "predictor", "target", "metric", "value", "low", "high"],
        8,
    ),
    "ReproductionResult": (reproduction, ["row", "target", "metric", "value"], None),
    "ScoreLearningCurve": (learning_curve, ["target", "grows", "model", "size"], None),
    "LeakageReport": (
        lambda: leakage_report(CLIPS[:4], CLIPS[4:]),
        ["kind", "in_train", "in_test", "shared"],
        None,
    ),
    "ExtractionReport": (
        lambda: ExtractionReport("spectral", "<e>.h5", {"audio": 3}, {"audio": 1}, notes=["<odd>"]),
        ["modality", "stored", "reused", "encoder"],
        1,
    ),
    "StoreInfo": (store_info, ["modality", "name", "items"], 1),
    "VerifyReport": (
        lambda: VerifyReport(1, 3, pd.DataFrame({"problem": ["<cut>"], "held": ["3 items"]}, index=["e.h5"])),
        ["path", "problem", "held"],
        1,
    ),
    "ListeningTest": (listening_test, ["rater", "batch", "position", "clip_id", "repeat"], None),
    "Figure": (
        lambda: reliability.krippendorff_alpha(RATINGS, "impression", n_bootstrap=5),
        ["value", "low", "high", "n", "note"],
        1,
    ),
    "SplitHalf": (
        lambda: reliability.split_half(RATINGS, "impression", n_splits=2, n_bootstrap=5),
        ["figure", "value", "low", "high", "n", "note"],
        2,
    ),
}


class Tags(html.parser.HTMLParser):
    """Tags that are opened and closed in turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.met, self.attributes = [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.met.add(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_every_result_is_tried_here():
    for module in pkgutil.walk_packages(musiceval_sk.__path__, "musiceval_sk."):
        if not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
            except ImportError:
                continue  # of packages that are not installed
    ours = (one for one in Shown.__subclasses__() if one.__module__.startswith("musiceval_sk."))
    assert {one.__name__ for one in ours} <= set(RESULTS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", RESULTS)
def test_a_result_shows_as_a_line_a_table_and_a_tidy_frame(name):
    if name in ("Choice", "FittedModel", "Recalibration"):
        pytest.importorskip("torch")
    make, columns, n_rows = RESULTS[name]
    result = make()
    assert type(result).__name__ == name
    line = repr(result)
    assert line.startswith(f"<{name}: ") and line.endswith(">") and "\n" not in line and len(line) < 250
    frame = result.to_frame()
    assert list(frame)[: len(columns)] == columns or set(columns) <= set(frame)
    assert len(frame) == n_rows if n_rows else len(frame) > 0
    assert frame.index.equals(pd.RangeIndex(len(frame)))
    frame.drop(columns=list(frame), inplace=True)
    assert set(columns) <= set(result.to_frame())  # a copy
    shown = Tags(result._repr_html_())
    assert shown.open == [] and {"table", "tr", "td", "b"} <= shown.met
    # Escaped, without a style or colour of its own, so that it follows the notebook, light or dark.
    assert shown.met <= {"div", "p", "b", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"}
    assert {key for key, _ in shown.attributes} <= {
        "class",
        "style",
        "colspan",
        "rowspan",
        "valign",
        "border",
    }
    assert not any("color" in (value or "") or "url" in (value or "") for _, value in shown.attributes)


def test_names_are_escaped():
    shown = predictions()._repr_html_()
    assert "&lt;A&gt;&amp;" in shown and NAME not in shown


def test_a_long_table_and_many_remarks_are_cut(monkeypatch):
    monkeypatch.setattr("musiceval_sk._text._MOST_ROWS", 2)
    reasons = pd.DataFrame({"path": "", "reason": list("wxyz")}, index=list("abcd"))
    report = ExtractionReport("spectral", "e.h5", {}, {}, skipped=reasons)
    assert report._repr_html_().endswith(
        "<li>skipped a: w</li><li>skipped b: x</li><li>(+2 more)</li></ul></div>"
    )
    assert (
        predictions()._repr_html_().count("<tr") == 2 + 3
    )  # two of the header; the first, dots, and the last


HOSTILE = "\x1b[2Ja\rb\x9b1m\u202ec\nd"
SHOWN = r"\x1b[2Ja\rb\x9b1m\u202ec\nd".replace(r"\r", r"\x0d")


def test_names_in_messages_and_tables_move_no_cursor():
    assert listed([HOSTILE]) == SHOWN
    assert visible(HOSTILE) == SHOWN.replace(r"\n", "\n")
    table = str(Table(pd.DataFrame({HOSTILE: [1.0, 2.0], "b": [HOSTILE, "x"]}, index=[HOSTILE, "x"])))
    assert not {*table} & {"\x1b", "\x9b", "\r", "\u202e"} and len(table.splitlines()) == 3


def test_names_in_a_notebook_are_no_markup():
    class Found(Shown):
        def to_frame(self):
            return pd.DataFrame({"<b>": ["<script>"]}, index=pd.Index(["<i>"], name="<u>"))

        def __str__(self):
            return "<img>"

        def _remarks(self):
            return ["<a>"]

    text = Found()._repr_html_()
    assert not re.search("<(b>.*<b|script|i|u>|img|a)", text.replace("<p><b>Found</b>", ""))
