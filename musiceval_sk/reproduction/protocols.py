"""Ways to train and test on MusicEval, which protocols.json holds: what each does, and where it knowingly differs from its model."""

import json
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

from musiceval_sk._text import require_known


@dataclass(frozen=True)
class ReproductionProtocol:
    """How `reproduce` hears, splits, trains and judges. Change one with `dataclasses.replace`.

    Attributes
    ----------
    name : str
        Its key in ``PROTOCOLS``.
    meaning : str
        What it follows, in words.
    deviations : tuple of str
        Every known difference from what it follows, and what could not be found out.
    split : {"official", "85/15"}
        The official lists, or a random 15 % of all clips as test.
    development : {"list", "held out"}
        What early stopping goes by: the official dev list, or a tenth of the training clips, chosen at random. Where
        there is no test list the dev list is tested, so a tenth is held out then, unless `tests_on_development`.
    tests_on_development : bool
        Without a test list: whether the dev list may stop the training and be tested too, as in the released code.
    training_sound, test_sound : {"resampled", "16k-padded", "16k-repeated"}
        How clips reach CLAP, see `HfClapEncoder`; the development clips go as the training clips do.
    pooling : {"mean", "mean+std", "max", "first"}
        How a clip's windows become one vector.
    scaled : bool
        Whether columns are scaled to zero mean and unit variance on the training clips.
    hidden_layer_sizes, activation, batch_size, learning_rate, momentum, max_iter, patience, stop_together
        Of `MOSRegressor`; the loss is L1. `patience` is its ``n_iter_no_change``.
    system_truth : {"clips", "table"}
        True scores of systems: mean over the tested clips, or the data set's own table.
    """

    name: str
    meaning: str
    deviations: tuple[str, ...]
    split: str = "official"
    development: str = "list"
    tests_on_development: bool = False
    training_sound: str = "resampled"
    test_sound: str = "resampled"
    pooling: str = "mean"
    scaled: bool = False
    hidden_layer_sizes: tuple[int, ...] = (256, 64)
    activation: str = "relu"
    batch_size: int = 64
    learning_rate: float = 5e-4
    momentum: float = 0.9
    max_iter: int = 1000
    patience: int = 20
    stop_together: bool = False
    system_truth: str = "clips"

    def parameters(self) -> dict[str, Any]:
        """Name what it fixes as `MOSRegressor` and `CLAPFineTuneRegressor` do."""
        names = ("hidden_layer_sizes", "activation", "batch_size", "momentum", "max_iter")
        same = {name: getattr(self, name) for name in names}
        return {**same, "learning_rate_init": self.learning_rate, "n_iter_no_change": self.patience}


# docs/reproduce.md says more of each.
_DATA = json.loads((files(__package__) / "protocols.json").read_text(encoding="utf-8"))


def _protocol(name: str, deviations: list[str], **given: Any) -> ReproductionProtocol:
    return ReproductionProtocol(name, deviations=(*_DATA["shared_deviations"], *deviations), **given)


PROTOCOLS = {name: _protocol(name, **given) for name, given in _DATA["protocols"].items()}


def get_protocol(protocol: str | ReproductionProtocol) -> ReproductionProtocol:
    """Find a protocol by its name.

    Parameters
    ----------
    protocol : str or ReproductionProtocol
        A key of ``PROTOCOLS``, or a protocol, which is returned as it is.

    Returns
    -------
    ReproductionProtocol
        The protocol.

    Raises
    ------
    ValueError
        If there is none of this name.

    Examples
    --------
    >>> get_protocol("released").activation
    'identity'
    """
    if isinstance(protocol, ReproductionProtocol):
        return protocol
    require_known("protocol", protocol, PROTOCOLS)
    return PROTOCOLS[protocol]


def tuned_protocol(protocol: ReproductionProtocol, mode: str) -> ReproductionProtocol:
    """Say what becomes of a protocol when CLAP's towers are trained with the heads.

    Parameters
    ----------
    protocol : ReproductionProtocol
        As it is with frozen towers.
    mode : {"full", "last_blocks", "lora"}
        Which weights of the towers are trained, see `CLAPFineTuneRegressor`.

    Returns
    -------
    ReproductionProtocol
        With a name of its own, heads that stop together, and the deviations that hold then.

    Examples
    --------
    >>> tuned_protocol(PROTOCOLS["paper"], "full").name
    'paper + full'
    """
    kept = [text for text in protocol.deviations if text not in _DATA["of_frozen_towers"]]
    part = _DATA["part_of_towers"].get(mode)
    partly = [f"Of CLAP's towers only {part}; the paper and its code train all of them."] if part else []
    name, deviations = f"{protocol.name} + {mode}", (*partly, *_DATA["of_tuned_towers"], *kept)
    return replace(protocol, name=name, deviations=deviations, stop_together=True)
