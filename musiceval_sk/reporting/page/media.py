"""Sounds of a report: linked by relative path, or held by the page itself up to a limit."""

import base64
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.datasets.clips import clip_times

MODES = ("link", "embed", "none")
_SUFFIXES = {"wav": "wav", "flac": "flac", "mpeg": "mp3", "ogg": "ogg oga opus", "mp4": "m4a", "aac": "aac"}
_SUFFIXES |= {"webm": "webm", "aiff": "aif aiff"}
_MEDIA_TYPES = {f".{suffix}": f"audio/{kind}" for kind, all_ in _SUFFIXES.items() for suffix in all_.split()}


@dataclass
class Sounds:
    """What the page can play.

    Attributes
    ----------
    links : dict of str to str
        URL by clip id, relative to the page, percent-encoded.
    embedded : dict of str to (str, str)
        Media type and base64 text by clip id, as of a data URL.
    left_out : dict of str to list of str
        Clip ids by reason.
    """

    links: dict[str, str] = field(default_factory=dict)
    embedded: dict[str, tuple[str, str]] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def sentences(self) -> list[str]:
        """Say what was left out, and why."""
        return [
            f"{len(ids)} {'clip has' if len(ids) == 1 else 'clips have'} no sound here, {reason}: {listed(ids)}."
            for reason, ids in self.left_out.items()
        ]


def collect_sounds(
    clips: pd.DataFrame, order: Iterable[str], page: Path, mode: str, max_audio_mb: float
) -> Sounds:
    """Link or embed the sounds of clips.

    Parameters
    ----------
    clips : pandas.DataFrame
        By clip id the ``path`` of its sound file, missing where unknown, and ``start_time`` and ``end_time`` as in a clips table.
    order : iterable of str
        Clip ids, those first that should be embedded before the limit is reached.
    page : Path
        Where the report is going to be.
    mode : {"link", "embed", "none"}
        How.
    max_audio_mb : float
        Most megabytes (1,000,000 bytes) that embedded sounds may add to the page.

    Returns
    -------
    Sounds
        Only files whose suffix is that of sound are taken, so that a table cannot smuggle other files into a page.
    """
    sounds = Sounds()
    room = max_audio_mb * 1e6
    starts, ends = clip_times(clips)
    for clip_id in order if mode != "none" else ():
        path, reason = clips.at[clip_id, "path"], ""
        suffix = Path(path).suffix.lower() if isinstance(path, str | os.PathLike) else None
        part = _fragment(starts[clip_id], ends[clip_id])
        if suffix is None:
            reason = "for no file is known"
        elif suffix not in _MEDIA_TYPES:
            reason = f"for the file's suffix is none of {', '.join(_MEDIA_TYPES).replace('.', '')}"
        elif not os.path.isfile(path):
            reason = "for the file is not there"
        elif mode == "link":
            sounds.links[clip_id] = relative_url(Path(path), page) + part
        elif 4 * ((os.path.getsize(path) + 2) // 3) > room:
            reason = f"for embedded sounds may add {max_audio_mb:g} MB at most"
        else:
            try:
                text = base64.b64encode(Path(path).read_bytes()).decode("ascii")
                room -= len(text)
                sounds.embedded[clip_id] = (_MEDIA_TYPES[suffix], text + part)
            except OSError:
                reason = "for the file cannot be read"
        if reason:
            sounds.left_out.setdefault(reason, []).append(clip_id)
    return sounds


def _fragment(start: float, end: float) -> str:
    """Say which part of a sound to play, in the words of W3C's Media Fragments."""
    if (start, end) == (0, math.inf):
        return ""
    return f"#t={start:.12g}" if end == math.inf else f"#t={start:.12g},{end:.12g}"


def relative_url(path: Path, page: Path) -> str:
    """Percent-encode the way from a page to a file, so that no name can pass for a scheme such as ``javascript:``.

    Parameters
    ----------
    path : Path
        The file.
    page : Path
        The page that is to link to it.

    Returns
    -------
    str
        A relative URL; ``file:`` where there is no relative way, as between drives of Windows.
    """
    try:
        way = os.path.relpath(path, page.parent)
    except ValueError:
        return path.absolute().as_uri()
    return quote(os.fsencode(way.replace(os.sep, "/")), safe="/")
