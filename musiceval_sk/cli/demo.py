"""The whole road on a made-up listening test: sounds, cache, study, model, figures."""

import time
from pathlib import Path

import pandas as pd
import typer

from musiceval_sk.datasets.clips import load_clips
from musiceval_sk.datasets.synthetic import make_listening_test
from musiceval_sk.estimators.persistence import load_model, save_model
from musiceval_sk.estimators.regressor import MOSRegressor
from musiceval_sk.features.embedder import ClipEmbedder
from musiceval_sk.features.extract import extract
from musiceval_sk.ratings.aggregate import aggregate_ratings
from musiceval_sk.reporting.page.report import write_report
from musiceval_sk.scoring.fit import fit_model
from musiceval_sk.studies.result import StudyResult
from musiceval_sk.studies.run import run_study

TARGETS = ["impression", "alignment"]

_CAUTION = """\
SIMULATED: the sounds are synthetic tunes with built-in defects, the raters are random numbers with a bias, and the
encoder is 'spectral' (hand-made statistics), not CLAP. The figures show that the road works, nothing about music."""

_REAL = """\
The real thing, on your clips and ratings, with CLAP (pip install "musiceval_sk[clap]"):
  musiceval study clips.csv --ratings ratings.csv --encoder laion-clap \\
    --checkpoint music_audioset_epoch_15_esc_90.14.pt --cv system --out study"""


def run_demo(out: Path, *, seed: int = 0) -> dict[str, StudyResult]:
    """Make a listening test, embed it, compare predictors, fit and reload a model, draw two figures, write a report.

    Parameters
    ----------
    out : Path
        Folder to write into; an earlier demo's files are replaced, its cache is used again.
    seed : int, default=0
        Seed of everything.

    Returns
    -------
    dict of str to StudyResult
        The study under each split.
    """
    started = time.perf_counter()
    typer.echo(_CAUTION)
    test = make_listening_test(out / "listening-test", random_state=seed)
    clips = load_clips(test.folder / "clips.csv")
    clips = clips.join(aggregate_ratings(test.folder / "ratings.csv", clips=clips))
    _say(
        "Listening test",
        f"{len(clips)} clips of {clips['system'].nunique()} systems, {len(test.ratings)} ratings",
    )

    store = out / "cache" / "embeddings.h5"
    typer.echo(extract(clips, "spectral", str(store)))
    embedder = ClipEmbedder("spectral", cache=str(store)).set_output(transform="pandas")
    X = embedder.fit_transform(clips)

    studies = {}
    for cv in ("system", "prompt"):
        _say("Study", f"by {cv}")
        studies[cv] = run_study(
            clips, X, cv=cv, random_state=seed, features="spectral, mean over windows (simulated)"
        )
        typer.echo(studies[cv])
        studies[cv].to_csv(out / f"study-by-{cv}.csv")
        studies[cv].to_json(out / f"study-by-{cv}.json")

    _fit_and_reload(clips, embedder, out, seed)
    drawn = _draw(clips, studies["system"], out) and _report(clips, studies["system"], out)
    _say("Where everything is", f"{out}/ ({time.perf_counter() - started:.0f} s)")
    for line in _contents(out):
        typer.echo(line)
    _say("Next", _REAL)
    if not drawn:
        typer.echo(
            '\nno figures or no report: matplotlib or jinja2 is missing (pip install "musiceval_sk[report]")',
            err=True,
        )
        raise typer.Exit(1)
    return studies


def _fit_and_reload(clips: pd.DataFrame, embedder: ClipEmbedder, out: Path, seed: int) -> None:
    regressor = MOSRegressor(n_ensemble=4, random_state=seed)
    fitted = fit_model(embedder, regressor, clips, TARGETS)
    typer.echo(fitted)
    about = {**fitted.about, "clips": "simulated listening test"}
    path = save_model(fitted.model, out / "model.skops", about=about)
    scores = load_model(path).predict(clips)
    predictions = pd.DataFrame(scores, index=clips.index, columns=TARGETS)
    predictions.round(4).to_csv(out / "predictions.csv")
    same = bool((scores == fitted.model.predict(clips)).all())
    _say(
        "Model",
        f"fitted, saved, reloaded; predictions of the reloaded model are {'equal' if same else 'NOT equal'}",
    )


def _draw(clips: pd.DataFrame, study: StudyResult, out: Path) -> bool:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    from musiceval_sk.reporting.plots.scores import SystemScoresDisplay
    from musiceval_sk.reporting.plots.system_scatter import SystemScatterDisplay

    figures = {
        name: Figure(figsize=(11, 4.6), layout="constrained")
        for name in ("scores-per-system", "predicted-system-means")
    }
    found = study.predictions[study.predictions["model"] == "ridge"]
    for name, figure in figures.items():
        FigureCanvasAgg(figure)
        # Before the displays, which find places for names in the figure as it is.
        figure.suptitle(
            "Simulated listening test: scores of each system's clips"
            if name == "scores-per-system"
            else "Simulated listening test: systems never heard in training, ridge on spectral features"
        )
        for ax, target in zip(figure.subplots(1, 2), TARGETS, strict=True):
            if name == "scores-per-system":
                SystemScoresDisplay.from_clips(clips, target, ax=ax)
            else:
                rows = found[found["target"] == target].set_index("clip_id")
                SystemScatterDisplay.from_predictions(
                    rows["truth"], rows["prediction"], systems=clips["system"], name=target, ax=ax
                )
        figure.savefig(out / f"{name}.png", dpi=120)
    return True


def _report(clips: pd.DataFrame, study: StudyResult, out: Path) -> bool:
    try:
        write_report(study, out / "report.html", clips=clips, note=" ".join(_CAUTION.split()))
    except ImportError:
        return False
    return True


def _contents(out: Path) -> list[str]:
    meaning = {
        "listening-test": "sounds, clips.csv, ratings.csv",
        "cache": "embeddings (HDF5)",
        "study-by-system.csv": "scores, also as .json with every prediction",
        "study-by-prompt.csv": "the same for prompts never met in training",
        "model.skops": "the fitted model, for musiceval predict",
        "predictions.csv": "its scores of the clips it was fitted on",
        "scores-per-system.png": "figure",
        "predicted-system-means.png": "figure",
        "report.html": "the study by system as a page, with the clips to listen to",
    }
    return [f"  {out / name}  {what}" for name, what in meaning.items() if (out / name).exists()]


def _say(title: str, text: str) -> None:
    typer.echo(f"\n== {title}: {text}" if "\n" not in text else f"\n== {title}\n{text}")
