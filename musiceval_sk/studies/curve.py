"""How scores grow with clips, systems and ratings a clip: what to collect next.

A learning curve is a study whose cells have a size: splits, fits and scores are those of `run_study`, and the training part of each
fold is cut. The test folds stay the same at every size, so that the points of a line differ in their training data only. Scores of the
test clips rest on all ratings, whatever training is given.
"""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

from musiceval_sk._ids import systems_if_named
from musiceval_sk._text import listed, require_known
from musiceval_sk.datasets.clips import check_clips
from musiceval_sk.estimators.lookup import look_ups, scaled, uses_features
from musiceval_sk.exceptions import ClipsTableError, RatingDesignError
from musiceval_sk.ratings.aggregate import aggregate_ratings
from musiceval_sk.ratings.ceiling import human_ceiling
from musiceval_sk.ratings.read import checked_ratings, of_known_clips
from musiceval_sk.statistics.align import require_confidence, require_whole
from musiceval_sk.statistics.intervals import interval
from musiceval_sk.statistics.metrics import METRICS, take_metrics
from musiceval_sk.statistics.resampling import ResampledMetrics, generators, mean_of_defined
from musiceval_sk.studies import cell
from musiceval_sk.studies.curve_result import COLUMNS, GROWS, ScoreLearningCurve
from musiceval_sk.studies.judge import judge
from musiceval_sk.studies.leakage import describe_split
from musiceval_sk.studies.result import KINDS, made_with
from musiceval_sk.studies.splits import Split, make_split

# Smaller parts are not tried unless somebody asks for them.
_LEAST = {"clips": 10, "systems": 2}


