"""``musiceval predict``: someone's new clips, scored with a saved model."""

import sys
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
