"""Clip ids and names of systems: the one way in which they are read and meet."""

import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._text import listed, printable
from musiceval_sk.exceptions import ClipsTableError, SkippedWarning

_READ = "wav flac mp3 ogg oga opus aiff aif aifc w64 caf au"
# Sounds, or films that may be, of formats that libsndfile cannot read; what raters heard may have been encoded so.
_UNREAD = "m4a m4b aac mp4 m4v mov mkv mka webm wma wmv wv ape mpc tta ac3 amr mp2 3gp avi dsf ra spx"
SOUND_SUFFIXES, UNREAD_SUFFIXES = (tuple(f".{kind}" for kind in kinds.split()) for kinds in (_READ, _UNREAD))
_SUFFIX = re.compile(rf"(?<=[^/\\])({'|'.join(map(re.escape, SOUND_SUFFIXES + UNREAD_SUFFIXES))})$", re.I)
_DIFFERENCES: dict[str, Callable[[str], str]] = {
    "Unicode normalisation (NFC, NFD, NFKC)": lambda name: unicodedata.normalize("NFKC", name),
    "slashes": lambda name: name.replace("\\", "/"),
    "upper and lower case": str.casefold,
    "surrounding spaces": str.strip,
    "leading zeros": lambda name: re.sub(r"^0+(?=\d+$)", "", name),
}


def id_text(value: Any) -> str:
    """Text of a clip id or name: 1, 1.0 and "1" are one.

    Parameters
    ----------
    value : object
        As it stands in a table or an index.

    Returns
    -------
    str
        Its text; of an integral float without the point.
    """
    return (
        str(int(value)) if isinstance(value, float | np.floating) and value.is_integer() else printable(value)
    )


def id_texts(values: Any) -> list[str]:
    """Texts of a column of ids or names.

    Parameters
    ----------
    values : array-like
        Ids or names.

    Returns
    -------
    list of str
        Texts without surrounding spaces, "" for those that are missing.
    """
    none = is_missing(values)
    return ["" if gap else id_text(value).strip() for value, gap in zip(values, none, strict=True)]


def is_missing(values: Any) -> np.ndarray:
    """Tell which names are none: None, nan, the empty string and mere blanks.

    Parameters
    ----------
    values : array-like [shape=(n,)]
        Names, such as the systems of clips.

    Returns
    -------
    np.ndarray of bool [shape=(n,)]
        True where there is no name.
    """
    names = np.asarray(values, dtype=object)
    blank = np.fromiter((isinstance(name, str) and not name.strip() for name in names), bool, len(names))
    return pd.isna(names) | blank


def require_names(
    values: Any,
    what: str,
    index: pd.Index | None = None,
    *,
    complaint: str = "",
    error: type[ValueError] = ValueError,
) -> np.ndarray:
    """Take the texts of names, of which none may be missing.

    Parameters
    ----------
    values : array-like [shape=(n,)]
        Names.
    what : str
        What they name, such as "system".
    index : pandas.Index, default=None
        Ids of the clips; without them the error names rows.
    complaint : str, default=""
        What is wrong where names are missing; by default, that none is known.
    error : type, default=ValueError
        What to raise.

    Returns
    -------
    np.ndarray of str [shape=(n,)]
        Texts.

    Raises
    ------
    ValueError
        If a name is missing; the message lists whose.
    """
    texts = np.array(id_texts(values), dtype=object)
    missing = texts == ""
    if missing.any():
        which, rows = (
            ("the clips in rows", np.flatnonzero(missing)) if index is None else ("clips", index[missing])
        )
        raise error(f"{complaint or f'no {what} is known for {which}'}: {listed(rows)}")
    return texts


def systems_if_named(
    clips: pd.DataFrame, consequence: str = "there are no system-level scores"
) -> pd.Series | None:
    """Take the systems of a clips table, if every clip has one.

    Parameters
    ----------
    clips : pandas.DataFrame
        Clips table.
    consequence : str, default="there are no system-level scores"
        What follows where only some clips have a system, for the warning.

    Returns
    -------
    pandas.Series or None
        The column ``system`` as text; None where it is not there or a clip has none.

    Warns
    -----
    UserWarning
        If some clips have a system and others have none, which are named.
    """
    if "system" not in clips:
        return None
    systems = pd.Series(id_texts(clips["system"]), index=clips.index, name="system")
    nameless = systems == ""
    if nameless.any() and not nameless.all():
        warnings.warn(
            f"{nameless.sum()} of {len(clips)} clips name no system, so {consequence}: {listed(clips.index[nameless])}",
            UserWarning,
            stacklevel=3,
        )
    return None if nameless.any() else systems


def without_suffix(name: Any) -> str:
    """Take the suffix of a sound file off a name; any other dot stays.

    Parameters
    ----------
    name : object
        Name of a file or clip.

    Returns
    -------
    str
        The name, without ``.wav`` and the like.
    """
    return _SUFFIX.sub("", id_text(name))


