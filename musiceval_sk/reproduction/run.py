"""Table I of the MusicEval paper, made anew: embed, train both heads with several seeds, and judge beside others."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from musiceval_sk._ids import systems_if_named, warn_of_skipped
from musiceval_sk._progress import progress
from musiceval_sk._text import counted, listed
from musiceval_sk.datasets.clips import TARGETS
from musiceval_sk.datasets.musiceval.layout import load_musiceval, load_musiceval_systems
from musiceval_sk.estimators.lookup import look_ups
from musiceval_sk.exceptions import ClipsTableError
from musiceval_sk.features.encoders import Encoder
from musiceval_sk.reproduction.protocols import ReproductionProtocol, get_protocol
from musiceval_sk.reproduction.result import FIGURES, NUMBERS, ReproductionResult, published_results
from musiceval_sk.reproduction.training import FrozenHeads, Parts, TunedTowers
from musiceval_sk.statistics.align import require_whole
from musiceval_sk.statistics.bootstrap import HOW, MetricBootstrap, bootstrap_metrics
from musiceval_sk.studies.cell import Cell, predict_cell
from musiceval_sk.studies.leakage import shares_with_training
from musiceval_sk.studies.result import made_with
from musiceval_sk.studies.splits import make_split

_TRUTHS = {
    "clips": "mean over the tested clips",
    "table": "the data set's own table of systems, which averages all clips of a system",
}


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
        ``{"micro_batch_size": 8}``.
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
    require_whole(n_seeds=n_seeds, n_resamples=n_resamples)
    require_whole(0, random_state=random_state)
    options = dict(encoder_options or {})
    training: FrozenHeads
    if finetune is None:
        _refuse("goes with finetune alone", finetune_options=finetune_options, checkpoints=checkpoints)
        where: dict[str, Any] = {"cache": cache, "n_jobs": n_jobs, "device": device}
        training = FrozenHeads(get_protocol(protocol or "frozen"), encoder, options, **where)
    else:
        _refuse("does not go with finetune: a store keeps vectors of frozen towers", cache=cache)
        elsewhere = None if device in ("auto", options.get("device")) else device
        why = "does not go with finetune, which trains where the encoder is: give the encoder that device"
        _refuse(why, device=elsewhere)
        how: dict[str, Any] = {"mode": finetune, "options": finetune_options or {}}
        how["checkpoints"] = checkpoints
        training = TunedTowers(get_protocol(protocol or "paper"), encoder, options, **how)
    protocol = training.protocol
    clips = _with_both_scores(load_musiceval(root, counts=counts))
    parts = _split(clips, protocol, random_state)
    table_truth = _table_truth(root, parts["test"]) if protocol.system_truth == "table" else None
    parts = training.prepare(parts)
    for name, part in parts.items():
        if len(part) < 2:
            raise ClipsTableError(f"{root}: {len(part)} readable clips for {name}; at least 2 are needed")
    split, notes = _describe(clips, parts, protocol)
    predictions, unknown = _look_up(clips, parts)
    seeds = list(range(random_state, random_state + n_seeds))
    with progress(n_seeds, "reproduction", "seed") as shown:
        for seed in seeds:
            predictions[f"seed {seed}"] = training.fit_predict(parts, seed)
            shown.update()
    said = pd.concat(predictions, axis=1)
    drawn = {"n_resamples": n_resamples, "random_state": random_state, "n_jobs": n_jobs}
    table, intervals = _tabulate(parts["test"], said, table_truth, protocol, **drawn)
    about = {
        "protocol": json.loads(json.dumps(asdict(protocol))),
        "title": training.title,
        "data": {"root": Path(root).name, "clips": len(clips)},
        "split": split,
        "system_truth": _TRUTHS[protocol.system_truth],
        "encoder": str(getattr(encoder, "name", encoder)),
        **training.about,
        "seeds": seeds,
        "intervals": intervals,
        **made_with("laion-clap", "transformers", "soxr", "soundfile"),
    }
    notes += [*unknown, *training.notes]
    return ReproductionResult(table, _as_rows(parts["test"], said), notes, about)


def _refuse(why: str, **given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name}={value!r} {why}")


def _with_both_scores(clips: pd.DataFrame) -> pd.DataFrame:
    """Leave out clips that lack a score."""
    lacking = clips[list(TARGETS)].isna().any(axis=1)
    if lacking.any():
        count = counted(lacking.sum(), "clip that lacks", "clips that lack")
        warn_of_skipped(f"left out {count} a score", clips.index[lacking], stacklevel=3)
    return clips[~lacking]


def _split(clips: pd.DataFrame, protocol: ReproductionProtocol, random_state: int) -> Parts:
    """Divide clips as a protocol says; the dev list may be development and test at once."""
    clips = clips.sort_index()  # so that a random split does not depend on the order of lists
    [(train, test)] = make_split(protocol.split, clips, random_state=random_state).folds(clips)
    parts = {"train": clips.iloc[train], "test": clips.iloc[test]}
    if protocol.split == "official" and protocol.development == "list":
        by_list = clips[clips["split"] == "dev"]
        tested = by_list.index.isin(parts["test"].index).any()
        if len(by_list) and (protocol.tests_on_development or not tested):
            parts["development"] = by_list
    return parts


def _table_truth(root: str | Path, test: pd.DataFrame) -> pd.DataFrame:
    """Read the data set's table of systems before anything is computed that would need it."""
    table = load_musiceval_systems(root)
    lacking = set(test["system"]) - set(table.index)
    if lacking:
        other = 'dataclasses.replace(PROTOCOLS["released"], system_truth="clips")'
        words = f"{root}: the table of systems lacks {listed(sorted(lacking))}"
        raise ClipsTableError(f"{words}; correct it, or take the mean over clips with {other}")
    return table


