"""The human ceiling at other numbers of ratings a clip, foretold and drawn, on two public sets of ratings (docs/curves.md).

Usage: python ceiling_by_ratings.py FOLDER, with FOLDER/vcc2018/ratings.csv.gz (rater, clip_id, system, score) and
FOLDER/pam/ratings.csv.gz (clip_id, system, slot and four axes). Neither is part of this project.

"foretold": by `HumanCeiling.by_ratings`, which steps split halves of all ratings up or down. "drawn": r ratings of each clip against r
others, mean over 20 random draws; it exists up to half of the ratings.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from musiceval_sk import human_ceiling

DRAWS = 20


def drawn(ratings: pd.DataFrame, column: str, r: int, seed: int) -> tuple[float, float]:
    """Spearman's correlation of two scores of r ratings each, over clips and over systems."""
    shuffled = ratings.sample(frac=1, random_state=seed)
    place = shuffled.groupby("clip_id").cumcount()
    enough = shuffled["clip_id"].isin(shuffled["clip_id"][place == 2 * r - 1])
    halves = [
        shuffled[enough & place.between(first, first + r - 1)]
        .groupby("clip_id")
        .agg(score=(column, "mean"), system=("system", "first"))
        for first in (0, r)
    ]
    systems = [half.groupby("system")["score"].mean() for half in halves]
    of_clips = halves[0]["score"].corr(halves[1]["score"], method="spearman")
    return of_clips, systems[0].corr(systems[1], method="spearman")


def main(folder: Path) -> None:
    for name, column, scale, rater, numbers, by in (
        ("vcc2018", "score", (1, 5), "rater", (1, 2, 4, 8, 16), ("rating", "rater")),
        ("pam", "content_enjoyment", (0, 10), None, (1, 2, 5, 10, 20), ("rating",)),
    ):
        ratings = pd.read_csv(folder / name / "ratings.csv.gz")
        for halves in by:
            ceiling = human_ceiling(ratings, targets=[column], scale=scale, rater=rater, by=halves)
            table = ceiling.by_ratings(numbers)
            table = table[table["metric"].isin(["U_SRCC", "S_SRCC"])].drop(columns="target")
            print(f"\n{name}, {column}, halves by {halves}, {ceiling.panels[column]:.2f} ratings a clip")
            print(table.round(3).to_string(index=False))
        ratings = ratings.dropna(subset=[column])
        for label in ("clip_id", "system"):
            ratings[label] = ratings[label].astype(str).str.strip()
        for r in [number for number in numbers if number <= ceiling.panels[column] / 2 + 0.1]:
            found = np.mean([drawn(ratings, column, r, seed) for seed in range(DRAWS)], axis=0)
            print(f"{name}, another panel of {r}, drawn: U_SRCC {found[0]:.3f}, S_SRCC {found[1]:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
