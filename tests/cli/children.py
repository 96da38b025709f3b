"""Forked processes that run a command and get a signal at a write or after some time."""

import contextlib
import ctypes
import itertools
import os
import signal
import sys
import threading
import time
import traceback

from musiceval_sk.cli import main

_NUMBERS = itertools.count()


class Child:
    """A forked process that does some work, with a signal planned for it at a write or after some seconds."""

    def __init__(
        self, library, out, work, *, write=-1, seconds=None, by=signal.SIGKILL, error=0, lasts=0, locks=0
    ):
        self._said, self._begun = out.with_name(f"said {next(_NUMBERS)}.txt"), time.perf_counter()
        self.pid = os.fork()
        if not self.pid:
            library.plan_locks(locks)
            self._work(library, out, work, write, error or -by, lasts)
        self._timer = threading.Timer(seconds or 0, self.send, [by])
        if seconds is not None:
            self._timer.start()

    def send(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def stops(self):
        """Wait until a signal stops it, again and again as it goes on."""
        while os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT).si_code == os.CLD_STOPPED:
            os.waitpid(self.pid, os.WUNTRACED)
            yield
            self.send(signal.SIGCONT)

    def wait(self):
        """Exit status, below zero the signal that killed it, and what was said."""
        _, status = os.waitpid(self.pid, 0)
        self._timer.cancel()
        self.seconds = time.perf_counter() - self._begun
        said = self._said.read_text() if self._said.exists() else ""
        self._said.unlink(missing_ok=True)
        return os.waitstatus_to_exitcode(status), said

    def n_writes(self):
        return int(self._said.with_name("writes.txt").read_text())

    def _work(self, library, out, work, write, code, lasts):
        status = 70
        try:
            said = os.open(self._said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(said, 1), os.dup2(said, 2)
            self._before = sys.stdout, sys.stderr  # which would close what they stand for
            sys.stdout, sys.stderr = (os.fdopen(descriptor, "w", buffering=1) for descriptor in (1, 2))
            signal.signal(signal.SIGINT, signal.default_int_handler)  # which is ignored in the background
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            library.plan_failure(os.fsencode(out), write, code, lasts)
            status = work()
            out.with_name("writes.txt").write_text(str(library.writes_seen()))
        except BaseException:
            traceback.print_exc()
        os._exit(status)


def command(arguments):
    """Run a command as the console does; its exit status."""
    sys.argv = ["musiceval", *map(str, arguments)]
    try:
        main()
    except SystemExit as left:
        return left.code or 0


def as_ordinary_user(work):
    """Do work without root's right to write where modes forbid it."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this thread
    assert ctypes.CDLL(None).capset(header, (ctypes.c_uint32 * 6)()) == 0
    return work()


@contextlib.contextmanager
def read_only(folder):
    """Take everybody's right to write from a folder and all in it."""
    paths = [folder, *folder.rglob("*")]
    modes = {path: path.stat().st_mode for path in paths}
    for path in paths:
        path.chmod(modes[path] & 0o555)
    try:
        yield
    finally:
        for path in paths:
            path.chmod(modes[path])
