"""What commands print and write: results, laid out anew on a terminal, and files, none of which replaces another unasked."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from typer import Option

from musiceval_sk._files import atomic_write
from musiceval_sk._text import Shown, Table, listed, parts_of, visible

Force = Annotated[bool, Option("--force", help="Replace what an earlier command wrote there.")]
_Command = TypeVar("_Command", bound=Callable[..., None])


def show(result: Shown | Sequence[str], *, err: bool = False) -> None:
    """Print a result, or parts of a text: as it is in a pipe, its tables as wide as a terminal allows."""
    parts = parts_of(result) if isinstance(result, Shown) else result
    stream = sys.stderr if err else sys.stdout
    if not stream.isatty() or os.environ.get("TERM") == "dumb":
        typer.echo(visible("\n".join(parts)), err=err)
        return
    from rich.console import Console

    from musiceval_sk.reporting.terminal import fitting_tables

    console = Console(file=stream, markup=False, emoji=False, highlight=False)
    for part in parts:
        if isinstance(part, Table) and not part.frame.empty:
            for i, table in enumerate(fitting_tables(part, console.width)):
                console.print(*[""] * bool(i), table, sep="\n")
        else:
            console.print(visible(part), soft_wrap=True)


def writes(*names: str) -> Callable[[_Command], _Command]:
    """Say what a command writes into the folder --out, by names and patterns; without any, --out is a file.

    Where such a file is there already, the command is refused before it begins, unless --force is given. What it goes on from, such as
    finished fits, is not among them.
    """

    def mark(command: _Command) -> _Command:
        command.written = names  # type: ignore[attr-defined]
        return command

    return mark


def refuse_to_replace(place: Path, names: Iterable[str] = ()) -> None:
    """Raise if the file is there, or one of these names in the folder."""
    if names:
        there = sorted({path.relative_to(place) for name in names for path in place.glob(name)})
        found = f"holds {listed(there)}" if there else ""
    else:
        found = "is there" if place.is_file() else ""
    if found:
        advice = f"--force replaces that, or name another, such as {_free(place)}"
        raise ValueError(f"{place}: {found} already; {advice}")


def _free(place: Path) -> Path:
    """Find a name like this one that nothing has."""
    number = 2
    while (free := place.with_name(f"{place.stem}-{number}{place.suffix}")).exists():
        number += 1
    return free


@contextlib.contextmanager
def replacing(place: Path | None) -> Iterator[Any]:
    """Give where to write rows as they come: stdout, a new file, or aside until all of a file can be replaced."""
    if place is None:
        yield sys.stdout
    elif place.is_file():
        with atomic_write(place) as aside:
            yield aside
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        yield place


def write_files(
    out: Path | None, files: Mapping[str, Callable[[Path], object]], *, tell: bool = True
) -> None:
    """Write files into a folder, each whole or not at all, where one was asked for, and say so on stderr."""
    if out is None:
        return
    for name, write in files.items():
        with atomic_write(out / name) as aside:
            write(aside)
    if tell:
        typer.echo(f"wrote {', '.join(files)} to {out}", err=True)
