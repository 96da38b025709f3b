"""How the time of training grows with rows, columns, perceptrons and epochs: a table, and a figure.

    python examples/benchmarks/bench_fit_scaling.py [--figure fit-scaling.png] [--repeats 5] [--device cpu]

From 2,336 rows of 512 columns, one perceptron and 10 epochs, one of the four grows at a time. Perceptrons of one row order
are candidates of a grid (rates differ); those of orders of their own are members of an ensemble. Needs matplotlib.

Medians of three (`--repeats 3`) on 2 CPU cores with 2 threads: 4 times the rows take 3.0 times as long (2,336 to 9,344), 4 times
the columns 3.5 times (512 to 2,048), 8 times the epochs 7.1 times (5 to 40); 8 candidates take 6.1 times as long as one, 16 take
10.6 times; 8 members 5.7 times, 16 members 11.6 times. The machine's speed varied by a third between lines.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from musiceval_sk.estimators.engine.train import Schedule, Task, train

START = {"rows": 2336, "columns": 512, "candidates": 1, "members": 1, "epochs": 10}
GROWTH = {
    "rows": [584, 1168, 2336, 4672, 9344],
    "columns": [128, 256, 512, 1024, 2048],
    "candidates": [1, 2, 4, 8, 16],
    "members": [1, 2, 4, 8, 16],
    "epochs": [5, 10, 20, 40],
}


def seconds(sizes, repeats, device):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(sizes["rows"], sizes["columns"], generator=generator).to(device)
    Y = (3 + X[:, :1]).clamp(1, 5)
    rows, none = np.arange(len(X)), np.arange(0)
    tasks = [
        Task(0, rows, none, init_seed=member, order_seed=member, learning_rate=1e-4 * (1 + candidate))
        for member in range(sizes["members"])
        for candidate in range(sizes["candidates"])
    ]
    schedule = Schedule(max_iter=sizes["epochs"], patience=10**6)
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        train(X, Y, tasks, schedule)
        taken.append(time.perf_counter() - started)
    return taken


def measure(repeats, device):
    print(f"{torch.get_num_threads()} threads, {device}; from {START}")
    found = {}
    for name, values in GROWTH.items():
        found[name] = []
        for value in values:
            taken = seconds(START | {name: value}, repeats, device)
            found[name].append(statistics.median(taken))
            print(
                f"{name:12} {value:6}  {found[name][-1]:7.3f} s ({min(taken):.3f} to {max(taken):.3f})  "
                f"{found[name][-1] / found[name][0]:6.2f} x",
                flush=True,
            )
    return found


def draw(found, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(7.2, 4.8), sharey=True, layout="constrained")
    *axes, key = axes.flat
    for axis, (name, taken) in zip(axes, found.items(), strict=True):
        values = np.array(GROWTH[name])
        axis.loglog(values, taken, marker="o", label="measured")
        axis.loglog(values, taken[0] * values / values[0], linestyle="--", color="grey", label="proportional")
        named = values[[0, len(values) // 2, -1]]
        axis.set_xticks(named, [f"{value:,}" for value in named])
        axis.set_yticks([0.1, 1, 10], ["0.1", "1", "10"])
        axis.minorticks_off()
        axis.set_xlabel(name)
        axis.grid(alpha=0.3)
    figure.supylabel("seconds of training")
    figure.get_layout_engine().set(wspace=0.08)
    key.axis("off")
    key.legend(*axes[0].get_legend_handles_labels(), loc="center", frameon=False)
    figure.savefig(path, dpi=200)
    print(f"wrote {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figure", type=Path, default=Path("fit-scaling.png"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    draw(measure(arguments.repeats, arguments.device), arguments.figure)


if __name__ == "__main__":
    main()
