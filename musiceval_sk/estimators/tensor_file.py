"""Files that hold arrays and JSON values and nothing else: safetensors with a checksum, written whole or not at all.

Such a file can hold no code; what its values mean is for the reader to say.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from musiceval_sk.exceptions import ModelFileError

Content = dict[str, Any]
Tensors = dict[str, np.ndarray]


class Kind(NamedTuple):
    """What such a file says that it is: name and version of its format, and who writes it, for errors."""

    format: str
    version: int
    writer: str


def file_to_write(path: str | Path) -> Path:
    """Make the folder of a file that is to be written; a folder in its place is refused in words."""
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; name a file to write, such as {path / 'model'}")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_tensors(path: str | Path, kind: Kind, content: Content, tensors: Tensors) -> Path:
    """Write a file aside, sync it to disk and rename it; whoever dies meanwhile, the file before it stays.

    Parameters
    ----------
    path : str or Path
        The file; its folder is made.
    kind : Kind
        What it is.
    content : dict
        JSON values; numpy's scalars and arrays become numbers and lists.
    tensors : dict of str to np.ndarray
        Arrays by name.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        If the path is a folder.
    """
    from safetensors.numpy import save_file

    path = file_to_write(path)
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    text = json.dumps(content, default=_plain)
    header = {
        "format": kind.format,
        "version": str(kind.version),
        "content": text,
        "sha256": _digest(text, tensors),
    }
    aside = path.with_name(path.name + ".tmp")
    save_file(tensors, aside, metadata=header)
    with open(aside, "rb+") as file:
        os.fsync(file.fileno())
    aside.replace(path)
    return path


def read_tensors(path: str | Path, kind: Kind) -> tuple[Content, Tensors]:
    """Read what `write_tensors` wrote.

    Parameters
    ----------
    path : str or Path
        The file.
    kind : Kind
        What it should be.

    Returns
    -------
    content : dict
        JSON values.
    tensors : dict of str to np.ndarray
        Arrays by name.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, of another kind or of a newer version.
    """
    path = Path(path)
    header, tensors = _read(path)
    if header.get("format") != kind.format:
        raise ModelFileError(
            f"{path}: a safetensors file, but not one that {kind.writer} wrote (its format is "
            f"{header.get('format', 'not stated')!r}, expected {kind.format!r})"
        )
    if header.get("version") != str(kind.version):
        raise ModelFileError(
            f"{path}: written in format {header.get('version')} of {kind.format}; this version reads format "
            f"{kind.version}: upgrade musiceval_sk"
        )
    text = header.get("content", "")
    if header.get("sha256") != _digest(text, tensors):
        raise ModelFileError(
            f"{path}: damaged (its content does not match its checksum); get or make the file anew"
        )
    return json.loads(text), tensors


def _read(path: Path) -> tuple[dict[str, str], Tensors]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ModelFileError(f"{path}: no such model file")
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ModelFileError(f"{path}: not a safetensors file, or a damaged one ({error})") from error


def _digest(text: str, tensors: Tensors) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(repr((name, array.dtype.str, array.shape)).encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """Turn numpy's scalars and arrays into JSON's numbers and lists."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{value!r} of type {type(value).__name__} cannot be kept as JSON")
