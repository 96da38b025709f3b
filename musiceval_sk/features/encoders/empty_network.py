"""Networks built without drawing, or even holding, weights that a checkpoint replaces."""

from typing import Any

# Of torch.nn.init, and the steps of which they are made: on the meta device they are slow, and one imports 800 modules.
_DRAWS = {"normal_", "uniform_", "trunc_normal_", "kaiming_uniform_", "erfinv_", "clamp_"}


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
            if getattr(function, "__name__", "") in _DRAWS:
                weight = args[0] if args else kwargs["tensor"]
                if weight.is_meta:
                    return weight
            return function(*args, **kwargs)

    return WithoutMemory()
