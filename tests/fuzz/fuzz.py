"""Fuzz the targets, guided by coverage: an hour on one core where the short run of the tests takes seconds.

Needs atheris (``pip install atheris``, CPython up to 3.13 on Linux). Usage, from the repository's root::

    python -m tests.fuzz.fuzz ratings clips --inputs 200000 --folder /tmp/fuzz

One process after another, each with a target, all of them where none is named. What a reader must not do is appended to ``finds.txt`` in the folder, once a place of the code, with the
input beside it as ``find-<digest>``; a line a thousand inputs goes to ``log.txt``. Inputs that reached something new stay in
``corpus/`` and are where the next run begins. A fault found becomes a case of ``test_fuzz.py``.
"""

import argparse
import gc
import hashlib
import os
import random
import sys
import time
import traceback
from pathlib import Path

MOST_SECONDS = 1.0


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", help="names of the table of targets")
    parser.add_argument("--inputs", type=int, default=200_000, help="for each target")
    parser.add_argument(
        "--seconds", type=int, default=0, help="of the processor at most, for each target; 0 for any"
    )
    parser.add_argument("--folder", type=Path, default=Path("/tmp/fuzz"))
    given = parser.parse_args()
    import atheris

    with atheris.instrument_imports(include=["musiceval_sk"]):
        from tests.fuzz.targets import TARGETS

        for name in given.targets or TARGETS:
            child = os.fork()
            if not child:
                fuzz(name, given)
            os.waitpid(child, 0)


def fuzz(name, given):
    """Feed one target; never returns."""
    import atheris

    from tests.fuzz.mutate import mutated
    from tests.fuzz.targets import judge, made

    folder = given.folder / name
    target = made(name, folder / "file")
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    finds, counts, begin = set(), {}, time.process_time()

    def test_one_input(data):
        started = time.process_time()
        try:
            outcome = judge(target, data)
            if time.process_time() - started > MOST_SECONDS:
                raise TimeoutError(f"{time.process_time() - started:.1f} s")
        except BaseException as error:
            outcome = "find"
            keep(error, data)
        counts[outcome] = counts.get(outcome, 0) + 1
        n, seconds = sum(counts.values()), time.process_time() - begin
        is_over = given.seconds and seconds > given.seconds
        if n % 1000 == 0 or is_over:
            gc.freeze()  # the fuzzer keeps some eighty objects an input, and looking through them would count as an input's second
            with (folder / "log.txt").open("a") as log:
                log.write(f"{n} inputs in {seconds:.0f} s: {counts}, {len(finds)} places\n")
        if is_over:
            os._exit(0)

    def keep(error, data):
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "musiceval_sk/" in frame.filename] or frames
        place = type(error).__name__, ours[-1].filename, ours[-1].lineno
        if place not in finds:
            finds.add(place)
            name = f"find-{hashlib.sha256(data).hexdigest()[:12]}"
            (folder / name).write_bytes(data)
            with (folder / "finds.txt").open("a") as file:
                file.write(f"{name} {place}: {str(error)[:300]}\n")

    def mutate(data, size, seed):
        rng = random.Random(seed)
        if rng.random() < 0.3:
            return atheris.Mutate(data, size)
        return mutated(data, rng, target.seeds)[:size]

    options = [
        f"-runs={given.inputs}",
        "-max_len=200000",
        "-timeout=600",
        "-rss_limit_mb=8192",
        "-print_final_stats=1",
        f"-artifact_prefix={folder}/",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], test_one_input, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
