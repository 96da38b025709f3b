"""``musiceval predict``: someone's new clips, scored with a saved model; and what ``musiceval fit`` does for it."""

import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from musiceval_sk._text import counted
from musiceval_sk.cli.options import (
    Cache,
    Checkpoint,
    Clips,
    Device,
    Jobs,
    Pattern,
    Prompts,
    Tokenizer,
    encoder_options,
    path_text,
)


def predict(
    model: Annotated[Path, typer.Argument(help="Model file written by musiceval fit.")],
    clips: Clips,
    pattern: Pattern = None,
    prompts: Prompts = None,
    checkpoint: Checkpoint = None,
    tokenizer: Tokenizer = None,
    device: Device = None,
    cache: Cache = None,
    jobs: Jobs = 1,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Clips that are embedded and written together.")
    ] = 512,
    allow_other_encoder: Annotated[
        bool,
        typer.Option("--allow-other-encoder", help="Warn of an encoder that is not training's, not refuse."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write the clips' rows here as they come. Default: stdout.")
    ] = None,
) -> None:
    """Score clips and systems with a saved model, with spread, intervals and warnings of clips that it does not know."""
    from musiceval_sk import load_clips, predict_clips

    encoder = _encoder_of(model, checkpoint, tokenizer, device)
    table = load_clips(clips, pattern=pattern, prompts=prompts, scale=None)
    with _Rows(out) as rows:
        result = predict_clips(
            model,
            table,
            cache=path_text(cache),
            encoder=encoder,
            batch_size=batch_size,
            n_jobs=jobs,
            on_batch=rows.write,
            allow_other_encoder=allow_other_encoder,
        )
    typer.echo(result.table(), err=out is None)
    if out is not None:
        typer.echo(f"wrote {counted(len(result.clips), 'clip')} to {out}", err=True)


def _encoder_of(model: Path, checkpoint: Path | None, tokenizer: Path | None, device: str | None) -> Any:
    """Make the model's encoder with what differs on this machine; None if nothing does."""
    from musiceval_sk import ClipEmbedder, get_encoder, load_model

    if checkpoint is None and tokenizer is None and device is None:
        return None
    _, embedder = getattr(load_model(model), "steps", [("", None)])[0]
    if not isinstance(embedder, ClipEmbedder):
        return None  # predict_clips says what it takes
    options = encoder_options(checkpoint, tokenizer, device, str(embedder.encoder))
    return get_encoder(embedder.encoder, **{**(embedder.encoder_options or {}), **options})


class _Rows:
    """A CSV file, or stdout, that grows batch by batch; it is made with the first one."""

    def __init__(self, path: Path | None):
        self._path = path
        self._file: Any = None

    def __enter__(self) -> "_Rows":
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._path is not None and self._file is not None:
            self._file.close()

    def write(self, table: Any) -> None:
        first = self._file is None
        if first:
            self._file = (
                sys.stdout if self._path is None else self._path.open("w", encoding="utf-8", newline="")
            )
        table.round(6).to_csv(self._file, header=first)
        self._file.flush()


def fit_and_assess(
    embedder: Any, regressor: Any, clips: Any, targets: list[str], *, assess: bool
) -> tuple[Any, dict[str, Any]]:
    """Fit feature stage, training domain and regressor, and say what is to be kept about them."""
    from musiceval_sk._ids import systems_if_named
    from musiceval_sk.estimators.domain import TrainingDomain
    from musiceval_sk.estimators.lookup import scaled
    from musiceval_sk.scoring.error import (
        FEWEST_SYSTEMS,
        assess_error,
        group_parameters,
        held_out_share,
    )

    systems = systems_if_named(clips, "early stopping holds out clips and not systems")
    if systems is not None and systems.nunique() < 2:
        systems = None
    count = 0 if systems is None else systems.nunique()
    if systems is not None:
        regressor.set_params(validation_fraction=held_out_share(count, regressor.validation_fraction))
    model = scaled(embedder, TrainingDomain(), regressor)
    model.fit(clips, clips[targets], **group_parameters(model, systems))
    about: dict[str, Any] = {"n_clips": len(clips), "targets": targets}
    typer.echo(
        f"fitted on {counted(len(clips), 'clip')}, {', '.join(targets)}, in {regressor.n_iter_} epochs; "
        f"early stopping held out {regressor.validation_fraction:.0%} of the {'clips' if systems is None else 'systems'}"
    )
    if not assess:
        return model, about
    if count < FEWEST_SYSTEMS:
        warnings.warn(
            f"{counted(count, 'system is', 'systems are') if count else 'too few systems are'} named: the error on new systems was not measured, so predict gives no interval for "
            f"what raters would say; it takes {FEWEST_SYSTEMS}",
            UserWarning,
            stacklevel=2,
        )
        return model, about
    about["assessment"] = assess_error(
        model[2:], embedder.transform(clips), clips[targets], systems, scale=regressor.scale
    )
    for name, error in about["assessment"]["targets"].items():
        typer.echo(
            f"on systems left out, {name}: root mean square error {error['clip_rmse']:.3f} a clip, "
            f"{error['system_rmse']:.3f} a system"
        )
    return model, about
