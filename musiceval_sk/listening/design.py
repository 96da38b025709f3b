"""Design of a listening test: a file that says which rater gets which clips, in which batch and order."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musiceval_sk._files import atomic_write, parse_json, refused_as, require_version
from musiceval_sk._ids import id_texts
from musiceval_sk._text import Shown, counted, listed, require_known
from musiceval_sk.datasets.clips import TARGETS, check_clips, load_clips
from musiceval_sk.exceptions import ClipsTableError, RatingDesignError
from musiceval_sk.listening.balance import clips_of, in_words, measure
from musiceval_sk.listening.deal import deal_evenly, group_clips, order_batch
from musiceval_sk.listening.pairs import choose_pairs
from musiceval_sk.statistics.align import require_whole

FORMAT, VERSION = "musiceval-listening-test", 1
METHODS = ("acr", "slider", "pairs")
_TIMES = ("start_time", "end_time")
_Trials = list[dict[str, Any]]
_Clips = dict[str, dict[str, Any]]


@dataclass(repr=False)
class ListeningTest(Shown):
    """A listening test as `design_test` makes it and its JSON file holds it.

    Attributes
    ----------
    clips : dict of dict
        By clip id: ``path``, ``prompt``, ``system`` and ``probe`` (bool), of all that raters may hear.
    raters : dict of list of dict
        By rater: batches, each ``{"batch": 1, "trials": [...]}`` in the order to be heard. A trial is ``{"clip_id": ...}``, of
        pairs ``{"clip_a": ..., "clip_b": ...}``, and ``"repeat": True`` where it repeats one of the same batch.
    method : str
        ``"acr"`` (five points), ``"slider"`` (0 to 100) or ``"pairs"`` (which of two is better).
    scales : list of str
        What is asked of a clip: the names of the scores.
    training : list of str
        Clips of the training page, which are not rated.
    seed : int
        What the random order came from.
    balance : dict
        How even the design is, beside what is possible; `report` puts it into words.
    """

    clips: dict[str, dict[str, Any]]
    raters: dict[str, list[dict[str, Any]]]
    method: str = "acr"
    scales: list[str] = field(default_factory=lambda: [*TARGETS])
    training: list[str] = field(default_factory=list)
    seed: int = 0
    balance: dict[str, Any] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write the test as JSON; paths become relative to the file's folder where they can.

        Parameters
        ----------
        path : str or Path
            File to write.
        """
        folder = Path(path).absolute().parent
        clips = {name: clip | {"path": _relative(clip["path"], folder)} for name, clip in self.clips.items()}
        content = {"format": FORMAT, "version": VERSION} | asdict(self) | {"clips": clips}
        with atomic_write(path) as aside:
            aside.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")

    @property
    def score_range(self) -> tuple[float, float]:
        """Lowest and highest score that a rater can give."""
        return (0, 100) if self.method == "slider" else (1, 5)

    def trials(self) -> Iterator[tuple[str, int, int, dict[str, Any]]]:
        """Go through all that raters are asked.

        Yields
        ------
        rater, batch, position, trial : str, int, int, dict
            Positions count from 1 in each batch.
        """
        for rater, batches in self.raters.items():
            for batch in batches:
                for position, trial in enumerate(batch["trials"], 1):
                    yield rater, batch["batch"], position, trial

    def rated_clips(self) -> pd.DataFrame:
        """List the clips that the test is about, without probes and training clips.

        Returns
        -------
        pandas.DataFrame
            A clips table: ``path``, ``prompt`` and, if they are known, ``system``.
        """
        heard = {name for *_, trial in self.trials() for name in clips_of(trial)}
        rated = {name: clip for name, clip in self.clips.items() if name in heard and not clip["probe"]}
        table = pd.DataFrame.from_dict(rated, orient="index").rename_axis("clip_id")
        table = table.reindex(columns=["path", "prompt", "system"])
        return table if table["system"].any() else table.drop(columns="system")

    def to_frame(self) -> pd.DataFrame:
        """Give what was found as a tidy table.

        Returns
        -------
        pandas.DataFrame
            One row a trial: ``rater``, ``batch``, ``position`` (from 1), ``clip_id`` or, of pairs, ``clip_a`` and ``clip_b``, and
            ``repeat`` (bool).
        """
        rows = [
            {"rater": rater, "batch": batch, "position": position, **trial, "repeat": "repeat" in trial}
            for rater, batch, position, trial in self.trials()
        ]
        names = ["clip_a", "clip_b"] if self.method == "pairs" else ["clip_id"]
        return pd.DataFrame(rows, columns=["rater", "batch", "position", *names, "repeat"])

    def __str__(self) -> str:
        return self.report()

    def report(self) -> str:
        """Say how even the design is.

        Returns
        -------
        str
            A few lines.
        """
        return in_words(self.balance, "comparison" if self.method == "pairs" else "clip")


