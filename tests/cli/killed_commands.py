"""Commands that get a signal at a random moment: what was stored stays, and the same command goes on to the same result.

``python -m tests.cli.killed_commands FOLDER N [--seed S] [--by KILL INT] [--names extract fit]`` disturbs all commands in turn, N times in all, and prints a line of
JSON: of each command how often, how often amid its work, and what went wrong. Half of the moments are writes, amid which the process dies, the
other half moments of its time. ``--every`` looks at the folder before every write of a command instead, which is all that a kill can leave.
"""

import argparse
import contextlib
import ctypes
import errno
import io
import itertools
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path

from safetensors.numpy import load_file

from musiceval_sk import EmbeddingStore, _files, load_model
from musiceval_sk.features.store.maintain import verify_store
from tests.cli import short_runs
from tests.cli.children import Child, as_ordinary_user, command, read_only
from tests.cli.served_answers import Raters

_TOLD = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_VARYING = re.compile(rb'"(made|seconds)": [^\n]*|\d{4}-\d\d-\d\d[ T]\d\d:\d\d[:\d+.Z]*')
_GROWING = re.compile(
    r"\.tmp(/|$)|\.lock$|\.npy$|state\.safetensors$|\.sqlite"
)  # change while a command works


def finetune(folder):
    """Fine-tune as a script does."""
    try:
        status, said = short_runs.finetune(folder)
    except KeyboardInterrupt:
        status, said = 130, f"interrupted: {folder / 'out'}"
    print(said)
    return status


def state_of(out):
    """What files hold, by name; of a store, each of its rows."""
    state = {}
    for path in out.rglob("*"):
        name = str(path.relative_to(out))
        if path.is_file() and ".h5.parts" not in name and path.suffix != ".h5":
            state[name] = path.read_bytes()
    for name in ("e.h5", "m.h5"):
        store = EmbeddingStore(out / name)
        assert verify_store(store).damaged.empty
        for group in store.groups():
            keys = [bytes(key) for key in store.index(group).keys]
            vectors, offsets = store.read(*group, keys)
            rows = (vectors[begin:end].tobytes() for begin, end in zip(offsets, offsets[1:], strict=False))
            state |= {f"{name} {group} {key.hex()}": row for key, row in zip(keys, rows, strict=True)}
    return state


def is_same(name, one, other):
    """Whether two files hold the same result, but for times."""
    if one == other or other is None or _GROWING.search(name):
        return one is not None and other is not None
    if name.endswith((".skops", ".safetensors")):
        return _model_of(name, one) == _model_of(name, other)
    return _VARYING.sub(b"", one) == _VARYING.sub(b"", other)


def _model_of(name, content):
    """What a model file holds; the order of parts in it may vary."""
    with tempfile.NamedTemporaryFile(suffix=Path(name).suffix) as file:
        file.write(content), file.flush()
        if name.endswith(".safetensors"):
            return {name: array.tobytes() for name, array in load_file(file.name).items()}
        steps = load_model(file.name).steps
    return [(name, repr(getattr(step, "coef_", step))) for name, step in steps]


def faults_after(killed, before, whole):
    """What is lost, damaged or out of place after a kill."""
    for name in before.keys() - killed.keys():
        if not _GROWING.search(name):
            yield f"{name} is lost"
    for name, content in killed.items():
        if not _GROWING.search(name) and not any(
            is_same(name, content, other.get(name)) for other in (before, whole) if name in other
        ):
            yield f"{name} is neither as before nor as it is to be"


def faults_at_last(found, whole):
    """What differs after the second run from a run that nothing disturbed."""
    for name in found.keys() | whole.keys():
        # The index of digests holds files that have not changed for a while.
        if not is_same(name, found.get(name), whole.get(name)) and not name.endswith((".lock", ".npy")):
            yield f"{name} differs after a second run"
    yield from (f"{name} is left" for name in found if ".tmp" in name)


