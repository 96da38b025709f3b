"""What MusicEval should be, held against what was read: one row a check, nothing stops."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

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

# By the name of a check: what offends, of which nothing is expected, or a pair of what was expected and found.
Checks = dict[str, Any]


def table_of_checks(checks: Checks) -> pd.DataFrame:
    """Put checks into a table; what was expected and what was found differ if their words do."""
    rows = []
    for check, result in checks.items():
        examples = [] if isinstance(result, tuple) else list(result)
        expected, found = map(str, result if isinstance(result, tuple) else (0, len(examples)))
        rows.append((check, expected, found, expected != found, listed(examples)))
    return pd.DataFrame(rows, columns=["check", "expected", "found", "differs", "examples"])


def check_files(
    files: "MusicEvalFiles", clips: pd.DataFrame, split: str, counts: Mapping[str, int]
) -> Checks:
    """Check the clips of a split, and with "total" also what concerns the data set as a whole."""
    whole = split == "total"
    checks = _check_lists(files, [*PARTS, "total"] if whole else [split], counts)
    checks |= (_check_lists_agree(files.lists) if whole else {}) | check_scores(clips)
    checks["names that tell no system and prompt"] = clips.index[clips["system"] == ""]
    for name, demo in (("prompt_info.txt", False), ("demo_prompt_info.txt", True)):
        concerned = clips[clips["system"].isin(DEMO_SYSTEMS) == demo]
        if name in files.prompts:
            ids = files.prompts[name]["id"]
            checks[f"{name}: ids named twice"] = ids[ids.duplicated()]
        elif len(concerned):
            checks[name] = ("a file", "no file")
        checks[f"clips whose prompt is not in {name}"] = concerned.index[concerned["prompt"] == ""]
    checks |= check_sounds(clips["path"])
    if whole:
        sounds = {path.name for path in (files.root / "wav").glob("*.wav")}
        checks["sounds that no list names"] = sorted(sounds - {Path(path).name for path in clips["path"]})
    checks |= _check_ratings(files.ratings, clips, whole)
    checks |= _check_systems(files, clips) if whole else {}
    return checks | {"lines that cannot be read": files.broken}


def check_scores(clips: pd.DataFrame) -> Checks:
    """Scores lie in [1, 5] and, being means of five whole numbers, on steps of 0.2."""
    checks = {}
    for target in TARGETS:
        scores = clips[target]
        on_scale = scores.between(1, 5)
        off_steps = (scores / STEP - (scores / STEP).round()).abs() > 1e-6
        checks[f"{target}: scores that are no number from 1 to 5"] = _named(scores[~on_scale])
        checks[f"{target}: scores off the steps of {STEP:g}"] = _named(scores[on_scale & off_steps])
    return checks


def check_sounds(paths: pd.Series) -> Checks:
    """Sounds are there, their headers can be read, and they are 16 kHz mono."""
    with ThreadPoolExecutor(_THREADS) as pool:
        found = pd.Series(list(pool.map(_header_of, paths)), index=paths.index)
    kinds = ("missing", "fault", "format")
    missing, faults, formats = (found[found.str[0] == kind].str[1] for kind in kinds)
    other = formats[formats != f"{SAMPLE_RATE} Hz, 1 channels"]
    return {
        "sounds that are missing": missing.index,
        "sounds that cannot be read": faults,
        "sounds that are not 16 kHz mono": [f"{clip} ({kind})" for clip, kind in other.items()],
    }


def _header_of(path: str) -> tuple[str, str]:
    """Read a sound's format, or tell that it is missing or at fault."""
    import soundfile

    name = Path(path).name
    if not os.path.isfile(path):  # no error either where no such name can be
        return "missing", name
    try:
        header = soundfile.info(path)
    except (soundfile.SoundFileError, OSError) as error:
        return "fault", f"{name} ({str(error).rsplit(': ', 1)[-1]})"
    if header.frames == 0:
        return "fault", f"{name} (holds no samples)"
    return "format", f"{header.samplerate} Hz, {header.channels} channels"


