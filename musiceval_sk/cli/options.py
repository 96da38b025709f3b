"""Options that commands share, each said once; those that go together are groups, which a command takes as one parameter."""

import json
import re
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from musiceval_sk._text import Table

Pattern = Annotated[
    str | None, Option(help="For a folder: names in file paths, such as '{system}/{prompt_id}'.")
]
Prompts = Annotated[Path | None, Option(help="Side table: clip_id or prompt_id, and prompt, system, ...")]
Ratings = Annotated[
    Path | None,
    Option(help="Ratings (rater, clip_id, one column per target), or another program's export of them."),
]
Targets = Annotated[
    list[str] | None,
    Option("--target", help="Score column; repeat for several. Default: impression, alignment."),
]
Format = Annotated[
    str,
    Option(help="How ratings are written: wide, webmushra, ... (docs/exports.md). Default: as recognised."),
]
_OF_RATINGS = "Column of the ratings that stands for rater, clip_id or a target; repeat for several."
Columns = Annotated[list[str] | None, Option("--column", metavar="NAME=COLUMN", help=_OF_RATINGS)]
_LISTING = "Clips (clip_id or path) of ratings that number them, line by line; of wide tables: which columns are clips."
Listing = Annotated[Path | None, Option(help=_LISTING)]
Salt = Annotated[
    str | None, Option(help="Make pseudonyms of the raters by this key, of a rater the same in every file.")
]
Scale = Annotated[tuple[float, float], Option(help="Lowest and highest score that raters could give.")]
Anonymous = Annotated[
    bool, Option("--anonymous", help="Nobody knows who gave a rating; no column rater is needed.")
]
Encoder = Annotated[
    str,
    Option(
        "--encoder",
        help="spectral, laion-clap, hf-clap, hf-audio, muq, or one that a package registers; with options of its own as in "
        "'hf-audio:checkpoint=models/mert,layer=7'.",
    ),
]
Checkpoint = Annotated[
    str | None, Option(metavar="<path>", help="Checkpoint: CLAP's .pt, or a model's folder.")
]
Tokenizer = Annotated[
    str | None, Option(metavar="<path>", help="Folder of roberta-base's vocab.json and merges.txt.")
]
Device = Annotated[str | None, Option(help="auto, cpu, cuda, cuda:1, ... Default: auto.")]
Cache = Annotated[
    str | None,
    Option(metavar="<path>", help="Embedding store. Default: $MUSICEVAL_CACHE or cache/embeddings.h5."),
]
Modality = Annotated[str, Option(help="audio, text or both.")]
Pooling = Annotated[str, Option(help="How windows become one vector: mean, mean+std, max, first.")]
Folds = Annotated[
    int | None,
    Option("--folds", min=2, help="Number of folds. Default: 5, or one a group where there are fewer."),
]
Jobs = Annotated[int | None, Option("--jobs", "-j", help="Processes to use. Default: 1.")]
Details = Annotated[
    bool, Option("--details", help="Print all figures and notes, not a screen of those that decide.")
]
Seed = Annotated[int, Option("--seed", min=0, max=2**32 - 1, help="Seed of splits and models.")]
MusicEval = Annotated[Path, Argument(help="MusicEval-full, MusicEval-phase1, or Parquet (file or folder).")]
AnySize = Annotated[bool, Option("--any-size", help="Do not expect the 2,748 clips of the true data set.")]

FLAGS: ContextVar[dict[str, str]] = ContextVar("FLAGS")  # by parameter, of the command that runs
# Switches of the command line for what is None in the library.
_SWITCHES = {"counts": "any_size", "rater": "anonymous"}
# Of commands that lack the option.
_ELSEWHERE = {"rater": "musiceval ratings --anonymous", "max_iter": "max_iter of"}
_VALUE = r"None|True|'[^']*'|\['[^']*'\]|\([-\d., ]+\)|-?\d+\.\d+|-?\w+|"
_PARAMETER = re.compile(rf"(?<![^\s(])([a-z_]+)=({_VALUE})(?: \((--[a-z-]+)\))?(?=[\s,;:)]|$)")


def given(**options: Any) -> dict[str, Any]:
    """Keep the options that somebody gave; the others are left to the library's defaults."""
    return {name: value for name, value in options.items() if value is not None}


def in_options(message: str) -> str:
    """Name the options of the command where the library's words name its parameters."""
    flags = FLAGS.get({})

    def option(found: re.Match[str]) -> str:
        name, value = found[1], found[2].strip("'[](),").replace(", ", " ")
        flag = flags.get(_SWITCHES.get(name, name), _ELSEWHERE.get(name))
        flag = flag or (found[3] if found[3] in flags.values() else None)
        if flag is None or (name in _SWITCHES and value != "None"):
            return found[0]
        between = "=" if flag == name else " "  # a study file names parameters
        return flag if value in ("None", "True", "") else f"{flag}{between}{value}"

    return _PARAMETER.sub(option, message)


def parts_in_options(parts: Iterable[str]) -> list[str]:
    """Do the same to parts of a result, whose tables hold no words of that kind."""
    return [part if isinstance(part, Table) else in_options(part) for part in parts]


