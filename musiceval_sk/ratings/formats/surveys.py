"""Surveys, a row a person and a column a question about a clip: Qualtrics, SoSci Survey, Go Listen, and the crowds of P.808."""

import re
from collections.abc import Iterator
from itertools import chain, islice

import numpy as np
import pandas as pd

from musiceval_sk._ids import id_texts
from musiceval_sk._text import counted, listed
from musiceval_sk.datasets import readers
from musiceval_sk.datasets.text import table_of_rows
from musiceval_sk.ratings.formats.export import Export, is_of_numbers, reader
from musiceval_sk.ratings.formats.privacy import is_personal

_OF_QUALTRICS = re.compile(
    r"StartDate|EndDate|Status|Progress|Duration \(in seconds\)|Finished|RecordedDate|ResponseId|ExternalReference|DistributionChannel|"
    r"UserLanguage|Q_\w+|SC\d+|.*_(First Click|Last Click|Page Submit|Click Count|TEXT)"
)
_OF_SOSCI = re.compile(
    r"CASE|SERIAL|REF|QUESTNNR|MODE|LANGUAGE|STARTED|TIME\d+|TIME_\w+|MAILSENT|LASTDATA|STATUS|FINISHED|Q_\w+|LASTPAGE|MAXPAGE|"
    r"MISSING|MISSREL|DEG_TIME"
)
_OF_P808 = re.compile(r"answer\.(q\d+)(_\w+)?", re.I)
_CONTROL_OF_P808 = re.compile(r"input\.(tp|gold\w*?)(_clips|_url)?(_\d)?", re.I)
_Place = tuple[str, str]  # clip and target


@reader(
    "qualtrics",
    "answers of Qualtrics",
    recognises=lambda export: len(export.head) > 2 and '"ImportId"' in export.head[2][0].replace("'", '"'),
)
def read_qualtrics(export: Export) -> pd.DataFrame:
    """Read numbers below the three rows of names, questions and ImportIds; previews of the survey are left out.

    Source: https://www.qualtrics.com/support/survey-platform/data-and-analysis-module/data/download-data/understanding-your-dataset/
    """
    labels, table = export.table.iloc[0], export.table.iloc[2:]
    preview = table.get("Status", pd.Series("", table.index)).isin(["Survey Preview", "1"])
    export.tell_left_out(preview.sum(), "preview", "of the survey")
    export.table = table[~preview]
    return _answers(export, "ResponseId", _places(export, _OF_QUALTRICS, labels))


@reader("sosci", "answers of SoSci Survey", recognises=lambda export: {"CASE", "QUESTNNR"} <= export.header)
def read_sosci(export: Export) -> pd.DataFrame:
    """Read numbers, below a row of labels where there is one; codes below 0 say why an answer is missing.

    Source: https://www.soscisurvey.de/help/doku.php/en:results:variables
    """
    labels = export.table.iloc[0]
    if pd.isna(pd.to_numeric(labels["CASE"], errors="coerce")):
        export.table = export.table.iloc[1:]
    else:
        labels = labels[:0]
    places = _places(export, _OF_SOSCI, labels)
    coded = np.zeros(export.table.shape, dtype=bool)
    answers, at = readers.by_columns(export.table, [*places]), export.table.columns.get_indexer([*places])
    coded[:, at] = np.column_stack([values < 0 for *_, values in answers])
    export.tell_left_out(coded.sum(), "answer", "with a code of SoSci for a missing one")
    export.table = export.table.mask(coded, "")
    return _answers(export, "CASE", places)


def _answers(export: Export, rater: str, places: dict[str, _Place]) -> pd.DataFrame:
    """Lay out the answers of columns that have a clip and a target each."""
    rater = "rater" if "rater" in export else rater
    readers.require_columns(export.table, [rater])
    clips: dict[str, dict[str, str]] = {}
    for column, (clip, target) in places.items():
        clips.setdefault(clip, {})[target] = column
    names = clips if export.listing is None else export.clip_names(len(clips))
    return export.stacked([*zip(names, clips.values(), strict=True)], rater=export.raters(rater))


