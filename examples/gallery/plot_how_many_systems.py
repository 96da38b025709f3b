"""
How many systems a figure needs
===============================

S_SRCC, Spearman's rank correlation (SRCC) of the systems' mean scores (``S_`` for system-level), is an estimate from as many points as there
are systems. The interval narrows slowly; below a dozen systems it says little.
"""

# %%
# Twenty simulated tests a size: system means with noise of the same size, whatever the number of systems.
import matplotlib.pyplot as plt
import numpy as np

from musiceval_sk import bootstrap_metrics

rng = np.random.default_rng(0)
n_clips, sizes = 20, [8, 12, 20, 31, 60]


def one_test(n_systems):
    quality = rng.normal(3, 0.6, n_systems).repeat(n_clips)
    truth = quality + rng.normal(0, 0.5, len(quality))
    predicted = quality + rng.normal(0, 0.3, n_systems).repeat(n_clips) + rng.normal(0, 0.3, len(quality))
    systems = np.arange(n_systems).repeat(n_clips)
    found = bootstrap_metrics(truth, predicted, systems=systems, n_resamples=200, random_state=0)
    return found.to_frame().set_index("metric").loc["S_SRCC", ["value", "low", "high"]].astype(float)


value, low, high = np.mean([[one_test(size) for size in sizes] for _ in range(20)], axis=0).T

# %%
# What a study of so many systems may claim: the mean estimate and the mean bounds of its 95 % interval.
fig, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
ax.errorbar(range(len(sizes)), value, yerr=(value - low, high - value), fmt="o", capsize=3)
ax.set_xticks(range(len(sizes)), sizes)
ax.set(xlabel=f"systems of {n_clips} clips each", ylabel="S_SRCC", ylim=(-0.3, 1.02))
plt.show()
