"""The training loop of `CLAPFineTuneRegressor`: towers and heads under one optimiser, to be taken up after any epoch.

Which of the towers' weights are trained says `choose_weights`; `checkpoint` keeps what a run goes on from.

All that an epoch depends on is in `Training.state`. A run that is restored from it goes on as if nothing had happened,
to the bit on a CPU with the same number of threads.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any

import numpy as np
import torch

from musiceval_sk._optional import import_optional
from musiceval_sk._progress import progress
from musiceval_sk.estimators.engine.task import Job, Trained, layer_sizes
from musiceval_sk.estimators.engine.train import Progress, draw_layers
from musiceval_sk.estimators.module import MOSModule
from musiceval_sk.estimators.persistence import Content, Tensors
from musiceval_sk.finetuning.batches import ClipBatches
from musiceval_sk.finetuning.checkpoint import divided, joined

Weights = dict[str, torch.nn.Parameter]


class Training:
    """Towers and heads in training.

    Parameters
    ----------
    job : Job
        What `MOSRegressor` would train on the vectors before training; here heads and members stop together.
    source : ClipBatches
        The clips, and the towers that they go through.
    tuned : dict of str to torch.nn.Parameter
        Weights of the towers to train.
    precision : {"float32", "bfloat16", "float16"}
        What the towers compute in while they are trained.
    verbose : bool, default=False
        Whether to tell on stderr how far training is.
    """

    def __init__(self, job: Job, source: ClipBatches, tuned: Weights, precision: str, verbose: bool = False):
        self.job, self.source, self._precision, self._verbose = job, source, precision, verbose
        self.task = task = job.tasks[0]
        self.heads = _initial_heads(job).to(source.device)
        self.weights = {f"towers.{name}": weight for name, weight in tuned.items()}
        self.weights |= {f"heads.{name}": weight for name, weight in self.heads.named_parameters()}
        self.optimizer = torch.optim.SGD(
            self.weights.values(), task.learning_rate, task.momentum, weight_decay=task.weight_decay
        )
        self.scaler = torch.amp.GradScaler(source.device.type, enabled=precision == "float16")
        self.best: dict[str, torch.Tensor] = {}
        self.results = [Trained() for _ in job.tasks]
        self._progress = Progress([replace(one, stops_with=0) for one in job.tasks], job.schedule)
        self._targets = torch.from_numpy(job.targets[:, [one.target for one in job.tasks]]).float()
        self._n_members = len(job.tasks) // job.targets.shape[1]
        even = np.ones(len(job.targets))
        self._row_weights = torch.from_numpy(even if task.row_weights is None else task.row_weights).float()
        self._generator = torch.Generator().manual_seed(task.order_seed)
        self._begin_epoch()

    @property
    def n_epochs(self) -> int:
        """Epochs made."""
        return len(self.results[0].loss_curve)

    @property
    def goes_on(self) -> bool:
        """Whether there is an epoch to come."""
        return bool(self._progress.running.all()) and self.n_epochs < self.job.schedule.max_iter

    def run(self, micro_batch_size: int, after_epoch: Callable[["Training"], None]) -> list[Trained]:
        """Train to the end, from wherever it stands, be it within an epoch.

        Parameters
        ----------
        micro_batch_size : int
            Clips that go through the towers at once.
        after_epoch : callable
            Called after each epoch.

        Returns
        -------
        list of Trained
            Each head, and how it was trained; the weights that count are then in the network.
        """
        steps = len(self._order.split(self.job.schedule.batch_size))
        total, begun = steps * self.job.schedule.max_iter, steps * self.n_epochs + len(self._losses)
        with progress(total, "fine-tuning", "step", self._verbose, begun=begun) as shown:
            while self.goes_on:
                shown.set_postfix_str(f"epoch {self.n_epochs + 1}", refresh=False)
                for batch in self._order.split(self.job.schedule.batch_size)[len(self._losses) :]:
                    self._losses.append(self._step(batch.numpy(), micro_batch_size))
                    shown.update()
                self._end_epoch(micro_batch_size)
                after_epoch(self)
        self.optimizer.zero_grad()
        with torch.no_grad():
            for name, kept in self.best.items():
                self.weights[name].copy_(kept)
        for i, result in enumerate(self.results):
            result.layers = self.heads.layers(i)
            result.best_iteration = int(self._progress.best_epoch[i])
            result.stopped = bool(self._progress.stopped[i])
        return self.results

    def state(self) -> tuple[Content, Tensors]:
        """All that training depends on after an epoch, as JSON values and arrays."""
        momenta = {
            name: self.optimizer.state[weight]["momentum_buffer"]
            for name, weight in self.weights.items()
            if self.optimizer.state[weight]
        }
        groups = {"now": self.weights, "momentum": momenta, "best": self.best}
        arrays = joined({group: arrays_of(tensors) for group, tensors in groups.items()})
        arrays["losses"] = np.array([result.loss_curve for result in self.results])
        arrays["judged"] = np.array([result.validation_curve or result.loss_curve for result in self.results])
        return {"scaler": self.scaler.state_dict()}, arrays

    def restore(self, content: Content, arrays: Tensors) -> None:
        """Go back to where `state` was taken."""
        for losses, judged in zip(arrays["losses"].T, arrays["judged"].T, strict=True):
            self._progress.record(self.results, self.n_epochs + 1, losses, judged)
            self._begin_epoch()
        self.scaler.load_state_dict(content["scaler"])
        tensors: Any = {name: torch.from_numpy(array) for name, array in arrays.items()}
        groups: Any = divided(tensors)
        self.best = groups["best"]
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(groups["now"][name])
                if name in groups["momentum"]:
                    momentum = groups["momentum"][name].to(weight.device)
                    self.optimizer.state[weight]["momentum_buffer"] = momentum

    def _begin_epoch(self) -> None:
        """Draw the order of rows as the engine of `MOSRegressor` draws it."""
        rows = torch.from_numpy(self.task.rows)
        self._order = rows[torch.randperm(len(rows), generator=self._generator)]
        self._losses: list[np.ndarray] = []

    def _step(self, rows: np.ndarray, micro_batch_size: int) -> np.ndarray:
        """One step of SGD on a batch, its gradient summed over parts; each head's weighted loss, summed over rows."""
        self.optimizer.zero_grad()
        losses = self._losses_of(rows, micro_batch_size, training=True)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return losses

    def _end_epoch(self, micro_batch_size: int) -> None:
        """Judge, and keep weights that are better than ever."""
        rows = self.task.validation_rows
        losses = np.sum(self._losses, axis=0) / self._weight_of(self.task.rows)
        judged = losses
        if len(rows):
            judged = self._losses_of(rows, micro_batch_size, training=False) / self._weight_of(rows)
        improved, _ = self._progress.record(self.results, self.n_epochs + 1, losses, judged)
        if len(rows) and improved.any():
            self.best = {name: weight.detach().cpu().clone() for name, weight in self.weights.items()}
        self._begin_epoch()

    def _losses_of(self, rows: np.ndarray, micro_batch_size: int, training: bool) -> np.ndarray:
        """Each head's weighted absolute error, summed over rows; in training, the gradient of their mean, too."""
        losses = torch.zeros(len(self.results), dtype=torch.float64, device=self.source.device)
        dtype = self._precision if training else self.source.dtype
        with self.source.network.precision(), torch.set_grad_enabled(training):
            for places, vectors in self.source.parts(rows, micro_batch_size, dtype):
                truth = self._targets[rows[places]].to(vectors.device)
                weight = self._row_weights[rows[places]].to(vectors.device)
                # The towers follow the mean of the members' losses, each member its own.
                if self._n_members > 1:
                    still = vectors.detach()
                    vectors = still + (vectors - still) / self._n_members
                errors = (self.heads(vectors) - truth).abs() * weight[:, None]
                if training:
                    self.scaler.scale(errors.sum() / self._weight_of(rows)).backward()
                losses += errors.detach().double().sum(dim=0)
        return losses.cpu().numpy()

    def _weight_of(self, rows: np.ndarray) -> float:
        return float(self._row_weights[rows].double().sum())


