import errno
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from xxhash import xxh3_64_intdigest

from musiceval_sk import EmbeddingStore, StoreError
from musiceval_sk.features.encoders.base import digest_of
from musiceval_sk.features.store import default_store_path
from musiceval_sk.features.store import file as store_file
from musiceval_sk.features.store import store as store_module
from musiceval_sk.features.store.maintain import merge_stores, prune_store, verify_store
from tests.features.store.writers import DESCRIPTION, append, check, key_of, vectors_of

FINGERPRINT = digest_of(DESCRIPTION)
ROOT = Path(__file__).parents[3]


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
                [sys.executable, "-m", "tests.features.store.writers", *map(str, arguments)],
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


@pytest.mark.parametrize("dim", [64, 20_000])
def test_a_file_is_laid_out_as_its_readme_says(store, rng, dim):
    """Other versions of the package read what this one writes, so digests are held against XXH3 itself."""
    rows = 65536 // (4 * dim) or 1
    items = [rng.normal(size=(count, dim)).astype("<f4") for count in (rows, 1, rows + 1)]
    keys = [key_of(number) for number in (2, 0, 1)]
    name = f"audio/{store.append('audio', DESCRIPTION, keys, items)}"
    store.compact()
    vectors, offsets = np.concatenate(items), np.array([0, rows, rows + 1, 2 * rows + 2], dtype="<i8")
    seed = xxh3_64_intdigest(name.encode()) // 2
    blocks = [vectors[at : at + rows] for at in range(0, len(vectors), rows)]
    with h5py.File(store.path) as file:
        assert (file.attrs["format"], file.attrs["version"]) == (b"musiceval-embeddings", 2)
        assert len(file.attrs["id"]) == 32 and list(file) == ["audio"]
        group = file[name]
        assert json.loads(group.attrs["encoder"]) == DESCRIPTION
        assert group["keys"][()].tobytes() == b"".join(keys)
        np.testing.assert_array_equal(group["offsets"], offsets)
        np.testing.assert_array_equal(group["vectors"], vectors)
        digests = [xxh3_64_intdigest(block.tobytes(), seed + i) for i, block in enumerate(blocks)]
        assert group["digests"][()].tolist() == digests
        assert group.attrs["index_digest"] == xxh3_64_intdigest(b"".join(keys) + offsets.tobytes(), seed)
        types = {"keys": "u1", "offsets": "<i8", "vectors": "<f4", "digests": "<u8"}
        assert {key: group[key].dtype for key in group} == types


def test_items_are_copied_in_batches_of_bounded_size_as_they_lie(store):
    for numbers in (range(5, 40), range(5)):
        append(store, *numbers)
    index = store.index(("audio", FINGERPRINT))
    batches = index.batches(100)
    assert sorted(np.concatenate(batches)) == list(range(40))
    read = [key for batch in batches for key in index.keys[batch]]
    assert read == [key_of(number).rstrip(b"\0") for number in (*range(5, 40), *range(5))]
    # Rows of four numbers take 16 bytes, an item three of them at most.
    sizes = [16 * index.counts[batch].sum() for batch in batches]
    assert max(sizes) <= 100 + 2 * 16 and len(batches) <= 16 * index.counts.sum() / 100 + 3


@pytest.mark.parametrize("n_bytes, sizes", [(10**6, [3, 3]), (96, [3, 3]), (48, [2, 1, 2, 1]), (1, [1] * 6)])
def test_a_batch_ends_where_a_file_ends_or_so_many_bytes_are_full(store, n_bytes, sizes):
    append(store, 0, 1, 2)
    append(store, 3, 4, 5)
    # Items of 1, 2, 3, 1, 2 and 3 windows of 16 bytes end after 16, 48, 96, 112, 144 and 192 bytes.
    batches = store.index(("audio", FINGERPRINT)).batches(n_bytes)
    assert [len(batch) for batch in batches] == sizes


def test_items_far_apart_in_a_file_are_found(store):
    keys = [key_of(number) for number in range(3)]
    items = [np.full((rows, 2), rows) for rows in (1, 5000, 2)]
    store.append("audio", DESCRIPTION, keys, items)
    vectors, offsets = store.read("audio", FINGERPRINT, [keys[2], keys[0]])
    assert offsets.tolist() == [0, 2, 3]
    np.testing.assert_array_equal(vectors, [[2, 2], [2, 2], [1, 1]])


