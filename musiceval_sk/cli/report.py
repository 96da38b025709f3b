"""``musiceval report``: a study as one HTML page."""

from pathlib import Path
from typing import Annotated

import typer

from musiceval_sk.cli.options import Pattern, Prompts, Ratings


def report(
    study: Annotated[Path, typer.Argument(help="study.json, as musiceval study --out wrote it.")],
    clips: Annotated[
        Path | None,
        typer.Option(help="Clips table or folder of the study; without it no systems, prompts and sounds."),
    ] = None,
    ratings: Ratings = None,
    pattern: Pattern = None,
    prompts: Prompts = None,
    audio: Annotated[str, typer.Option(help="link, embed or none: how the page holds sounds.")] = "link",
    max_audio_mb: Annotated[
        float, typer.Option("--max-audio-mb", min=0, help="Most megabytes that embedded sounds may add.")
    ] = 20.0,
    note: Annotated[str, typer.Option(help="A sentence above everything else.")] = "",
    out: Annotated[Path, typer.Option(help="Page to write.")] = Path("report.html"),
) -> None:
    """Write a study as one HTML page: verdict, tables, figures, and the clips to listen to."""
    from musiceval_sk import load_clips, write_report

    table = None if clips is None else load_clips(clips, pattern=pattern, prompts=prompts, scale=None)
    page = write_report(
        study,
        out,
        clips=table,
        ratings=ratings,
        audio=audio,
        max_audio_mb=max_audio_mb,
        note=note,
    )
    typer.echo(f"wrote {out} ({page.stat().st_size / 1e6:.1f} MB)")