def bare(name: Any) -> str:
    """Take off what one table may write and another not: a sound's suffix, and ``.0`` of a whole number.

    Parameters
    ----------
    name : object
        Clip id.

    Returns
    -------
    str
        Its bare text.
    """
    return re.sub(r"^(-?\d+)\.0+$", r"\1", without_suffix(name))


def match_ids(wanted: Any, offered: Any) -> np.ndarray:
    """Find each id among others, by its very text, else without the suffixes of sound files.

    Parameters
    ----------
    wanted : array-like [shape=(n,)]
        Ids to look for; they may repeat.
    offered : array-like [shape=(m,)]
        Different ids.

    Returns
    -------
    np.ndarray of int [shape=(n,)]
        Position among those offered; -1 for none, and where several would do without their suffix.

    Raises
    ------
    ClipsTableError
        If one of those offered is there twice, or two different ids stand for it.

    Examples
    --------
    >>> match_ids(["b.wav", 1, "c"], ["a", "b", "1"]).tolist()
    [1, 2, -1]
    """
    wanted, offered = pd.Index(wanted), pd.Index(offered)
    if offered.is_unique and offered.inferred_type in ("string", "integer"):  # and so their texts are, too
        found = offered.get_indexer(wanted)
        if (found >= 0).all():
            return found
    texts = pd.Index([id_text(name) for name in offered], dtype=object)
    if not texts.is_unique:
        raise ClipsTableError(f"ids repeat: {listed(texts[texts.duplicated()].unique())}")
    codes, names = pd.factorize(np.array([id_text(name) for name in wanted], dtype=object))
    places = texts.get_indexer(names)
    bares = texts.map(bare)
    single = np.flatnonzero(~bares.duplicated(keep=False))
    without = bares[single].get_indexer([bare(name) for name in names])
    places = np.where(places < 0, np.append(single, -1)[without], places)
    again = pd.Series(places).duplicated().to_numpy() & (places >= 0)
    if again.any():
        place = places[again][0]
        one, other = names[places == place][:2]
        raise ClipsTableError(
            f"{one!r} and {other!r} both stand for the clip {id_text(offered[place])!r}: keep one of them"
        )
    return places[codes]


def under_ids_of(ids: pd.Index, table: pd.DataFrame) -> pd.DataFrame:
    """Give the rows of a table the ids that others have for them.

    Parameters
    ----------
    ids : pandas.Index
        Ids as they are to be.
    table : pandas.DataFrame
        Indexed by different ids, some of which may stand for these.

    Returns
    -------
    pandas.DataFrame
        The same rows; those about other clips keep their ids.
    """
    places = match_ids(ids, table.index)
    known = places >= 0
    if ids[known].equals(table.index[places[known]]):
        return table
    names = np.array(table.index, dtype=object)
    names[places[known]] = ids[known]
    return table.set_axis(pd.Index(names, name=table.index.name), axis=0)


def warn_of_skipped(
    message: str, offenders: Iterable[Any], near: str = "", *, most: int = 5, stacklevel: int = 2
) -> None:
    """Warn that something was left out.

    Parameters
    ----------
    message : str
        How much, and why.
    offenders : iterable
        What; at most ``most`` are named.
    near : str, default=""
        What `near_misses` said of them.
    most : int, default=5
        How many to name.
    stacklevel : int, default=2
        As of `warnings.warn`, had the caller called that.
    """
    warnings.warn(f"{message}: {listed(offenders, most)}{near}", SkippedWarning, stacklevel=stacklevel + 1)


def near_misses(lacking: Iterable[Any], offered: Iterable[Any]) -> str:
    """Name ids that would match but for their writing.

    Parameters
    ----------
    lacking : iterable
        Ids that match none.
    offered : iterable
        Ids that they were looked for among.

    Returns
    -------
    str
        ``"; 'A' and 'a' differ in upper and lower case only"`` for up to three pairs, with what to do; "" for none.
    """
    names, others = (
        pd.Series(list(dict.fromkeys(map(id_text, ids))), dtype=object) for ids in (lacking, offered)
    )
    forms = others.groupby(others.map(_form)).agg(list) if len(names) else {}
    pairs = []
    for name in names:
        alike = [other for other in forms.get(_form(name), []) if other != name]
        if len(alike) > 1:
            pairs.append(f"{name!r} may be any of {listed(map(repr, alike))}")
        elif alike:
            kinds = [kind for kind in _DIFFERENCES if _form(name, but=kind) != _form(alike[0], but=kind)]
            rest = "their suffix" if bare(name) == bare(alike[0]) else "Unicode"
            pairs.append(f"{name!r} and {alike[0]!r} differ in {' and '.join(kinds) or rest} only")
    return f"; {listed(pairs, most=3)}: write them alike" if pairs else ""


def _form(name: str, but: str = "") -> str:
    name = bare(name)
    for kind, alike in _DIFFERENCES.items():
        name = name if kind == but else alike(name)
    return bare(name)
