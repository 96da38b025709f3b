"""Wording shared by error messages."""

from collections.abc import Iterable


def printable(text: object) -> str:
    """Spell out the bytes of a file's name that are no text, so that any stream and file can take it."""
    return str(text).encode("utf-8", "backslashreplace").decode()


def listed(offenders: Iterable[object], most: int = 5, separator: str = ", ") -> str:
    """Join at most ``most`` offenders and count the rest: ``"a, b (+3 more)"``."""
    names = [printable(offender) for offender in offenders]
    shown = separator.join(names[:most])
    return f"{shown} (+{len(names) - most} more)" if len(names) > most else shown
