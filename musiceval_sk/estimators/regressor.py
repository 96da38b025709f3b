"""`MOSRegressor`: the paper's prediction heads as a scikit-learn estimator."""

from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from musiceval_sk._text import require_known
from musiceval_sk.estimators import preparation, training
from musiceval_sk.estimators.prediction import centres_of, predict_members
from musiceval_sk.estimators.preparation import check_fingerprint, kept_on_failure
from musiceval_sk.estimators.training import Training, draw_seeds

# The paper names no momentum, widths or stopping rule: they are those of its released code.
_PAPER: dict[str, Any] = {
    "hidden_layer_sizes": (256, 64),
    "activation": "relu",
    "loss": "l1",
    "standardize": False,
    "linear": None,
    "batch_size": 64,
    "learning_rate_init": 5e-4,
    "momentum": 0.9,
    "alpha": 0.0,
    "max_iter": 1000,
    "hold_out": "random",
    "validation_fraction": 0.1,
    "n_iter_no_change": 20,
    "averaging": 0.0,
    "n_ensemble": 1,
}
PROTOCOLS: dict[str, dict[str, Any]] = {
    "paper": _PAPER,
    "released": _PAPER | {"activation": "identity", "stop_together": True},
}


class MOSRegressor(RegressorMixin, BaseEstimator):
    """Predict mean opinion scores with small multi-layer perceptrons beside a ridge regression.

    A head is the MusicEval baseline's [1]_: three linear layers, L1 loss, SGD in batches of 64, early stopping with a
    patience of 20 epochs. By default it stands on standardized vectors, ten of a target form an ensemble whose members
    leave out different groups of clips, and what they predict there says when to stop and how much of a ridge
    regression to mix in. `from_protocol` makes the paper's heads alone. Heads and members train together as one batch
    of matrices. The last five parameters belong to two rarer recipes, "soft_bins" and QAMRO's ranking.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=(32, 32)
        Widths of the hidden layers; two of them make the paper's three linear layers.
    activation : {"relu", "gelu", "identity"}, default="relu"
        What stands between the layers. The paper says "MLP"; its released code has nothing there ("identity"). "gelu"
        is the exact one, x times the normal distribution function.
    loss : {"l1", "mse", "huber", "soft_bins"}, default="l1"
        Training loss. L1 is the paper's [1]_; Huber's changes from square to linear at an error of 1 (with
        `standardize`, of the mean distance from the median). "soft_bins", from
        the winner of the AudioMOS 2025 track on this data [2]_, classifies: `n_bins` bins over the `scale`, each score
        softened to a Gaussian over them, cross-entropy, and the expectation as prediction.
    head_inputs : dict, str, slice, sequence of int or callable, default=None
        Which columns of X a head may see: a name prefix such as ``"audio"``, ``"all"``, a slice, indices, or a
        callable from the array of names to a mask; a dict says it per target. By default a target named
        ``impression`` sees the columns whose names begin with ``audio`` and others see all, where X carries names; a
        plain array has none, so every head sees all of it (``set_output(transform="pandas")`` keeps names).
    scale : tuple of (float, float) or None, default=(1, 5)
        Lowest and highest score that raters can give. "soft_bins" lays its bins over it; `fit` warns of scores that
        leave it. None: no scale is known.
    standardize : bool or "scores", default=True
        Whether training sees the columns of X with zero mean and unit deviation, and scores (but for "soft_bins") as
        distances from their median in units of the mean one, so that heads begin at the median and step sizes depend
        on no scale. "scores" leaves X as it is. Fitted weights are for X as it is.
    linear : {"ridge"} or None, default="ridge"
        Whether a ridge regression stands beside the networks. Its penalty is the best for the rows that are held out;
        every other member (none with "soft_bins") learns what it leaves over, the rest the scores themselves. The share
        of the ridge regression and of the networks in the prediction, and its level, are those of least squared error
        on the rows held out.
    batch_size : int, default=64
        Rows a step, at most all. With ``hold_out="folds"`` the steps of an epoch have as many, to within one; else the
        last has what is left, as in torch.
    learning_rate_init : float, default=0.05
        Step size of SGD, constant.
    momentum : float in [0, 1), default=0.9
        Momentum of SGD.
    nesterovs_momentum : bool, default=False
        Whether the momentum is Nesterov's. (`MLPRegressor` defaults to True, the released baseline to False.)
    alpha : float, default=0.01
        L2 penalty as `torch.optim.SGD` applies it: ``weight_decay``, on weights and biases, not divided by the number
        of rows.
    max_iter : int, default=1000
        Most epochs.
    shuffle : bool, default=True
        Whether each epoch visits the rows in a new order; otherwise all visit them in one order, see Notes.
    early_stopping : bool, default=True
        Whether to hold out a part of the training rows, or take ``X_val``, stop when its loss improves no more, and
        keep the weights of the best epoch. Otherwise the training loss decides when to stop and the last weights are
        kept; `linear` must then be None.
    hold_out : {"folds", "random"}, default="folds"
        What is held out. "folds": pairs of members leave out one of five folds each (of `n_ensemble` / 2 if that is
        more), and the heads of a target stop together, by the sum of their held-out losses. "random": one draw for all
        members, and each head stops by itself. With ``groups`` in `fit` groups are kept whole.
    validation_fraction : float in (0, 1), default=0.1
        For "random": share of the rows held out, or of the groups; `fit` warns of fewer than three.
    n_iter_no_change : int, default=10
        Patience in epochs.
    tol : float, default=0.0
        An improvement must be larger than this to count.
    stop_together : bool, default=False
        Whether the heads of a member stop together and keep the weights of the epoch at which the sum of their
        held-out losses is lowest, as the released baseline does; otherwise each head has its own best epoch.
    averaging : float in [0, 1), default=0.9
        Where above 0, heads are judged and kept with a running mean of their weights after each epoch, in which each
        epoch back counts so many times less.
    n_ensemble : int, default=10
        Number of members that differ in their seed and in what they hold out; the prediction is their mean.
    bootstrap : bool, default=False
        Whether each member learns from clips drawn with replacement, as many as there are distinct ones to learn from.
    clip : tuple of (float, float) or None, default=None
        Bounds of predictions, such as (1, 5).
    warm_start : bool, default=False
        Whether `fit` goes on from the weights of the last `fit`.
    device : str, default="auto"
        Where to train: a torch device, or "auto" for CUDA where there is one. Prediction needs none.
    dtype : {"float32", "float64"}, default="float32"
        Precision of training; the fitted weights are kept in float64.
    verbose : bool, default=False
        Whether to show progress with the training loss on stderr: a bar on a terminal, a line every 10 s elsewhere.
    random_state : int, RandomState instance or None, default=None
        Seeds the held-out rows, the initial weights, the order of rows and the members' draws. The global state of
        torch is untouched.
    n_bins : int, default=20
        For "soft_bins": number of bins; their centres run from one end of the scale to the other.
    bin_sigma : float, default=0.25
        For "soft_bins": standard deviation of the Gaussian, in scores. A choice of this library, about one bin's width.
    rank_weight : float, default=0.0
        Weight of QAMRO's [3]_ pairwise ranking term in training: over the pairs of a batch with y_i > y_j the mean of
        q_i max(0, `rank_margin` (y_i - y_j) - (p_i - p_j)). It is added to the loss for the gradient only; early
        stopping and ``loss_curve_`` go by the loss alone.
    rank_margin : float, default=0.2
        Margin of that term per unit of difference; with 1, predictions must be as far apart as the scores.
    rank_quality : float, default=1.0
        Factor q of that term for a batch's best clips; it falls linearly to 1 for the worst. With 1 all pairs count
        alike. QAMRO has 7, beside ``rank_weight=1``, ``loss="huber"``, and batches of 16.

    Attributes
    ----------
    coefs_, intercepts_ : list of list of np.ndarray
        For each target and layer the weights, [shape=(n_ensemble, fan_in, fan_out)], and biases,
        [shape=(n_ensemble, fan_out)], float64.
    linear_coefs_ : list of np.ndarray [shape=(n_ensemble, n_columns)] or None
        For each target, by member, what is added to the networks, and what the networks were trained on top of; None
        without `linear`.
    linear_intercepts_ : np.ndarray [shape=(n_targets, n_ensemble)] or None
        Its intercepts.
    network_weights_ : np.ndarray [shape=(n_targets,)] or None
        Share in [0, 1] of the networks in the prediction; 0 leaves the ridge regression alone.
    target_names_ : list of str
        Names of y's columns, or ``target_0`` and so on; predictions keep their order.
    target_range_ : np.ndarray [shape=(n_targets, 2)]
        Lowest and highest score in training; predictions beyond them are extrapolations. nan where pairs alone were given.
    head_columns_ : list of np.ndarray of int
        Columns of X that each target's heads see.
    encoder_fingerprint_ : str or None
        Encoder and pooling of the embeddings trained on, where X told them in ``X.attrs["encoder_fingerprint"]`` as
        `ClipEmbedder`'s tables do; `predict` then refuses embeddings that tell of others. A transformer in between must
        hand the ``attrs`` on, as `TableScaler` does.
    loss_curve_ : list of float
        Training loss per epoch, averaged over heads and members still in training.
    validation_scores_ : list of float or None
        Negated loss on the held-out rows per epoch, likewise; None without `early_stopping`.
    best_iteration_ : np.ndarray of int [shape=(n_targets, n_ensemble)]
        Epoch, counted from 1, whose weights were kept; without `early_stopping`, the epoch of least training loss.
    n_iter_ : int
        Epochs until the last head stopped.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : np.ndarray of str
        Their names, where X has string names.

    Notes
    -----
    The fit depends on the weighted set of clips, not on their order: a clip of weight 0 is left out, one that comes
    twice (equal in X, y and group) is one clip of twice the weight, and the rest are sorted by their values before
    anything is drawn. A minibatch is `batch_size` distinct clips, its loss their weighted mean.

    The spread of an ensemble tells where training leaves the prediction open: it grows away from the training data.
    It knows nothing of the noise in the scores and is no confidence interval of a clip's score, for which
    `assess_error` measures what to expect.

    Give `fit` the ``groups`` that later clips will not share, such as systems: else what is held out has the systems of
    what is learned, and stopping and mixing trust the networks too much. Over the 46 beds of
    ``examples/benchmarks/bench_accuracy.py`` its squared error was .977 (95 % interval .964 to .990) of the better of
    tuned ridge regression and SVR; docs/accuracy.md has the tables, and where it was behind.

    With fixed `random_state`, training on a CPU gives the same bits for the same number of torch threads.

    References
    ----------
    .. [1] C. Liu et al., "MusicEval: A Generative Music Dataset with Expert Ratings for Automatic Text-to-Music
       Evaluation", ICASSP 2025.
    .. [2] F. Ritter-Gutierrez et al., "ASTAR-NTU solution to AudioMOS Challenge 2025 Track1", arXiv:2507.09904, 2025.
    .. [3] C.-C. Wang et al., "QAMRO: Quality-aware Adaptive Margin Ranking Optimization for Human-aligned Assessment of
       Audio Generation Systems", arXiv:2508.08957, 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from musiceval_sk import MOSRegressor
    >>> X = np.random.default_rng(0).normal(size=(200, 5))
    >>> y = np.clip(3 + X[:, 0], 1, 5)
    >>> regressor = MOSRegressor(hidden_layer_sizes=(32, 16), random_state=0).fit(X, y)
    >>> regressor.score(X, y) > 0.9
    True
    >>> regressor.linear_coefs_[0].shape, regressor.network_weights_.shape
    ((10, 5), (1,))
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions({"relu", "gelu", "identity"})],
        "loss": [StrOptions({"l1", "mse", "huber", "soft_bins"})],
        "dtype": [StrOptions({"float32", "float64"})],
        "device": [str],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
        "standardize": ["boolean", StrOptions({"scores"})],
        "linear": [StrOptions({"ridge"}), None],
        "hold_out": [StrOptions({"folds", "random"})],
        "validation_fraction": [Real],
        "n_bins": [Interval(Integral, 2, None, closed="left")],
        "rank_quality": [Interval(Real, 1, None, closed="left")],
        **dict.fromkeys(
            ["nesterovs_momentum", "shuffle", "early_stopping", "stop_together", "bootstrap", "warm_start"],
            ["boolean"],
        ),
        **dict.fromkeys(["momentum", "averaging"], [Interval(Real, 0, 1, closed="left")]),
        **dict.fromkeys(
            ["batch_size", "max_iter", "n_iter_no_change", "n_ensemble"],
            [Interval(Integral, 1, None, closed="left")],
        ),
        **dict.fromkeys(
            ["alpha", "tol", "rank_weight", "rank_margin"], [Interval(Real, 0, None, closed="left")]
        ),
        **dict.fromkeys(["learning_rate_init", "bin_sigma"], [Interval(Real, 0, None, closed="neither")]),
    }

    encoder_fingerprint_: str | None
    linear_coefs_: list[np.ndarray] | None = None
    linear_intercepts_: np.ndarray | None = None
    network_weights_: np.ndarray | None = None

    def __init__(
        self,
        hidden_layer_sizes: tuple[int, ...] = (32, 32),
        *,
        activation: str = "relu",
        loss: str = "l1",
        head_inputs: Any = None,
        scale: tuple[float, float] | None = (1, 5),
        standardize: bool = True,
        linear: str | None = "ridge",
        batch_size: int = 64,
        learning_rate_init: float = 0.05,
        momentum: float = 0.9,
        nesterovs_momentum: bool = False,
        alpha: float = 0.01,
        max_iter: int = 1000,
        shuffle: bool = True,
        early_stopping: bool = True,
        hold_out: str = "folds",
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 0.0,
        stop_together: bool = False,
        averaging: float = 0.9,
        n_ensemble: int = 10,
        bootstrap: bool = False,
        clip: tuple[float, float] | None = None,
        warm_start: bool = False,
        device: str = "auto",
        dtype: str = "float32",
        verbose: bool = False,
        random_state: Any = None,
        n_bins: int = 20,
        bin_sigma: float = 0.25,
        rank_weight: float = 0.0,
        rank_margin: float = 0.2,
        rank_quality: float = 1.0,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.loss = loss
        self.head_inputs = head_inputs
        self.scale = scale
        self.standardize = standardize
        self.linear = linear
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.alpha = alpha
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.hold_out = hold_out
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.stop_together = stop_together
        self.averaging = averaging
        self.n_ensemble = n_ensemble
        self.bootstrap = bootstrap
        self.clip = clip
        self.warm_start = warm_start
        self.device = device
        self.dtype = dtype
        self.verbose = verbose
        self.random_state = random_state
        self.n_bins = n_bins
        self.bin_sigma = bin_sigma
        self.rank_weight = rank_weight
        self.rank_margin = rank_margin
        self.rank_quality = rank_quality

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        groups: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        pairs: Any = None,
    ) -> "MOSRegressor":
        """Train the heads.

        Rows of X, y, `sample_weight` and `groups` belong together by position, whatever index they carry, as
        everywhere in scikit-learn: where tables may differ in order, give ``y.loc[X.index]``.

        Parameters
        ----------
        X : array-like [shape=(n, n_features)]
            Embeddings.
        y : array-like [shape=(n,) or (n, n_targets)]
            Mean opinion scores; names of a Series or DataFrame become the targets' names.
        sample_weight : array-like [shape=(n,)], default=None
            Weight of each clip, such as its number of ratings: 0 leaves it out, 2 is the same as giving it twice.
        groups : array-like [shape=(n,)], default=None
            With `early_stopping`, rows of one group (a system, a prompt) are held out together or not at all: give
            here what the outer split goes by.
        X_val : array-like [shape=(m, n_features)], default=None
            Embeddings to judge by, such as a data set's own development list: nothing of X is then held out. Behind a
            `Pipeline` that transforms X, name it in the pipeline's ``transform_input``.
        y_val : array-like [shape=(m,) or (m, n_targets)], default=None
            Their scores.
        sample_weight_val : array-like [shape=(m,)], default=None
            Their weights.
        pairs : array-like [shape=(n_pairs, 2)], default=None
            Pairs of clips of which the first was preferred, for one target: labels of X's index, those of other clips being
            left out, or numbers of rows where X has none. Each epoch then goes through the pairs too, `batch_size` / 2
            at once, with Bradley and Terry's likelihood of the difference of both predictions (in units of `standardize`),
            weighted by `rank_weight`, or 1 where that is 0. Pairs across what is held out are not used. With y None or all nan
            they are all there is: predictions are then strengths in natural logarithms, around no known level. `linear` is left
            aside with pairs.

        Returns
        -------
        MOSRegressor
            Itself.

        Raises
        ------
        ValueError
            If a parameter is of the wrong type or out of range, data are not finite or of the wrong shape, rows have no
            group, or too few rows or groups are there to hold some out. An earlier fit is then left as it was.
        ModelFileError
            If X_val comes from another encoder than X.

        Warns
        -----
        UserWarning
            If scores leave the `scale`, or are all the same.
        ConvergenceWarning
            If `max_iter` epochs passed before training stopped by itself.
        """
        with kept_on_failure(self):
            self._validate_params()
            preparation.check_validation(self, X, X_val, y_val, sample_weight_val)
            goes_on = self.warm_start and hasattr(self, "coefs_")
            blank = None if pairs is None else preparation.blank_scores(y, len(X))
            inputs, targets = self._take(X, y if blank is None else blank, goes_on, scored=blank is None)
            groups = preparation.check_groups(groups, len(inputs))
            rows, weights = preparation.distinct_rows(inputs, targets, sample_weight, groups)
            if pairs is not None:
                pairs = preparation.take_pairs(pairs, X, inputs, targets, groups, rows)
            random_state = check_random_state(self.random_state)
            if X_val is None:
                parts = preparation.hold_out(self, rows, groups, random_state)
            else:
                inputs_val, targets_val = preparation.check_data(self, X_val, y_val, self.target_names_)
                parts = [(rows, len(inputs) + np.arange(len(inputs_val)))] * self.n_ensemble
                weights_val = preparation.check_weights(
                    sample_weight_val, len(inputs_val), "sample_weight_val"
                )
                inputs = np.concatenate([inputs, inputs_val])
                targets = np.concatenate([targets, targets_val])
                weights = np.concatenate([weights, weights_val])
            preparation.require_pairs(pairs, targets, parts, blank is None)
            fit = Training(self, inputs, targets, rows, parts, weights, pairs, blank is None)
            job = fit.job(
                draw_seeds(self, random_state), (self.coefs_, self.intercepts_) if goes_on else None
            )
            from musiceval_sk.estimators.engine import jobs

            fit.keep(jobs.run_told(job, jobs.train_job, "fit", self.verbose))
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict mean opinion scores.

        Parameters
        ----------
        X : array-like [shape=(n, n_features)]
            Embeddings.
        return_std : bool, default=False
            Whether to return the members' spread too.

        Returns
        -------
        mean : np.ndarray [shape=(n,) or (n, n_targets)], float64
            Mean over the ensemble, columns as in the y of `fit`, see ``target_names_``; kept within `clip`, if that is
            set.
        std : np.ndarray, of the same shape
            Standard deviation over the ensemble, of unclipped predictions; only with `return_std`.

        Raises
        ------
        ValueError
            If X does not fit, or `return_std` is asked of a single member.
        ModelFileError
            If X is known to hold embeddings of another encoder than that trained on.
        """
        check_is_fitted(self)
        n_members = len(self.coefs_[0][0])
        if return_std and n_members < 2:
            raise ValueError(f"return_std needs an ensemble, but n_ensemble={n_members}")
        check_fingerprint(self.encoder_fingerprint_, X)
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32]).astype(np.float64, copy=False)
        members = predict_members(self, X)
        if self._one_column:
            members = members[..., 0]
        mean = members.mean(axis=0)
        if self.clip is not None:
            mean = mean.clip(*self.clip)
        return (mean, members.std(axis=0)) if return_std else mean

    def save(self, path: str | Path, *, about: dict[str, Any] | None = None) -> Path:
        """Write the fitted regressor to one safetensors file.

        Parameters
        ----------
        path : str or Path
            The file, by custom ``.safetensors``.
        about : dict, default=None
            JSON values to keep with it, such as the training data's name.

        Returns
        -------
        Path
            The file: weights in float64, and as JSON in its header the parameters, versions, encoder fingerprint and
            the course of training. A callable in `head_inputs` is kept as the columns that it chose, and a
            `random_state` that is no number as None.

        Raises
        ------
        NotFittedError
            If there is nothing to save.
        """
        from musiceval_sk.estimators.persistence import save_regressor

        return save_regressor(self, path, about)

    @classmethod
    def load(cls, path: str | Path) -> "MOSRegressor":
        """Read what `save` wrote; nothing in the file is executed.

        Parameters
        ----------
        path : str or Path
            The file.

        Returns
        -------
        MOSRegressor
            As it was saved; predictions are equal to the bit.

        Raises
        ------
        ModelFileError
            If the file is missing, damaged, of another kind or of a newer version; the message says which.
        """
        from musiceval_sk.estimators.persistence import load_regressor

        return load_regressor(cls, path)

    @classmethod
    def from_protocol(cls, name: str = "paper", **parameters: Any) -> "MOSRegressor":
        """Make a regressor with the parameters that a publication fixes.

        Parameters
        ----------
        name : {"paper", "released"}, default="paper"
            "paper": three linear layers with ReLU on the vectors as they are, L1 loss, SGD with a learning rate of 5e-4
            and momentum 0.9 in batches of 64, early stopping by a tenth held out at random with a patience of 20
            epochs. "released": the same as the authors' code has it, without an activation, both heads stopping
            together.
        **parameters
            What shall differ.

        Returns
        -------
        MOSRegressor
            Not fitted.

        Raises
        ------
        ValueError
            If there is no such protocol.

        Examples
        --------
        >>> MOSRegressor.from_protocol("paper", random_state=0).learning_rate_init
        0.0005
        """
        require_known("protocol", name, PROTOCOLS)
        return cls(**PROTOCOLS[name] | parameters)

    @property
    def module_(self) -> Any:
        """The fitted network as a `torch.nn.Module` in float64, built anew at each access."""
        from musiceval_sk.estimators.module import MOSModule

        check_is_fitted(self)
        stack, members = (self.coefs_, self.intercepts_), range(len(self.coefs_[0][0]))
        heads = [
            [training.layers_of(stack, head, member) for member in members]
            for head in range(len(self.coefs_))
        ]
        line = (self.network_weights_, self.linear_coefs_, self.linear_intercepts_)
        return MOSModule(heads, self.head_columns_, self.activation, centres_of(self), self.clip, *line)

    def _take(self, X: Any, y: Any, goes_on: bool, scored: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Check data and keep what is known of them."""
        inputs, targets = preparation.check_data(self, X, y, reset=not goes_on)
        names = preparation.names_of(y) or [f"target_{i}" for i in range(targets.shape[1])]
        if scored:
            preparation.warn_of_scores(targets, names, self.scale, stacklevel=4)
        of_columns = getattr(self, "feature_names_in_", None)
        columns = preparation.head_columns(self.head_inputs, names, of_columns, inputs.shape[1])
        if goes_on:
            training.check_heads(self, columns)
        self.target_names_, self.head_columns_ = names, columns
        self.target_range_, self._one_column = preparation.range_of(targets), np.asarray(y).ndim == 1
        if not scored:
            self.target_range_[:] = np.nan
        self.encoder_fingerprint_ = preparation.encoder_fingerprint(X)
        return inputs, targets

    def _validate_params(self) -> None:
        super()._validate_params()
        preparation.check_parameters(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Pickles and skops files from before name no parameter that came later.
        super().__setstate__(PROTOCOLS["paper"] | state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
