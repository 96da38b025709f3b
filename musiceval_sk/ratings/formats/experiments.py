"""Data of experiments in jsPsych and PsychoPy, a row a trial."""

import re

import pandas as pd

from musiceval_sk._text import counted, listed
from musiceval_sk.datasets import readers
from musiceval_sk.ratings.formats.export import Export, is_of_numbers
from musiceval_sk.ratings.formats.registry import reader
from musiceval_sk.ratings.formats.tables import CLIP_COLUMNS, RATER_COLUMNS

_OF_JSPSYCH = {"trial_type", "trial_index", "time_elapsed"}
_SESSIONS = ("PROLIFIC_PID", "prolific_id", "session_id", "run_id")
_SOUNDS = ("sound", "sound_file", "audio", "audio_file", "stim_file", "wav_file", "stimulus_file")


@reader(
    "jspsych",
    "trials of jsPsych",
    source="https://github.com/jspsych/jsPsych/blob/main/docs/plugins/audio-slider-response.md",
    recognises=lambda export: (
        export.header >= _OF_JSPSYCH
        or (
            isinstance(export.document, list)
            and bool(export.objects)
            and export.objects[1].keys() >= _OF_JSPSYCH
        )
    ),
)
def read_jspsych(export: Export) -> pd.DataFrame:
    """Read sliders beside a stimulus; the answers of other trials are numbers of buttons or keys, or texts."""
    if isinstance(export.document, list):
        table = pd.DataFrame.from_dict(export.objects, orient="index", dtype=object).rename_axis("line")
        cells = export.use(table.where(table.notna(), ""))
    else:
        cells = export.cells
    scores = [name for name in export.columns if name not in ("rater", "clip_id")]
    named = dict(zip(scores, scores, strict=True)) or {export.score: "response"}
    table = pd.DataFrame({name: cells[column] for name, column in named.items()})
    stimuli = cells["clip_id" if "clip_id" in cells else "stimulus"].astype(str)
    table.insert(0, "clip_id", stimuli.str.extract(r"src\s*=\s*[\"']([^\"']+)", expand=False).fillna(stimuli))
    if "rt" in cells:
        table["seconds"] = pd.to_numeric(cells["rt"], errors="coerce") / 1000
    kinds, given = cells["trial_type"], table[[*named]].ne("").any(axis=1) & stimuli.ne("")
    sliders = kinds.str.endswith("slider-response") | bool(scores)
    if not (sliders & given).any():
        raise export.refusal(
            f"no trial is a slider beside a stimulus; there are {listed(kinds.unique())}. Buttons and keys are only numbered: say which column "
            "holds scores with columns= (--column), such as impression=response"
        )
    _tell_left_out(export, kinds[~(sliders & given)])
    return table.assign(rater=_raters(export))[sliders & given]


def _raters(export: Export) -> list[str]:
    """Name raters by a column of participants, else of sessions, else by the file, of which each has one."""
    cells = export.cells
    column = export.choose("rater", RATER_COLUMNS) or export.choose("rater", _SESSIONS)
    values = cells[column] if column else [export.path.name] * len(cells.table)
    return export.rater_ids(values, personal=column != "rater" or "rater" in export.columns)


def _tell_left_out(export: Export, kinds: pd.Series) -> None:
    if len(kinds):
        numbers = [f"{count} {kind}" for kind, count in kinds.value_counts().items()]
        export.notes.append(f"left out {counted(len(kinds), 'trial')} without a rating ({listed(numbers)})")


@reader(
    "psychopy",
    "trials of PsychoPy",
    source="https://github.com/psychopy/psychopy/blob/release/psychopy/data/experiment.py",
    recognises=lambda export: (
        "psychopyVersion" in export.header
        or ("expName" in export.header and any(name.endswith(".thisN") for name in export.header))
    ),
)
def read_psychopy(export: Export) -> pd.DataFrame:
    """Read sliders (``name.response``) and rating scales (``name.rating``) beside a column of sounds."""
    cells = export.cells
    clip = export.choose("clip_id", (*CLIP_COLUMNS, *_SOUNDS))
    if clip is None:
        raise export.refusal(
            "no column names the clips; say which does with columns= (--column), such as clip_id=sound; found: "
            f"{listed(cells.table.columns, most=12)}"
        )
    named = _scales(export)
    table = pd.DataFrame({"clip_id": cells[clip]} | {name: cells[column] for name, column in named.items()})
    times = [re.sub(r"\.(response|rating)$", ".rt", column) for column in named.values()]
    if len(times) == 1 and times[0] in cells and times[0] not in named.values():
        table["seconds"] = pd.to_numeric(cells[times[0]], errors="coerce")
    rater = export.choose("rater", RATER_COLUMNS)
    if rater and cells[rater].ne("").all():
        table["rater"] = export.raters(rater)
    else:
        table["rater"] = export.rater_ids([export.path.name] * len(table), personal=True)
    given = table["clip_id"].ne("") & table[[*named]].ne("").any(axis=1)
    if not given.all():
        export.notes.append(f"left out {counted((~given).sum(), 'row')} without a clip or a score")
    return table[given]


def _scales(export: Export) -> dict[str, str]:
    """Find the columns of scores by target: those that were said, those that bear a target's name, or the only one."""
    said = {name: name for name in export.columns if name not in ("rater", "clip_id")}
    found = {
        str(name).rpartition(".")[0]: name
        for name in export.cells.table
        if re.search(r"\.(response|rating)$", str(name)) and is_of_numbers(export.cells.table[name])
    }
    by_name = {name: found[name] for name in (*readers.TARGETS, *(export.targets or ())) if name in found}
    if said or by_name:
        return said or by_name
    if len(found) != 1:
        raise export.refusal(
            f"{counted(len(found), 'column')} may hold scores ({listed(found.values()) or 'none ends in .response or .rating'}); say which with "
            "columns= (--column), such as impression=slider.response"
        )
    return {export.score: next(iter(found.values()))}
