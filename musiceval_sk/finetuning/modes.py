"""Which weights of the towers a mode of fine-tuning trains."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from musiceval_sk._optional import import_optional

_FIRST_OF_ALL = (float("-inf"), 0.0)

Weights = dict[str, torch.nn.Parameter]


def choose_weights(
    network: Any,
    mode: str,
    towers: Sequence[str],
    *,
    n_blocks: int,
    lora_rank: int,
    lora_alpha: float,
    seed: int,
) -> Weights:
    """Let the weights of a mode ask for gradients, and no others.

    Parameters
    ----------
    network : ClapNetwork
        As the encoder gives it; with "lora", adapters are put into it.
    mode : {"frozen", "last_blocks", "full", "lora"}
        See `CLAPFineTuneRegressor`.
    towers : sequence of {"audio", "text"}
        Towers in use; the others keep their weights.
    n_blocks : int
        For "last_blocks": how many blocks of each tower.
    lora_rank, lora_alpha : int, float
        For "lora": width of the adapters, and their scale times the rank.
    seed : int
        For "lora": of the adapters' initial weights.

    Returns
    -------
    dict of str to torch.nn.Parameter
        The chosen weights by name; what "lora" chooses was not there before.
    """
    if mode == "frozen":
        return {}
    if mode == "lora":
        _put_adapters_in(network, lora_rank, lora_alpha, seed)
    stages = {name: network.stage(name) for name, _ in network.named_parameters()}
    first = dict.fromkeys(towers, _FIRST_OF_ALL)
    if mode == "last_blocks":
        first = {tower: _first_of_last(stages, tower, n_blocks) for tower in towers}
    chosen: Weights = {}
    for name, parameter in network.named_parameters():
        stage = stages[name]
        trained = stage is not None and stage[0] in first and stage[1] >= first[stage[0]]
        parameter.requires_grad_(trained and ("lora_" in name) == (mode == "lora"))
        if parameter.requires_grad:
            chosen[name] = parameter
    return chosen


def give_weights(network: Any, arrays: dict[str, np.ndarray]) -> None:
    """Put trained weights into a network that has their names."""
    parameters = dict(network.named_parameters())
    with torch.no_grad():
        for name, array in arrays.items():
            parameters[name].copy_(torch.from_numpy(array))


def _first_of_last(stages: dict[str, Any], tower: str, n_blocks: int) -> tuple[float, float]:
    """Place of the n-th block from the end."""
    blocks = sorted(
        {
            place
            for stage in stages.values()
            if stage is not None and stage[0] == tower
            for place in [stage[1]]
            if 0 <= place[0] < float("inf") and place[1] < float("inf")
        }
    )
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
    device = network.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(config, network.model)
    network.eval()
