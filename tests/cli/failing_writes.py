"""Commands whose n-th write fails, for every n or some: run as a process of its own, with the built ``failing_writes.c`` preloaded.

``python -m tests.cli.failing_writes LIBRARY FOLDER MOST [NAMES]`` prints a line of JSON: of each command how many writes there were, and what went
wrong when one of them failed: each in every way, or no more than MOST of them, in turn by one of the ways.
"""

import ctypes
import errno
import itertools
import json
import os
import shutil
import sys
from pathlib import Path

from tests.cli.served_answers import Raters
from tests.cli.short_runs import NAMES, contents, prepare, runs

ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


def failures(n_writes, most):
    """Which write is to fail, and how."""
    if n_writes <= most:
        return itertools.product(range(n_writes), ERRORS)
    return zip(range(0, n_writes, -(-n_writes // most)), itertools.cycle(ERRORS), strict=False)


def is_whole(content, before, after):
    """As it was, or as it is to be; times and digests of content change a result by a few bytes."""
    return content == before or (len(content) > 0.99 * len(after) and content[-2:] == after[-2:])


def faults_of(library, folder, name, run, most):
    """Run a command with each of its writes failing, or as many evenly chosen; give their number and what went wrong."""
    out, kept = folder / "out", folder / "kept"
    shutil.rmtree(out / "study" / "fits", ignore_errors=True)  # fits that are kept would not be written again
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(out, kept)

    def attempt(number, code=0, lasts=0):
        shutil.rmtree(out)
        shutil.copytree(kept, out)
        before = contents(out)
        library.plan_failure(os.fsencode(out), number, code, lasts)
        try:
            status, said = run()
        finally:
            n_writes = library.writes_seen()
            library.plan_failure(b"", -1, 0, 0)
        return status, said, before, contents(out), n_writes

    status, said, _, whole, n_writes = attempt(-1)
    assert status == 0, said
    wrong = []
    for number, code in failures(n_writes, most):
        words = f"{name}, write {number}, {os.strerror(code)}"
        try:
            status, said, before, after, _ = attempt(number, code, code != errno.EIO)
        except Exception as error:
            wrong.append(f"{words}: {error!r}")
            continue
        wrong += [f"{words}, status {status}: {fault}" for fault in _faults(before, after, whole)]
        wrong += [
            f"{words}: {fault}" for fault in _false_words(status, said, os.strerror(code), out, whole, after)
        ]
    attempt(-1)
    return n_writes, wrong


def _faults(before, after, whole):
    """Files that are neither as they were nor as they are to be."""
    yield from (f"{path.name} is left" for path in after if path.suffix == ".tmp")
    yield from (f"{path.name} is gone" for path in before.keys() - after.keys())
    for path in before.keys() & after.keys():
        if path.suffix != ".npy" and not is_whole(after[path], before[path], whole.get(path, b"")):
            yield f"{path.name} is neither as before nor as it is to be"


def _false_words(status, said, reason, out, whole, after):
    """A failure that is not told, or not in words of ours that name the place; digests of files may be lost without one."""
    if status == 0:
        lacking = {
            path.name for path in whole.keys() - after.keys() if path.suffix not in (".npy", ".h5", ".lock")
        }
        if lacking:
            yield f"all is well is said, without {lacking}"
    elif reason.lower() not in said.lower() or "error: " not in said or str(out) not in said:
        yield f"is said: {said}"


def faults_of_server(library, folder, most):
    """The same of a server that raters send answers to."""
    raters = Raters(library, folder, "serve")
    faults = (raters.faults_of_failure(*failure) for failure in failures(raters.n_writes, most))
    return raters.n_writes, sum(faults, [])


def main(library, folder, most, *names):
    """Make all that the commands need, and print what becomes of each."""
    folder, library, most, names = Path(folder), ctypes.CDLL(library), int(most), names or NAMES
    prepare(folder, names)
    found = {
        name: faults_of(library, folder, name, run, most)
        for name, run in runs(folder).items()
        if name in names
    }
    if "serve" in names:
        found["serve"] = faults_of_server(library, folder, most)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
