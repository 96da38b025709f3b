"""The embedding cache: vectors under the digest of what they are of, in HDF5 files that never change."""

from musiceval_sk.features.store.store import EmbeddingStore, default_store_path

__all__ = ["EmbeddingStore", "default_store_path"]
