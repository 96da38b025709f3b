"""From raters' answers to a table of ratings, or of preferences: what `musiceval_sk.aggregate_ratings` takes."""

import contextlib
import sqlite3
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from musiceval_sk._files import parse_json, refused_as, require_version
from musiceval_sk._ids import id_texts, warn_of_skipped
from musiceval_sk._text import counted, listed
from musiceval_sk.exceptions import ClipsTableError
from musiceval_sk.listening.answers import check_answer
from musiceval_sk.listening.design import ListeningTest, load_test
from musiceval_sk.listening.page.build import test_id, trial_names

FORMAT, VERSION = "musiceval-answers", 1
_SQLITE = b"SQLite format 3\0"


def read_answers(
    answers: str | Path | Sequence[str | Path], test: str | Path | ListeningTest, *, repeats: bool = False
) -> pd.DataFrame:
    """Read raters' answers: the server's file, files that raters downloaded, or both.

    Answers that are in several files are taken once. Where they differ, that which was given first stands, as on the page.

    Parameters
    ----------
    answers : str, Path or sequence of them
        SQLite file of the server, JSON files of the page, or folders of such files.
    test : str, Path or ListeningTest
        The test's design.
    repeats : bool, default=False
        Of pairs: whether to give comparisons that came again, too, with sides changed, which would count twice as preferences; then
        there is a column ``repeat``.

    Returns
    -------
    pandas.DataFrame
        One row an answer: ``rater``, ``batch``, ``clip_id``, the scores, ``seconds`` (that it took), ``position`` (in the batch, from
        1). A clip that came again is named as `copies_of` says. Of pairs ``clip_a``, ``clip_b`` and ``preference`` (a, b, tie,
        both_bad) take the place of clip and scores.

    Raises
    ------
    ClipsTableError
        If a file holds no answers, those of another test, or answers that nobody can have given on the page, as after
        editing.

    Warns
    -----
    SkippedWarning
        If two files give different answers to one trial.
    UserWarning
        If raters have not finished.

    Examples
    --------
    >>> read_answers("answers.sqlite", "design.json").to_csv("ratings.csv", index=False)  # doctest: +SKIP
    """
    test = test if isinstance(test, ListeningTest) else load_test(test)
    names, identity = trial_names(test), test_id(test)
    asked = {"method": test.method, "scales": test.scales}
    taken: dict[tuple[str, int, int], dict[str, Any]] = {}
    differing = []
    for path in _files_of(answers):
        for answer in _answers_in(path, identity):
            impossible = f"{path}: an answer that no rater can have given"
            with refused_as(ClipsTableError, impossible, "take the file as it was downloaded"):
                check_answer(answer, answer["rater"], names.get(answer["rater"], {}), asked)
            key = answer["rater"], answer["batch"], answer["position"]
            other = taken.setdefault(key, answer)
            if other["scores"] != answer["scores"]:
                differing.append("{} batch {} position {}".format(*key))
                taken[key] = min(other, answer, key=lambda one: one["answered_at"])
    if not taken:
        raise ClipsTableError(f"{listed(_files_of(answers))}: there are no answers yet")
    if differing:
        warn_of_skipped(
            f"{counted(len(differing), 'trial was', 'trials were')} answered differently in two files, and the first answer kept",
            differing,
        )
    _warn_of_unfinished(test, taken)
    table = _table_of(test, taken)
    if "repeat" in table and not repeats:
        table = table[~table["repeat"]].drop(columns="repeat").reset_index(drop=True)
    return table


def copies_of(test: ListeningTest) -> dict[str, str]:
    """Name the copies under which a design's doubled clips are rated again.

    Parameters
    ----------
    test : ListeningTest
        The test.

    Returns
    -------
    dict of str to str
        By clip the copy's name, such as ``x_again``.
    """
    copies: dict[str, str] = {}
    for *_, trial in test.trials():
        clip = trial.get("clip_id")
        if clip and trial.get("repeat") and clip not in copies:
            copy = f"{clip}_again"
            while copy in test.clips or copy in copies.values():
                copy += "_again"
            copies[clip] = copy
    return copies


def probes_of(test: ListeningTest, rated: Iterable[str]) -> dict[str, list[Any]]:
    """List what was rated of a design only to screen raters by.

    Parameters
    ----------
    test : ListeningTest
        The test.
    rated : iterable of str
        Clips that ratings name.

    Returns
    -------
    dict of list
        ``real``: clip ids of real music, for `musiceval_sk.RealMusicProbe`; ``copy``: clips and their copies, for
        `musiceval_sk.DuplicateProbe`.
    """
    names = set(rated)
    return {
        "real": [name for name, clip in test.clips.items() if clip["probe"] and name in names],
        "copy": [(clip, copy) for clip, copy in copies_of(test).items() if {clip, copy} <= names],
    }


