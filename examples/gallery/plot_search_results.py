"""
What a grid search found
========================

The mean score at each pair of parameters as a table of shades. It is U_SRCC, Spearman's rank correlation (SRCC) of clips' scores (``U_`` for
utterance-level). The best of many candidates is better than it will prove on new data, by
what chance gave it.
"""

# %%
# Made-up features of 12 systems; folds hold out whole systems.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import make_regression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.svm import SVR

from musiceval_sk import mos_scorer

X, y = make_regression(n_samples=120, n_features=20, noise=150.0, random_state=0)
y = pd.Series(3 + (y - y.mean()) / y.std())
systems = pd.Series(np.arange(len(y)) % 12).astype(str)
grid = {"C": [0.001, 0.01, 0.1], "epsilon": [0.05, 0.4, 0.8]}
search = GridSearchCV(SVR(kernel="linear"), grid, scoring=mos_scorer("U_SRCC"), cv=GroupKFold(4))
search.fit(X, y, groups=systems)

# %%
means = pd.DataFrame(search.cv_results_).pivot_table("mean_test_score", "param_C", "param_epsilon")
fig, ax = plt.subplots(figsize=(4.5, 3), layout="constrained")
image = ax.imshow(means, cmap="cividis", aspect="auto")
for (i, j), mean in np.ndenumerate(means.to_numpy()):
    dark = np.mean(image.cmap(image.norm(mean))[:3]) < 0.5
    ax.text(j, i, f"{mean:.2f}", ha="center", va="center", color="white" if dark else "black")
ax.set_xticks(range(means.shape[1]), [f"{value:g}" for value in means.columns])
ax.set_yticks(range(means.shape[0]), [f"{value:g}" for value in means.index])
ax.set(xlabel="epsilon", ylabel="C", title="U_SRCC, mean over folds")
plt.show()