def _look_up(clips: pd.DataFrame, parts: Parts) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Predictions of each look-up, and what those could not look up."""
    train, test = parts["train"], parts["test"]
    together, predictions, notes = pd.concat([train, test]), {}, []
    rows = np.split(np.arange(len(together)), [len(train)])
    X = pd.DataFrame(index=together.index)
    for name, model in look_ups(clips).items():
        cells = {target: Cell({}, model, X, together[target], None, *rows) for target in TARGETS}
        found = pd.concat({target: predict_cell(cell) for target, cell in cells.items()}, axis=1)
        predictions[name] = found.xs("prediction", axis=1, level=1)
        if unknown := int((~found[TARGETS[0], "known"]).sum()):
            words = f"{unknown} of {len(test)} tested clips have no match in training and get the global mean"
            notes.append(f"{name}: {words}")
    return predictions, notes


def _tabulate(
    test: pd.DataFrame, said: pd.DataFrame, table_truth: Any, protocol: ReproductionProtocol, **options: Any
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Judge predictions beside published figures, all by the same resamples; returns how intervals were made, too."""
    systems = systems_if_named(test)
    rows = list(dict.fromkeys(said.columns.get_level_values(0)))
    seeds = [row for row in rows if row.startswith("seed ")]
    ours = f"{protocol.name}, mean of {counted(len(seeds), 'seed')}"

    def bootstrap(truth: pd.DataFrame) -> MetricBootstrap:
        truths = pd.concat(dict.fromkeys(rows, truth[list(TARGETS)]), axis=1)
        found = bootstrap_metrics(truths, said, systems=systems, scale=(1, 5), **options)
        return _with_means(found, seeds, ours)

    found = bootstrap(test)
    table = found.to_frame()
    if table_truth is not None and systems is not None:
        # Given to each of its clips, a system's own truth is the mean over them in every resample.
        of_systems = bootstrap(table_truth.loc[systems].set_axis(test.index, axis=0)).to_frame()
        by_system = table["metric"].str.startswith("S")
        table = pd.concat([table[~by_system], of_systems[by_system]]).sort_index()
    table[["row", "target"]] = table["target"].tolist()
    table["kind"] = table["row"].map(dict.fromkeys(seeds, "seed") | {ours: "ours"}).fillna("look-up")
    table["split"], table["source"] = protocol.split, "this run"
    of_seeds = table[table["kind"] == "seed"].groupby(["target", "metric"])["value"]
    ranges = of_seeds.agg(least_of_seeds="min", most_of_seeds="max")
    table = table.join(ranges, on=["target", "metric"])
    table.loc[table["kind"] != "ours", list(ranges)] = np.nan
    table = table.sort_values("target", key=lambda names: names.map(TARGETS.index), kind="stable")
    published = published_results().rename(columns={"name": "row"}).assign(kind="published")
    table = pd.concat([published, table])
    settings = {"confidence": 0.95, "drawn": found.level, "drawn_in_words": HOW[found.level]}
    settings |= {"resamples": len(found.distribution)}
    return table[list(FIGURES)].reset_index(drop=True).astype(dict.fromkeys(NUMBERS, float)), settings


def _with_means(found: MetricBootstrap, rows: list[str], name: str) -> MetricBootstrap:
    """Add the mean of some rows' metrics, in every resample, as a row of its own."""
    places = [[found.targets.index((row, target)) for row in rows] for target in TARGETS]
    parts = {}
    for part in ("estimates", "distribution", "left_out", "least_variances", "largest"):
        values = getattr(found, part)
        means = np.stack([values[..., of, :].mean(axis=-2) for of in places], axis=-2)
        parts[part] = np.concatenate([values, means], axis=-2)
    targets = [*found.targets, *((name, target) for target in TARGETS)]
    notes = [*found.notes, *(found.notes[of[0]] for of in places)]
    return replace(found, targets=targets, notes=notes, **parts)


def _as_rows(test: pd.DataFrame, said: pd.DataFrame) -> pd.DataFrame:
    """One row per predictor, target and test clip."""
    known = pd.DataFrame({"system": test.get("system", "")}, index=test.index)
    tables = {name: known.assign(truth=test[name[1]], prediction=said[name]) for name in said}
    return pd.concat(tables, names=["row", "target", "clip_id"]).reset_index()


def _describe(
    clips: pd.DataFrame, parts: Parts, protocol: ReproductionProtocol
) -> tuple[dict[str, Any], list[str]]:
    """Say how the clips were split and what training and test share, and what that does to the scores."""
    train, test, development = parts["train"], parts["test"], parts.get("development")
    learnt, tested = (np.flatnonzero(clips.index.isin(part.index)) for part in (train, test))
    shared = shares_with_training(clips, [(learnt, tested)])
    by = "a tenth of the training clips, held out at random"
    stops = development is not None and bool(development.index.isin(test.index).any())
    split = {
        "name": protocol.split,
        "train": len(train),
        "stopped_by": by if development is None else f"{len(development)} clips of the dev list",
        "test": len(test),
        "test_lists": sorted(test["split"].unique()) if "split" in test else [],
        "test_stops_training": stops,
        "test_systems": int(test["system"].nunique()) if "system" in test else 0,
        "shared_with_training": shared,
    }
    notes = {
        "the tested clips also stopped the training, as in the released code: scores are optimistic": stops,
        "there is no test list, so the dev list was tested": split["test_lists"] == ["dev"],
        "clips name no systems: there are no S metrics and no look-up by system": not split["test_systems"],
        "training holds every tested system: the system mean uses no audio, and a predictor that does not beat it need "
        "not have heard anything either": split["test_systems"] and shared.get("system", 0) == 1,
    }
    return split, [note for note, holds in notes.items() if holds]
