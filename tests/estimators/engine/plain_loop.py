"""What a careful user of torch would write instead of the engine: autograd, `torch.optim.SGD`, torch's own losses."""

import numpy as np
import torch
from torch import nn

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "identity": nn.Identity}


def build(task, schedule, n_features, dtype):
    """Make the network with weights drawn as documented, from a generator of the task's own."""
    sizes = (n_features, *schedule.hidden_layer_sizes, schedule.n_bins if schedule.loss == "soft_bins" else 1)
    generator = torch.Generator().manual_seed(task.init_seed)
    modules = []
    for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True):
        linear = nn.Linear(fan_in, fan_out, dtype=dtype)
        with torch.no_grad():
            for parameter in (linear.weight, linear.bias):
                parameter.uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=generator)
        modules += [linear, ACTIVATIONS[schedule.activation]()]
    return nn.Sequential(*modules[:-1])


def centres_of(schedule, dtype):
    low, high = schedule.scale
    step = (high - low) / (schedule.n_bins - 1)
    return torch.tensor([low + i * step for i in range(schedule.n_bins)], dtype=dtype)


def losses_of(outputs, y, schedule):
    """Loss of each row."""
    if schedule.loss != "soft_bins":
        kind = {"l1": nn.L1Loss, "mse": nn.MSELoss, "huber": nn.HuberLoss}[schedule.loss]
        return kind(reduction="none")(outputs, y)[:, 0]
    bell = torch.exp(-((y - centres_of(schedule, y.dtype)) ** 2) / (2 * schedule.bin_sigma**2))
    return nn.CrossEntropyLoss(reduction="none")(outputs, bell / bell.sum(dim=1, keepdim=True))


def ranking_term(outputs, y, weights, schedule):
    """Mean over the pairs with y_i > y_j of q_i max(0, margin (y_i - y_j) - (p_i - p_j)), weighted."""
    scores = outputs
    if schedule.loss == "soft_bins":
        scores = (outputs.softmax(dim=1) * centres_of(schedule, y.dtype)).sum(dim=1, keepdim=True)
    better, worse = torch.nonzero(y > y.T, as_tuple=True)
    if len(better) == 0:
        return torch.zeros((), dtype=y.dtype)
    gap, reached = (y[better] - y[worse])[:, 0], (scores[better] - scores[worse])[:, 0]
    pairs = weights[better] * weights[worse]
    if not pairs.sum():
        return pairs.sum()
    quality = 1 + (schedule.rank_quality - 1) * (y[better][:, 0] - y.min()) / (y.max() - y.min())
    return (quality * torch.relu(schedule.rank_margin * gap - reached) * pairs).sum() / pairs.sum()


def plain_loop(X, Y, task, schedule):
    """Train; returns layers, losses by epoch, held-out losses by epoch, best epoch."""
    if task.columns is not None:
        X = X[:, torch.from_numpy(task.columns)]
    network = build(task, schedule, X.shape[1], X.dtype)
    optimiser = torch.optim.SGD(
        network.parameters(),
        lr=task.learning_rate,
        momentum=task.momentum,
        weight_decay=task.weight_decay,
        nesterov=schedule.nesterov and task.momentum > 0,
    )
    order = torch.Generator().manual_seed(task.order_seed)
    y, rows, held_out = (
        Y[:, [task.target]],
        torch.from_numpy(task.rows),
        torch.from_numpy(task.validation_rows),
    )
    weights = torch.ones(len(X), dtype=X.dtype)
    if task.row_weights is not None:
        weights = torch.from_numpy(task.row_weights).to(X.dtype)
    learned = weights.clone()
    learned[held_out] = 0  # where an epoch passes over what it is judged by
    losses, judged, best, best_epoch, kept = [], [], np.inf, 0, None
    for epoch in range(1, schedule.max_iter + 1):
        shuffled = rows[torch.randperm(len(rows), generator=order)] if schedule.shuffle else rows
        total = 0.0
        batches = shuffled.split(schedule.batch_size)
        if schedule.even_batches:
            batches = shuffled.tensor_split(len(batches))
        for batch in batches:
            if not learned[batch].sum():
                continue
            optimiser.zero_grad()
            outputs = network(X[batch])
            weighted = (learned[batch] * losses_of(outputs, y[batch], schedule)).sum()
            loss = weighted / learned[batch].sum()
            if schedule.rank_weight:
                loss = loss + schedule.rank_weight * ranking_term(outputs, y[batch], learned[batch], schedule)
            loss.backward()
            optimiser.step()
            total += weighted.item()
        losses.append(total / learned[rows].sum().item())
        if len(held_out):
            with torch.no_grad():
                each = losses_of(network(X[held_out]), y[held_out], schedule)
                judged.append(((weights[held_out] * each).sum() / weights[held_out].sum()).item())
        now = judged[-1] if judged else losses[-1]
        if now < best - schedule.tol:
            best, best_epoch = now, epoch
            kept = layers_of(network) if judged else None
        if epoch - best_epoch >= schedule.patience:
            break
    return kept or layers_of(network), losses, judged, best_epoch


def layers_of(network):
    linears = [module for module in network if isinstance(module, nn.Linear)]
    return [
        (linear.weight.detach().double().numpy().T.copy(), linear.bias.detach().double().numpy().copy())
        for linear in linears
    ]


def assert_same_layers(layers, expected, atol):
    assert len(layers) == len(expected)
    for (weight, bias), (expected_weight, expected_bias) in zip(layers, expected, strict=True):
        np.testing.assert_allclose(weight, expected_weight, rtol=0, atol=atol)
        np.testing.assert_allclose(bias, expected_bias, rtol=0, atol=atol)
