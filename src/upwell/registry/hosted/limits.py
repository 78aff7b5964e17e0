"""Bounds of what a registry that this process serves stores."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StorageLimits:
    """Bounds of what is stored: bytes of one blob; seconds until leftovers may be removed."""

    blob_bytes: int = 64 * 1024**3
    upload_age: float = 3600
    """Since the last byte: clients begin anew what they could not finish."""
    unused_age: float = 24 * 3600
    sparse_indexes: bool = False
    """Takes an index without the manifests that it names (image-spec: they may be elsewhere)."""


DEFAULT_STORAGE_LIMITS = StorageLimits()
