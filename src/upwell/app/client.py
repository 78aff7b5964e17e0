"""Composes the command line's client."""

from upwell.app.server_access import server_access
from upwell.store.interface import ApiClient
from upwell.store.kubernetes import KubernetesStore


def create_client(server: str, token: str = "", authority: str = "") -> ApiClient:
    """Return the client of the API at `server`, with the access that `server_access` finds."""
    return KubernetesStore(server_access(server, token, authority))
