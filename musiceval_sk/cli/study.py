"""Commands that compare predictors: ``musiceval study | curve | report``."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from musiceval_sk._text import counted, require_known
from musiceval_sk.cli import options, output

_REST = "All figures, what the splits share with training, and what S metrics cannot show here: --details"
_REST_OF_CURVE = "All sizes, models and metrics, the human ceiling, and what intervals hold: --details, or curve.txt in --out"
_BESIDE_A_FILE = ("clips", "out", "n_jobs", "memory", "details", "force")


@output.writes("study.csv", "study.json")
def study(
    context: typer.Context,
    source: options.ScoredClips,
    machine: options.Machine,
    cv: list[str] | None = None,
    n_splits: options.Folds = None,
    models: Annotated[list[str] | None, Option("--model")] = None,
    encoder: list[str] | None = None,
    pooling: list[str] | None = None,
    n_resamples: Annotated[int, Option("--resamples", min=0)] = 1000,
    random_state: options.Seed = 0,
    memory: Path | None = None,
    details: options.Details = False,
    out: Path | None = None,
) -> None:
    """Cross-validate ridge, SVR, MOSRegressor and baselines without audio under named splits: metrics, intervals, tests.

    A study file (.toml, .yaml) in the place of the clips says what to do; beside it only --out, --force, --jobs, --memory and --details are
    options.

    Parameters
    ----------
    cv
        system, prompt, system+prompt, random, 85/15 or official; repeat for several. Default: system.
    models
        ridge, SVR or MOSRegressor; repeat for several. Default: all. Baselines without audio are always there.
    encoder
        spectral, laion-clap, hf-clap, hf-audio, muq, or one that a package registers; with options of its own as in
        'hf-audio:checkpoint=models/mert,layer=7'; repeat for several. Default: spectral.
    pooling
        How windows become one vector: mean, mean+std, max, first; repeat for several. Default: mean.
    n_resamples
        Resamples for intervals and tests; 0 for neither.
    memory
        Folder that keeps finished fits, so that a killed study goes on. Default: fits, in --out.
    out
        Folder for study.csv and study.json.

    Examples
    --------
    musiceval study clips.csv --ratings ratings.csv --cv system --cv prompt --out study
    """
    from musiceval_sk.reporting.summary import summary_parts
    from musiceval_sk.studies.plan import STUDY_FILES, StudyPlan

    if source.clips.suffix.lower() in STUDY_FILES:
        _refuse_beside_a_file(context)
        plan = StudyPlan.from_file(source.clips)
    else:
        encoders, poolings = encoder or ["spectral"], pooling or ["mean"]
        names = [options.split_encoder(text)[0] for text in encoders]
        features = {}
        for text, name in zip(encoders, names, strict=True):
            # Of several encoders, the hand-made one takes no checkpoint.
            settings = {} if text == "spectral" and len(encoders) > 1 else machine.given(text)
            several = {"pooling": poolings if len(poolings) > 1 else poolings[0]}
            features[name if names.count(name) == 1 else text] = {"encoder": name, **several, **settings}
        how: dict[str, Any] = {"features": features, "models": models, "cv": cv or ["system"]}
        how |= {"n_splits": n_splits, "random_state": random_state, "n_resamples": n_resamples}
        how |= {"ratings_options": source.reading.given() or None, "cache": machine.cache}
        plan = StudyPlan(**source.places(), **how)
    kept = memory or plan.memory or (out and out / "fits")
    result = replace(plan, memory=kept, n_jobs=machine.n_jobs or plan.n_jobs).run()
    output.show(result if details else [*summary_parts(result), "", _REST])
    output.write_files(out, {"study.csv": result.to_csv, "study.json": result.to_json})


def _refuse_beside_a_file(context: typer.Context) -> None:
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name not in _BESIDE_A_FILE
        and getattr(context.get_parameter_source(str(parameter.name)), "name", "") == "COMMANDLINE"
    ]
    if given:
        words = "with a study file only --out, --force, --jobs, --memory and --details are options"
        raise ValueError(f"{', '.join(given)}: {words}; all else is said in the file")


@output.writes("curve.csv", "steps.csv", "ceiling.csv", "curve.txt", "*-by-*.png")
def curve(
    source: options.ScoredClips,
    machine: options.Machine,
    grows: list[str] | None = None,
    sizes: Annotated[list[str] | None, Option("--size")] = None,
    models: Annotated[list[str] | None, Option("--model")] = None,
    metrics: Annotated[list[str] | None, Option("--metric")] = None,
    cv: str = "system",
    n_splits: options.Folds = None,
    n_repeats: Annotated[int, Option("--repeats", min=1)] = 10,
    anonymous: options.Anonymous = False,
    encoder: str = "spectral",
    pooling: str = "mean",
    random_state: options.Seed = 0,
    details: options.Details = False,
    out: Path | None = None,
) -> None:
    """Show how scores grow with clips, systems and ratings a clip, and which of them still paid.

    Parameters
    ----------
    grows
        clips, systems or ratings (a clip); repeat for several. Default: clips and, if they are named, systems;
        with --ratings also ratings.
    sizes
        Size to try: a number (40), or with a point a share (0.5) of what there is; repeat for several, with a
        single --grows if numbers. Default: all, a half, a quarter, an eighth.
    models
        global mean, system mean, prompt mean, ridge, SVR or MOSRegressor (slow); repeat for several. Default:
        the means and ridge.
    metrics
        One of the eight; repeat for several. Default: S_SRCC, U_SRCC.
    cv
        system, prompt, system+prompt, random, 85/15 or official.
    n_repeats
        Random parts of each size.
    out
        Folder for curve.csv, steps.csv, ceiling.csv, curve.txt and figures.

    Examples
    --------
    musiceval curve clips.csv --ratings ratings.csv --cv system --out curve
    """
    from musiceval_sk import default_models, score_learning_curve
    from musiceval_sk._ids import systems_if_named
    from musiceval_sk.ratings.aggregate import single_ratings
    from musiceval_sk.reporting.summary import curve_parts
    from musiceval_sk.studies.cell import targets_of
    from musiceval_sk.studies.curve import models_of_curves
    from musiceval_sk.studies.plan import embed_readable

    table, rated = source.load(), single_ratings(source.clips, source.rated)
    may_grow = {"clips": True, "systems": systems_if_named(table) is not None, "ratings": rated is not None}
    known = default_models(table, random_state=random_state) | models_of_curves(table)
    require_known("--model", models or [*known], known)
    embedder = machine.embedder(encoder, pooling).fit(table)
    found = score_learning_curve(
        table,
        lambda: embed_readable(embedder, table, targets_of(table, source.targets)),
        models and {name: known[name] for name in models},
        cv,
        grows=grows or [name for name, may in may_grow.items() if may],
        sizes=sizes and [_size(text) for text in sizes],
        ratings=rated,
        targets=source.targets,
        metrics=metrics,
        n_splits=n_splits,
        n_repeats=n_repeats,
        scale=source.scale,
        rater=None if anonymous else "rater",
        features=f"{encoder}, {embedder.provenance()}",
        random_state=random_state,
        n_jobs=machine.n_jobs,
    )
    output.show(found if details else [*curve_parts(found), "", _REST_OF_CURVE])
    if out is not None:
        names, figures = [path.name for path in found.to_csv(out)], _figures(found)
        files = {"curve.txt": lambda path: path.write_text(f"{found}\n")} | figures
        output.write_files(out, files, tell=False)
        drawn = f" and {counted(len(figures), 'figure')}" if figures else ""
        typer.echo(f"wrote {', '.join([*names, 'curve.txt'])}{drawn} to {out}", err=True)


def _size(text: str) -> int | float:
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        raise ValueError(f"--size {text!r} is no number, such as 40, and no share, such as 0.5") from None


def _figures(found: Any) -> dict[str, Any]:
    """Draw every target, metric and kind of growth that some model could be judged by; nothing without matplotlib."""
    from musiceval_sk import ScoreLearningCurveDisplay

    lines = found.table[(found.table["kind"] == found.kind) & found.table["score"].notna()]
    figures: dict[str, Any] = {}
    for target, metric, grows in lines[["target", "metric", "grows"]].drop_duplicates().to_numpy():
        try:
            display = ScoreLearningCurveDisplay.from_curve(found, target, metric, grows=grows)
        except ImportError as error:
            typer.echo(f"no figures: {error}", err=True)
            break
        save = partial(display.figure_.savefig, format="png", dpi=150)
        figures[f"{target}-{metric}-by-{grows}.png"] = save
    return figures


@output.writes()
def report(
    study: Path,
    reading: options.Reading,
    clips: Path | None = None,
    ratings: Path | None = None,
    pattern: str | None = None,
    prompts: Path | None = None,
    audio: str = "link",
    max_audio_mb: Annotated[float, Option("--max-audio-mb", min=0)] = 20.0,
    note: str = "",
    out: Path | None = None,
    force: output.Force = False,
) -> None:
    """Write a study as one HTML page: verdict, tables, figures, and the clips to listen to.

    Parameters
    ----------
    study
        Folder that musiceval study --out wrote, or a study.json.
    clips
        Clips table, folder or MusicEval of the study; without it no systems, prompts and sounds.
    ratings
        Ratings, for the raters' spread; a file that the study was given is read as there unless options say how.
    audio
        link, embed or none: how the page holds sounds.
    max_audio_mb
        Most megabytes that embedded sounds may add.
    note
        A sentence above everything else.
    out
        Page to write. Default: report.html, beside the study.

    Examples
    --------
    musiceval report study --clips clips.csv --ratings ratings.csv
    """
    from musiceval_sk import StudyResult, write_report

    study = study / "study.json" if study.is_dir() else study
    out = out or study.with_name("report.html")
    if not force:
        output.refuse_to_replace(out)
    table = None if clips is None else options.load_known(clips, pattern=pattern, prompts=prompts)
    settings: dict[str, Any] = {"audio": audio, "max_audio_mb": max_audio_mb, "note": note}
    result = StudyResult.from_json(study)
    of_study = result.about.get("ratings", {"file": None})
    usual = of_study["options"] if ratings and ratings.name == of_study["file"] else {}
    rated = reading.read(ratings, result.targets, usual=usual)
    page = write_report(result, out, clips=table, ratings=rated, **settings)
    typer.echo(f"wrote {out} ({page.stat().st_size / 1e6:.1f} MB)")
