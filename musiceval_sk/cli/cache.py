"""Commands that fill a cache and keep it in order: ``musiceval extract``, ``musiceval cache info | verify | compact | ...``."""

import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from musiceval_sk.cli import options, output
from musiceval_sk.exceptions import SkippedWarning


def extract(
    source: options.Clips,
    machine: options.Machine,
    encoder: str = "spectral",
    modality: str = "both",
    strict: Annotated[bool, Option("--strict")] = False,
    verify: Annotated[bool, Option("--verify")] = False,
) -> None:
    """Embed clips and prompts into the cache; only what is missing is computed.

    Parameters
    ----------
    strict
        Stop at the first unreadable clip.
    verify
        Hash every file again, unchanged or not.

    Examples
    --------
    musiceval extract clips.csv --encoder laion-clap --checkpoint clap.pt
    """
    from musiceval_sk import extract as run
    from musiceval_sk import get_encoder

    clips = source.load()
    made = get_encoder(options.split_encoder(encoder)[0], **machine.given(encoder))
    settings: dict[str, Any] = {"modality": modality, "strict": strict, "verify": verify}
    with warnings.catch_warnings():
        # The report names the clips and what is odd about them.
        warnings.simplefilter("ignore", SkippedWarning)
        warnings.filterwarnings("ignore", message=r"\d+ clips? (is|are) heard, but")
        report = run(clips, made, machine.cache, n_jobs=machine.n_jobs, **settings)
    output.show(report)
    if len(report.skipped):
        words = f"skipped {len(report.skipped)} of {len(clips)} clips"
        warnings.warn(words, SkippedWarning, stacklevel=2)


def info(cache: options.Place = None) -> None:
    """Show files, encoders, and how much is stored of each.

    Examples
    --------
    musiceval cache info --cache cache/embeddings.h5
    """
    from musiceval_sk.features.store.maintain import store_info

    found = store_info(_existing(cache))
    output.show(found)
    if found.unreadable:
        raise typer.Exit(1)


def verify(cache: options.Place = None) -> None:
    """Read all that is stored and hold it against digests and format; exit status 1 if anything is damaged.

    Examples
    --------
    musiceval cache verify --cache cache/embeddings.h5
    """
    from musiceval_sk.features.store.maintain import verify_store

    report = verify_store(_existing(cache))
    output.show(report)
    if len(report.damaged):
        typer.echo(
            "warning: musiceval cache prune --damaged drops items that are not what was stored; delete a file that cannot be "
            "opened. The next musiceval extract computes what was lost",
            err=True,
        )
        raise typer.Exit(1)


def compact(cache: options.Place = None) -> None:
    """Fold all parts into the main file.

    Examples
    --------
    musiceval cache compact
    """
    from musiceval_sk.features.store.maintain import store_info

    store = _existing(cache)
    store.compact()
    output.show(store_info(store))


def merge(others: list[Path], cache: options.Place = None) -> None:
    """Take the vectors of other stores into this one; what is there already is not copied.

    Parameters
    ----------
    others
        Main files of the stores to take vectors from.

    Examples
    --------
    musiceval cache merge gpu1/embeddings.h5 gpu2/embeddings.h5 --cache cache/embeddings.h5
    """
    from musiceval_sk import EmbeddingStore
    from musiceval_sk.features.store.maintain import merge_stores

    report = merge_stores(EmbeddingStore(cache), [EmbeddingStore(other) for other in others])
    counts = report.groupby(["modality", "name", "fingerprint"], sort=False)[["copied", "there"]].sum()
    for encoder, copied, there in counts.itertuples(name=None):
        typer.echo(f"{' '.join(encoder)}: {copied} copied, {there} were there already")
    typer.echo(f"{report['copied'].sum()} items copied")


