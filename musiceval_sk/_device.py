"""Names of devices turned into devices, for encoders and regressors alike."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def resolve_device(device: str) -> "torch.device":
    """Turn the name of a device into the device, if it is there.

    Parameters
    ----------
    device : str
        ``"auto"`` (CUDA where there is one, else the CPU) or torch's name of a device.

    Returns
    -------
    torch.device
        Where to put the network.

    Raises
    ------
    ValueError
        If torch knows no such name, or sees no such CUDA device.
    """
    import torch

    count = torch.cuda.device_count()
    if device == "auto":
        return torch.device("cuda" if count else "cpu")
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"device={device!r} is no name that torch knows; try 'auto', 'cpu' or 'cuda'"
        ) from error
    if wanted.type == "cuda" and (wanted.index or 0) >= count:
        raise ValueError(
            f"device={device!r} was asked for, but torch sees {count} CUDA devices; use device='auto' or 'cpu'"
        )
    return wanted
