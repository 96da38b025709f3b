"""The memory of file digests: it must save work and never be believed against the file."""

import hashlib
import io
import os

import numpy as np
import pytest

from musiceval_sk.exceptions import AudioError
from musiceval_sk.features import digests
from musiceval_sk.features.digests import FileIndex

LONG_AGO = 1_000_000_000


@pytest.fixture
def sound(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"sound")
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


@pytest.fixture
def index(tmp_path, sound, monkeypatch):
    monkeypatch.setattr(digests, "_SETTLED_NANOSECONDS", 0)
    index = FileIndex(tmp_path / "files.npy")
    assert index.digests([sound]) == [hashlib.sha256(b"sound").digest()]
    index.save()
    return tmp_path / "files.npy"


def refuse(path):
    raise AssertionError(f"{path} was hashed")


def test_an_unchanged_file_is_not_hashed_again(index, sound, monkeypatch):
    monkeypatch.setattr(digests, "hash_file", refuse)
    assert FileIndex(index).digests([sound]) == [hashlib.sha256(b"sound").digest()]


def test_a_link_to_it_is_the_same_file(index, sound, tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "hash_file", refuse)
    (tmp_path / "link.wav").symlink_to(sound)
    assert FileIndex(index).digests([tmp_path / "link.wav"]) == [hashlib.sha256(b"sound").digest()]


@pytest.mark.parametrize(
    "content, time", [(b"Sound", LONG_AGO + 1), (b"sounds", LONG_AGO)], ids=["time", "size"]
)
def test_another_time_or_size_is_hashed_again(index, sound, content, time):
    sound.write_bytes(content)
    os.utime(sound, (time, time))
    assert FileIndex(index).digests([sound]) == [hashlib.sha256(content).digest()]


def test_a_change_that_kept_size_and_time_of_content_is_found(index, sound):
    sound.write_bytes(b"SOUND")
    os.utime(sound, (LONG_AGO, LONG_AGO))
    assert FileIndex(index).digests([sound]) == [hashlib.sha256(b"SOUND").digest()]


def test_verify_does_not_believe_the_index(index, sound):
    entries = np.load(index)
    entries["digest"] = np.void(bytes(32))
    np.save(index, entries)
    assert FileIndex(index).digests([sound]) == [bytes(32)]
    assert FileIndex(index, verify=True).digests([sound]) == [hashlib.sha256(b"sound").digest()]


def test_a_file_written_just_now_is_not_remembered(tmp_path, monkeypatch):
    # It could be written again within the same tick of the clock.
    path = tmp_path / "new.wav"
    path.write_bytes(b"new")
    index = FileIndex(tmp_path / "files.npy")
    index.digests([path])
    index.save()
    assert not (tmp_path / "files.npy").exists()


OF_FOUR_SIZES = io.BytesIO()
np.save(OF_FOUR_SIZES, np.zeros(1, [("path", "V32"), ("size", "i8", 4), *digests._ENTRY.descr[2:]]))


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x93NUMPY\x01\x00", OF_FOUR_SIZES.getvalue()])
def test_a_damaged_index_costs_only_time(index, sound, content):
    index.write_bytes(content)
    found = FileIndex(index)
    assert found.digests([sound]) == [hashlib.sha256(b"sound").digest()]
    found.save()
    assert len(np.load(index)) == 1


def test_a_file_that_cannot_be_read_is_an_error_in_words(tmp_path):
    (error,) = FileIndex(tmp_path / "files.npy").digests([tmp_path / "none.wav"])
    assert isinstance(error, AudioError)
    assert "none.wav: cannot be read (No such file or directory)" in str(error)


def test_what_is_no_file_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    paths = [tmp_path / "pipe.wav", "/dev/zero", "a\0.wav", "\ud800.wav"]
    errors = FileIndex(tmp_path / "files.npy").digests(paths)
    for error, words in zip(
        errors, ("pipe, not", "device, not", "embedded null", "not allowed"), strict=True
    ):
        assert isinstance(error, AudioError)
        assert words in str(error)
        str(error).encode()


def test_saving_by_growth_waits_until_there_is_enough_that_is_new(tmp_path, monkeypatch):
    """A tenth more than is written is too little for a quarter; a quarter and one more are enough."""
    monkeypatch.setattr(digests, "_SETTLED_NANOSECONDS", -1)
    paths = [tmp_path / f"{i}.wav" for i in range(20)]
    for path in paths:
        path.write_bytes(path.name.encode())
    index, kept = FileIndex(tmp_path / "files.npy"), tmp_path / "files.npy"
    index.digests(paths[:10])
    index.save(growth=0.25)
    assert len(np.load(kept)) == 10  # nothing was written before: any one is enough
    for end, written in ((12, 10), (13, 13), (16, 13)):
        index.digests(paths[:end])
        index.save(growth=0.25)
        assert len(np.load(kept)) == written
    index.save()
    assert len(np.load(kept)) == 16
