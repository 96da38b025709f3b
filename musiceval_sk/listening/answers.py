"""Answers of a listening test as they arrive: what a page may send, and one SQLite file, in which what was acknowledged stays."""

import asyncio
import contextlib
import hashlib
import json
import re
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from reprlib import repr as shortly
from typing import Any

from musiceval_sk.ratings.formats.tables import PREFERENCES

EXPERIMENTER = ""  # no rater bears this name
_TABLES = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tokens (rater TEXT PRIMARY KEY, digest BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers (
    rater TEXT NOT NULL, batch INTEGER NOT NULL, position INTEGER NOT NULL,
    answer TEXT NOT NULL, received_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (rater, batch, position)
) WITHOUT ROWID;
"""
_FIELDS = {"rater", "batch", "position", "trial", "scores", "seconds", "heard", "order", "answered_at"}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", re.ASCII)
_MOST_SECONDS, _MOST_ORDER = 1e6, 1_000_000


def check_answer(answer: Any, rater: str, trials: dict[tuple[int, int], str], test: dict[str, Any]) -> None:
    """Raise unless an answer is one that a rater of the test could give.

    Parameters
    ----------
    answer : Any
        What was sent.
    rater : str
        Who sent it.
    trials : dict of (int, int) to str
        The rater's trials by batch and position.
    test : dict
        The page's test: its method and scales.

    Raises
    ------
    ValueError
        Names what is wrong.
    """
    if not isinstance(answer, dict) or answer.keys() != _FIELDS:
        raise ValueError(f"an answer has exactly the fields {', '.join(sorted(_FIELDS))}")
    if answer["rater"] != rater:
        raise ValueError(f"the answer is of rater {shortly(answer['rater'])}, the token of another")
    place = answer["batch"], answer["position"]
    if not all(_is_whole(number, _MOST_ORDER) for number in place) or place not in trials:
        raise ValueError(f"rater {rater} has no trial at batch and position {shortly(place)}")
    if answer["trial"] != trials[place]:
        raise ValueError(
            f"the trial at batch and position {place} is another than {shortly(answer['trial'])}"
        )
    if not _are_scores(answer["scores"], test):
        raise ValueError(f"scores {shortly(answer['scores'])} cannot be given in a test by {test['method']}")
    if not _is_number(answer["seconds"], _MOST_SECONDS) or not _is_number(answer["heard"], 1):
        raise ValueError("seconds must be 0 or more, heard a share from 0 to 1")
    if not _is_whole(answer["order"], _MOST_ORDER, least=1):
        raise ValueError(f"order must be a whole number from 1; got {shortly(answer['order'])}")
    if not _is_time(answer["answered_at"]):
        raise ValueError(
            f"answered_at must be a time such as 2026-01-31T12:00:00.000Z; got {shortly(answer['answered_at'])}"
        )


def _are_scores(scores: Any, test: dict[str, Any]) -> bool:
    if not isinstance(scores, dict):
        return False
    if test["method"] == "pairs":
        return scores.keys() == {"preference"} and scores["preference"] in PREFERENCES
    fits = (
        partial(_is_number, most=100) if test["method"] == "slider" else partial(_is_whole, least=1, most=5)
    )
    return scores.keys() == {*test["scales"]} and all(map(fits, scores.values()))


def _is_number(value: Any, most: float, least: float = 0, kind: Any = int | float) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and least <= value <= most


_is_whole = partial(_is_number, kind=int)


def _is_time(value: Any) -> bool:
    with contextlib.suppress(ValueError):
        return isinstance(value, str) and bool(_TIME.fullmatch(value) and datetime.fromisoformat(value[:19]))
    return False


class AnswerStore:
    """Answers and tokens in a SQLite file.

    The file keeps a write-ahead log (WAL) that is synced to disk at every commit (``synchronous=FULL``), so that neither a killed
    process nor a lost power supply takes an answer that was acknowledged. Of a token only its SHA-256 is kept.

    Parameters
    ----------
    path : str or Path
        The file; made if it is not there.
    test : str
        Id of the page's test.

    Raises
    ------
    ValueError
        If the file holds answers of another test, or is no such file.
    """

    def __init__(self, path: str | Path, test: str):
        self.path = Path(path)
        try:
            self._connection = self._connect()
        except sqlite3.OperationalError as error:
            raise self._refusal(error) from error
        try:
            # Where locks are refused, nobody waits longer to hear of it.
            self._connection.execute("PRAGMA busy_timeout=5000")
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(_TABLES)
            self._connection.execute("INSERT OR IGNORE INTO about VALUES ('test', ?)", [test])
            (held,) = self._connection.execute("SELECT value FROM about WHERE name = 'test'").fetchone()
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise self._refusal(error) from error
        if held != test:
            self._connection.close()
            raise ValueError(
                f"{self.path}: holds answers of another test ({held}, not {test}); name another file"
            )
        self._connection.execute("PRAGMA busy_timeout=30000")
        # A connection of its own sees only what was committed; it may read from another thread.
        self._reader, self._lock = self._connect(), threading.Lock()

    @contextlib.contextmanager
    def new_tokens(self, raters: Iterable[str]) -> Iterator[dict[str, str]]:
        """Make a token for each rater, and for the experimenter, in place of those there were.

        Parameters
        ----------
        raters : iterable of str
            Names; `EXPERIMENTER` for the overview.

        Yields
        ------
        dict of str to str
            Tokens of 256 random bits by rater, to be written down meanwhile: they are valid once the block has ended without an
            error, and the file cannot say them again.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        tokens = {rater: secrets.token_urlsafe(32) for rater in raters}
        rows = [(rater, digest_of_token(token)) for rater, token in tokens.items()]
        try:
            with self._rolled_back_on_error():
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany("INSERT OR REPLACE INTO tokens VALUES (?, ?)", rows)
                yield tokens
                self._connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise OSError(f"{self.path}: cannot be written ({error})") from error

    def token_digests(self) -> dict[str, bytes]:
        """Give the SHA-256 of each rater's token."""
        with self._lock:
            return dict(self._reader.execute("SELECT rater, digest FROM tokens"))

    def insert(self, answers: list[dict[str, Any]]) -> list[dict[str, Any] | None]:
        """Put answers into a transaction; they are stored once `commit` has returned, and neither is if one fails.

        Parameters
        ----------
        answers : list of dict
            Each with ``rater``, ``batch``, ``position``, ``trial`` and ``scores``.

        Returns
        -------
        list of dict or None
            For each answer None if it is the one to be stored, now or before; else the answer that came first and stays.
        """
        rows = [(*_key(answer), json.dumps(answer, ensure_ascii=False)) for answer in answers]
        insert = (
            "INSERT INTO answers (rater, batch, position, answer) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
        )
        with self._rolled_back_on_error():
            self._connection.execute("BEGIN IMMEDIATE")
            return [
                None if self._connection.execute(insert, row).rowcount else self._conflict(answer)
                for answer, row in zip(answers, rows, strict=True)
            ]

    def commit(self) -> None:
        """Store what was put in; it is on the disk when this returns."""
        with self._rolled_back_on_error():
            self._connection.execute("COMMIT")

    def answers(self, rater: str | None = None) -> list[dict[str, Any]]:
        """Give the answers of one rater, or of all, by rater, batch and position."""
        where, values = ("", []) if rater is None else (" WHERE rater = ?", [rater])
        select = f"SELECT answer FROM answers{where} ORDER BY rater, batch, position"
        with self._lock:
            return [json.loads(text) for (text,) in self._reader.execute(select, values)]

    def arrivals(self) -> list[tuple[str, int, int, str]]:
        """Give rater, batch, position and time of arrival of every answer."""
        with self._lock:
            return self._reader.execute("SELECT rater, batch, position, received_at FROM answers").fetchall()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._reader.close()
        self._connection.close()

    def _refusal(self, error: sqlite3.Error) -> ValueError:
        return ValueError(
            f"{self.path}: cannot hold answers ({error}); name another file, on a disk of this machine"
        )

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)

    def _conflict(self, answer: dict[str, Any]) -> dict[str, Any] | None:
        select = "SELECT answer FROM answers WHERE rater = ? AND batch = ? AND position = ?"
        (text,) = self._connection.execute(select, _key(answer)).fetchone()
        first = json.loads(text)
        return None if _same(first, answer) else first

    @contextlib.contextmanager
    def _rolled_back_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise


