"""Encoders: what one is, ours by name, and one module per model family."""

from musiceval_sk.features.encoders.base import Encoder, get_encoder, list_encoders

__all__ = ["Encoder", "get_encoder", "list_encoders"]
