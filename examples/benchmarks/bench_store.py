"""The embedding store against a bare h5py slice, a `.npy` per clip and joblib.Memory, and at a million items.

    python examples/benchmarks/bench_store.py [--items 1000000] [--appends 10000]

Prints ratios and times of one run; the median of five where a step is short.

Measured on 2 CPU cores that others used, too, one run with ``--items 500000 --appends 3000``: reading X takes 7.1 ms, 2.35 times
one h5py slice of the same bytes (2.81 shuffled), 1/25 of a `.npy` per clip and 1/72 of joblib.Memory. Digests cost 0.9 ms of that;
a file of format 1, with Fletcher-32, takes 14.0 ms. 3,000 batches appended one by one leave 55 files (10,000 leave 49), which open in
0.09 s and are compacted in 0.11 s. Half a million items open in 0.06 s, membership of all takes 0.35 s, appending 1.11 times what it
takes to an empty store; streaming peaks at 223 MiB for 50,000 items and 261 MiB for 500,000, the difference being the list of keys.

What digests cost depends on how a read is meant. `ClipEmbedder`, the only reader of the library, also looks whether each file is still
what was embedded, and pools: on a loaded machine it took 0.36 s for the 2,748 clips. Digests cost 2 ms of a bare read of as many vectors
there, 0.6 % of that; the difference itself drowned in noise (-1.1 %). Of a bare `EmbeddingStore.read` of bytes that memory already holds they are 7-9 % on an idle machine and 14-20 % beside others that
compete for memory; of a file that comes from the disk 3-7.5 %. A digest of every byte is a second pass over what was copied, so that
a bare copy has no room for it: XXH3 runs at 15-31 GB/s here, copying at 8. Smaller pieces, reading past HDF5 and a second
thread made no read faster.
"""

import argparse
import hashlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import h5py
import joblib
import numpy as np
import pandas as pd
from scipy.io import wavfile

from musiceval_sk import ClipEmbedder, EmbeddingStore, Encoder
from musiceval_sk.features.encoders.base import digest_of
from musiceval_sk.features.store.file import Contents, Group, as_keys, write_store_file

CLIPS, WINDOWS, DIM = 2748, 3, 512
DESCRIPTION = {"name": "benchmark", "dim": DIM}
GROUP = ("audio", digest_of(DESCRIPTION))


def median_seconds(function, repeats=5):
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def make_keys(count):
    return [hashlib.sha256(str(i).encode()).digest() for i in range(count)]


def warm_read(folder):
    """X of MusicEval's size, from the store and from what others do."""
    rng = np.random.default_rng(0)
    keys = make_keys(CLIPS)
    items = [rng.normal(size=(WINDOWS, DIM)).astype(np.float32) for _ in keys]
    store = EmbeddingStore(folder / "warm.h5")
    for begin in range(0, CLIPS, 16):
        store.append("audio", DESCRIPTION, keys[begin : begin + 16], items[begin : begin + 16])
    store.compact()
    before = write_first_format(folder / "before.h5", keys, items)
    for i, item in enumerate(items):
        np.save(folder / f"{i}.npy", item)
    memory = joblib.Memory(folder / "joblib", verbose=0)
    recall = memory.cache(lambda i: items[i])
    for i in range(0, CLIPS, 10):
        recall(i)
    order = rng.permutation(CLIPS)
    shuffled = [keys[i] for i in order]

    def h5py_slice():
        with h5py.File(store.path) as file:
            return file["/".join(GROUP)]["vectors"][:]

    def ours():
        return EmbeddingStore(store.path).read("audio", GROUP[1], keys)

    slice_ = median_seconds(h5py_slice)
    with mock.patch.object(Group, "intact", lambda *_: np.ones(1, bool)):
        unchecked = median_seconds(ours)
    ours = median_seconds(ours)
    first = median_seconds(lambda: EmbeddingStore(before).read("audio", GROUP[1], keys))
    mixed = median_seconds(lambda: EmbeddingStore(store.path).read("audio", GROUP[1], shuffled))
    npy = median_seconds(lambda: [np.load(folder / f"{i}.npy") for i in range(CLIPS)])
    recalled = 10 * median_seconds(lambda: [recall(i) for i in range(0, CLIPS, 10)])
    print(f"{CLIPS} clips x {WINDOWS} windows x {DIM}, opened anew each time, file cache warm")
    print(f"  h5py slice of the same bytes {slice_ * 1e3:8.1f} ms")
    print(f"  store, in order              {ours * 1e3:8.1f} ms = {ours / slice_:.2f} x the slice")
    print(
        f"  the same, digests unchecked  {unchecked * 1e3:8.1f} ms; they cost {ours / unchecked - 1:.0%} of it"
    )
    print(f"  store of format 1, Fletcher  {first * 1e3:8.1f} ms; format 2 takes {ours / first:.2f} x that")
    print(f"  store, shuffled              {mixed * 1e3:8.1f} ms = {mixed / slice_:.2f} x the slice")
    print(f"  a .npy per clip              {npy * 1e3:8.1f} ms; the store takes 1/{npy / ours:.0f} of it")
    print(
        f"  joblib.Memory per clip       {recalled * 1e3:8.1f} ms (from a tenth); the store takes 1/{recalled / ours:.0f}"
    )


