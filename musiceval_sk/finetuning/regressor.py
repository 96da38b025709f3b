"""`CLAPFineTuneRegressor`: the paper's own protocol, CLAP's towers trained end to end under the prediction heads."""

import hashlib
import warnings
from collections.abc import Sequence
from functools import cached_property
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from musiceval_sk._files import refused_as
from musiceval_sk.datasets.clips import check_clips
from musiceval_sk.estimators import persistence
from musiceval_sk.estimators.preparation import check_validation, default_columns, kept_on_failure, names_of
from musiceval_sk.estimators.regressor import MOSRegressor
from musiceval_sk.exceptions import ModelFileError
from musiceval_sk.features.encoders import Encoder, get_encoder
from musiceval_sk.features.encoders.base import MODALITIES, Modality, changes_of
from musiceval_sk.features.pooling import provenance

_FORMAT = "musiceval-clap-finetune"


class CLAPFineTuneRegressor(RegressorMixin, BaseEstimator):
    """Predict mean opinion scores from sounds and prompts, training CLAP's towers together with the heads.

    These are the paper's networks [1]_: three-layer perceptrons on CLAP's vectors, one for each target, and everything
    trained by SGD on the sum of the heads' L1 losses. By default heads begin at the median score, several of a target stand
    on the same towers, and a fifth of the groups is held out; `from_protocol` makes what the paper trained. `MOSRegressor`
    trains heads alone, on vectors that are kept.

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
    standardize : bool, default=True
        Whether training sees scores as distances from their weighted median in units of the mean one and last layers begin at
        zero, so that heads begin at the median and steps depend on no scale; losses are in these units. Vectors stay as they
        are, for they move while towers are trained.
    n_ensemble : int, default=5
        Heads of each target that differ in their initial weights; the prediction is their mean. They share the towers, which
        follow the mean of their losses, the clips held out and the order of clips.
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
    validation_fraction : float in (0, 1), default=0.2
        Share held out, as each member of `MOSRegressor` leaves out a fifth; with ``groups`` in `fit`, a share of the groups, each
        kept whole, and `fit` warns of fewer than three.
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
    micro_batch_size : int or None, default=None
        Clips that go through the towers at once; a batch of more is computed in parts whose gradients are summed. None: on a
        GPU the whole batch, halved until it fits in its memory (package ``accelerate``, extra ``finetune``), and 4 on a CPU.
    checkpoint : str, Path or None, default=None
        File to keep the state of training in after every epoch. Where it holds the state of this very fit, `fit` goes on from there.
    sounds_dir : str, Path or None, default=None
        Folder for decoded sounds, 11 MB a minute at 48 kHz, which later runs find again. By default they are kept among
        the system's temporary files for the length of a call.
    verbose : bool, default=False
        Whether to show progress on stderr: a bar on a terminal, a line every 10 s elsewhere.
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
    from the vectors before training, so that ``train="frozen"`` is its ``from_protocol("paper")`` with ``stop_together=True`` and, but
    for ``standardize="scores"``, the same parameters.

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
        "standardize": ["boolean"],
        "train": [StrOptions({"frozen", "last_blocks", "full", "lora"})],
        "n_blocks": [Interval(Integral, 1, None, closed="left")],
        "lora_rank": [Interval(Integral, 1, None, closed="left")],
        "lora_alpha": [Interval(Real, 0, None, closed="neither")],
        "precision": [StrOptions({"auto", "float32", "bfloat16", "float16"})],
        "micro_batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "checkpoint": [str, Path, None],
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
        standardize: bool = True,
        n_ensemble: int = 5,
        batch_size: int = 64,
        learning_rate_init: float = 5e-4,
        momentum: float = 0.9,
        alpha: float = 0.0,
        max_iter: int = 1000,
        early_stopping: bool = True,
        validation_fraction: float = 0.2,
        n_iter_no_change: int = 20,
        tol: float = 0.0,
        clip: tuple[float, float] | None = None,
        precision: str = "auto",
        micro_batch_size: int | None = None,
        checkpoint: str | Path | None = None,
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
        self.standardize = standardize
        self.n_ensemble = n_ensemble
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
        self.micro_batch_size = micro_batch_size
        self.checkpoint = checkpoint
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
            group (all this before the encoder is made), the encoder has nothing to train, or training diverges. An earlier
            fit is then left as it was.
        AudioError
            If clips cannot be read: leave them out before.
        ClipsTableError
            If the table lacks a column or a value.
        ModelFileError
            If `checkpoint` is of another fit, or damaged.
        ImportError
            If "lora" is asked for and ``peft`` is not installed, or the computation is on a GPU, `micro_batch_size` is None
            and ``accelerate`` is not.
        MemoryError
            If a GPU's memory does not hold one clip.

        Warns
        -----
        UserWarning
            If scores leave the `scale`, or are all the same.
        ConvergenceWarning
            If `max_iter` epochs passed before training stopped by itself.
        """
        from musiceval_sk.estimators.engine.jobs import answered_by
        from musiceval_sk.finetuning.batches import ClipBatches
        from musiceval_sk.finetuning.checkpoint import Checkpoint
        from musiceval_sk.finetuning.loop import arrays_of, choose_weights, train_towers

        self._validate_params()
        check_validation(self, clips, clips_val, y_val, None, name="clips_val")
        towers = _towers_for(names_of(y))
        _check_clips(clips, towers)
        n_clips, data = len(clips), {"y": y, "y_val": y_val, "sample_weight": sample_weight, "groups": groups}
        if clips_val is not None:
            _check_clips(clips_val, towers)
            clips = pd.concat([clips, clips_val])
        _check_heads(self._heads(0, "cpu"), len(clips), n_clips, **data)
        encoder = get_encoder(self.encoder, **(self.encoder_options or {}))
        with kept_on_failure(self):
            network = encoder.trainable()
            source = ClipBatches(self, clips, encoder, network, towers)
            names = [encoder.fingerprint_of(tower) for tower in towers]
            origin = {"encoder": names, "sounds": source.keys, "prompts": source.prompts}
            checkpoint = Checkpoint(self, network.device.type, targets=names_of(y), **origin, **data)
            if checkpoint.vectors is None:
                checkpoint.begin(self._seed(), source.embed())
            vectors = pd.DataFrame(checkpoint.vectors, columns=source.columns)
            tuned: dict[str, Any] = {}

            def train(job: Any) -> Any:
                tuned.update(choose_weights(self, network, towers, job.tasks[0].init_seed))
                return None if self.train == "frozen" else train_towers(self, job, source, tuned, checkpoint)

            heads = self._heads(checkpoint.seed, str(network.device))
            with answered_by(train):
                _fit(heads, vectors, n_clips, **data)
            self._keep(encoder, towers, arrays_of(tuned), heads)
            self.network_ = network
        return self

    def predict(self, clips: pd.DataFrame, return_std: bool = False) -> Any:
        """Predict mean opinion scores.

        Parameters
        ----------
        clips : pandas.DataFrame
            Clips table, as for `fit`.
        return_std : bool, default=False
            Whether to return the spread of the heads of a target, too.

        Returns
        -------
        np.ndarray [shape=(n,) or (n, n_targets)], float64, or two
            Columns as in the y of `fit`, within `clip` if that is set; and their spread, as of `MOSRegressor`.

        Raises
        ------
        ValueError
            If `return_std` is asked of a single head.
        AudioError
            If clips cannot be read.
        ClipsTableError
            If the table lacks a column or a value.
        """
        check_is_fitted(self, "heads_")
        return self.heads_.predict(self.embed(clips), return_std)

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
        from musiceval_sk.finetuning.batches import ClipBatches

        check_is_fitted(self, "heads_")
        _check_clips(clips, self.towers_)
        source = ClipBatches(self, clips, self.encoder_, self.network_, self.towers_)
        vectors = pd.DataFrame(source.embed(), index=clips.index, columns=source.columns)
        vectors.attrs["encoder_fingerprint"] = provenance(self.fingerprint_, "mean")
        return vectors

    @cached_property
    def network_(self) -> Any:
        """The trained towers as a `torch.nn.Module`, the library's own network as its member ``model``; built on first use."""
        import torch

        from musiceval_sk.finetuning.loop import choose_weights

        check_is_fitted(self, "heads_")
        network = self.encoder_.trainable()
        choose_weights(self, network, self.towers_, seed=0)
        tuned = {name: torch.from_numpy(array) for name, array in self.tuned_parameters_.items()}
        network.load_state_dict(network.state_dict() | tuned)
        return network

    @classmethod
    def from_protocol(cls, name: str = "paper", **parameters: Any) -> "CLAPFineTuneRegressor":
        """Make a regressor with the parameters that a publication fixes.

        Parameters
        ----------
        name : {"paper", "released"}, default="paper"
            As of `MOSRegressor.from_protocol`; either way one head a target, and both stop together, for they share the towers.
        **parameters
            What shall differ.

        Returns
        -------
        CLAPFineTuneRegressor
            Not fitted.

        Raises
        ------
        ValueError
            If there is no such protocol.

        Examples
        --------
        >>> CLAPFineTuneRegressor.from_protocol("paper", encoder="hf-clap").n_ensemble
        1
        """
        fixed = MOSRegressor.from_protocol(name).get_params()
        return cls(**{key: fixed[key] for key in set(fixed) & set(cls().get_params())} | parameters)

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
        check_is_fitted(self, "heads_")
        from musiceval_sk.finetuning.checkpoint import LOCAL, joined

        parameters = persistence.parameters_as_json(self)
        heads, tensors = persistence.packed(self.heads_)
        content = {
            "parameters": {name: value for name, value in parameters.items() if name not in LOCAL},
            "description_": self.description_,
            "towers_": self.towers_,
            "heads": heads,
            "about": about or {},
        }
        groups = {"heads": tensors, "towers": self.tuned_parameters_}
        return persistence.write_tensors(path, _FORMAT, content, joined(groups))

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
        from musiceval_sk.finetuning.checkpoint import divided

        content, tensors = persistence.read_tensors(path, _FORMAT)
        arrays = divided(tensors)
        with refused_as(ModelFileError, f"{path}: does not make a {cls.__name__} of this version"):
            parameters = persistence.parameters_from_json(content["parameters"])
            parameters |= {"encoder": encoder, "encoder_options": encoder_options}
            # Files from before name no parameter that came later.
            regressor = cls.from_protocol("paper", **parameters)
            heads = persistence.unpacked(MOSRegressor, content["heads"], arrays["heads"])
            described, towers = content["description_"], tuple(content["towers_"])
        base = get_encoder(encoder, **(encoder_options or {}))
        if changes := changes_of(described, base, "in the file", "given"):
            raise ModelFileError(
                f"{path}: was trained from another encoder than {base!r} ({changes}); give the checkpoint that training "
                "started from"
            )
        regressor._keep(base, towers, arrays["towers"], heads)
        return regressor

    def _keep(self, encoder: Encoder, towers: Any, tuned: dict[str, np.ndarray], heads: MOSRegressor) -> None:
        """Set the fitted attributes."""
        self.encoder_, self.towers_, self.tuned_parameters_ = encoder, towers, tuned
        self.description_ = {tower: encoder.describe(tower) for tower in towers}
        self.fingerprint_ = _tuned_fingerprint(encoder, towers, tuned)
        heads.encoder_fingerprint_ = provenance(self.fingerprint_, "mean")
        self.heads_, self.target_names_ = heads, heads.target_names_
        self.loss_curve_, self.validation_scores_ = heads.loss_curve_, heads.validation_scores_
        self.n_iter_, self.best_iteration_ = heads.n_iter_, int(heads.best_iteration_[0, 0])

    def _heads(self, seed: int | None, device: str) -> MOSRegressor:
        """`MOSRegressor` of the same parameters, which lays out the training and takes in its result."""
        shared = set(MOSRegressor().get_params()) & set(self.get_params(deep=False))
        parameters = {name: getattr(self, name) for name in shared - {"random_state", "verbose"}}
        parameters["standardize"] = "scores" if self.standardize else False
        return MOSRegressor.from_protocol(
            "paper", **parameters, stop_together=True, random_state=seed, device=device
        )

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Pickles from before name no parameter that came later.
        super().__setstate__(vars(type(self).from_protocol("paper")) | state)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "network_"}


