"""Wording shared by error messages."""

from collections.abc import Iterable


def listed(offenders: Iterable[object], most: int = 5, separator: str = ", ") -> str:
    """Join at most ``most`` offenders and count the rest: ``"a, b (+3 more)"``."""
    names = [str(offender) for offender in offenders]
    shown = separator.join(names[:most])
    return f"{shown} (+{len(names) - most} more)" if len(names) > most else shown
