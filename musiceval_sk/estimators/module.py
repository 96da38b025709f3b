"""The trained network as a `torch.nn.Module`, for those who go on in torch."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from musiceval_sk.estimators.prediction import expected_score

_LINE = ("network_weight", "linear_coef", "linear_intercept")
_ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "identity": nn.Identity}


class MOSModule(nn.Module):
    """Heads of a fitted regressor: one stack of linear layers per target and ensemble member.

    Parameters
    ----------
    heads : sequence of sequence of list of (weight, bias)
        For each target and member the layers, weights of shape (fan_in, fan_out).
    columns : sequence of np.ndarray
        For each target the columns of X that its heads see.
    activation : {"relu", "gelu", "identity"}
        What stands between the layers.
    centres : np.ndarray [shape=(n_bins,)], default=None
        Where the last layer gives logits over bins, their centres.
    clip : tuple of (float, float), default=None
        Bounds of predictions.
    network_weights, linear_coefs, linear_intercepts : np.ndarray, list of np.ndarray, np.ndarray, default=None
        Of the linear part, as `MOSRegressor` has them.
    """

    def __init__(
        self,
        heads: Sequence[Sequence[list[tuple[np.ndarray, np.ndarray]]]],
        columns: Sequence[np.ndarray],
        activation: str,
        centres: np.ndarray | None = None,
        clip: tuple[float, float] | None = None,
        network_weights: np.ndarray | None = None,
        linear_coefs: list[np.ndarray] | None = None,
        linear_intercepts: np.ndarray | None = None,
    ):
        super().__init__()
        self.heads = nn.ModuleList(
            nn.ModuleList(_stack(layers, activation) for layers in members) for members in heads
        )
        for i, chosen in enumerate(columns):
            self.register_buffer(f"columns_{i}", torch.as_tensor(chosen, dtype=torch.int64))
            if linear_coefs is not None and network_weights is not None and linear_intercepts is not None:
                line = network_weights[i], linear_coefs[i].mean(axis=0), linear_intercepts[i].mean()
                for name, value in zip(_LINE, line, strict=True):
                    self.register_buffer(f"{name}_{i}", torch.tensor(value))
        self.has_line = linear_coefs is not None
        self.register_buffer("centres", None if centres is None else torch.as_tensor(centres))
        self.clip = clip

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Predict the mean of the members, [shape=(n, n_targets)].

        Parameters
        ----------
        X : torch.Tensor [shape=(n, n_features)]
            Inputs.

        Returns
        -------
        torch.Tensor [shape=(n, n_targets)]
            One column a target.
        """
        outputs = []
        for i, members in enumerate(self.heads.children()):
            seen = X[:, self.get_buffer(f"columns_{i}")]
            scores = torch.stack([member(seen) for member in members.children()])
            score = (scores if self.centres is None else expected_score(scores, self.centres)).mean(dim=0)
            if self.has_line:
                weight, coef, intercept = (self.get_buffer(f"{name}_{i}") for name in _LINE)
                score = weight * score + (seen @ coef + intercept)[:, None]
            outputs.append(score)
        predicted = torch.cat(outputs, dim=1)
        return predicted if self.clip is None else predicted.clamp(*self.clip)

    def layers(self, head: int, member: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
        """Weights, [shape=(fan_in, fan_out)], and biases of one stack, in float64 and of their own."""
        stack = list(list(self.heads.children())[head].children())[member]
        linears = [layer for layer in stack.children() if isinstance(layer, nn.Linear)]
        return [(_array(linear.weight.T), _array(linear.bias)) for linear in linears]


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy().copy()


def _stack(layers: list[tuple[np.ndarray, np.ndarray]], activation: str) -> nn.Sequential:
    modules: list[nn.Module] = []
    for weight, bias in layers:
        # Drawing weights that are overwritten would change the process's random state.
        linear = nn.utils.skip_init(nn.Linear, *weight.shape, dtype=torch.float64)
        linear.weight.data = torch.from_numpy(weight.T.copy())
        linear.bias.data = torch.from_numpy(bias.copy())
        modules += [linear, _ACTIVATIONS[activation]()]
    return nn.Sequential(*modules[:-1])
