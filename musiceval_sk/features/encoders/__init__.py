"""Encoders: the protocol, the registry, and one module per model family."""

from musiceval_sk.features.encoders.base import Encoder
from musiceval_sk.features.encoders.registry import get_encoder, list_encoders

__all__ = ["Encoder", "get_encoder", "list_encoders"]
