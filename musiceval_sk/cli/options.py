"""Options that commands share, each said once; those that go together are groups, which a command takes as one parameter."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

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


def given(**options: Any) -> dict[str, Any]:
    """Keep the options that somebody gave; the others are left to the library's defaults."""
    return {name: value for name, value in options.items() if value is not None}


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


def split_column(text: str) -> dict[str, str]:
    """Part ``name=column``."""
    name, _, column = text.partition("=")
    if not name or not column:
        raise ValueError(f"--column {text!r} must be TARGET=COLUMN, such as alignment=clap_score")
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
class ScoredClips:
    """Clips and where their scores come from."""

    clips: Annotated[
        Path, Argument(help="Clips table (.csv, .tsv, .jsonl), folder of sound files, or MusicEval.")
    ]
    ratings: Ratings = None
    targets: Targets = None
    pattern: Pattern = None
    prompts: Prompts = None
    scale: Scale = (1, 5)

    def load(self) -> Any:
        """Read the clips table with its scores."""
        from musiceval_sk.ratings.aggregate import load_scored_clips

        return load_scored_clips(**vars(self))


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