def _places(export: Export, of_program: re.Pattern[str], labels: pd.Series) -> dict[str, _Place]:
    """By column of numbers its clip and its target; of those that end in no target, none that is the program's own or personal."""
    table = export.table
    own = {name for name in table if name == "rater" or of_program.fullmatch(str(name))}
    others = [name for name in table if name not in own]
    numbers = [name for name, *cells in readers.by_columns(table, others) if is_of_numbers(*cells)]
    if ending := _ending_in_targets(export, numbers):
        return ending
    asked = [name for name in numbers if not (is_personal(name) or is_personal(labels.get(name, "")))]
    export.notes.append(f"{counted(len(asked), 'column')} taken as clips: {listed(asked, most=12)}")
    if not asked:
        raise export.refusal(
            "no question has numbers for answers; export numeric values, not the texts of choices"
        )
    return _by_numbers(export, asked)


def _ending_in_targets(export: Export, names: list[str]) -> dict[str, _Place]:
    """Take columns that are named CLIP_TARGET."""
    targets = {target.casefold(): target for target in export.targets or readers.TARGETS}
    pattern = re.compile(rf"(.+?)(?<![\s_.-])[\s_.-]+({'|'.join(map(re.escape, targets.values()))})", re.I)
    ends = {name: pattern.fullmatch(str(name)) for name in names}
    return {name: (found[1], targets[found[2].casefold()]) for name, found in ends.items() if found}


def _by_numbers(export: Export, asked: list[str]) -> dict[str, _Place]:
    """Part names such as Q1_2 into clip and target, which must leave no choice."""
    parted: dict[str, tuple[str, str]] = {}
    for name in asked:
        numbered = re.fullmatch(r"(.+)_(\d+)", str(name))
        parted[name] = (numbered[1], numbered[2]) if numbered else (str(name), "")
    stems, numbers = (list(dict.fromkeys(part)) for part in zip(*parted.values(), strict=True))
    if len(stems) == 1 or len(stems) == len(asked):
        plain = len(numbers) == 1  # Q1_1, Q2_1, ...: sliders with one bar each
        return {name: (parted[name][0] if plain else str(name), export.score) for name in asked}
    of_numbers, of_stems = (len(export.targets) == len(those) for those in (numbers, stems))
    if of_numbers == of_stems:
        raise export.refusal(
            f"several questions have several numbers ({listed(asked)}): either may be the clips. Name the {len(numbers)} questions about a clip, or the "
            f"{len(stems)} that list clips, in their order with targets= (--target), or rename columns to CLIP_TARGET, such as S1_P1_impression"
        )
    named = dict(zip(numbers if of_numbers else stems, export.targets, strict=True))
    return {
        name: (stem, named[number]) if of_numbers else (id_texts([number])[0], named[stem])
        for name, (stem, number) in parted.items()
    }


@reader(
    "golisten",
    "results of Go Listen",
    recognises=lambda export: (
        len(export.head) > 2 and export.head[0][:1] == ["Tags"] and export.head[1][:2] == ["Name", "Date"]
    ),
)
def read_golisten(export: Export) -> pd.DataFrame:
    """Read ratings of an ACR or MUSHRA test: a row a response, a column an example or, below a row of file names, a sound.

    Source: https://github.com/QxLabIreland/listening-test/tree/master/listening-test-server/handlers/download_csv
    """
    rows = export.rows(delimiter=",")
    _, (_, header), first = islice(rows, 3)
    if any(first[1][:2]):  # a response, and no row of file names
        rows, names = chain([first], rows), [""] * len(header)
    else:
        names = first[1]
    clips, title = dict[int, str](), ""
    for place, (head, name) in enumerate(zip(header, names, strict=False)):
        title = head.removesuffix(" rating") if head else title
        if place > 1 and (name or head.endswith(" rating")):
            again = name and names.count(name) > 1
            clips[place] = f"{title}/{name}" if again else name or title
    if not clips:
        raise export.refusal(
            "no column is a rating of Go Listen; answers of an A/B test are free texts, write them as a table of pairs"
        )

    def ratings() -> Iterator[tuple[int, tuple[str, ...]]]:
        for line, row in rows:
            for place, clip in clips.items():
                scores = [one for one in row[place].split(",") if one.strip()]
                parts = [clip] if len(scores) == 1 else [f"{clip}/{n}" for n, _ in enumerate(scores, start=1)]
                rater = row[0] or f"line {line}"
                for part, score in zip(parts, scores, strict=True):
                    yield line, (rater, part, score)

    others = [head for place, head in enumerate(header) if head and place not in clips]
    export.use_fields([["Tags", *others]], ())
    table = table_of_rows(export.path, ratings(), ["rater", "clip_id", export.score])
    table["rater"] = export.rater_ids(table["rater"], personal=True)
    return table


