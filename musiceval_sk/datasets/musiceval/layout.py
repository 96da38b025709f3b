"""MusicEval in the three layouts that users get: the full set, the challenge's first phase, Hugging Face's Parquet.

The data set itself is not part of this package: CC BY-NC 4.0, https://www.aishelltech.com/AISHELL_7A.
"""

import hashlib
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from musiceval_sk._files import MALFORMED, atomic_write, refused_as
from musiceval_sk._ids import warn_of_skipped, without_suffix
from musiceval_sk._optional import import_optional
from musiceval_sk._text import listed, require_known
from musiceval_sk.datasets import readers
from musiceval_sk.datasets.musiceval import checks
from musiceval_sk.datasets.readers import TARGETS
from musiceval_sk.datasets.tools import read_system_table
from musiceval_sk.exceptions import ClipsTableError

_COLUMNS = ["path", "prompt", "system", "prompt_id", *TARGETS, "split"]
_NAME = r"^(?:.*[-_/])?(?P<system>S\d+)_(?P<prompt_id>P\d+)$"
# No name of the true file's columns is published in words; these are what the field calls the two scores.
_ALIASES = {
    "impression": ("impression", "musical_impression", "music_impression", "overall_impression", "overall_quality",
                   "overall", "mos_overall", "mi", "mos1"),
    "alignment": ("alignment", "textual_alignment", "text_alignment", "mos_alignment", "textual", "coherence",
                  "mos_textual", "ta", "mos2"),
}  # fmt: skip
_SPLITS = {"train": "train", "dev": "dev", "validation": "dev", "valid": "dev", "test": "test"}
_MAGIC = {b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3", b"\xff\xfb": ".mp3", b"\xff\xf3": ".mp3"}
# What a shard may take in memory, by its bytes and beside that; a row takes about a thousand bytes. Sounds can hardly be packed.
_MOST_UNPACKED, _MOST_BESIDE, _ROW = 100, 1 << 28, 1000
_NO_NAMES = (
    "{root}: Parquet holds sounds and two scores only. No systems: no S metrics, no splits by system, no look-up by "
    "system. No prompts: no splits by prompt, and alignment would be judged without its text. No raters: no "
    "reliability and no human ceiling. Where clip names tell systems, S metrics can be had, prompts and raters cannot. "
    "MusicEval-full has them all"
)


@dataclass
class MusicEvalFiles:
    """A MusicEval folder, its files read when they are first asked for, as they stand.

    Attributes
    ----------
    root : Path
        The folder that holds ``sets``.
    layout : str
        "full" or "phase1".
    broken : list of str
        Lines that could not be read and are left out, in words.
    """

    root: Path
    layout: str
    broken: list[str] = field(default_factory=list)

    @cached_property
    def lists(self) -> dict[str, pd.DataFrame]:
        """Clips and scores by list, in the order of the files: ``file``, ``clip_id`` and scores (nan if unreadable)."""
        return self._read_all("sets/{}_mos_list.txt", (*checks.PARTS, "total"), ["file", *TARGETS])

    @cached_property
    def prompts(self) -> dict[str, pd.DataFrame]:
        """``id`` and ``text`` by name of the file: shared prompts, and those of single clips of the demo systems."""
        return self._read_all("{}", ("prompt_info.txt", "demo_prompt_info.txt"), ["id", "text"])

    @cached_property
    def ratings(self) -> pd.DataFrame | None:
        """Single ratings: ``file``, ``clip_id``, ``rater`` and scores."""
        name, columns = "person_mos/{}_person_mos.txt", ["file", "rater", *TARGETS]
        tables = self._read_all(name, ["total"], columns) or self._read_all(name, checks.PARTS, columns)
        return pd.concat(tables.values(), ignore_index=True) if tables else None

    @cached_property
    def system_table(self) -> Path | None:
        """The file of system scores: the only one, or the one whose name tells the layout or says "total"."""
        found = [path for path in self.root.glob("system_mos/*") if path.suffix.lower() in (".csv", ".txt")]
        named = [path for path in found if self.layout in path.stem or "total" in path.stem]
        chosen = found if len(found) < 2 else named
        return chosen[0] if len(chosen) == 1 else None

    @cached_property
    def systems(self) -> pd.DataFrame | None:
        """Scores by system, indexed by ``system``."""
        if self.system_table is None:
            return None
        table = self._read(self.system_table, ["system", *TARGETS])
        return table.drop_duplicates("system").set_index("system")

    def clips_of(self, split: str) -> pd.DataFrame:
        """Clips table of one list or of all, in the order of the lists; doubled clips once."""
        names = [split] if split in checks.PARTS else list(self.lists)
        tables = [self.lists[name].assign(split=name if name in checks.PARTS else "") for name in names]
        clips = pd.concat(tables, ignore_index=True).drop_duplicates("clip_id").reset_index(drop=True)
        clips = clips.join(names_of(clips["clip_id"]))
        clips["path"] = [str(self.root / "wav" / name) for name in clips["file"]]
        own, shared = self._texts("demo_prompt_info.txt"), self._texts("prompt_info.txt")
        # A demo clip may be listed by its whole name or by system and prompt.
        named = clips["clip_id"].where(clips["clip_id"].isin(own.index), clips["prompt_id"])
        texts = own.reindex(named, fill_value=""), shared.reindex(clips["prompt_id"], fill_value="")
        clips["prompt"] = np.where(clips["system"].isin(checks.DEMO_SYSTEMS), *texts)
        return clips.set_index("clip_id")[_COLUMNS]

    def require(self, split: str) -> "MusicEvalFiles":
        """Raise unless the list that was asked for is there."""
        if split in self.lists and self.lists[split].empty:
            why = listed(self.broken) or "it is empty"
            lacking = f"sets/{split}_mos_list.txt has no line of file,impression,alignment: {why}"
        elif split == "total" or split in self.lists:
            return self
        elif self.layout == "phase1" and split == "test":
            lacking = (
                "MusicEval-phase1 has no test list, the challenge released train and dev only; take "
                'split="dev", or MusicEval-full'
            )
        else:
            lacking = f"no sets/{split}_mos_list.txt; there are the lists: {listed(self.lists)}"
        raise ClipsTableError(f"{self.root}: {lacking}")

    def _texts(self, name: str) -> pd.Series:
        """Prompts by id, the first where an id repeats."""
        table = self.prompts.get(name, pd.DataFrame(columns=["id", "text"]))
        return table.drop_duplicates("id").set_index("id")["text"]

    def _read_all(self, form: str, names: Sequence[str], columns: list[str]) -> dict[str, pd.DataFrame]:
        """Read the files that are there, by name."""
        paths = {name: self.root / form.format(name) for name in names}
        return {name: self._read(path, columns) for name, path in paths.items() if path.is_file()}

    def _read(self, path: Path, columns: list[str]) -> pd.DataFrame:
        """Read a file, scores as floats; clips are known by their name without suffix."""
        table, broken = readers.read_headerless(path, columns, delimiter="\t" if "text" in columns else ",")
        self.broken += broken
        for target in table.columns.intersection(TARGETS):
            table[target] = pd.to_numeric(table[target], errors="coerce").astype(float)
        if "file" in table:
            table["clip_id"] = table["file"].map(without_suffix)
        if "text" in table:
            table["id"] = table["id"].map(without_suffix)
            # Quoting as spreadsheets and pandas write it, without letting a stray quote swallow lines.
            quoted = table["text"].str.fullmatch('".*"')
            table["text"] = table["text"].mask(quoted, table["text"].str[1:-1].str.replace('""', '"'))
        return table


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
    demo = parts["system"].isin(checks.DEMO_SYSTEMS)
    own = parts["system"] + "_" + parts["prompt_id"]
    return parts.assign(prompt_id=parts["prompt_id"].where(~demo, own))


def load_musiceval(
    root: str | Path,
    split: str = "total",
    *,
    strict: bool = False,
    check: bool = True,
    counts: Mapping[str, int] | Literal["official"] | None = "official",
    sounds: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Read MusicEval as a clips table, and report where it is not as it should be.

    Clip names tell system and prompt. Clips of the six demo systems (`DEMO_SYSTEMS`) take their prompt by clip name
    from ``demo_prompt_info.txt``, all others by prompt id from ``prompt_info.txt``. Clip ids go without ``.wav``.

    Parameters
    ----------
    root : str or Path
        ``MusicEval-full`` or ``MusicEval-phase1``, or the folder they were unpacked into; or a Parquet file or a
        folder of them.
    split : {"total", "train", "dev", "test"}, default="total"
        Which official list to read, or all clips; the column ``split`` then says where each belongs.
    strict : bool, default=False
        Whether differences are an error instead of a warning.
    check : bool, default=True
        Whether to check what is read, see `check_musiceval`; the header of each sound is opened for it.
    counts : mapping of str to int or "official" or None, default="official"
        Clips that each list should have, by its name: "official" for `musiceval_sk.datasets.musiceval.checks.MUSICEVAL_COUNTS`, None for a data set of another
        size.
    sounds : str or Path, default=None
        For Parquet: folder for the sounds, each a file named by its content and written once. By default ``sounds``
        beside the shards.
    columns : mapping of str to str, default=None
        For Parquet: names of the columns ``audio``, ``impression`` and ``alignment``, where they are not found by
        themselves.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``clip_id``, with absolute ``path``, ``prompt``, ``system``, ``prompt_id`` (of a demo clip with its
        system, since its prompt is its own), ``impression`` and ``alignment`` (floats in [1, 5]) and ``split``.
        From Parquet without ``system`` and ``prompt_id``, and with empty prompts.

    Raises
    ------
    ClipsTableError
        If there is no such data set or list; with `strict` if anything differs, with the list of differences.

    Warns
    -----
    UserWarning
        If anything differs; and for Parquet, of what cannot be computed from it.

    Examples
    --------
    >>> from musiceval_sk import load_musiceval
    >>> clips = load_musiceval("MusicEval-full", counts=None)  # counts=None: here it is a small one
    >>> clips["split"].value_counts().to_dict()
    {'train': 30, 'dev': 7, 'test': 7}
    """
    clips, table, layout = _read(root, split, counts, sounds, columns, check)
    found = table[table["differs"]]
    if len(found):
        lines = [f"{root} ({layout}, {split}) differs from MusicEval as described in {len(found)} checks:"]
        for row in found.itertuples():
            examples = f": {row.examples}" if row.examples else ""
            lines.append(f"  {row.check}: expected {row.expected}, found {row.found}{examples}")
        if strict:
            raise ClipsTableError("\n".join(lines))
        warnings.warn("\n".join(lines), UserWarning, stacklevel=2)
    if layout == "parquet":
        warnings.warn(_NO_NAMES.format(root=root), UserWarning, stacklevel=2)
    return clips


def check_musiceval(
    root: str | Path,
    split: str = "total",
    *,
    counts: Mapping[str, int] | Literal["official"] | None = "official",
    sounds: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Hold MusicEval to what its paper and its files promise.

    Checked are, for the clips of the split: clips in each list, clips named twice, scores in [1, 5] and in steps of
    0.2, clip names, prompts, sounds that are missing, unreadable (by their header; nothing is decoded) or not 16 kHz
    mono, five ratings a clip by different raters, and scores against the mean of their ratings. With "total" also:
    lists against each other, sounds and rated clips that no list names, and the system table against averaged clips.

    Parameters
    ----------
    root : str or Path
        As for `load_musiceval`.
    split : {"total", "train", "dev", "test"}, default="total"
        Which clips to check.
    counts : mapping of str to int or "official" or None, default="official"
        As for `load_musiceval`; None asks for no number.
    sounds : str or Path, default=None
        As for `load_musiceval`.
    columns : mapping of str to str, default=None
        As for `load_musiceval`.

    Returns
    -------
    pandas.DataFrame
        One row a check: ``check``, ``expected``, ``found``, ``differs`` (bool) and ``examples`` (at most five, the
        rest counted).

    Raises
    ------
    ClipsTableError
        If there is no such data set or list.

    Examples
    --------
    >>> from musiceval_sk.datasets.musiceval.layout import check_musiceval
    >>> table = check_musiceval("MusicEval-full")
    >>> table.loc[table["differs"], ["check", "expected", "found"]].iloc[-1].tolist()
    ['total list', '2748 clips', '44 clips']
    """
    return _read(root, split, counts, sounds, columns, True)[1]


def load_musiceval_ratings(root: str | Path, split: str = "total") -> pd.DataFrame:
    """Read the single ratings behind MusicEval's scores.

    Read is ``person_mos/total_person_mos.txt`` or, where that is missing, ``train_``, ``dev_`` and
    ``test_person_mos.txt``: lines of ``file,rater,impression,alignment``.

    Parameters
    ----------
    root : str or Path
        ``MusicEval-full`` or ``MusicEval-phase1``.
    split : {"total", "train", "dev", "test"}, default="total"
        Ratings of which clips.

    Returns
    -------
    pandas.DataFrame
        Ratings table: ``rater``, ``clip_id`` (without ``.wav``), ``impression``, ``alignment``.

    Raises
    ------
    ClipsTableError
        If the folder holds no ratings, or none that can be read.

    Warns
    -----
    SkippedWarning
        If lines cannot be read, which are left out, or scores are no numbers, which are nan.
    """
    files = _find(root, "ratings")
    ratings = files.ratings
    if ratings is None:
        raise ClipsTableError(f"{files.root}: no ratings; expected person_mos/total_person_mos.txt")
    broken = list(files.broken)
    if ratings.empty:
        raise ClipsTableError(
            f"{files.root}: person_mos has no line of file,rater,impression,alignment: {listed(broken) or 'it is empty'}"
        )
    unread = ratings.loc[ratings[list(TARGETS)].isna().any(axis=1), "file"]
    if len(unread):
        broken.append(f"scores that are no number in {len(unread)} lines: {listed(unread)}")
    if broken:
        warn_of_skipped(f"{files.root}: ratings that cannot be read", broken)
    if split != "total":
        ratings = ratings[ratings["clip_id"].isin(files.require(split).clips_of(split).index)]
    return ratings[["rater", "clip_id", *TARGETS]].reset_index(drop=True)


def load_musiceval_systems(root: str | Path, *, scale: tuple[float, float] | None = (1, 5)) -> pd.DataFrame:
    """Read MusicEval's own table of system scores, one of the two system truths in circulation.

    The other is the mean over the evaluated clips. Read is the one ``.csv`` or ``.txt`` file in ``system_mos`` or, of
    several, the one whose name holds the layout (``full``, ``phase1``) or ``total``: lines of
    ``system,impression,alignment``, with or without a header.

    Parameters
    ----------
    root : str or Path
        ``MusicEval-full`` or ``MusicEval-phase1``.
    scale : (float, float) or None, default=(1, 5)
        Lowest and highest score that raters could give; None accepts any number.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``system``, with ``impression`` and ``alignment``.

    Raises
    ------
    ClipsTableError
        If the folder holds no system table, or several that cannot be told apart, or a score is off the scale.
    """
    files = _find(root, "system table")
    if files.systems is None:
        found = [path.name for path in sorted((files.root / "system_mos").glob("*"))]
        raise ClipsTableError(
            f"{files.root}: no system table; expected one file in system_mos, as system_mos_{files.layout}.csv, "
            f"found: {listed(found) or 'nothing'}"
        )
    return read_system_table(str(files.system_table), scale=scale)


def _read(
    root: str | Path,
    split: str,
    counts: Mapping[str, int] | Literal["official"] | None,
    sounds: str | Path | None,
    columns: Mapping[str, str] | None,
    check: bool,
) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Read clips, check them, and tell the layout."""
    require_known("split", split, (*checks.PARTS, "total"))
    counts = checks.MUSICEVAL_COUNTS if isinstance(counts, str) and counts == "official" else counts
    if counts is not None and not hasattr(counts, "items"):  # a Series of counts serves as well
        kind = ValueError if isinstance(counts, str) else TypeError
        raise kind(f'counts={counts!r} must be "official", a mapping of list to clips, or None')
    wanted = {} if counts is None else dict(counts)
    shards = parquet_files(root)
    if not shards:
        files = find_files(root).require(split)
        clips = files.clips_of(split)
        found = checks.check_files(files, clips, split, wanted) if check else {}
        return clips, checks.table_of_checks(found), files.layout
    clips = read_parquet_clips(shards, split, sounds, columns)
    parts = names_of(clips.index.to_series())
    if parts["system"].ne("").all():
        clips = clips.join(parts)
    found = {}
    if check:
        if split in wanted:
            found[f"{split} clips"] = (f"{wanted[split]} clips", f"{len(clips)} clips")
        found |= checks.check_scores(clips) | checks.check_sounds(clips["path"])
        repeated = clips["path"].duplicated() & (clips["path"] != "")
        found["sounds whose bytes another clip has too"] = clips.index[repeated]
    return clips, checks.table_of_checks(found), "parquet"


def _find(root: str | Path, what: str) -> MusicEvalFiles:
    if parquet_files(root):
        raise ClipsTableError(f"{root}: Parquet holds no {what}; MusicEval-full does")
    return find_files(root)


def parquet_files(root: str | Path) -> list[Path]:
    """List the shards: the file itself, or all below a folder that is no MusicEval folder."""
    root = Path(root).absolute()
    if root.suffix.lower() == ".parquet":
        return [root] if root.is_file() else []
    return [] if any(root.glob("**/sets/*_mos_list.txt")) else sorted(root.rglob("*.parquet"))


def read_parquet_clips(
    shards: list[Path], split: str, sounds: str | Path | None, columns: Mapping[str, str] | None
) -> pd.DataFrame:
    """Read the shards of a split a row at a time, and lay their sounds down as files named by their content."""
    splits = {shard: split_of(shard) for shard in shards}
    wanted = [shard for shard in shards if split in ("total", splits[shard])]
    if not wanted:
        found = listed(sorted({name or "no split" for name in splits.values()}))
        raise ClipsTableError(f"{shards[0]}: no shard is named {split}; the names tell: {found}")
    home = os.path.commonpath([shard.parent for shard in shards])
    folder = Path(sounds or Path(home, "sounds")).absolute()
    rows = []
    for shard in wanted:
        for audio, *scores in _rows_of(shard, columns or {}):
            with refused_as(ClipsTableError, f"{shard}: its column of sounds must hold {{bytes, path}}"):
                data, name = (audio or {}).get("bytes"), Path((audio or {}).get("path") or "").name
                digest = "" if data is None else hashlib.sha256(data).hexdigest()
            path = "" if data is None else str(lay_down(data, digest, folder))
            rows.append((digest[:16] or "no-sound", name, path, "", *scores, splits[shard]))
    if not rows:
        raise ClipsTableError(f"{wanted[0]}: the table is empty")
    clips = pd.DataFrame(rows, columns=["digest", "name", "path", "prompt", *TARGETS, "split"])
    clips[list(TARGETS)] = clips[list(TARGETS)].apply(pd.to_numeric, errors="coerce").astype(float)
    # Names of the sounds where they are unique, else digests of their bytes, counted where those repeat.
    names, digests = clips.pop("name").map(without_suffix), clips.pop("digest")
    repeats = digests.groupby(digests).cumcount()
    numbered = digests.where(repeats == 0, digests + "-" + (repeats + 1).astype(str))
    return clips.set_index((names if names.ne("").all() and names.is_unique else numbered).rename("clip_id"))


def _rows_of(shard: Path, columns: Mapping[str, str]) -> Iterator[Any]:
    """Yield sound, impression and alignment of each row."""
    parquet = import_optional("pyarrow.parquet", extra="parquet", purpose="Reading Parquet")
    try:
        with parquet.ParquetFile(shard) as file:
            names, about = _columns_of(file.schema_arrow, columns, shard), file.metadata
            unpacked = sum(about.row_group(n).total_byte_size for n in range(about.num_row_groups))
            left = _MOST_UNPACKED * shard.stat().st_size + _MOST_BESIDE - _ROW * about.num_rows
            words = f"{shard}: {about.num_rows:,} rows of far more bytes than the file has; get it anew"
            if unpacked > left:
                raise ClipsTableError(words)
            for row in file.iter_batches(batch_size=1, columns=names):  # many may share one long sound
                left -= row.nbytes
                if left < 0:
                    raise ClipsTableError(words)
                yield [row.column(name).to_pylist()[0] for name in names]
    except (OSError, *MALFORMED) as error:  # from which pyarrow's derive
        if type(error) in (ClipsTableError, ValueError):
            raise
        raise ClipsTableError(f"{shard}: cannot be read as Parquet: {error}") from error


def _columns_of(schema: Any, given: Mapping[str, str], shard: Path) -> list[str]:
    """Names of the columns that hold sound and scores: as given, else by type and by what the field calls them."""
    wanted = ("audio", *TARGETS)
    for what in given:
        require_known("columns=", what, wanted)
    plain = {name.lower().replace(" ", "_"): name for name in schema.names}
    sounds = [one.name for one in schema if f"{one.name}.bytes" in {part.name for part in one.flatten()}]
    candidates = {
        target: [plain[alias] for alias in _ALIASES[target] if alias in plain] for target in TARGETS
    }
    candidates["audio"] = sounds if len(sounds) == 1 else []
    candidates |= {what: [name] if name in schema.names else [] for what, name in given.items()}
    missing = [what for what in wanted if not candidates[what]]
    if missing:
        raise ClipsTableError(
            f"{shard}: no column for {listed(missing)}; it has {listed(schema.names, most=12)}. Name them, as in "
            'columns={"audio": "audio", "impression": "mos", "alignment": "text_mos"}; "audio" holds {bytes, path}'
        )
    return [candidates[what][0] for what in wanted]


def split_of(shard: Path) -> str:
    """Official list of a shard as the names of files and folders tell it (``train-00000-of-00002``, ``test/0000``)."""
    names = (_SPLITS.get(name.split("-")[0].lower(), "") for name in (shard.stem, shard.parent.name))
    return next(filter(None, names), "")


def lay_down(data: bytes, digest: str, folder: Path) -> Path:
    """Write a sound once, whole or not at all."""
    suffix = next((suffix for magic, suffix in _MAGIC.items() if data.startswith(magic)), ".wav")
    path = folder / f"{digest}{suffix}"
    if not path.is_file() or path.stat().st_size != len(data):
        with atomic_write(path) as aside:
            aside.write_bytes(data)
    return path
