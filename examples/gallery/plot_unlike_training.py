"""
Sounds unlike those of training
===============================

A model predicts a score for anything, also for what it cannot judge. ``TrainingDomain`` tells how unusual a vector is beside those of
training: the percentage of training clips that lay nearer to their neighbours.
"""

# %%
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import numpy as np
import soundfile

from musiceval_sk import ClipEmbedder, TrainingDomain, aggregate_ratings, make_listening_test

folder = mkdtemp()
test = make_listening_test(folder, random_state=0)
clips = test.clips.join(aggregate_ratings(test.ratings))
embedder = ClipEmbedder("spectral", cache=f"{folder}/embeddings.h5", modality="audio").set_output(
    transform="pandas"
)
X = embedder.fit_transform(clips)
known, held_out = X[clips["system"] <= "S09"], X[clips["system"] > "S09"]

# %%
# The same held-out clips, buried deeper and deeper in white noise.
rng = np.random.default_rng(0)
groups = {"training": known, "new systems": held_out}
for level in (-10, 0):
    noisy = clips.loc[held_out.index].copy()
    for clip, path in noisy["path"].items():
        sound, rate = soundfile.read(path)
        noise = rng.normal(0, np.std(sound) * 10 ** (level / 20), len(sound))
        noisy.loc[clip, "path"] = f"{folder}/{clip}_{level}.wav"
        soundfile.write(noisy.loc[clip, "path"], sound + noise, rate)
    groups[f"noise at {level} dB"] = embedder.transform(noisy)

# %%
domain = TrainingDomain().fit(known)
percentiles = [domain.measure(vectors)["sound_percentile"] for vectors in groups.values()]
fig, ax = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
ax.boxplot(percentiles, tick_labels=list(groups))
ax.axhline(95, color="gray", linewidth=1, linestyle="--")
ax.set(ylabel="training clips that lie nearer (%)")
plt.show()