@reader(
    "p808",
    "answers of P.808, one row a HIT",
    recognises=lambda export: (
        {"workerid", "hitid"} <= {*map(str.casefold, export.header)}
        and any(re.fullmatch(r"answer\.q\d+_url", name, re.I) for name in export.header)
    ),
)
def read_p808(export: Export) -> pd.DataFrame:
    """Read the questions of every HIT; trapping and gold clips and rejected assignments are left out, as the toolkit does.

    Source: https://github.com/microsoft/P.808/blob/master/src/result_parser.py
    """
    lower = {str(name).casefold(): name for name in export.table}
    questions: dict[str, dict[str, str]] = {}
    for name in export.table:
        if found := _OF_P808.fullmatch(str(name)):
            kind = (found[2] or "").lower().replace("_slide", "").strip("_")
            questions.setdefault(found[1].lower(), {})[kind or export.score] = name
    asked = [own for own in questions.values() if "url" in own]
    kinds = dict.fromkeys(kind for own in asked for kind in own if kind not in ("url", "order"))
    columns = {kind: [own[kind] for own in asked if kind in own] for kind in kinds}
    scores = [kind for kind in kinds if is_of_numbers(export.table[columns[kind]].to_numpy().ravel())]
    clips = [(export[own["url"]], {name: own[name] for name in scores if name in own}) for own in asked]
    table = export.stacked(clips, rater=export.raters("rater" if "rater" in export else lower["workerid"]))
    status = export.table.get(lower.get("assignmentstatus"), pd.Series("", export.table.index))
    control = [name for name in export.table if _CONTROL_OF_P808.fullmatch(str(name))]
    is_control = export.table.loc[table.index, control].eq(table["clip_id"], axis=0).any(axis=1)
    rejected = ~is_control & status[table.index].str.casefold().eq("rejected")
    for left_out, of in ((is_control, "of a trapping or gold clip"), (rejected, "of a rejected assignment")):
        export.tell_left_out(left_out.sum(), "rating", of)
    export.taken |= {*control, status.name}
    table["clip_id"] = _short_names(table["clip_id"])
    return table[~(is_control | rejected)]


@reader(
    "p808_votes",
    "votes of P.808, one row a vote",
    recognises=lambda export: {"HITId", "workerid", "file", "vote", "question_type"} <= export.header,
)
def read_p808_votes(export: Export) -> pd.DataFrame:
    """Read ``..._votes_per_worker.csv``.

    Source: https://github.com/microsoft/P.808/blob/master/src/result_parser.py
    """
    kinds = export["question_type"].unique()
    if len(kinds) > 1:
        raise export.refusal(
            f"holds votes on {len(kinds)} questions, {listed(kinds)}; give a file of one question each"
        )
    export.taken.add("short_file_name")
    scores = {"clip_id": _short_names(export["file"]), export.score: export["vote"]}
    return pd.DataFrame(scores).assign(rater=export.raters("workerid"))


def _short_names(urls: pd.Series) -> pd.Series:
    """Name files by the end of their address, if that is unique."""
    short = urls.str.rpartition("/")[2]
    return short if short.nunique() == urls.nunique() else urls
