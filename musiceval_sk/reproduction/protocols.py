"""Ways to train and test on MusicEval, as data: what each does, and where it knowingly differs from its model."""

from dataclasses import dataclass, replace
from typing import Any

from musiceval_sk._text import listed


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
_FROZEN_TOWERS = "CLAP's towers stay frozen; the paper and its code fine-tune them with the heads."
_EACH_HEAD_ALONE = "Each head stops at its own best epoch; the paper does not say."
_FROZEN = (
    _FROZEN_TOWERS,
    "Initial weights and the order of clips follow this library's seeds; the authors' are not published.",
    "Clips that are equal in vectors and scores count as one of twice the weight.",
)

# What `reproduce` does otherwise where it trains the towers, too.
_PART_OF_TOWERS = {
    "last_blocks": "the last blocks and what follows them are trained",
    "lora": "adapters on queries, keys and values are trained",
}
_TUNED = (
    "Both heads stop together, since they share the towers, as in the released code; the paper does not say.",
    "The towers stay in evaluation mode while they are trained, as in the released code; the paper does not say.",
)

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        ReproductionProtocol(
            "frozen",
            "this library's own way: the whole clip at 48 kHz, features scaled, official lists, early stopping by the dev list",
            (
                *_FROZEN,
                "The paper splits at random 85/15; here the official lists are used, as in the challenge.",
                "Features are scaled to unit variance, which neither the paper nor its code does.",
                "Heads have ReLU between layers, and stop each at its own best epoch; the released code does neither.",
                "Clips are heard whole, as the mean of windows of 10 s; the released code hears 16 kHz as if it were 48 kHz.",
            ),
            scaled=True,
        ),
        ReproductionProtocol(
            "paper",
            "what the paper says: 3-layer MLP, L1, SGD with learning rate 5e-4, batches of 64, random 85/15",
            (
                *_FROZEN,
                "The seed of the paper's split is not published, so other clips are tested.",
                "The paper names no momentum: none is used; the released code has 0.9.",
                "The paper names no widths and no activation: 256 and 64 as in the released code, with ReLU as in an MLP.",
                "The paper names no stopping rule: 20 epochs without improvement on a tenth of training, at most 1,000.",
                _EACH_HEAD_ALONE,
                "The paper does not say how 30 s at 16 kHz reach a model of 10 s at 48 kHz: as the mean of windows of 10 s.",
                "The paper does not say which system truth it uses: the mean over the tested clips.",
            ),
            split="85/15",
            development="held out",
            momentum=0.0,
        ),
        ReproductionProtocol(
            "released",
            "what the released code does: heads without activation that stop together by the dev list, 16 kHz samples read as "
            "48 kHz and cut at 480,000, system truth from the table",
            (
                *_FROZEN,
                "The code fills clips with zeros up to the longest of their batch in training; here each up to 480,000.",
                "The code's dev loss is the mean over batches of 8, however small the last; here it is the mean over clips.",
                "The code reads files as they are; here all are made 16 kHz mono, as MusicEval's own files are.",
                "A clip whose prompt is missing stops the code; here it gets the vector of an empty text, with a warning.",
                "The code tests on the dev list that stopped its training; so it is here with MusicEval-phase1, whose scores "
                "are optimistic, but with MusicEval-full the test list is tested.",
                "Not verified: that the figures in the paper were made with the code as released.",
            ),
            tests_on_development=True,
            training_sound="16k-padded",
            test_sound="16k-repeated",
            activation="identity",
            stop_together=True,
            system_truth="table",
        ),
    )
}


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
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; choose from {listed(PROTOCOLS)}")
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
    kept = [text for text in protocol.deviations if text not in (_FROZEN_TOWERS, _EACH_HEAD_ALONE)]
    part = _PART_OF_TOWERS.get(mode)
    partly = [f"Of CLAP's towers only {part}; the paper and its code train all of them."] if part else []
    name, deviations = f"{protocol.name} + {mode}", (*partly, *_TUNED, *kept)
    return replace(protocol, name=name, deviations=deviations, stop_together=True)
