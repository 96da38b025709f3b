"""Wording that several modules share."""

import html
from collections.abc import Iterable
from typing import Any


def printable(text: object) -> str:
    """Spell out the bytes of a file's name that are no text, so that any stream and file can take it."""
    return str(text).encode("utf-8", "backslashreplace").decode()


def listed(offenders: Iterable[object], most: int = 5, separator: str = ", ") -> str:
    """Join at most ``most`` offenders and count the rest: ``"a, b (+3 more)"``."""
    names = [printable(offender) for offender in offenders]
    shown = separator.join(names[:most])
    return f"{shown} (+{len(names) - most} more)" if len(names) > most else shown


def counted(number: int, one: str, several: str = "") -> str:
    """Put a number before a noun: ``"1 clip"``, ``"2 clips"``, or before what both forms are: ``"1 clip has"``."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def off_scale(scores: Any, scale: tuple[float, float] | None) -> str:
    """Say how many predictions no rater could give, by how much, and which; empty if none, or if no scale is known."""
    if scale is None:
        return ""
    beyond = (scores - scores.clip(*scale)).abs()
    beyond = beyond[beyond >= 0.005]
    if beyond.empty:
        return ""
    return (
        f"{len(beyond)} of {len(scores)} predictions lie off the raters' scale, {scale[0]:g} to {scale[1]:g}, "
        f"by up to {beyond.max():.2f}: {listed(beyond.index)}"
    )


class Shown:
    """A result that shows as its text: the first line where a console asks for it, all of it in a notebook."""

    def __repr__(self) -> str:
        first = next((line.strip() for line in str(self).splitlines() if line.strip()), "")
        return f"<{type(self).__name__}: {first}>"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"