def score_learning_curve(
    clips: pd.DataFrame,
    X: Any,
    models: Any = None,
    cv: Any = "system",
    *,
    grows: str | Sequence[str] = "clips",
    sizes: Any = None,
    ratings: str | Path | pd.DataFrame | None = None,
    targets: str | list[str] | None = None,
    metrics: Collection[str] | None = None,
    n_splits: int | None = None,
    n_repeats: int = 10,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    scale: tuple[float, float] | None = (1, 5),
    rater: str | None = "rater",
    features: str = "as given",
    random_state: int | None = 0,
    n_jobs: int | None = None,
    progress: bool | None = None,
) -> ScoreLearningCurve:
    """Cut the training part of each fold to several sizes and score the same test clips every time.

    Models are fitted as by `run_study`, on the same folds: with all of the training part the scores are those of a study.

    Parameters
    ----------
    clips : pandas.DataFrame
        Clips table, with ``system`` for the S metrics and, unless ratings are given, the targets.
    X : pandas.DataFrame, array-like [shape=(n_clips, n_features)] or callable
        Features, as for `run_study`; or what makes them, without arguments, called when all else has been checked.
    models : estimator or dict of str to estimator, default=None
        One line each; by default the baselines without audio and ridge. Every model is fitted
        ``n_repeats * n_splits`` times a size.
    cv : str or splitter, default="system"
        See `make_split`.
    grows : {"clips", "systems", "ratings"} or sequence of these, default="clips"
        What is cut:

        - "clips": training clips, at random;
        - "systems": whole systems; the clips of the others are all kept;
        - "ratings": ratings a training clip, drawn from each clip's own and averaged anew.
    sizes : sequence of int or float, or mapping of str to such, default=None
        Numbers (int) or shares (float up to 1.0) of what each fold's training part has, or of the largest number of ratings
        that a clip has; for everything that grows or by name. By default all, a half, a quarter and an eighth; of ratings the
        largest number and its halves, rounded up.
    ratings : str, Path or pandas.DataFrame, default=None
        Ratings table, as for `aggregate_ratings`; needed for "ratings". The targets are then the means of all
        ratings of a clip, in the place of columns of the clips table.
    targets : str or list of str, default=None
        Score columns; by default those of impression and alignment that are there.
    metrics : collection of str, default=None
        Names of `METRICS`; by default S_SRCC and U_SRCC, or U_SRCC where clips do not name their systems.
    n_splits : int, default=None
        Number of folds, see `make_split`.
    n_repeats : int, default=10
        Random parts of each size. Within a repeat, a smaller part lies within a larger one. Where nothing is left out, one fit a fold
        stands for all repeats.
    n_resamples : int, default=1000
        Bootstrap resamples.
    confidence : float in (0, 1), default=0.95
        Nominal coverage of intervals.
    scale : (float, float) or None, default=(1, 5)
        Of the ratings, as for `aggregate_ratings`.
    rater : str or None, default="rater"
        Column of raters; None where nobody knows who gave a rating.
    features : str, default="as given"
        What X is, for the header.
    random_state : int or None, default=0
        Seed of folds, parts and resamples.
    n_jobs : int, default=None
        Fits in parallel, see `joblib.Parallel`.
    progress : bool, default=None
        Whether to show progress on stderr, a bar or, without a terminal, a line every 10 s; by default only on a terminal.

    Returns
    -------
    ScoreLearningCurve
        Tables of scores and of steps, and what they let one say; ``print`` it.

    Raises
    ------
    ClipsTableError
        If no target or no usable clip is there, or systems are to grow and clips do not name them.
    RatingDesignError
        If ratings are to grow and there is no ratings table, or no clip has two.
    ValueError
        If a name is unknown, a size is more than every fold can give, or a model cannot be fitted to so little.

    Warns
    -----
    SkippedWarning
        If clips are left out; with their count.

    See Also
    --------
    power_of_comparison : How many systems and clips tell two predictors apart.

    Notes
    -----
    An interval is a percentile of `n_resamples` resamples, each of which draws test systems with replacement and then
    repeats; all sizes and models share what is drawn. So it holds what other test systems with their clips and other parts
    of *this* training data would change. What another training set of the full size would change is not in it.

    A clip with fewer ratings than a size asks for keeps all it has; the column ``ratings`` tells the mean.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> rng = np.random.default_rng(0)
    >>> clips = pd.DataFrame({"system": np.repeat(list("abcdefgh"), 6)}, index=[f"clip{i}" for i in range(48)])
    >>> clips["path"], clips["impression"] = "", np.repeat(np.linspace(1.5, 4.5, 8), 6) + rng.normal(0, 0.2, 48)
    >>> X = pd.DataFrame({"audio_0": clips["impression"] + rng.normal(0, 0.5, 48)})
    >>> curve = score_learning_curve(clips, X, Ridge(), n_splits=4, grows="systems", sizes=[2, 4], progress=False)
    >>> curve.line("impression", "U_SRCC")[["model", "size"]].values.tolist()
    [['Ridge', 2.0], ['Ridge', 4.0]]
    """
    grows = [grows] if isinstance(grows, str) else list(dict.fromkeys(grows))
    require_known("grows", grows, GROWS)
    require_whole(n_repeats=n_repeats, n_resamples=n_resamples)
    require_confidence(confidence)
    check_clips(clips)
    models = models_of_curves(clips) if models is None else cell.take_models(models)
    clips, known, targets = _with_scores(clips, grows, ratings, targets, scale, rater)
    systems = systems_if_named(clips)
    usual = ["S_SRCC", "U_SRCC"][systems is None :]
    asked = take_metrics(metrics, usual, with_systems=systems is not None)
    metrics = usual if metrics is None else [name for name in METRICS if name in asked]
    split = make_split(cv, clips, n_splits=n_splits, random_state=random_state)

    def prepare(X: Any) -> list[_Target]:
        tables = cell.feature_tables(X, clips)
        if len(tables) > 1:
            raise ValueError(f"a learning curve takes one table of features; got {listed(tables)}")
        [table] = tables.values()
        return [_Target(name, clips, systems, table, split, known, grows, sizes) for name in targets]

    if callable(X):
        prepare(pd.DataFrame(index=clips.index))
        X = X()
    prepared = prepare(X)
    seed = int(np.random.default_rng(random_state).integers(2**31))
    cuts = {target.name: target.cuts(n_repeats, seed) for target in prepared}
    cells = [
        cell.Cell({"target": target.name, "model": name, "cut": i, "fold": fold}, model, target.X, *given)
        for target, (name, model) in itertools.product(prepared, models.items())
        for i, cut in enumerate(cuts[target.name])
        for fold, given in enumerate(cut.folds)
    ]
    predictions = cell.run_cells(cells, name="learning curve", n_jobs=n_jobs, progress=progress)
    tables: tuple[list[dict[str, Any]], ...] = ([], [], [])
    drawn = _Draws(metrics, n_repeats, n_resamples, confidence)
    for (target, model), found in predictions.groupby(["target", "model"], sort=False):
        for table, rows in zip(tables, _rows(cuts[target], found, systems, seed, drawn), strict=True):
            table += [{"target": target, "model": model} | row for row in rows]
    about = {
        "features": features,
        "split": split.name,
        **describe_split(split, {one.name: (one.clips, one.folds) for one in prepared}, systems),
        "ratings_a_clip": {one.name: one.counts.agg(["min", "mean", "max"]).tolist() for one in prepared},
        "look_ups": [name for name, model in models.items() if not uses_features(model)],
        "models": {name: " ".join(repr(model).split()) for name, model in models.items()},
        "random_state": random_state,
        **drawn._asdict(),
        **made_with(),
    }
    ceiling = None
    if known is not None:
        among: dict[str, Any] = {"scale": scale, "rater": rater, "confidence": confidence}
        ceiling = human_ceiling(known, clips=clips, targets=targets, **among)
    scores, steps, notes = (pd.DataFrame(rows, columns=of) for rows, of in zip(tables, COLUMNS, strict=True))
    return ScoreLearningCurve(scores, steps, notes, ceiling, about)


