"""Networks built without drawing, or even holding, weights that a checkpoint replaces."""

from typing import Any


def without_memory() -> Any:
    """Mode in which parameters are made on the meta device, while everything computed stays as it is.

    Returns
    -------
    torch.overrides.TorchFunctionMode
        To build a network in, before it is given its weights.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class WithoutMemory(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            kwargs = kwargs or {}
            if function is torch.empty:
                return function(*args, **{**kwargs, "device": "meta"})
            # torchlibrosa fills its filters in by hand, from values that every checkpoint holds.
            if function == torch.Tensor.data.__set__:  # type: ignore[attr-defined]
                return None
            # Part of drawing initial weights; on the meta device they are slow, and the first imports 800 modules.
            if function in (torch.Tensor.erfinv_, torch.Tensor.clamp_) and args[0].is_meta:
                return args[0]
            return function(*args, **kwargs)

    return WithoutMemory()
