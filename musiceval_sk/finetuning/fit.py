"""The road of `CLAPFineTuneRegressor.fit`: clips to vectors, vectors to a plan, the plan to trained weights."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from musiceval_sk.datasets.clips import check_clips
from musiceval_sk.estimators.checks import check_validation
from musiceval_sk.estimators.data import names_of
from musiceval_sk.estimators.engine.train import Trained, draw_layers, layer_sizes
from musiceval_sk.estimators.module import MOSModule
from musiceval_sk.estimators.parts import parameters_as_json
from musiceval_sk.features.encoders.base import Encoder, Modality
from musiceval_sk.finetuning.batches import Sounds, Vectors, embed_all
from musiceval_sk.finetuning.checkpoint import Checkpoint, identity_of
from musiceval_sk.finetuning.clips import Clips, column_names, towers_for
from musiceval_sk.finetuning.loop import Plan, Training


@dataclass
class Start:
    """All that training starts from; `weights` are the towers' trained ones."""

    clips: Clips
    network: Any
    towers: tuple[Modality, ...]
    weights: dict[str, torch.nn.Parameter]
    checkpoint: Checkpoint
    heads: Any
    job: Any
    judging_dtype: str

    def tuned(self) -> dict[str, np.ndarray]:
        """Arrays of the towers' trained weights as they are now, which ask for gradients no more."""
        return {
            name: weight.requires_grad_(False).detach().cpu().clone().numpy()
            for name, weight in self.weights.items()
        }


def check_inputs(
    regressor: Any,
    clips: pd.DataFrame,
    y: Any,
    sample_weight: Any,
    groups: Any,
    clips_val: pd.DataFrame | None,
    y_val: Any,
) -> None:
    """Raise what would be raised once the clips are embedded: the training is laid out with numbers for vectors."""
    heads = regressor._heads(0)
    check_validation(heads, clips, clips_val, y_val, None, name="clips_val")
    tables = [clips] if clips_val is None else [clips, clips_val]
    columns = ["path", "prompt"] if "text" in towers_for(names_of(y) or [""]) else ["path"]
    for table in tables:
        check_clips(table, columns=columns, filled=True)
    numbered = [np.arange(len(table), dtype=float)[:, np.newaxis] for table in tables]
    val = {} if clips_val is None else {"X_val": numbered[1], "y_val": y_val}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the fit itself warns
        heads._plan(numbered[0], y, sample_weight, groups, **val)


def prepare(
    regressor: Any,
    encoder: Encoder,
    clips: pd.DataFrame,
    y: Any,
    sample_weight: Any,
    groups: Any,
    clips_val: pd.DataFrame | None,
    y_val: Any,
) -> Start:
    """Decode and embed the clips, lay out what `MOSRegressor` would do with the vectors, and choose weights to train."""
    network = encoder.trainable()
    heads = regressor._heads(0)
    towers = towers_for(names_of(y) or [""])
    tables = [clips] if clips_val is None else [clips, clips_val]
    decoded = Clips(tables, encoder, "text" in towers, regressor.sounds_dir)
    identity = identity_of(
        regressor,
        parameters_as_json(regressor),
        "+".join(encoder.fingerprint_of(tower) for tower in towers),
        network.device.type,
        sounds=[key.hex() for key in decoded.keys],
        prompts=decoded.prompts,
        y=y,
        targets=names_of(y),
        sample_weight=sample_weight,
        groups=groups,
        y_val=y_val,
    )
    checkpoint = Checkpoint(regressor.checkpoint, regressor.checkpoint_every, identity)
    checkpoint.read()
    judging_dtype = getattr(encoder, "dtype", "float32")
    if checkpoint.vectors is None:
        source = decoded.through(network, (judging_dtype, judging_dtype), regressor.max_batch_memory)
        checkpoint.begin(regressor._seed(), embed_all(source, len(decoded), decoded.names))
    table = pd.DataFrame(checkpoint.vectors, columns=column_names(encoder, towers))
    n = len(clips)
    val = {"X_val": table.iloc[n:], "y_val": y_val} if clips_val is not None else {}
    heads.set_params(random_state=checkpoint.seed)
    job = heads._plan(table.iloc[:n], y, sample_weight, groups, **val)
    weights = regressor._choose(network, towers, seed=job.tasks[0].init_seed)
    return Start(decoded, network, towers, weights, checkpoint, heads, job, judging_dtype)


def train(regressor: Any, start: Start) -> list[Trained]:
    """Train heads and chosen weights, and keep the state of it where the regressor says."""
    from tqdm import tqdm

    device = start.network.device
    precision = resolve_precision(regressor.precision, device)
    job, first = start.job, start.job.tasks[0]
    heads = _initial_heads(start).to(device)
    weights = {f"towers.{name}": weight for name, weight in start.weights.items()}
    weights |= {f"heads.{name}": weight for name, weight in heads.named_parameters()}
    plan = Plan(
        targets=job.targets,
        rows=first.rows,
        validation_rows=first.validation_rows,
        weights=np.ones(len(job.targets)) if first.row_weights is None else first.row_weights,
        order_seed=first.order_seed,
        learning_rate=first.learning_rate,
        momentum=first.momentum,
        weight_decay=first.weight_decay,
        schedule=job.schedule,
    )
    source = source_of(regressor, start, precision)
    training = Training(plan, source, heads, weights, half=precision == "float16" and bool(start.weights))
    if start.checkpoint.training:
        training.restore(*start.checkpoint.training)
    with tqdm(unit="step", disable=not regressor.verbose, initial=training.progress.steps_made) as bar:

        def after_step(training: Training) -> None:
            start.checkpoint.after_step(training)
            bar.set_postfix(epoch=training.progress.epoch, best=training.progress.best_loss, refresh=False)
            bar.update()

        results = training.run(after_step)
    start.checkpoint.keep(training)
    return results


def source_of(regressor: Any, start: Start, precision: str) -> Vectors | Sounds:
    """Where batches come from: with frozen towers, from the vectors that are known already."""
    if regressor.train == "frozen":
        return Vectors(start.job.inputs, start.network.device)
    return start.clips.through(start.network, (precision, start.judging_dtype), regressor.max_batch_memory)


def embed(
    regressor: Any,
    encoder: Encoder,
    network: Any,
    towers: tuple[Modality, ...],
    tables: list[pd.DataFrame],
) -> pd.DataFrame:
    """Embed clips with a network, one row a clip."""
    decoded = Clips(tables, encoder, "text" in towers, regressor.sounds_dir)
    dtype = getattr(encoder, "dtype", "float32")
    source = decoded.through(network, (dtype, dtype), regressor.max_batch_memory)
    vectors = embed_all(source, len(decoded), decoded.names)
    return pd.DataFrame(vectors, columns=column_names(encoder, towers))


def _initial_heads(start: Start) -> MOSModule:
    """Heads with the weights that `MOSRegressor` would begin with, in float32."""
    columns = start.heads.head_columns_
    layers = []
    for task, seen in zip(start.job.tasks, columns, strict=True):
        parts = draw_layers(task.init_seed, layer_sizes(len(seen), start.job.schedule), torch.empty(0))
        arrays = [part.numpy() for part in parts]
        layers.append([list(zip(arrays[::2], arrays[1::2], strict=True))])
    return MOSModule(layers, columns, start.heads.activation).float()


def resolve_precision(precision: str, device: torch.device) -> str:
    """Say what the towers' matrix products are computed in while they train."""
    if precision != "auto":
        return precision
    if device.type != "cuda":
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