def _tuned_fingerprint(encoder: Encoder, towers: Sequence[Modality], tuned: dict[str, np.ndarray]) -> str:
    """Name the vectors of an encoder whose weights of these names were changed: its own name where none were."""
    base = "+".join(encoder.fingerprint_of(tower) for tower in towers)
    if not tuned:
        return base
    digest = hashlib.sha256()
    for name in sorted(tuned):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tuned[name]).reshape(-1).view(np.uint8).data)
    return f"{base}+tuned-{digest.hexdigest()[:32]}"


def _towers_for(targets: list[str] | None) -> tuple[Modality, ...]:
    """Towers that the heads of these targets need, see `default_columns`."""
    needed = np.any([default_columns(target, MODALITIES) for target in targets or [""]], axis=0)
    return tuple(tower for tower, is_needed in zip(MODALITIES, needed, strict=True) if is_needed)


def _check_clips(clips: pd.DataFrame, towers: tuple[Modality, ...]) -> None:
    """Raise unless a clips table has what the towers read."""
    check_clips(clips, columns=["path", "prompt"] if "text" in towers else ["path"], filled=True)


def _fit(heads: MOSRegressor, X: Any, n_clips: int, y: Any, y_val: Any, **options: Any) -> None:
    """Fit heads to the vectors of clips, of which those behind the first `n_clips` are to judge by."""
    judged = {} if y_val is None else {"X_val": X[n_clips:], "y_val": y_val}
    heads.fit(X[:n_clips], y, **options, **judged)


def _check_heads(heads: MOSRegressor, n_rows: int, n_clips: int, **data: Any) -> None:
    """Raise what would be raised once clips are embedded: lay out the training with numbers for vectors."""
    from musiceval_sk.estimators.engine.jobs import rehearse

    numbers = np.arange(n_rows, dtype=float)[:, np.newaxis]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the fit itself warns
        rehearse(lambda: _fit(heads, numbers, n_clips, **data))
