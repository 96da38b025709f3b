"""
A first study: predictors compared on unseen systems
====================================================

Five predictors learn raters' scores of some systems' clips and are judged on other systems, beside the mean
score, which uses no audio. Bars are 95 % bootstrap intervals over systems.
"""

# %%
# A simulated listening test stands in for ``load_clips("clips.csv")`` and ``aggregate_ratings("ratings.csv")``.
from tempfile import mkdtemp

import matplotlib.pyplot as plt

from musiceval_sk import ClipEmbedder, aggregate_ratings, make_listening_test, run_study

folder = mkdtemp()
test = make_listening_test(folder, random_state=0)
clips = test.clips.join(aggregate_ratings(test.ratings))

# %%
# Clips become vectors once and are kept; here by the encoder that needs no checkpoint.
embedder = ClipEmbedder("spectral", cache=f"{folder}/embeddings.h5").set_output(transform="pandas")
X = embedder.fit_transform(clips)

# %%
# The study holds out whole systems, tunes ridge regression and SVR inside each fold, and keeps every prediction. Names that begin with ``U_`` are
# utterance-level, over single clips; S_SRCC is system-level, Spearman's rank correlation of the systems' mean scores.
study = run_study(clips, X, cv="system", targets=["impression"], features="spectral", progress=False)
scores = study.scores[study.scores["kind"] == "pooled"].set_index("model").sort_values("U_MSE")
scores[["U_MSE", "U_MSE_low", "U_MSE_high", "S_SRCC"]].round(3)

# %%
# The mean squared error of clips' predicted scores (U_MSE): the lower, the better.
fig, ax = plt.subplots(figsize=(6.5, 3), layout="constrained")
bars = scores["U_MSE"] - scores["U_MSE_low"], scores["U_MSE_high"] - scores["U_MSE"]
ax.errorbar(scores["U_MSE"], scores.index, xerr=bars, fmt="o")
ax.invert_yaxis()
ax.set(xlabel="U_MSE on unseen systems, simulated", xlim=(0, None))
plt.show()
