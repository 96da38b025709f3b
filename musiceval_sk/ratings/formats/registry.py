"""The table of formats: how each is recognised and read, and whose code it was held against."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.ratings.formats.export import Export


@dataclass(frozen=True)
class Format:
    """One way in which ratings are written.

    Parameters
    ----------
    name : str
        What `read_ratings` and ``--format`` call it.
    what : str
        What it is, in words.
    source : str
        Where the code or the document lies that says how it is written.
    recognises : callable of Export -> bool
        Whether a file is of this format.
    read : callable of Export -> pandas.DataFrame
        Its ratings by line: ``rater``, ``clip_id`` and scores, or ``rater``, ``clip_a``, ``clip_b`` and ``preference``.
    general : bool, default=False
        Whether it is one of plain tables, which are looked at where no other format recognises the file.
    """

    name: str
    what: str
    source: str
    recognises: Callable[[Export], bool]
    read: Callable[[Export], pd.DataFrame]
    general: bool = False


FORMATS: dict[str, Format] = {}


def reader(
    name: str, what: str, *, source: str, recognises: Callable[[Export], bool], general: bool = False
) -> Callable[[Callable[[Export], pd.DataFrame]], Callable[[Export], pd.DataFrame]]:
    """Enter a function into `FORMATS` as the reader of a format."""

    def register(read: Callable[[Export], pd.DataFrame]) -> Callable[[Export], pd.DataFrame]:
        FORMATS[name] = Format(name, what, source, recognises, read, general)
        return read

    return register


def format_of(export: Export, name: str) -> Format:
    """Find the format of a file: the one that is named, or, for "auto", the one that recognises it."""
    if name != "auto":
        if name not in FORMATS:
            raise ValueError(f"unknown format {name!r}; choose from auto, {listed(FORMATS, most=50)}")
        return FORMATS[name]
    found = [one for one in FORMATS.values() if not one.general and one.recognises(export)]
    if len(found) > 1:
        names = [one.name for one in found]
        raise export.refusal(
            f"may be of the formats {listed(names)}; say which with format= (--format), such as {names[0]}"
        )
    if not found and export.path.suffix.lower() == ".json":
        raise export.refusal(f"is JSON of no format that is read; these are {listed(FORMATS, most=50)}")
    general = (one for one in FORMATS.values() if one.general and one.recognises(export))
    return found[0] if found else next(general)
