"""
How long the prompts are
========================

Figure 5 of the MusicEval paper for any clips table: a violin of the words of each distinct prompt, and every prompt as a dot.
"""

# %%
# For your own clips: ``prompts = load_clips("clips.csv")["prompt"]``.
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import numpy as np

from musiceval_sk import make_listening_test

prompts = make_listening_test(mkdtemp(), n_systems=2, n_prompts=40, seconds=1).clips["prompt"]

# %%
lengths = np.array([len(prompt.split()) for prompt in sorted({*prompts.dropna().str.strip()} - {""})])
fig, ax = plt.subplots(figsize=(3.5, 4), layout="constrained")
ax.violinplot(lengths, showmedians=True, quantiles=[0.25, 0.75])
ax.plot(0.7 - 0.02 * (np.arange(len(lengths)) % 5), lengths, ".", alpha=0.6)
ax.set(xticks=[], ylabel="length of a prompt (words)", title=f"{len(lengths)} distinct prompts, simulated")
plt.show()
