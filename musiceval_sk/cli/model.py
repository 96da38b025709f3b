"""Commands about a model for use: ``musiceval fit | predict | recalibrate``."""

import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from musiceval_sk._files import write_csv
from musiceval_sk._text import counted, parts_of
from musiceval_sk.cli import options, output
from musiceval_sk.exceptions import ClipsTableError, SkippedWarning


@output.writes()
def fit(
    source: options.ScoredClips,
    machine: options.Machine,
    out: Path = Path("model.skops"),
    encoder: str = "spectral",
    pooling: str = "mean",
    model: str = "MOSRegressor",
    study: Path | None = None,
    n_ensemble: Annotated[int, Option("--members", min=1)] = 10,
    max_iter: Annotated[int, Option(min=1)] = 1000,
    assess: bool = True,
    random_state: options.Seed = 0,
) -> None:
    """Fit MOSRegressor, ridge, SVR, or the best of them, on all rated clips and save it with its feature stage.

    Parameters
    ----------
    out
        Model file to write, by custom .skops.
    model
        MOSRegressor, ridge, svr (both tuned), or best: for each target the one of least squared error on systems left out.
    study
        With --model best: folder or study.json of musiceval study on these clips, to choose by instead of a study of its own.
    n_ensemble
        Members of MOSRegressor; from two on, clips get a spread.
    max_iter
        Most epochs of MOSRegressor.
    assess
        Measure the error on systems left out, so that predict gives intervals.

    Examples
    --------
    musiceval fit clips.csv --ratings ratings.csv --model best --out model.skops
    """
    from musiceval_sk import MOSRegressor, save_model
    from musiceval_sk.scoring.fit import choose_regressor, fit_model, regressor_named
    from musiceval_sk.studies.cell import targets_of
    from musiceval_sk.studies.plan import describe_features, embed_readable

    if study is not None and model.lower() != "best":
        raise ValueError(f"--study is what --model best goes by, but --model is {model}")
    if out.suffix == ".safetensors":
        raise ValueError(f"{out}: a safetensors file holds no feature stage; name a .skops file")
    table = source.load()
    targets = targets_of(table, source.targets, "Give --ratings, or --target for another column")
    how: dict[str, Any] = {"device": machine.device or "auto", "random_state": random_state}
    regressor: Any = MOSRegressor(scale=source.scale, n_ensemble=n_ensemble, max_iter=max_iter, **how)
    if model.lower() != "best":
        regressor = regressor_named(model, regressor, targets)
    embedder = machine.embedder(encoder, pooling).fit(table)
    X = embed_readable(embedder, table, targets)
    table = table.loc[X.index]
    rated = table.dropna(subset=targets)
    if rated.empty:
        raise ClipsTableError(f"{source.clips}: no clip has scores of {', '.join(targets)}")
    if len(rated) < len(table):
        words = f"left out {counted(len(table) - len(rated), 'clip')} without scores"
        warnings.warn(words, SkippedWarning, stacklevel=2)
    about: dict[str, Any] = {"clips": str(source.clips)}
    if model.lower() == "best":
        how = {"study": study, "features": describe_features(embedder), "n_jobs": machine.n_jobs}
        choice = choose_regressor(regressor, X.loc[rated.index], rated, targets, **how)
        output.show(choice)
        regressor, about["choice"] = choice.regressor, choice.about
    fitted = fit_model(embedder, regressor, rated, targets, assess=assess)
    output.show(fitted)
    embedder.set_params(cache=None, n_jobs=None)  # of this machine, not of the model
    save_model(fitted.model, out, about=about | fitted.about)
    typer.echo(f"wrote {out}")


@output.writes()
def predict(
    model: Path,
    source: options.Clips,
    machine: options.Machine,
    batch_size: Annotated[int, Option(min=1)] = 512,
    allow_other_encoder: Annotated[bool, Option("--allow-other-encoder")] = False,
    out: Path | None = None,
) -> None:
    """Score clips and systems with a saved model, with spread, intervals and warnings of clips that it does not know.

    Parameters
    ----------
    model
        Model file written by musiceval fit.
    batch_size
        Clips that are embedded and written together.
    allow_other_encoder
        Warn of an encoder that is not training's, not refuse.
    out
        Write the clips' rows here as they come. Default: stdout.

    Examples
    --------
    musiceval predict model.skops clips/ --pattern '{system}/{prompt_id}' --prompts prompts.csv --out scores.csv
    """
    from musiceval_sk import predict_clips
    from musiceval_sk.estimators.persistence import load_content

    mode = "w"

    def write(batch: Any) -> None:
        nonlocal mode
        write_csv(batch.round(6), place, index=True, header=mode == "w", mode=mode)
        sys.stdout.flush()
        mode = "a"

    content = load_content(model)
    how = _on_this_machine(content["model"], machine) | {"batch_size": batch_size, "on_batch": write}
    clips = source.load()
    with output.replacing(out) as place:
        result = predict_clips(content, clips, allow_other_encoder=allow_other_encoder, **how)
    output.show(result.table_parts(), err=out is None)
    if out is not None:
        typer.echo(f"wrote {counted(len(result.clips), 'clip')} to {out}", err=True)


@output.writes()
def recalibrate(
    model: Path,
    source: options.ScoredClips,
    machine: options.Machine,
    training_scale: tuple[float, float] | None = None,
    out: Path = Path("recalibrated.skops"),
) -> None:
    """Bring a saved model to the level, slope and scale of other raters by few rated clips, and tell whether that helped.

    Parameters
    ----------
    model
        Model file written by musiceval fit.
    training_scale
        Lowest and highest score of training, for models that do not know it. Default: --scale.
    out
        Model file to write, for musiceval predict.

    Examples
    --------
    musiceval recalibrate model.skops rated.csv --ratings ratings.csv --scale 0 100 --out recalibrated.skops
    """
    from musiceval_sk import recalibrate
    from musiceval_sk.estimators.persistence import load_content

    content = load_content(model)
    how = _on_this_machine(content["model"], machine)
    how |= {"targets": source.targets, "scale": source.scale, "training_scale": training_scale}
    found = recalibrate(content, source.load(), **how)
    output.show(options.parts_in_options(parts_of(found)))
    typer.echo(f"wrote {found.save(out)}")


def _on_this_machine(model: Any, machine: options.Machine) -> dict[str, Any]:
    """Say where vectors are kept, and make the model's encoder with what differs here, if anything does."""
    from musiceval_sk import ClipEmbedder, get_encoder

    how: dict[str, Any] = {"cache": machine.cache, "n_jobs": machine.n_jobs}
    _, embedder = getattr(model, "steps", [("", None)])[0]
    if not machine.given() or not isinstance(embedder, ClipEmbedder):
        return how  # predict_clips says what it takes
    settings = (embedder.encoder_options or {}) | machine.given(str(embedder.encoder))
    return how | {"encoder": get_encoder(embedder.encoder, **settings)}