def as_features(folder):
    """The same read as all of the library does it: `ClipEmbedder.transform` of clips that are all stored."""
    rows, rng = [], np.random.default_rng(0)
    for i in range(CLIPS):
        path = folder / f"{i}.wav"
        wavfile.write(path, 1000, rng.integers(0, 255, 1000 * WINDOWS, dtype=np.uint8))
        rows.append((f"{i}", str(path), ""))
    clips = pd.DataFrame(rows, columns=["clip_id", "path", "prompt"]).set_index("clip_id")
    embedder = ClipEmbedder(Seconds(), cache=folder / "features.h5", modality="audio").fit(clips)
    embedder.transform(clips)

    def seconds():
        started = time.perf_counter()
        embedder.transform(clips)
        return time.perf_counter() - started

    pairs = []
    for _ in range(30):
        with mock.patch.object(Group, "intact", lambda *_: np.ones(1, bool)):
            without = seconds()
        pairs.append((seconds(), without))
    checked, unchecked = np.median(pairs, axis=0)
    cost = np.median([a - b for a, b in pairs]) / unchecked
    print(f"ClipEmbedder.transform of the same {CLIPS} clips, all stored")
    print(f"  as it is                     {checked * 1e3:8.1f} ms")
    print(f"  digests unchecked            {unchecked * 1e3:8.1f} ms; they cost {cost:.1%} of it")


class Seconds(Encoder):
    """Vectors of CLAP's length, one a second."""

    name, sample_rate, window_seconds, hop_seconds, audio_dim = "seconds", 1000, 1.0, 1.0, DIM

    def describe(self, modality):
        return {"name": self.name, "modality": modality}

    def encode_audio(self, windows):
        return windows[:, :DIM].astype(np.float32)

    def encode_text(self, prompts):
        raise NotImplementedError("nothing of these clips but their sound is read")


def write_first_format(path, keys, items):
    """A store as version 1 of the format had it: chunks of 256 rows with Fletcher-32."""
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        file.attrs["format"], file.attrs["version"] = np.bytes_("musiceval-embeddings"), 1
        group = file.create_group("/".join(GROUP))
        group.attrs["encoder"] = np.bytes_(json.dumps(DESCRIPTION))
        digests = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32)
        offsets = np.cumsum([0, *map(len, items)])
        for name, data in (("keys", digests), ("offsets", offsets), ("vectors", np.concatenate(items))):
            group.create_dataset(name, data=data, chunks=(256, *data.shape[1:]), fletcher32=True)
    return path


def many_parts(folder, appends):
    """A store that many small batches were appended to: opening, appending, compacting."""
    store = EmbeddingStore(folder / "parts.h5")
    seconds = []
    for key in make_keys(appends):
        started = time.perf_counter()
        store.append("audio", DESCRIPTION, [key], [np.ones((WINDOWS, DIM))])
        seconds.append(time.perf_counter() - started)
    n_parts = len(store.files())
    opening = median_seconds(lambda: EmbeddingStore(store.path).groups())
    started = time.perf_counter()
    store.compact()
    print(f"{appends} batches of one clip appended: {n_parts} files")
    print(
        f"  append            {statistics.median(seconds) * 1e3:.1f} ms, mean with foldings {statistics.mean(seconds) * 1e3:.1f} ms"
    )
    print(f"  open and index    {opening:.3f} s")
    print(f"  compact           {time.perf_counter() - started:.2f} s")


def million(folder, count):
    """A made store of many items: opening, membership, appending, streaming."""
    keys = make_keys(count)
    rows = 1 << 14

    def blocks():
        for begin in range(0, count, rows):
            size = min(rows, count - begin)
            vectors = np.full((size, DIM), begin, dtype=np.float32)
            yield vectors

    path = folder / "large.h5"
    counts = np.ones(count, dtype=np.int64)
    write_store_file(path, {GROUP: Contents(DESCRIPTION, as_keys(keys), counts, DIM, blocks())})
    print(f"{count} items x {DIM}, {path.stat().st_size / 1e9:.2f} GB")

    def append(store, i):
        store.append(
            "audio", DESCRIPTION, [hashlib.sha256(f"new {i}".encode()).digest()] * 1, [np.ones((1, DIM))]
        )

    small, large = EmbeddingStore(folder / "small.h5"), EmbeddingStore(path)
    to_small = median_seconds(lambda: append(small, time.perf_counter()), 15)
    to_large = median_seconds(lambda: append(large, time.perf_counter()), 15)
    started = time.perf_counter()
    store = EmbeddingStore(path)
    groups = store.groups()
    opened = time.perf_counter()
    there = store.contains("audio", GROUP[1], keys)
    asked = time.perf_counter()
    assert there.all() and len(groups) == 1
    print(f"  open and index    {opened - started:.2f} s")
    print(f"  membership of all {asked - opened:.2f} s")
    print(
        f"  append            {to_large * 1e3:.1f} ms, {to_large / to_small:.2f} x appending to an empty store"
    )
    for share in (10, 1):
        code = STREAM.format(path=str(path), fingerprint=GROUP[1], count=count // share)
        peak, seconds = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
        print(f"  stream {count // share:8d}   {float(seconds):.1f} s, peak {float(peak) / 1024:.0f} MiB")


STREAM = """
import hashlib, time
from musiceval_sk import EmbeddingStore
store, started, total = EmbeddingStore({path!r}), time.perf_counter(), 0.0
keys = [hashlib.sha256(str(i).encode()).digest() for i in range({count})]
for vectors, offsets in store.read_batches("audio", {fingerprint!r}, keys):
    total += float(vectors[0, 0])
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak, time.perf_counter() - started)
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--appends", type=int, default=10_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        warm_read(Path(made))
        as_features(Path(made))
        many_parts(Path(made), arguments.appends)
        million(Path(made), arguments.items)
    print(f"peak of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
