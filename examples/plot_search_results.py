"""What a grid search found, as a table of shades: one row and one column a parameter, the scores written in.

Runs as it stands: python examples/plot_search_results.py [FIGURE.png]. Features are made up; the best of many candidates is
too good by what luck gave it.
"""

import sys

import matplotlib
import numpy as np
import pandas as pd
from sklearn.datasets import make_regression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.svm import SVR

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402


def draw(results: pd.DataFrame, row: str, column: str, ax: plt.Axes) -> None:
    """Draw the best mean score at each pair of values, over whatever else was searched."""
    means = results.pivot_table("mean_test_score", f"param_{row}", f"param_{column}", aggfunc="max")
    image = ax.imshow(means, cmap="cividis", aspect="auto")
    for (i, j), mean in np.ndenumerate(means.to_numpy()):
        dark = np.mean(image.cmap(image.norm(mean))[:3]) < 0.5
        ax.text(j, i, f"{mean:.2f}", ha="center", va="center", color="white" if dark else "black")
    ax.set_xticks(range(means.shape[1]), [f"{value:g}" for value in means.columns])
    ax.set_yticks(range(means.shape[0]), [f"{value:g}" for value in means.index])
    ax.set(xlabel=column, ylabel=row, title="mean score over folds")


def main(path: str) -> None:
    X, y = make_regression(n_samples=120, n_features=20, noise=20.0, random_state=0)
    y = 3 + (y - y.mean()) / y.std()
    systems = np.arange(len(y)) % 12
    grid = {"C": [0.1, 1.0, 10.0], "epsilon": [0.05, 0.2, 0.8]}
    search = GridSearchCV(SVR(kernel="linear"), grid, cv=GroupKFold(4)).fit(X, y, groups=systems)
    figure, ax = plt.subplots(figsize=(4.5, 3), layout="constrained")
    draw(pd.DataFrame(search.cv_results_), "C", "epsilon", ax)
    figure.savefig(path, dpi=100)
    print(path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "search-results.png")
