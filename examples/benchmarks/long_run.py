"""Whether memory, open files, threads or processes grow, hour after hour: extract, study and predict over a growing store, beside a listening server.

    python examples/benchmarks/long_run.py [--minutes 60] [--out long_run.csv]

Each round makes 24 new clips of a second, embeds them into one store, predicts all clips of the round and, every tenth round, runs a study of
360 clips. A listening server takes 200 answers a round from one rater after another. A line a round goes to ``--out``: the memory
(MiB), open files, threads and children of this process and of the server. What is printed is the median of the second tenth of the rounds
and of the last tenth: the first rounds load what all need.

Measured on 30 November 2026 beside other programs on a machine of 2 cores. 62 minutes, 106 rounds, 2,544 new clips: 634 MiB in round 0, 721 in round 16, 735 in 32, 759 in 64 and
759 in the last, 106; the server 189.1 MiB and 189.9 at last, after 21,200 answers. 35 minutes, 270 rounds, 6,480 new clips: between 661 and 697 MiB from round 70 on, without a
trend. Files, threads and children stayed as many: 6, 2 and 1, the server's 19, 3 or 4, and 0.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
from bench_listen import build, free_port
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from musiceval_sk import ClipEmbedder, aggregate_ratings, make_listening_test, predict_clips, run_study

PROCESS = Path("/proc")


def state(pid):
    """MiB in memory, open files, threads and children of a process."""
    status = dict(line.split(":", 1) for line in (PROCESS / f"{pid}" / "status").read_text().splitlines())
    children = (PROCESS / f"{pid}" / "task" / f"{pid}" / "children").read_text().split()
    files = len(os.listdir(PROCESS / f"{pid}" / "fd"))
    return [int(status["VmRSS"].split()[0]) / 1024, files, int(status["Threads"]), len(children)]


def start_server(folder):
    build(folder, n_raters=200, n_answers=200)
    port = free_port()
    run = "from musiceval_sk.cli.app import main; main()"
    command = [
        sys.executable,
        "-c",
        run,
        "listen",
        "serve",
        "test",
        "--answers",
        "a.sqlite",
        "--port",
        f"{port}",
    ]
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (folder / "a.links.csv").is_file():
        time.sleep(0.2)
    with (folder / "a.links.csv").open() as file:
        tokens = {row["rater"]: row["link"].split("token=")[1] for row in csv.DictReader(file)}
    return server, f"http://127.0.0.1:{port}", tokens


def ask(url, token, body=None):
    request = urllib.request.Request(url, data=body, headers={"Authorization": f"Bearer {token}"})
    for _ in range(100):
        try:
            return urllib.request.urlopen(request, timeout=60).read()
        except ConnectionRefusedError:
            time.sleep(0.2)
    raise TimeoutError(url)


def answer_all(url, rater, token):
    """Give all of a rater's answers, a request each, as the page does."""
    session = json.loads(ask(f"{url}/api/test", token))
    for batch in session["batches"]:
        for position, trial in enumerate(batch["trials"], 1):
            place = {"rater": rater, "batch": batch["batch"], "position": position, "trial": trial["trial"]}
            times = {"seconds": 9.5, "heard": 1.0, "order": position, "answered_at": "2026-11-30T03:50:00Z"}
            scores = {"impression": 4, "alignment": 2}
            ask(f"{url}/api/answers", token, json.dumps([place | times | {"scores": scores}]).encode())


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--out", type=Path, default=Path("long_run.csv"))
    arguments = parser.parse_args()
    columns = [
        f"{who}_{what}" for who in ("own", "server") for what in ("mib", "files", "threads", "children")
    ]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder, store = Path(name), Path(name) / "embeddings.h5"
        server, url, tokens = start_server(folder)
        raters = [rater for rater in tokens if rater != "(overview)"]
        test = make_listening_test(folder / "rated", n_systems=18, n_prompts=20, seconds=1.0)
        rated = test.clips.join(aggregate_ratings(test.ratings))
        embedder = ClipEmbedder("spectral", cache=store)
        model = make_pipeline(embedder, Ridge()).fit(rated, rated["impression"])
        X = embedder.set_output(transform="pandas").fit_transform(rated)
        end = time.monotonic() + 60 * arguments.minutes
        while time.monotonic() < end:
            n = len(rows)
            new = make_listening_test(
                folder / f"round {n}", n_systems=6, n_prompts=4, seconds=1.0, random_state=n
            )
            predict_clips(model, new.clips, cache=store, progress=False)
            if n % 10 == 0:
                run_study(rated, X, cv="system", targets="impression", n_resamples=200, progress=False)
            if n < len(raters):
                answer_all(url, raters[n], tokens[raters[n]])
            rows.append([*state(os.getpid()), *state(server.pid)])
            pd.DataFrame(rows, columns=columns).to_csv(arguments.out, index_label="round")
        server.terminate()
        server.wait()
    tenths = np.array_split(np.array(rows), 10)
    print(
        pd.DataFrame(
            {"early": np.median(tenths[1], axis=0), "late": np.median(tenths[-1], axis=0)}, index=columns
        ).round(1)
    )
    print(f"{len(rows)} rounds, {24 * len(rows)} new clips")


if __name__ == "__main__":
    main()
