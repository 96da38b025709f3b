"""CLAP scores of clips that nobody has rated: how well each agrees with its prompt, by an encoder and without any training."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student_t

from musiceval_sk._text import counted, listed
from musiceval_sk.estimators.lookup import CosineRegressor
from musiceval_sk.exceptions import AudioError, ClipsTableError
from musiceval_sk.features.embedder import ClipEmbedder
from musiceval_sk.features.encoders import Encoder, get_encoder
from musiceval_sk.scoring.result import ClipPredictions, system_means

NAME, OTHERS = "clap_score", "other_prompts"
_ALARM = 0.05


def clap_score(
    clips: pd.DataFrame,
    encoder: str | Encoder = "laion-clap",
    *,
    encoder_options: Mapping[str, Any] | None = None,
    cache: str | Path | None = None,
    n_jobs: int | None = None,
    progress: bool | None = None,
) -> ClipPredictions:
    """Compute the cosine of each clip and its prompt, in a space that sound and text share.

    The score of a clip is the mean of its windows' cosines: what tools that hear a random window of 10 s give on average. It is
    the same at every call. Scores of different checkpoints do not compare, so the table names its own.

    Parameters
    ----------
    clips : pandas.DataFrame
        Clips table with ``path`` and ``prompt``; ``system`` where clips are of several.
    encoder : str or Encoder, default="laion-clap"
        One whose sound and text share a space, see `Encoder`.
    encoder_options : mapping, default=None
        For an encoder given by name, its constructor's arguments, such as ``{"checkpoint": "clap.pt"}``.
    cache : str or Path, default=None
        Embedding store; by default `default_store_path`.
    n_jobs : int, default=None
        Workers for embedding, see `extract`.
    progress : bool, default=None
        Whether to show progress on stderr, a bar or, without a terminal, a line every 10 s; by default only on a terminal.

    Returns
    -------
    ClipPredictions
        ``clips`` has ``clap_score`` in [-1, 1], nan for a blank prompt; ``other_prompts``, the mean cosine with the other prompts
        of these clips, which is the level of chance; and ``encoder``. ``systems`` has their means.

    Raises
    ------
    ValueError
        If the encoder's sound and text share no space.
    ClipsTableError
        If the table lacks a column, or no clip has a prompt.
    AudioError
        If none of the clips can be read.

    Warns
    -----
    SkippedWarning
        If clips could not be read; with their count.
    UserWarning
        If prompts are blank, or own prompts score no higher than others.

    References
    ----------
    R. Huang et al., "Make-An-Audio: Text-to-audio generation with prompt-enhanced diffusion models", ICML 2023.

    Examples
    --------
    >>> found = clap_score(load_clips("clips"), "hf-clap")  # doctest: +SKIP
    >>> found.clips["clap_score"]  # doctest: +SKIP
    """
    encoder = get_encoder(encoder, **(encoder_options or {}))
    if not encoder.joint_space:
        words = f"the encoder {encoder.name!r} puts sound and text into different spaces, which no cosine compares"
        raise ValueError(f"{words}; take laion-clap, or hf-clap with layer='projection'")
    places: dict[str, Any] = {"cache": None if cache is None else str(cache), "n_jobs": n_jobs}
    X, report = ClipEmbedder(encoder, **places).fit(clips).embed(clips, progress=progress)
    if X.empty:
        raise AudioError(f"none of the clips could be read: {listed(report.skipped['reason'])}")
    blank = clips.loc[X.index, "prompt"].str.strip() == ""
    if blank.all():
        raise ClipsTableError("no clip has a prompt to compare with: give a column 'prompt', or --prompts")
    scores = clips.loc[X.index].rename_axis("clip_id").filter(["system"])
    scores[NAME] = pd.Series(CosineRegressor().fit(X).predict(X), X.index).mask(blank)
    scores[OTHERS] = _with_other_prompts(X[~blank], clips.loc[X.index[~blank], "prompt"]).reindex(X.index)
    scores["encoder"] = described(encoder)
    systems = system_means(scores, NAME).join(system_means(scores, OTHERS)[OTHERS])
    systems = systems.sort_values(NAME, ascending=False)
    notes, alarms = _in_words(scores)
    for alarm in alarms:
        warnings.warn(alarm, UserWarning, stacklevel=2)
    return ClipPredictions(scores, systems, notes, alarms, report.skipped)


def described(encoder: Encoder) -> str:
    """Name an encoder and what its vectors depend on: the checkpoint's digest where it has one, else its fingerprint."""
    digest = encoder.describe("audio").get("checkpoint_sha256")
    checkpoint = getattr(encoder, "checkpoint", None)
    name = f" {Path(checkpoint).name}" if checkpoint else ""
    known = f"checkpoint{name}, SHA-256 {digest[:16]}" if digest else f"fingerprint {encoder.fingerprint}"
    return f"{encoder.name}, {known}"


def _with_other_prompts(X: pd.DataFrame, prompts: pd.Series) -> pd.Series:
    """Mean cosine of each clip with every other prompt of these clips; nan where there is only one."""
    different = prompts.drop_duplicates().index
    if len(different) < 2:
        return pd.Series(np.nan, X.index)
    own = CosineRegressor().fit(X).predict(X)
    text, X = X.columns.str.startswith("text_"), X.astype(float)
    with_all = X.loc[:, ~text].to_numpy() @ X.loc[different, text].to_numpy().sum(axis=0)
    return pd.Series((with_all - own) / (len(different) - 1), X.index)


def _in_words(scores: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Say what the scores are and rest on, and what speaks against trusting them."""
    known = scores.dropna(subset=NAME)
    own, others = known[NAME].mean(), known[OTHERS].mean()
    notes = [
        f"{NAME}: mean cosine of a clip's windows and its prompt, by {scores['encoder'].iloc[0]}; compare it with scores of the "
        "same checkpoint only",
        "_sampling: where the mean over all clips that the system could make lies (t interval, 95 %); nothing about raters",
    ]
    if np.isnan(others):
        notes.append(f"{OTHERS}: unknown, for there is a single prompt: the level of chance cannot be told")
        return notes, []
    above = (known[NAME] > known[OTHERS]).mean()
    agree = f"{above:.0%} of {counted(len(known), 'clip agrees', 'clips agree')} more with their own prompt"
    chance = (
        f"mean cosine with the other prompts, the level of chance: {others:.3f}, with their own {own:.3f}"
    )
    notes.append(f"{OTHERS}: {chance}; {agree}")
    ahead = known[NAME] - known[OTHERS]
    if ahead.mean() > student_t.ppf(1 - _ALARM, len(ahead) - 1) * ahead.sem():
        return notes, []
    alarm = (
        f"clips agree with their own prompts ({own:.3f}) no more than with others' ({others:.3f}), but for chance: prompts and clips "
        "may be mixed up, or too few or too alike to tell, or this encoder does not understand them; do not rank systems by such scores"
    )
    return notes, [alarm]
