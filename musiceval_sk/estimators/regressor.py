"""`MOSRegressor`: the paper's prediction heads as a scikit-learn estimator."""

import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from musiceval_sk._device import resolve_device
from musiceval_sk.estimators._checks import check_parameters, hold_out
from musiceval_sk.estimators._heads import head_columns

_LARGEST_SEED = np.iinfo(np.int32).max


class MOSRegressor(RegressorMixin, BaseEstimator):
    """Predict mean opinion scores with one small multi-layer perceptron per target.

    The defaults are those of the MusicEval baseline: three linear layers, L1 loss, SGD with a learning rate of 5e-4
    and momentum 0.9 in batches of 64, and early stopping with a patience of 20 epochs. Heads and ensemble members
    of one shape train together as one batch of matrices.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=(256, 64)
        Widths of the hidden layers; two of them make the paper's three linear layers.
    activation : {"relu", "identity"}, default="relu"
        What stands between the layers. The paper says "MLP"; its released code has nothing there ("identity").
    loss : {"l1", "mse", "huber"}, default="l1"
        Training loss; Huber's changes from square to linear at an error of 1.
    head_inputs : dict, str, slice, sequence of int or callable, default=None
        Which columns of X a head may see: a name prefix such as ``"audio"``, ``"all"``, a slice, indices, or a
        callable from the array of names to a mask; a dict says it per target. By default a target named
        ``impression`` sees the columns whose names begin with ``audio`` and others see all, where X carries names; a
        plain array has none, so every head sees all of it (``set_output(transform="pandas")`` keeps names).
    batch_size : int, default=64
        Rows a step; at most all.
    learning_rate_init : float, default=5e-4
        Step size of SGD, constant.
    momentum : float in [0, 1), default=0.9
        Momentum of SGD.
    nesterovs_momentum : bool, default=False
        Whether the momentum is Nesterov's. (`MLPRegressor` defaults to True, the released baseline to False.)
    alpha : float, default=0.0
        L2 penalty as `torch.optim.SGD` applies it: ``weight_decay``, on weights and biases, not divided by the number
        of rows.
    max_iter : int, default=1000
        Most epochs.
    shuffle : bool, default=True
        Whether each epoch visits the rows in a new order.
    early_stopping : bool, default=True
        Whether to hold out a part of the training rows, stop when its loss improves no more, and keep the weights of
        the best epoch. Otherwise the training loss decides when to stop and the last weights are kept.
    validation_fraction : float in (0, 1), default=0.1
        Share held out; with ``groups`` in `fit`, a share of the groups, each kept whole.
    n_iter_no_change : int, default=20
        Patience in epochs.
    tol : float, default=0.0
        An improvement must be larger than this to count.
    n_ensemble : int, default=1
        Number of members that differ in their seed only; the prediction is their mean.
    warm_start : bool, default=False
        Whether `fit` goes on from the weights of the last `fit`.
    device : str, default="auto"
        Where to train: a torch device, or "auto" for CUDA where there is one. Prediction needs none.
    dtype : {"float32", "float64"}, default="float32"
        Precision of training; the fitted weights are kept in float64.
    verbose : bool, default=False
        Whether to show a progress bar with the training loss on stderr.
    random_state : int, RandomState instance or None, default=None
        Seeds the held-out rows, the initial weights and the order of rows. The global state of torch is untouched.

    Attributes
    ----------
    coefs_, intercepts_ : list of list of np.ndarray
        For each target and layer the weights, [shape=(n_ensemble, fan_in, fan_out)], and biases,
        [shape=(n_ensemble, fan_out)], float64.
    target_names_ : list of str
        Names of y's columns, or ``target_0`` and so on.
    target_range_ : np.ndarray [shape=(n_targets, 2)]
        Lowest and highest score in training; predictions beyond them are extrapolations.
    head_columns_ : list of np.ndarray of int
        Columns of X that each target's heads see.
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
    With fixed `random_state`, training on a CPU gives the same bits for the same number of torch threads.

    References
    ----------
    C. Liu et al., "MusicEval: A Generative Music Dataset with Expert Ratings for Automatic Text-to-Music
    Evaluation", ICASSP 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from musiceval_sk import MOSRegressor
    >>> X = np.random.default_rng(0).normal(size=(200, 5))
    >>> y = 3 + X[:, 0]
    >>> regressor = MOSRegressor(hidden_layer_sizes=(32, 16), learning_rate_init=0.01, random_state=0).fit(X, y)
    >>> regressor.score(X, y) > 0.9
    True
    """

    def __init__(
        self,
        hidden_layer_sizes: tuple[int, ...] = (256, 64),
        *,
        activation: str = "relu",
        loss: str = "l1",
        head_inputs: Any = None,
        batch_size: int = 64,
        learning_rate_init: float = 5e-4,
        momentum: float = 0.9,
        nesterovs_momentum: bool = False,
        alpha: float = 0.0,
        max_iter: int = 1000,
        shuffle: bool = True,
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 20,
        tol: float = 0.0,
        n_ensemble: int = 1,
        warm_start: bool = False,
        device: str = "auto",
        dtype: str = "float32",
        verbose: bool = False,
        random_state: Any = None,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.loss = loss
        self.head_inputs = head_inputs
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.alpha = alpha
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.n_ensemble = n_ensemble
        self.warm_start = warm_start
        self.device = device
        self.dtype = dtype
        self.verbose = verbose
        self.random_state = random_state

    def fit(self, X: Any, y: Any, groups: Any = None) -> "MOSRegressor":
        """Train the heads.

        Parameters
        ----------
        X : array-like [shape=(n, n_features)]
            Embeddings.
        y : array-like [shape=(n,) or (n, n_targets)]
            Mean opinion scores; names of a Series or DataFrame become the targets' names.
        groups : array-like [shape=(n,)], default=None
            With `early_stopping`, rows of one group (a system, a prompt) are held out together or not at all: give
            here what the outer split goes by.

        Returns
        -------
        MOSRegressor
            Itself.

        Raises
        ------
        ValueError
            If a parameter is out of range, data are not finite or of the wrong shape, or too few rows or groups are
            there to hold some out.

        Warns
        -----
        ConvergenceWarning
            If `max_iter` epochs passed before training stopped by itself.
        """
        jobs = self._plan(X, y, groups)
        trained: dict[int, list[Any]] = {}
        for heads, job in jobs:
            results = self._train(job)
            for i, head in enumerate(heads):
                trained[head] = results[i * self.n_ensemble : (i + 1) * self.n_ensemble]
        self._keep([trained[head] for head in range(len(self.target_names_))])
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
            Mean over the ensemble, columns as in the y of `fit`; not limited to the scale of the scores.
        std : np.ndarray, of the same shape
            Standard deviation over the ensemble; only with `return_std`.

        Raises
        ------
        ValueError
            If X does not fit, or `return_std` is asked of a single member.
        """
        check_is_fitted(self)
        if return_std and self.n_ensemble < 2:
            raise ValueError(f"return_std needs an ensemble, but n_ensemble={self.n_ensemble}")
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32]).astype(np.float64, copy=False)
        members = np.stack([self._run_head(X, i) for i in range(len(self.coefs_))], axis=-1)
        if self._one_column:
            members = members[..., 0]
        mean = members.mean(axis=0)
        return (mean, members.std(axis=0)) if return_std else mean

    @property
    def module_(self) -> Any:
        """The fitted network as a `torch.nn.Module` in float64, built anew at each access."""
        from musiceval_sk.estimators._module import MOSModule

        check_is_fitted(self)
        return MOSModule(self._layers(), self.head_columns_, self.activation)

    def _run_head(self, X: np.ndarray, head: int) -> np.ndarray:
        """Run one target's members, [shape=(n_ensemble, n)]."""
        hidden = X[:, self.head_columns_[head]]
        layers = list(zip(self.coefs_[head], self.intercepts_[head], strict=True))
        for i, (weights, biases) in enumerate(layers):
            hidden = hidden @ weights + biases[:, np.newaxis]
            if i < len(layers) - 1 and self.activation == "relu":
                hidden = np.maximum(hidden, 0)
        return hidden[..., 0]

    def _layers(self) -> list[list[list[tuple[np.ndarray, np.ndarray]]]]:
        return [
            [
                [(weights[m], biases[m]) for weights, biases in zip(*head, strict=True)]
                for m in range(len(head[0][0]))
            ]
            for head in zip(self.coefs_, self.intercepts_, strict=True)
        ]

    def _goes_on(self) -> bool:
        return self.warm_start and hasattr(self, "coefs_")

    def _plan(self, X: Any, y: Any, groups: Any) -> list[tuple[list[int], Any]]:
        """Check everything and lay out the training: for each set of columns its heads and their job."""
        from musiceval_sk.estimators._jobs import Job

        check_parameters(self)
        names_of_targets = _names_of(y)
        X, y = validate_data(
            self,
            X,
            y,
            multi_output=True,
            y_numeric=True,
            dtype=[np.float64, np.float32],
            reset=not self._goes_on(),
        )
        Y = y.reshape(len(y), -1).astype(np.float64)
        self.target_names_ = names_of_targets or [f"target_{i}" for i in range(Y.shape[1])]
        self.target_range_ = np.stack([Y.min(axis=0), Y.max(axis=0)], axis=1)
        self._one_column = y.ndim == 1
        names = getattr(self, "feature_names_in_", None)
        columns = head_columns(self.head_inputs, self.target_names_, names, X.shape[1])
        random_state = check_random_state(self.random_state)
        held_out = hold_out(self, len(X), groups, random_state)
        seeds = random_state.randint(_LARGEST_SEED, size=(self.n_ensemble, len(columns) + 1))
        previous = self._previous_layers(columns)
        self.head_columns_ = columns
        plan = []
        for seen in {chosen.tobytes(): chosen for chosen in columns}.values():
            heads = [i for i, chosen in enumerate(columns) if np.array_equal(chosen, seen)]
            tasks = self._tasks(heads, held_out, seeds, previous)
            plan.append(
                (
                    heads,
                    Job(X[:, seen], Y, tasks, self._schedule(), str(resolve_device(self.device)), self.dtype),
                )
            )
        return plan

    def _tasks(
        self, heads: list[int], held_out: tuple[np.ndarray, np.ndarray], seeds: np.ndarray, previous: Any
    ) -> list[Any]:
        from musiceval_sk.estimators._mlp import Task

        return [
            Task(
                target=head,
                rows=held_out[0],
                validation_rows=held_out[1],
                init_seed=int(seeds[member, head + 1]),
                order_seed=int(seeds[member, 0]),
                learning_rate=self.learning_rate_init,
                momentum=self.momentum,
                weight_decay=self.alpha,
                initial=previous[head][member] if previous else None,
            )
            for head in heads
            for member in range(self.n_ensemble)
        ]

    def _schedule(self) -> Any:
        from musiceval_sk.estimators._mlp import Schedule

        return Schedule(
            tuple(int(width) for width in np.atleast_1d(self.hidden_layer_sizes)),
            self.activation,
            self.loss,
            self.batch_size,
            self.max_iter,
            self.n_iter_no_change,
            self.tol,
            self.shuffle,
            self.nesterovs_momentum,
        )

    def _train(self, job: Any) -> Any:
        from tqdm import tqdm

        from musiceval_sk.estimators._jobs import train_job

        with tqdm(total=self.max_iter, unit="epoch", disable=not self.verbose) as bar:

            def show(epoch: int, loss: float) -> None:
                bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
                bar.update()

            return train_job(job, show)

    def _keep(self, trained: list[list[Any]]) -> None:
        every = [result for members in trained for result in members]
        diverged = sum(not result.finite() for result in every)
        if diverged:
            raise ValueError(
                f"training diverged for {diverged} of {len(every)} heads; lower learning_rate_init, or scale X"
            )
        n_layers = len(every[0].layers)
        self.coefs_, self.intercepts_ = (
            [
                [np.stack([result.layers[i][part] for result in members]) for i in range(n_layers)]
                for members in trained
            ]
            for part in (0, 1)
        )
        self.n_iter_ = max(len(result.loss_curve) for result in every)
        self.loss_curve_ = _mean_curve([result.loss_curve for result in every])
        judged = [[-loss for loss in result.validation_curve] for result in every]
        self.validation_scores_ = _mean_curve(judged) if self.early_stopping else None
        self.best_iteration_ = np.array(
            [[result.best_iteration for result in members] for members in trained]
        )
        if not all(result.stopped for result in every):
            warnings.warn(
                f"training reached max_iter={self.max_iter} epochs before it stopped by itself; raise max_iter or "
                "learning_rate_init",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _previous_layers(self, columns: list[np.ndarray]) -> Any:
        if not self._goes_on():
            return None
        widths = [len(chosen) for chosen in columns]
        shapes = [[w, *np.atleast_1d(self.hidden_layer_sizes), 1] for w in widths]
        held = [[*(w.shape[1] for w in weights), 1] for weights in self.coefs_]
        members = {len(weights[0]) for weights in self.coefs_}
        if shapes != held or members != {self.n_ensemble}:
            raise ValueError(
                f"warm_start cannot go on: the fitted heads have layers {held} and {members} members, the parameters "
                f"now ask for {shapes} and {self.n_ensemble}"
            )
        return self._layers()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _names_of(y: Any) -> list[str] | None:
    if hasattr(y, "columns"):
        return [str(name) for name in y.columns]
    return [str(y.name)] if getattr(y, "name", None) is not None else None


def _mean_curve(curves: list[list[float]]) -> list[float]:
    longest = max(len(curve) for curve in curves)
    return [float(np.mean([curve[i] for curve in curves if len(curve) > i])) for i in range(longest)]
