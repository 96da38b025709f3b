"""Answers of a listening test as they arrive: one SQLite file, in which what was acknowledged stays."""

import contextlib
import hashlib
import json
import queue
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

EXPERIMENTER = ""  # no rater bears this name
_MOST_IN_A_COMMIT = 1000
_TABLES = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tokens (rater TEXT PRIMARY KEY, digest BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers (
    rater TEXT NOT NULL, batch INTEGER NOT NULL, position INTEGER NOT NULL,
    answer TEXT NOT NULL, received_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (rater, batch, position)
) WITHOUT ROWID;
"""


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
        # One connection, used by one thread at a time.
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            self.path, timeout=30, isolation_level=None, check_same_thread=False
        )
        try:
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(_TABLES)
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise ValueError(f"{self.path}: cannot hold answers ({error}); name another file") from error
        self._connection.execute("INSERT OR IGNORE INTO about VALUES ('test', ?)", [test])
        (held,) = self._connection.execute("SELECT value FROM about WHERE name = 'test'").fetchone()
        if held != test:
            self._connection.close()
            raise ValueError(
                f"{self.path}: holds answers of another test ({held}, not {test}); name another file"
            )

    def new_tokens(self, raters: Iterable[str]) -> dict[str, str]:
        """Make a token for each rater, and for the experimenter, in place of those there were.

        Parameters
        ----------
        raters : iterable of str
            Names; `EXPERIMENTER` for the overview.

        Returns
        -------
        dict of str to str
            Tokens of 256 random bits by rater, to be given away: the file cannot say them again.
        """
        tokens = {rater: secrets.token_urlsafe(32) for rater in raters}
        rows = [(rater, digest_of_token(token)) for rater, token in tokens.items()]
        with self._transaction():
            self._connection.executemany("INSERT OR REPLACE INTO tokens VALUES (?, ?)", rows)
        return tokens

    def token_digests(self) -> dict[str, bytes]:
        """Give the SHA-256 of each rater's token."""
        with self._lock:
            return dict(self._connection.execute("SELECT rater, digest FROM tokens"))

    def add(self, answers: list[dict[str, Any]]) -> list[dict[str, Any] | None]:
        """Store answers in one transaction; they are on the disk when this returns.

        Parameters
        ----------
        answers : list of dict
            Each with ``rater``, ``batch``, ``position``, ``trial`` and ``scores``.

        Returns
        -------
        list of dict or None
            For each answer None if it is stored, now or before; else the answer that came first and stays.
        """
        rows = [(*_key(answer), json.dumps(answer, ensure_ascii=False)) for answer in answers]
        insert = (
            "INSERT INTO answers (rater, batch, position, answer) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
        )
        with self._transaction():
            return [
                None if self._connection.execute(insert, row).rowcount else self._conflict(answer)
                for answer, row in zip(answers, rows, strict=True)
            ]

    def answers(self, rater: str | None = None) -> list[dict[str, Any]]:
        """Give the answers of one rater, or of all, by rater, batch and position."""
        where, values = ("", []) if rater is None else (" WHERE rater = ?", [rater])
        select = f"SELECT answer FROM answers{where} ORDER BY rater, batch, position"
        with self._lock:
            return [json.loads(text) for (text,) in self._connection.execute(select, values)]

    def arrivals(self) -> list[tuple[str, int, int, str]]:
        """Give rater, batch, position and time of arrival of every answer."""
        with self._lock:
            return self._connection.execute(
                "SELECT rater, batch, position, received_at FROM answers"
            ).fetchall()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _conflict(self, answer: dict[str, Any]) -> dict[str, Any] | None:
        select = "SELECT answer FROM answers WHERE rater = ? AND batch = ? AND position = ?"
        (text,) = self._connection.execute(select, _key(answer)).fetchone()
        first = json.loads(text)
        return None if _same(first, answer) else first

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


class GroupCommit:
    """Store what many send at once: all answers that wait go into one transaction, so that they share its sync to disk."""

    def __init__(self, store: AnswerStore):
        self._store = store
        self._waiting: queue.SimpleQueue[tuple[list[dict[str, Any]], Future] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="answers", daemon=True)
        self._thread.start()

    def add(self, answers: list[dict[str, Any]]) -> Future:
        """Hand in answers; the future gives what `AnswerStore.add` returns, once they are on the disk."""
        future: Future = Future()
        future.set_running_or_notify_cancel()  # what is handed in is stored, also if nobody waits for it any more
        self._waiting.put((answers, future))
        return future

    def close(self) -> None:
        """Store what waits, and stop."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            group, is_last = [first], False
            while len(group) < _MOST_IN_A_COMMIT and not self._waiting.empty():
                one = self._waiting.get()
                if one is None:
                    is_last = True
                    break
                group.append(one)
            self._store_group(group)
            if is_last:
                return

    def _store_group(self, group: list[tuple[list[dict[str, Any]], Future]]) -> None:
        try:
            results = iter(self._store.add([answer for answers, _ in group for answer in answers]))
        except Exception as error:
            for _, future in group:
                future.set_exception(error)
            return
        for answers, future in group:
            future.set_result([next(results) for _ in answers])


def digest_of_token(token: str) -> bytes:
    """Digest a token: a token has 256 random bits, so that no slow digest is needed."""
    return hashlib.sha256(token.encode()).digest()


def _key(answer: dict[str, Any]) -> tuple[str, int, int]:
    return answer["rater"], answer["batch"], answer["position"]


def _same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return (first["trial"], first["scores"]) == (second["trial"], second["scores"])
