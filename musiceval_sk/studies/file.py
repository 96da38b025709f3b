"""Reading a study file: TOML or YAML into names and values, with errors that name what is wrong."""

import difflib
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from musiceval_sk._optional import import_optional
from musiceval_sk.datasets.readers import check_scale

STUDY_FILES = (".toml", ".yaml", ".yml")


def read_study_file(path: Path) -> dict[str, Any]:
    """Read TOML or YAML.

    Parameters
    ----------
    path : Path
        The file; its suffix tells which.

    Returns
    -------
    dict
        Its content.

    Raises
    ------
    ValueError
        If it is neither, or cannot be read.
    """
    if path.suffix.lower() not in STUDY_FILES:
        raise ValueError(f"{path}: a study file is one of {', '.join(STUDY_FILES)}")
    try:
        if path.suffix.lower() == ".toml":
            toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
            content = toml.loads(path.read_text(encoding="utf-8"))
        else:
            yaml = import_optional("yaml", extra="yaml", purpose="A study file in YAML")
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except ImportError:
        raise
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # each parser has errors of its own
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
    return dict(mapping_of(content, f"{path}"))


def mapping_of(value: Any, name: str) -> Mapping[str, Any]:
    """Give back a mapping, or say that it is none."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} must hold names and values, got {type(value).__name__}")
    return value


def scale_of(value: Any, where: str) -> tuple[float, float] | None:
    """Read the ends of a scale, or say that a value is none."""
    if value is None:
        return None
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not all(isinstance(end, int | float) for end in value)
    ):
        raise ValueError(
            f"{where} scale = {value!r} must be the lowest and the highest score, such as [1, 5]"
        )
    check_scale(value)
    return value[0], value[1]


def refuse_unknown(given: Mapping[str, Any], known: list[str], where: str) -> None:
    """Raise where a key is unknown, with the one that may have been meant."""
    for key in given:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f", did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"{where} unknown key {key!r}{hint} Known are {', '.join(known)}")


def resolved(value: Any, folder: Path) -> Any:
    """Take a path as relative to the study file; ``~`` is one's home."""
    return value if value is None else str(folder / Path(value).expanduser())
