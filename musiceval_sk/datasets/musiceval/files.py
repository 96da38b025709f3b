"""The files of MusicEval as they lie on disk: lists, prompts, ratings and the system table, read as they stand.

Lines that cannot be read are left out and named in ``broken``; nothing here judges what was read.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from musiceval_sk._ids import without_suffix
from musiceval_sk._text import listed
from musiceval_sk.datasets.clips import TARGETS
from musiceval_sk.datasets.readers import read_headerless
from musiceval_sk.exceptions import ClipsTableError

# Systems whose clips come from demo pages: each clip has a prompt of its own.
DEMO_SYSTEMS = frozenset({"S001", "S006", "S013", "S017", "S018", "S033"})
PARTS = ("train", "dev", "test")
_NAME = r"^(?:.*[-_/])?(?P<system>S\d+)_(?P<prompt_id>P\d+)$"


@dataclass
class MusicEvalFiles:
    """A MusicEval folder, its files read when they are first asked for.

    Attributes
    ----------
    root : Path
        The folder that holds ``sets``.
    layout : str
        "full" or "phase1".
    broken : list of str
        Lines that could not be read, in words.
    """

    root: Path
    layout: str
    broken: list[str] = field(default_factory=list)

    @cached_property
    def lists(self) -> dict[str, pd.DataFrame]:
        """Clips and scores by list, in the order of the files: ``file``, ``clip_id`` and scores (nan if unreadable)."""
        found = {}
        for name in (*PARTS, "total"):
            path = self.root / "sets" / f"{name}_mos_list.txt"
            if path.is_file():
                found[name] = _with_clip_id(self._read(path, ["file", *TARGETS]))
        return found

    @cached_property
    def prompts(self) -> pd.DataFrame | None:
        """Shared prompts: ``id`` and ``text``."""
        return self._prompts("prompt_info.txt")

    @cached_property
    def demo_prompts(self) -> pd.DataFrame | None:
        """Prompts of single clips of the demo systems: ``id`` (a clip) and ``text``."""
        table = self._prompts("demo_prompt_info.txt")
        return None if table is None else table.assign(id=[without_suffix(name) for name in table["id"]])

    @cached_property
    def ratings(self) -> pd.DataFrame | None:
        """Single ratings: ``file``, ``clip_id``, ``rater`` and scores."""
        folder = self.root / "person_mos"
        paths = [folder / "total_person_mos.txt"]
        if not paths[0].is_file():
            paths = [path for part in PARTS if (path := folder / f"{part}_person_mos.txt").is_file()]
        if not paths:
            return None
        tables = [_with_clip_id(self._read(path, ["file", "rater", *TARGETS])) for path in paths]
        return pd.concat(tables, ignore_index=True)

    @cached_property
    def system_table(self) -> Path | None:
        """The file of system scores: the only one, or the one whose name tells the layout or says "total"."""
        folder = self.root / "system_mos"
        found = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".csv", ".txt"))
        named = [path for path in found if self.layout in path.stem or "total" in path.stem]
        chosen = found if len(found) < 2 else named
        return chosen[0] if len(chosen) == 1 else None

    @cached_property
    def systems(self) -> pd.DataFrame | None:
        """Scores by system, indexed by ``system``."""
        if self.system_table is None:
            return None
        table = _as_numbers(self._read(self.system_table, ["system", *TARGETS]))
        return table.drop_duplicates("system").set_index("system")

    def clips_of(self, split: str) -> pd.DataFrame:
        """Clips of one list or of all, in the order of the lists, with ``split``; doubled clips once."""
        names = [split] if split in PARTS else list(self.lists)
        tables = [self.lists[name].assign(split=name if name in PARTS else "") for name in names]
        table = pd.concat(tables, ignore_index=True).drop_duplicates("clip_id").reset_index(drop=True)
        return table.join(names_of(table["clip_id"]))

    def prompt_texts(self, clips: pd.DataFrame) -> pd.Series:
        """Prompt of each clip by the rules of the data set, "" for none."""
        own, shared = _texts(self.demo_prompts), _texts(self.prompts)
        found = []
        for clip in clips.itertuples():
            if clip.system in DEMO_SYSTEMS:
                # A demo clip may be listed by its whole name or by system and prompt.
                found.append(own.get(clip.clip_id, own.get(clip.prompt_id, "")))
            else:
                found.append(shared.get(clip.prompt_id, ""))
        return pd.Series(found, index=clips.index, dtype=object)

    def _read(self, path: Path, columns: list[str], delimiter: str = ",") -> pd.DataFrame:
        table, broken = read_headerless(path, columns, delimiter=delimiter)
        self.broken += broken
        return table

    def _prompts(self, name: str) -> pd.DataFrame | None:
        path = self.root / name
        if not path.is_file():
            return None
        table = self._read(path, ["id", "text"], delimiter="\t")
        return table.assign(text=[_unquoted(text) for text in table["text"]])


def find_files(root: str | Path) -> MusicEvalFiles:
    """Find the folder that holds ``sets`` (also one below, as unpacked archives have it) and tell its layout."""
    root = Path(root).absolute()
    if not root.exists():
        raise ClipsTableError(f"{root}: no such file or folder")
    inner = [root, *sorted(path for path in root.glob("*") if path.is_dir())]
    holders = [path for path in inner if any((path / "sets").glob("*_mos_list.txt"))]
    if not holders or (len(holders) > 1 and holders[0] != root):
        raise ClipsTableError(
            f"{root}: not one MusicEval folder; expected sets/train_mos_list.txt and the like in it or in one folder "
            f"below, found: {listed((path.name for path in holders or inner[1:]), most=8) or 'nothing'}"
        )
    home = holders[0]
    full = (home / "sets" / "test_mos_list.txt").is_file() or "full" in home.name.lower()
    return MusicEvalFiles(home, "full" if full else "phase1")


def names_of(clip_ids: pd.Series) -> pd.DataFrame:
    """System and prompt id told by clip names, "" where a name tells neither; the prompts of demo clips are their own."""
    parts = clip_ids.astype(str).str.extract(_NAME).fillna("")
    demo = parts["system"].isin(DEMO_SYSTEMS)
    own = parts["system"] + "_" + parts["prompt_id"]
    return parts.assign(prompt_id=parts["prompt_id"].where(~demo, own))


def scores_of(cells: pd.Series) -> pd.Series:
    """Text cells as floats, nan where there is no number."""
    return pd.to_numeric(cells, errors="coerce").astype(float)


def _with_clip_id(table: pd.DataFrame) -> pd.DataFrame:
    table = _as_numbers(table)
    table["clip_id"] = [without_suffix(name) for name in table["file"]]
    return table


def _as_numbers(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(**{target: scores_of(table[target]) for target in TARGETS})


def _texts(table: pd.DataFrame | None) -> dict[str, str]:
    """Text by id, the first where an id repeats."""
    pairs: Iterable[tuple[str, str]] = () if table is None else zip(table["id"], table["text"], strict=True)
    return dict(reversed(list(pairs)))


def _unquoted(text: str) -> str:
    """Undo quoting as spreadsheets and pandas write it, without letting a stray quote swallow lines."""
    quoted = len(text) > 1 and text[0] == text[-1] == '"'
    return text[1:-1].replace('""', '"') if quoted else text
