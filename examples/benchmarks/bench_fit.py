"""One fit, and a grid search over 100, against what else trains such a perceptron; and against the products alone.

    python examples/benchmarks/bench_fit.py [--only fit|search] [--repeats 5] [--device cuda] [--processor-time]

2,336 clips of 512 or 1,024 columns, layers of 256 and 64, batches of 64, SGD with momentum, a fixed number of epochs. Within
a line every rival runs in turn in each round, on the same threads. `pip install 'musiceval_sk[bench]'` brings skorch.
The bound is the time of the bare products of matrices of as many steps, nothing else. "MOSRegressor" is its
`from_protocol("paper")` with squared loss and without early stopping; "as recommended" is `MOSRegressor()`, ten members and a
ridge regression, for as many epochs.

Measured with `--only fit` on 2 CPU cores of two kinds: one whose products run at 50 to 57 GFLOP/s (AVX2; `--epochs 10
--repeats 5`, one run), one at 85 to 98 (AMD EPYC 4th generation, AVX-512; `--epochs 20 --repeats 9`, the range over three
runs, between neighbours that came and went). Medians in seconds, and how many times longer than MOSRegressor the others took:

    products  columns threads  MOSRegressor    plain loop  MLPRegressor        skorch  time over the bound
       AVX2       512       1          0.38          1.71          1.64          3.42                 1.63
                  512       2          0.28          1.73          1.91          3.41                 1.67
                 1024       1          0.53          1.58          1.87          2.38                 1.36
                 1024       2          0.44          1.56          1.92          2.41                 1.65
    AVX-512       512       1  0.44 to 0.51  1.48 to 1.59  1.59 to 1.63  2.27 to 2.42         1.26 to 1.41
                  512       2  0.36 to 0.61  1.31 to 1.69  1.79 to 1.89  2.06 to 2.73         1.61 to 2.29
                 1024       1  0.74 to 0.83  1.38 to 1.45  1.42 to 1.50  1.93 to 2.00         1.18 to 1.20
                 1024       2  0.60 to 0.93  1.50 to 1.70  1.76 to 2.16  2.29 to 2.79         1.44 to 2.03

Again on 30 November 2026, AVX2, `--epochs 30 --repeats 3 --threads 1 --processor-time`, one run; medians:

    columns  MOSRegressor   plain loop  MLPRegressor       skorch  over the bound  as recommended
        512          1.16         2.13          1.54         3.35            1.55            2.16
       1024          2.11         1.67          1.94         2.58            1.51            2.76

So many epochs of the recommended fit take 2.2 to 2.8 times as long: ten networks of 32 and 32 have 1.25 times the first-layer products of
one of 256 and 64, more small ones, and a ridge regression is fitted to each fold, about 1.7 s of the 5.8 s with 1,024 columns. It stops
sooner: trained to its own end it took .36 of the paper's fit over all beds of bench_accuracy.py, bed by bed .10 to 2.85 times,
median .63.

The faster a core multiplies, the less there is to save: skorch takes 2.3 to 5.7 times the bound here, the plain loop 1.6 to 3.1
times, so that five times skorch's speed is close to or beyond what any exact training on one of these cores could reach.

Searches, 5 folds of 20 candidates, 5 epochs, two cores, `--only search`, medians of five rounds in seconds:

    products  columns  fused, 2 threads  GridSearchCV, 2 jobs  over skorch, 2 jobs
       AVX2       512             15.77                 14.99                48.02
                 1024             14.89                 14.78                32.69
    AVX-512       512              6.41                  6.01                16.93
                 1024             12.50                 10.55                21.24

Rounds differ by up to a half: with 1,024 columns GridSearchCV took 11.26 to 16.69 s on AVX2, and 9.90 to 12.62 s on AVX-512. Before
each turn of a rival, both processes are started anew. The fused search has been written anew since; 60 fits of 512 columns on one
thread then took it 6.3 to 8.1 s of processor time in two runs, and 7.2 to 8.3 s before.

On a CPU a batch of models saves no arithmetic: products of these sizes run at one speed, whatever their width, and with OpenBLAS
(82 to 102 GFLOP/s on the second kind) as with MKL. No GPU was measured.
"""

import argparse
import statistics
import time
import warnings

