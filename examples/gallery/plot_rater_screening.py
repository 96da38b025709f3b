"""
A careless rater, found and left out
====================================

Two of ten simulated raters score at random. Leaving out raters whose scores hardly correlate with the mean of the others brings mean
opinion scores nearer to what careful raters gave.
"""

# %%
from tempfile import mkdtemp

import matplotlib.pyplot as plt

from musiceval_sk import Disagreement, aggregate_ratings, make_listening_test, screen_ratings

test = make_listening_test(mkdtemp(), n_careless=2, seconds=1, random_state=0)
test.ratings.head()

# %%
# Rules say who is left out and why; nothing is dropped without a trace.
screening = screen_ratings(test.ratings, [Disagreement(least=0.3)])
print(screening)

# %%
# The same test without careless raters is the truth that a real test does not have.
careful = make_listening_test(mkdtemp(), n_careless=0, seconds=1, random_state=0)
truth = aggregate_ratings(careful.ratings)["impression"]
fig, axes = plt.subplots(1, 2, figsize=(7, 3.4), sharex=True, sharey=True, layout="constrained")
for ax, ratings, title in zip(axes, (test.ratings, screening.kept), ("all raters", "screened"), strict=True):
    scores = aggregate_ratings(ratings)["impression"].reindex(truth.index)
    error = ((scores - truth) ** 2).mean()
    ax.plot(truth, scores, ".", alpha=0.6)
    ax.axline((3, 3), slope=1, color="gray", linewidth=1)
    ax.set(
        title=f"{title}: mean squared error {error:.2f}",
        xlabel="mean score of careful raters",
        aspect="equal",
    )
axes[0].set_ylabel("mean opinion score, simulated")
plt.show()
