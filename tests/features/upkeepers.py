"""Processes that keep stores in order until they are killed; run as ``python -m tests.features.upkeepers``."""

import json
import os
import signal
import sys
import time

import filelock  # noqa: F401  (so that a kill meets the work and not an import)

from musiceval_sk import EmbeddingStore, merge_stores, prune_store
from musiceval_sk.features import _store_folder


def merge(path, other):
    _store_folder._COPY_BYTES = 16 * 500  # a part for every 500 windows of four numbers
    merge_stores(EmbeddingStore(path), [EmbeddingStore(other)])


def prune(path, fingerprint):
    prune_store(EmbeddingStore(path), fingerprints=[fingerprint])


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
    work = {"merge": merge, "prune": prune}[sys.argv[1]]
    print(json.dumps(list(kill_in_the_middle(work, sys.argv[2], sys.argv[3:]))))
