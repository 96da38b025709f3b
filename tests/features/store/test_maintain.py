import errno
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from filelock import FileLock

from musiceval_sk import AudioError, ClipsTableError, EmbeddingStore, StoreError, extract
from musiceval_sk.features.encoders.base import digest_of
from musiceval_sk.features.store import file as store_file
from musiceval_sk.features.store import maintain
from musiceval_sk.features.store.maintain import merge_stores, prune_store, store_info, verify_store
from musiceval_sk.features.store.store import all_items
from tests.features.store.writers import DESCRIPTION, append, check, key_of, vectors_of
from tests.features.toy import ToyEncoder

FINGERPRINT = digest_of(DESCRIPTION)
OTHER = {"name": "other", "checkpoint_sha256": "1a2b3c4d" * 8}
ROOT = Path(__file__).parents[3]
WORKERS = ("read", "read", "disturb", "disturb")


@pytest.fixture
def store(tmp_path):
    return EmbeddingStore(tmp_path / "embeddings.h5")


@pytest.fixture
def other(tmp_path):
    return EmbeddingStore(tmp_path / "elsewhere" / "embeddings.h5")


def parts(store):
    return sorted(store.parts_folder.glob("part-*.h5"))


def snapshot(store):
    """Every file of a store's folder with its content and time, but for the lock."""
    files = [path for path in store.path.parent.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def knows(store, *numbers):
    return store.contains("audio", FINGERPRINT, [key_of(number) for number in numbers]).tolist()


def append_other(store, *numbers, description=OTHER, modality="audio"):
    return store.append(modality, description, [key_of(n) for n in numbers], [np.ones((2, 3))] * len(numbers))


def flip(path, content):
    """Flip one bit where this content lies."""
    damaged = bytearray(path.read_bytes())
    damaged[bytes(damaged).index(content)] ^= 1
    path.write_bytes(damaged)


# What there is


def test_info_counts_items_windows_and_files(store):
    before = pd.Timestamp.now("UTC") - pd.Timedelta("1s")
    append(store, 0, 1)
    store.compact()
    append(store, 1, 2)
    append_other(store, 0)
    info = store_info(store)
    assert (info.path, info.version, info.n_parts) == (str(store.path), 2, 2)
    assert info.main_bytes == store.path.stat().st_size
    assert info.parts_bytes == sum(part.stat().st_size for part in parts(store))
    # Items 0, 1, 2 have 1 + 2 + 3 windows; item 1 is stored twice and counts once.
    columns = ["modality", "name", "fingerprint", "checkpoint", "items", "windows", "dim"]
    assert info.encoders[columns].sort_values("name").values.tolist() == [
        ["audio", "other", digest_of(OTHER), OTHER["checkpoint_sha256"], 1, 2, 3],
        ["audio", "toy", FINGERPRINT, "", 3, 6, 4],
    ]
    toy = info.encoders.set_index("name").loc["toy"]
    assert before < toy["first_written"] < toy["last_written"] <= pd.Timestamp.now("UTC")
    assert re.search(rf"audio +other {digest_of(OTHER)} 1a2b3c4d1a2b +1 +2 +3 .* UTC\n", str(info))


def test_info_of_nothing(store):
    info = store_info(store)
    assert (info.version, info.main_bytes, info.n_parts, len(info.encoders)) == (None, 0, 0, 0)


def test_the_date_of_a_part_is_in_its_name(store):
    append(store, 0)
    part = parts(store)[0]
    part.rename(part.with_name(f"part-{86400 * 10**9:020d}-0123456789ab.h5"))
    assert store_info(store).encoders.loc[0, "first_written"] == pd.Timestamp("1970-01-02", tz="UTC")


def test_info_names_what_cannot_be_read_and_counts_the_rest(store):
    append(store, 0)
    append(store, 1)
    parts(store)[0].write_bytes(b"no HDF5 at all")
    info = store_info(store)
    assert info.encoders["items"].tolist() == [1]
    assert list(info.unreadable) == [str(parts(store)[0])]
    assert "cannot be read: " in str(info) and ".h5: damaged" in str(info)


# Damage


def test_a_sound_store_is_read_without_complaint(store):
    append(store, 0, 1)
    store.compact()
    append(store, 1, 1, 2)
    append_other(store, 0, modality="text")
    before = snapshot(store)
    report = verify_store(store)
    assert (report.n_files, report.n_items, len(report.damaged)) == (3, 6, 0)
    assert snapshot(store) == before
    assert str(report) == "3 files read, 6 items, 0 files damaged"


@pytest.fixture
def blocks_of(monkeypatch):
    """Let blocks have so many rows of four numbers."""
    return lambda rows: monkeypatch.setattr(store_file, "_BLOCK_BYTES", 16 * rows)


def test_a_flipped_bit_costs_the_items_of_its_block_only(store, blocks_of):
    blocks_of(4)
    append(store, *range(200))
    store.compact()
    append(store, 1000)
    append_other(store, 0)
    flip(store.path, vectors_of(100).tobytes())
    before = snapshot(store)
    report = verify_store(store)
    label = f"200 items of audio toy {FINGERPRINT}"
    # Items 98, 99 and 100 have 3, 1 and 2 windows, from row 195 on; the block of row 199 begins at row 196.
    assert report.damaged.reset_index().values.tolist() == [
        [str(store.path), f"3 of {label} are not what was stored", label]
    ]
    with pytest.raises(
        StoreError, match=r"damaged \(1 of 3 audio items are not what was stored\)\. musiceval cache"
    ):
        check(store, [7, 100, 101], FINGERPRINT)
    check(store, [97, 101], FINGERPRINT)
    with pytest.raises(StoreError, match="damaged"):
        store.compact()
    assert prune_store(store, damaged=True, dry_run=True)["dropped"].tolist() == [0, 3]
    assert snapshot(store) == before
    assert sorted(prune_store(store, damaged=True)["dropped"]) == [0, 3]
    assert knows(store, 97, 98, 100, 101, 1000) == [True, False, False, True, True]
    check(store, [*range(98), *range(101, 200), 1000], FINGERPRINT)
    assert len(verify_store(store).damaged) == 0


@pytest.mark.parametrize("damaged", [0, 1])
def test_an_intact_copy_of_a_damaged_item_is_read_and_kept(store, blocks_of, damaged):
    blocks_of(1)
    append(store, 1, 2)
    append(store, 2, 3)
    flip(parts(store)[damaged], vectors_of(2).tobytes())
    check(store, [3, 2, 1, 2], FINGERPRINT)
    report = prune_store(store, damaged=True)
    assert report[["kept", "dropped"]].values.tolist() == [[3, 0]]
    check(store, [1, 2, 3], FINGERPRINT)
    assert len(verify_store(store).damaged) == 0


@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_a_truncated_part_is_named_and_computed_again(store, write_sounds, share):
    clips = write_sounds(0.5, 0.3, 0.9, 1.2)
    extract(clips, ToyEncoder(), store, modality="audio")
    store.compact()
    more = write_sounds(0.7, 0.8, folder=store.path.parent / "more")
    extract(more, ToyEncoder(), store, modality="audio")
    part = parts(store)[0]
    part.write_bytes(part.read_bytes()[: int(share * part.stat().st_size)])
    report = verify_store(store)
    assert (report.n_files, report.n_items) == (2, 4)  # the items of the main file
    assert report.damaged.index.tolist() == [str(part)]
    (problem,) = report.damaged["problem"]
    assert problem.startswith("damaged (") and problem.endswith(
        "only the vectors that it held are computed anew"
    )
    assert report.damaged["held"].tolist() == ["what can no longer be told"]
    part.unlink()
    again = extract(pd.concat([clips, more.add_prefix("m", axis=0)]), ToyEncoder(), store, modality="audio")
    assert (again.stored["audio"], again.reused["audio"]) == (2, 4)


def test_vectors_of_two_lengths_spoil_their_encoder_only(store, other):
    append(store, 0)
    append_other(store, 0)
    fingerprint = other.append("audio", DESCRIPTION, [key_of(1)], [np.ones(2)])
    parts(other)[0].rename(store.parts_folder / "part-9.h5")
    words = (
        rf"part-9\.h5: vectors of audio/{fingerprint} have length 2, but 4 in .*hid a change; drop both by"
    )
    with pytest.raises(StoreError, match=words):
        knows(store, 0)
    assert len(store_info(store).encoders) == 2
    assert prune_store(store, fingerprints=[fingerprint])["dropped"].sum() == 2
    assert store.contains("audio", digest_of(OTHER), [key_of(0)]).tolist() == [True]
    append(store, 0)
    check(store, [0], FINGERPRINT)


def test_a_flipped_bit_anywhere_is_dropped_or_does_no_harm(store):
    append(store, 0, 1, 2, 3)
    store.compact()
    whole, outcomes = store.path.read_bytes(), set()
    for place in range(0, len(whole), 37):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        store.path.write_bytes(damaged)
        try:
            outcomes.add(len(verify_store(store).damaged))
            prune_store(store, damaged=True)
        except StoreError as error:
            assert any(words in str(error) for words in ("damaged", "not an embedding store", "store format"))
            continue
        there = [number for number, known in enumerate(knows(store, 0, 1, 2, 3)) if known]
        if there:
            check(store, there, FINGERPRINT)
    assert 1 in outcomes and outcomes <= {0, 1}


def test_newer_formats_and_other_files_are_no_damage(store):
    append(store, 0)
    store.compact()
    with h5py.File(store.path, "a") as file:
        file.attrs["version"] = 3
    words = r"embeddings\.h5: is of version 3, and this musiceval_sk reads up to 2; upgrade"
    with pytest.raises(StoreError, match=words):
        verify_store(store)
    with h5py.File(store.path, "w") as file:
        file["audio"] = np.zeros(3)
    with pytest.raises(StoreError, match=r"an HDF5 file, but not an embedding store"):
        verify_store(store)
    assert store.path.exists()


def test_a_compaction_during_the_check_is_followed(store, monkeypatch):
    for number in range(3):
        append(store, number)
    listed = store.files()
    EmbeddingStore(store.path).compact()
    looks = iter([listed])
    monkeypatch.setattr(store, "files", lambda: next(looks, [store.path]))
    report = verify_store(store)
    assert (report.n_files, report.n_items, len(report.damaged)) == (1, 3, 0)


# Merging


def test_merge_copies_what_is_lacking(store, other):
    append(store, 0, 1)
    append(other, 1, 2)
    other.compact()
    append(other, 3)
    append_other(other, 7, modality="text")
    before = snapshot(other)
    report = merge_stores(store, [other])
    assert report.values.tolist() == [
        [str(other.path), "audio", FINGERPRINT, "toy", 2, 1],
        [str(other.path), "text", digest_of(OTHER), "other", 1, 0],
    ]
    check(store, range(4), FINGERPRINT)
    assert store.read("text", digest_of(OTHER), [key_of(7)])[0].shape == (2, 3)
    assert {path: before[path] for path in before if "elsewhere" in str(path)} == {
        path: content for path, content in snapshot(other).items() if "elsewhere" in str(path)
    }
    again = merge_stores(store, [other, other])
    assert again["copied"].tolist() == [0] * 4 and again["there"].tolist() == [3, 1, 3, 1]


def test_merge_folds_parts_once_they_outweigh_the_main_file(store, other):
    append(other, *range(300))
    merge_stores(store, [other])
    assert store.path.exists() and parts(store) == []
    append(other, 300)
    merge_stores(store, [other])
    assert len(parts(store)) == 1
    check(store, range(301), FINGERPRINT)


def test_merge_writes_parts_of_bounded_size(store, other, monkeypatch):
    append(other, *range(60))
    other.compact()
    waits = []
    monkeypatch.setattr(maintain, "_COPY_BYTES", 16 * 10)  # ten windows of four numbers
    monkeypatch.setattr(store, "compact", lambda timeout=-1: waits.append(timeout))
    merge_stores(store, [other])
    check(store, range(60), FINGERPRINT)
    # 60 items have 20 * (1 + 2 + 3) = 120 windows.
    assert len(parts(store)) == 12
    assert waits == [0]  # for another process that compacts


def test_merge_refuses_what_is_no_other_store(store, other):
    append(store, 0)
    with pytest.raises(ValueError, match=r"elsewhere.embeddings\.h5: no store there to merge"):
        merge_stores(store, [other])
    with pytest.raises(ValueError, match="cannot merge a store into itself"):
        merge_stores(store, [EmbeddingStore(os.path.relpath(store.path))])


def test_merge_refuses_contradictions(store, other):
    append(store, 0)
    other.append("audio", DESCRIPTION, [key_of(1)], [np.ones(2)])
    with pytest.raises(StoreError, match="have length 2, but 4 where they are stored: .*nothing was stored"):
        merge_stores(store, [other])
    assert store.encoders()["items"].tolist() == [1]


def test_a_source_pruned_and_compacted_meanwhile_gives_no_other_rows(store, other, monkeypatch):
    append(other, *range(40))
    append_other(other, 0)
    other.compact()
    monkeypatch.setattr(maintain, "_COPY_BYTES", 16 * 20)
    append_to_store, blocks = store.append, []

    def append_while_others_work(*arguments):
        blocks.append(1)
        if len(blocks) == 2:
            writer = EmbeddingStore(other.path)
            prune_store(writer, fingerprints=[digest_of(OTHER)])
            append(writer, *range(100, 150))
            writer.compact()
        return append_to_store(*arguments)

    monkeypatch.setattr(store, "append", append_while_others_work)
    merge_stores(store, [other])
    check(store, range(40), FINGERPRINT)


def test_what_is_pruned_from_a_source_meanwhile_is_not_copied(store, other, monkeypatch):
    append(other, *range(40))
    other.compact()
    monkeypatch.setattr(maintain, "_COPY_BYTES", 16 * 20)
    append_to_store = store.append

    def append_while_another_prunes(*arguments):
        monkeypatch.setattr(store, "append", append_to_store)
        writer = EmbeddingStore(other.path)
        writer.fold(writer.look(), writer.main, lambda group: np.arange(40) < 39)
        return append_to_store(*arguments)

    monkeypatch.setattr(store, "append", append_while_another_prunes)
    assert merge_stores(store, [other])["copied"].tolist() == [39]
    check(store, range(39), FINGERPRINT)
    assert knows(store, 39) == [False]


def test_merge_of_a_damaged_store_keeps_what_was_copied(store, other):
    append(other, 0)
    append(other, 1)
    flip(parts(other)[1], vectors_of(1).tobytes())
    with pytest.raises(StoreError, match=r"part-.*\.h5: damaged"):
        merge_stores(store, [other])
    assert knows(store, 0, 1) == [True, False]


# Pruning


def test_prune_drops_an_encoder(store):
    append(store, 0, 1)
    append_other(store, 0)
    store.compact()
    append(store, 2)
    report = prune_store(store, fingerprints=[digest_of(OTHER)[:6].upper()])
    assert report.values.tolist() == sorted(
        [["audio", digest_of(OTHER), "other", 0, 1, 2], ["audio", FINGERPRINT, "toy", 3, 0, 0]]
    )
    check(store, range(3), FINGERPRINT)
    assert store.groups() == [("audio", FINGERPRINT)]
    assert len(verify_store(store).damaged) == 0
    check(EmbeddingStore(store.path), range(3), FINGERPRINT)


def test_prune_of_nothing_changes_nothing(store, write_sounds):
    clips = write_sounds(0.5, 0.3)
    extract(clips, ToyEncoder(), store)
    before = snapshot(store)
    assert prune_store(store, keep=[clips])["dropped"].tolist() == [0, 0]
    assert prune_store(store, damaged=True)["dropped"].tolist() == [0, 0]
    assert {path: content for path, content in snapshot(store).items() if path.suffix == ".h5"} == {
        path: content for path, content in before.items() if path.suffix == ".h5"
    }


def test_prune_of_no_store_makes_none(store):
    report = prune_store(store, fingerprints=["a"])
    assert report["dropped"].empty and list(store.path.parent.iterdir()) == []


def test_prune_of_everything_leaves_an_empty_store(store):
    append(store, 0)
    store.compact()
    append(store, 0, 1)
    prune_store(store, fingerprints=[FINGERPRINT])
    assert store.encoders().empty and parts(store) == [] and not store.path.exists()


def test_prune_keeps_what_tables_name(store, write_sounds):
    clips = write_sounds(0.5, 0.3, 1.2, 0.9)
    clips["prompt"] = ["a", "b", "c", "d"]
    for begin in (0, 2):
        extract(clips.iloc[begin : begin + 2], ToyEncoder(), store)
    # Lengths of 0.5, 0.3, 1.2 and 0.9 s make 1 + 1 + 4 + 3 windows of 0.5 s, every 0.25 s.
    before = snapshot(store)
    # Tables of two listening tests may give different sounds the same id.
    keep = [clips.iloc[:1], clips.iloc[[2]].set_axis(clips.index[:1])]
    dry = prune_store(store, keep=keep, dry_run=True)
    assert snapshot(store) == before
    wet = prune_store(store, keep=keep)
    pd.testing.assert_frame_equal(dry, wet)
    audio = [row[3:] for row in wet.values.tolist() if row[0] == "audio"]
    assert audio == [[2, 2, 4]]
    assert wet["kept"].tolist() == wet["dropped"].tolist() == [2, 2]
    again = extract(clips, ToyEncoder(), store)
    assert again.stored == again.reused == {"text": 2, "audio": 2}


def test_prune_keeps_the_parts_of_files_that_tables_name(store, write_sounds):
    clips = pd.concat([write_sounds(1.0)] * 3).set_axis(["whole", "first", "second"])
    clips["start_time"], clips["end_time"] = [np.nan, 0, 0.5], [np.nan, 0.5, np.nan]
    extract(clips, ToyEncoder(), store, modality="audio")
    report = prune_store(
        store, keep=[clips.loc[["first"]], clips.loc[["whole"]].drop(columns=["start_time", "end_time"])]
    )
    assert report.loc[0, ["kept", "dropped", "dropped_windows"]].tolist() == [2, 1, 1]
    assert extract(clips, ToyEncoder(), store, modality="audio").stored == {"audio": 1}


def test_prune_without_prompts_in_any_table_leaves_prompts(store, write_sounds):
    clips = write_sounds(0.5, 0.3)
    extract(clips, ToyEncoder(), store)
    report = prune_store(store, keep=[clips.iloc[:1].assign(prompt="")])
    assert report.set_index("modality")["dropped"].to_dict() == {"audio": 1, "text": 0}


def test_prune_refuses_to_guess(store, write_sounds):
    append(store, 0)
    clips = write_sounds(0.5)
    for arguments in ({}, {"fingerprints": ["a"], "keep": [clips]}, {"damaged": True, "keep": [clips]}):
        with pytest.raises(
            ValueError, match="give fingerprints of encoders to drop, or clips tables to keep, or"
        ):
            prune_store(store, **arguments)
    for table in (clips.drop(columns="path"), clips.assign(path=None), clips.assign(prompt=np.nan)):
        with pytest.raises(ClipsTableError, match="path|prompt"):
            prune_store(store, keep=[clips, table])
    append_other(store, 0)
    for prefix, fits in (("", 0), ("xyz", 0)):
        with pytest.raises(
            ValueError, match=f"fingerprint '{prefix}' fits {fits} of those stored, .*{FINGERPRINT}"
        ):
            prune_store(store, fingerprints=[prefix])
    gone = clips.assign(path=["nowhere.wav"])
    words = "1 clip to keep cannot be read, so that their vectors would be dropped; .*nowhere.wav"
    with pytest.raises(AudioError, match=words):
        prune_store(store, keep=[gone])
    assert sum(store.encoders()["items"]) == 2


def test_a_fingerprint_that_fits_several_drops_none(store):
    made = {}
    for number in range(17):  # of seventeen digests two begin with the same of sixteen digits
        description = {"name": str(number)}
        digest = append_other(store, 0, description=description)
        if digest[0] in made:
            break
        made[digest[0]] = digest
    with pytest.raises(ValueError, match=f"'{digest[0]}' fits 2 .* must fit one; .*{digest}"):
        prune_store(store, fingerprints=[digest[0]])


def test_parts_appended_while_pruning_survive(store, monkeypatch):
    append(store, 0)
    append_other(store, 0)
    store.compact()
    append_other(store, 1)
    sync = os.fsync

    def sync_after_another_appended(path):
        monkeypatch.undo()
        append(EmbeddingStore(store.path), 5)
        append_other(EmbeddingStore(store.path), 6)
        sync(path)

    monkeypatch.setattr(os, "fsync", sync_after_another_appended)
    prune_store(store, fingerprints=[digest_of(OTHER)])
    check(store, [0, 5], FINGERPRINT)
    kept = store.contains("audio", digest_of(OTHER), [key_of(n) for n in (0, 1, 6)])
    assert kept.tolist() == [False, False, True]


def test_what_is_appended_between_looking_and_pruning_stays(store, write_sounds, monkeypatch):
    clips = write_sounds(0.5, 0.3)
    extract(clips, ToyEncoder(), store, modality="audio")
    report = maintain._prune_report

    def report_then_another_appends(*arguments):
        found = report(*arguments)
        append(EmbeddingStore(store.path), *range(100))
        return found

    monkeypatch.setattr(maintain, "_prune_report", report_then_another_appends)
    assert prune_store(store, keep=[clips.iloc[:1]])["dropped"].tolist() == [1]
    check(store, range(100), FINGERPRINT)


def test_without_locks_a_prune_of_everything_spares_a_main_file_that_it_never_saw(store, monkeypatch):
    monkeypatch.setattr(EmbeddingStore, "locked", lambda *_, **__: nullcontext())
    append_other(store, 0)
    report = maintain._prune_report

    def report_then_another_compacts(*arguments):
        found = report(*arguments)
        writer = EmbeddingStore(store.path)
        append(writer, 1)
        writer.compact()
        return found

    monkeypatch.setattr(maintain, "_prune_report", report_then_another_compacts)
    prune_store(store, fingerprints=[digest_of(OTHER)])
    check(EmbeddingStore(store.path), [1], FINGERPRINT)


@pytest.mark.parametrize("there", [[], [3]])
def test_two_compactions_at_once_without_locks_lose_nothing(store, monkeypatch, there):
    monkeypatch.setattr(EmbeddingStore, "locked", lambda *_, **__: nullcontext())
    for number in there:
        append(store, number)
        store.compact()
    append(store, 0)
    append(store, 1)
    last, read_back = parts(store)[-1], store_file._read_back

    def another_compacts(*arguments):
        """Fold items 0 and 2, the latter unknown here, but not item 1, as if it was appended later."""
        monkeypatch.setattr(store_file, "_read_back", read_back)
        writer = EmbeddingStore(store.path)
        append(writer, 2)
        writer.fold([file for file in writer.look() if file.path != last], writer.main, all_items)
        read_back(*arguments)

    monkeypatch.setattr(store_file, "_read_back", another_compacts)
    store.compact()
    assert parts(store) == [last]
    check(EmbeddingStore(store.path), [0, 1, 2, *there], FINGERPRINT)


def test_without_locks_a_fold_spares_a_main_file_that_came_after_its_look(store):
    append(store, 0)
    seen = store.look()
    append(store, 1)
    writer = EmbeddingStore(store.path)
    writer.fold(writer.look()[1:], writer.main, all_items)
    store.fold(seen, store.main, all_items)
    check(EmbeddingStore(store.path), [0, 1], FINGERPRINT)


def test_a_reader_that_looked_before_a_prune_looks_again(store, monkeypatch):
    append_other(store, *range(5))
    append(store, 0, 1, 2)
    store.compact()
    reader = EmbeddingStore(store.path)
    check(reader, range(3), FINGERPRINT)
    prune_store(store, fingerprints=[digest_of(OTHER)])
    look, stale = reader.look, list(reader._files.values())
    # As if the prune came between the reader's look at the folder and its reading.
    looks = iter([lambda: stale])
    monkeypatch.setattr(reader, "look", lambda: next(looks, look)())
    check(reader, range(3), FINGERPRINT)


def test_a_look_during_a_prune_sees_what_survives(store, monkeypatch):
    append_other(store, *range(5))
    append(store, 0, 1, 2)
    store.compact()
    looks = EmbeddingStore._parts

    def look_and_prune(reader):
        found = looks(reader)
        monkeypatch.setattr(EmbeddingStore, "_parts", looks)
        # Between a reader's look at the parts and its look for the main file.
        prune_store(EmbeddingStore(store.path), fingerprints=[digest_of(OTHER)])
        return found

    monkeypatch.setattr(EmbeddingStore, "_parts", look_and_prune)
    check(EmbeddingStore(store.path), range(3), FINGERPRINT)


def test_a_full_disk_costs_nothing(store, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    append(store, 0)
    append_other(store, 0)
    store.compact()
    before = snapshot(store)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match=r"cannot prune \(.*No space.*\); what was stored is intact"):
        prune_store(store, fingerprints=[digest_of(OTHER)])
    assert snapshot(store) == before


def test_prune_waits_for_a_compaction(store):
    append(store, 0)
    with FileLock(f"{store.path}.lock"):
        with pytest.raises(StoreError, match="while another process compacts or changes the store"):
            prune_store(store, fingerprints=[FINGERPRINT], timeout=0)
        assert prune_store(store, fingerprints=[FINGERPRINT], dry_run=True)["dropped"].tolist() == [1]
    assert knows(store, 0) == [True]


# Beside one another


@pytest.mark.slow
def test_readers_beside_pruning_and_compaction_read_what_was_stored(store, seconds=4):
    append(store, *range(200))
    commands = [
        [sys.executable, "-m", "tests.features.store.upkeepers", work, store.path, str(seconds)]
        for work in WORKERS
    ]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        for command in commands
    ]
    outcomes = [(*process.communicate(), process.returncode) for process in processes]
    assert [code for *_, code in outcomes] == [0] * len(WORKERS), outcomes
    assert all(int(output) > 3 for output, *_ in outcomes)
    check(store, range(200), FINGERPRINT)
    assert len(verify_store(store).damaged) == 0


