"""Figures 1 to 3 of the MusicEval paper from the official list of training labels, and the figures that describe them.

    python examples/benchmarks/figures_on_musiceval.py MusicEval-full/sets/train_mos_list.txt [FOLDER]

The data set is CC BY-NC 4.0; pictures made from it are not part of this project.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from musiceval_sk import ScoreDistributionDisplay, SystemScoresDisplay

TARGETS = ["impression", "alignment"]


def main(labels: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    clips = pd.read_csv(labels, names=["clip_id", *TARGETS]).set_index("clip_id")
    clips["system"] = clips.index.str.extract(r"(S\d+)_P\d+", expand=False)

    distribution = ScoreDistributionDisplay.from_clips(clips)
    distribution.figure_.savefig(folder / "figure-1.png", dpi=100)
    for number, target in enumerate(TARGETS, start=2):
        display = SystemScoresDisplay.from_clips(clips, target)
        display.figure_.savefig(folder / f"figure-{number}.png", dpi=100)

    for target in TARGETS:
        scores, groups = clips[target], clips.groupby("system")[target]
        means = groups.mean().sort_values()
        within = np.sqrt(groups.var().mul(groups.count() - 1).sum() / (len(clips) - len(means)))
        explained = (
            1 - ((scores - groups.transform("mean")) ** 2).sum() / ((scores - scores.mean()) ** 2).sum()
        )
        print(
            f"{target}: mean {scores.mean():.2f}, sd {scores.std():.2f}, skewness {scores.skew():.2f}, ",
            end="",
        )
        print(f"excess kurtosis {scores.kurt():.2f}, most often {distribution.counts_[target].idxmax():.1f}")
        shares = [(scores <= 1.5).mean(), scores.between(2.5, 3.5).mean(), (scores >= 4.5).mean()]
        print(
            "  share of clips at most 1.5, from 2.5 to 3.5, at least 4.5: "
            + ", ".join(f"{s:.1%}" for s in shares)
        )
        print(
            f"  system means {means.iloc[0]:.2f} ({means.index[0]}) to {means.iloc[-1]:.2f} ({means.index[-1]})"
        )
        print(
            f"  sd within systems {within:.2f}, of system means {means.std():.2f}, explained by system {explained:.1%}"
        )
    ranks = clips.groupby("system")[TARGETS].mean().corr("spearman").loc[TARGETS[0], TARGETS[1]]
    counts = clips["system"].value_counts().sort_values()
    print(f"{len(clips)} clips of {len(counts)} systems; fewest clips: {counts.head(5).to_dict()}")
    print(f"Spearman correlation of the systems' means in the two dimensions: {ranks:.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "figures-on-musiceval"))