def with_batches(ratings: pd.DataFrame, test: ListeningTest) -> pd.DataFrame:
    """Give ratings that another program collected the batches of their design.

    Parameters
    ----------
    ratings : pandas.DataFrame
        Columns ``rater`` and ``clip_id``.
    test : ListeningTest
        The test.

    Returns
    -------
    pandas.DataFrame
        The same rows with ``batch``; as they are if they have that column, or ratings that the design does not ask for.
    """
    if "batch" in ratings or not {"rater", "clip_id"} <= set(ratings):
        return ratings
    copies = copies_of(test)
    batches = {
        (rater, names_in(trial, copies).get("clip_id")): batch for rater, batch, _, trial in test.trials()
    }
    keys = zip(id_texts(ratings["rater"]), id_texts(ratings["clip_id"]), strict=True)
    found = [batches.get(key) for key in keys]
    return ratings if None in found else ratings.assign(batch=found)


def _files_of(answers: str | Path | Sequence[str | Path]) -> list[Path]:
    given = [answers] if isinstance(answers, str | Path) else answers
    found: list[Path] = []
    for path in map(Path, given):
        found += sorted(path.glob("*.json")) + sorted(path.glob("*.sqlite")) if path.is_dir() else [path]
    if not found:
        raise ClipsTableError(f"{listed(given)}: holds no .json or .sqlite file of answers")
    return found


def _answers_in(path: Path, identity: str) -> list[dict[str, Any]]:
    with path.open("rb") as file:
        is_sqlite = file.read(len(_SQLITE)) == _SQLITE
    test, answers = _from_sqlite(path) if is_sqlite else _from_json(path)
    if test != identity:
        raise ClipsTableError(
            f"{path}: holds answers of another test ({test}) than the design's ({identity}); give the design that the page was "
            "built from"
        )
    return answers


def _from_sqlite(path: Path) -> tuple[str, list[dict[str, Any]]]:
    try:
        # Opened to be read alone, so that a server may run meanwhile.
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as file:
            _refuse_computed(file)
            (test,) = file.execute("SELECT value FROM about WHERE name = 'test'").fetchone()
            rows = file.execute("SELECT answer FROM answers ORDER BY rater, batch, position").fetchall()
    except (sqlite3.Error, TypeError) as error:
        raise ClipsTableError(f"{path}: is no file of answers of musiceval listen serve: {error}") from error
    with refused_as(ClipsTableError, f"{path}: holds an answer that is no JSON"):
        return test, [parse_json(text) for (text,) in rows]


def _refuse_computed(file: sqlite3.Connection) -> None:
    """Raise unless both tables lie in the file: what a view or a generated column computes may have no end."""
    stored = "SELECT count(*) FROM sqlite_master WHERE name IN ('about', 'answers') AND rootpage > 0"
    generated = "SELECT count(*) FROM pragma_table_xinfo(?) WHERE hidden"
    counts = [file.execute(generated, [name]).fetchone()[0] for name in ("about", "answers")]
    if file.execute(stored).fetchone()[0] != 2 or any(counts):
        raise sqlite3.DatabaseError("its tables about and answers are missing or computed")


def _from_json(path: Path) -> tuple[str, list[dict[str, Any]]]:
    with refused_as(ClipsTableError, f"{path}: is no JSON, perhaps cut off", "download the answers again"):
        content = parse_json(path.read_text(encoding="utf-8"))
    kinds = {"version": int, "test": str, "rater": str, "answers": list}
    is_ours = isinstance(content, dict) and content.get("format") == FORMAT
    if not is_ours or not all(isinstance(content.get(name), kind) for name, kind in kinds.items()):
        raise ClipsTableError(
            f"{path}: holds no answers of a listening test; give the files that raters downloaded"
        )
    require_version(path, content["version"], VERSION, ClipsTableError)
    named = [answer.get("rater") for answer in content["answers"] if isinstance(answer, dict)]
    strangers = {name for name in named if isinstance(name, str)} - {content["rater"]}
    if strangers:
        raise ClipsTableError(
            f"{path}: is of rater {content['rater']}, but holds answers of {listed(strangers)}; take the file as it was downloaded"
        )
    return content["test"], content["answers"]


def _warn_of_unfinished(test: ListeningTest, taken: Iterable[tuple[str, int, int]]) -> None:
    asked, given = (Counter(rater for rater, *_ in trials) for trials in (test.trials(), taken))
    short = [f"{rater} ({given[rater]} of {n} answers)" for rater, n in asked.items() if given[rater] < n]
    if short:
        words = f"{len(short)} of {counted(len(asked), 'rater')} have not finished: {listed(short)}"
        warnings.warn(words, stacklevel=3)


def _table_of(test: ListeningTest, taken: dict[tuple[str, int, int], dict[str, Any]]) -> pd.DataFrame:
    copies = copies_of(test)
    rows = []
    for rater, batch, position, trial in test.trials():
        if answer := taken.get((rater, batch, position)):
            row = {"rater": rater, "batch": batch} | names_in(trial, copies) | answer["scores"]
            rows.append(row | {"seconds": answer["seconds"], "position": position})
    return pd.DataFrame(rows)


def names_in(trial: dict[str, Any], copies: dict[str, str]) -> dict[str, Any]:
    """Name what a trial of a design has rated: a clip, or its copy where it comes again, or the clips of a pair."""
    repeat = trial.get("repeat", False)
    if "clip_a" in trial:
        return {"clip_a": trial["clip_a"], "clip_b": trial["clip_b"], "repeat": repeat}
    return {"clip_id": copies[trial["clip_id"]] if repeat else trial["clip_id"]}
