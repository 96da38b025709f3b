"""Peak memory and time of `predict_clips` on folders of different sizes, each with an empty cache.

    python examples/benchmarks/bench_predict.py [--sizes 1000 10000]

Clips are tiny (0.3 s, all different), and the encoder is 'spectral' with windows of 0.5 s instead of 10 s, so that this
measures the pipeline and not the encoder. Rows go to a CSV file batch by batch, as from `musiceval predict`.

Measured on two shared cores, in two runs; the time includes the start of the process:

=======  ==============  ================  ===================================================
 clips    clips/s         peak memory       a batch of 128, at the start and at the end
=======  ==============  ================  ===================================================
 1,000    101 and 128     396 and 395 MiB   0.45 s and 0.45 s; 0.41 s and 0.41 s
10,000    206 and 296     411 and 411 MiB   0.39 s and 0.40 s; 0.36 s and 0.36 s
=======  ==============  ================  ===================================================

As long as the index of file digests was read with every batch, once for embedding and once for reading, the same run of
10,000 clips took 0.47 s a batch at its start and 0.85 s at its end, 170 clips/s in all.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

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
from musiceval_sk.estimators.lookup import scaled
from musiceval_sk.features.encoders.spectral import SpectralEncoder

BATCH = 128
PLACES = [Path(__file__).resolve().parents[2], Path(__file__).resolve().parent]
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
    """Run in a process of its own; prints the rows written, the peak memory in KiB, seconds of early and late batches."""
    model = load_model(model, trusted=["bench_predict.QuickEncoder"])
    clips = load_clips(folder, pattern="{system}/{prompt_id}", prompts=f"{folder}/prompts.csv")
    times = [time.perf_counter()]
    with open(out, "w") as file:

        def write(table):
            table.to_csv(file, header=not file.tell())
            times.append(time.perf_counter())

        predict_clips(model, clips, cache=cache, batch_size=BATCH, on_batch=write)
    early, late = (statistics.median(some) for some in ends(np.diff(times)))
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    print(Path(out).read_text().count("\n") - 1, peak, early, late)


def ends(seconds):
    """Times of the first and of the last four whole batches, without the very first, which also warms up."""
    whole = seconds[1:-1]
    return whole[:4], whole[-4:]


def main(sizes):
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        model = write_model(folder)
        for size in sizes:
            clips = folder / f"clips{size}"
            write_clips(clips, size)
            places = [model, clips, folder / f"{size}.h5", folder / f"{size}.csv"]
            run = [sys.executable, "-W", "ignore", "-c", RUN, *map(str, [*PLACES, *places])]
            started = time.perf_counter()
            done = subprocess.run(run, stdout=subprocess.PIPE, text=True, check=True)
            seconds = time.perf_counter() - started
            rows, peak, early, late = map(float, done.stdout.split())
            peaks.append(peak / 1024)
            print(
                f"{size} clips: {rows:.0f} rows, peak {peaks[-1]:.0f} MiB, {seconds:.0f} s, {size / seconds:.0f} clips/s; "
                f"a batch of {BATCH} took {early:.2f} s at the start, {late:.2f} s at the end",
                flush=True,
            )
    print(f"peak memory at {sizes[-1]} clips over that at {sizes[0]}: {peaks[-1] / peaks[0]:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000])
    main(parser.parse_args().sizes)
