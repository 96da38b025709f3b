"""Replay a fixed sequence of launches: on CUDA from a captured graph, elsewhere by running it again."""

import warnings
from collections.abc import Callable
from typing import Any

import torch


class Replayed:
    """A function without arguments whose tensors stay where they are, captured at its second call on CUDA.

    The first call runs as it stands and so warms the libraries up, as a capture demands. Where the capture fails, a
    warning says so and every call runs as it stands.

    Parameters
    ----------
    function : callable
        What to run. It must not wait for the device nor depend on anything but the contents of its tensors.
    device : torch.device
        Where its tensors are.
    capture : callable, default captures a CUDA graph
        Given the function, returns another that replays it.
    """

    def __init__(
        self,
        function: Callable[[], None],
        device: torch.device,
        capture: Callable[[Callable[[], None]], Callable[[], Any]] | None = None,
    ):
        self.function = function
        self.capture = capture or (_capture if device.type == "cuda" else None)
        self.calls = 0
        self.replay: Callable[[], Any] = function

    def __call__(self) -> None:
        """Run the function, captured at its second call."""
        self.calls += 1
        if self.calls == 2 and self.capture is not None:
            try:
                self.replay = self.capture(self.function)
            except RuntimeError as error:
                warnings.warn(
                    f"the training steps could not be captured as a CUDA graph and run one by one, which is slower "
                    f"but gives the same: {error}",
                    RuntimeWarning,
                    stacklevel=2,
                )
        self.replay()


def _capture(function: Callable[[], None]) -> Callable[[], Any]:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay
