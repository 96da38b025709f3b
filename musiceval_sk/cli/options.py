"""Options that commands share; those that go together are groups, which a command takes as one parameter.

What is said here of an option holds for every command that does not say otherwise.

Parameters
----------
pattern
    For a folder: names in file paths, such as '{system}/{prompt_id}'.
prompts
    Side table: clip_id or prompt_id, and prompt, system, ...
ratings
    Ratings (rater, clip_id, one column per target), or another program's export of them.
targets
    Score column; repeat for several. Default: impression, alignment.
format
    How ratings are written: wide, webmushra, ... (docs/exports.md). Default: as recognised.
columns
    Column of the ratings that stands for rater, clip_id or a target; repeat for several.
listing
    Clips (clip_id or path) of ratings that number them, line by line; of wide tables: which columns are clips.
salt
    Make pseudonyms of the raters by this key, of a rater the same in every file.
scale
    Lowest and highest score that raters could give.
anonymous
    Nobody knows who gave a rating; no column rater is needed.
encoder
    spectral, laion-clap, hf-clap, hf-audio, muq, or one that a package registers; with options of its own as in
    'hf-audio:checkpoint=models/mert,layer=7'.
checkpoint
    Checkpoint: CLAP's .pt, or a model's folder.
tokenizer
    Folder of roberta-base's vocab.json and merges.txt.
device
    auto, cpu, cuda, cuda:1, ... Default: auto.
cache
    Embedding store. Default: $MUSICEVAL_CACHE or cache/embeddings.h5.
modality
    audio, text or both.
pooling
    How windows become one vector: mean, mean+std, max, first.
n_splits
    Number of folds. Default: 5, or one a group where there are fewer.
n_jobs
    Processes to use. Default: 1.
details
    Print all figures and notes, not a screen of those that decide.
random_state
    Seed of splits and models.
seed
    Seed of splits and models.
root
    MusicEval-full, MusicEval-phase1, or Parquet (file or folder).
any_size
    Do not expect the 2,748 clips of the true data set.
"""

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

Targets = Annotated[list[str] | None, Option("--target")]
Columns = Annotated[list[str] | None, Option("--column", metavar="NAME=COLUMN")]
Anonymous = Annotated[bool, Option("--anonymous")]
Place = Annotated[str | None, Option(metavar="<path>")]
Folds = Annotated[int | None, Option("--folds", min=2)]
Jobs = Annotated[int | None, Option("--jobs", "-j")]
Details = Annotated[bool, Option("--details")]
Seed = Annotated[int, Option("--seed", min=0, max=2**32 - 1)]
MusicEval = Annotated[Path, Argument()]
AnySize = Annotated[bool, Option("--any-size")]

FLAGS: ContextVar[dict[str, str]] = ContextVar("FLAGS")  # by parameter, of the command that runs
# Switches of the command line for what is None in the library.
_SWITCHES = {"counts": "any_size", "rater": "anonymous"}
# Of commands that lack the option.
_ELSEWHERE = {"rater": "musiceval ratings --anonymous", "max_iter": "max_iter of"}
# Of encoders, which an encoder's name is followed by.
_OF_ENCODERS = ("amodel", "trust_remote_code")
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
        if name in _OF_ENCODERS and flags.get("encoder", "").startswith("--"):
            return f"{flags['encoder']} NAME:{name}={value.replace('True', 'true')}"
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


def load_known(clips: Path, **how: Any) -> Any:
    """Read clips without regard to scores: MusicEval, or what `load_clips` reads, by its options."""
    from musiceval_sk import load_clips, load_musiceval
    from musiceval_sk.ratings.aggregate import is_musiceval

    return load_musiceval(clips) if is_musiceval(clips) else load_clips(clips, scale=None, **how)


@dataclass(frozen=True)
class Clips:
    """Clips without scores.

    Parameters
    ----------
    clips
        Clips table (.csv, .tsv, .jsonl), folder of sound files, or MusicEval.
    """

    clips: Path
    pattern: str | None = None
    prompts: Path | None = None

    def load(self) -> Any:
        """Read the clips table."""
        return load_known(self.clips, pattern=self.pattern, prompts=self.prompts)


@dataclass(frozen=True)
class Reading:
    """How files of ratings are read, whatever program wrote them."""

    format: str = "auto"
    columns: Columns = None
    listing: Path | None = None
    salt: str | None = None

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
        from musiceval_sk.studies.plan import read_if_given

        return read_if_given(ratings, targets, self.given(used) or usual or {})


@dataclass(frozen=True)
class ScoredClips:
    """Clips and where their scores come from.

    Parameters
    ----------
    clips
        Clips table (.csv, .tsv, .jsonl), folder of sound files, or MusicEval.
    """

    clips: Path
    ratings: Path | None = None
    reading: Reading = Reading()
    targets: Targets = None
    pattern: str | None = None
    prompts: Path | None = None
    scale: tuple[float, float] = (1, 5)

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

    checkpoint: Place = None
    tokenizer: Place = None
    device: str | None = None
    cache: Place = None
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

        how: dict[str, Any] = {"pooling": pooling, "modality": modality, "cache": self.cache}
        how |= {"n_jobs": self.n_jobs, "encoder_options": self.given(encoder) or None}
        return ClipEmbedder(split_encoder(encoder)[0], **how).set_output(transform="pandas")