def test_batches_of_a_read_are_the_next_keys_each(store):
    append(store, *range(5))
    batches = store.read_batches("audio", FINGERPRINT, [key_of(n) for n in (4, 1, 0, 3, 2)], size=2)
    # Items 4 and 1 have two windows each, 0 and 3 one, 2 three; the first number of item n is 100 n.
    assert [(vectors[:, 0].tolist(), offsets.tolist()) for vectors, offsets in batches] == [
        ([400, 410, 100, 110], [0, 2, 4]),
        ([0, 300], [0, 1, 2]),
        ([200, 210, 220], [0, 3]),
    ]


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
    keys = pd.Series([key_of(1), key_of(0)], ["a", "b"])  # by clip, as a report of `extract` has them
    assert store.contains("audio", FINGERPRINT, keys).tolist() == [True, False]
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


def test_a_main_file_that_is_a_link_stays_one(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "main.h5", tmp_path / "embeddings.h5"
    link.symlink_to(target)
    store = EmbeddingStore(link)
    for number in range(3):
        append(store, number)
        store.compact()
        assert link.is_symlink() and target.is_file() and parts(store) == []
    check(EmbeddingStore(target), range(3), FINGERPRINT)
    check(EmbeddingStore(link), range(3), FINGERPRINT)
    prune_store(store, fingerprints=[FINGERPRINT])
    assert link.is_symlink() and not target.exists() and store.encoders().empty
    assert [path.name for path in target.parent.iterdir()] == ["main.h5.lock"]


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


def test_a_reader_never_takes_another_file_for_the_one_it_indexed(store):
    append(store, *range(10))
    store.append("audio", {"name": "other"}, [key_of(0)], [np.ones(3)])
    store.compact()
    reader = EmbeddingStore(store.path)
    check(reader, range(10), FINGERPRINT)
    look = reader.look

    def look_then_others_work():
        # Between the reader's look at the folder and its reading, rows of the main file move.
        found = look()
        reader.look = look
        writer = EmbeddingStore(store.path)
        prune_store(writer, fingerprints=[digest_of({"name": "other"})])
        append(writer, *range(100, 150))
        writer.compact()
        return found

    reader.look = look_then_others_work
    check(reader, range(5, 10), FINGERPRINT)


def test_a_file_replaced_by_one_of_the_same_size_and_time_is_opened_anew(store, tmp_path):
    append(store, 0, 1)
    store.compact()
    reader = EmbeddingStore(store.path)
    check(reader, [0, 1], FINGERPRINT)
    status = store.path.stat()
    other = EmbeddingStore(tmp_path / "other.h5")
    append(other, 1, 0)
    other.compact()
    with store.path.open("r+b") as file:  # the same inode, too
        file.write(other.path.read_bytes())
    os.utime(store.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert store.path.stat().st_size == status.st_size
    check(reader, [0, 1], FINGERPRINT)


def test_many_appends_leave_few_parts(store):
    numbers = []
    for number in range(72):
        append(store, number)
        numbers.append(len(parts(store)))
    # The part after 32 small ones makes one of those, which itself is small and one of the next 32.
    assert numbers == [*range(1, 33), *range(2, 33), *range(2, 11)]
    check(store, range(72), FINGERPRINT)
    check(EmbeddingStore(store.path), range(72), FINGERPRINT)
    assert store.encoders()["items"].tolist() == [72]


def test_parts_are_folded_with_those_of_about_their_size(store, monkeypatch):
    monkeypatch.setattr(store_module, "_PARTS_OF_A_SIZE", 4)
    monkeypatch.setattr(store_module, "_SMALL_BYTES", 1)
    numbers, sizes = [], []
    # Sizes are told apart by factors of eight: 2 to 16 KiB are one, 16 to 128 KiB the next.
    for number, n_bytes in enumerate([20_000, 2000, 8000, 20_000, 2000, 20_000, 8000, 2000]):
        vectors = np.full((1 + n_bytes // 16, 4), number)
        fingerprint = store.append("audio", DESCRIPTION, [key_of(number)], [vectors])
        numbers.append(len(parts(store)))
        sizes.append(max(part.stat().st_size for part in parts(store)))
    # Before the eighth there are four of the smaller size and three of the larger.
    assert numbers == [1, 2, 3, 4, 5, 6, 7, 5]
    assert all(2**14 < size < 2**15 for size in sizes)
    vectors, _ = store.read("audio", fingerprint, [key_of(number) for number in range(8)])
    assert np.unique(vectors).tolist() == list(range(8))


def test_parts_are_not_folded_while_another_process_holds_the_lock(store):
    with FileLock(f"{store.path}.lock"):
        for number in range(40):
            append(store, number)
    assert len(parts(store)) == 40
    append(store, 40)
    assert len(parts(store)) == 41 - 32 + 1
    check(store, range(41), FINGERPRINT)


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
    assert store.clear_leftovers() is False
    young.rename(old[0])
    os.utime(old[0], (time.time() - 2 * 24 * 3600,) * 2)
    assert store.clear_leftovers() is True
    assert not old[0].exists()


def test_files_that_vanish_while_they_are_looked_at_are_no_harm(store):
    # A dangling link is listed, but not there: so looks what another process renamed or removed a moment ago.
    append(store, 0)
    (store.parts_folder / "part-2.h5.abc.tmp").symlink_to("nowhere")
    assert store.compact() is True
    (store.parts_folder / "part-2.h5").symlink_to("nowhere")
    assert not store.needs_compaction()


def test_parts_go_once_what_they_were_folded_into_is_on_disk_under_its_name(store, monkeypatch):
    append(store, 0)
    append(store, 1)
    events = []

    def note(owner, name, label):
        usual = getattr(owner, name)
        monkeypatch.setattr(
            owner, name, lambda *some, **rest: events.append(label(*some)) or usual(*some, **rest)
        )

    kinds = {True: "sync folder", False: "sync file"}
    note(os, "fsync", lambda number: kinds[stat.S_ISDIR(os.fstat(number).st_mode)])
    note(os, "replace", lambda *_: "name")
    note(store_file, "_read_back", lambda *_: "read back")
    note(Path, "unlink", lambda path: "delete a part" if path.suffix == ".h5" else "")
    store.compact()
    steps = list(dict.fromkeys(filter(None, events)))
    assert steps == ["sync file", "read back", "name", "sync folder", "delete a part"]


def test_a_part_that_another_fold_deletes_a_moment_earlier_is_no_error(store, monkeypatch):
    """As two folds may at once where the file system has no locks."""
    append(store, 0)
    append(store, 1)
    files = store.look()

    def stamp_and_delete(path):
        found = store_file.stamp_of(path)
        path.unlink()
        return found

    monkeypatch.setattr(store_module, "stamp_of", stamp_and_delete)
    store.fold(files, store.main, store_module.all_items)
    monkeypatch.undo()
    check(store, [0, 1], FINGERPRINT)


def test_a_look_while_files_are_folded_misses_none(store, monkeypatch):
    append(store, 0)
    append(store, 1)
    look = EmbeddingStore._parts

    def compact_first(reader):
        monkeypatch.setattr(EmbeddingStore, "_parts", look)
        # Between a reader's look for the main file, which is not there yet, and its look at the parts.
        EmbeddingStore(store.path).compact()
        return look(reader)

    monkeypatch.setattr(EmbeddingStore, "_parts", compact_first)
    check(EmbeddingStore(store.path), [0, 1], FINGERPRINT)


@pytest.mark.parametrize("seen", [[], [1]])
def test_a_look_that_lacks_a_part_seen_before_is_not_the_last(store, monkeypatch, seen):
    """While names are listed, parts may be folded into one whose name is not listed any more."""
    for number in range(3):
        append(store, number)
    look, everything = EmbeddingStore._parts, parts(store)
    looks = iter([everything, [everything[i] for i in seen]])
    monkeypatch.setattr(EmbeddingStore, "_parts", lambda store: next(looks, None) or look(store))
    assert EmbeddingStore(store.path).files() == everything


@pytest.mark.parametrize(
    "keys, items, words",
    [
        ([key_of(0)], [], "got 1 keys for 0 items; there must be one of 32 bytes each, and at least one"),
        ([], [], "got 0 keys for 0 items"),
        ([b"short", key_of(0)], [np.ones(2)] * 2, "got 2 keys for 2 items; there must be one of 32 bytes"),
        ([key_of(0), key_of(1)], [np.ones(2), np.zeros((0, 2))], "at least one an item .*nothing was stored"),
        ([key_of(0)], [np.array([1, np.nan])], "vectors must be finite; nothing was stored"),
        ([key_of(0)], [np.ones((1, 0))], r"vectors of one length, at least one an item .*nothing was stored"),
        (
            [key_of(0)],
            [np.ones((1, 2, 3))],
            r"of one length, .*\[shape=\(n_windows, dim\)\]; nothing was stored",
        ),
        ([key_of(0), key_of(1)], [np.ones(2), np.ones(3)], "vectors of one length, .*nothing was stored"),
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


@pytest.mark.parametrize("failing", ["os.fsync", "_write_group"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_full_or_forbidden_disk_costs_only_the_batch(store, monkeypatch, failing, number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    append(store, 0)
    monkeypatch.setattr(f"musiceval_sk.features.store.file.{failing}", fail)
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
        file.attrs["version"] = 3
    words = r"embeddings\.h5: is of version 3, and this musiceval_sk reads up to 2; upgrade"
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


@pytest.mark.parametrize("n_writers, n_items", [(2, 24), (8, 7)])
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


@pytest.mark.slow
def test_a_full_disk_ends_in_words_and_loses_nothing(small_disk):
    store = EmbeddingStore(small_disk / "embeddings.h5")
    rows = np.ones((50, 64), dtype=np.float32)
    stored = []
    with pytest.raises(StoreError, match="cannot store embeddings .*what was stored is intact"):
        for number in range(10_000):
            store.append("audio", DESCRIPTION, [key_of(number)], [number * rows + 1])
            stored.append(number)
    assert len(stored) > 32
    other = digest_of({"name": "other"})
    for change in (store.compact, lambda: prune_store(store, fingerprints=[other])):
        with suppress(StoreError):  # there may be room for small parts
            for number in range(1000):
                store.append("audio", {"name": "other"}, [key_of(number)], [np.ones(2)])
        with pytest.raises(StoreError, match=r"cannot (compact|prune) \(No space.*what was stored is intact"):
            change()
        vectors, _ = EmbeddingStore(store.path).read(
            "audio", FINGERPRINT, [key_of(number) for number in stored]
        )
        np.testing.assert_array_equal(vectors, np.concatenate([number * rows + 1 for number in stored]))
    assert not [*store.path.parent.rglob("*.tmp")]
    assert len(verify_store(store).damaged) == 0


@pytest.mark.parametrize("work_name", ["append", "compact", "merge", "prune"])
def test_every_write_may_fail(store, tmp_path, monkeypatch, work_name):
    append(store, 0, 1, 2)
    store.append("audio", {"name": "other"}, [key_of(0)], [np.ones(3)])
    other = EmbeddingStore(tmp_path / "other.h5")
    append(other, 5)
    work = {
        "append": lambda: append(store, 9),
        "compact": store.compact,
        "merge": lambda: merge_stores(store, [other]),
        "prune": lambda: prune_store(store, fingerprints=[digest_of({"name": "other"})]),
    }[work_name]
    attempt, count = store_file._Sink._try, iter(range(10**6))

    def fail_at(n):
        def fail(sink, act, argument):
            return attempt(sink, refuse if next(count) == n else act, argument)

        return fail

    def refuse(_):
        raise OSError(number, os.strerror(number))

    for n in range(1000):
        number = [errno.ENOSPC, errno.EDQUOT, errno.EIO][n % 3]
        count = iter(range(10**6))
        monkeypatch.setattr(store_file._Sink, "_try", fail_at(n))
        before = {path: path.read_bytes() for path in (*parts(store), store.path) if path.exists()}
        words = outcome_of(work)
        if words is None:
            break
        assert os.strerror(number) in words and "what was stored is intact" in words
        after = {path: path.read_bytes() for path in (*parts(store), store.path) if path.exists()}
        # What a merge had copied before it failed stays.
        assert after == before if work_name != "merge" else before.items() <= after.items()
        assert not [*store.path.parent.rglob("*.tmp")]
    assert n > 3
    monkeypatch.undo()
    check(EmbeddingStore(store.path), range(3), FINGERPRINT)


def outcome_of(work):
    try:
        work()
    except StoreError as error:
        return str(error)
    return None


def place_of(path, name="vectors"):
    with h5py.File(path) as file:
        dataset = file["audio"][FINGERPRINT][name]
        return dataset.id.get_offset(), dataset.nbytes


def test_zeros_and_swapped_vectors_fail_their_digest(store, monkeypatch):
    monkeypatch.setattr(store_file, "_BLOCK_BYTES", 16)  # blocks of one row
    append(store, 0, 3, 6)  # one window of sixteen bytes each
    store.compact()
    whole, (begin, size) = store.path.read_bytes(), place_of(store.path)
    rows = [whole[begin + at : begin + at + 16] for at in (0, 16, 32)]
    for vectors, wrong in (
        (bytes(size), 3),
        (rows[1] + rows[0] + rows[2], 2),
        (rows[0] + bytes(16) + rows[2], 1),
    ):
        store.path.write_bytes(whole[:begin] + vectors + whole[begin + size :])
        with pytest.raises(StoreError, match=rf"damaged \({wrong} of 3 audio items are not what was stored"):
            check(EmbeddingStore(store.path), [0, 3, 6], FINGERPRINT)
        with pytest.raises(StoreError, match="damaged"):
            append(store, 9)
            store.compact()
        assert len(verify_store(store).damaged) == 1


@pytest.mark.parametrize("lost", ["vectors", "offsets", "digests"])
def test_what_reads_back_otherwise_gets_no_name(store, monkeypatch, lost):
    append(store, 0)
    write = store_file._Sink.write
    seed = xxh3_64_intdigest(f"audio/{FINGERPRINT}".encode()) // 2
    # Items 0 and 3 have one window each.
    contents = [
        {
            "vectors": vectors.tobytes(),
            "offsets": np.array([0, 1]).tobytes(),
            "digests": np.uint64(xxh3_64_intdigest(vectors.tobytes(), seed)).tobytes(),
        }[lost]
        for vectors in (vectors_of(0), vectors_of(3))
    ]

    def write_zeros(sink, data):
        return write(sink, bytes(len(data)) if bytes(data) in contents else data)

    monkeypatch.setattr(store_file._Sink, "write", write_zeros)
    for change in (lambda: append(store, 3), store.compact):
        with pytest.raises(StoreError, match="does not read back the same.*what was stored is intact"):
            change()
    monkeypatch.undo()
    assert len(parts(store)) == 1 and not store.path.exists()
    check(store, [0], FINGERPRINT)


@pytest.fixture
def first_format(store):
    """A main file as version 1 of the format had it: chunks with Fletcher-32, no digests, no id."""
    keys, items = [key_of(n) for n in range(300)], [vectors_of(n) for n in range(300)]
    with h5py.File(store.path, "w", libver=("v110", "v110")) as file:
        file.attrs["format"], file.attrs["version"] = np.bytes_("musiceval-embeddings"), 1
        group = file.create_group(f"audio/{FINGERPRINT}")
        group.attrs["encoder"] = np.bytes_(json.dumps(DESCRIPTION))
        digests = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32)
        group.create_dataset("keys", data=digests, chunks=(300, 32), fletcher32=True)
        offsets = np.cumsum([0, *map(len, items)])
        group.create_dataset("offsets", data=offsets, chunks=(301,), fletcher32=True)
        group.create_dataset("vectors", data=np.concatenate(items), chunks=(256, 4), fletcher32=True)
    return store


def test_stores_of_the_first_format_are_read_and_compacted_into_the_second(first_format):
    check(first_format, range(300), FINGERPRINT)
    append(first_format, 300)
    assert len(verify_store(first_format).damaged) == 0
    first_format.compact()
    with h5py.File(first_format.path) as file:
        assert file.attrs["version"] == 2
    check(first_format, range(301), FINGERPRINT)


def test_zeroed_and_flipped_chunks_of_the_first_format_are_found(first_format):
    with h5py.File(first_format.path) as file:
        chunk = file["audio"][FINGERPRINT]["vectors"].id.get_chunk_info(1)
    whole = first_format.path.read_bytes()
    end = chunk.byte_offset + chunk.size
    first_format.path.write_bytes(whole[: chunk.byte_offset] + bytes(chunk.size) + whole[end:])
    with pytest.raises(StoreError, match="damaged"):  # Fletcher-32 of zeros is zero
        check(EmbeddingStore(first_format.path), range(300), FINGERPRINT)
    # Chunk 1 holds rows 256 to 511; items have 1, 2 and 3 rows in turn: item 128 has rows 255 to 257, item 256 rows 511 and 512.
    assert "129 of 300 items" in verify_store(first_format).damaged["problem"].iloc[0]
    flipped = bytearray(whole)
    flipped[chunk.byte_offset] ^= 1
    first_format.path.write_bytes(flipped)
    assert prune_store(first_format, damaged=True)["dropped"].tolist() == [129]
    check(first_format, [*range(128), *range(257, 300)], FINGERPRINT)


def test_a_chunk_that_the_first_format_never_wrote_costs_its_items(first_format):
    with h5py.File(first_format.path, "a") as file:
        group = file["audio"][FINGERPRINT]
        vectors = group["vectors"][()]
        del group["vectors"]
        made = group.create_dataset("vectors", vectors.shape, "f4", chunks=(256, 4), fletcher32=True)
        made[:256], made[512:] = vectors[:256], vectors[512:]
    with pytest.raises(StoreError, match="damaged"):
        check(EmbeddingStore(first_format.path), range(300), FINGERPRINT)
    assert prune_store(first_format, damaged=True)["dropped"].tolist() == [129]
    check(first_format, [*range(128), *range(257, 300)], FINGERPRINT)


@pytest.mark.parametrize("n_rows", [2, 15])
def test_a_few_zeros_of_the_first_format_are_what_was_stored(first_format, n_rows):
    keys = add_zeros(first_format, n_rows)
    assert not first_format.read("text", FINGERPRINT, keys)[0].any()
    append(first_format, 300)
    first_format.compact()
    assert not first_format.read("text", FINGERPRINT, keys)[0].any()


def test_sixteen_zeros_of_the_first_format_are_a_chunk_that_was_lost(first_format):
    keys = add_zeros(first_format, 16)
    with pytest.raises(StoreError, match="16 of 16 text items are not what was stored"):
        first_format.read("text", FINGERPRINT, keys)


def add_zeros(store, n_rows):
    """Add so many texts, one chunk of zeros, to a main file of the first format; give their keys."""
    with h5py.File(store.path, "a") as file:
        file.copy(file["audio"][FINGERPRINT], file.create_group("text"), FINGERPRINT)
        group = file["text"][FINGERPRINT]
        replace(group, "keys", group["keys"][:n_rows])
        replace(group, "offsets", np.arange(n_rows + 1))
        replace(group, "vectors", np.zeros((n_rows, 4), "f4"), chunks=(n_rows, 4), fletcher32=True)
    return [key_of(number) for number in range(n_rows)]


def replace(group, name, data, **options):
    del group[name]
    group.create_dataset(name, data=data, **options)


def external_link(group, folder):
    with h5py.File(folder / "elsewhere.h5", "w") as file:
        file["vectors"] = group["vectors"][()]
    del group["vectors"]
    group["vectors"] = h5py.ExternalLink(str(folder / "elsewhere.h5"), "vectors")


def external_storage(group, folder):
    (folder / "raw").write_bytes(group["vectors"][()].tobytes())
    shape = group["vectors"].shape
    del group["vectors"]
    group.create_dataset("vectors", shape, "f4", external=[(str(folder / "raw"), 0, h5py.h5f.UNLIMITED)])


def virtual(group, folder):
    layout = h5py.VirtualLayout(group["vectors"].shape, "f4")
    layout[:] = h5py.VirtualSource(str(folder / "elsewhere.h5"), "vectors", group["vectors"].shape)
    del group["vectors"]
    group.create_virtual_dataset("vectors", layout)


def soft_link(group, folder):
    group.move("vectors", "moved")
    group["vectors"] = h5py.SoftLink("moved")


def absurd(group, folder):
    del group["keys"]
    group.create_dataset("keys", (1 << 40, 32), np.uint8, chunks=(1 << 10, 32))


def describe(text):
    return lambda group, folder: group.attrs.__setitem__("encoder", np.bytes_(text))


NO_FIT = "keys, offsets and vectors do not fit together"
NOT_THE_FORMATS = "is of another type than the format's, compressed, or stored elsewhere"
MALFORMED = {
    "link to another file": (external_link, "'vectors' is missing, lies elsewhere, or is no Dataset"),
    "soft link": (soft_link, "'vectors' is missing, lies elsewhere, or is no Dataset"),
    "external storage": (external_storage, f"'vectors' {NOT_THE_FORMATS}"),
    "virtual dataset": (virtual, f"'vectors' {NOT_THE_FORMATS}"),
    "type": (lambda group, _: replace(group, "vectors", np.ones((6, 4))), f"'vectors' {NOT_THE_FORMATS}"),
    "dimensions": (
        lambda group, _: replace(group, "keys", np.zeros(96, np.uint8)),
        f"'keys' {NOT_THE_FORMATS}",
    ),
    "other keys": (
        lambda group, _: replace(group, "keys", np.ones((3, 32), np.uint8)),
        "keys and offsets are not what",
    ),
    "no numbers": (lambda group, _: replace(group, "vectors", np.ones((6, 0), "f4")), NO_FIT),
    "offsets past all numbers": (
        lambda group, _: replace(group, "offsets", np.array([0, 2**63 - 1, -(2**63), 6])),
        NO_FIT,
    ),
    "fewer digests": (
        lambda group, _: replace(group, "digests", np.zeros(0, np.uint64)),
        "0 digests for 6 vectors",
    ),
    "version 0": (lambda group, _: group.file.attrs.__setitem__("version", 0), "format 0 without its id"),
    "no id": (lambda group, _: group.file.attrs.__delitem__("id"), "format 2 without its id"),
    "a dataset for a group": (
        lambda group, _: group.file.__setitem__("text", np.ones(2)),
        "'text' is missing, lies elsewhere, or is no Group",
    ),
    "key length": (lambda group, _: replace(group, "keys", np.zeros((3, 31), np.uint8)), NO_FIT),
    "absurd": (absurd, "'keys' should take 35184372088832 bytes, more than its file has"),
    "descending": (lambda group, _: replace(group, "offsets", np.array([0, 3, 1, 6])), NO_FIT),
    "an item of no window": (lambda group, _: replace(group, "offsets", np.array([0, 1, 1, 6])), NO_FIT),
    "short": (lambda group, _: replace(group, "offsets", np.array([0, 1, 3])), NO_FIT),
    "compressed": (
        lambda group, _: replace(group, "vectors", np.zeros((6, 4), "f4"), compression="gzip"),
        f"'vectors' {NOT_THE_FORMATS}",
    ),
    "no digests": (
        lambda group, _: group.__delitem__("digests"),
        "'digests' is missing, lies elsewhere, or is no Dataset",
    ),
    "broken JSON": (describe("{"), "damaged"),
    "another description": (describe('{"name": "toys"}'), "does not belong to its fingerprint"),
    "a list for a description": (describe("[1]"), "does not belong to its fingerprint"),
}


@pytest.mark.parametrize("change, words", MALFORMED.values(), ids=MALFORMED)
def test_malformed_files_are_refused(store, tmp_path, change, words):
    append(store, 0, 1, 2)
    store.compact()
    with h5py.File(store.path, "a") as file:
        change(file["audio"][FINGERPRINT], tmp_path)
    with pytest.raises(StoreError, match=words):
        EmbeddingStore(store.path).groups()
    assert len(verify_store(store).damaged) == 1


def test_what_is_no_file_is_not_waited_for(store):
    os.mkfifo(store.path)
    with pytest.raises(StoreError, match=r"embeddings\.h5: not an embedding store, nor any HDF5 file"):
        store.groups()


def test_a_users_own_file_is_never_called_damaged(store):
    store.path.write_text("clip_id,path\na,a.wav\n")
    for look in (store.groups, lambda: verify_store(store), lambda: append(store, 0)):
        with pytest.raises(
            StoreError, match=r"embeddings\.h5: not an embedding store, nor any HDF5 file; name another"
        ):
            look()
    assert store.path.read_text() == "clip_id,path\na,a.wav\n" and not store.parts_folder.exists()


def test_a_folder_of_parts_that_cannot_be_searched_is_not_an_empty_one(store):
    store.parts_folder.write_bytes(b"")
    with pytest.raises(
        StoreError, match=r"embeddings\.h5: cannot be read \(.*Not a directory: .*embeddings\.h5\.parts"
    ):
        store.groups()


@pytest.mark.parametrize(
    "layout", [np.asfortranarray, lambda rows: np.repeat(rows, 2, axis=1)[:, ::2], np.float64]
)
def test_vectors_may_lie_in_any_way(store, layout):
    rows = vectors_of(2)
    store.append("audio", DESCRIPTION, [key_of(2)], [layout(rows)])
    check(store, [2], FINGERPRINT)


def test_a_damaged_part_does_not_keep_others_from_being_folded(store):
    for number in range(100):
        append(store, number)
        if number == 0:
            damage = bytearray(parts(store)[0].read_bytes())
            damage[damage.index(vectors_of(0).tobytes())] ^= 1
            parts(store)[0].write_bytes(damage)
    assert len(parts(store)) < 64
    check(store, range(1, 100), FINGERPRINT)


def test_a_length_is_remembered_no_longer_than_it_is_stored(store, monkeypatch):
    append(store, 0)
    prune_store(EmbeddingStore(store.path), fingerprints=[FINGERPRINT])
    store.append("audio", DESCRIPTION, [key_of(1)], [np.ones(5)])
    assert store.read("audio", FINGERPRINT, [key_of(1)])[0].shape == (1, 5)


@pytest.mark.parametrize("columns", [512, 3, 1])
def test_any_rows_of_many_blocks_are_found(store, rng, columns):
    counts = rng.integers(1, 4, 3000)
    items = [rng.normal(size=(count, columns)).astype(np.float32) for count in counts]
    keys = [key_of(number) for number in range(len(items))]
    fingerprint = store.append("audio", DESCRIPTION, keys, items)
    for chosen in (
        np.arange(3000),
        np.arange(17, 2900),
        np.arange(1500, 1600),  # of rows of 512 numbers none is among the first four MiB
        rng.permutation(3000),
        rng.integers(0, 3000, 500),
        [2999, 0],
    ):
        vectors, _ = store.read("audio", fingerprint, [keys[i] for i in chosen])
        np.testing.assert_array_equal(vectors, np.concatenate([items[i] for i in chosen]))
    assert len(verify_store(store).damaged) == 0


def test_any_range_of_rows_is_read_block_by_block(store, monkeypatch):
    monkeypatch.setattr(store_file, "_BLOCK_BYTES", 16 * 8)  # eight rows of four numbers
    monkeypatch.setattr(store_file, "_READ_BYTES", 1)  # at least a block at once
    keys, rows = [key_of(number) for number in range(16)], np.arange(64).reshape(16, 1, 4)
    fingerprint = store.append("audio", DESCRIPTION, keys, rows)
    for begin in range(16):
        for end in range(begin + 1, 17):
            vectors, _ = store.read("audio", fingerprint, keys[begin:end])
            np.testing.assert_array_equal(vectors, rows[begin:end, 0])


def test_vectors_of_another_length_are_refused_at_append(store):
    append(store, 0)
    words = (
        f"vectors of audio/{FINGERPRINT} have length 5, but 4 where they are stored: .*; nothing was stored"
    )
    for writer in (store, EmbeddingStore(store.path)):
        with pytest.raises(StoreError, match=words):
            writer.append("audio", DESCRIPTION, [key_of(1)], [np.ones(5)])
    check(store, [0], FINGERPRINT)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes, which this system does not have")
@pytest.mark.slow
def test_a_writer_killed_at_any_moment_loses_nothing_it_reported(store, writer):
    process = writer("kill", store.path, 100, FINGERPRINT)
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