class GroupCommit:
    """Store what many send at once: all answers that wait go into one transaction, so that they share its sync to disk.

    Only the sync runs in a thread: one that ran every statement there would wait for the interpreter's lock at each of them.
    """

    def __init__(self, store: AnswerStore):
        self._store = store
        self._waiting: list[tuple[list[dict[str, Any]], asyncio.Future]] = []
        self._work: asyncio.Task | None = None

    async def add(self, answers: list[dict[str, Any]]) -> list[dict[str, Any] | None]:
        """Store answers; give what `AnswerStore.insert` does, once they are on the disk."""
        stored: asyncio.Future = asyncio.get_running_loop().create_future()
        self._waiting.append((answers, stored))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._store_waiting())
        return await stored

    async def finish(self) -> None:
        """Wait until all is stored that was handed in."""
        if self._work is not None:
            await self._work

    async def _store_waiting(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            try:
                await self._store_group(group)
            except sqlite3.OperationalError as error:
                # The file's fault, such as a full disk, and no answer's.
                for _, stored in group:
                    _fail(stored, error)
            except Exception:
                for answers, stored in group:
                    await self._store_alone(answers, stored)

    async def _store_group(self, group: list[tuple[list[dict[str, Any]], asyncio.Future]]) -> None:
        results = iter(self._store.insert([answer for answers, _ in group for answer in answers]))
        await asyncio.to_thread(self._store.commit)
        for answers, stored in group:
            own = [next(results) for _ in answers]
            if not stored.done():  # as it is where the one who waited has gone
                stored.set_result(own)

    async def _store_alone(self, answers: list[dict[str, Any]], stored: asyncio.Future) -> None:
        try:
            await self._store_group([(answers, stored)])
        except Exception as error:
            _fail(stored, error)


def digest_of_token(token: str) -> bytes:
    """Digest a token: a token has 256 random bits, so that no slow digest is needed."""
    return hashlib.sha256(token.encode()).digest()


def _fail(stored: asyncio.Future, error: Exception) -> None:
    if not stored.done():
        stored.set_exception(error)


def _key(answer: dict[str, Any]) -> tuple[str, int, int]:
    return answer["rater"], answer["batch"], answer["position"]


def _same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return (first["trial"], first["scores"]) == (second["trial"], second["scores"])
