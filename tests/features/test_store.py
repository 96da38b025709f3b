import errno
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np
import pytest
from filelock import FileLock

from musiceval_sk import EmbeddingStore, StoreError
from musiceval_sk.features import _store_file
from musiceval_sk.features.encoders.base import digest_of
from musiceval_sk.features.store import default_store_path
from tests.features.writers import DESCRIPTION, append, check, key_of, vectors_of

FINGERPRINT = digest_of(DESCRIPTION)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path):
    return EmbeddingStore(tmp_path / "embeddings.h5")


def parts(store):
    return sorted(store.parts_folder.glob("part-*.h5"))


def knows(store, *numbers):
    return store.contains("audio", FINGERPRINT, [key_of(number) for number in numbers]).tolist()


@pytest.fixture
def writer():
    with ExitStack() as stack:

        def start(*arguments):
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.features.writers", *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


def test_what_was_stored_comes_back_in_the_order_asked_for(store):
    assert append(store, 0, 1, 2) == FINGERPRINT
    vectors, offsets = store.read("audio", FINGERPRINT, [key_of(2), key_of(0), key_of(2)])
    # Item 0 has one window, item 2 has three; window w of item n is 100 n + 10 w + (0, 1, 2, 3).
    assert offsets.tolist() == [0, 3, 4, 7]
    assert vectors[:, 0].tolist() == [200, 210, 220, 0, 200, 210, 220]
    assert vectors.dtype == np.float32
    assert vectors.shape == (7, 4)


def test_main_file_and_parts_are_read_as_one(store):
    append(store, 0, 1)
    append(store, 2)
    store.compact()
    append(store, 3, 4)
    append(store, 5)
    assert len(parts(store)) == 2
    check(store, [5, 0, 3, 1, 4, 2, 0], FINGERPRINT)
    check(EmbeddingStore(str(store.path)), range(6), FINGERPRINT)


def test_items_far_apart_in_a_file_are_found(store):
    keys = [key_of(number) for number in range(3)]
    items = [np.full((rows, 2), rows) for rows in (1, 5000, 2)]
    store.append("audio", DESCRIPTION, keys, items)
    vectors, offsets = store.read("audio", FINGERPRINT, [keys[2], keys[0]])
    assert offsets.tolist() == [0, 2, 3]
    np.testing.assert_array_equal(vectors, [[2, 2], [2, 2], [1, 1]])


def test_text_and_audio_and_encoders_are_kept_apart(store):
    append(store, 0)
    store.append("text", DESCRIPTION, [key_of(0)], [np.array([5.0, 6.0])])
    other = store.append("audio", {"name": "other"}, [key_of(0)], [np.zeros((1, 7))])
    check(store, [0], FINGERPRINT)
    assert store.read("text", FINGERPRINT, [key_of(0)])[0].tolist() == [[5, 6]]
    assert store.read("audio", other, [key_of(0)])[0].shape == (1, 7)


def test_contains_tells_each_item(store):
    assert knows(store, 0, 1) == [False, False]
    append(store, 1)
    assert knows(store, 0, 1, 1) == [False, True, True]
    assert store.contains("text", FINGERPRINT, [key_of(1)]).tolist() == [False]
    assert store.contains("audio", "0" * 32, [key_of(1)]).tolist() == [False]


def test_encoders_lists_what_there_is(store):
    assert store.encoders().empty
    append(store, 0, 1)
    append(store, 1, 2)
    text = store.append("text", {"name": "toy", "über": 1}, [key_of(0)], [np.zeros(2)])
    listed = store.encoders()
    assert list(listed.columns) == ["modality", "fingerprint", "items", "windows", "encoder"]
    # Items 0, 1, 2 have 1 + 2 + 3 windows; item 1 is stored twice and counts once.
    assert listed.values.tolist() == [
        ["audio", FINGERPRINT, 3, 6, {"name": "toy"}],
        ["text", text, 1, 1, {"name": "toy", "über": 1}],
    ]


