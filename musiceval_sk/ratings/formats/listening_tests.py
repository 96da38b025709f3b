"""Results of programs for listening tests in the browser: webMUSHRA, BeaqleJS, Go Listen, audiocraft's mos.py."""

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from musiceval_sk._text import counted, listed
from musiceval_sk.ratings.formats.export import Export
from musiceval_sk.ratings.formats.pairs import PREFERENCES, as_preferences
from musiceval_sk.ratings.formats.registry import reader

_COMPARISON = (
    r"(?P<batch>\d+)\.(?P<position>\d+): (?P<clip_a>.+)"  # trials of pairs that build_webmushra writes
)
_WEBMUSHRA = "https://github.com/audiolabs/webMUSHRA/blob/master/service/write.php"


@reader(
    "webmushra",
    "results of webMUSHRA",
    source=_WEBMUSHRA,
    recognises=lambda export: {"session_test_id", "trial_id"} <= export.header,
)
def read_webmushra(export: Export) -> pd.DataFrame:
    """Read mushra.csv, lms.csv, lss.csv (also of pairs) or bs1116.csv; sessions may come with a header each, as of several files put together."""
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
    elif "stimuli_rating" in cells and _are_comparisons(cells.table):
        return _webmushra_pairs(export, _webmushra_raters(export, questions))
    elif "stimuli" in cells:
        table = _webmushra_part(export, "stimuli", _likert_scores(export))
    elif "choice_answer" in cells:
        raise export.refusal(
            "a paired comparison of webMUSHRA says whether the reference was found, and neither a score nor a preference"
        )
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
    table = pd.DataFrame({"trial": cells["trial_id"], "stimulus": cells[stimulus]})
    for name, column in scores.items():
        table[name] = cells[column]
    if "rating_time" in cells:  # milliseconds on the page
        table["seconds"] = pd.to_numeric(cells["rating_time"], errors="coerce") / 1000
    return table


def _are_comparisons(cells: pd.DataFrame) -> bool:
    answered = cells["stimuli_rating"].isin(PREFERENCES)
    return bool(cells["trial_id"].str.fullmatch(_COMPARISON).all() and answered.any())


def _webmushra_pairs(export: Export, raters: pd.Series) -> pd.DataFrame:
    """Read comparisons; of those that came again, which would count twice, the first."""
    cells = export.cells
    place = cells["trial_id"].str.extract(_COMPARISON)
    table = pd.DataFrame({"rater": raters, "batch": pd.to_numeric(place["batch"]), "clip_a": place["clip_a"]})
    table["clip_b"] = cells["stimuli"]
    table["preference"] = as_preferences(cells["stimuli_rating"], f"{export.path}: ")
    table["seconds"] = pd.to_numeric(cells["rating_time"], errors="coerce") / 1000
    table["position"] = pd.to_numeric(place["position"])
    pairs = [tuple(sorted(pair)) for pair in zip(table["clip_a"], table["clip_b"], strict=True)]
    again = table[["rater"]].assign(pair=pairs).duplicated()
    if again.any():
        export.notes.append(f"left out {counted(int(again.sum()), 'comparison')} that came again")
    return table[~again]


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


def _is_of_beaqle(export: Export) -> bool:
    found = export.document
    return (
        isinstance(found, list)
        and bool(found)
        and all(isinstance(one, bool) or "TestID" in one for one in found)
    )


@reader(
    "beaqlejs",
    "results of BeaqleJS",
    source="https://github.com/HSU-ANT/beaqlejs/blob/master/js/beaqle.js",
    recognises=_is_of_beaqle,
)
def read_beaqlejs(export: Export) -> pd.DataFrame:
    """Read a session, a file each: ratings of a MUSHRA test, or preferences."""
    if any(isinstance(one, bool) for one in export.document):
        raise export.refusal(
            "an ABX test of BeaqleJS says whether X was found, and neither a score nor a preference"
        )
    rows: dict[int, dict[str, Any]] = {}
    for one in export.document:
        about = {"prompt_id": one["TestID"], "seconds": one.get("Runtime", float("nan")) / 1000}
        files = one.get("filename", {})
        for name, score in one.get("rating", {}).items():
            clip = files.get(name) or f"{one['TestID']}/{name}"
            rows[len(rows) + 1] = {"clip_id": clip, "system": name, export.score: score} | about
        if "Preference" in one:
            sides = dict(re.findall(r"([AB])=([^,]*)", one["PresentationOrder"]))
            pair = {f"clip_{side.lower()}": f"{one['TestID']}/{name.strip()}" for side, name in sides.items()}
            rows[len(rows) + 1] = pair | {"preference": one["Preference"]} | about
    fields = dict.fromkeys(key for one in export.document for key in one)
    cells = export.use(pd.DataFrame(columns=list(fields)))
    cells.taken |= {"TestID", "Runtime", "rating", "filename", "Preference", "PresentationOrder"}
    columns = list(next(iter(rows.values()), {"clip_id": "", export.score: ""}))
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("line")
    if "preference" in table:
        table["preference"] = as_preferences(table["preference"], f"{export.path}: ")
    # The file's name, which holds the rater's, is all that tells sessions apart.
    return table.assign(rater=export.rater_ids([export.path.name], personal=True)[0])


@reader(
    "golisten",
    "results of Go Listen",
    source="https://github.com/QxLabIreland/listening-test/tree/master/listening-test-server/handlers/download_csv",
    recognises=lambda export: (
        len(export.head) > 2 and export.head[0][:1] == ["Tags"] and export.head[1][:2] == ["Name", "Date"]
    ),
)
def read_golisten(export: Export) -> pd.DataFrame:
    """Read ratings of an ACR or MUSHRA test: a row a response, a column an example or, below a row of file names, a sound."""
    lines = csv.reader(io.StringIO(export.text, newline=""))
    (_, (_, header), *rows) = [(lines.line_num, [cell.strip() for cell in row]) for row in lines if row]
    names = [""] * len(header)
    if not any(rows[0][1][:2]):
        names = rows.pop(0)[1]
    columns, title = [], ""
    for place, (head, name) in enumerate(zip(header, names, strict=False)):
        title = head.removesuffix(" rating") if head else title
        if place > 1 and (name or head.endswith(" rating")):
            columns.append((place, title, name))
    if not columns:
        raise export.refusal(
            "no column is a rating of Go Listen; answers of an A/B test are free texts, write them as a table of pairs"
        )
    sounds = [name for _, _, name in columns]
    found: list[dict[str, Any]] = []
    for line, row in rows:
        for place, title, name in columns:
            clip = (name if sounds.count(name) == 1 else f"{title}/{name}") if name else title
            scores = [one for one in row[place].split(",") if one.strip()]
            for number, score in enumerate(scores, start=1):
                part = f"{clip}/{number}" if len(scores) > 1 else clip
                found.append(
                    {"line": line, "rater": row[0] or f"line {line}", "clip_id": part, export.score: score}
                )
    read = {place for place, _, _ in columns}
    export.use(
        pd.DataFrame(
            columns=[
                "Tags",
                *dict.fromkeys(head for place, head in enumerate(header) if head and place not in read),
            ]
        )
    )
    table = pd.DataFrame(found, columns=["line", "rater", "clip_id", export.score]).set_index("line")
    return table.assign(rater=export.rater_ids(table["rater"], personal=True))
