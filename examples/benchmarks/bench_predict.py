"""`musiceval predict` on a folder: peak memory at three sizes, rows while it runs, and a run that is killed.

    python examples/benchmarks/bench_predict.py [--sizes 500 5000 10000]

Clips are tiny (0.3 s, all different) and the encoder is 'spectral', so that this measures the road and not a model. Each size
starts with an empty cache. Then the largest run is killed half-way and started again.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

RUN = """
import sys
from musiceval_sk.cli import app
try:
    app(sys.argv[1:])
finally:
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print("PEAK", line.split()[1], file=sys.stderr)
"""


def write_clips(folder, count):
    rng = np.random.default_rng(count)
    for number in range(count):
        place = folder / f"S{number % 20:02d}"
        place.mkdir(parents=True, exist_ok=True)
        soundfile.write(place / f"P{number:05d}.wav", rng.uniform(-0.5, 0.5, 4800).astype(np.float32), 16_000)
    rows = [f"P{number:05d},prompt {number % 100}" for number in range(count)]
    (folder / "prompts.csv").write_text("\n".join(["prompt_id,prompt", *rows]) + "\n")


def fitted_model(folder):
    from typer.testing import CliRunner

    from musiceval_sk import make_listening_test
    from musiceval_sk.cli import app

    make_listening_test(folder / "test", n_systems=8, n_prompts=10, n_raters=6, seconds=1.0)
    tables = [str(folder / "test" / "clips.csv"), "--ratings", str(folder / "test" / "ratings.csv")]
    model = folder / "model.skops"
    done = CliRunner().invoke(app, ["fit", *tables, "--out", str(model), "--cache", str(folder / "fit.h5")])
    assert done.exit_code == 0, done.output
    return model


def command(model, clips, cache, out):
    options = [
        "--pattern",
        "{system}/{prompt_id}",
        "--prompts",
        clips / "prompts.csv",
        "--cache",
        cache,
        "--out",
        out,
    ]
    return [str(part) for part in (sys.executable, "-c", RUN, "predict", model, clips, *options)]


def n_rows(path):
    return path.read_text().count("\n") if path.exists() else 0


def main(sizes):
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        model = fitted_model(folder)
        for size in sizes:
            clips, out = folder / f"clips{size}", folder / f"{size}.csv"
            write_clips(clips, size)
            started = time.perf_counter()
            done = subprocess.run(
                command(model, clips, folder / f"{size}.h5", out), capture_output=True, text=True, check=True
            )
            peaks.append(int(done.stderr.rpartition("PEAK")[2]) / 1024)
            seconds = time.perf_counter() - started
            print(
                f"{size} clips: {n_rows(out) - 1} rows, peak {peaks[-1]:.0f} MiB, {seconds:.0f} s", flush=True
            )
        print(f"peak memory at {sizes[-1]} clips over that at {sizes[0]}: {peaks[-1] / peaks[0]:.3f}")
        kill_and_start_again(
            command(model, clips, folder / "killed.h5", folder / "killed.csv"), folder, sizes[-1]
        )


def kill_and_start_again(run, folder, size):
    out, started = folder / "killed.csv", time.perf_counter()
    process = subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while n_rows(out) < size / 2 and process.poll() is None:
        time.sleep(0.1)
    process.kill()
    process.wait()
    print(f"killed after {time.perf_counter() - started:.0f} s: {n_rows(out) - 1} rows are there")
    started = time.perf_counter()
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - started
    print(f"started again: {n_rows(out) - 1} rows in {seconds:.0f} s; {done.stderr.splitlines()[0]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 5000, 10_000])
    main(parser.parse_args().sizes)
