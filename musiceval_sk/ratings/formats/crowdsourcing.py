"""Results of microsoft/P.808, the crowdsourcing toolkit for ITU-T P.808, P.835 and P.804."""

import re

import pandas as pd

from musiceval_sk._text import counted, listed
from musiceval_sk.ratings.formats.export import Export, is_of_numbers
from musiceval_sk.ratings.formats.registry import reader

_SOURCE = "https://github.com/microsoft/P.808/blob/master/src/result_parser.py"
_URL = re.compile(r"answer\.(q\d+)_url", re.I)
_CONTROL = re.compile(r"input\.(tp|gold\w*?)(_clips|_url)?(_\d)?", re.I)


@reader(
    "p808",
    "answers of P.808, one row a HIT",
    source=_SOURCE,
    recognises=lambda export: (
        {"workerid", "hitid"} <= {*map(str.casefold, export.header)}
        and any(map(_URL.fullmatch, export.header))
    ),
)
def read_p808(export: Export) -> pd.DataFrame:
    """Read the questions of every HIT; trapping and gold clips and rejected assignments are left out, as the toolkit does."""
    answers = export.cells.table
    answers = answers.rename(columns=lambda name: str(name).replace("_slide", ""))
    lower = {str(name).casefold(): name for name in answers}
    questions = [found[1] for name in answers if (found := _URL.fullmatch(name))]
    of_questions = [
        name for name in answers if re.fullmatch(rf"answer\.({'|'.join(questions)})(_\w+)?", name, re.I)
    ]
    others = answers.drop(columns=of_questions)
    parts = []
    for question in questions:
        own = [name for name in of_questions if re.fullmatch(rf"answer\.{question}(_\w+)?", name, re.I)]
        named = {name: name[len(f"answer.{question}") :].strip("_").lower() or export.score for name in own}
        parts.append(others.join(answers[own].rename(columns=named)))
    cells = export.use(pd.concat(parts).fillna("").sort_index(kind="stable"))
    asked = [name for name in cells.table if name not in others and name not in ("url", "order")]
    scores = [name for name in asked if is_of_numbers(cells.table[name])]
    control = [name for name in cells.table if _CONTROL.fullmatch(str(name))]
    is_control = cells.table[control].eq(cells["url"], axis=0).any(axis=1) & cells["url"].ne("")
    status = lower.get("assignmentstatus")
    rejected = (
        pd.Series(False, cells.table.index) if status is None else cells[status].str.casefold().eq("rejected")
    )
    for left_out, what in (
        (is_control, "rating of a trapping or gold clip"),
        (rejected & ~is_control, "rating of a rejected assignment"),
    ):
        if left_out.any():
            export.notes.append(
                f"left out {counted(left_out.sum(), what, what.replace('rating', 'ratings', 1))}"
            )
    cells.taken |= {*control}
    table = pd.DataFrame({"clip_id": _short(cells["url"])} | {name: cells[name] for name in scores})
    table.insert(0, "rater", export.raters("rater" if "rater" in cells else lower["workerid"]))
    return table[~is_control & ~rejected & cells["url"].ne("") & cells.table[scores].ne("").any(axis=1)]


@reader(
    "p808_votes",
    "votes of P.808, one row a vote",
    source=_SOURCE,
    recognises=lambda export: {"HITId", "workerid", "file", "vote", "question_type"} <= export.header,
)
def read_p808_votes(export: Export) -> pd.DataFrame:
    """Read ``..._votes_per_worker.csv``."""
    cells = export.cells
    kinds = cells["question_type"].unique()
    if len(kinds) > 1:
        raise export.refusal(
            f"holds votes on {len(kinds)} questions, {listed(kinds)}; give a file of one question each"
        )
    cells.taken.add("short_file_name")
    table = pd.DataFrame({"clip_id": _short(cells["file"]), export.score: cells["vote"]})
    return table.assign(rater=export.raters("workerid"))


def _short(urls: pd.Series) -> pd.Series:
    """Name files by the end of their address, if that is unique."""
    short = urls.str.rpartition("/")[2]
    return short if short.nunique() == urls.nunique() else urls
