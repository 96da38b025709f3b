"""A listening test from clips to a study: design, page, answers, screening, opinion scores, predictors.

Runs as it stands, in about half a minute: python examples/listening_test.py [FOLDER]

Raters are simulated: ten of them, one of whom scores at random and one always the same. The clips are those of jazz/ in
the folder that MUSICEVAL_TEST_DATA names, of three systems, one of which is real music; without it, sounds are made. For a test of your
own leave `simulate` out: serve the page by `musiceval listen serve`, and read what it wrote.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from musiceval_sk import (
    ClipEmbedder,
    Disagreement,
    DuplicateProbe,
    RealMusicProbe,
    StraightLining,
    aggregate_ratings,
    human_ceiling,
    load_clips,
    make_listening_test,
    run_study,
    screen_ratings,
)
from musiceval_sk.estimators.lookup import default_models
from musiceval_sk.listening import ListeningTest, build_page, design_test, read_answers
from musiceval_sk.listening.export import probes_of

CARELESS, CONSTANT = "R09", "R10"


def take_clips(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give the clips to rate, and the real music to hide among them."""
    data = os.environ.get("MUSICEVAL_TEST_DATA")
    if data and (Path(data) / "jazz").is_dir():
        clips = load_clips(Path(data) / "jazz" / "clips.csv")
        is_probe = clips.index.isin(clips.index[clips["system"] == "real"][::3])
    else:
        clips = make_listening_test(folder / "sounds", n_systems=6, n_prompts=8, random_state=1).clips
        is_probe = (clips["system"] == clips["system"].iloc[0]).to_numpy()  # let the first be musicians
    return clips[~is_probe], clips[is_probe]


def simulate(test: ListeningTest, page: Path, folder: Path) -> None:
    """Answer as raters would, and write the files that they would download from the page."""
    rng = np.random.default_rng(0)
    shown = json.loads((page / "test.json").read_text())
    systems = sorted({clip["system"] for clip in test.clips.values() if not clip["probe"]})
    worth = {system: 4.2 - 2.2 * place / len(systems) for place, system in enumerate(systems)}
    own = {name: rng.normal(0, 0.4, size=2) for name in test.clips}
    bias = {rater: rng.normal(0, 0.3) for rater in test.raters}
    given: dict[str, list[dict]] = {rater: [] for rater in test.raters}
    for rater, batch, position, trial in test.trials():
        name = trial["clip_id"]
        clip = test.clips[name]
        heard = (4.8 if clip["probe"] else worth[clip["system"]]) + own[name] + bias[rater]
        scores = np.clip(np.rint(heard + rng.normal(0, 0.35, size=2)), 1, 5).astype(int)
        if rater == CARELESS:
            scores = rng.integers(1, 6, size=2)
        if rater == CONSTANT:
            scores = np.array([2, 2])
        trials = shown["raters"][rater][batch - 1]["trials"]
        answer = {
            "rater": rater,
            "batch": batch,
            "position": position,
            "trial": trials[position - 1]["trial"],
        }
        answer |= {
            "scores": dict(zip(test.scales, scores.tolist(), strict=True)),
            "seconds": 20.0,
            "heard": 1.0,
        }
        given[rater].append(answer | {"order": position, "answered_at": "2026-01-01T00:00:00Z"})
    folder.mkdir(parents=True, exist_ok=True)
    for rater, answers in given.items():
        content = {"format": "musiceval-answers", "version": 1, "test": shown["id"], "rater": rater}
        (folder / f"{rater}.json").write_text(json.dumps(content | {"answers": answers}))


def main(folder: Path) -> None:
    clips, real = take_clips(folder)
    test = design_test(clips, n_raters=10, per_clip=5, batch_size=20, probes=real, seed=0)
    print(test.report())
    test.save(folder / "design.json")
    page = build_page(test, folder / "page")

    simulate(test, page, folder / "downloads")
    ratings = read_answers(folder / "downloads", test)
    ratings.to_csv(folder / "ratings.csv", index=False)

    probes = probes_of(test, ratings["clip_id"])
    rules = [RealMusicProbe(probes["real"]), DuplicateProbe(probes["copy"]), StraightLining()]
    rules.append(Disagreement(least=0.3))
    screening = screen_ratings(ratings, rules)
    print(f"\n{screening}\n")
    print(human_ceiling(screening.kept, clips=test.rated_clips(), random_state=0))

    rated = clips.join(aggregate_ratings(screening.kept, clips=clips)[["impression", "alignment"]])
    rated = rated.dropna(subset=["impression", "alignment"])
    embedder = ClipEmbedder("spectral", cache=folder / "embeddings.h5").set_output(transform="pandas")
    X = embedder.fit_transform(rated)
    study = run_study(
        rated, X, default_models(rated), cv="prompt", targets=["impression"], features="spectral"
    )
    print(f"\n{study}")
    study.to_csv(folder / "study.csv")
    print(f"\nwrote {folder / 'study.csv'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "listening-test-out"))
