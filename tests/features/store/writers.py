"""Processes that write to a store while a test looks on; run as ``python -m tests.features.store.writers``."""

import hashlib
import json
import os
import random
import signal
import sys
import time

import filelock  # noqa: F401  (so that no child spends its short life on importing it)
import numpy as np

from musiceval_sk import EmbeddingStore

DESCRIPTION = {"name": "toy"}


def key_of(number):
    return hashlib.sha256(str(number).encode()).digest()


def vectors_of(number):
    """One to three windows of four numbers, different for each item."""
    windows = np.arange(1 + number % 3)[:, np.newaxis]
    return (100 * number + 10 * windows + np.arange(4)).astype(np.float32)


def append(store, *numbers):
    keys, items = zip(*[(key_of(number), vectors_of(number)) for number in numbers], strict=True)
    return store.append("audio", DESCRIPTION, keys, items)


def check(store, numbers, fingerprint):
    """Hold what the store returns against what was put in."""
    vectors, offsets = store.read("audio", fingerprint, [key_of(number) for number in numbers])
    expected = [vectors_of(number) for number in numbers]
    np.testing.assert_array_equal(offsets, np.cumsum([0, *map(len, expected)]))
    np.testing.assert_array_equal(vectors, np.concatenate(expected))


def write(store, begin, end, report):
    """Append one item after another, report each that is stored, and compact every now and then."""
    for number in range(begin, end):
        if number % 3 == 0:
            store.compact()
        append(store, number)
        report(number)


def kill_writers(path, rounds, fingerprint):
    """Start a writer, kill it amid its n-th item, again and again; each first checks what the earlier ones reported."""
    stored = []
    luck = random.Random(0)
    for _ in range(rounds):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            _write_until_killed(path, stored, writing, fingerprint)
        os.close(writing)
        with open(reading) as lines:
            if lines.readline() != "ready\n":
                sys.exit(f"after {len(stored)} items the store was damaged")
            stored += [int(lines.readline()) for _ in range(luck.randrange(5))]
            time.sleep(luck.uniform(0, 0.02))
            os.kill(child, signal.SIGKILL)
            stored += [int(line) for line in lines.read().splitlines()]
        os.waitpid(child, 0)
    print(json.dumps(stored))


def _write_until_killed(path, stored, pipe, fingerprint):
    store = EmbeddingStore(path)
    try:
        if stored:
            check(store, stored, fingerprint)
        os.write(pipe, b"ready\n")
        begin = max(stored, default=-1) + 1
        write(store, begin, begin + 10_000, lambda number: os.write(pipe, b"%d\n" % number))
    finally:
        os._exit(1)


if __name__ == "__main__":
    if sys.argv[1] == "kill":
        kill_writers(sys.argv[2], int(sys.argv[3]), sys.argv[4])
    else:
        write(
            EmbeddingStore(sys.argv[2]),
            int(sys.argv[3]),
            int(sys.argv[4]),
            lambda number: print(number, flush=True),
        )
