"""The commands that keep a cache in order: ``musiceval cache info | verify | compact | merge | prune | export | doctor``."""

import functools
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from musiceval_sk.cli.options import (
    Cache,
    Checkpoint,
    Device,
    EncoderName,
    Jobs,
    Pattern,
    Pooling,
    Prompts,
    Tokenizer,
    command,
    embed_readable,
    encoder_options,
    make_embedder,
    path_text,
)

cache_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look after the embedding store: its files and what they hold.",
)
_command = functools.partial(command, cache_app)
Modality = Annotated[str, typer.Option(help="audio, text or both.")]


@_command("Example:  musiceval cache info --cache cache/embeddings.h5")
def info(cache: Cache = None) -> None:
    """Show files, encoders, and how much is stored of each."""
    from musiceval_sk.features.store.maintain import store_info

    found = store_info(_existing(cache))
    typer.echo(found)
    if found.unreadable:
        raise typer.Exit(1)


@_command("Example:  musiceval cache verify --cache cache/embeddings.h5")
def verify(cache: Cache = None) -> None:
    """Read all that is stored and hold it against digests and format; exit status 1 if anything is damaged."""
    from musiceval_sk.features.store.maintain import verify_store

    report = verify_store(_existing(cache))
    typer.echo(report)
    if len(report.damaged):
        typer.echo(
            "warning: musiceval cache prune --damaged drops items that are not what was stored; delete a file that cannot be "
            "opened. The next musiceval extract computes what was lost",
            err=True,
        )
        raise typer.Exit(1)


@_command("Example:  musiceval cache compact")
def compact(cache: Cache = None) -> None:
    """Fold all parts into the main file."""
    from musiceval_sk.features.store.maintain import store_info

    store = _existing(cache)
    store.compact()
    typer.echo(store_info(store))


@_command("Example:  musiceval cache merge gpu1/embeddings.h5 gpu2/embeddings.h5 --cache cache/embeddings.h5")
def merge(
    others: Annotated[list[Path], typer.Argument(help="Main files of the stores to take vectors from.")],
    cache: Cache = None,
) -> None:
    """Take the vectors of other stores into this one; what is there already is not copied."""
    from musiceval_sk import EmbeddingStore
    from musiceval_sk.features.store.maintain import merge_stores

    report = merge_stores(EmbeddingStore(path_text(cache)), [EmbeddingStore(other) for other in others])
    for row in report.itertuples():
        typer.echo(
            f"{row.source}: {row.modality} {row.name} {row.fingerprint}: {row.copied} copied, "
            f"{row.there} were there already"
        )
    typer.echo(f"{report['copied'].sum()} items copied")


@_command("Example:  musiceval cache prune --keep clips.csv --keep more.csv --dry-run")
def prune(
    cache: Cache = None,
    fingerprint: Annotated[
        list[str] | None,
        typer.Option(help="Drop the encoder whose fingerprint begins so; repeat for several."),
    ] = None,
    keep: Annotated[
        list[Path] | None,
        typer.Option(help="Drop what is not in this clips table or folder; repeat for several."),
    ] = None,
    pattern: Pattern = None,
    prompts: Prompts = None,
    damaged: Annotated[
        bool,
        typer.Option("--damaged", help="Drop items that fail their digest, of files that can be opened."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be dropped.")] = False,
) -> None:
    """Drop one of three: encoders (--fingerprint), what is in no clips table (--keep), or what is --damaged."""
    from musiceval_sk import load_clips
    from musiceval_sk.features.store.maintain import prune_store

    store = _existing(cache)
    # A pattern is refused for a table, and both may be given here.
    patterns = [pattern if source.is_dir() else None for source in keep or ()]
    tables = [
        load_clips(source, pattern=some, prompts=prompts)
        for source, some in zip(keep or (), patterns, strict=True)
    ]
    if tables and not any((table["prompt"] != "").any() for table in tables):
        warnings.warn(
            "no table to keep has prompts, so that all stored prompts stay; give them with --prompts",
            UserWarning,
            stacklevel=2,
        )
    report = prune_store(store, fingerprints=fingerprint or (), keep=tables, damaged=damaged, dry_run=dry_run)
    verb = "would drop" if dry_run else "dropped"
    for row in report.itertuples():
        typer.echo(
            f"{row.modality} {row.name} {row.fingerprint}: {verb} {row.dropped} items "
            f"({row.dropped_windows} windows), kept {row.kept}"
        )
    typer.echo(f"{verb} {report['dropped'].sum()} items")


@_command(
    "Example:  musiceval cache export embeddings.npz --clips clips.csv --encoder spectral --pooling mean+std",
    writes="file",
)
def export(
    out: Annotated[Path, typer.Argument(help="File to write: .npz, or .parquet.")],
    clips: Annotated[Path, typer.Option(help="Clips table (.csv, .tsv, .jsonl) or folder of sound files.")],
    pattern: Pattern = None,
    prompts: Prompts = None,
    encoder: EncoderName = "spectral",
    checkpoint: Checkpoint = None,
    tokenizer: Tokenizer = None,
    device: Device = None,
    cache: Cache = None,
    modality: Modality = "both",
    pooling: Pooling = "mean",
    jobs: Jobs = 1,
) -> None:
    """Write one row of embeddings a clip, for other tools; what the cache lacks is computed."""
    from musiceval_sk import load_clips
    from musiceval_sk.features.embedder import check_suffix, export_embeddings
    from musiceval_sk.features.pooling import check_pooling

    check_suffix(out)
    check_pooling(pooling)
    embedder = make_embedder(encoder, checkpoint, tokenizer, device, cache, pooling, jobs)
    embedder.set_params(modality=modality)
    table = embed_readable(load_clips(clips, pattern=pattern, prompts=prompts), embedder)
    written = export_embeddings(table, embedder, out)
    typer.echo(f"wrote {out}: {len(written)} clips, {written.shape[1]} columns")


@_command("Example:  musiceval cache doctor --encoder laion-clap --checkpoint clap.pt")
def doctor(
    cache: Cache = None,
    encoder: Annotated[str | None, typer.Option(help="The encoder that you want to use.")] = None,
    checkpoint: Checkpoint = None,
    tokenizer: Tokenizer = None,
    modality: Modality = "both",
) -> None:
    """Say what is missing before each encoder and the cache can be used, and how to get it."""
    from musiceval_sk import EmbeddingStore
    from musiceval_sk.features.doctor import check_setup

    found = check_setup(
        EmbeddingStore(path_text(cache)),
        encoder=encoder,
        modalities=("audio", "text") if modality == "both" else (modality,),  # type: ignore[arg-type]
        **encoder_options(checkpoint, tokenizer, None),
    )
    width = max(len(f"{row.subject} {row.part}") for row in found.itertuples())
    above = ""
    for row in found.itertuples():
        finding = "as above" if row.finding == above else row.finding
        what = f"{row.subject} {row.part}"
        typer.echo(f"{'ok     ' if row.ok else 'missing'}  {what:{width}}  {finding}")
        above = row.finding
    if (found["asked"] & ~found["ok"]).any():
        raise typer.Exit(1)


def _existing(cache: Path | None) -> Any:
    from musiceval_sk import EmbeddingStore
    from musiceval_sk.features.store.maintain import exists

    store = EmbeddingStore(path_text(cache))
    if not exists(store):
        raise ValueError(
            f"{store.path}: nothing is stored there; musiceval extract makes a store, --cache names another"
        )
    return store