def prune(
    cache: options.Place = None,
    fingerprint: list[str] | None = None,
    keep: list[Path] | None = None,
    pattern: str | None = None,
    prompts: Path | None = None,
    damaged: Annotated[bool, Option("--damaged")] = False,
    dry_run: Annotated[bool, Option("--dry-run")] = False,
) -> None:
    """Drop one of three: encoders (--fingerprint), what is in no clips table (--keep), or what is --damaged.

    Parameters
    ----------
    fingerprint
        Drop the encoder whose fingerprint begins so; repeat for several.
    keep
        Drop what is not in this clips table or folder; repeat for several.
    damaged
        Drop items that fail their digest, of files that can be opened.
    dry_run
        Only tell what would be dropped.

    Examples
    --------
    musiceval cache prune --keep clips.csv --keep more.csv --dry-run
    """
    from musiceval_sk.features.store.maintain import prune_store

    store = _existing(cache)
    # A pattern is refused for a table, and both may be given here.
    tables = [
        options.Clips(source, pattern if source.is_dir() else None, prompts).load() for source in keep or ()
    ]
    if tables and not any((table["prompt"] != "").any() for table in tables):
        words = "no table to keep has prompts, so that all stored prompts stay; give them with --prompts"
        warnings.warn(words, UserWarning, stacklevel=2)
    report = prune_store(store, fingerprints=fingerprint or (), keep=tables, damaged=damaged, dry_run=dry_run)
    verb = "would drop" if dry_run else "dropped"
    for row in report.itertuples():
        place = f"{row.modality} {row.name} {row.fingerprint}"
        typer.echo(f"{place}: {verb} {row.dropped} items ({row.dropped_windows} windows), kept {row.kept}")
    typer.echo(f"{verb} {report['dropped'].sum()} items")


@output.writes()
def export(
    out: Path,
    clips: Annotated[Path, Option()],
    machine: options.Machine,
    pattern: str | None = None,
    prompts: Path | None = None,
    encoder: str = "spectral",
    modality: str = "both",
    pooling: str = "mean",
) -> None:
    """Write one row of embeddings a clip, for other tools; what the cache lacks is computed.

    Parameters
    ----------
    out
        File to write: .npz, or .parquet.
    clips
        Clips table (.csv, .tsv, .jsonl) or folder of sound files.

    Examples
    --------
    musiceval cache export embeddings.npz --clips clips.csv --encoder spectral --pooling mean+std
    """
    from musiceval_sk import export_embeddings
    from musiceval_sk.features.embedder import check_suffix
    from musiceval_sk.features.pooling import check_pooling
    from musiceval_sk.studies.plan import embed_readable

    check_suffix(out)
    check_pooling(pooling)
    table = options.Clips(clips, pattern, prompts).load()
    embedder = machine.embedder(encoder, pooling, modality).fit(table)
    readable = table.loc[embed_readable(embedder, table).index]
    written = export_embeddings(readable, embedder, out)
    typer.echo(f"wrote {out}: {len(written)} clips, {written.shape[1]} columns")


def doctor(
    cache: options.Place = None,
    encoder: str | None = None,
    checkpoint: options.Place = None,
    tokenizer: options.Place = None,
    modality: str = "both",
) -> None:
    """Say what is missing before each encoder and the cache can be used, and how to get it.

    Parameters
    ----------
    encoder
        The encoder that you want to use.

    Examples
    --------
    musiceval cache doctor --encoder laion-clap --checkpoint clap.pt
    """
    from musiceval_sk import EmbeddingStore
    from musiceval_sk.features.doctor import check_setup

    towers: Any = ("audio", "text") if modality == "both" else (modality,)
    settings = options.Machine(checkpoint, tokenizer).given(encoder)
    name = None if encoder is None else options.split_encoder(encoder)[0]
    found = check_setup(EmbeddingStore(cache), encoder=name, modalities=towers, **settings)
    names = found["subject"] + " " + found["part"]
    findings = found["finding"].mask(found["finding"] == found["finding"].shift(), "as above")
    for ok, name, finding in zip(found["ok"], names.str.ljust(names.str.len().max()), findings, strict=True):
        typer.echo(f"{'ok     ' if ok else 'missing'}  {name}  {options.in_options(finding)}")
    if (found["asked"] & ~found["ok"]).any():
        raise typer.Exit(1)


def _existing(cache: str | None) -> Any:
    from musiceval_sk import EmbeddingStore
    from musiceval_sk.features.store.maintain import exists

    store = EmbeddingStore(cache)
    if not exists(store):
        advice = "musiceval extract makes a store, --cache names another"
        raise ValueError(f"{store.path}: nothing is stored there; {advice}")
    return store
