"""Encoders by name: ours and those that third parties register as entry points."""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from musiceval_sk._text import listed
from musiceval_sk.features.encoders.base import Encoder

GROUP = "musiceval_sk.encoders"
_BUILT_IN = {
    "spectral": "musiceval_sk.features.encoders.spectral:SpectralEncoder",
    "laion-clap": "musiceval_sk.features.encoders.clap.laion_clap:LaionClapEncoder",
    "hf-clap": "musiceval_sk.features.encoders.clap.hf_clap:HfClapEncoder",
}


def list_encoders() -> list[str]:
    """Names that `get_encoder` knows, without importing any of them.

    Returns
    -------
    list of str
        Sorted; ours and those registered under the entry-point group ``musiceval_sk.encoders``.

    Examples
    --------
    >>> from musiceval_sk import list_encoders
    >>> {"laion-clap", "spectral"} <= set(list_encoders())
    True
    """
    return sorted(_entry_points())


def get_encoder(encoder: str | Encoder, **options: Any) -> Encoder:
    """Make the encoder of this name; only its own module is imported, and no model is built.

    Parameters
    ----------
    encoder : str or Encoder
        A name from `list_encoders`, or an encoder, which is returned as it is.
    **options
        Passed to the encoder's constructor, for example ``checkpoint="path/to/clap.pt"``.

    Returns
    -------
    Encoder
        Ready to describe itself; its model is built on first use.

    Raises
    ------
    ValueError
        If no encoder has this name, or options come with an encoder that is already made.

    Examples
    --------
    >>> from musiceval_sk import get_encoder
    >>> get_encoder("spectral").name
    'spectral'
    """
    if isinstance(encoder, Encoder):
        if options:
            raise ValueError(
                f"options {listed(options)} came with an encoder that is already made: {encoder!r}"
            )
        return encoder
    known = _entry_points()
    if encoder not in known:
        raise ValueError(f"unknown encoder {encoder!r}; known are: {listed(sorted(known), most=20)}")
    try:
        return known[encoder].load()(**options)
    except TypeError as error:
        raise ValueError(
            f"encoder {encoder!r} does not take these options ({listed(options)}): {error}"
        ) from error


def _entry_points() -> dict[str, EntryPoint]:
    ours = {name: EntryPoint(name, value, GROUP) for name, value in _BUILT_IN.items()}
    return {point.name: point for point in entry_points(group=GROUP)} | ours
