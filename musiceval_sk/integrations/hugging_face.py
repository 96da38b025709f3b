"""Clips as Hugging Face's datasets and as the folders that these are made of, both ways."""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from musiceval_sk._files import atomic_write, make_folder
from musiceval_sk._ids import without_suffix
from musiceval_sk._optional import import_optional
from musiceval_sk._text import listed
from musiceval_sk.datasets.clips import check_clips, finish_clips
from musiceval_sk.datasets.musiceval.layout import lay_down
from musiceval_sk.datasets.readers import require_filled, with_known_names
from musiceval_sk.exceptions import ClipsTableError


def clips_from_dataset(
    dataset: Any,
    folder: str | Path | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    targets: Sequence[str] | None = None,
    scale: tuple[float, float] | None = (1, 5),
) -> pd.DataFrame:
    """Make a clips table of a `datasets.Dataset`; sounds are not decoded.

    Parameters
    ----------
    dataset : datasets.Dataset
        One row a clip, with a column of sounds: of type ``Audio``, or of paths.
    folder : str or Path, default=None
        Where to write the sounds that the data set holds as bytes, named by their content; needed only for these.
    columns : mapping of str to str, default=None
        What the data set calls our columns, such as ``{"audio": "wav", "prompt": "caption", "impression": "mos"}``. By default
        ``audio`` is the only column of type ``Audio``, ``clip_id`` the file's name without suffix, and ``prompt`` may be called
        ``text``; other columns keep their names.
    targets : sequence of str, default=None
        Columns of scores; by default those of ``impression`` and ``alignment`` that are there.
    scale : (float, float) or None, default=(1, 5)
        Lowest and highest possible score; None accepts any number.

    Returns
    -------
    pandas.DataFrame
        As of `load_clips`.

    Raises
    ------
    TypeError
        If it is no `datasets.Dataset`, but several splits of one, or a stream.
    ClipsTableError
        If a column or sound is missing, clip ids repeat, or scores are off the scale.

    Examples
    --------
    >>> from datasets import Dataset
    >>> dataset = Dataset.from_dict({"wav": ["S1/a.wav"], "text": ["calm piano"], "mos": [3.5]})
    >>> clips = clips_from_dataset(dataset, columns={"audio": "wav", "impression": "mos"})
    >>> clips[["prompt", "impression"]]
                 prompt  impression
    clip_id
    a        calm piano         3.5
    """
    datasets = import_optional("datasets", extra="datasets", purpose="Reading a data set of Hugging Face")
    if not isinstance(dataset, datasets.Dataset):
        held = f" with {listed(dataset)}: give one of these" if isinstance(dataset, dict) else ""
        raise TypeError(f"dataset must be a datasets.Dataset, not {type(dataset).__name__}{held}")
    theirs = dict(columns or {})
    unknown = [name for name in theirs.values() if name not in dataset.column_names]
    if unknown:
        raise ClipsTableError(
            f"columns= names {listed(unknown)}, which the data set lacks; it has {listed(dataset.column_names, most=12)}"
        )
    audio = theirs.pop("audio", None) or _audio_column(datasets, dataset)
    table = _plain(datasets, dataset.remove_columns(audio))
    table = table.rename(columns={their: our for our, their in theirs.items()})
    if "prompt" not in table:
        table = table.rename(columns={"text": "prompt"})
    if isinstance(dataset.features[audio], datasets.Audio):
        dataset = dataset.cast_column(audio, datasets.Audio(decode=False))
    sounds = [_sound(row[audio], folder) for row in dataset.select_columns(audio)]
    if not sounds:
        raise ClipsTableError("the data set is empty")
    names, table["path"] = zip(*sounds, strict=True)
    require_filled(table, "path", f": these rows of {audio!r} have no sound")
    if "clip_id" not in table:
        table.insert(0, "clip_id", names)
    return finish_clips(with_known_names(table, targets), targets, scale)