def test_duplicates_in_one_batch_and_across_parts_are_one_item(store):
    append(store, 1, 1, 2)
    append(store, 2, 3)
    check(store, [3, 2, 1], FINGERPRINT)
    store.compact()
    check(store, [3, 2, 1], FINGERPRINT)
    with h5py.File(store.path) as file:
        group = file["audio"][FINGERPRINT]
        # Items 1, 2, 3 have 2 + 3 + 1 windows.
        assert group["keys"].shape == (3, 32)
        assert group["offsets"][()].tolist() == [0, 2, 5, 6]
        assert group["vectors"].shape == (6, 4)


def test_compacting_changes_nothing_but_the_files(store):
    for number in range(6):
        append(store, number)
    store.append("text", {"name": "text"}, [key_of(0)], [np.ones(3)])
    before = store.encoders()
    assert store.compact() is True
    assert parts(store) == []
    check(store, range(6), FINGERPRINT)
    check(EmbeddingStore(store.path), range(6), FINGERPRINT)
    assert store.encoders().equals(before)
    stamp, content = store.path.stat().st_mtime_ns, store.path.read_bytes()
    assert store.compact() is True
    assert store.path.stat().st_mtime_ns == stamp
    assert store.path.read_bytes() == content


def test_compacting_an_empty_store_makes_no_file(store):
    assert store.compact() is True
    assert list(store.path.parent.iterdir()) == []


def test_a_second_compaction_waits_or_leaves(store):
    append(store, 0)
    with FileLock(f"{store.path}.lock"):
        assert store.compact(timeout=0) is False
    assert len(parts(store)) == 1
    assert store.compact(timeout=0) is True


def test_parts_that_outweigh_the_main_file_call_for_compaction(store):
    assert not store.needs_compaction()
    append(store, *range(500))
    assert store.needs_compaction()
    store.compact()
    assert not store.needs_compaction()
    append(store, 1000)
    assert not store.needs_compaction()


def test_rows_of_the_main_file_stay_where_a_reader_saw_them(store, monkeypatch):
    append(store, 0, 1, 2)
    store.compact()
    append(store, 3)
    reader = EmbeddingStore(store.path)
    check(reader, range(4), FINGERPRINT)
    append(store, 4, 0)
    store.compact()
    # As if the compaction came between the reader's look at the folder and its reading.
    monkeypatch.setattr(reader, "_refresh", lambda: None)
    check(reader, [2, 0, 1], FINGERPRINT)
    monkeypatch.undo()
    check(reader, range(5), FINGERPRINT)


def test_leftovers_of_killed_writers_are_cleared_once_they_are_old(store):
    append(store, 0)
    old = [store.parts_folder / "part-1.h5.abc.tmp", store.path.with_name("embeddings.h5.def.tmp")]
    young = store.parts_folder / "part-2.h5.abc.tmp"
    other = store.path.with_name("other.h5.def.tmp")
    for path in (*old, young, other):
        path.write_bytes(b"half a file")
    for path in (*old, other):
        os.utime(path, (time.time() - 2 * 24 * 3600,) * 2)
    check(store, [0], FINGERPRINT)
    store.compact()
    assert [path.exists() for path in (*old, young, other)] == [False, False, True, True]


def test_files_that_vanish_while_they_are_looked_at_are_no_harm(store):
    # A dangling link is listed, but not there: so looks what another process renamed or removed a moment ago.
    append(store, 0)
    (store.parts_folder / "part-2.h5.abc.tmp").symlink_to("nowhere")
    assert store.compact() is True
    (store.parts_folder / "part-2.h5").symlink_to("nowhere")
    assert not store.needs_compaction()


@pytest.mark.parametrize(
    "keys, items, words",
    [
        ([key_of(0)], [], "got 1 keys for 0 items; there must be one each, and at least one"),
        ([], [], "got 0 keys for 0 items"),
        ([b"short", key_of(0)], [np.ones(2)] * 2, r"keys must be 32 bytes long, got lengths \[5, 32\]"),
        (
            [key_of(0), key_of(1)],
            [np.ones(2), np.zeros((0, 2))],
            "1 of 2 items have no vector; nothing was stored",
        ),
        ([key_of(0)], [np.array([1, np.nan])], "vectors must be finite; nothing was stored"),
        ([key_of(0)], [np.array([1, -np.inf])], "vectors must be finite; nothing was stored"),
    ],
)
def test_what_cannot_be_stored_is_refused(store, keys, items, words):
    with pytest.raises(ValueError, match=words):
        store.append("audio", DESCRIPTION, keys, items)
    assert not store.parts_folder.exists()