def split_encoder(text: str) -> tuple[str, dict[str, Any]]:
    """Part ``name:option=value,option=value`` into the name and the options, of which numbers and true or false are no text."""
    name, _, rest = text.partition(":")
    options: dict[str, Any] = {}
    for part in re.split(r",(?=\w+=)", rest) if rest else ():
        option, said, value = part.partition("=")
        if not said or not option.isidentifier():
            raise ValueError(f"--encoder {text!r}: {part!r} is no option=value, such as layer=7")
        is_plain = re.fullmatch(r"-?\d+(\.\d+)?|true|false", value)
        options[option] = json.loads(value) if is_plain else value
    return name, options


def split_column(
    text: str, option: str = "columns", words: str = "NAME=COLUMN, such as rater=listener"
) -> dict[str, str]:
    """Part ``name=column``."""
    name, _, column = text.partition("=")
    if not name or not column:
        raise ValueError(f"{option}={text!r} must be {words}")
    return {name: column}


@dataclass(frozen=True)
class Clips:
    """Clips without scores."""

    clips: Annotated[Path, Argument(help="Clips table (.csv, .tsv, .jsonl) or folder of sound files.")]
    pattern: Pattern = None
    prompts: Prompts = None

    def load(self) -> Any:
        """Read the clips table."""
        from musiceval_sk import load_clips

        return load_clips(self.clips, pattern=self.pattern, prompts=self.prompts, scale=None)


@dataclass(frozen=True)
class Reading:
    """How files of ratings are read, whatever program wrote them."""

    format: Format = "auto"
    columns: Columns = None
    listing: Listing = None
    salt: Salt = None

    def given(self, used: Iterable[str] = ()) -> dict[str, Any]:
        """Options of `read_ratings` that were given, and columns that others use."""
        columns = {name: name for name in used}
        for text in self.columns or ():
            columns |= split_column(text)
        named = None if self.format == "auto" else self.format
        return given(format=named, columns=columns or None, listing=self.listing, salt=self.salt)

    def read(
        self,
        ratings: Path | None,
        targets: list[str] | None,
        *,
        usual: Mapping[str, Any] | None = None,
        used: Iterable[str] = (),
    ) -> Any:
        """Read ratings by the options given, else the usual ones; None where there are no ratings, which then need no options."""
        from musiceval_sk.ratings.formats import read_ratings

        options = self.given(used)
        if ratings is not None:
            return read_ratings(ratings, targets=targets, **(options or usual or {}))
        for name in options:
            raise ValueError(
                f"{name}= says how ratings are read, and there are none; give ratings= or leave it out"
            )
        return None


@dataclass(frozen=True)
class ScoredClips:
    """Clips and where their scores come from."""

    clips: Annotated[
        Path, Argument(help="Clips table (.csv, .tsv, .jsonl), folder of sound files, or MusicEval.")
    ]
    ratings: Ratings = None
    reading: Reading = Reading()
    targets: Targets = None
    pattern: Pattern = None
    prompts: Prompts = None
    scale: Scale = (1, 5)

    @cached_property
    def rated(self) -> Any:
        """Ratings as a table; None where there are none."""
        return self.reading.read(self.ratings, self.targets)

    def places(self) -> dict[str, Any]:
        """Where clips and scores lie, as `load_scored_clips` and `StudyPlan` take it."""
        names = ("clips", "ratings", "targets", "pattern", "prompts", "scale")
        return {name: getattr(self, name) for name in names}

    def load(self) -> Any:
        """Read the clips table with its scores."""
        from musiceval_sk.ratings.aggregate import load_scored_clips

        return load_scored_clips(**self.places() | {"ratings": self.rated})


@dataclass(frozen=True)
class Machine:
    """What an encoder needs on this machine, and where its vectors are kept."""

    checkpoint: Checkpoint = None
    tokenizer: Tokenizer = None
    device: Device = None
    cache: Cache = None
    n_jobs: Jobs = None

    def given(self, encoder: str | None = None) -> dict[str, Any]:
        """Options of an encoder that were given, its own before those that several share.

        The hand-made one runs on no device, so that is not passed on to it, and an encoder that names its checkpoint takes no other's files.
        """
        name, own = split_encoder(encoder or "")
        shared = given(device=None if name == "spectral" else self.device)
        if "checkpoint" not in own:
            shared |= given(checkpoint=self.checkpoint, tokenizer=self.tokenizer)
        return shared | own

    def embedder(self, encoder: str, pooling: str, modality: str = "both") -> Any:
        """Make the feature stage."""
        from musiceval_sk import ClipEmbedder

        options: dict[str, Any] = {"modality": modality, "cache": self.cache, "n_jobs": self.n_jobs}
        options["encoder_options"] = self.given(encoder) or None
        return ClipEmbedder(split_encoder(encoder)[0], pooling=pooling, **options).set_output(
            transform="pandas"
        )


def embed_readable(clips: Any, embedder: Any) -> Any:
    """Give the vectors of the clips that can be read."""
    from musiceval_sk import AudioError

    table, _ = embedder.embed(clips)
    if table.empty:
        raise AudioError("none of the clips could be read")
    return table
