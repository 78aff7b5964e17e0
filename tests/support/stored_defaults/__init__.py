"""Defaults that the API servers of Kubernetes and OpenShift store, recorded from their own code."""