def test_what_is_not_stored_cannot_be_read(store):
    append(store, 0)
    with pytest.raises(
        StoreError, match=r"embeddings\.h5: 2 of 3 audio items are not stored for " + FINGERPRINT
    ):
        store.read("audio", FINGERPRINT, [key_of(0), key_of(1), key_of(2)])


@pytest.mark.parametrize("failing", ["_sync", "_fill_group"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_full_or_forbidden_disk_costs_only_the_batch(store, monkeypatch, failing, number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    append(store, 0)
    monkeypatch.setattr(_store_file, failing, fail)
    words = rf"{os.strerror(number)}\); what was stored is intact"
    with pytest.raises(StoreError, match=r"embeddings\.h5: cannot store embeddings \(.*" + words):
        append(store, 1)
    with pytest.raises(StoreError, match=r"embeddings\.h5: cannot compact \(.*" + words):
        store.compact()
    monkeypatch.undo()
    assert list(store.path.parent.rglob("*.tmp")) == []
    assert knows(store, 0, 1) == [True, False]
    append(store, 1)
    store.compact()
    check(store, [0, 1], FINGERPRINT)


def test_a_future_format_is_refused(store):
    append(store, 0)
    store.compact()
    with h5py.File(store.path, "a") as file:
        file.attrs["version"] = 2
    words = r"embeddings\.h5: written in store format 2, this version of musiceval_sk reads up to 1; upgrade"
    with pytest.raises(StoreError, match=words):
        knows(EmbeddingStore(store.path), 0)


def test_another_hdf5_file_is_refused(store):
    with h5py.File(store.path, "w") as file:
        file["audio"] = np.zeros(3)
    words = r"embeddings\.h5: an HDF5 file, but not an embedding store \(its format is not 'musiceval-embeddings'\)"
    with pytest.raises(StoreError, match=words):
        knows(store, 0)
    with pytest.raises(StoreError, match=words):
        store.encoders()


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all"])
def test_a_damaged_part_is_named_and_the_rest_survives_it(store, content):
    append(store, 0)
    store.compact()
    damaged = store.parts_folder / "part-0.h5"
    damaged.write_bytes(content)
    with pytest.raises(
        StoreError, match=r"part-0\.h5: damaged \(.*\)\. Delete this one file and extract again"
    ):
        check(store, [0], FINGERPRINT)
    with pytest.raises(StoreError, match=r"part-0\.h5: damaged"):
        store.compact()
    damaged.unlink()
    check(store, [0], FINGERPRINT)


@pytest.fixture
def whole(store):
    append(store, 0, 1, 2, 3)
    store.compact()
    return store.path.read_bytes()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_named(store, whole, share):
    store.path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(StoreError, match=r"embeddings\.h5: damaged"):
        knows(EmbeddingStore(store.path), 0)


def test_a_flipped_bit_in_the_vectors_is_found(store, whole):
    place = whole.index(vectors_of(2).tobytes())
    damaged = bytearray(whole)
    damaged[place] ^= 1
    store.path.write_bytes(damaged)
    reader = EmbeddingStore(store.path)
    with pytest.raises(StoreError, match=r"embeddings\.h5: damaged"):
        check(reader, [2], FINGERPRINT)
    append(store, 9)
    with pytest.raises(StoreError, match=r"embeddings\.h5: damaged"):
        store.compact()
    assert store.path.read_bytes() == damaged
    assert len(parts(store)) == 1


def test_a_flipped_bit_anywhere_is_found_or_does_no_harm(store, whole):
    outcomes = []
    for place in range(0, len(whole), 11):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        store.path.write_bytes(damaged)
        try:
            reader = EmbeddingStore(store.path)
            check(reader, range(4), FINGERPRINT)
            assert reader.encoders()["encoder"].tolist() == [DESCRIPTION]
            outcomes.append("unharmed")
        except StoreError:
            outcomes.append("found")
    assert outcomes.count("found") > len(outcomes) / 2


def test_a_part_that_is_removed_while_it_is_being_opened_is_looked_for_again(store, monkeypatch):
    append(store, 0)
    part = parts(store)[0]
    append(store, 1)
    check(store, [0, 1], FINGERPRINT)
    open_file = h5py.File

    def compact_first(path, *arguments, **options):
        if path != part:
            return open_file(path, *arguments, **options)
        monkeypatch.undo()
        EmbeddingStore(store.path).compact()
        raise OSError("can't retrieve stat info for file")

    monkeypatch.setattr(h5py, "File", compact_first)
    check(store, [0, 1], FINGERPRINT)
    assert parts(store) == []


def test_default_path(monkeypatch, tmp_path):
    monkeypatch.delenv("MUSICEVAL_CACHE", raising=False)
    assert default_store_path() == Path("cache/embeddings.h5")
    assert EmbeddingStore().path == Path("cache/embeddings.h5")
    monkeypatch.setenv("MUSICEVAL_CACHE", str(tmp_path / "mine.h5"))
    assert EmbeddingStore().path == tmp_path / "mine.h5"
    assert repr(EmbeddingStore("a.h5")) == "EmbeddingStore('a.h5')"


@pytest.mark.parametrize("n_writers, n_items", [(2, 40), (8, 12)])
@pytest.mark.slow
def test_writers_and_a_reader_at_once_lose_nothing(store, writer, n_writers, n_items):
    begins = range(0, 1000 * n_writers, 1000)
    writers = [writer("write", store.path, begin, begin + n_items) for begin in begins]
    reported = [[] for _ in writers]
    while any(process.poll() is None for process in writers):
        for process, numbers in zip(writers, reported, strict=True):
            if line := process.stdout.readline():
                numbers.append(int(line))
        if any(reported):
            check(store, sum(reported, []), FINGERPRINT)
    for process, numbers in zip(writers, reported, strict=True):
        rest, errors = process.communicate()
        assert process.returncode == 0, errors
        numbers += map(int, rest.split())
    assert reported == [list(range(begin, begin + n_items)) for begin in begins]
    check(store, sum(reported, []), FINGERPRINT)
    assert store.encoders()["items"].tolist() == [n_writers * n_items]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one mebibyte, where we may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_ends_in_words_and_loses_nothing(small_disk):
    store = EmbeddingStore(small_disk / "embeddings.h5")
    stored = []
    with pytest.raises(StoreError, match="cannot store embeddings .*what was stored is intact"):
        for number in range(10_000):
            append(store, number)
            stored.append(number)
    assert stored
    check(EmbeddingStore(store.path), stored, FINGERPRINT)
    assert not [*store.parts_folder.glob("*.tmp")]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes, which this system does not have")
@pytest.mark.slow
def test_a_writer_killed_at_any_moment_loses_nothing_it_reported(store, writer):
    process = writer("kill", store.path, 200, FINGERPRINT)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    reported = json.loads(output)
    assert reported
    check(store, reported, FINGERPRINT)
    append(store, 10**5)
    store.compact()
    check(store, [*reported, 10**5], FINGERPRINT)


def test_items_of_several_windows_asked_for_twice_each(store, rng):
    # Rows of a twice-asked item run 3, 4, 5, 3, 4, 5: they are not ascending, and cross every boundary of chunks.
    keys = [bytes([i % 256, i // 256]) + bytes(30) for i in range(1000)]
    items = [rng.normal(size=(3, 4)).astype(np.float32) for _ in keys]
    fingerprint = store.append("audio", DESCRIPTION, keys, items)
    vectors, _ = store.read("audio", fingerprint, [key for key in keys for _ in range(2)])
    np.testing.assert_array_equal(vectors, np.concatenate([item for item in items for _ in range(2)]))