def models_of_curves(clips: pd.DataFrame) -> dict[str, Any]:
    """Name the models that are drawn by default: the look-ups, and ridge of one penalty at every size, for it is fitted often."""
    return look_ups(clips) | {"ridge": scaled(Ridge(alpha=100.0))}


def _with_scores(
    clips: pd.DataFrame, grows: Sequence[str], ratings: Any, targets: Any, scale: Any, rater: str | None
) -> tuple[pd.DataFrame, pd.DataFrame | None, list[str]]:
    """Put the means of all ratings into the clips table; also give the ratings of its clips, and the targets."""
    if ratings is None:
        if "ratings" in grows:
            raise RatingDesignError("grows='ratings' draws among the single ratings: give ratings=")
        return clips, None, cell.targets_of(clips, targets)
    targets = [targets] if isinstance(targets, str) else targets
    table, names = checked_ratings(ratings, targets, scale, rater=rater)
    means = aggregate_ratings(table, clips=clips, targets=names, scale=scale, rater=rater)
    clips = clips.drop(columns=means.columns, errors="ignore").join(means)
    return clips, of_known_clips(table, clips, quiet=True), names


class Size(NamedTuple):
    """How much training keeps of what grows: a number (int), a share of each fold's (float), or all (None)."""

    grows: str
    amount: int | float | None

    def rows(self, train: np.ndarray, systems: Any, seed: Sequence[int]) -> np.ndarray:
        """Choose training rows of a fold; under one seed a smaller part lies within a larger one."""
        rng = np.random.default_rng(seed)
        clips = rng.permutation(len(train))
        if self.amount is None or self.grows == "ratings":
            return train
        if self.grows == "clips":
            return train[np.sort(clips[: _number(self.amount, len(train))])]
        of_clips = np.asarray(systems)[train].astype(str)
        names = rng.permutation(np.unique(of_clips))
        return train[np.isin(of_clips, names[: _number(self.amount, len(names))])]


