"""
Why the split decides: systems known from training
==================================================

A baseline that only knows the mean training score of each clip's system uses no audio at all. Where a random split lets it see every
system, it looks excellent; where whole systems are held out, it is the mean score and no more.
"""

# %%
from tempfile import mkdtemp

import matplotlib.pyplot as plt
from sklearn.linear_model import RidgeCV
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import GroupKFold, KFold, cross_val_predict

from musiceval_sk import ClipEmbedder, LookupRegressor, aggregate_ratings, make_listening_test
from musiceval_sk.estimators.lookup import scaled

folder = mkdtemp()
test = make_listening_test(folder, random_state=0)
clips = test.clips.join(aggregate_ratings(test.ratings))
embedder = ClipEmbedder("spectral", cache=f"{folder}/embeddings.h5").set_output(transform="pandas")
X = embedder.fit_transform(clips)

# %%
# The same two predictors under both splits.
models = {
    "system mean (no audio)": LookupRegressor(clips["system"]),
    "ridge on audio": scaled(RidgeCV([10.0, 100.0, 1000.0])),
}
splits = {"random clips": KFold(5, shuffle=True, random_state=0), "unseen systems": GroupKFold(4)}
y, systems = clips["impression"], clips["system"]
found = {
    name: [
        mean_squared_error(y, cross_val_predict(model, X, y, cv=cv, groups=systems))
        for model in models.values()
    ]
    for name, cv in splits.items()
}

# %%
# Mean squared error of clips' predicted scores (U_MSE, ``U_`` for utterance-level): the lower, the better.
fig, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
for offset, (name, errors) in zip((-0.2, 0.2), found.items(), strict=True):
    bars = ax.bar([0 + offset, 1 + offset], errors, width=0.38, label=name)
    ax.bar_label(bars, fmt="%.2f")
ax.set_xticks([0, 1], list(models))
ax.set(ylabel="U_MSE, simulated")
ax.margins(y=0.12)
ax.legend(title="test set")
plt.show()
