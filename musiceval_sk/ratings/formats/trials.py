"""A row a trial, as experiments in the browser and in the laboratory write them: webMUSHRA, jsPsych, PsychoPy."""

import re
from collections.abc import Iterator

import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.datasets import readers
from musiceval_sk.datasets.text import table_of_objects
from musiceval_sk.ratings.formats.export import Export, as_seconds, is_of_numbers, reader
from musiceval_sk.ratings.formats.tables import PREFERENCES, as_preferences

# Trials of pairs that build_webmushra writes.
_COMPARISON = r"(?P<batch>\d+)\.(?P<position>\d+): (?P<clip_a>.+)"
_OF_JSPSYCH = {"trial_type", "trial_index", "time_elapsed"}
_SESSIONS = "PROLIFIC_PID prolific_id session_id run_id"
_SOUNDS = "sound sound_file audio audio_file stim_file wav_file stimulus_file"


@reader(
    "webmushra",
    "results of webMUSHRA",
    recognises=lambda export: {"session_test_id", "trial_id"} <= export.header,
)
def read_webmushra(export: Export) -> pd.DataFrame:
    """Read mushra.csv, lms.csv, lss.csv (also of pairs) or bs1116.csv; sessions may come with a header each, as of several files put together.

    Source: https://github.com/audiolabs/webMUSHRA/blob/master/service/write.php
    """
    questions = _use_sessions(export)
    if "stimuli_rating" in export and _are_comparisons(export.table):
        return _comparisons(export, _raters_of_sessions(export, questions))
    clips = [(export[stimulus], scores) for stimulus, scores in _stimuli(export)]
    known = {"trial": export["trial_id"], "rater": _raters_of_sessions(export, questions)}
    if "rating_time" in export:
        known["seconds"] = as_seconds(export["rating_time"])
    table = export.stacked(clips, **known)
    # A stimulus that stands in several trials is a condition, a clip once a trial.
    pairs = table[["trial", "clip_id"]].drop_duplicates()
    if not pairs["clip_id"].duplicated().any() and pairs["trial"].nunique() > 1:
        return table.drop(columns="trial")
    table = table.rename(columns={"trial": "prompt_id", "clip_id": "system"})
    names = {pair: "/".join(pair) for pair in pairs.itertuples(index=False, name=None)}
    ids = [names[pair] for pair in zip(table["prompt_id"], table["system"], strict=True)]
    return table.assign(clip_id=pd.Series(ids, table.index, dtype=object))


def _use_sessions(export: Export) -> list[str]:
    """Take rows by line, and name the columns of the questionnaire. PHP leaves a quote after a backslash as it is."""
    questions = dict[str, None]()

    def rows() -> Iterator[tuple[int, dict[str, str]]]:
        header: list[str] = []
        for line, cells in export.rows(escapechar="\\"):
            if cells and cells[0] == "session_test_id":
                header = cells
                own = [name for name in header[1 : header.index("trial_id")] if name != "session_uuid"]
                questions.update(dict.fromkeys(own))
            elif any(cells):
                if len(cells) != len(header):
                    raise export.refusal(
                        f"line {line} has {len(cells)} cells where its header has {len(header)}"
                    )
                yield line, dict(zip(header, cells, strict=True))

    export.use(table_of_objects(export.path, rows(), gap=""))
    return [name for name in questions if name in export]


def _stimuli(export: Export) -> list[tuple[str, dict[str, str]]]:
    """Name the columns of stimuli, each with those of its scores."""
    if "rating_reference" in export:
        kinds = ("rating_reference", "rating_non_reference")
        return [(kind, {export.score: f"{kind}_score"}) for kind in kinds]
    if "rating_stimulus" in export:
        return [("rating_stimulus", {export.score: "rating_score"})]
    if "stimuli" in export:
        return [("stimuli", _likert_scores(export))]
    if "choice_answer" in export:
        raise export.refusal(
            "a paired comparison of webMUSHRA says whether the reference was found, and neither a score nor a preference"
        )
    raise export.refusal(
        f"holds no ratings that are read (those of mushra, lms, lss and bs1116 are); columns: {listed(export.table.columns, most=12)}"
    )


def _likert_scores(export: Export) -> dict[str, str]:
    """Name the scores of a Likert page by target."""
    asked = [name for name in export.table if str(name).startswith("stimuli_rating")]
    if export.scores or len(asked) == 1:
        return export.scores or {export.score: asked[0]}
    if len(export.targets) == len(asked):
        return dict(zip(export.targets, asked, strict=True))
    raise export.refusal(
        f"each clip was asked {len(asked)} questions, {listed(asked)}; name them in their order with targets= (--target), or say which are "
        f"wanted with columns= (--column), such as impression={asked[0]}"
    )


def _are_comparisons(cells: pd.DataFrame) -> bool:
    answered = cells["stimuli_rating"].isin(PREFERENCES)
    return bool(cells["trial_id"].str.fullmatch(_COMPARISON).all() and answered.any())


def _comparisons(export: Export, raters: pd.Series) -> pd.DataFrame:
    """Read comparisons; of those that came again, which would count twice, the first."""
    table = export["trial_id"].str.extract(_COMPARISON).astype({"batch": int, "position": int})
    table = table.assign(
        rater=raters,
        clip_b=export["stimuli"],
        preference=as_preferences(export["stimuli_rating"], f"{export.path}: "),
        seconds=as_seconds(export["rating_time"]),
    )
    pairs = [tuple(sorted(pair)) for pair in zip(table["clip_a"], table["clip_b"], strict=True)]
    again = table[["rater"]].assign(pair=pairs).duplicated()
    export.tell_left_out(again.sum(), "comparison", "that came again")
    return table.loc[~again, ["rater", "batch", "clip_a", "clip_b", "preference", "seconds", "position"]]


