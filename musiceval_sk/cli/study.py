"""``musiceval study``: predictors compared under honest splits."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from musiceval_sk.cli.options import (
    Cache,
    Checkpoint,
    Device,
    Pattern,
    Prompts,
    Ratings,
    Scale,
    Seed,
    Targets,
    Tokenizer,
    encoder_options,
    path_text,
)

_WITH_A_FILE = ("clips", "out", "jobs", "memory")


def study(
    context: typer.Context,
    clips: Annotated[
        Path,
        typer.Argument(
            help="Clips table (.csv, .tsv, .jsonl), folder of sound files, or MusicEval; or a study file (.toml, .yaml)."
        ),
    ],
    ratings: Ratings = None,
    target: Targets = None,
    cv: Annotated[
        list[str] | None,
        typer.Option(
            help="system, prompt, system+prompt, random, 85/15 or official; repeat for several. Default: system."
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(min=2, help="Number of folds. Default: 5, or one a group where there are fewer."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="ridge, SVR or MOSRegressor; repeat for several. Default: all. Look-ups are always there."
        ),
    ] = None,
    pattern: Pattern = None,
    prompts: Prompts = None,
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            help="spectral, laion-clap, hf-clap, or one that a package registers; repeat for several. Default: spectral."
        ),
    ] = None,
    checkpoint: Checkpoint = None,
    tokenizer: Tokenizer = None,
    device: Device = None,
    cache: Cache = None,
    pooling: Annotated[
        list[str] | None,
        typer.Option(
            help="How windows become one vector: mean, mean+std, max, first; repeat for several. Default: mean."
        ),
    ] = None,
    scale: Scale = (1, 5),
    resamples: Annotated[
        int, typer.Option(min=0, help="Resamples for intervals and tests; 0 for neither.")
    ] = 1000,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", help="Processes to use. Default: 1.")] = None,
    seed: Seed = 0,
    memory: Annotated[
        Path | None,
        typer.Option(
            help="Folder that keeps finished fits, so that a killed study goes on. Default: fits, in --out."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for study.csv and study.json.")] = None,
) -> None:
    """Cross-validate look-ups, ridge, SVR and MOSRegressor under named splits: all eight metrics, intervals, tests."""
    from musiceval_sk.studies.plan import STUDY_FILES, StudyPlan

    changes: dict[str, Any] = {}
    if clips.suffix.lower() in STUDY_FILES:
        _refuse_beside_a_file(context)
        plan = StudyPlan.from_file(clips)
    else:
        plan = StudyPlan(
            clips=clips,
            features=_features(encoder or ["spectral"], checkpoint, tokenizer, device, pooling or ["mean"]),
            models=model,
            cv=cv or ["system"],
            targets=target,
            ratings=ratings,
            pattern=pattern,
            prompts=prompts,
            scale=scale,
            n_splits=folds,
            random_state=seed,
            n_resamples=resamples,
            cache=path_text(cache),
        )
    if jobs is not None:
        changes["n_jobs"] = jobs
    if memory is not None or (out is not None and plan.memory is None):
        changes["memory"] = memory or out / "fits"  # type: ignore[operator]
    result = replace(plan, **changes).run()
    typer.echo(result)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        result.to_csv(out / "study.csv")
        result.to_json(out / "study.json")
        typer.echo(f"wrote {out / 'study.csv'} and {out / 'study.json'}", err=True)


def _features(
    encoders: list[str],
    checkpoint: Path | None,
    tokenizer: Path | None,
    device: str | None,
    poolings: list[str],
) -> dict[str, dict[str, Any]]:
    """Pair encoders and poolings; of several encoders, the hand-made one takes no checkpoint."""
    pooling = poolings if len(poolings) > 1 else poolings[0]
    features = {}
    for name in encoders:
        bare = name == "spectral" and len(encoders) > 1
        options = encoder_options(*((None, None) if bare else (checkpoint, tokenizer)), device, name)
        features[name] = {"encoder": name, "pooling": pooling, **options}
    return features


def _refuse_beside_a_file(context: typer.Context) -> None:
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name not in _WITH_A_FILE and _is_given(context, str(parameter.name))
    ]
    if given:
        raise ValueError(
            f"{', '.join(given)}: with a study file only --out, --jobs and --memory are options; all else is said in the file"
        )


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
