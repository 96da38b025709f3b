"""What MusicEval should be, held against what was read: one row a check, nothing stops."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.datasets.clips import TARGETS
from musiceval_sk.datasets.musiceval.files import DEMO_SYSTEMS, PARTS, MusicEvalFiles
from musiceval_sk.exceptions import AudioError

COLUMNS = ["check", "expected", "found", "differs", "examples"]
RATERS_PER_CLIP = 5
STEP = 1 / RATERS_PER_CLIP
SAMPLE_RATE = 16000
# Lists are printed with one decimal, system tables with two or more.
_LIST_ROUNDING = 0.05 + 1e-9
_TABLE_ROUNDING = 0.005 + 1e-9
_THREADS = 8


class Checks:
    """Collects one row a check."""

    def __init__(self) -> None:
        self.rows: list[dict[str, object]] = []

    def add(self, check: str, expected: object, found: object, examples: Iterable[object] = ()) -> None:
        """Note what was expected and what was found; they differ if their words do."""
        differs = str(expected) != str(found)
        values = (check, str(expected), str(found), differs, listed(examples))
        self.rows.append(dict(zip(COLUMNS, values, strict=True)))

    def none(self, check: str, offenders: Iterable[object]) -> None:
        """Expect that nothing offends."""
        offenders = list(offenders)
        self.add(check, 0, len(offenders), offenders)

    def count(self, check: str, found: int, expected: int | None) -> None:
        """Expect a number of clips, where one is known."""
        if expected is not None:
            self.add(check, f"{expected} clips", f"{found} clips")

    def table(self) -> pd.DataFrame:
        """Put the rows into a table."""
        return pd.DataFrame(self.rows, columns=COLUMNS)


def check_files(
    files: MusicEvalFiles, clips: pd.DataFrame, split: str, counts: Mapping[str, int]
) -> pd.DataFrame:
    """Check the clips of a split, and with "total" also what concerns the data set as a whole."""
    checks, whole = Checks(), split == "total"
    _check_lists(checks, files, [*PARTS, "total"] if whole else [split], counts)
    if whole:
        _check_lists_agree(checks, files)
    check_scores(checks, clips)
    checks.none("names that tell no system and prompt", clips.index[clips["system"] == ""])
    _check_prompts(checks, files, clips)
    check_sounds(checks, clips["path"])
    if whole:
        named = {Path(path).name for path in clips["path"]}
        found = sorted(path.name for path in (files.root / "wav").glob("*.wav"))
        checks.none("sounds that no list names", (name for name in found if name not in named))
    _check_ratings(checks, files, clips, whole)
    if whole:
        _check_systems(checks, files, clips)
    checks.none("lines that cannot be read", files.broken)
    return checks.table()


def check_scores(checks: Checks, clips: pd.DataFrame) -> None:
    """Scores lie in [1, 5] and, being means of five whole numbers, on steps of 0.2."""
    for target in TARGETS:
        scores = clips[target]
        off = ~scores.between(1, 5)
        checks.none(f"{target}: scores that are no number from 1 to 5", _named(scores[off]))
        steps = scores[~off] / STEP
        stray = steps.index[(steps - steps.round()).abs() > 1e-6]
        checks.none(f"{target}: scores off the steps of {STEP:g}", _named(scores[stray]))


def check_sounds(checks: Checks, paths: pd.Series) -> None:
    """Sounds are there, their headers can be read, and they are 16 kHz mono."""
    with ThreadPoolExecutor(_THREADS) as pool:
        kinds = pd.Series(list(pool.map(_kind_of_sound, paths)), index=paths.index, dtype=object)
    missing = kinds.isna()
    checks.none("sounds that are missing", missing.index[missing])
    unreadable = kinds.map(lambda kind: isinstance(kind, AudioError)).astype(bool)
    checks.none("sounds that cannot be read", kinds[unreadable])
    known = kinds[~missing & ~unreadable]
    other = known[known != (SAMPLE_RATE, 1)]
    words = (f"{clip} ({rate} Hz, {channels} channels)" for clip, (rate, channels) in other.items())
    checks.none("sounds that are not 16 kHz mono", words)


def _check_lists(
    checks: Checks, files: MusicEvalFiles, names: Iterable[str], counts: Mapping[str, int]
) -> None:
    for name in names:
        table = files.lists.get(name)
        if table is None:
            if not (files.layout == "phase1" and name in ("test", "total")):
                checks.add(f"{name} list", f"sets/{name}_mos_list.txt", "no file")
            continue
        checks.count(f"{name} list", len(table), counts.get(name))
        checks.none(f"{name} list: clips named twice", table.loc[table["clip_id"].duplicated(), "clip_id"])


def _check_lists_agree(checks: Checks, files: MusicEvalFiles) -> None:
    parts = {name: files.lists[name].set_index("clip_id") for name in PARTS if name in files.lists}
    shared = [
        f"{clip} ({one}, {other})"
        for one, other in combinations(parts, 2)
        for clip in parts[one].index.intersection(parts[other].index)
    ]
    checks.none("clips in two lists", shared)
    total = files.lists.get("total")
    if total is None or not parts:
        return
    total = total.drop_duplicates("clip_id").set_index("clip_id")
    together = pd.concat(parts.values())
    together = together[~together.index.duplicated()]
    odd = total.index.symmetric_difference(together.index)
    checks.none(f"clips in the total list or in {', '.join(parts)}, not in both", odd)
    both = total.index.intersection(together.index)
    unequal = (total.loc[both, list(TARGETS)] - together.loc[both, list(TARGETS)]).abs().max(axis=1) > 1e-9
    checks.none("clips whose scores differ between lists", both[unequal])


def _check_prompts(checks: Checks, files: MusicEvalFiles, clips: pd.DataFrame) -> None:
    used = {True: "demo_prompt_info.txt", False: "prompt_info.txt"}
    for demo, table in ((False, files.prompts), (True, files.demo_prompts)):
        concerned = clips[clips["system"].isin(DEMO_SYSTEMS) == demo]
        if table is None and len(concerned):
            checks.add(used[demo], "a file", "no file")
        elif table is not None:
            repeated = table.loc[table["id"].duplicated(), "id"]
            checks.none(f"{used[demo]}: ids named twice", repeated)
        checks.none(f"clips whose prompt is not in {used[demo]}", concerned.index[concerned["prompt"] == ""])


def _check_ratings(checks: Checks, files: MusicEvalFiles, clips: pd.DataFrame, whole: bool) -> None:
    ratings = files.ratings
    if ratings is None:
        checks.add("ratings", "person_mos/total_person_mos.txt", "no file")
        return
    if whole:
        strangers = ratings.loc[~ratings["clip_id"].isin(clips.index), "clip_id"].unique()
        checks.none("rated clips that no list names", strangers)
    ratings = ratings[ratings["clip_id"].isin(clips.index)]
    count = ratings.groupby("clip_id")["rater"].size().reindex(clips.index, fill_value=0)
    wrong = count[count != RATERS_PER_CLIP]
    checks.none(f"clips without {RATERS_PER_CLIP} ratings", _named(wrong))
    doubled = ratings[ratings.duplicated(["rater", "clip_id"])]
    words = (f"{row.rater} of {row.clip_id}" for row in doubled.itertuples())
    checks.none("ratings that repeat a rater and clip", words)
    means = ratings.groupby("clip_id")[list(TARGETS)].mean().reindex(clips.index)
    for target in TARGETS:
        given = ratings[target]
        off = ratings[~(given.between(1, 5) & (given == given.round()))]
        words = (f"{row.clip_id} by {row.rater}" for row in off.itertuples())
        checks.none(f"{target}: ratings that are no whole number from 1 to 5", words)
        far = (means[target] - clips[target]).abs() > _LIST_ROUNDING
        checks.none(
            f"{target}: scores that are not the mean of their ratings", _named(clips.loc[far, target])
        )


def _check_systems(checks: Checks, files: MusicEvalFiles, clips: pd.DataFrame) -> None:
    if files.systems is None:
        found = len(list((files.root / "system_mos").glob("*")))
        which = f"{found} files, none of them known" if found else "no file"
        checks.add("system table", "one file in system_mos", which)
        return
    averaged = clips[clips["system"] != ""].groupby("system")[list(TARGETS)].mean()
    checks.none(
        "systems in table or lists, not in both", averaged.index.symmetric_difference(files.systems.index)
    )
    both = averaged.index.intersection(files.systems.index)
    for target in TARGETS:
        table, mean = files.systems.loc[both, target], averaged.loc[both, target]
        # Not "> rounding": a score that is no number differs too.
        far = both[~np.less_equal((table - mean).abs(), _TABLE_ROUNDING)]
        words = (f"{system} ({table[system]:g}, clips {mean[system]:.3f})" for system in far)
        checks.none(f"{target}: systems whose table score is not the mean of their clips", words)


def _named(scores: pd.Series) -> list[str]:
    return [f"{clip} ({score:g})" for clip, score in scores.items()]


def _kind_of_sound(path: str) -> tuple[int, int] | AudioError | None:
    """Sample rate and channels from the header; None for no file, an error for no sound."""
    import soundfile

    if not Path(path).is_file():
        return None
    try:
        header = soundfile.info(path)
    except (soundfile.SoundFileError, OSError) as error:
        return AudioError(f"{Path(path).name} ({str(error).rsplit(': ', 1)[-1]})")
    if header.frames == 0:
        return AudioError(f"{Path(path).name} (holds no samples)")
    return header.samplerate, header.channels
