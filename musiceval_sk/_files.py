"""Writing files whole or not at all, what files hold, and JSON: the only such code of the package."""

import csv
import errno
import hashlib
import json
import os
import platform
import re
import shutil
import uuid
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, BinaryIO

_CHUNK_BYTES = 1 << 20
_ABANDONED_SECONDS = 24 * 3600
_WRITER = re.compile(r"\.([0-9a-f]{8})-(\d+)-[0-9a-f]{12}\.tmp$")
_MOST_DIGITS = 300  # of a whole number that a float can hold
_MOST_WORDS = 300  # of a cause, which may quote the file
# RIFF, FLAC, Ogg, MP3 and AAC (with tags or in frames), MP4, WebM, AIFF.
_SOUND = re.compile(rb"RIFF|RIFX|RF64|fLaC|OggS|ID3|\xff[\xe0-\xff]|.{4}ftyp|\x1aE\xdf\xa3|FORM", re.DOTALL)
# What values of another form than was expected raise.
MALFORMED = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError, csv.Error)


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Write a file aside, sync it to disk and give it its name; whoever dies meanwhile, the file before it stays.

    Parameters
    ----------
    path : str or Path
        The file; its folder is made. If it is a link, the file that it leads to is written.

    Yields
    ------
    Path
        Where to write: a name of its own beside the file, so that several may write one file, the last of whom wins. It is
        removed if the block raises; if the process dies, by the next that writes into that folder.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp()) / "scores.txt"
    >>> with atomic_write(path) as aside:
    ...     _ = aside.write_text("3.5")
    >>> path.read_text()
    '3.5'
    """
    target = Path(os.path.realpath(path))
    make_folder(target.parent)
    aside = own_name(target)
    try:
        yield aside
        with aside.open("rb+") as written:
            os.fsync(written.fileno())
        os.replace(aside, target)
        sync_folder(target.parent)
        remove_abandoned_once(target.parent)
    except OSError as error:
        # Nobody knows the name aside.
        if error.errno is None or not str(error.filename or aside).startswith(str(aside)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def own_folder(path: Path) -> Iterator[Path]:
    """Give where to write to a library that makes files of its own there: a folder that goes with the block, or after a kill."""
    folder = own_name(path)
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def own_name(path: Path) -> Path:
    """Name something that goes with this process: after it, the machine, the process and a random number."""
    return path.with_name(f"{path.name}.{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:12]}.tmp")


@cache
def _machine() -> str:
    """Eight digits for all processes among which a number means one: those of this host, container and start of the system."""
    parts = [platform.node()]
    with suppress(OSError):
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text(), os.readlink("/proc/self/ns/pid")]
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:8]


def abandoned(paths: Iterable[Path], *, by_age: bool = True) -> Iterator[Path]:
    """Find those whose writer is dead or, where that cannot be known, that were untouched for a day when their folder last changed."""
    for path in paths:
        with suppress(OSError):  # its writer has just finished
            writer = _WRITER.search(path.name)
            if writer and writer[1] == _machine() and os.name == "posix":
                is_over = not _is_running(int(writer[2]))
            else:  # of both times the file system's own clock, which may be another machine's
                age = path.parent.stat().st_mtime - path.stat().st_mtime
                is_over = by_age and age > _ABANDONED_SECONDS
            if is_over:
                yield path


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True


@cache
def remove_abandoned_once(folder: Path) -> None:
    """Remove what dead processes left in a folder; once a process, for it takes a look at all names."""
    for path in abandoned(path for path in folder.glob("*.tmp") if _WRITER.search(path.name)):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, each entered on disk before anything is written into it."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_folder(made.parent)


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder to disk, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # of file systems that sync no folder
            raise OSError(error.errno, error.strerror, str(folder)) from error
    finally:
        os.close(descriptor)


# Each digit is looked at once: of a pattern that may part a row of digits anywhere, thousands take seconds.
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
# What a spreadsheet may compute; and what has such a guard before it, so that one is taken away from whatever has one.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")


def write_csv(table: Any, place: Any, *, index: bool = False, **options: Any) -> None:
    """Write a table in which no spreadsheet takes a text for a formula: such texts get an apostrophe before them."""
    table.map(guarded).rename(index=guarded, columns=guarded).to_csv(place, index=index, **options)


def guarded(cell: Any) -> Any:
    """Put an apostrophe before a text that a spreadsheet would compute."""
    is_formula = isinstance(cell, str) and _FORMULA.match(cell) and not NUMBER.fullmatch(cell)
    return f"'{cell}" if is_formula else cell


def file_digest(file: BinaryIO) -> bytes:
    """Digest an open file from its beginning to its end: SHA-256, 32 bytes."""
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.digest()


def begins_as_sound(path: str | Path) -> bool:
    """Whether a file's first bytes are those of a sound that browsers play, whatever its name, or a link's, says."""
    with open(path, "rb") as file:
        return _SOUND.match(file.read(16)) is not None


def unpacked_size(file: str | Path | IO[bytes], most: int) -> int:
    """Say how many bytes a zip file makes, with zip files within; counting ends where there are more than ``most``."""
    with zipfile.ZipFile(file) as parts:
        size = sum(part.file_size for part in parts.infolist())
        for part in parts.infolist():
            if size > most:
                break
            with parts.open(part) as held:
                if zipfile.is_zipfile(held):
                    held.seek(0)
                    size += unpacked_size(held, most - size)
    return size


def parse_json(text: str | bytes) -> Any:
    """Read a JSON value; what is none, or is nested without end, is a `ValueError`, and a whole number beyond floats infinite."""
    try:
        return json.loads(
            text, parse_int=lambda digits: (int if len(digits) <= _MOST_DIGITS else float)(digits)
        )
    except RecursionError as error:
        raise ValueError("its values lie too deep in one another") from error


@contextmanager
def refused_as(kind: type[ValueError], words: str, advice: str = "") -> Iterator[None]:
    """Make an error of this kind, in these words, of what values of another form raise; those of a class of ours pass."""
    try:
        yield
    except MALFORMED as error:
        if isinstance(error, kind) and kind is not ValueError:
            raise
        raise kind(f"{words} ({cause_of(error)}){advice and '; '}{advice}") from error


def cause_of(error: Exception) -> str:
    """Name an error and say its first words: it may quote a whole file."""
    return f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace").decode()[:_MOST_WORDS]


def require_version(path: Any, found: Any, most: int, error: type[Exception]) -> None:
    """Raise unless a file is of a version that is read here."""
    if found > most:
        raise error(f"{path}: is of version {found}, and this musiceval_sk reads up to {most}; upgrade it")


def paths_as_text(value: Any) -> Any:
    """Turn paths into text, also in dicts: a file that holds `pathlib`'s own classes loads on no other system."""
    if isinstance(value, dict):
        return {name: paths_as_text(held) for name, held in value.items()}
    return str(value) if isinstance(value, Path) else value