def _check_lists(files: "MusicEvalFiles", names: list[str], counts: Mapping[str, int]) -> Checks:
    checks: Checks = {}
    for name in names:
        if name not in files.lists:
            if files.layout != "phase1" or name not in ("test", "total"):
                checks[f"{name} list"] = (f"sets/{name}_mos_list.txt", "no file")
            continue
        ids = files.lists[name]["clip_id"]
        if name in counts:
            checks[f"{name} list"] = (f"{counts[name]} clips", f"{len(ids)} clips")
        checks[f"{name} list: clips named twice"] = ids[ids.duplicated()]
    return checks


def _check_lists_agree(lists: Mapping[str, pd.DataFrame]) -> Checks:
    tables = {name: table.set_index("clip_id")[list(TARGETS)] for name, table in lists.items()}
    parts = {name: tables[name] for name in PARTS if name in tables}
    shared = [
        f"{clip} ({one}, {other})"
        for one, other in combinations(parts, 2)
        for clip in parts[one].index.intersection(parts[other].index)
    ]
    checks: Checks = {"clips in two lists": shared}
    if "total" in tables and parts:
        both = (tables["total"], pd.concat(parts.values()))
        total, together = (table[~table.index.duplicated()] for table in both)
        unequal = (total - together).abs().max(axis=1) > 1e-9
        lone = total.index.symmetric_difference(together.index)
        checks[f"clips in the total list or in {', '.join(parts)}, not in both"] = lone
        checks["clips whose scores differ between lists"] = unequal.index[unequal]
    return checks


def _check_ratings(ratings: pd.DataFrame | None, clips: pd.DataFrame, whole: bool) -> Checks:
    if ratings is None:
        return {"ratings": ("person_mos/total_person_mos.txt", "no file")}
    checks: Checks = {}
    known = ratings["clip_id"].isin(clips.index)
    if whole:
        checks["rated clips that no list names"] = ratings.loc[~known, "clip_id"].unique()
    ratings = ratings[known]
    of_clips = ratings.groupby("clip_id")
    n_ratings = of_clips.size().reindex(clips.index, fill_value=0)
    doubled = ratings[ratings.duplicated(["rater", "clip_id"])]
    checks[f"clips without {RATERS_PER_CLIP} ratings"] = _named(n_ratings[n_ratings != RATERS_PER_CLIP])
    repeated = [f"{row.rater} of {row.clip_id}" for row in doubled.itertuples()]
    checks["ratings that repeat a rater and clip"] = repeated
    for target in TARGETS:
        off = ratings[~ratings[target].isin(range(1, 6))]
        far = (of_clips[target].mean() - clips[target]).abs() > _LIST_ROUNDING
        strange = [f"{row.clip_id} by {row.rater}" for row in off.itertuples()]
        checks[f"{target}: ratings that are no whole number from 1 to 5"] = strange
        wrong = _named(clips.loc[far[clips.index], target])
        checks[f"{target}: scores that are not the mean of their ratings"] = wrong
    return checks


def _check_systems(files: "MusicEvalFiles", clips: pd.DataFrame) -> Checks:
    if files.systems is None:
        found = len(list((files.root / "system_mos").glob("*")))
        words = f"{found} files, none of them known" if found else "no file"
        return {"system table": ("one file in system_mos", words)}
    means = clips[clips["system"] != ""].groupby("system")[list(TARGETS)].mean()
    both = means.index.intersection(files.systems.index)
    lone = means.index.symmetric_difference(files.systems.index)
    checks: Checks = {"systems in table or lists, not in both": lone}
    for target in TARGETS:
        table, mean = files.systems.loc[both, target], means.loc[both, target]
        # Not "> rounding": a score that is no number differs too.
        far = both[~np.less_equal((table - mean).abs(), _TABLE_ROUNDING)]
        unlike = [f"{system} ({table[system]:g}, clips {mean[system]:.3f})" for system in far]
        checks[f"{target}: systems whose table score is not the mean of their clips"] = unlike
    return checks


def _named(scores: pd.Series) -> list[str]:
    return [f"{clip} ({score:g})" for clip, score in scores.items()]