# Being killed


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")


def killed_copies(work, argument, store, copies=13):
    """Let processes work on copies of a store, killed after growing shares of the time that it takes; give the copies."""
    folders = [store.path.parent.with_name(f"copy{number}") for number in range(copies)]
    for folder in folders:
        shutil.copytree(store.path.parent, folder)
    paths = [folder / store.path.name for folder in folders]
    command = [sys.executable, "-m", "tests.features.store.upkeepers", work, str(argument), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    killed = json.loads(done.stdout)
    assert sum(killed) > 2  # the others had ended
    return [EmbeddingStore(path) for path in paths]


@needs_fork
@pytest.mark.slow
def test_a_merge_killed_at_any_moment_loses_nothing_and_goes_on(tmp_path, other):
    append(other, *range(3000))
    store = EmbeddingStore(tmp_path / "mine" / "embeddings.h5")
    append(store, 5000)
    store.compact()
    append(store, 5001)
    for copy in killed_copies("merge", other.path, store):
        check(copy, [5000, 5001], FINGERPRINT)
        merge_stores(copy, [other])
        check(copy, [*range(3000), 5000, 5001], FINGERPRINT)
        assert len(verify_store(copy).damaged) == 0
    check(other, range(3000), FINGERPRINT)


@needs_fork
@pytest.mark.slow
def test_a_prune_killed_at_any_moment_loses_nothing_that_was_to_stay(tmp_path):
    store = EmbeddingStore(tmp_path / "mine" / "embeddings.h5")
    append(store, *range(2000))
    append_other(store, *range(2000))
    store.compact()
    for number in range(2000, 2003):
        append(store, number)
        append_other(store, number)
    outcomes = set()
    for copy in killed_copies("prune", digest_of(OTHER), store):
        check(copy, range(2003), FINGERPRINT)
        outcomes.add(len(copy.groups()))
        if len(copy.groups()) == 2:
            prune_store(copy, fingerprints=[digest_of(OTHER)])
        check(copy, range(2003), FINGERPRINT)
        assert copy.groups() == [("audio", FINGERPRINT)]
        assert len(verify_store(copy).damaged) == 0
    assert outcomes == {1, 2}
