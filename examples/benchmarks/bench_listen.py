"""The listening test's server under load: 200 raters at once on one core, each answer synced to disk before it is acknowledged.

    python examples/benchmarks/bench_listen.py [--raters 200] [--answers 30]

Starts `musiceval listen serve` on a core of its own (the last one), and raters on another, each with a connection of its own to it. Two loads:
``steady``, every rater answers once a second, not in step, and ``burst``, all press at the same moment, wait for the last, and press again. Prints
the times from sending an answer to its acknowledgement, and counts answers in the file, after SIGKILL, against those that were acknowledged.

Measured on 30 November 2026 with 200 raters on a machine of 2 cores, three runs of 3,000 answers a load, its processes before all others; none was lost in any run. Steady, at 187
answers a second: half in 8 ms, 99 % in 21, 21 and 36 ms. In a burst: half in 43 to 71 ms, 99 % in 118, 145 and 168 ms, the longest 169 ms; .25 to .41 ms of the core an answer.
With h11 and asyncio in the place of httptools and uvloop 99 % of a burst took 180 to 214 ms. Where a dozen other programs hold the cores, seconds.
"""

import argparse
import asyncio
import csv
import json
import os
import platform
import random
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from musiceval_sk.listening import build_page, design_test


def build(folder, n_raters, n_answers):
    """Make a design in which every rater answers as often as asked, and its page."""
    soundfile.write(folder / "tone.wav", np.zeros(8000), 8000)
    names = [f"C{i:03d}" for i in range(n_answers)]
    clips = pd.DataFrame({"path": str(folder / "tone.wav"), "prompt": names, "system": "S"}, index=names)
    test = design_test(clips, n_raters=n_raters, per_clip=n_raters, batch_size=n_answers, n_duplicates=0)
    build_page(test, folder / "test")


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def serve(folder, port):
    command = [
        sys.executable,
        "-c",
        "from musiceval_sk.cli.app import main; main()",
        "listen",
        "serve",
        "test",
    ]
    process = subprocess.Popen(
        [*command, "--answers", "answers.sqlite", "--port", str(port)], cwd=folder, stdout=subprocess.DEVNULL
    )
    os.sched_setaffinity(process.pid, {max(os.sched_getaffinity(0))})
    for _ in range(1200):
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.1)
    raise TimeoutError("the server does not answer")


class Rater:
    """One browser: a connection, a token, and the trials in their order. Bare HTTP, so that the load costs little beside the server."""

    def __init__(self, port, rater, token, batches):
        self.port, self.rater, self.token = port, rater, token
        places = [
            (batch["batch"], position, trial["trial"])
            for batch in batches
            for position, trial in enumerate(batch["trials"], 1)
        ]
        self.places = iter(places)

    async def connect(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)

    async def headers_after(self, request):
        self.writer.write(request)
        return (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()

    async def answer(self):
        """Send the next answer; give the seconds until it was acknowledged."""
        batch, position, trial = next(self.places)
        scores = {"impression": 1 + position % 5, "alignment": 1 + batch % 5}
        times = {"seconds": 12.3, "heard": 0.95, "order": position, "answered_at": "2026-11-30T03:50:00Z"}
        place = {"rater": self.rater, "batch": batch, "position": position, "trial": trial}
        body = json.dumps([place | {"scores": scores} | times]).encode()
        head = f"POST /api/answers HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.token}\r\n"
        request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        started = time.perf_counter()
        try:
            headers = await self.headers_after(request)
        except (asyncio.IncompleteReadError, ConnectionError):  # closed while idle; the page sends again, too
            await self.connect()
            headers = await self.headers_after(request)
        length = int(headers.partition("content-length: ")[2].partition("\r\n")[0])
        reply = json.loads(await self.reader.readexactly(length))
        took = time.perf_counter() - started
        assert " 200 " in headers and reply["stored"] == [[batch, position]], reply
        return took


async def steady(raters, n_answers):
    async def work(rater):
        await asyncio.sleep(random.random())
        taken = []
        for _ in range(n_answers):
            taken.append(await rater.answer())
            await asyncio.sleep(max(0, 1 - taken[-1]))
        return taken

    return np.concatenate(await asyncio.gather(*map(work, raters)))


async def burst(raters, n_answers):
    return np.concatenate(
        [await asyncio.gather(*(rater.answer() for rater in raters)) for _ in range(n_answers)]
    )


def processor_seconds(process):
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


async def load(raters, n_answers, server):
    await asyncio.gather(*(rater.connect() for rater in raters))
    for name, way in (("steady", steady), ("burst", burst)):
        started, before = time.perf_counter(), processor_seconds(server)
        taken = 1000 * await way(raters, n_answers // 2)
        cost = 1000 * (processor_seconds(server) - before) / len(taken)
        rate = len(taken) / (time.perf_counter() - started)
        quantiles = ", ".join(
            f"{share} % in {np.quantile(taken, share / 100):.0f} ms" for share in (50, 95, 99)
        )
        late = (taken > 200).mean()
        print(f"{name}: {len(taken)} answers, {rate:.0f} a second, {cost:.2f} ms of the core each")
        print(f"  {quantiles}, longest {taken.max():.0f} ms; {late:.2%} above 200 ms")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--raters", type=int, default=200)
    parser.add_argument("--answers", type=int, default=30, help="answers a rater")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder, options.raters, options.answers)
        port = free_port()
        server = serve(folder, port)
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        try:
            with (folder / "answers.links.csv").open() as file:
                tokens = {row["rater"]: row["link"].partition("token=")[2] for row in csv.DictReader(file)}
            batches = json.loads((folder / "test" / "test.json").read_text())["raters"]
            raters = [Rater(port, rater, tokens[rater], own) for rater, own in batches.items()]
            asyncio.run(load(raters, options.answers, server.pid))
        finally:
            server.kill()
            server.wait()
        with sqlite3.connect(folder / "answers.sqlite") as connection:
            (count,) = connection.execute("SELECT COUNT(*) FROM answers").fetchone()
        sent = options.raters * 2 * (options.answers // 2)
        print(
            f"in the file after SIGKILL: {count} of {sent} acknowledged; {sent - count} lost; {platform.machine()}, one core"
        )


if __name__ == "__main__":
    main()