def make_sizes(grows: Sequence[str], sizes: Any, most: Mapping[str, int]) -> list[Size]:
    """List the sizes of all that grows, smallest first; ``most`` tells how much there is."""
    made = []
    for name in grows:
        asked = sizes.get(name) if isinstance(sizes, Mapping) else sizes
        if asked is None and name == "ratings":
            asked = [-(-most[name] // 2**halvings) for halvings in range(most[name].bit_length() + 1)]
        elif asked is None:
            asked = [1.0, *(share for share in (0.5, 0.25, 0.125) if share * most[name] >= _LEAST[name])]
        asked = [asked] if np.isscalar(asked) else list(asked)
        wrong = [size for size in asked if not 0 < size <= (1 if _is_share(size) else most[name])]
        if wrong or not asked:
            words = f"sizes of {name}: {listed(wrong) or 'none'}; give shares above 0 and up to 1.0, or whole numbers"
            raise ValueError(
                f"{words} from 1 to {most[name]}, the number of {GROWS[name]} that every fold can give"
            )
        # Of two that come to one number the share stands, for it may keep more where folds differ.
        ordered = sorted(asked, key=lambda size: (_number(size, most[name]), _is_share(size)))
        for number, size in {_number(size, most[name]): size for size in ordered}.items():
            amount = number if name == "ratings" else size
            is_all = number == most[name] if name == "ratings" else _is_share(size) and size == 1
            made.append(Size(name, None if is_all else amount))
    return made


def _is_share(size: Any) -> bool:
    return isinstance(size, float | np.floating)


def _number(size: int | float, total: int) -> int:
    return max(1, round(size * total)) if _is_share(size) else int(size)


class _Draws(NamedTuple):
    """What is scored, how often training is cut to a size, and how intervals are drawn."""

    metrics: list[str]
    n_repeats: int
    n_resamples: int
    confidence: float


class _Cut(NamedTuple):
    """One size and repeat: scores, groups, training and test rows of each fold, and what training had of `GROWS` in the mean."""

    size: Size
    folds: list[tuple[pd.Series, pd.Series | None, np.ndarray, np.ndarray]]
    had: np.ndarray


class _Target:
    """A target with what its cells share: clips, features, folds, sizes and, if given, single ratings."""

    def __init__(
        self, name: str, clips: Any, systems: Any, X: Any, split: Split, ratings: Any, grows: Any, sizes: Any
    ):
        self.name = name
        self.clips = cell.usable_clips(clips, {"X": X}, name)
        index = self.clips.index
        self.X = cell.one_matrix(X.loc[index, cell.columns_for(name, X)])
        self.groups = None if split.inner is None else split.inner.loc[index]
        self.folds = split.folds(self.clips)
        self.systems = None if systems is None else systems.loc[index]
        self.counts = pd.Series(np.nan, index=index)
        most = {"clips": min(len(train) for train, _ in self.folds)}
        if self.systems is not None:
            most["systems"] = min(self.systems.iloc[train].nunique() for train, _ in self.folds)
        elif "systems" in grows:
            raise ClipsTableError("systems cannot be left out: not every clip names its system")
        if ratings is not None:
            given = ratings["clip_id"].isin(index) & ratings[name].notna()
            self.ratings = ratings.loc[given, ["clip_id", name]]
            self.counts = self.ratings.groupby("clip_id").size().reindex(index)
            most["ratings"] = int(self.counts.max())
            if most["ratings"] == 1 and "ratings" in grows:
                raise RatingDesignError(f"{name}: no clip has two ratings, so there are none to leave out")
        self.sizes = make_sizes(grows, sizes, most)

    def cuts(self, n_repeats: int, seed: int) -> list[_Cut]:
        """Cut to all sizes; where nothing is left out repeats would all be the same, so there is one."""
        return [
            self._cut(size, (seed, repeat))
            for size in self.sizes
            for repeat in range(1 if size.amount is None else n_repeats)
        ]

    def _cut(self, size: Size, seed: Sequence[int]) -> _Cut:
        truth = scores = self.clips[self.name]
        counts = self.counts
        if size.grows == "ratings" and size.amount is not None:
            drawn = self.ratings[nested_ratings(self.ratings["clip_id"], seed) < size.amount]
            table = aggregate_ratings(drawn, targets=[self.name], scale=None, rater=None).reindex(truth.index)
            scores, counts = table[self.name], table[f"{self.name}_count"]
        folds, had = [], []
        for fold, (train, test) in enumerate(self.folds):
            rows = size.rows(train, self.systems, (*seed, fold))
            given = truth.copy()
            given.iloc[rows] = scores.iloc[rows]
            folds.append((given, self.groups, rows, test))
            n_systems = np.nan if self.systems is None else self.systems.iloc[rows].nunique()
            had.append((len(rows), n_systems, counts.iloc[rows].mean()))
        return _Cut(size, folds, np.mean(had, axis=0))


def nested_ratings(clip_ids: pd.Series, seed: Sequence[int]) -> np.ndarray:
    """Count each clip's ratings from 0 in random order: those below r are r of its ratings."""
    order = np.random.default_rng(seed).permutation(len(clip_ids))
    numbers = np.empty(len(order), dtype=int)
    numbers[order] = clip_ids.iloc[order].groupby(clip_ids.iloc[order], sort=False).cumcount()
    return numbers


def _rows(
    cuts: Sequence[_Cut], predictions: pd.DataFrame, systems: pd.Series | None, seed: int, options: _Draws
) -> tuple[list[dict[str, Any]], ...]:
    """Lay out scores, steps to the next size and notes of one target and model; all sizes share what is resampled."""
    cells = [found for _, found in predictions.groupby("cut", sort=False)]
    labels = None if systems is None else systems.loc[cells[0].index].to_numpy()
    judged = [judge(found, labels) for found in cells]
    found = np.array([[[by[kind][name] for name in options.metrics] for kind in KINDS] for by, _ in judged])
    *rngs, rng = generators(seed, 3)
    samples = _resampled(cells, labels, options, rngs)
    samples[:, ~np.isfinite(found)] = np.nan
    drawn = rng.integers(options.n_repeats, size=(options.n_resamples, options.n_repeats))
    scores, steps, notes, points = [], [], [], []
    for size in dict.fromkeys(cut.size for cut in cuts):
        repeats = [place for place, cut in enumerate(cuts) if cut.size == size]
        had = dict(zip(GROWS, np.mean([cuts[place].had for place in repeats], axis=0), strict=True))
        where = {"grows": size.grows, "size": had[size.grows]}
        if note := judged[repeats[0]][1]:
            notes.append(where | {"note": note})
        value, resampled = mean_of_defined(found[repeats]), over_repeats(samples[:, repeats], drawn)
        n_judged = np.isfinite(found[repeats]).sum(axis=0).ravel()
        estimates = _estimates("score", value, resampled, options)
        scores += [where | row | {"n_repeats": n} | had for row, n in zip(estimates, n_judged, strict=True)]
        points.append((where, value, resampled))
    signs = [1 if METRICS[name].greater_is_better else -1 for name in options.metrics]
    for (start, *before), (end, *after) in itertools.pairwise(points):
        if start["grows"] == end["grows"]:
            gain, resampled = (signs * (b - a) for a, b in zip(before, after, strict=True))
            step = {"grows": end["grows"], "size_from": start["size"], "size_to": end["size"]}
            steps += [step | row for row in _estimates("gain", gain, resampled, options)]
    return scores, steps, notes


def _estimates(
    name: str, values: np.ndarray, samples: np.ndarray, options: _Draws
) -> Iterator[dict[str, Any]]:
    """Give a figure of each kind and metric with its interval."""
    for (k, kind), (m, metric) in itertools.product(enumerate(KINDS), enumerate(options.metrics)):
        value, drawn = values[k, m], samples[:, k, m]
        low, high = interval("percentile", drawn, value, np.empty(0), "difference", options.confidence)
        yield {"metric": metric, "kind": kind, name: value, "low": low, "high": high}


def _resampled(
    cells: Sequence[pd.DataFrame], labels: Any, options: _Draws, rngs: Sequence[Any]
) -> np.ndarray:
    """Both kinds of score in resamples of test systems [shape=(n_resamples, n_cells, 2, n_metrics)]."""
    judged = [(found["truth"].to_numpy(), found["prediction"].to_numpy()) for found in cells]
    folds = cells[0]["fold"].to_numpy()
    pooled = ResampledMetrics(judged, labels, "systems", options.metrics)
    samples = [pooled.draw(options.n_resamples, rngs[0], None)] * 2
    if np.ptp(folds) > 0:
        folded = ResampledMetrics(judged, labels, "systems", options.metrics, folds)
        samples[1] = folded.draw(options.n_resamples, rngs[1], None)
    return np.stack(samples, axis=2)[..., [list(METRICS).index(name) for name in options.metrics]]


def over_repeats(samples: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Average over the repeats that each resample draws; a single one stands for all."""
    if samples.shape[1] == 1:
        return samples[:, 0]
    chosen = np.take_along_axis(samples, drawn[:, :, np.newaxis, np.newaxis], axis=1)
    return mean_of_defined(chosen.swapaxes(0, 1))