def train_towers(
    regressor: Any, job: Job, source: ClipBatches, tuned: Weights, checkpoint: Any
) -> list[Trained]:
    """Train heads and chosen weights of the towers, from where a checkpoint stands; each head, and how it went."""
    precision = resolve_precision(regressor.precision, source.device)
    training = Training(job, source, tuned, precision, bool(regressor.verbose))
    if checkpoint.training:
        training.restore(*checkpoint.training)
    return source.as_memory_allows(partial(training.run, after_epoch=checkpoint.write))


def resolve_precision(precision: str, device: torch.device) -> str:
    """Say what the towers' matrix products are computed in while they train."""
    if precision != "auto":
        return precision
    if device.type != "cuda":
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"


def _initial_heads(job: Job) -> MOSModule:
    """Heads with the weights that `MOSRegressor` would begin with, in float32; each member is a head."""
    everything = np.arange(job.inputs.shape[1])
    columns = [everything if task.columns is None else task.columns for task in job.tasks]
    layers = []
    for task, seen in zip(job.tasks, columns, strict=True):
        sizes = layer_sizes(len(seen), job.schedule)
        drawn = draw_layers(task.init_seed, sizes, torch.empty(0), job.schedule.zero_output)
        arrays = [part.numpy() for part in drawn]
        layers.append([list(zip(arrays[::2], arrays[1::2], strict=True))])
    return MOSModule(layers, columns, job.schedule.activation).float()


