"""Reliability of two public sets of ratings, as docs/raters.md states it: VCC2018 (voices) and PAM (sounds, music).

Usage: python reliability_of_public_ratings.py FOLDER, with FOLDER/vcc2018/ratings.csv.gz (rater, clip_id, system, score)
and FOLDER/pam/ratings.csv.gz (clip_id, system, slot and four axes). Neither is part of this project.
"""

import sys
import time
from pathlib import Path

import pandas as pd

from musiceval_sk import Disagreement, StraightLining, human_ceiling, screen_ratings


def main(folder: Path) -> None:
    voices = pd.read_csv(folder / "vcc2018" / "ratings.csv.gz")
    for halves in ("rating", "rater"):
        started = time.perf_counter()
        ceiling = human_ceiling(voices, targets=["score"], by=halves)
        print(f"VCC2018, halves by {halves}, {time.perf_counter() - started:.1f} s\n{ceiling}\n")
    raters = ceiling.raters["score"]
    print(raters[["count", "mean", "sd", "bias", "agreement"]].describe().round(3), "\n")

    started = time.perf_counter()
    screening = screen_ratings(voices, [StraightLining(), Disagreement()], targets=["score"])
    print("\n".join(str(screening).splitlines()[:3]), f"({time.perf_counter() - started:.1f} s)\n")

    sounds = pd.read_csv(folder / "pam" / "ratings.csv.gz")
    axes = ["production_quality", "production_complexity", "content_enjoyment", "content_usefulness"]
    print(f"PAM\n{human_ceiling(sounds, targets=axes, scale=(0, 10), rater=None)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
