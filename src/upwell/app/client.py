"""Composes the command line's client."""

from upwell.store.interface import ApiClient
from upwell.store.kubernetes import KubernetesStore


def create_client(server: str, token: str = "") -> ApiClient:
    """Return the client of the API at `server`, an http or https URL."""
    return KubernetesStore(server, token=token or None)
