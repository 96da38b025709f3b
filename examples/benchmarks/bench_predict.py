"""Peak memory and time of `predict_clips` on folders of different sizes, each with an empty cache.

    python examples/benchmarks/bench_predict.py [--sizes 500 5000 10000]

Clips are tiny (0.3 s, all different), and the encoder is 'spectral' with windows of 0.5 s instead of 10 s, so that this
measures the road and not the encoder. Rows go to a CSV file batch by batch, as from `musiceval predict`.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).parents[2]))

from musiceval_sk import (
    ClipEmbedder,
    MOSRegressor,
    TrainingDomain,
    aggregate_ratings,
    load_clips,
    load_model,
    make_listening_test,
    predict_clips,
    save_model,
)
from musiceval_sk.estimators.baselines import scaled
from musiceval_sk.features.encoders.spectral import SpectralEncoder

RUN = "import sys; sys.path[:0] = sys.argv[1:3]; import bench_predict as bench; bench.predict(*sys.argv[3:])"


class QuickEncoder(SpectralEncoder):
    """'spectral' over short windows."""

    name = "quick"
    window_seconds = hop_seconds = 0.5


def write_clips(folder, count):
    rng = np.random.default_rng(count)
    for number in range(count):
        place = folder / f"S{number % 20:02d}"
        place.mkdir(parents=True, exist_ok=True)
        soundfile.write(place / f"P{number:05d}.wav", rng.uniform(-0.5, 0.5, 4800).astype(np.float32), 16_000)
    rows = [f"P{number:05d},prompt {number % 100}" for number in range(count)]
    (folder / "prompts.csv").write_text("\n".join(["prompt_id,prompt", *rows]) + "\n")


def write_model(folder):
    test = make_listening_test(folder / "test", n_systems=8, n_prompts=10, n_raters=6, seconds=1.0)
    import bench_predict  # by its importable name, which the model file keeps

    embedder = ClipEmbedder(bench_predict.QuickEncoder(), cache=str(folder / "fit.h5"))
    regressor = MOSRegressor((16,), n_ensemble=4, learning_rate_init=0.01, random_state=0)
    model = scaled(embedder.set_output(transform="pandas"), TrainingDomain(), regressor)
    scores = aggregate_ratings(test.ratings).loc[test.clips.index, ["impression", "alignment"]]
    return save_model(model.fit(test.clips, scores), folder / "model.skops")


def predict(model, folder, cache, out):
    """Run in a process of its own; prints the rows written and the peak memory in KiB."""
    model = load_model(model, trusted=["bench_predict.QuickEncoder"])
    clips = load_clips(folder, pattern="{system}/{prompt_id}", prompts=f"{folder}/prompts.csv")
    with open(out, "w") as file:
        predict_clips(
            model, clips, cache=cache, on_batch=lambda table: table.to_csv(file, header=not file.tell())
        )
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    print(Path(out).read_text().count("\n") - 1, peak)


def main(sizes):
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        model = write_model(folder)
        for size in sizes:
            clips = folder / f"clips{size}"
            write_clips(clips, size)
            places = [model, clips, folder / f"{size}.h5", folder / f"{size}.csv"]
            run = [sys.executable, "-W", "ignore", "-c", RUN, *sys.path[:2], *map(str, places)]
            started = time.perf_counter()
            done = subprocess.run(run, stdout=subprocess.PIPE, text=True, check=True)
            rows, peak = map(int, done.stdout.split())
            peaks.append(peak / 1024)
            seconds = time.perf_counter() - started
            print(f"{size} clips: {rows} rows, peak {peaks[-1]:.0f} MiB, {seconds:.0f} s", flush=True)
    print(f"peak memory at {sizes[-1]} clips over that at {sizes[0]}: {peaks[-1] / peaks[0]:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 5000, 10_000])
    main(parser.parse_args().sizes)