class Trial:
    """One command, disturbed again and again from the same state of its folder."""

    def __init__(self, library, folder, name):
        self.folder, self.out, self.kept = folder, folder / "out", folder / f"kept {name}"
        self.library, self.name = library, name
        given = short_runs.arguments_by_name(folder)
        self.work = (lambda: finetune(folder)) if name == "finetune" else lambda: command(given[name])
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            for arguments in short_runs.earlier(folder).get(name, ()):
                assert command(arguments) == 0
            shutil.copytree(self.out, self.kept)
            self.before = state_of(self.out)
            assert self.work() == 0  # imports all that the command needs
        self._reset()
        child = Child(library, self.out, self.work)
        status, said = child.wait()
        assert status == 0, said
        self.seconds, self.n_writes = child.seconds, child.n_writes()
        self.whole = state_of(self.out)

    def disturb(self, luck, by):
        """Whether the signal came amid the work, and what went wrong."""
        self._reset()
        plan = {"write": luck.randrange(self.n_writes)}
        if luck.random() < 0.5:
            plan = {"seconds": luck.uniform(0, self.seconds)}
        status, said = Child(self.library, self.out, self.work, by=by, **plan).wait()
        words = f"{self.name}, {plan}, status {status}: "
        amid = status != 0
        faults = self._faults_told(status, said, by) if status > 0 else ()  # scripts die of SIGTERM
        return amid, [words + fault for fault in (*faults, *self._faults_from_here())]

    def at_every_write(self):
        """How many states of the folder there are, one before each write, how many differ, and what goes wrong from there."""
        self._reset()
        states, n_states = {}, 0
        child = Child(self.library, self.out, self.work, write=0, by=signal.SIGSTOP, lasts=1)
        for n_states, _ in enumerate(child.stops(), 1):
            state = self.folder / f"state {n_states}"
            shutil.copytree(self.out, state)
            files = {str(path.relative_to(state)): path for path in state.rglob("*") if path.is_file()}
            key = {
                (re.sub(r"[0-9a-f-]+\.tmp$", "", name), path.suffix != ".tmp" and path.read_bytes())
                for name, path in files.items()
            }
            if states.setdefault(frozenset(key), state) != state:
                shutil.rmtree(state)
        assert child.wait()[0] == 0
        faults = []
        for state in states.values():
            self._reset(state)
            shutil.rmtree(state)
            faults += [f"{self.name}, {state.name}: {fault}" for fault in self._faults_from_here()]
        return n_states, len(states), faults

    def _faults_from_here(self):
        """What is wrong in the folder as it is, and after a second run."""
        try:
            faults = [*faults_after(state_of(self.out), self.before, self.whole)]
            status, said = Child(self.library, self.out, self.work).wait()
            faults += [f"the second run ends with {status}: {said}"] if status else []
            return faults + [*faults_at_last(state_of(self.out), self.whole)]
        except Exception:
            return [traceback.format_exc()]

    def side_by_side(self, n):
        """What goes wrong when so many processes do this at once, on the same files."""
        self._reset()
        children = [Child(self.library, self.out, self.work) for _ in range(n)]
        ends = [child.wait() for child in children]
        faults = [f"one of {n} ends with {status}: {said}" for status, said in ends if status]
        faults += faults_at_last(state_of(self.out), self.whole)
        return [f"{self.name}: {fault}" for fault in faults]

    def without_locks(self, code):
        """What goes wrong where each lock meets this error or, below zero, is given to everybody."""
        self._reset()
        status, said = Child(self.library, self.out, self.work, locks=code).wait()
        told = "error: " in said and str(self.out) in said and "Traceback" not in said
        faults = [f"ends with {status}: {said}"] if status and not told else []
        return [f"{self.name}, locks {code}: {fault}" for fault in (*faults, *self._faults_from_here())]

    def in_read_only_folder(self):
        """What goes wrong where nothing may be written."""
        self._reset()
        with read_only(self.out):
            status, said = Child(self.library, self.out, lambda: as_ordinary_user(self.work)).wait()
        told = status in (1, 2) and "error: " in said and str(self.out) in said and "Traceback" not in said
        faults = [] if told else [f"ends with {status}: {said}"]
        faults += [] if state_of(self.out) == self.before else ["something was written"]
        return [f"{self.name}, read-only: {fault}" for fault in faults]

    def _faults_told(self, status, said, by):
        if status != 128 + by or "Traceback" in said or _TOLD.get(by, "nothing") not in said:
            yield f"says {said}"
        if "nothing was written" in said and state_of(self.out) != self.before:
            yield "says that nothing was written"
        yield from (f"{path.name} is left" for path in self.out.rglob("*.tmp"))

    def _reset(self, folder=None):
        _files.remove_abandoned_once.cache_clear()
        shutil.rmtree(self.out, ignore_errors=True)
        shutil.copytree(folder or self.kept, self.out)


AT_ONCE = {"extract": 8, "study": 2}


def main(folder, n, *, seed=0, by=("KILL",), names=short_runs.NAMES, every=False):
    """Disturb commands in turn, and count by command."""
    if "failing_writes" not in os.environ.get("LD_PRELOAD", ""):
        os.environ["LD_PRELOAD"] = str(short_runs.build_library(folder))
        os.execv(sys.executable, [sys.executable, "-m", "tests.cli.killed_commands", *sys.argv[1:]])
    folder, luck = Path(folder).resolve(), random.Random(seed)
    library = ctypes.CDLL(os.environ["LD_PRELOAD"])
    short_runs.prepare(folder, names)
    trials = {
        name: (Raters if name == "serve" else Trial)(library, folder, name) for name in dict.fromkeys(names)
    }
    found = {name: [0, 0, []] for name in trials}
    for name, trial in trials.items() if every else ():
        found[name] = list(trial.at_every_write())
        print(name, *found[name], file=sys.stderr, flush=True)
    for _, name in zip(range(n), itertools.cycle(names), strict=False):
        amid, faults = trials[name].disturb(luck, signal.Signals[f"SIG{luck.choice(by)}"])
        done, n_amid, wrong = found[name]
        found[name] = [done + 1, n_amid + amid, wrong + faults]
        print(name, amid, *faults, file=sys.stderr, flush=True)
    for name, trial in trials.items():
        found[name][2] += trial.in_read_only_folder()
        for code in (errno.ENOTSUP, -1):
            found[name][2] += trial.without_locks(code)
        if name in AT_ONCE:
            found[name][2] += trial.side_by_side(AT_ONCE[name])
    print(json.dumps(found))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("n", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--by", nargs="+", default=("KILL",))
    parser.add_argument("--names", nargs="+", default=short_runs.NAMES)
    parser.add_argument("--every", action="store_true")
    main(**vars(parser.parse_args()))
