"""Processes that keep stores in order until they are killed; run as ``python -m tests.features.store.upkeepers``."""

import json
import os
import signal
import sys
import time

import filelock  # noqa: F401  (so that a kill meets the work and not an import)
import numpy as np

from musiceval_sk import EmbeddingStore
from musiceval_sk.features.encoders.base import digest_of
from musiceval_sk.features.store import maintain
from musiceval_sk.features.store.maintain import merge_stores, prune_store
from tests.features.store.writers import DESCRIPTION, append, check, key_of


def merge(path, other):
    maintain._COPY_BYTES = 16 * 500  # a part for every 500 windows of four numbers
    merge_stores(EmbeddingStore(path), [EmbeddingStore(other)])


def prune(path, fingerprint):
    prune_store(EmbeddingStore(path), fingerprints=[fingerprint])


def disturb(path, seconds):
    """Append, prune and compact without a pause; items 0 to 199 stay whatever happens. Give the number of rounds."""
    store, end, rounds = EmbeddingStore(path), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        other = {"name": f"other {os.getpid()} {rounds}"}
        store.append(
            "audio", other, [key_of(n) for n in range(rounds % 50 + 1)], [np.ones((2, 3))] * (rounds % 50 + 1)
        )
        append(store, 1000 + rounds)
        if rounds % 3:
            store.compact()
        prune_store(store, fingerprints=[digest_of(other)])
        rounds += 1
    return rounds


def read(path, seconds):
    """Read without a pause, each time with a new look; give the number of reads, all of which were right."""
    end, reads = time.monotonic() + seconds, 0
    store = EmbeddingStore(path)
    while time.monotonic() < end:
        check(store if reads % 2 else EmbeddingStore(path), range(reads % 7, 200, 3), digest_of(DESCRIPTION))
        reads += 1
    return reads


def kill_in_the_middle(work, argument, paths):
    """Let a process work on the first store, others on the rest, and kill those after more and more of its time."""
    started = time.perf_counter()
    work(paths[0], argument)
    whole = time.perf_counter() - started
    for number, path in enumerate(paths[1:]):
        child = os.fork()
        if not child:
            work(path, argument)
            os._exit(0)
        time.sleep(whole * number / len(paths))
        os.kill(child, signal.SIGKILL)
        yield os.WIFSIGNALED(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    if sys.argv[1] in ("disturb", "read"):
        print({"disturb": disturb, "read": read}[sys.argv[1]](sys.argv[2], float(sys.argv[3])))
    else:
        work = {"merge": merge, "prune": prune}[sys.argv[1]]
        print(json.dumps(list(kill_in_the_middle(work, sys.argv[2], sys.argv[3:]))))
