"""Kinds that every cluster has itself."""

NATIVE_GROUPS = frozenset({"", "apps", "batch", "coordination.k8s.io", "networking.k8s.io"})
"""API groups of kinds that Kubernetes defines, completes and validates."""
