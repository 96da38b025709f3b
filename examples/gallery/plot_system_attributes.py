"""
What the systems are like
=========================

Figure 4 of the MusicEval paper: the number of systems by attribute. The counts are the paper's; which system is which it does not say.
"""

# %%
import matplotlib.pyplot as plt
import pandas as pd

systems = pd.DataFrame(
    {
        "access": ["accessible"] * 25 + ["not accessible"] * 6,
        "year": [2022] * 10 + [2023] * 14 + [2024] * 7,
    }
)

# %%
fig, axes = plt.subplots(len(systems.columns), figsize=(5, 3), sharex=True, layout="constrained")
for ax, attribute in zip(axes, systems, strict=True):
    counts = systems[attribute].astype(str).value_counts(sort=False)
    ax.bar_label(ax.barh(counts.index, counts), padding=3)
    ax.margins(x=0.12)
    ax.set_title(attribute, loc="left", fontsize=10)
    ax.invert_yaxis()
ax.set_xlabel(f"number of systems, of {len(systems)}")
plt.show()
