"""`CLAPFineTuneRegressor`: the paper's own protocol, CLAP's towers trained end to end under the prediction heads."""

from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from musiceval_sk.estimators import training as _training
from musiceval_sk.estimators.checks import kept_on_failure
from musiceval_sk.estimators.regressor import MOSRegressor
from musiceval_sk.features.encoders import Encoder, get_encoder
from musiceval_sk.features.encoders.base import Modality
from musiceval_sk.features.pooling import provenance


class CLAPFineTuneRegressor(RegressorMixin, BaseEstimator):
    """Predict mean opinion scores from sounds and prompts, training CLAP's towers together with the heads.

    This is the paper's protocol [1]_: three-layer perceptrons on CLAP's vectors, one for each target, and everything
    trained by SGD on the sum of the heads' L1 losses. `MOSRegressor` trains the heads alone, on vectors that are kept.

    Parameters
    ----------
    encoder : str or Encoder, default="laion-clap"
        Where the towers start from, ``"laion-clap"`` or ``"hf-clap"``. It also says the windows, and its `device` is where
        all is computed. It is not changed itself.
    encoder_options : dict, default=None
        For an encoder given by name, its constructor's arguments, such as ``{"checkpoint": "clap.pt"}``.
    train : {"full", "last_blocks", "lora", "frozen"}, default="full"
        What is trained beside the heads. "full": every weight that the vectors depend on. "last_blocks": the last
        `n_blocks` transformer blocks of each tower and what follows them, up to the projection. "lora": adapters on the
        queries, keys and values of every block (package ``peft``, extra ``finetune``). "frozen": nothing; the clips are
        embedded once.
    n_blocks : int, default=2
        For "last_blocks".
    lora_rank : int, default=8
        For "lora": width of the adapters.
    lora_alpha : float, default=16.0
        For "lora": their output is scaled by ``lora_alpha / lora_rank``.
    hidden_layer_sizes : tuple of int, default=(256, 64)
        Widths of the heads' hidden layers.
    activation : {"relu", "gelu", "identity"}, default="relu"
        What stands between the heads' layers. The paper says "MLP"; its released code has nothing there ("identity").
    scale : tuple of (float, float) or None, default=(1, 5)
        Lowest and highest score that raters can give; `fit` warns of scores beyond.
    batch_size : int, default=64
        Clips a step of SGD, however few of them memory holds at once.
    learning_rate_init : float, default=5e-4
        Step size of SGD, constant, for towers and heads.
    momentum : float in [0, 1), default=0.9
        Momentum of SGD.
    alpha : float, default=0.0
        L2 penalty, as `torch.optim.SGD` applies ``weight_decay``.
    max_iter : int, default=1000
        Most epochs.
    early_stopping : bool, default=True
        Whether to hold out a part of the clips, or take ``clips_val``, stop when the sum of the heads' losses on it improves
        no more, and keep the weights of the best epoch. Otherwise the training loss decides when to stop and the last
        weights are kept.
    validation_fraction : float in (0, 1), default=0.1
        Share held out; with ``groups`` in `fit`, a share of the groups, each kept whole.
    n_iter_no_change : int, default=20
        Patience in epochs.
    tol : float, default=0.0
        An improvement must be larger than this to count.
    clip : tuple of (float, float) or None, default=None
        Bounds of predictions, such as (1, 5).
    precision : {"auto", "float32", "bfloat16", "float16"}, default="auto"
        What the towers' matrix products are computed in while they train: "auto" is bfloat16 on a GPU that has it, float16 on
        one that has not, and float32 on a CPU. Gradients of float16 are scaled. Weights, spectrograms, heads and the optimiser
        are of float32; judging and prediction follow the encoder's `dtype`.
    max_batch_memory : int or None, default=None
        Most bytes that a forward and backward pass may take beside the weights, their gradients and momenta; what a batch does not fit in is computed in
        parts whose gradients are summed. None: four fifths of a GPU's free memory, or scikit-learn's `working_memory` on a
        CPU. What windows take is measured first, by passes of 1, 2, 4 and so on; where a GPU's memory runs out all the same, parts are halved.
    checkpoint : str, Path or None, default=None
        File to keep the state of training in. Where it holds the state of this very fit, `fit` goes on from there.
    checkpoint_every : int, default=50
        Steps from one writing to the next.
    sounds_dir : str, Path or None, default=None
        Folder for decoded sounds, 11 MB a minute at 48 kHz, which later runs find again. By default they are kept among
        the system's temporary files for the length of a call.
    verbose : bool, default=False
        Whether to show a progress bar on stderr.
    random_state : int, RandomState instance or None, default=None
        Seeds the held-out clips, the initial weights and the order of clips. The global state of torch is untouched.

    Attributes
    ----------
    heads_ : MOSRegressor
        The heads, fitted to the vectors that `embed` gives.
    tuned_parameters_ : dict of str to np.ndarray
        The towers' weights that were trained, by their name in `network_`.
    encoder_ : Encoder
        Where the towers started from.
    description_ : dict
        What it said of itself, per tower.
    fingerprint_ : str
        Identity of the vectors that `embed` gives: the encoder's own where nothing was trained.
    target_names_ : list of str
        Names of y's columns.
    loss_curve_, validation_scores_ : list of float
        As `MOSRegressor` has them, averaged over heads.
    best_iteration_ : int
        Epoch, counted from 1, whose weights were kept.
    n_iter_ : int
        Epochs until training stopped.
    towers_ : tuple of str
        Towers in use: audio, and text unless the only target is ``impression``.

    Notes
    -----
    Every window of a clip goes through the audio tower, and the clip's vector is their mean, as with
    ``ClipEmbedder(pooling="mean")``. The towers stay in evaluation mode, as in the released baseline: no dropout, no
    stochastic depth, no SpecAugment, and batch normalisation by the checkpoint's running statistics, so that gradients
    summed over parts are those of the whole batch.

    The head of a target named ``impression`` sees the audio vector, all others audio and text; give y as a DataFrame or
    Series with such names. Held-out clips, initial weights and the order of clips are drawn as `MOSRegressor` draws them
    from the vectors before training, so that ``train="frozen"`` is `MOSRegressor` with ``stop_together=True``.

    References
    ----------
    .. [1] C. Liu et al., "MusicEval: A Generative Music Dataset with Expert Ratings for Automatic Text-to-Music
       Evaluation", ICASSP 2025.

    Examples
    --------
    >>> from musiceval_sk import CLAPFineTuneRegressor
    >>> regressor = CLAPFineTuneRegressor("hf-clap", encoder_options={"checkpoint": "clap.pt"}, train="lora")
    >>> regressor.batch_size
    64
    """

    # What MOSRegressor has, too, it checks itself.
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "encoder": [str, HasMethods(["trainable", "describe"])],
        "encoder_options": [dict, None],
        "train": [StrOptions({"frozen", "last_blocks", "full", "lora"})],
        "n_blocks": [Interval(Integral, 1, None, closed="left")],
        "lora_rank": [Interval(Integral, 1, None, closed="left")],
        "lora_alpha": [Interval(Real, 0, None, closed="neither")],
        "precision": [StrOptions({"auto", "float32", "bfloat16", "float16"})],
        "max_batch_memory": [Interval(Integral, 1, None, closed="left"), None],
        "checkpoint": [str, Path, None],
        "checkpoint_every": [Interval(Integral, 1, None, closed="left")],
        "sounds_dir": [str, Path, None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        encoder: str | Encoder = "laion-clap",
        *,
        encoder_options: dict[str, Any] | None = None,
        train: str = "full",
        n_blocks: int = 2,
        lora_rank: int = 8,
        lora_alpha: float = 16.0,
        hidden_layer_sizes: tuple[int, ...] = (256, 64),
        activation: str = "relu",
        scale: tuple[float, float] | None = (1, 5),
        batch_size: int = 64,
        learning_rate_init: float = 5e-4,
        momentum: float = 0.9,
        alpha: float = 0.0,
        max_iter: int = 1000,
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 20,
        tol: float = 0.0,
        clip: tuple[float, float] | None = None,
        precision: str = "auto",
        max_batch_memory: int | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_every: int = 50,
        sounds_dir: str | Path | None = None,
        verbose: bool = False,
        random_state: Any = None,
    ):
        self.encoder = encoder
        self.encoder_options = encoder_options
        self.train = train
        self.n_blocks = n_blocks
        self.lora_rank = lora_rank
        self.lora_alpha = lora_alpha
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.scale = scale
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.momentum = momentum
        self.alpha = alpha
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.clip = clip
        self.precision = precision
        self.max_batch_memory = max_batch_memory
        self.checkpoint = checkpoint
        self.checkpoint_every = checkpoint_every
        self.sounds_dir = sounds_dir
        self.verbose = verbose
        self.random_state = random_state

    def fit(
        self,
        clips: pd.DataFrame,
        y: Any,
        sample_weight: Any = None,
        groups: Any = None,
        *,
        clips_val: pd.DataFrame | None = None,
        y_val: Any = None,
    ) -> "CLAPFineTuneRegressor":
        """Train heads and towers, or go on where `checkpoint` says that this fit was left.

        Parameters
        ----------
        clips : pandas.DataFrame
            Clips table with ``path`` and, unless the only target is ``impression``, ``prompt``.
        y : array-like [shape=(n,) or (n, n_targets)]
            Mean opinion scores; names of a Series or DataFrame become the targets' names.
        sample_weight : array-like [shape=(n,)], default=None
            Weight of each clip.
        groups : array-like [shape=(n,)], default=None
            With `early_stopping`, clips of one group (a system, a prompt) are held out together or not at all.
        clips_val : pandas.DataFrame, default=None
            Clips to judge by, such as a development list: nothing of ``clips`` is then held out.
        y_val : array-like [shape=(m,) or (m, n_targets)], default=None
            Their scores.

        Returns
        -------
        CLAPFineTuneRegressor
            Itself.

        Raises
        ------
        ValueError
            If a parameter is of the wrong type or out of range, data are not finite or of the wrong shape, clips have no
            group (all this before the encoder is made), the encoder has nothing to train, `max_batch_memory` does not hold
            one clip, or training diverges. An earlier fit is then left as it was.
        AudioError
            If clips cannot be read: leave them out before.
        ClipsTableError
            If the table lacks a column or a value.
        ModelFileError
            If `checkpoint` is of another fit, or damaged.
        ImportError
            If "lora" is asked for and ``peft`` is not installed.
        MemoryError
            If a GPU's memory does not hold one clip.

        Warns
        -----
        UserWarning
            If scores leave the `scale`, or are all the same.
        ConvergenceWarning
            If `max_iter` epochs passed before training stopped by itself.
        """
        from musiceval_sk.finetuning import fit as road

        self._validate_params()
        road.check_inputs(self, clips, y, sample_weight, groups, clips_val, y_val)
        encoder = get_encoder(self.encoder, **(self.encoder_options or {}))
        with kept_on_failure(self):
            start = road.prepare(self, encoder, clips, y, sample_weight, groups, clips_val, y_val)
            heads, job = start.heads, start.job
            results = road.train(self, start)
            tuned = start.tuned()
            self._settle(encoder, start.towers, tuned)
            heads.encoder_fingerprint_ = provenance(self.fingerprint_, "mean")
            _training.keep_history(heads, _training.keep_weights(heads, results))
            self.heads_, self.target_names_ = heads, heads.target_names_
            self.loss_curve_, self.validation_scores_ = heads.loss_curve_, heads.validation_scores_
            self.n_iter_, self.best_iteration_ = heads.n_iter_, results[0].best_iteration
            self.n_rows_ = {"learning": len(job.tasks[0].rows), "judging": len(job.tasks[0].validation_rows)}
            self._network = start.network
        return self

    def predict(self, clips: pd.DataFrame) -> np.ndarray:
        """Predict mean opinion scores.

        Parameters
        ----------
        clips : pandas.DataFrame
            Clips table, as for `fit`.

        Returns
        -------
        np.ndarray [shape=(n,) or (n, n_targets)], float64
            Columns as in the y of `fit`, within `clip` if that is set.

        Raises
        ------
        AudioError
            If clips cannot be read.
        ClipsTableError
            If the table lacks a column or a value.
        """
        check_is_fitted(self, "heads_")
        return self.heads_.predict(self.embed(clips))

    def embed(self, clips: pd.DataFrame) -> pd.DataFrame:
        """Embed clips with the trained towers; windows are averaged.

        Parameters
        ----------
        clips : pandas.DataFrame
            Clips table, as for `fit`.

        Returns
        -------
        pandas.DataFrame [shape=(n, n_features)], float32
            Columns ``audio_0`` and so on, then ``text_0`` and so on, by clip id; ``attrs["encoder_fingerprint"]`` says
            whose vectors they are.

        Raises
        ------
        AudioError
            If clips cannot be read.
        ClipsTableError
            If the table lacks a column or a value.
        """
        from musiceval_sk.finetuning import fit as road

        check_is_fitted(self, "heads_")
        vectors = road.embed(self, self.encoder_, self.network_, self.towers_, [clips])
        vectors.index = clips.index
        vectors.attrs["encoder_fingerprint"] = provenance(self.fingerprint_, "mean")
        return vectors

    @property
    def network_(self) -> Any:
        """The trained towers as a `torch.nn.Module`, the library's own network as its member ``model``; built on first use."""
        from musiceval_sk.finetuning.modes import give_weights

        check_is_fitted(self, "heads_")
        if getattr(self, "_network", None) is None:
            network = self.encoder_.trainable()
            self._choose(network, self.towers_, seed=0)
            give_weights(network, self.tuned_parameters_)
            self._network = network
        return self._network

    def save(self, path: str | Path, *, about: dict[str, Any] | None = None) -> Path:
        """Write the heads and the trained weights of the towers to one safetensors file.

        Parameters
        ----------
        path : str or Path
            The file, by custom ``.safetensors``.
        about : dict, default=None
            JSON values to keep with it, such as the training data's name.

        Returns
        -------
        Path
            The file. What was not trained is not in it; it is read from the encoder's checkpoint, of which the file holds
            the digest.

        Raises
        ------
        NotFittedError
            If there is nothing to save.
        """
        from musiceval_sk.finetuning.files import save_finetuned

        check_is_fitted(self, "heads_")
        return save_finetuned(self, path, about=about)

    @classmethod
    def load(
        cls, path: str | Path, encoder: str | Encoder, *, encoder_options: dict[str, Any] | None = None
    ) -> "CLAPFineTuneRegressor":
        """Read what `save` wrote; nothing in the file is executed.

        Parameters
        ----------
        path : str or Path
            The file.
        encoder : str or Encoder
            The encoder that training started from.
        encoder_options : dict, default=None
            For an encoder given by name, its constructor's arguments.

        Returns
        -------
        CLAPFineTuneRegressor
            As it was saved.

        Raises
        ------
        ModelFileError
            If the file is missing, damaged, of another kind or of a newer version, or the encoder is not the one that
            training started from.
        """
        from musiceval_sk.finetuning.files import load_finetuned

        return load_finetuned(cls, path, encoder, encoder_options)

    def _settle(self, encoder: Encoder, towers: tuple[Modality, ...], tuned: dict[str, np.ndarray]) -> None:
        """Keep what tells whose vectors the heads read."""
        from musiceval_sk.finetuning.files import fingerprint_of

        self.encoder_, self.towers_, self.tuned_parameters_ = encoder, towers, tuned
        self.description_ = {tower: encoder.describe(tower) for tower in towers}
        self.fingerprint_ = fingerprint_of(encoder, towers, tuned)

    def _choose(self, network: Any, towers: tuple[Modality, ...], seed: int) -> dict[str, Any]:
        from musiceval_sk.finetuning.modes import choose_weights

        return choose_weights(
            network,
            self.train,
            towers,
            n_blocks=self.n_blocks,
            lora_rank=self.lora_rank,
            lora_alpha=self.lora_alpha,
            seed=seed,
        )

    def _validate_params(self) -> None:
        super()._validate_params()
        self._heads(0)._validate_params()

    def _heads(self, seed: int) -> MOSRegressor:
        """`MOSRegressor` of the same parameters, which lays out the training and takes in its result."""
        shared = set(MOSRegressor().get_params()) & set(self.get_params(deep=False)) - {
            "random_state",
            "verbose",
        }
        parameters = {name: getattr(self, name) for name in shared}
        device = str(getattr(self.encoder, "device", "cpu"))
        return MOSRegressor(**parameters, stop_together=True, random_state=seed, device=device)

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_network"}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.input_tags.two_d_array = False
        return tags
