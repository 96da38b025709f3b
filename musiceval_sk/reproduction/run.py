"""Table I of the MusicEval paper, made anew: embed, train both heads with several seeds, and judge beside others."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from musiceval_sk._text import counted, listed
from musiceval_sk.datasets.clips import TARGETS
from musiceval_sk.datasets.musiceval.layout import load_musiceval, load_musiceval_systems
from musiceval_sk.estimators.lookup import look_ups
from musiceval_sk.exceptions import ClipsTableError, SkippedWarning
from musiceval_sk.features.encoders import Encoder
from musiceval_sk.reproduction.frozen_heads import FrozenHeads
from musiceval_sk.reproduction.parts import Parts, cautions, describe, split_parts
from musiceval_sk.reproduction.protocols import ReproductionProtocol, get_protocol
from musiceval_sk.reproduction.result import ReproductionResult
from musiceval_sk.reproduction.table import SEED, tabulate
from musiceval_sk.reproduction.tuned_towers import TunedTowers
from musiceval_sk.studies.provenance import provenance

_TRUTHS = {
    "clips": "mean over the tested clips",
    "table": "the data set's own table of systems, which averages all clips of a system",
}

_WITH_FINETUNE = (
    "goes with finetune alone: heads on frozen CLAP are trained from the store of embeddings in little time"
)
_WITHOUT_FINETUNE = (
    "does not go with finetune: a store keeps vectors of frozen towers, and trained ones give others"
)
_WHERE_THE_ENCODER_IS = "does not go with finetune, which trains towers and heads where the encoder computes: give the encoder that device"


def reproduce(
    root: str | Path,
    protocol: str | ReproductionProtocol | None = None,
    *,
    encoder: str | Encoder = "laion-clap",
    encoder_options: Mapping[str, Any] | None = None,
    cache: str | Path | None = None,
    n_seeds: int = 5,
    random_state: int = 0,
    n_resamples: int = 2000,
    n_jobs: int | None = None,
    device: str = "auto",
    counts: Mapping[str, int] | Literal["official"] | None = "official",
    finetune: str | None = None,
    finetune_options: Mapping[str, Any] | None = None,
    checkpoints: str | Path | None = None,
) -> ReproductionResult:
    """Train both heads on MusicEval by a protocol, and set their scores beside published ones and look-ups.

    CLAP's towers stay frozen, or are trained with the heads, as in the paper, where `finetune` says so.

    Parameters
    ----------
    root : str or Path
        MusicEval, in any layout that `load_musiceval` reads.
    protocol : {"frozen", "paper", "released"} or ReproductionProtocol, default=None
        What to do, see ``PROTOCOLS``. None is "frozen" or, with `finetune`, "paper".
    encoder : str or Encoder, default="laion-clap"
        Name of the encoder; one that is already made serves protocols that hear all clips alike. "hf-clap" computes the
        same from the same checkpoint without the package ``laion_clap``.
    encoder_options : mapping, default=None
        Its options, such as ``{"checkpoint": "clap.pt"}``.
    cache : str or Path, default=None
        The embedding store; by default `default_store_path`. What it holds is not computed again. Not with `finetune`,
        which embeds anew at every step.
    n_seeds : int, default=5
        Fits, which differ in initial weights, order of clips and, where clips are held out, these.
    random_state : int, default=0
        The first seed; it also draws the random split, which all fits share, and the resamples.
    n_resamples : int, default=2000
        Resamples of the intervals, see `bootstrap_metrics`.
    n_jobs : int, default=None
        Workers of `extract`, and threads of the bootstrap.
    device : str, default="auto"
        Where the heads are trained; that of the encoder is one of its options. With `finetune`, heads are trained
        where the encoder is.
    counts : mapping of str to int or "official" or None, default="official"
        As of `load_musiceval`; None for a data set of another size.
    finetune : {"full", "last_blocks", "lora"} or None, default=None
        Which weights of CLAP's towers are trained under the heads, see ``train`` of `CLAPFineTuneRegressor`; None leaves
        them frozen.
    finetune_options : mapping, default=None
        With `finetune`: parameters of `CLAPFineTuneRegressor` that no protocol fixes, such as ``{"n_blocks": 4}`` or
        ``{"max_batch_memory": 2**30}``.
    checkpoints : str or Path, default=None
        With `finetune`: folder for the state of each seed's training, from which the same call goes on after a kill, and
        for decoded sounds. By default nothing is kept.

    Returns
    -------
    ReproductionResult
        Tidy table, predictions and what they rest on; ``print`` it.

    Raises
    ------
    ClipsTableError
        If the data set lacks what the protocol asks for.
    CheckpointError
        If the encoder's checkpoint or tokenizer is not found or does not fit.
    ValueError
        If a name is unknown, a number is out of range, or arguments do not go together.
    ModelFileError
        If `checkpoints` holds the state of another fit under a seed's name, or a damaged one.
    ImportError
        If ``finetune="lora"`` and ``peft`` is not installed.

    Warns
    -----
    SkippedWarning
        If clips cannot be read; with their count.
    UserWarning
        If the data set is not as its paper describes it.

    Examples
    --------
    >>> from musiceval_sk import reproduce
    >>> found = reproduce("MusicEval-full", encoder="spectral", counts=None, n_seeds=2, n_resamples=50)
    >>> row = found.table.query("row == 'system mean' and target == 'impression' and metric == 'S_SRCC'")
    >>> row[["kind", "split"]].values.tolist()
    [['look-up', 'official']]
    """
    for name, value in (("n_seeds", n_seeds), ("n_resamples", n_resamples)):
        if value < 1:
            raise ValueError(f"{name}={value} must be at least 1")
    options = dict(encoder_options or {})
    road: FrozenHeads | TunedTowers
    if finetune is None:
        _refuse(_WITH_FINETUNE, finetune_options=finetune_options, checkpoints=checkpoints)
        road = FrozenHeads(get_protocol(protocol or "frozen"), encoder, options, cache, n_jobs, device)
    else:
        _refuse(_WITHOUT_FINETUNE, cache=cache)
        _refuse(_WHERE_THE_ENCODER_IS, device=None if device in ("auto", options.get("device")) else device)
        tuning = dict(finetune_options or {})
        road = TunedTowers(get_protocol(protocol or "paper"), encoder, options, finetune, tuning, checkpoints)
    protocol = road.protocol
    clips = load_musiceval(root, counts=counts)
    clips = _scored(clips)
    parts = split_parts(clips, protocol, random_state)
    table_truth = _table_truth(root, parts.test) if protocol.system_truth == "table" else None
    parts = road.prepare(parts)
    _check_parts(parts, root)
    predictions, unknown = _look_ups(clips, parts)
    seeds = list(range(random_state, random_state + n_seeds))
    for seed in seeds:
        predictions[SEED.format(seed)] = road.fit_predict(parts, seed)
    table, settings = tabulate(
        parts.test, predictions, table_truth, protocol, n_resamples, random_state, n_jobs
    )
    about = {
        "protocol": {
            name: list(value) if isinstance(value, tuple) else value for name, value in vars(protocol).items()
        },
        "title": road.title,
        "data": {"root": Path(root).name, "clips": len(clips)},
        "split": describe(clips, parts, protocol),
        "system_truth": _TRUTHS[protocol.system_truth],
        "encoder": str(getattr(encoder, "name", encoder)),
        **road.about,
        "seeds": seeds,
        "intervals": settings,
        **provenance("laion-clap", "transformers", "soxr", "soundfile"),
    }
    notes = [*cautions(about["split"]), *unknown, *road.notes]
    return ReproductionResult(table, _tidy(parts.test, predictions), notes, about)


def _refuse(why: str, **given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name}={value!r} {why}")


def _scored(clips: pd.DataFrame) -> pd.DataFrame:
    """Leave out clips that lack a score."""
    lacking = clips[list(TARGETS)].isna().any(axis=1)
    if lacking.any():
        warnings.warn(
            f"left out {counted(lacking.sum(), 'clip that lacks', 'clips that lack')} a score: {listed(clips.index[lacking])}",
            SkippedWarning,
            stacklevel=3,
        )
    return clips[~lacking]


def _table_truth(root: str | Path, test: pd.DataFrame) -> pd.DataFrame:
    """Read the data set's table of systems before anything is computed that would need it."""
    table = load_musiceval_systems(root)
    lacking = set(test["system"]) - set(table.index)
    if lacking:
        raise ClipsTableError(
            f"{root}: the table of systems lacks {listed(sorted(lacking))}; correct it, or take the mean over clips with "
            'dataclasses.replace(PROTOCOLS["released"], system_truth="clips")'
        )
    return table


