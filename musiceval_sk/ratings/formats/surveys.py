"""Answers of Qualtrics and SoSci Survey: a row a person, a column a question about a clip."""

import re
from collections.abc import Sequence

import pandas as pd

from musiceval_sk._ids import id_texts
from musiceval_sk._text import counted, listed
from musiceval_sk.datasets import readers
from musiceval_sk.ratings.formats.export import Export, is_of_numbers
from musiceval_sk.ratings.formats.privacy import is_personal
from musiceval_sk.ratings.formats.registry import reader

_OF_QUALTRICS = re.compile(
    r"StartDate|EndDate|Status|Progress|Duration \(in seconds\)|Finished|RecordedDate|ResponseId|ExternalReference|DistributionChannel|"
    r"UserLanguage|Q_\w+|SC\d+|.*_(First Click|Last Click|Page Submit|Click Count|TEXT)"
)
_OF_SOSCI = re.compile(
    r"CASE|SERIAL|REF|QUESTNNR|MODE|LANGUAGE|STARTED|TIME\d+|TIME_\w+|MAILSENT|LASTDATA|STATUS|FINISHED|Q_\w+|LASTPAGE|MAXPAGE|"
    r"MISSING|MISSREL|DEG_TIME"
)


@reader(
    "qualtrics",
    "answers of Qualtrics",
    source="https://www.qualtrics.com/support/survey-platform/data-and-analysis-module/data/download-data/understanding-your-dataset/",
    recognises=lambda export: (
        len(export.head) > 2 and '"ImportId"' in (export.head[2] or [""])[0].replace("'", '"')
    ),
)
def read_qualtrics(export: Export) -> pd.DataFrame:
    """Read numbers below the three rows of names, questions and ImportIds; previews of the survey are left out."""
    labels, table = export.cells.table.iloc[0], export.cells.table.iloc[2:]
    preview = table.get("Status", pd.Series("", table.index)).isin(["Survey Preview", "1"])
    if preview.any():
        export.notes.append(f"left out {counted(preview.sum(), 'preview')} of the survey")
    cells = export.use(table[~preview])
    rater = "rater" if "rater" in cells else "ResponseId"
    readers.require_columns(cells.table, [rater])
    return _stacked(export, rater, _asked(export, _OF_QUALTRICS, labels))


@reader(
    "sosci",
    "answers of SoSci Survey",
    source="https://www.soscisurvey.de/help/doku.php/en:results:variables",
    recognises=lambda export: {"CASE", "QUESTNNR"} <= export.header,
)
def read_sosci(export: Export) -> pd.DataFrame:
    """Read numbers, below a row of labels where there is one; codes below 0 say why an answer is missing."""
    table, labels = export.cells.table, pd.Series(dtype=str)
    if pd.isna(pd.to_numeric(table["CASE"].iloc[0], errors="coerce")):
        labels, table = table.iloc[0], table.iloc[1:]
    cells = export.use(table)
    asked = _asked(export, _OF_SOSCI, labels)
    coded = cells.table[asked].apply(pd.to_numeric, errors="coerce").lt(0)
    if coded.to_numpy().any():
        export.notes.append(
            f"left out {counted(int(coded.to_numpy().sum()), 'answer')} with a code of SoSci for a missing one"
        )
    export.cells.table = cells.table.mask(coded.reindex(columns=cells.table.columns, fill_value=False), "")
    return _stacked(export, "rater" if "rater" in cells else "CASE", asked)


def _asked(export: Export, of_program: re.Pattern[str], labels: pd.Series) -> list[str]:
    """Name the columns of numbers that end in a target; if none does, those that are neither the program's own nor personal."""
    cells = export.cells.table
    numbers = [
        name
        for name in cells
        if name != "rater" and not of_program.fullmatch(str(name)) and is_of_numbers(cells[name])
    ]
    asked = [*_ending_in_targets(export, numbers)]
    if not asked:
        asked = [name for name in numbers if not (is_personal(name) or is_personal(labels.get(name, "")))]
        export.notes.append(f"{counted(len(asked), 'column')} taken as clips: {listed(asked, most=12)}")
    if not asked:
        raise export.refusal(
            "no question has numbers for answers; export numeric values, not the texts of choices"
        )
    return asked


def _ending_in_targets(export: Export, names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """By column its clip and its target, of those that are named CLIP_TARGET."""
    targets = {target.casefold(): target for target in export.targets or readers.TARGETS}
    pattern = re.compile(rf"(.+?)[\s_.-]+({'|'.join(map(re.escape, targets.values()))})", re.I)
    ends = {name: pattern.fullmatch(str(name)) for name in names}
    return {name: (found[1], targets[found[2].casefold()]) for name, found in ends.items() if found}


def _stacked(export: Export, rater: str, asked: Sequence[str]) -> pd.DataFrame:
    cells, parts = export.cells, []
    places = _places(export, asked)
    targets = dict.fromkeys(target for _, target in places.values())
    clips = dict.fromkeys(clip for clip, _ in places.values())
    names = dict(zip(clips, clips if export.listing is None else export.clip_names(len(clips)), strict=True))
    columns = {place: column for column, place in places.items()}
    ids = export.raters(rater)
    for clip in clips:
        scores = {target: cells[columns[clip, target]] for target in targets if (clip, target) in columns}
        parts.append(pd.DataFrame({"rater": ids, "clip_id": names[clip]} | scores, index=cells.table.index))
    table = pd.concat(parts).sort_index(kind="stable").fillna("")
    return table[table[[*targets]].ne("").any(axis=1)]


def _places(export: Export, asked: Sequence[str]) -> dict[str, tuple[str, str]]:
    """By column its clip and its target: from the names' ends, else from their numbers, which must leave no choice."""
    if ending := _ending_in_targets(export, asked):
        return ending
    parted: dict[str, tuple[str, str]] = {}
    for name in asked:
        numbered = re.fullmatch(r"(.+)_(\d+)", str(name))
        parted[name] = (numbered[1], numbered[2]) if numbered else (str(name), "")
    stems, numbers = (list(dict.fromkeys(part)) for part in zip(*parted.values(), strict=True))
    if len(stems) == 1 or len(stems) == len(asked):
        plain = len(numbers) == 1  # Q1_1, Q2_1, ...: sliders with one bar each
        return {name: (parted[name][0] if plain else str(name), export.score) for name in asked}
    of_numbers, of_stems = (len(export.targets or ()) == len(those) for those in (numbers, stems))
    if of_numbers == of_stems:
        raise export.refusal(
            f"several questions have several numbers ({listed(asked)}): either may be the clips. Name the {len(numbers)} questions about a clip, or the "
            f"{len(stems)} that list clips, in their order with targets= (--target), or rename columns to CLIP_TARGET, such as S1_P1_impression"
        )
    named = dict(zip(numbers if of_numbers else stems, export.targets or (), strict=True))
    return {
        name: (stem, named[number]) if of_numbers else (id_texts([number])[0], named[stem])
        for name, (stem, number) in parted.items()
    }
