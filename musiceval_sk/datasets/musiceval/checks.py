"""What MusicEval should be, held against what was read: one row a check, nothing stops."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.datasets.readers import TARGETS

if TYPE_CHECKING:
    from musiceval_sk.datasets.musiceval.layout import MusicEvalFiles

MUSICEVAL_COUNTS: Mapping[str, int] = MappingProxyType(
    {"total": 2748, "train": 1923, "dev": 412, "test": 413}
)
# Systems whose clips come from demo pages: each clip has a prompt of its own.
DEMO_SYSTEMS = frozenset({"S001", "S006", "S013", "S017", "S018", "S033"})
PARTS = ("train", "dev", "test")
RATERS_PER_CLIP = 5
STEP = 1 / RATERS_PER_CLIP
SAMPLE_RATE = 16000
# Lists are printed with one decimal, system tables with two or more.
_LIST_ROUNDING = 0.05 + 1e-9
_TABLE_ROUNDING = 0.005 + 1e-9
_THREADS = 8

# A check, what was expected and found, and examples of what differs.
Row = tuple[str, object, object, Iterable[object]]


def table_of_checks(rows: Iterable[Row]) -> pd.DataFrame:
    """Put checks into a table; what was expected and what was found differ if their words do."""
    return pd.DataFrame(
        [
            (check, str(expected), str(found), str(expected) != str(found), listed(examples))
            for check, expected, found, examples in rows
        ],
        columns=["check", "expected", "found", "differs", "examples"],
    )


def none(check: str, offenders: Iterable[object]) -> Row:
    """Expect that nothing offends."""
    offenders = list(offenders)
    return check, 0, len(offenders), offenders


def count(check: str, found: int, expected: int | None) -> list[Row]:
    """Expect a number of clips, where one is known."""
    return [] if expected is None else [(check, f"{expected} clips", f"{found} clips", ())]


def check_files(
    files: "MusicEvalFiles", clips: pd.DataFrame, split: str, counts: Mapping[str, int]
) -> list[Row]:
    """Check the clips of a split, and with "total" also what concerns the data set as a whole."""
    whole = split == "total"
    rows = _check_lists(files, [*PARTS, "total"] if whole else [split], counts)
    if whole:
        rows += _check_lists_agree(files.lists)
    rows += check_scores(clips)
    rows.append(none("names that tell no system and prompt", clips.index[clips["system"] == ""]))
    for name, table, demo in (
        ("prompt_info.txt", files.prompts, False),
        ("demo_prompt_info.txt", files.demo_prompts, True),
    ):
        concerned = clips[clips["system"].isin(DEMO_SYSTEMS) == demo]
        if table is None and len(concerned):
            rows.append((name, "a file", "no file", ()))
        elif table is not None:
            rows.append(none(f"{name}: ids named twice", table.loc[table["id"].duplicated(), "id"]))
        without = concerned.index[concerned["prompt"] == ""]
        rows.append(none(f"clips whose prompt is not in {name}", without))
    rows += check_sounds(clips["path"])
    if whole:
        found = {path.name for path in (files.root / "wav").glob("*.wav")}
        named = {Path(path).name for path in clips["path"]}
        rows.append(none("sounds that no list names", sorted(found - named)))
    rows += _check_ratings(files.ratings, clips, whole)
    if whole:
        rows += _check_systems(files, clips)
    return [*rows, none("lines that cannot be read", files.broken)]


def check_scores(clips: pd.DataFrame) -> list[Row]:
    """Scores lie in [1, 5] and, being means of five whole numbers, on steps of 0.2."""
    rows = []
    for target in TARGETS:
        off = ~clips[target].between(1, 5)
        steps = clips.loc[~off, target] / STEP
        stray = steps.index[(steps - steps.round()).abs() > 1e-6]
        rows += [
            none(f"{target}: scores that are no number from 1 to 5", _named(clips.loc[off, target])),
            none(f"{target}: scores off the steps of {STEP:g}", _named(clips.loc[stray, target])),
        ]
    return rows


def check_sounds(paths: pd.Series) -> list[Row]:
    """Sounds are there, their headers can be read, and they are 16 kHz mono."""
    with ThreadPoolExecutor(_THREADS) as pool:
        found = pd.DataFrame(
            list(pool.map(_header_of, paths)), index=paths.index, columns=["fault", "format"]
        )
    missing = found["fault"] == "missing"
    faulty = found.loc[~missing & (found["fault"] != ""), "fault"]
    other = found.loc[(found["fault"] == "") & (found["format"] != f"{SAMPLE_RATE} Hz, 1 channels"), "format"]
    return [
        none("sounds that are missing", missing.index[missing]),
        none("sounds that cannot be read", faulty),
        none("sounds that are not 16 kHz mono", [f"{clip} ({kind})" for clip, kind in other.items()]),
    ]


def _header_of(path: str) -> tuple[str, str]:
    """Tell what keeps a sound from being read, and its sample rate and channels."""
    import soundfile

    if not Path(path).is_file():
        return "missing", ""
    try:
        header = soundfile.info(path)
    except (soundfile.SoundFileError, OSError) as error:
        return f"{Path(path).name} ({str(error).rsplit(': ', 1)[-1]})", ""
    fault = "" if header.frames else f"{Path(path).name} (holds no samples)"
    return fault, f"{header.samplerate} Hz, {header.channels} channels"


def _check_lists(files: "MusicEvalFiles", names: list[str], counts: Mapping[str, int]) -> list[Row]:
    rows: list[Row] = []
    for name in names:
        if name in files.lists:
            clips = files.lists[name]["clip_id"]
            rows += count(f"{name} list", len(clips), counts.get(name))
            rows.append(none(f"{name} list: clips named twice", clips[clips.duplicated()]))
        elif files.layout != "phase1" or name not in ("test", "total"):
            rows.append((f"{name} list", f"sets/{name}_mos_list.txt", "no file", ()))
    return rows


def _check_lists_agree(lists: Mapping[str, pd.DataFrame]) -> list[Row]:
    parts = {name: lists[name].set_index("clip_id") for name in PARTS if name in lists}
    shared = [
        f"{clip} ({one}, {other})"
        for one, other in combinations(parts, 2)
        for clip in parts[one].index.intersection(parts[other].index)
    ]
    rows = [none("clips in two lists", shared)]
    if "total" in lists and parts:
        total, together = (
            table[~table.index.duplicated()]
            for table in (lists["total"].set_index("clip_id"), pd.concat(parts.values()))
        )
        odd = total.index.symmetric_difference(together.index)
        rows.append(none(f"clips in the total list or in {', '.join(parts)}, not in both", odd))
        apart = (total[list(TARGETS)] - together[list(TARGETS)]).abs().max(axis=1) > 1e-9
        rows.append(none("clips whose scores differ between lists", apart.index[apart]))
    return rows


def _check_ratings(ratings: pd.DataFrame | None, clips: pd.DataFrame, whole: bool) -> list[Row]:
    if ratings is None:
        return [("ratings", "person_mos/total_person_mos.txt", "no file", ())]
    known = ratings["clip_id"].isin(clips.index)
    strangers = ratings.loc[~known, "clip_id"].unique()
    rows = [none("rated clips that no list names", strangers)] if whole else []
    ratings = ratings[known]
    n_ratings = ratings.groupby("clip_id").size().reindex(clips.index, fill_value=0)
    doubled = ratings[ratings.duplicated(["rater", "clip_id"])]
    rows += [
        none(f"clips without {RATERS_PER_CLIP} ratings", _named(n_ratings[n_ratings != RATERS_PER_CLIP])),
        none("ratings that repeat a rater and clip", _words("{rater} of {clip_id}", doubled)),
    ]
    means = ratings.groupby("clip_id")[list(TARGETS)].mean().reindex(clips.index)
    for target in TARGETS:
        off = ratings[~ratings[target].isin(range(1, 6))]
        far = (means[target] - clips[target]).abs() > _LIST_ROUNDING
        rows += [
            none(
                f"{target}: ratings that are no whole number from 1 to 5", _words("{clip_id} by {rater}", off)
            ),
            none(f"{target}: scores that are not the mean of their ratings", _named(clips.loc[far, target])),
        ]
    return rows


def _check_systems(files: "MusicEvalFiles", clips: pd.DataFrame) -> list[Row]:
    if files.systems is None:
        found = len(list((files.root / "system_mos").glob("*")))
        which = f"{found} files, none of them known" if found else "no file"
        return [("system table", "one file in system_mos", which, ())]
    means = clips[clips["system"] != ""].groupby("system")[list(TARGETS)].mean()
    both = means.index.intersection(files.systems.index)
    odd = means.index.symmetric_difference(files.systems.index)
    rows = [none("systems in table or lists, not in both", odd)]
    for target in TARGETS:
        table, mean = files.systems.loc[both, target], means.loc[both, target]
        # Not "> rounding": a score that is no number differs too.
        far = both[~np.less_equal((table - mean).abs(), _TABLE_ROUNDING)]
        words = [f"{system} ({table[system]:g}, clips {mean[system]:.3f})" for system in far]
        rows.append(none(f"{target}: systems whose table score is not the mean of their clips", words))
    return rows


def _named(scores: pd.Series) -> list[str]:
    return [f"{clip} ({score:g})" for clip, score in scores.items()]


def _words(form: str, rows: pd.DataFrame) -> list[str]:
    return [form.format(**row) for row in rows.to_dict("records")]
