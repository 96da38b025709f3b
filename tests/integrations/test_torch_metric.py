"""`MOSMetric` gives to the bit what our functions give, however the clips come: in batches, states merged, or processes."""

import pickle
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torchmetrics = pytest.importorskip("torchmetrics")

from musiceval_sk.integrations import MOSMetric  # noqa: E402
from musiceval_sk.statistics.metrics import METRICS  # noqa: E402

N = 60


@pytest.fixture
def clips(rng):
    target = torch.from_numpy(rng.integers(2, 11, N) / 2)
    preds = (target + torch.from_numpy(rng.normal(size=N))).float()
    return (
        preds,
        target,
        np.array(["S-é", "", "S10", "10", "S 2", "S3"], dtype=object)[rng.permutation(N) % 6],
    )


@pytest.fixture
def named(clips):
    preds, target, systems = clips
    return preds, target, [name or "S0" for name in systems]


def expected(name, preds, target, systems):
    metric = METRICS[name]
    return metric.function(target.numpy(), preds.double().numpy(), *([systems] if metric.by_system else []))


def batches(named, sizes=(7, 1, 52)):
    starts = np.cumsum([0, *sizes])
    return [tuple(part[a:b] for part in named) for a, b in zip(starts, starts[1:], strict=False)]


@pytest.mark.parametrize("name", METRICS)
def test_batches_give_what_the_function_gives_of_all(name, named):
    metric = MOSMetric(name)
    for batch in batches(named):
        metric.update(*batch)
    assert metric.compute().item() == expected(name, *named)
    assert metric.higher_is_better is (not name.endswith("MSE"))
    assert pickle.loads(pickle.dumps(metric)).compute().item() == expected(name, *named)
    metric.reset()
    few = tuple(part[:30] for part in named)
    metric.update(*few)
    assert metric.compute().item() == expected(name, *few)


def test_a_collection_keeps_the_clips_once(named):
    metrics = torchmetrics.MetricCollection({name: MOSMetric(name) for name in METRICS}, prefix="val/")
    for preds, target, system in batches(named):
        metrics.update(preds=preds, target=target, system=system)
    found = metrics.compute()
    assert {name: value.item() for name, value in found.items()} == {
        f"val/{name}": expected(name, *named) for name in METRICS
    }
    assert len(metrics.compute_groups) == 1


@pytest.mark.parametrize("name", ["U_LCC", "S_LCC"])
def test_states_are_merged(name, named):
    first, second = MOSMetric(name), MOSMetric(name)
    for metric, batch in zip((first, second, second), batches(named), strict=True):
        metric.update(*batch)
    first.merge_state(second)
    in_order = [sum((list(part[7:]), list(part[:7])), []) for part in named]  # torchmetrics puts its own last
    preds, target = (torch.stack(part) for part in in_order[:2])
    assert first.compute().item() == expected(name, preds, target, in_order[2])


def test_numbers_as_systems_and_half_precision(named):
    preds, target, _ = named
    systems = torch.arange(N) % 7
    metric = MOSMetric("S_KTAU")
    metric.update(preds.bfloat16().requires_grad_(), target, systems)
    text = [str(number) for number in systems.tolist()]
    assert metric.compute().item() == expected("S_KTAU", preds.bfloat16(), target, text)


def test_a_metric_of_clips_needs_no_systems(named):
    metric = MOSMetric("U_SRCC")
    metric.update(*named[:2])
    assert metric.compute().item() == expected("U_SRCC", *named)


def test_errors_teach(clips):
    preds, target, systems = clips
    with pytest.raises(ValueError, match="unknown metric 'SRCC'; choose from U_MSE"):
        MOSMetric("SRCC")
    metric = MOSMetric("S_MSE")
    with pytest.raises(ValueError, match="S_MSE compares systems"):
        metric.update(preds, target)
    with pytest.raises(ValueError, match="no system is known for the clips in rows"):
        metric.update(preds, target, systems)
    with pytest.raises(ValueError, match=r"got \(60, 1\) and \(60,\)"):
        metric.update(preds[:, None], target, systems)
    with pytest.raises(ValueError, match="59"):
        metric.update(preds, target, systems[:59])


def in_a_process(rank, store, named, found):
    """Compute all eight of a share of the clips in one of two processes; the shares are of different sizes."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    metrics = torchmetrics.MetricCollection({name: MOSMetric(name) for name in METRICS})
    for batch in batches(named)[:2] if rank == 0 else batches(named)[2:]:
        metrics.update(*batch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found.put({name: value.item() for name, value in metrics.compute().items()})
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_processes_find_the_same_together(named, tmp_path):
    context = torch.multiprocessing.get_context("spawn")
    found = context.SimpleQueue()
    workers = [
        context.Process(target=in_a_process, args=(rank, tmp_path / "store", named, found)) for rank in (0, 1)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    for _ in workers:
        assert found.get() == {name: expected(name, *named) for name in METRICS}
