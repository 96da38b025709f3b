"""Checks of numbers that options of evaluation must be."""

from numbers import Integral, Real

from musiceval_sk._text import listed


def require_confidence(confidence: float, name: str = "confidence", example: float = 0.95) -> None:
    """Raise ValueError unless a nominal coverage, or another probability, lies between 0 and 1."""
    if not isinstance(confidence, Real) or not 0 < confidence < 1:
        raise ValueError(f"{name} must lie between 0 and 1, such as {example}; got {confidence!r}")


def require_whole(least: int = 1, **given: int) -> None:
    """Raise ValueError unless each argument is a whole number, and not too small."""
    for name, value in given.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} must be a whole number and at least {least}; got {value!r}")


def require_real(**given: float) -> None:
    """Raise ValueError unless each argument is a number; nan is one."""
    wrong = [f"{name}={value!r}" for name, value in given.items() if not isinstance(value, Real)]
    if wrong:
        raise ValueError(f"numbers are expected; got {listed(wrong)}")
