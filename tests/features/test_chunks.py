"""Chunks read and checked here against HDF5's own reading and its own checksums."""

import h5py
import numpy as np
import pytest

from musiceval_sk.features import _chunks
from musiceval_sk.features._chunks import fletcher32, read_rows


@pytest.fixture
def file(tmp_path, rng):
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        content = rng.normal(size=(1000, 6)).astype(np.float32)
        file.create_dataset("rows", data=content, chunks=(64, 6), fletcher32=True)
        file.create_dataset("zeros", data=np.zeros((100, 6), np.float32), chunks=(64, 6), fletcher32=True)
    with h5py.File(tmp_path / "rows.h5") as file:
        yield file


ROWS = {
    "all": np.arange(1000),
    "a run across chunks": np.arange(60, 200),
    "scattered": np.array([0, 1, 63, 64, 500, 501, 999]),
    "repeated": np.array([5, 5, 5, 64, 64]),
    "one": np.array([999]),
}


@pytest.mark.parametrize("at_once", [64 * 6 * 4, 1 << 22], ids=["many tasks", "one task"])
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_reads_what_hdf5_reads(file, rows, at_once, rng, monkeypatch):
    monkeypatch.setattr(_chunks, "_BYTES_AT_ONCE", at_once)
    places = rng.permutation(len(rows) + 3)[: len(rows)]
    out = np.full((len(rows) + 3, 6), -1, dtype=np.float32)
    read_rows(file["rows"], rows, out, places)
    np.testing.assert_array_equal(out[places], file["rows"][()][rows])
    assert (np.delete(out, places, axis=0) == -1).all()


def test_zeros_have_a_checksum_of_zero(file):
    out = np.ones((100, 6), dtype=np.float32)
    read_rows(file["zeros"], np.arange(100), out, np.arange(100))
    assert not out.any()


@pytest.mark.parametrize("shape", [(1, 5), (3, 4), (12, 1)])
def test_checksum_is_fletchers(shape, rng):
    data = rng.integers(0, 1 << 16, size=(2, *shape)).astype("<u2")
    for words, found in zip(data, fletcher32(data), strict=True):
        simple = running = 0
        for word in words.ravel().byteswap():  # big-endian words, as the definition reads bytes
            simple = (simple + int(word)) % 65_535
            running = (running + simple) % 65_535
        assert tuple(found) == (simple, running)


def test_every_flipped_bit_of_a_chunk_is_noticed(tmp_path, rng):
    path = tmp_path / "rows.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("rows", data=rng.normal(size=(4, 2)).astype("f4"), chunks=(4, 2), fletcher32=True)
        info = file["rows"].id.get_chunk_info_by_coord((0, 0))
    content = path.read_bytes()
    for bit in range(8 * info.size):
        broken = bytearray(content)
        broken[info.byte_offset + bit // 8] ^= 1 << bit % 8
        path.write_bytes(broken)
        with h5py.File(path) as file, pytest.raises(OSError, match="checksum of the chunk at byte"):
            read_rows(file["rows"], np.arange(4), np.empty((4, 2), "f4"), np.arange(4))


def test_refuses_chunks_that_were_filtered_otherwise(tmp_path):
    with h5py.File(tmp_path / "packed.h5", "w") as file:
        file.create_dataset(
            "rows", data=np.ones((4, 2), "f4"), chunks=(4, 2), compression="gzip", fletcher32=True
        )
        with pytest.raises(OSError, match=r"a chunk of \d+ bytes, expected 32 and a checksum"):
            read_rows(file["rows"], np.arange(4), np.empty((4, 2), "f4"), np.arange(4))
