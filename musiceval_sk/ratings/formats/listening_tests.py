"""Results of programs for listening tests in the browser: webMUSHRA, BeaqleJS, audiocraft's mos.py."""

import csv
import io
from collections.abc import Sequence
from typing import Any

import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.ratings.formats.export import Export
from musiceval_sk.ratings.formats.registry import reader

_WEBMUSHRA = "https://github.com/audiolabs/webMUSHRA/blob/master/service/write.php"


@reader(
    "webmushra",
    "results of webMUSHRA",
    source=_WEBMUSHRA,
    recognises=lambda export: {"session_test_id", "trial_id"} <= export.header,
)
def read_webmushra(export: Export) -> pd.DataFrame:
    """Read mushra.csv, lms.csv, lss.csv or bs1116.csv; sessions may come with a header each, as of several files put together."""
    rows, questions = _webmushra_rows(export)
    cells = export.use(
        pd.DataFrame.from_dict(rows, orient="index", dtype=object).fillna("").rename_axis("line")
    )
    if "rating_reference" in cells:
        parts = [
            _webmushra_part(export, f"rating_{kind}", {export.score: f"rating_{kind}_score"})
            for kind in ("reference", "non_reference")
        ]
        table = pd.concat(parts).sort_index(kind="stable")
    elif "rating_stimulus" in cells:
        table = _webmushra_part(export, "rating_stimulus", {export.score: "rating_score"})
    elif "stimuli" in cells:
        table = _webmushra_part(export, "stimuli", _likert_scores(export))
    else:
        raise export.refusal(
            f"holds no ratings that are read (those of mushra, lms, lss and bs1116 are); columns: {listed(cells.table.columns, most=12)}"
        )
    table["rater"] = _webmushra_raters(export, questions).loc[table.index]
    return _with_clips(table)


def _webmushra_rows(export: Export) -> tuple[dict[int, dict[str, str]], list[str]]:
    """Rows by line, and the columns of the questionnaire. PHP leaves a quote after a backslash as it is."""
    header: list[str] = []
    rows, questions = {}, dict[str, None]()
    lines = csv.reader(io.StringIO(export.text, newline=""), escapechar="\\")
    for row in lines:
        cells = [cell.strip() for cell in row]
        if cells and cells[0] == "session_test_id":
            header = cells
            own = [name for name in header[1 : header.index("trial_id")] if name != "session_uuid"]
            questions |= dict.fromkeys(own)
        elif any(cells):
            if len(cells) != len(header):
                raise export.refusal(
                    f"line {lines.line_num} has {len(cells)} cells where its header has {len(header)}"
                )
            rows[lines.line_num] = dict(zip(header, cells, strict=True))
    return rows, list(questions)


def _webmushra_part(export: Export, stimulus: str, scores: dict[str, str]) -> pd.DataFrame:
    cells = export.cells
    cells.taken.add("session_test_id")
    table = pd.DataFrame({"trial": cells["trial_id"], "stimulus": cells[stimulus]})
    for name, column in scores.items():
        table[name] = cells[column]
    if "rating_time" in cells:  # milliseconds on the page
        table["seconds"] = pd.to_numeric(cells["rating_time"], errors="coerce") / 1000
    return table


def _likert_scores(export: Export) -> dict[str, str]:
    """Name the scores of a Likert page by target."""
    own = [name for name in export.columns if name not in ("rater", "clip_id")]
    asked = [name for name in export.cells.table if str(name).startswith("stimuli_rating")]
    if own:
        return {name: name for name in own}
    if len(asked) == 1:
        return {export.score: asked[0]}
    if len(export.targets or ()) == len(asked):
        return dict(zip(export.targets or (), asked, strict=True))
    raise export.refusal(
        f"each clip was asked {len(asked)} questions, {listed(asked)}; name them in their order with targets= (--target), or say which are "
        f"wanted with columns= (--column), such as impression={asked[0]}"
    )


def _webmushra_raters(export: Export, questions: Sequence[str]) -> pd.Series:
    """Sessions: by their id, else by what was answered in the questionnaire, which must tell them apart."""
    cells = export.cells
    for column in ("rater", "session_uuid"):
        if column in cells and (cells[column] != "").all():
            return pd.Series(export.raters(column), cells.table.index)
    asked = [name for name in questions if name in cells]
    answers = cells.table[asked].agg(" | ".join, axis=1) if asked else pd.Series("", cells.table.index)
    stimuli = [
        name for name in cells.table if name in ("trial_id", "rating_stimulus", "stimuli", "rating_reference")
    ]
    again = cells.table[stimuli].assign(answers=answers).duplicated()
    if again.any() or not asked:
        what = (
            f"answers to {listed(map(repr, asked))} do not tell sessions apart"
            if asked
            else "sessions are not named"
        )
        raise export.refusal(
            f"{what} (line {again.idxmax()} repeats a clip): this version of webMUSHRA writes no session_uuid; add a column with an id a "
            "session and name it with columns= (--column), such as rater=session"
        )
    return pd.Series(export.rater_ids(answers, personal=True), cells.table.index)


def _with_clips(table: pd.DataFrame) -> pd.DataFrame:
    """Make clips of trials and stimuli: a stimulus that stands in several trials is a condition, a clip once a trial."""
    pairs = table[["trial", "stimulus"]].drop_duplicates()
    conditions = pairs["stimulus"].duplicated().any() or pairs["trial"].nunique() == 1
    if not conditions:
        return table.rename(columns={"stimulus": "clip_id"}).drop(columns="trial")
    table.insert(0, "clip_id", table["trial"] + "/" + table["stimulus"])
    return table.rename(columns={"trial": "prompt_id", "stimulus": "system"})


@reader(
    "audiocraft",
    "results of audiocraft's mos.py",
    source="https://github.com/facebookresearch/audiocraft/blob/main/scripts/mos.py",
    recognises=lambda export: (
        isinstance(export.document, dict) and {"results", "seed", "user"} <= export.document.keys()
    ),
)
def read_audiocraft(export: Export) -> pd.DataFrame:
    """Read one file of ``results``, a user's answers to the samples of one seed."""
    found: list[dict[str, Any]] = [
        {
            "clip_id": f"{system}/{result['id']}",
            "system": system,
            "prompt_id": result["id"],
            export.score: score,
        }
        for result in export.document["results"]
        for system, score in result["models"].items()
    ]
    described = ["blind", "exclude_prompted", "exclude_unprompted", "is_prompted", "seed", "user"]
    export.use(pd.DataFrame(columns=described))
    rater = export.rater_ids([export.document["user"]], personal=True)[0]
    return pd.DataFrame(found, index=pd.RangeIndex(1, len(found) + 1, name="line")).assign(rater=rater)
