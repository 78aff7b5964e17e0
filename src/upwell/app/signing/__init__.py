"""Composes what signs images: the key, the registries that take signatures, the reconcilers."""
