"""How far a look-up without audio gets on MusicEval's official training labels.

    python examples/benchmarks/lookup_on_musiceval.py [MusicEval-full/sets/train_mos_list.txt]

Each of 20 random 85/15 splits (seeds 0 to 19) scores the mean training score of a clip's system on the clips left out.

Measured on the 1,923 official training labels, mean (lowest to highest) of S_SRCC over the splits: impression 0.954 (0.905 to
0.977), alignment 0.886 (0.843 to 0.925).
"""

import os
import sys
from pathlib import Path

import pandas as pd

from musiceval_sk import LookupRegressor, run_study

DATA = Path(os.environ.get("MUSICEVAL_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


def main(path):
    clips = pd.read_csv(path, names=["clip_id", "impression", "alignment"]).set_index("clip_id")
    parts = clips.index.to_series().str.extract(r"(?P<system>S\d+)_(?P<prompt>P\d+)")
    clips = clips.join(parts).assign(path="")
    nothing = pd.DataFrame({"audio_0": 0.0}, index=clips.index)
    model = {"system mean": LookupRegressor(clips["system"])}
    for target in ("impression", "alignment"):
        scores = pd.Series(
            [
                run_study(clips, nothing, model, "85/15", targets=target, random_state=seed)
                .table(target)["S_SRCC"]
                .item()
                for seed in range(20)
            ]
        )
        print(f"{target:10s} S_SRCC {scores.mean():.3f} ({scores.min():.3f} to {scores.max():.3f})")


if __name__ == "__main__":
    given = Path(sys.argv[1]) if len(sys.argv) > 1 else DATA / "musiceval" / "sets" / "train_mos_list.txt"
    if not given.is_file():
        sys.exit(f"{given}: no such list; name MusicEval's train_mos_list.txt")
    main(given)
