"""Everything, end to end, on a made-up listening test, ``musiceval demo``: sounds, cache, studies, model, figures, report."""

import time
from pathlib import Path
from typing import Any

import typer

from musiceval_sk._optional import pip_install
from musiceval_sk._text import parts_of
from musiceval_sk.cli import options, output

_CAUTION = """\
SIMULATED: the sounds are synthetic tunes with built-in defects, the raters are random numbers with a bias, and the
encoder is 'spectral' (hand-made statistics), not CLAP. The figures show that it works, nothing about music."""

_REAL = """\
The real thing, on your clips and ratings, with CLAP ({install}):
  musiceval study clips.csv --ratings ratings.csv --encoder laion-clap \\
    --checkpoint music_audioset_epoch_15_esc_90.14.pt --cv system --out study"""

_CONTENTS = "listening-test/, cache/, study-by-*.csv and .json, model.skops, predictions.csv (of the training clips), *.png"


@output.writes("report.html", "study-by-*", "model.skops", "predictions.csv", "*.png", "listening-test")
def demo(
    out: Path = Path("demo-out"), details: options.Details = False, random_state: options.Seed = 0
) -> None:
    """Run everything, end to end, on a made-up listening test: no data, no network, under a minute.

    Parameters
    ----------
    out
        Folder for sounds, cache, tables and figures.

    Examples
    --------
    musiceval demo --out demo-out
    """
    from musiceval_sk import (
        ClipEmbedder,
        aggregate_ratings,
        extract,
        load_clips,
        make_listening_test,
        run_study,
        write_report,
    )
    from musiceval_sk.reporting.summary import summary_parts

    started = time.perf_counter()
    typer.echo(_CAUTION)
    test = make_listening_test(out / "listening-test", random_state=random_state)
    clips = load_clips(test.folder / "clips.csv")
    clips = clips.join(aggregate_ratings(test.folder / "ratings.csv", clips=clips))
    counts = f"{len(clips)} clips of {clips['system'].nunique()} systems, {len(test.ratings)} ratings"
    typer.echo(f"Listening test: {counts}")

    store = str(out / "cache" / "embeddings.h5")
    extracted = extract(clips, "spectral", store)
    if details:
        output.show(extracted)
    embedder = ClipEmbedder("spectral", cache=store).set_output(transform="pandas")
    X = embedder.fit_transform(clips)

    studies = {}
    described = "spectral, mean over windows (simulated)"
    for cv in ("system", "prompt"):
        studies[cv] = run_study(clips, X, cv=cv, random_state=random_state, features=described)
        study = studies[cv]
        output.show(["", *(parts_of(study) if details else summary_parts(study, tables=cv == "system"))])
        made = {f"study-by-{cv}.csv": studies[cv].to_csv, f"study-by-{cv}.json": studies[cv].to_json}
        output.write_files(out, made, tell=False)

    fitted = _fit_and_reload(clips, embedder, out, random_state)
    if details:
        typer.echo(f"\nModel: {fitted}")
    lacking = None
    try:
        _draw(clips, studies["system"], out)
        write_report(studies["system"], out / "report.html", clips=clips, note=" ".join(_CAUTION.split()))
    except ImportError as error:
        lacking = error
    typer.echo(f"{out / 'report.html'}: the study by system, with the clips to listen to")
    typer.echo(f"Beside it, after {time.perf_counter() - started:.0f} s: {_CONTENTS}")
    typer.echo(f"\n{_REAL.format(install=pip_install('clap'))}")
    if lacking is not None:
        typer.echo(f"\nno figures or no report: {lacking}", err=True)
        raise typer.Exit(1)


def _fit_and_reload(clips: Any, embedder: Any, out: Path, random_state: int) -> Any:
    import pandas as pd

    from musiceval_sk import MOSRegressor, load_model, save_model
    from musiceval_sk.scoring.fit import fit_model

    targets = ["impression", "alignment"]
    fitted = fit_model(embedder, MOSRegressor(random_state=random_state), clips, targets)
    about = {**fitted.about, "clips": "simulated listening test"}
    scores = load_model(save_model(fitted.model, out / "model.skops", about=about)).predict(clips)
    pd.DataFrame(scores, index=clips.index, columns=targets).round(4).to_csv(out / "predictions.csv")
    same = "equal" if (scores == fitted.model.predict(clips)).all() else "NOT equal"
    typer.echo(f"Fitted MOSRegressor on all clips; predictions of the file read back are {same}")
    return fitted


def _draw(clips: Any, study: Any, out: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from musiceval_sk import SystemScatterDisplay, SystemScoresDisplay

    ours = study.predictions[study.predictions["model"] == "MOSRegressor"].set_index("clip_id")
    figures = {
        "scores-per-system": "scores of each system's clips",
        "predicted-system-means": "systems never heard in training, MOSRegressor on spectral features",
    }
    for name, title in figures.items():
        figure = Figure(figsize=(11, 4.6), layout="constrained")
        FigureCanvasAgg(figure)
        # Before the displays, which find places for names in the figure as it is.
        figure.suptitle(f"Simulated listening test: {title}")
        for ax, target in zip(figure.subplots(1, 2), ("impression", "alignment"), strict=True):
            if name == "scores-per-system":
                SystemScoresDisplay.from_clips(clips, target, ax=ax)
                continue
            rows, systems = ours[ours["target"] == target], clips["system"]
            SystemScatterDisplay.from_predictions(
                rows["truth"], rows["prediction"], systems=systems, name=target, ax=ax
            )
        figure.savefig(out / f"{name}.png", dpi=120)
