"""Which weights of the towers a mode of fine-tuning trains."""

from collections.abc import Sequence
from math import inf
from typing import Any

import torch

from musiceval_sk._optional import import_optional

Weights = dict[str, torch.nn.Parameter]


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
