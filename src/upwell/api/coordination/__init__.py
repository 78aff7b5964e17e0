"""Kubernetes coordination.k8s.io: who leads."""
