"""A first study: a listening test, features, predictors compared on systems that training never heard.

Runs as it stands, in about ten seconds: python examples/first_study.py [FOLDER]

Sounds and raters are simulated and the features are the hand-made `spectral` ones. For your own data replace the first two
steps by load_clips("clips.csv") and aggregate_ratings("ratings.csv").
"""

import sys
from pathlib import Path

from sklearn.linear_model import Ridge

from musiceval_sk import ClipEmbedder, aggregate_ratings, make_listening_test, run_study
from musiceval_sk.estimators.lookup import default_models, scaled


def main(folder: Path) -> None:
    test = make_listening_test(folder / "listening-test", random_state=1)
    clips = test.clips.join(aggregate_ratings(test.ratings))

    embedder = ClipEmbedder("spectral", cache=folder / "embeddings.h5").set_output(transform="pandas")
    X = embedder.fit_transform(clips)

    models = default_models(clips) | {"ridge, weak": scaled(Ridge(alpha=1.0))}
    study = run_study(
        clips, X, models, cv="system", targets=["impression"], features="spectral (simulated sounds)"
    )
    print(study)
    study.to_csv(folder / "study.csv")
    print(f"\nwrote {folder / 'study.csv'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "first-study-out"))
