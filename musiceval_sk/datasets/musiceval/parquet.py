"""MusicEval as Hugging Face serves it: Parquet shards with the bytes of a sound and two scores a row."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from musiceval_sk._files import MALFORMED, atomic_write, refused_as
from musiceval_sk._ids import without_suffix
from musiceval_sk._optional import import_optional
from musiceval_sk._text import listed
from musiceval_sk.datasets.readers import TARGETS
from musiceval_sk.exceptions import ClipsTableError

# No name of the true file's columns is published in words; these are what the field calls the two scores.
_ALIASES = {
    "impression": ("impression", "musical_impression", "music_impression", "overall_impression", "overall_quality",
                   "overall", "mos_overall", "mi", "mos1"),
    "alignment": ("alignment", "textual_alignment", "text_alignment", "mos_alignment", "textual", "coherence",
                  "mos_textual", "ta", "mos2"),
}  # fmt: skip
_SPLITS = {"train": "train", "dev": "dev", "validation": "dev", "valid": "dev", "test": "test"}
_MAGIC = {b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3", b"\xff\xfb": ".mp3", b"\xff\xf3": ".mp3"}
_ROWS_AT_ONCE = 16


def parquet_files(root: str | Path) -> list[Path]:
    """List the shards: the file itself, or all below a folder that is no MusicEval folder."""
    root = Path(root).absolute()
    if root.suffix.lower() == ".parquet":
        return [root] if root.is_file() else []
    return [] if any(root.glob("**/sets/*_mos_list.txt")) else sorted(root.rglob("*.parquet"))


def read_parquet_clips(
    shards: list[Path], split: str, sounds: str | Path | None, columns: Mapping[str, str] | None
) -> pd.DataFrame:
    """Read the shards of a split a few rows at a time, and lay their sounds down as files named by their content."""
    split_of = {shard: _split_of(shard) for shard in shards}
    wanted = [shard for shard in shards if split in ("total", split_of[shard])]
    if not wanted:
        found = listed(sorted({name or "no split" for name in split_of.values()}))
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
            rows.append((digest[:16] or "no-sound", name, path, "", *scores, split_of[shard]))
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
            names = _columns_of(file.schema_arrow, columns, shard)
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=names):
                yield from zip(*(batch.column(name).to_pylist() for name in names), strict=True)
    except (OSError, *MALFORMED) as error:  # from which pyarrow's derive
        if type(error) in (ClipsTableError, ValueError):
            raise
        raise ClipsTableError(f"{shard}: cannot be read as Parquet: {error}") from error


def _columns_of(schema: Any, given: Mapping[str, str], shard: Path) -> list[str]:
    """Names of the columns that hold sound and scores: as given, else by type and by what the field calls them."""
    wanted = ("audio", *TARGETS)
    unknown = [what for what in given if what not in wanted]
    if unknown:
        raise ValueError(f"columns= names {listed(unknown)}; it may name {', '.join(wanted)}")
    plain = {name.lower().replace(" ", "_"): name for name in schema.names}
    sounds = [
        field.name for field in schema if f"{field.name}.bytes" in {part.name for part in field.flatten()}
    ]
    candidates = {"audio": sounds if len(sounds) == 1 else []}
    candidates |= {
        target: [plain[alias] for alias in _ALIASES[target] if alias in plain] for target in TARGETS
    }
    candidates |= {what: [name] if name in schema.names else [] for what, name in given.items()}
    missing = [what for what in wanted if not candidates[what]]
    if missing:
        raise ClipsTableError(
            f"{shard}: no column for {listed(missing)}; it has {listed(schema.names, most=12)}. Name them, as in "
            'columns={"audio": "audio", "impression": "mos", "alignment": "text_mos"}; "audio" holds {bytes, path}'
        )
    return [candidates[what][0] for what in wanted]


def _split_of(shard: Path) -> str:
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