def arrays_of(tensors: dict[str, torch.Tensor]) -> Tensors:
    """Copy also on the CPU, where numpy would otherwise see the weights change under its hands."""
    return {name: tensor.detach().cpu().clone().numpy() for name, tensor in tensors.items()}


def choose_weights(regressor: Any, network: Any, towers: Sequence[str], seed: int) -> Weights:
    """Let the weights of a mode ask for gradients, and no others.

    Parameters
    ----------
    regressor : CLAPFineTuneRegressor
        Says the mode.
    network : ClapNetwork
        As the encoder gives it; with "lora", adapters are put into it.
    towers : sequence of {"audio", "text"}
        Towers in use; the others keep their weights.
    seed : int
        For "lora": of the adapters' initial weights.

    Returns
    -------
    dict of str to torch.nn.Parameter
        The chosen weights by name; what "lora" chooses was not there before.
    """
    lora = regressor.train == "lora"
    if lora:
        _put_adapters_in(network, regressor.lora_rank, regressor.lora_alpha, seed)
    network.requires_grad_(False)
    if regressor.train == "frozen":
        return {}
    stages = {name: network.stage(name) for name, _ in network.named_parameters()}
    first = dict.fromkeys(towers, (-inf, 0.0))
    if regressor.train == "last_blocks":
        first = {tower: _first_of_last(stages, tower, regressor.n_blocks) for tower in towers}
    return {
        name: parameter.requires_grad_(True)
        for name, parameter in network.named_parameters()
        if (stage := stages[name])
        and stage[1] >= first.get(stage[0], (inf, inf))
        and ("lora_" in name) == lora
    }


def _first_of_last(stages: dict[str, Any], tower: str, n_blocks: int) -> tuple[float, float]:
    """Place of the n-th block from the end; what joins blocks, or lies before or behind them, is none."""
    places = {stage[1] for stage in stages.values() if stage is not None and stage[0] == tower}
    blocks = sorted(place for place in places if 0 <= place[0] < inf and place[1] < inf)
    if n_blocks > len(blocks):
        raise ValueError(
            f"n_blocks={n_blocks}, but the {tower} tower has {len(blocks)} blocks; choose fewer, or train='full'"
        )
    return blocks[-n_blocks]


def _put_adapters_in(network: Any, rank: int, alpha: float, seed: int) -> None:
    peft = import_optional("peft", extra="finetune", purpose="train='lora'")
    config = peft.LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=network.attention_layers()
    )
    with torch.random.fork_rng(devices=[network.device] if network.device.type == "cuda" else []):
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(config, network.model)
    network.eval()