def _raters_of_sessions(export: Export, asked: list[str]) -> pd.Series:
    """Sessions: by their id, else by what was answered in the questionnaire, which must tell them apart."""
    table = export.table
    for column in ("rater", "session_uuid"):
        if column in export and export[column].ne("").all():
            return export.raters(column)
    answers = table[asked].agg(" | ".join, axis=1) if asked else pd.Series("", table.index)
    names = {"trial_id", "rating_stimulus", "stimuli", "rating_reference"}
    again = table[[name for name in table if name in names]].assign(answers=answers).duplicated()
    if again.any() or not asked:
        why = f"answers to {listed(map(repr, asked))} do not tell sessions apart"
        raise export.refusal(
            f"{why if asked else 'sessions are not named'} (line {again.idxmax()} repeats a clip): this version of webMUSHRA writes no "
            "session_uuid; add a column with an id a session and name it with columns= (--column), such as rater=session"
        )
    return export.rater_ids(answers, personal=True)


@reader(
    "jspsych",
    "trials of jsPsych",
    recognises=lambda export: (
        export.header >= _OF_JSPSYCH
        or (isinstance(export.document, list) and export.document[0].keys() >= _OF_JSPSYCH)
    ),
)
def read_jspsych(export: Export) -> pd.DataFrame:
    """Read sliders beside a stimulus; the answers of other trials are numbers of buttons or keys, or texts.

    Source: https://github.com/jspsych/jsPsych/blob/main/docs/plugins/audio-slider-response.md
    """
    if isinstance(export.document, list):
        table = table_of_objects(export.path, export.objects())
        export.use(table.where(table.notna(), ""))
    stimuli = export["clip_id" if "clip_id" in export else "stimulus"].astype(str)
    sources = stimuli.str.extract(r"src\s*=\s*[\"']([^\"']+)", expand=False)
    clips = [(sources.fillna(stimuli), export.scores or {export.score: "response"})]
    known = {"seconds": as_seconds(export["rt"])} if "rt" in export else {}
    table = export.stacked(clips, **known, rater=_participants(export))
    kinds = export["trial_type"]
    sliders = kinds.str.endswith("slider-response") | bool(export.scores)
    if not sliders.any():
        raise export.refusal(
            f"no trial is a slider beside a stimulus; there are {listed(kinds.unique())}. Buttons and keys are only numbered: say which column "
            "holds scores with columns= (--column), such as impression=response"
        )
    table = table[sliders[table.index]]
    others = kinds.drop(table.index)
    numbers = listed(f"{count} {kind}" for kind, count in others.value_counts().items())
    export.tell_left_out(len(others), "trial", f"without a rating ({numbers})")
    return table


def _participants(export: Export) -> pd.Series:
    """Name raters by a column of participants, else of sessions, else by the file, of which each has one."""
    column = export.choose("rater") or export.choose("rater", _SESSIONS)
    if column is None:
        return export.rater_of_file(export.table.index)
    return export.rater_ids(export[column], personal=column != "rater" or "rater" in export.columns)


@reader(
    "psychopy",
    "trials of PsychoPy",
    recognises=lambda export: (
        "psychopyVersion" in export.header
        or ("expName" in export.header and any(name.endswith(".thisN") for name in export.header))
    ),
)
def read_psychopy(export: Export) -> pd.DataFrame:
    """Read sliders (``name.response``) and rating scales (``name.rating``) beside a column of sounds.

    Source: https://github.com/psychopy/psychopy/blob/release/psychopy/data/experiment.py
    """
    clip = export.choose("clip_id", _SOUNDS)
    if clip is None:
        raise export.refusal(
            "no column names the clips; say which does with columns= (--column), such as clip_id=sound; found: "
            f"{listed(export.table.columns, most=12)}"
        )
    named, known = _scales(export), dict[str, pd.Series]()
    times = [re.sub(r"\.(response|rating)$", ".rt", column) for column in named.values()]
    if len(times) == 1 and times[0] in export and times[0] not in named.values():
        known["seconds"] = pd.to_numeric(export[times[0]], errors="coerce")
    rater = export.choose("rater")
    if rater and export[rater].ne("").all():
        known["rater"] = export.raters(rater)
    else:
        known["rater"] = export.rater_of_file(export.table.index)
    table = export.stacked([(export[clip], named)], **known)
    export.tell_left_out(len(export.table) - len(table), "row", "without a clip or a score")
    return table


def _scales(export: Export) -> dict[str, str]:
    """Find the columns of scores by target: those that were said, those that bear a target's name, or the only one."""
    named = [name for name in export.table if re.search(r"\.(response|rating)$", str(name))]
    numbers = (name for name, *cells in readers.by_columns(export.table, named) if is_of_numbers(*cells))
    found = {str(name).rpartition(".")[0]: name for name in numbers}
    by_name = {name: found[name] for name in (*readers.TARGETS, *export.targets) if name in found}
    if export.scores or by_name:
        return export.scores or by_name
    if len(found) != 1:
        raise export.refusal(
            f"{len(found)} columns may hold scores ({listed(found.values()) or 'none ends in .response or .rating'}); say which with "
            "columns= (--column), such as impression=slider.response"
        )
    return {export.score: next(iter(found.values()))}