import numpy as np
import torch
from joblib.externals.loky import get_reusable_executor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neural_network import MLPRegressor
from threadpoolctl import threadpool_limits
from torch import nn

from musiceval_sk import FusedGridSearchCV, MOSRegressor

clock = time.perf_counter
ROWS, HIDDEN, BATCH, NEVER = 2336, (256, 64), 64, 10**6
GRID = {"learning_rate_init": [1e-4, 2e-4, 5e-4, 1e-3, 2e-3], "momentum": [0.8, 0.9], "alpha": [0.0, 1e-4]}


def network(columns):
    first, second = HIDDEN
    return nn.Sequential(
        nn.Linear(columns, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(), nn.Linear(second, 1)
    )


def plain_loop(X, y, epochs, device="cpu"):
    """Train as a careful user would: autograd, the data on the device, slices of a shuffled tensor."""
    X, y = torch.from_numpy(X).to(device), torch.from_numpy(y).to(device).reshape(-1, 1)
    model, loss_of = network(X.shape[1]).to(device), nn.MSELoss()
    optimiser = torch.optim.SGD(model.parameters(), lr=5e-4, momentum=0.9)
    for _ in range(epochs):
        order = torch.randperm(len(X), device=device)
        shuffled, scores = X[order], y[order]
        for begin in range(0, len(X), BATCH):
            optimiser.zero_grad()
            loss_of(model(shuffled[begin : begin + BATCH]), scores[begin : begin + BATCH]).backward()
            optimiser.step()


def bare_products(columns, steps):
    sizes = (columns, *HIDDEN, 1)
    weights = [torch.randn(pair) for pair in zip(sizes[:-1], sizes[1:], strict=True)]
    values = [torch.randn(BATCH, size) for size in sizes]
    forward = [torch.empty_like(value) for value in values]
    gradients = [torch.empty_like(weight) for weight in weights]
    for _ in range(steps):
        for i, weight in enumerate(weights):
            torch.mm(values[i], weight, out=forward[i + 1])
        for i, gradient in enumerate(gradients):
            torch.mm(values[i].T, values[i + 1], out=gradient)
        for i in range(1, len(weights)):
            torch.mm(values[i + 1], weights[i].T, out=forward[i])


def ours(epochs, device="cpu", **changes):
    settings = {"loss": "mse", "early_stopping": False, "n_iter_no_change": NEVER, "random_state": 0}
    settings |= {"hidden_layer_sizes": HIDDEN, "batch_size": BATCH, "max_iter": epochs, "device": device}
    return MOSRegressor.from_protocol("paper", **settings | changes)


def recommended(epochs, device="cpu"):
    return MOSRegressor(n_iter_no_change=NEVER, max_iter=epochs, device=device, random_state=0)


def sklearn_own(epochs):
    return MLPRegressor(
        hidden_layer_sizes=HIDDEN,
        solver="sgd",
        alpha=0,
        batch_size=BATCH,
        learning_rate_init=5e-4,
        nesterovs_momentum=False,
        max_iter=epochs,
        tol=0,
        n_iter_no_change=NEVER,
    )


def skorch_own(columns, epochs):
    from skorch import NeuralNetRegressor

    return NeuralNetRegressor(
        network(columns),
        max_epochs=epochs,
        lr=5e-4,
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        batch_size=BATCH,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )


def compare(title, rivals, repeats, before=lambda: None):
    """Run all in turn, so many rounds; print medians, ranges and how many times the first is faster."""
    seconds = {name: [] for name in rivals}
    for _ in range(repeats):
        for name, run in rivals.items():
            before()
            started = clock()
            run()
            seconds[name].append(clock() - started)
    first = statistics.median(next(iter(seconds.values())))
    print(title)
    for name, taken in seconds.items():
        middle = statistics.median(taken)
        print(f"  {name:34} {middle:8.3f} s ({min(taken):.3f} to {max(taken):.3f})  {middle / first:6.2f} x")
    print(flush=True)


def compare_fits(X, y, epochs, threads, repeats, device):
    columns, steps = X.shape[1], epochs * -(-ROWS // BATCH)
    column = y.reshape(-1, 1)
    rivals = {
        "MOSRegressor": lambda: ours(epochs, device).fit(X, y),
        "plain torch loop": lambda: plain_loop(X, y, epochs, device),
        "sklearn MLPRegressor": lambda: sklearn_own(epochs).fit(X, y),
        "skorch": lambda: skorch_own(columns, epochs).fit(X, column),
        "the products alone": lambda: bare_products(columns, steps),
        "MOSRegressor as recommended": lambda: recommended(epochs, device).fit(X, y),
    }
    torch.set_num_threads(threads)
    with threadpool_limits(threads, user_api="blas"):
        for run in rivals.values():
            run()
        compare(f"one fit, {ROWS} x {columns}, {epochs} epochs, threads={threads}, {device}", rivals, repeats)


def compare_searches(X, y, epochs, repeats):
    cv, column = KFold(5, shuffle=True, random_state=0), y.reshape(-1, 1)
    options = {"cv": cv, "scoring": "neg_mean_squared_error", "refit": False}
    theirs = {
        "lr": GRID["learning_rate_init"],
        "optimizer__momentum": GRID["momentum"],
        "optimizer__weight_decay": GRID["alpha"],
    }
    rivals = {
        "FusedGridSearchCV(2 threads)": lambda: FusedGridSearchCV(ours(epochs), GRID, **options).fit(X, y),
        "GridSearchCV(MOSRegressor, 2 jobs)": lambda: GridSearchCV(
            ours(epochs), GRID, n_jobs=2, **options
        ).fit(X, y),
        "GridSearchCV(skorch, 2 jobs)": lambda: GridSearchCV(
            skorch_own(X.shape[1], epochs), theirs, n_jobs=2, **options
        ).fit(X, column),
    }
    torch.set_num_threads(2)

    def two_fresh_processes():
        get_reusable_executor().shutdown(wait=True)
        GridSearchCV(ours(1), {}, n_jobs=2, **options).fit(X, y)

    title = f"5 folds x 20 candidates, {ROWS} x {X.shape[1]}, {epochs} epochs, two cores"
    compare(title, rivals, repeats, before=two_fresh_processes)


def compare_on(device, X, y, epochs, repeats):
    """One hundred fits on a card: as one batch, one after another there, and as one batch on the CPU."""
    folds = list(KFold(5, shuffle=True, random_state=0).split(X))
    candidates = [
        {"learning_rate_init": rate, "momentum": momentum, "alpha": alpha}
        for rate in GRID["learning_rate_init"]
        for momentum in GRID["momentum"]
        for alpha in GRID["alpha"]
    ]
    options = {"cv": folds, "scoring": "neg_mean_squared_error", "refit": False}

    def one_by_one():
        for train, _ in folds:
            for candidate in candidates:
                ours(epochs, device, **candidate).fit(X[train], y[train])

    rivals = {
        f"FusedGridSearchCV on {device}": lambda: FusedGridSearchCV(
            ours(epochs, device), GRID, **options
        ).fit(X, y),
        f"100 fits one by one on {device}": one_by_one,
        "FusedGridSearchCV on the CPU": lambda: FusedGridSearchCV(ours(epochs), GRID, **options).fit(X, y),
    }
    next(iter(rivals.values()))()
    compare(f"100 fits, {ROWS} x {X.shape[1]}, {epochs} epochs", rivals, repeats)


def main():
    global clock
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["fit", "search"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20, help="of a fit")
    parser.add_argument("--search-epochs", type=int, default=5)
    parser.add_argument("--columns", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--processor-time", action="store_true", help="where others use the cores, with one thread"
    )
    arguments = parser.parse_args()
    clock = time.process_time if arguments.processor_time else clock
    warnings.simplefilter("ignore", ConvergenceWarning)
    for columns in arguments.columns:
        rng = np.random.default_rng(0)
        X = rng.normal(size=(ROWS, columns)).astype(np.float32)
        y = np.clip(3 + X[:, 0], 1, 5).astype(np.float32)
        if arguments.device != "cpu":
            compare_on(arguments.device, X, y, arguments.search_epochs, arguments.repeats)
            continue
        if arguments.only != "search":
            for threads in arguments.threads:
                compare_fits(X, y, arguments.epochs, threads, arguments.repeats, arguments.device)
        if arguments.only != "fit":
            compare_searches(X, y, arguments.search_epochs, arguments.repeats)


if __name__ == "__main__":
    main()
