"""The eight metrics for loops of torch, which hand over batches and may run in several processes."""

from typing import Any

import torch

from musiceval_sk._optional import import_optional
from musiceval_sk._text import require_known
from musiceval_sk.statistics.align import systems_in_order
from musiceval_sk.statistics.metrics import METRICS

torchmetrics: Any = import_optional(
    "torchmetrics", extra="torchmetrics", purpose="A metric for loops of torch"
)
_END = b"\xff"  # of a name: no byte of UTF-8


class MOSMetric(torchmetrics.Metric):
    """One of the field's eight metrics as a `torchmetrics.Metric`.

    All clips are kept until `compute`, which gives what the function in `METRICS` gives for them. All eight share one state
    in a `torchmetrics.MetricCollection`.

    Parameters
    ----------
    name : {"U_MSE", "U_LCC", "U_SRCC", "U_KTAU", "S_MSE", "S_LCC", "S_SRCC", "S_KTAU"}
        The metric: mean squared error, or Pearson's, Spearman's or Kendall's correlation, over clips (U) or systems (S).
    **options
        Of `torchmetrics.Metric`, such as ``compute_on_cpu``.

    Raises
    ------
    ValueError
        If there is no such metric.

    See Also
    --------
    musiceval_sk.evaluate : All eight of arrays and tables.

    Examples
    --------
    >>> import torch
    >>> from musiceval_sk.integrations import MOSMetric
    >>> metric = MOSMetric("S_MSE")
    >>> systems = ["a", "b", "b", "c", "d", "e"]
    >>> metric.update(torch.tensor([1.0, 3, 2, 3, 4, 5]), torch.tensor([1.0, 2, 2, 3, 4, 5]), systems)
    >>> round(metric.compute().item(), 3)
    0.05
    """

    is_differentiable = False
    full_state_update = False

    def __init__(self, name: str, **options: Any):
        super().__init__(**options)
        require_known("metric", name, METRICS)
        self.name = name
        for state in ("preds", "target", "system"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    @property
    def higher_is_better(self) -> bool:
        """Whether it is a correlation and no error."""
        return METRICS[self.name].greater_is_better

    def update(self, preds: torch.Tensor, target: torch.Tensor, system: Any = None) -> None:
        """Take a batch of clips.

        Parameters
        ----------
        preds, target : torch.Tensor [shape=(n,)]
            Predicted and true mean opinion scores.
        system : sequence of str or int, or torch.Tensor of int [shape=(n,)], default=None
            The system of each clip, by position; an S metric needs it, a U metric lets it pass.

        Raises
        ------
        ValueError
            If shapes differ, or an S metric is not told the system of every clip.
        """
        if preds.ndim != 1 or preds.shape != target.shape:
            raise ValueError(
                f"preds and target must be one-dimensional and of one length; got {tuple(preds.shape)} and "
                f"{tuple(target.shape)}. Of several targets give one column to a metric of its own"
            )
        if system is None and METRICS[self.name].by_system:
            raise ValueError(f"{self.name} compares systems: give update(preds, target, system)")
        self.preds.append(preds.detach().to(self.device))
        self.target.append(target.detach().to(self.device))
        self.system.append(_as_bytes(system, len(preds)).to(self.device))

    def compute(self) -> torch.Tensor:
        """Compute the metric of all clips so far, in all processes.

        Returns
        -------
        torch.Tensor
            Of one number in float64, on the CPU.

        Raises
        ------
        ValueError
            If a score is not finite.

        Warns
        -----
        FewSystemsWarning
            If an S metric rests on fewer than five systems.
        """
        together = torchmetrics.utilities.dim_zero_cat
        target, preds = (together(state).cpu().double().numpy() for state in (self.target, self.preds))
        metric, systems = METRICS[self.name], []
        if metric.by_system:
            ends = bytes(together(self.system).tolist()).split(_END)
            systems = [[name.decode("utf-8", "surrogatepass") for name in ends[:-1]]]
        return torch.tensor(metric.function(target, preds, *systems), dtype=torch.float64)


def _as_bytes(system: Any, n: int) -> torch.Tensor:
    """Names one after another: text is no tensor, and parts of this, of whatever length, can be concatenated."""
    if system is None:
        return torch.empty(0, dtype=torch.uint8)
    labels = systems_in_order(None, system.tolist() if isinstance(system, torch.Tensor) else system, n)
    return torch.tensor(
        list(b"".join(label.encode("utf-8", "surrogatepass") + _END for label in labels)), dtype=torch.uint8
    )
