"""Wording that several modules share."""

import html
from collections.abc import Collection, Iterable
from typing import Any

_MOST_ROWS = 40  # and remarks, in a notebook
# What moves a terminal's cursor, colours it or turns the direction of writing; new lines and tabs are a text's own.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
_CONTROLS |= {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
_IN_LINE = _CONTROLS | {ord("\n"): r"\n", ord("\t"): r"\t"}


def printable(text: object) -> str:
    """Spell out the bytes of a file's name that are no text, so that any stream and file can take it."""
    text = str(text)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def visible(text: object) -> str:
    """Spell out control characters but for new lines and tabs, so that no name from a file moves a terminal's cursor."""
    return printable(text).translate(_CONTROLS)


def listed(offenders: Iterable[object], most: int = 5, separator: str = ", ") -> str:
    """Join at most ``most`` offenders and count the rest: ``"a, b (+3 more)"``."""
    names = [printable(offender).translate(_IN_LINE) for offender in offenders]
    shown = separator.join(names[:most])
    return f"{shown} (+{len(names) - most} more)" if len(names) > most else shown


def counted(number: int, one: str, several: str = "") -> str:
    """Put a number before a noun: ``"1 clip"``, ``"2 clips"``, or before what both forms are: ``"1 clip has"``."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def require_known(what: str, chosen: Any, known: Collection[Any]) -> None:
    """Raise ValueError unless a choice, or each of a list of them, is one of those there are."""
    unknown = [one for one in (chosen if isinstance(chosen, list) else [chosen]) if one not in known]
    if unknown or chosen == []:
        words = f": {listed(unknown) or 'none'}" if isinstance(chosen, list) else f" {chosen!r}"
        raise ValueError(f"unknown {what}{words}; choose from {', '.join(map(str, known))}")


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


class Table(str):
    """A table as plain text, which remembers what it shows, so that a terminal can lay it out anew.

    Parameters
    ----------
    frame : pandas.DataFrame
        The table.
    indent : str, default=""
        What stands before each line.
    strip : bool, default=False
        Whether blanks at the ends of lines are taken away.
    **options
        As of `pandas.DataFrame.to_string`.
    """

    frame: Any
    indent: str
    options: dict[str, Any]

    def __new__(cls, frame: Any, indent: str = "", strip: bool = False, **options: Any) -> "Table":
        lines = [f"{indent}{line}" for line in visible(frame.to_string(**options)).splitlines()]
        made = super().__new__(cls, "\n".join(line.rstrip() if strip else line for line in lines))
        made.frame, made.indent, made.options = frame, indent, options
        return made


class Shown:
    """A result that shows as a headline in a console, and as that, a table and remarks in a notebook."""

    def to_frame(self) -> Any:
        """Give what was found as a tidy table.

        Returns
        -------
        pandas.DataFrame
            A copy of ``table``.
        """
        return self.table.copy()  # type: ignore[attr-defined]

    def _parts(self) -> list[str]:
        """Give the text in parts, those that are tables as `Table`; a class has this or a text of its own."""
        return [str(self)]

    def __str__(self) -> str:
        return "\n".join(self._parts())

    def _headline(self) -> str:
        """Say in a line what it is; the first of the text where a class does not say better."""
        return next((line.strip() for line in str(self).splitlines() if line.strip()), "")

    def _table_to_show(self) -> Any:
        """Make the table of a notebook."""
        return self.to_frame()

    def _remarks(self) -> Iterable[str]:
        """Give what a reader must know beside the table."""
        return ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._headline()}>"

    def _repr_html_(self) -> str:
        table = self._table_to_show()
        numbered = table.index.nlevels == 1 and table.index.dtype.kind == "i"
        laid_out = table.to_html(
            index=not numbered, max_rows=_MOST_ROWS, border=0, na_rep="-", float_format="{:.3f}".format
        )
        remarks = [*self._remarks()]
        if len(remarks) > _MOST_ROWS:
            remarks[_MOST_ROWS:] = [f"(+{len(remarks) - _MOST_ROWS} more)"]
        items = "".join(f"<li>{html.escape(words)}</li>" for words in remarks)
        title = f"<p><b>{type(self).__name__}</b>: {html.escape(self._headline())}</p>"
        return f"<div>{title}{laid_out}{items and f'<ul>{items}</ul>'}</div>"


def parts_of(result: Shown) -> list[str]:
    """Give a result's text in parts, those that are tables as `Table`."""
    return result._parts()
