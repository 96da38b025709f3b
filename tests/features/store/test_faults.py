"""What machines, networks and neighbours do to a store: clocks that jump, locks that are lost, forks, writers that died."""

import errno
import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings

import h5py
import pandas as pd
import pytest

from musiceval_sk import EmbeddingStore, StoreError
from musiceval_sk import _files as files
from musiceval_sk.features.encoders.base import digest_of
from musiceval_sk.features.store.maintain import prune_store, store_info, verify_store
from tests.features.store.writers import DESCRIPTION, append, check

FINGERPRINT = digest_of(DESCRIPTION)
YEAR = 365 * 24 * 3600
NOW = 1.8e9


@pytest.fixture
def store(tmp_path):
    return EmbeddingStore(tmp_path / "embeddings.h5")


def test_a_clock_that_jumps_by_years_costs_nothing(store, monkeypatch):
    others = {"name": "other"}
    for number, now in enumerate([NOW, NOW - 30 * YEAR, -YEAR, NOW + 400 * YEAR, NOW + 1]):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        monkeypatch.setattr(time, "time_ns", lambda now=now: int(now * 1e9))
        append(store, number)
        store.append("audio", others, [bytes(32)], [[[float(number)]]])
        check(EmbeddingStore(store.path), range(number + 1), FINGERPRINT)
        encoders = store_info(store).encoders
        assert (encoders["first_written"] <= encoders["last_written"]).all()
    assert encoders["last_written"].max() > pd.Timestamp("2262-01-01", tz="UTC")
    store.compact()
    prune_store(store, fingerprints=[digest_of(others)])
    check(store, range(5), FINGERPRINT)
    assert len(verify_store(store).damaged) == 0


def test_a_living_writer_keeps_what_it_writes_however_the_clock_jumps(store):
    append(store, 0)
    aside = files.own_name(store.parts_folder / "part-1.h5")
    aside.write_bytes(b"half a file")
    os.utime(aside, (time.time() - 9 * YEAR,) * 2)
    files.remove_abandoned_once.cache_clear()
    append(store, 1)
    store.compact()
    assert aside.exists()


@pytest.mark.skipif(os.name != "posix", reason="who is alive cannot be asked here")
def test_what_a_dead_writer_left_goes_with_the_next_write(store):
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True)
    append(store, 0)
    left = files.own_name(store.parts_folder / "part-1.h5")
    left = left.with_name(left.name.replace(f"-{os.getpid()}-", f"-{int(dead.stdout)}-"))
    elsewhere = left.with_name(re.sub(r"[0-9a-f]{8}-", "0a1b2c3d-", left.name, count=1))
    users = left.with_name("mine.tmp")
    folder = left.with_name(left.name.replace("part-1.h5", "state.safetensors"))
    folder.mkdir()
    (folder / ".tmpAbCdEf").write_bytes(b"half a file")
    for path in (left, elsewhere, users):
        path.write_bytes(b"half a file")
    files.remove_abandoned_once.cache_clear()
    append(store, 1)
    assert [path.exists() for path in (left, folder, elsewhere, users)] == [False, False, True, True]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_network_folder_without_locks_is_appended_to_and_read(store, monkeypatch, number):
    def no_lock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_lock)
    monkeypatch.setattr(fcntl, "lockf", no_lock)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of filelock, which has another way where there is no flock at all
        for item in range(40):
            append(store, item)
        try:
            assert store.compact() and number == errno.ENOSYS
        except StoreError as error:
            assert "cannot compact" in str(error) and "what was stored is intact" in str(error)
    check(store, range(40), FINGERPRINT)
    monkeypatch.undo()
    store.compact()
    check(store, range(40), FINGERPRINT)


@pytest.mark.parametrize("is_there", [False, True])
def test_locks_that_are_refused_are_not_waited_for(store, monkeypatch, is_there):
    """Earlier filelocks try again and again, and leave their file behind."""

    def no_lock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    append(store, 0)
    lock = store.path.with_name("embeddings.h5.lock")
    if is_there:  # another machine may hold it
        lock.touch()
    monkeypatch.setattr(fcntl, "flock", no_lock)
    monkeypatch.setattr("filelock.FileLock", lambda *_, **__: pytest.fail("waits for a lock"))
    with pytest.raises(StoreError, match="cannot compact .*No locks available.*what was stored is intact"):
        store.compact()
    assert lock.exists() == is_there
    check(store, [0], FINGERPRINT)


def test_a_system_without_locks_of_posix_compacts(store, monkeypatch):
    append(store, 0)
    monkeypatch.setattr("musiceval_sk.features.store.store.fcntl", None)  # as on Windows
    assert store.compact() is True
    check(store, [0], FINGERPRINT)


def test_a_file_that_another_program_holds_locked_is_read(store):
    append(store, 0)
    with next(store.parts_folder.iterdir()).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        check(EmbeddingStore(store.path), [0], FINGERPRINT)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_processes_forked_while_files_are_open_go_on_by_themselves(store):
    """A thread reads and appends while the process forks; children do the same, and none waits for ever or reads anything else."""
    append(store, *range(50))
    over = threading.Event()

    def work(number=1000):
        while not over.is_set():
            check(store, range(50), FINGERPRINT)
            append(EmbeddingStore(store.path), number := number + 1)

    thread = threading.Thread(target=work)
    thread.start()
    children = []
    with h5py.File(next(store.parts_folder.iterdir()), "r", locking=False):
        for begin in range(3000, 3005):
            child = os.fork()
            if not child:
                signal.alarm(300)  # a child that hangs dies, and is seen
                try:
                    check(store, range(50), FINGERPRINT)
                    append(store, begin)
                    os._exit(0)
                finally:
                    os._exit(1)
            children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 5
    over.set()
    thread.join()
    check(store, [*range(50), *range(3000, 3005)], FINGERPRINT)
    assert len(verify_store(store).damaged) == 0
