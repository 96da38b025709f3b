"""The engine against the training of the released MusicEval baseline's heads, on a made data set."""

import numpy as np
import pytest
import torch
from torch import nn

from musiceval_sk.estimators.engine.train import Schedule, Task, train

WIDTH, TRAIN, DEV = 128, np.arange(240), np.arange(240, 320)
PATIENCE, EPOCHS = 20, 400


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(320, 2 * WIDTH)) / np.sqrt(WIDTH)
    noise = rng.normal(size=(320, 2))
    impression = 3 + 6 * X[:, :40].sum(axis=1) / 6 + 0.5 * noise[:, 0]
    alignment = (
        3 + 6 * (X[:, 40:60].sum(axis=1) + X[:, WIDTH : WIDTH + 20].sum(axis=1)) / 6 + 0.5 * noise[:, 1]
    )
    return torch.from_numpy(X).float(), torch.from_numpy(np.stack([impression, alignment], axis=1)).float()


class Heads(nn.Module):
    """Three linear layers a head and nothing between them: impression hears audio, alignment audio and text."""

    def __init__(self):
        super().__init__()
        self.impression = nn.Sequential(nn.Linear(WIDTH, 256), nn.Linear(256, 64), nn.Linear(64, 1))
        self.alignment = nn.Sequential(nn.Linear(2 * WIDTH, 256), nn.Linear(256, 64), nn.Linear(64, 1))

    def forward(self, audio, text):
        return self.impression(audio), self.alignment(torch.cat([audio, text], dim=1))


def released_loop(X, Y, network, order_seed):
    """L1 losses of both heads summed, one SGD over all parameters, early stop on the dev set's sum."""
    loss_of, order = nn.L1Loss(), torch.Generator().manual_seed(order_seed)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.0005, momentum=0.9)

    def loss_on(rows):
        impression, alignment = network(X[rows, :WIDTH], X[rows, WIDTH:])
        return loss_of(impression, Y[rows, :1]) + loss_of(alignment, Y[rows, 1:])

    rows, best, best_epoch, waited = torch.from_numpy(TRAIN), np.inf, 0, PATIENCE
    for epoch in range(1, EPOCHS + 1):
        for batch in rows[torch.randperm(len(rows), generator=order)].split(64):
            optimiser.zero_grad()
            loss_on(batch).backward()
            optimiser.step()
        with torch.no_grad():
            dev = loss_on(torch.from_numpy(DEV)).item()
        if dev < best:
            best, best_epoch, waited = dev, epoch, PATIENCE
            with torch.no_grad():
                kept = torch.cat(network(X[:, :WIDTH], X[:, WIDTH:]), dim=1).numpy()
        else:
            waited -= 1
            if waited == 0:
                break
    return kept, best_epoch, epoch


def test_same_epoch_and_predictions_as_the_released_code(data):
    X, Y = data
    tasks = [
        Task(i, TRAIN, DEV, init_seed=i, order_seed=5, columns=columns, stops_with=0)
        for i, columns in enumerate([np.arange(WIDTH), None])
    ]
    network = Heads()
    for task, head in zip(tasks, (network.impression, network.alignment), strict=True):
        generator = torch.Generator().manual_seed(task.init_seed)
        for layer in head:
            bound = layer.in_features**-0.5
            with torch.no_grad():
                layer.weight.uniform_(-bound, bound, generator=generator)
                layer.bias.uniform_(-bound, bound, generator=generator)
    expected, best_epoch, last_epoch = released_loop(X, Y, network, order_seed=5)
    results = train(X, Y, tasks, Schedule(activation="identity", max_iter=EPOCHS, patience=PATIENCE))
    assert 1 < best_epoch < last_epoch < EPOCHS
    assert [result.best_iteration for result in results] == [best_epoch] * 2
    assert [len(result.validation_curve) for result in results] == [last_epoch] * 2
    for i, (task, result) in enumerate(zip(tasks, results, strict=True)):
        hidden = X.double().numpy() if task.columns is None else X.double().numpy()[:, task.columns]
        for weight, bias in result.layers:
            hidden = hidden @ weight + bias
        np.testing.assert_allclose(hidden[:, 0], expected[:, i], rtol=0, atol=1e-4)