def _check_parts(parts: Parts, root: str | Path) -> None:
    for name, part in (("training", parts.train), ("development", parts.development), ("test", parts.test)):
        if part is not None and len(part) < 2:
            raise ClipsTableError(f"{root}: {len(part)} readable clips for {name}; at least 2 are needed")


def _look_ups(clips: pd.DataFrame, parts: Parts) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Predictions of each look-up, and what those could not look up."""
    predictions, notes = {}, []
    for name, model in look_ups(clips).items():
        found = {
            target: np.ravel(model.fit(parts.train, parts.train[target]).predict(parts.test))
            for target in TARGETS
        }
        predictions[name] = pd.DataFrame(found, index=parts.test.index)
        unknown = int((~model.known(parts.test)).sum()) if hasattr(model, "known") else 0
        if unknown:
            notes.append(
                f"{name}: {unknown} of {len(parts.test)} tested clips have no match in training and get the global mean"
            )
    return predictions, notes


def _tidy(test: pd.DataFrame, predictions: dict[str, pd.DataFrame]) -> pd.DataFrame:
    rows = [
        pd.DataFrame(
            {
                "row": row,
                "target": target,
                "clip_id": test.index,
                "system": test["system"].to_numpy() if "system" in test else "",
                "truth": test[target].to_numpy(),
                "prediction": predicted[target].to_numpy(),
            }
        )
        for row, predicted in predictions.items()
        for target in TARGETS
    ]
    return pd.concat(rows, ignore_index=True)