def load_test(path: str | Path) -> ListeningTest:
    """Read a listening test that `ListeningTest.save` wrote.

    Parameters
    ----------
    path : str or Path
        The JSON file.

    Returns
    -------
    ListeningTest
        With absolute paths.

    Raises
    ------
    ClipsTableError
        If the file is no such test, is of a newer version, or its trials name clips that it does not list.
    """
    path = Path(path)
    with refused_as(ClipsTableError, f"{path}: is no JSON, and so no design of a listening test"):
        content = parse_json(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ClipsTableError(f"{path}: is no design of a listening test; musiceval listen design writes one")
    changed = f"{path}: was damaged or changed after musiceval listen design wrote it"
    with refused_as(ClipsTableError, changed, "design the test anew"):
        require_version(path, content["version"], VERSION, ClipsTableError)
        for clip in content["clips"].values():
            clip["path"] = os.path.abspath(path.parent / clip["path"])
        test = ListeningTest(**{name: content[name] for name in ListeningTest.__dataclass_fields__})
        _check_form(test)
        named = {clip for *_, trial in test.trials() for clip in clips_of(trial)}
        unknown = [clip for clip in [*named, *test.training] if clip not in test.clips]
    if unknown:
        raise ClipsTableError(f"{path}: trials name clips that the design does not list: {listed(unknown)}")
    return test


def _check_form(test: ListeningTest) -> None:
    """Raise unless texts, numbers and lists are where a design has them."""
    texts = [test.method, *test.scales, *test.training]
    texts += [clip[name] for clip in test.clips.values() for name in ("path", "prompt", "system")]
    trials = [*test.trials()]
    texts += [clip for *_, trial in trials for clip in clips_of(trial)]
    wrong: list[Any] = [text for text in texts if not isinstance(text, str)]
    wrong += [number for _, number, *_ in trials if not isinstance(number, int)]
    wrong += [clip["probe"] for clip in test.clips.values() if not isinstance(clip["probe"], bool)]
    wrong += [kind for kind in (test.method,) if kind not in METHODS]
    wrong += [batches for batches in test.raters.values() if not (isinstance(batches, list) and batches)]
    if wrong or not isinstance(test.balance, dict):
        raise TypeError(f"{listed(map(repr, wrong or [test.balance]))} cannot stand where it does")


def design_test(
    clips: str | Path | pd.DataFrame,
    *,
    n_raters: int,
    per_clip: int = 5,
    batch_size: int = 40,
    n_batches: int | None = None,
    probes: str | Path | pd.DataFrame | None = None,
    n_probes: int | None = None,
    n_duplicates: int = 1,
    training: int | str | Path | pd.DataFrame = 0,
    method: str = "acr",
    seed: int = 0,
) -> ListeningTest:
    """Say which rater hears which clips in which order.

    Every clip gets exactly ``per_clip`` raters, and nobody hears a clip twice but for the doubled ones. A rater hears all clips of
    a prompt in one go, in random order, as in the MusicEval paper; a prompt is parted only where a system has several
    clips for it, or where it is larger than a batch. All batches hold as much of each system as they can.

    Parameters
    ----------
    clips : str, Path or pandas.DataFrame
        Clips table, or folder of sounds, as of `load_clips`; with ``prompt`` and ``system`` where they are known.
    n_raters : int
        Raters.
    per_clip : int, default=5
        Raters of each clip. Of pairs: comparisons that each clip is part of, one more for one clip of a prompt whose clips are
        odd in number, as ``per_clip`` is.
    batch_size : int, default=40
        Most clips (of pairs: comparisons) in a batch, probes and doubled ones not counted.
    n_batches : int or None, default=None
        Batches of each rater; None for as many as it takes.
    probes : str, Path or pandas.DataFrame, default=None
        Real music that is hidden in every batch: a table, or a folder of sounds. One without a prompt is given one of the test.
    n_probes : int or None, default=None
        Probes in each batch. Default: 2, or as many as there are for a rater to hear none twice.
    n_duplicates : int, default=1
        Clips (of pairs: comparisons, the sides then changed) in each batch that come again, at least half the batch later.
    training : int, str, Path or DataFrame, default=0
        Clips of the training page: a table or folder; or how many to take out of ``clips``, which then are not rated.
    method : str, default="acr"
        ``"acr"``: absolute category rating on five points; ``"slider"``: 0 to 100; ``"pairs"``: which of two clips for one
        prompt is better.
    seed : int, default=0
        Seed of all that is random; the same seed gives the same test.

    Returns
    -------
    ListeningTest
        The test, to be saved.

    Raises
    ------
    RatingDesignError
        If there can be no such test; the message says with what numbers there can.
    ClipsTableError
        If a table cannot be used.
    ValueError
        If a number is too small or the method unknown.

    References
    ----------
    Cheng Liu et al., "MusicEval: A Generative Music Dataset with Expert Ratings for Automatic Text-to-Music Evaluation", 2025,
    section IV.

    Examples
    --------
    >>> clips = pd.DataFrame({"path": "x.wav", "prompt": list("aabb"), "system": list("STST")}, index=list("1234"))
    >>> test = design_test(clips, n_raters=3, per_clip=2, n_duplicates=0)
    >>> [trial["clip_id"] for trial in test.raters["R01"][0]["trials"]]
    ['2', '1']
    """
    require_whole(n_raters=n_raters, per_clip=per_clip, batch_size=batch_size)
    require_whole(n_batches=1 if n_batches is None else n_batches)
    require_whole(0, n_probes=0 if n_probes is None else n_probes, n_duplicates=n_duplicates)
    require_known("method", method, METHODS)
    rng = np.random.default_rng(seed)
    table = _take_clips(clips)
    real = table[:0] if probes is None else _take_clips(probes)
    if isinstance(training, int):
        trained = table.loc[_one_of_each_system(table, training, rng)]
        table = table.drop(index=trained.index)
    else:
        trained = _take_clips(training)
    is_pairs = method == "pairs"
    if is_pairs and len(real):
        raise ValueError("method='pairs' takes no probes=: a rule on them needs scores, and pairs have none")
    if is_pairs:
        groups, copies = choose_pairs(table, per_clip, rng), 1
    else:
        if per_clip > n_raters:
            raise RatingDesignError(
                f"{per_clip} ratings of a clip come from as many raters, for nobody hears a clip twice, and there are {n_raters}; "
                f"give n_raters={per_clip} or per_clip={n_raters}"
            )
        groups, copies = group_clips(table, batch_size, rng), per_clip
    kinds = _kinds_of(groups, table)
    size: dict[str, Any] = {"n_raters": n_raters, "batch_size": batch_size, "n_batches": n_batches}
    dealt, n_batches = deal_evenly(groups, np.hstack(list(kinds.values())), copies, 1 + is_pairs, rng, **size)
    n_busy = len(np.unique(dealt // n_batches))
    if n_busy < n_raters:
        raise RatingDesignError(
            f"{n_raters - n_busy} of {n_raters} raters would hear nothing, for there is no more to share out where prompts stay "
            f"whole; give n_raters={n_busy}"
        )
    real = _with_prompts(real, table["prompt"].unique(), rng)
    listed_clips = _list_clips(table, trained, real)
    held: list[_Trials] = [[] for _ in range(n_raters * n_batches)]
    names = table.index.to_numpy()
    for group, places in zip(groups, dealt, strict=True):
        for place in places:
            held[place] += _trials_of(names[group], is_pairs)
    hidden = _hide_probes(real, held, listed_clips, n_batches, n_probes, rng)
    raters = _order_all(held, hidden, listed_clips, n_batches, n_duplicates, rng)
    scales = ["preference"] if is_pairs else [*TARGETS] if table["prompt"].any() else [*TARGETS[:1]]
    test = ListeningTest(listed_clips, raters, method, scales, [*trained.index], seed)
    test.balance = measure(list(test.trials()), set(real.index), dealt, kinds)
    return test


def _take_clips(source: str | Path | pd.DataFrame) -> pd.DataFrame:
    """Read clips: ``path``, ``prompt`` and ``system`` as text, "" for none."""
    table = source if isinstance(source, pd.DataFrame) else load_clips(source, scale=None)
    check_clips(table, columns=["path"], filled=True)
    if set(_TIMES) & set(table):
        raise ClipsTableError(
            f"clips that are parts of their files ({listed(_TIMES)}) cannot be played as they are; cut the files, and leave "
            "these columns out"
        )
    columns = table.reindex(columns=["path", "prompt", "system"])
    return columns.apply(id_texts).set_axis(id_texts(table.index))


def _one_of_each_system(table: pd.DataFrame, number: int, rng: np.random.Generator) -> pd.Index:
    """Draw clips at random, the next of a system only when all have had their turn."""
    if not 0 <= number < len(table):
        raise ValueError(f"training={number} must be at least 0 and less than the {len(table)} clips")
    mixed = table.sample(frac=1, random_state=rng)
    turn = mixed.groupby("system").cumcount()
    return mixed.index[np.argsort(turn, kind="stable")[:number]]


def _kinds_of(groups: list[np.ndarray], table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Count what each group has of each system and, of prompts that are in several groups, of each prompt."""
    systems = pd.get_dummies(table["system"]).drop(columns="", errors="ignore").to_numpy(dtype=int)
    prompts = pd.get_dummies(table["prompt"].iloc[[group[0] for group in groups]])
    prompts = prompts.drop(columns="", errors="ignore").to_numpy(dtype=int)
    counts = np.array([systems[group].sum(axis=0) for group in groups])
    return {"systems": counts, "prompts": prompts[:, prompts.sum(axis=0) > 1]}


def _with_prompts(real: pd.DataFrame, prompts: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Give real clips that have no prompt one of the test, for nobody to know them by it."""
    return real.assign(prompt=[prompt or str(rng.choice(prompts)) for prompt in real["prompt"]])


def _list_clips(table: pd.DataFrame, trained: pd.DataFrame, real: pd.DataFrame) -> _Clips:
    everything = pd.concat([part.assign(probe=part is real) for part in (table, trained, real)])
    if not everything.index.is_unique:
        twice = everything.index[everything.index.duplicated()]
        raise ClipsTableError(
            f"probes and training clips are no clips of the test, but share clip ids with these or each other: {listed(twice)}; "
            "leave them out of one table, or rename them"
        )
    everything["path"] = [os.path.abspath(path) for path in everything["path"]]
    return everything.to_dict("index")


def _trials_of(names: np.ndarray, is_pairs: bool) -> _Trials:
    if is_pairs:
        return [{"clip_a": names[0], "clip_b": names[1]}]
    return [{"clip_id": name} for name in names]


def _hide_probes(
    real: pd.DataFrame,
    held: list[_Trials],
    clips: _Clips,
    n_batches: int,
    n_probes: int | None,
    rng: np.random.Generator,
) -> list[_Trials]:
    """Choose the real clips of each batch: of its prompts where there are such, and none twice for one rater."""
    most = len(real) // n_batches
    number = min(2, most) if n_probes is None else n_probes
    if len(real) and (number > most or not most):
        raise RatingDesignError(
            f"{counted(len(real), 'probe')} for {counted(n_batches, 'batch', 'batches')} of a rater, who hears none twice, are "
            f"too few; give {max(number, 1) * n_batches} of them" + (f" or n_probes={most}" if most else "")
        )
    if number and real.empty and n_probes:
        raise ValueError(f"n_probes={n_probes} needs clips to take them from; give probes=")
    used: Counter[str] = Counter()
    hidden, heard = [], set[str]()
    for place, trials in enumerate(held):
        heard = heard if place % n_batches else set()
        prompts = {clips[clips_of(trial)[0]]["prompt"] for trial in trials}
        free = [name for name in rng.permutation(real.index) if name not in heard] if trials else []
        free.sort(key=lambda name: (real["prompt"][name] not in prompts, used[name]))
        heard |= set(free[:number])
        used.update(free[:number])
        hidden.append([{"clip_id": str(name)} for name in free[:number]])
    return hidden


def _order_all(
    held: list[_Trials],
    hidden: list[_Trials],
    clips: _Clips,
    n_batches: int,
    n_duplicates: int,
    rng: np.random.Generator,
) -> dict[str, list[dict[str, Any]]]:
    """Put each rater's batches in order; one that would be empty is none."""
    n_raters, doubled = len(held) // n_batches, Counter[str]()
    raters: dict[str, list[dict[str, Any]]] = {
        f"R{n:0{max(2, len(str(n_raters)))}d}": [] for n in range(1, n_raters + 1)
    }
    for place, (trials, probes) in enumerate(zip(held, hidden, strict=True)):
        batches = list(raters.values())[place // n_batches]
        prompts = [clips[clips_of(trial)[0]]["prompt"] for trial in trials + probes]
        if trials:
            ordered = order_batch(trials, probes, prompts, n_duplicates, doubled, rng)
            batches.append({"batch": len(batches) + 1, "trials": ordered})
    return raters


def _relative(path: str, folder: Path) -> str:
    """Name a file from a folder; on another drive of Windows there is no way."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return path
