"""How long `reproduce` takes at MusicEval's size once vectors are stored, and whether training ends by itself.

There is no sound here: vectors of length 1 (512 of audio, 512 of text) are drawn around a point for each system and prompt,
and scores follow the systems. The seconds are those of this machine, and the scores mean nothing.
"""

import time
import warnings

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning

from musiceval_sk import MOSRegressor, bootstrap_metrics
from musiceval_sk.estimators.lookup import TableScaler
from musiceval_sk.reproduction.protocols import PROTOCOLS

LISTS = {"train": 1923, "dev": 412, "test": 413}
TARGETS = ["impression", "alignment"]
ROWS_OF_THE_TABLE = 8  # three look-ups and five seeds


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make(rng):
    n = sum(LISTS.values())
    systems, prompts = rng.integers(0, 31, n), rng.integers(0, 384, n)
    audio = unit(rng.normal(size=(31, 512))[systems] + rng.normal(size=(n, 512)))
    text = unit(rng.normal(size=(384, 512)))[prompts]
    names = [f"{modality}_{i}" for modality in ("audio", "text") for i in range(512)]
    X = pd.DataFrame(np.hstack([audio, text]), columns=names, dtype="float32")
    quality = rng.normal(3, 0.7, (31, 2))[systems] + rng.normal(0, 0.6, (n, 2))
    return X, pd.DataFrame(quality.clip(1, 5), columns=TARGETS), systems


def fit(protocol, X, y):
    ends = np.cumsum([0, *LISTS.values()])
    train, dev = (slice(*ends[i : i + 2]) for i in (0, 1))
    if protocol.scaled:
        X = TableScaler().set_output(transform="pandas").fit(X[train]).transform(X)
    held = {"X_val": X[dev], "y_val": y[dev]} if protocol.development == "list" else {}
    if not held:
        train = slice(0, ends[2])
    regressor = MOSRegressor.from_protocol(
        "paper",
        activation=protocol.activation,
        momentum=protocol.momentum,
        stop_together=protocol.stop_together,
        random_state=0,
        device="cpu",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        started = time.perf_counter()
        regressor.fit(X[train], y[train], **held)
        seconds = time.perf_counter() - started
    spread = regressor.predict(X[ends[2] :]).std(axis=0) / y[ends[2] :].std(axis=0).to_numpy()
    return seconds, regressor, spread


def main():
    X, y, systems = make(np.random.default_rng(0))
    for name, protocol in PROTOCOLS.items():
        seconds, regressor, spread = fit(protocol, X, y)
        print(
            f"{name:9s} one seed, both heads: {seconds:6.1f} s, {regressor.n_iter_} epochs, best "
            f"{regressor.best_iteration_[:, 0].tolist()}, spread of predictions over that of scores {spread.round(2).tolist()}"
        )
    test = slice(sum(LISTS.values()) - LISTS["test"], None)
    truth = pd.concat([y[test].add_suffix(str(i)) for i in range(ROWS_OF_THE_TABLE)], axis=1)
    said = truth + np.random.default_rng(1).normal(0, 0.5, truth.shape)
    started = time.perf_counter()
    bootstrap_metrics(truth, said, systems=systems[test], n_resamples=2000, random_state=0)
    print(f"intervals of {truth.shape[1]} columns, 2000 resamples: {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
