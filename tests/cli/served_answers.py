"""A listening test on its server while raters answer, as a trial of `killed_commands`: what was acknowledged stays."""

import csv
import http.client
import json
import os
import shutil
import signal
import socket
import time
import traceback

from musiceval_sk.listening.answers import AnswerStore
from tests.cli.children import Child, as_ordinary_user, command, read_only


class Raters:
    """Raters who send one answer after another to a server that is disturbed."""

    def __init__(self, library, folder, name):
        self.library, self.name, self.page = library, name, folder / "page"
        self.out, self.kept = folder / "answers", folder / "kept answers"
        self.out.mkdir()
        self.answers = self._all_answers()
        child = self._start()
        first = self._send(child, self.answers[: len(self.answers) // 2])
        child.send(signal.SIGINT)
        assert child.wait()[0] == 0
        shutil.copytree(self.out, self.kept)
        self.before = first
        self._reset(new=True)
        child = self._start()
        assert len(self._send(child, self.answers)) == len(self.answers)
        child.send(signal.SIGINT)
        assert child.wait()[0] == 0
        self.seconds, self.n_writes = child.seconds, child.n_writes()

    def disturb(self, luck, by):
        """Whether the signal came before all answers were sent, and what went wrong."""
        new = luck.random() < 0.5
        self._reset(new)
        plan = {"write": luck.randrange(self.n_writes)}
        if luck.random() < 0.5:
            plan = {"seconds": luck.uniform(0, self.seconds)}
        child = self._start(by=by, **plan)
        acknowledged = self._send(child, self.answers)
        child.send(by)
        status, said = child.wait()
        faults = self._faults([*acknowledged, *([] if new else self.before)])
        if by != signal.SIGKILL and (status not in (0, 128 + by) or "Traceback" in said):
            faults.append(f"says {said}")
        words = f"{self.name}, {plan}, {'new' if new else 'begun'}, status {status}: "
        return len(acknowledged) < len(self.answers), [words + fault for fault in faults]

    def faults_of_failure(self, write, error):
        """What went wrong as a write failed, of a server that takes the first answers."""
        self._reset(new=True)
        child = self._start(write=write, error=error)
        acknowledged = self._send(child, self.answers, persistent=True)
        child.send(signal.SIGINT)
        status, said = child.wait()
        faults = self._faults(acknowledged)
        if status not in (0, 1, 2) or (status and "error: " not in said):
            faults.append(f"says {said}")
        return [
            f"{self.name}, write {write}, {os.strerror(error)}, status {status}: {fault}" for fault in faults
        ]

    def without_locks(self, code):
        """What goes wrong where each lock meets this error or, below zero, is given to everybody."""
        self._reset(new=False)
        child = self._start(locks=code)
        acknowledged = self._send(child, self.answers)
        child.send(signal.SIGINT)
        status, said = child.wait()
        told = "error: " in said and str(self.out) in said and "Traceback" not in said
        faults = [f"ends with {status}: {said}"] if status and not told else []
        faults += self._faults([*self.before, *acknowledged])
        return [f"{self.name}, locks {code}: {fault}" for fault in faults]

    def in_read_only_folder(self):
        """What goes wrong where nothing may be written."""
        self._reset(new=False)
        with read_only(self.out):
            status, said = self._start(around=as_ordinary_user).wait()
        is_told = status in (1, 2) and "error: " in said and str(self.out) in said and "Traceback" not in said
        faults = [] if is_told else [f"ends with {status}: {said}"]
        return [f"{self.name}, read-only: {fault}" for fault in [*faults, *self._faults(self.before)]]

    def _faults(self, kept):
        """Answers that are lost, and what goes wrong when the server is started again."""
        try:
            lost = {*map(json.dumps, kept)} - self._stored()
            return [*(f"{answer} is lost or another" for answer in lost), *self._faults_of_second_run()]
        except Exception:
            return [traceback.format_exc()]

    def _faults_of_second_run(self):
        child = self._start()
        n_sent = len(self._send(child, self.answers))
        child.send(signal.SIGTERM)
        status, said = child.wait()
        if status or n_sent < len(self.answers):
            yield f"the second run takes {n_sent} of {len(self.answers)} answers, ends with {status}: {said}"
        elif self._stored() != {*map(json.dumps, self.answers)}:
            yield "the second run stores something else"
        yield from (f"{path.name} is left" for path in self.out.iterdir() if path.suffix in (".tmp", ".new"))

    def _start(self, around=lambda work: work(), **plan):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        arguments = ("listen", "serve", self.page, "--answers", self.out / "a.sqlite", "--port", self.port)
        return Child(
            self.library,
            self.out,
            lambda: around(lambda: command((*arguments, "--url", "http://lab"))),
            **plan,
        )

    def _send(self, child, answers, persistent=False):
        """Send answers until the server is dead or all are sent; give those that were acknowledged."""
        acknowledged = []
        try:
            server = self._connected(child)
            with (self.out / "a.links.csv").open() as file:
                tokens = {row["rater"]: row["link"].rpartition("token=")[2] for row in csv.DictReader(file)}
            for answer in answers:
                headers = {"Authorization": f"Bearer {tokens.get(answer['rater'])}"}
                server.request("POST", "/api/answers", json.dumps([answer]), headers)
                response = server.getresponse()
                response.read()
                if response.status == 200:
                    acknowledged.append(answer)
                elif not persistent:
                    break
            server.close()
        except (OSError, http.client.HTTPException):
            pass
        return acknowledged

    def _connected(self, child):
        server = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while True:
            try:
                server.connect()
                return server
            except ConnectionRefusedError:
                if os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                    raise
                time.sleep(0.003)

    def _stored(self):
        if not (self.out / "a.sqlite").exists():
            return set()
        store = AnswerStore(self.out / "a.sqlite", json.loads((self.page / "test.json").read_text())["id"])
        answers = {json.dumps(answer) for answer in store.answers()}
        assert store._reader.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        store.close()
        return answers

    def _reset(self, new):
        shutil.rmtree(self.out)
        self.out.mkdir() if new else shutil.copytree(self.kept, self.out)

    def _all_answers(self):
        test = json.loads((self.page / "test.json").read_text())
        about = {"scores": dict.fromkeys(test["scales"], 3), "seconds": 1.5, "heard": 1, "order": 1}
        return [
            {"rater": rater, "batch": batch["batch"], "position": position, "trial": trial["trial"]}
            | about
            | {"answered_at": "2026-11-30T03:50:00Z"}
            for rater, batches in test["raters"].items()
            for batch in batches
            for position, trial in enumerate(batch["trials"], 1)
        ]
