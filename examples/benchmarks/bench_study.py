"""How long a study of MusicEval's size takes: five models, four splits, two targets, intervals and tests included.

    python examples/benchmarks/bench_study.py [--jobs 2] [--columns 1024] [--clips 2748]

Made-up clips: 31 systems, 100 prompts, vectors of 1,024 columns (half named audio, half text) that hold something of both scores.
Look-ups of system and prompt, ridge, SVR and MOSRegressor meet the splits by system, prompt, both and at random, once from
scratch and once more with everything kept.

Measured on 2 CPU cores (AMD EPYC), `--jobs 2`: 150.6 s from scratch; 37.0 s again with all fits kept (26.7 s in another run), 6.7 s of
them without intervals and tests.
"""

import argparse
import tempfile
import time
import warnings

import numpy as np
import pandas as pd

from musiceval_sk import default_models, run_study

SPLITS = ["system", "prompt", "system+prompt", "random"]
MODELS = ["system mean", "prompt mean", "ridge", "SVR", "MOSRegressor"]


def made_clips(n_clips, n_columns, rng):
    """Draw scores of systems, prompts and clips, and vectors that are a noisy mixture of them."""
    systems, prompts = rng.integers(31, size=n_clips), rng.integers(100, size=n_clips)
    quality, mood = rng.normal(0, 0.7, 31)[systems], rng.normal(0, 0.3, 100)[prompts]
    clips = pd.DataFrame(
        {
            "path": "",
            "prompt": [f"prompt {number}" for number in prompts],
            "system": [f"S{number:02d}" for number in systems],
            "impression": np.clip(3 + quality + rng.normal(0, 0.5, n_clips), 1, 5),
            "alignment": np.clip(3 + quality / 2 + mood + rng.normal(0, 0.6, n_clips), 1, 5),
        },
        index=pd.Index([f"clip{number:04d}" for number in range(n_clips)], name="clip_id"),
    )
    causes = np.column_stack([quality, mood, clips["impression"] - 3, clips["alignment"] - 3])
    mixed = causes @ rng.normal(size=(4, n_columns)) / 4 + rng.normal(size=(n_clips, n_columns))
    half = n_columns // 2
    names = [f"audio_{i}" for i in range(half)] + [f"text_{i}" for i in range(n_columns - half)]
    return clips, pd.DataFrame(mixed.astype(np.float32), index=clips.index, columns=names)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=2748)
    parser.add_argument("--columns", type=int, default=1024)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    clips, X = made_clips(arguments.clips, arguments.columns, np.random.default_rng(0))
    models = {name: model for name, model in default_models(clips).items() if name in MODELS}
    with tempfile.TemporaryDirectory() as folder:
        for title, options in (
            ("from scratch", {}),
            ("again, all fits kept", {}),
            ("again, without intervals and tests", {"n_resamples": 0}),
        ):
            began = time.perf_counter()
            study = run_study(clips, X, models, SPLITS, memory=folder, n_jobs=arguments.jobs, **options)
            print(f"{title:36s} {time.perf_counter() - began:7.1f} s", flush=True)
    print(
        study.scores[study.scores["kind"] == "pooled"].drop(columns=["features", "kind"]).round(3).to_string()
    )


if __name__ == "__main__":
    main()
