"""Where the engine keeps the numbers of k perceptrons of one shape: parameters, momenta, work space."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

Tensor = torch.Tensor
# Layers of `rest` begin at multiples of so many numbers: 64 bytes in float32.
_ALIGNED = 16


class Store:
    """Parameters of k perceptrons, or their momenta, in two tensors.

    The first layers stand side by side as the columns of one matrix, the bias as its last row,
    [shape=(d + 1, k * width)]; the other layers of one perceptron are one row of `rest`. There each layer is filled up
    with zeros, so that all begin on a cache line: products of matrices round by where in memory their factors lie, and
    a perceptron would depend on its place among the others.
    """

    def __init__(self, first: Tensor, rest: Tensor, sizes: Sequence[int]):
        self.parts, self.sizes = (first, rest), tuple(sizes)
        self.first, self.rest = first, rest
        k, width = len(rest), sizes[1]
        self.wide = first.view(len(first), k, width)
        self.matrix, self.offset = first[:-1], first[-1]
        self.weights: list[Tensor] = []
        self.biases: list[Tensor] = []
        begin = 0
        for fan_in, fan_out in _upper(sizes):
            middle, end = begin + fan_in * fan_out, begin + (fan_in + 1) * fan_out
            self.weights.append(rest[:, begin:middle].view(k, fan_in, fan_out))
            self.biases.append(rest[:, middle:end].view(k, 1, fan_out))
            begin = _aligned(end)
        self.back = [weight.transpose(1, 2) for weight in self.weights]
        # Layers of one output, perceptron by perceptron.
        self.vectors = [
            [(b[0], w[:, 0]) for b, w in zip(bias.unbind(), weight.unbind(), strict=True)]
            if weight.shape[-1] == 1
            else []
            for weight, bias in self.pairs()
        ]

    @classmethod
    def of(cls, models: Sequence[Sequence[Tensor]], sizes: Sequence[int]) -> "Store":
        """Lay out the layers of models: weight and bias in turn."""
        first = torch.cat([torch.cat([m[0], m[1].reshape(1, -1)]) for m in models], dim=1)
        rest = first.new_zeros(
            len(models), sum(_aligned((below + 1) * above) for below, above in _upper(sizes))
        )
        store = cls(first, rest, sizes)
        for k, model in enumerate(models):
            for (weight, bias), w, b in zip(store.pairs(), model[2::2], model[3::2], strict=True):
                weight[k], bias[k, 0] = w, b
        return store

    def zeros(self) -> "Store":
        """As many numbers, all zero."""
        return Store(torch.zeros_like(self.first), torch.zeros_like(self.rest), self.sizes)

    def chosen(self, index: Tensor) -> "Store":
        """Copy some of the perceptrons."""
        return Store(
            self.wide[:, index].reshape(len(self.first), -1).clone(), self.rest[index].clone(), self.sizes
        )

    def put(self, index: Tensor, chosen: "Store") -> None:
        """Overwrite some of the perceptrons, in the order in which `chosen` gave them."""
        self.wide[:, index], self.rest[index] = chosen.wide, chosen.rest

    def layers(self, k: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Weight and bias of each layer of one perceptron, as arrays of their own."""
        first = self.wide[:, k].cpu().numpy().copy()
        others = [(w[k].cpu().numpy().copy(), b[k, 0].cpu().numpy().copy()) for w, b in self.pairs()]
        return [(first[:-1], first[-1]), *others]

    def pass_through(self, i: int, below: "Matrices", above: "Matrices") -> None:
        """Fill in what leaves layer i above the first, given what comes in.

        Layers of one output are products with a vector. On a CPU these are asked for one by one: as a batch of matrices
        they would be summed in another order than alone.
        """
        if not self.vectors[i] or above.whole.device.type != "cpu":
            torch.baddbmm(self.biases[i], below.whole, self.weights[i], out=above.whole)
            return
        for (bias, weight), matrix, place in zip(self.vectors[i], below.each, above.vectors, strict=True):
            torch.addmv(bias, matrix, weight, out=place)

    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        """Weights and biases above the first layer."""
        return list(zip(self.weights, self.biases, strict=True))


class Matrices:
    """One matrix a perceptron, [shape=(k, n, width)], and the views of it that every step would make anew."""

    def __init__(self, whole: Tensor):
        self.whole, self.turned, self.each = whole, whole.transpose(1, 2), whole.unbind()
        self.vectors = [matrix[:, 0] for matrix in self.each] if whole.shape[-1] == 1 else []


class WorkSpace:
    """Preallocated values and slopes of a minibatch of n rows: what comes into each activation, and what goes out.

    Of the first layer, whose numbers lie side by side, there is also the whole matrix, [shape=(n, k * width)].
    """

    def __init__(self, n: int, n_features: int, store: Store, in_place: bool):
        k, width, like = len(store.rest), store.sizes[1], store.first
        self.inputs = like.new_empty(n, n_features)
        self.turned = self.inputs.T
        above = [(k, n, wide) for wide in store.sizes[2:-1]]
        self.incoming = [like.new_empty(n, k * width), *(like.new_empty(shape) for shape in above)]
        self.outgoing = self.incoming if in_place else [torch.empty_like(values) for values in self.incoming]
        self.raw, self.active = (
            [Matrices(side_by_side(first, k)), *(Matrices(values) for values in others)]
            for first, *others in (self.incoming, self.outgoing)
        )
        self.first_slope = like.new_empty(n, k * width)
        self.first_slope_turned, self.ones = self.first_slope.T, like.new_ones(n)
        self.slopes = [side_by_side(self.first_slope, k), *(like.new_empty(shape) for shape in above)]


def _upper(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Widths below and above each layer but the first."""
    return list(pairwise(sizes[1:]))


def _aligned(count: int) -> int:
    return -(-count // _ALIGNED) * _ALIGNED


def side_by_side(matrix: Tensor, k: int) -> Tensor:
    """View an (n, k * width) matrix as (k, n, width)."""
    return matrix.view(len(matrix), k, -1).transpose(0, 1)
