"""How many windows go through a network at once: as many as a GPU's free memory holds."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

USUAL = 16
_MOST = 128
_PROBE = 2
# Two batches may be under way at once, and fragments of memory are lost between them.
_SHARE = 0.4


def fitting(free_bytes: float, bytes_each: float) -> int:
    """Choose a batch size for a GPU.

    Parameters
    ----------
    free_bytes : float
        Memory that is free.
    bytes_each : float
        What a window takes at its peak.

    Returns
    -------
    int
        A power of two from 1 to 128, two batches of which take at most four fifths of the memory.
    """
    most = int(_SHARE * free_bytes / max(1.0, bytes_each))
    return min(_MOST, 1 << max(0, most.bit_length() - 1))


def measured(device: "torch.device", encode: Callable[[int], object]) -> int:
    """Choose a batch size by what a small batch takes.

    Parameters
    ----------
    device : torch.device
        A CUDA device.
    encode : callable
        Encodes that many windows on it, and returns when that is done.

    Returns
    -------
    int
        As `fitting` gives it.
    """
    import torch

    try:
        encode(_PROBE)  # loads libraries and their workspaces, which stay
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        encode(_PROBE)
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
        return 1
    bytes_each = (torch.cuda.max_memory_allocated(device) - before) / _PROBE
    torch.cuda.empty_cache()
    return fitting(torch.cuda.mem_get_info(device)[0], bytes_each)
