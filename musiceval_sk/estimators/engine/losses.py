"""Losses and activations of the engine, each with its derivative written out.

Outputs have the shape (k, n, o) for k perceptrons, n rows and o outputs, targets and row weights (k, n, 1). A loss gives
its value per row, [shape=(k, n, 1)], and its slope by the outputs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from musiceval_sk.estimators.prediction import bin_centres, expected_score

Tensor = torch.Tensor


class Loss:
    """L1, squared error, Huber with a threshold of 1, or cross-entropy against softened bins of the scale.

    Parameters
    ----------
    name : {"l1", "mse", "huber", "soft_bins"}
        Which. For "soft_bins" the last layer has one output a bin; the target is a normalised Gaussian around the score,
        as the winner of track 1 of the AudioMOS Challenge 2025 had it (ASTAR-NTU: 20 bins, cross-entropy, expectation).
    n_bins, scale, sigma : int, (float, float), float
        Of the bins: how many, from which to which score their centres reach, and the Gaussian's deviation in scores.
    like : torch.Tensor
        Of the device and type of what is computed.
    """

    def __init__(self, name: str, n_bins: int, scale: tuple[float, float], sigma: float, like: Tensor):
        self.soft, self.sigma = name == "soft_bins", sigma
        self.value, self.slope = (self._bins, self._bins_slope) if self.soft else _LOSSES[name]
        self.centres = torch.from_numpy(bin_centres(n_bins, scale)).to(like)

    def scores(self, outputs: Tensor) -> Tensor:
        """Predicted scores, [shape=(k, n, 1)]."""
        return expected_score(outputs, self.centres) if self.soft else outputs

    def chained(self, slope: Tensor, outputs: Tensor, scores: Tensor) -> Tensor:
        """Turn a slope by the scores into one by the outputs."""
        return slope * outputs.softmax(-1) * (self.centres - scores) if self.soft else slope

    def _softened(self, targets: Tensor) -> Tensor:
        return ((targets - self.centres) / self.sigma).square().mul_(-0.5).softmax(-1)

    def _bins(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return -(self._softened(targets) * outputs.log_softmax(-1)).sum(-1, keepdim=True)

    def _bins_slope(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.softmax(-1).sub_(self._softened(targets))


def _huber(outputs: Tensor, targets: Tensor) -> Tensor:
    error = outputs - targets
    slope = error.clamp(-1, 1)
    return slope * (error - 0.5 * slope)


# Value and slope.
_LOSSES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "l1": (
        lambda outputs, targets: (outputs - targets).abs_(),
        lambda outputs, targets: (outputs - targets).sign_(),
    ),
    "mse": (
        lambda outputs, targets: (outputs - targets).square_(),
        lambda outputs, targets: (outputs - targets).mul_(2),
    ),
    "huber": (_huber, lambda outputs, targets: (outputs - targets).clamp_(-1, 1)),
}


def rank_slope(
    scores: Tensor, targets: Tensor, weights: Tensor | None, margin: float, quality: float
) -> Tensor:
    """Slope of the pairwise ranking term by the scores.

    The term is the mean of q_i max(0, margin (y_i - y_j) - (p_i - p_j)) over the pairs of a minibatch with y_i > y_j,
    each weighted with the product of its rows' weights. The factor q_i = 1 + (quality - 1) (y_i - low) / (high - low),
    with the lowest and highest score of the minibatch, lets pairs count by the better of the two. This is QAMRO (Wang
    et al. 2025, arXiv:2508.08957) as its authors released it, with margin 0.2 and quality 7.

    Parameters
    ----------
    scores, targets : Tensor [shape=(k, n, 1)]
        Predicted and true scores.
    weights : Tensor [shape=(k, n, 1)] or None
        Row weights.
    margin : float
        Share of the true difference that the predicted one should reach.
    quality : float
        Factor of the pairs with the minibatch's best clip, where those with its worst would have 1.

    Returns
    -------
    Tensor [shape=(k, n, 1)]
        Zero where a minibatch has no such pair.
    """
    apart = (targets - targets.transpose(1, 2)).contiguous()
    pairs = (apart > 0).to(scores.dtype)
    if weights is not None:
        pairs *= weights * weights.transpose(1, 2)
    total = pairs.sum(dim=(1, 2), keepdim=True)
    violated = margin * apart > scores - scores.transpose(1, 2)
    if quality != 1:
        above = apart.amax(dim=2, keepdim=True)  # how far each score lies above the lowest
        highest = above.amax(dim=1, keepdim=True)
        pairs *= 1 + (quality - 1) * above / torch.where(highest > 0, highest, torch.ones_like(highest))
    pull = pairs * violated / torch.where(total > 0, total, torch.ones_like(total))
    return pull.sum(dim=1).unsqueeze(-1) - pull.sum(dim=2, keepdim=True)


def _gelu_back(slope: Tensor, raw: Tensor) -> None:
    # In the order of memory: torch rounds the numbers of a view that skips otherwise than those of one that does not.
    whole, before = (part if part.is_contiguous() else part.transpose(0, 1) for part in (slope, raw))
    torch.ops.aten.gelu_backward.grad_input(whole, before, grad_input=whole)


class Activation(NamedTuple):
    """Forward, from what comes in to what goes out, and backward, which turns a slope by the latter in place into one by the former.

    Where forward works `in_place`, both are one tensor. Backward is then given the output of ReLU for its input, which
    comes to the same.
    """

    forward: Callable[[Tensor, Tensor], Any]
    backward: Callable[[Tensor, Tensor], Any]
    in_place: bool


ACTIVATIONS = {
    "relu": Activation(
        lambda incoming, outgoing: incoming.relu_(),
        lambda slope, raw: torch.ops.aten.threshold_backward.grad_input(slope, raw, 0, grad_input=slope),
        in_place=True,
    ),
    "gelu": Activation(
        lambda incoming, outgoing: torch.ops.aten.gelu.out(incoming, out=outgoing), _gelu_back, in_place=False
    ),
    "identity": Activation(lambda incoming, outgoing: None, lambda slope, raw: None, in_place=True),
}
