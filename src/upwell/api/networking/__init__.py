"""Kinds of group networking.k8s.io."""
