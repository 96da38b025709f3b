"""Commands of a listening test, from clips to raters' answers: ``musiceval listen design``, ..."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from musiceval_sk._text import require_known
from musiceval_sk.cli import options, output


@dataclass(frozen=True)
class Layout:
    """How clips are dealt to raters.

    Parameters
    ----------
    n_raters
        Raters.
    per_clip
        Raters of each clip; of pairs, comparisons that each clip is part of.
    batch_size
        Most clips, or comparisons, in a batch, without probes and doubled ones.
    n_batches
        Batches of each rater. Default: as many as it takes.
    probes
        Real music to hide in every batch: a table, or a folder of sounds.
    n_probes
        Probes in a batch. Default: 2, or as many as there are.
    n_duplicates
        Clips in a batch that come again, far from the first time.
    training
        Clips of the training page, which are not rated: a table, a folder, or how many to take out of CLIPS.
    method
        acr (five points), slider (0 to 100) or pairs (which of two is better).
    """

    n_raters: Annotated[int, Option("--raters")]
    per_clip: int = 5
    batch_size: int = 40
    n_batches: Annotated[int | None, Option("--batches")] = None
    probes: Path | None = None
    n_probes: Annotated[int | None, Option("--probes-per-batch")] = None
    n_duplicates: Annotated[int, Option("--duplicates")] = 1
    training: str = "0"
    method: str = "acr"


@output.writes()
def design(
    source: options.Clips, layout: Layout, out: Path = Path("design.json"), seed: options.Seed = 0
) -> None:
    """Say which rater hears which clips in which order, evenly over systems and prompts.

    Parameters
    ----------
    out
        File to write.

    Examples
    --------
    musiceval listen design clips.csv --raters 14 --probes real/ --out design.json
    """
    from musiceval_sk.listening import design_test

    training: Any = int(layout.training) if layout.training.isdecimal() else layout.training
    test = design_test(source.load(), **vars(layout) | {"training": training, "seed": seed})
    test.save(out)
    typer.echo(f"{test.report()}\nwrote {out}")


@output.writes("index.html", "configs/*")
def build(
    design: Annotated[Path, Argument(metavar="DESIGN")],
    out: Annotated[Path, Option()],
    loudness: Annotated[float | None, Option(min=-70, max=0)] = None,
    heard_share: Annotated[float, Option("--heard", min=0, max=1)] = 0.9,
    texts: Path | None = None,
    format: str = "page",
) -> None:
    """Write the page of a listening test: a folder for a web host, the command serve, or a memory stick.

    Parameters
    ----------
    design
        The test's design (.json).
    out
        Folder to write: new, empty, or of an earlier build, which is replaced.
    loudness
        Bring all clips to this loudness (ITU-R BS.1770) in LUFS, such as -23, and write them as FLAC. Default: copy them.
    heard_share
        Share of a clip that has to be heard before the scores open.
    texts
        JSON file of texts in the place of the page's own, as for a translation: any part of texts.json.
    format
        page, or webmushra: configurations and sounds for webMUSHRA's folder; sliders become eleven points, and a pair one sound.

    Examples
    --------
    musiceval listen build design.json --out test --loudness -23
    """
    from musiceval_sk.listening import build_page, build_webmushra

    require_known("format", format, ("page", "webmushra"))
    if format == "webmushra":
        configs = build_webmushra(design, out, loudness=loudness, texts=texts)
        advice = f"put that folder into webMUSHRA's, and open ?config={configs[0].name} and so on after its address"
        typer.echo(f"wrote {len(configs)} configurations to {out / 'configs'}: {advice}")
        return
    folder = build_page(design, out, loudness=loudness, heard_share=heard_share, texts=texts)
    sounds = len(list((folder / "audio").iterdir()))
    typer.echo(f"wrote {folder}: the page, and {sounds} sounds; open {folder / 'index.html'}")


def serve(
    test: Annotated[Path, Argument(metavar="TEST")],
    answers: Annotated[Path, Option()],
    host: str = "127.0.0.1",
    port: Annotated[int, Option(min=1, max=65535)] = 8000,
    links: Path | None = None,
    url: str | None = None,
    renew: Annotated[bool, Option("--new-links")] = False,
    design: Path | None = None,
) -> None:
    """Serve a listening test: a link a rater, answers on the disk before they are acknowledged, an overview for you.

    Parameters
    ----------
    test
        Folder that build wrote.
    answers
        SQLite file of the answers, outside of that folder; made if it is not there.
    host
        Address to listen at; by default none but this machine reaches it.
    port
        Port to listen at.
    links
        CSV file for the links of raters and of the overview. Default: beside --answers, with the suffix .links.csv.
    url
        Where raters reach the server, for the links, such as https://lab.example/test. Default: host and port.
    renew
        Make new links for all, and void the old ones.
    design
        The test's design, so that the overview names clips by their ids.

    Examples
    --------
    musiceval listen serve test --answers answers.sqlite --design design.json
    """
    from musiceval_sk.listening import serve_page

    settings: dict[str, Any] = {"links": links, "url": url, "renew": renew, "design": design}
    serve_page(test, answers, host=host, port=port, tell=typer.echo, **settings)
    typer.echo(f"stopped; the answers are in {answers}")


@output.writes()
def export(
    answers: Annotated[list[Path], Argument(metavar="ANSWERS...")],
    design: Annotated[Path, Option()],
    out: Path = Path("ratings.csv"),
) -> None:
    """Write raters' answers as a table of ratings, for the command ratings.

    Parameters
    ----------
    answers
        SQLite file of serve, JSON files that raters downloaded, or folders of such files.
    design
        The test's design (.json).
    out
        CSV file to write.

    Examples
    --------
    musiceval listen export answers.sqlite --design design.json --out ratings.csv
    """
    from musiceval_sk._files import atomic_write, write_csv
    from musiceval_sk.listening import read_answers

    table = read_answers(answers, design)
    with atomic_write(out) as aside:
        write_csv(table, aside)
    typer.echo(f"wrote {out}: {len(table)} answers of {table['rater'].nunique()} raters")