def clips_to_dataset(clips: pd.DataFrame) -> Any:
    """Make a `datasets.Dataset` of a clips table.

    Parameters
    ----------
    clips : pandas.DataFrame
        Clips table; ratings may be among its columns.

    Returns
    -------
    datasets.Dataset
        The columns of the table, ``clip_id`` first, and ``audio`` in the place of ``path``, of type ``Audio(decode=False)``:
        ``dataset.cast_column("audio", Audio())`` decodes it (by torchcodec), ``push_to_hub`` uploads the files themselves.

    Raises
    ------
    ClipsTableError
        If it is no clips table, or lacks ``path``.

    Examples
    --------
    >>> clips = pd.DataFrame({"path": ["a.wav"], "prompt": ["calm piano"]}, index=pd.Index(["a"], name="clip_id"))
    >>> clips_to_dataset(clips)[0]
    {'clip_id': 'a', 'audio': {'bytes': None, 'path': 'a.wav'}, 'prompt': 'calm piano'}
    """
    datasets = import_optional("datasets", extra="datasets", purpose="Making a data set of Hugging Face")
    check_clips(clips, columns=["path"], filled=True)
    table = clips.rename_axis("clip_id").reset_index().rename(columns={"path": "audio"})
    table["audio"] = [{"bytes": None, "path": str(path)} for path in table["audio"]]
    dataset = datasets.Dataset.from_pandas(table, preserve_index=False)
    return dataset.cast_column("audio", datasets.Audio(decode=False))


def write_audio_folder(clips: pd.DataFrame, folder: str | Path) -> Path:
    """Copy the sounds of a clips table into an AudioFolder, as `datasets.load_dataset` reads it.

    Parameters
    ----------
    clips : pandas.DataFrame
        Clips table.
    folder : str or Path
        Where to; a sound is named by its clip id, in whose slashes folders begin.

    Returns
    -------
    Path
        Its ``metadata.jsonl``, which holds the table and which `load_clips` reads. It is no ``metadata.csv``, of which others
        would read clip ids such as 007 as numbers.

    Raises
    ------
    ClipsTableError
        If it is no clips table, lacks ``path``, or an id leads out of the folder.
    FileNotFoundError
        If a sound is missing.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> from musiceval_sk import load_clips, make_listening_test
    >>> test = make_listening_test(mkdtemp(), n_systems=2, n_prompts=2, n_raters=5, seconds=1.0)
    >>> load_clips(write_audio_folder(test.clips, mkdtemp())).index.equals(test.clips.index)
    True
    """
    check_clips(clips, columns=["path"], filled=True)
    folder = Path(folder)
    table = clips.rename_axis("clip_id").reset_index()
    names = [_file_name(*pair) for pair in zip(table["clip_id"], table.pop("path"), strict=True)]
    for name, path in zip(names, clips["path"], strict=True):
        make_folder((folder / name).parent)
        shutil.copyfile(path, folder / name)
    table.insert(0, "file_name", names)
    with atomic_write(folder / "metadata.jsonl") as aside:
        table.to_json(aside, orient="records", lines=True, force_ascii=False)
    return folder / "metadata.jsonl"


def _audio_column(datasets: Any, dataset: Any) -> str:
    found = [name for name, kind in dataset.features.items() if isinstance(kind, datasets.Audio)]
    if len(found) != 1:
        what = f"several columns of type Audio: {listed(found)}" if found else "no column of type Audio"
        raise ClipsTableError(
            f'the data set has {what}; name the one to take, as in columns={{"audio": "wav"}}. Its columns are '
            f"{listed(dataset.column_names, most=12)}"
        )
    return found[0]


def _plain(datasets: Any, dataset: Any) -> pd.DataFrame:
    """Table of a data set, with the names of classes in the place of their numbers."""
    table = dataset.to_pandas()
    for name, kind in dataset.features.items():
        if isinstance(kind, datasets.ClassLabel):
            table[name] = [None if pd.isna(number) else kind.int2str(int(number)) for number in table[name]]
    return table


def _sound(cell: Any, folder: str | Path | None) -> tuple[str, str]:
    """Name of a sound without suffix, and the path of its file, which is written if the cell holds bytes; "" for none."""
    cell = cell if isinstance(cell, dict) else {"path": cell}
    name, data = cell.get("path") or "", cell.get("bytes")
    if data is None:
        return without_suffix(Path(name).name), str(Path(name).absolute()) if name else ""
    if folder is None:
        raise ValueError(
            "the data set holds sounds as bytes: give folder=, where they are to be written as files"
        )
    digest = hashlib.sha256(data).hexdigest()
    return without_suffix(Path(name).name) or digest[:16], str(
        lay_down(data, digest, Path(folder).absolute())
    )


def _file_name(clip_id: Any, path: Any) -> str:
    name, suffix = str(clip_id), Path(path).suffix
    inside = PurePosixPath(name)
    if inside.is_absolute() or ".." in inside.parts or "\\" in name:
        raise ClipsTableError(f"the clip id {name!r} leads out of the folder: give the clip another id")
    return name if name.endswith(suffix) else name + suffix
