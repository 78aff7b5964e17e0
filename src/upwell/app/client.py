"""Composes the command line's client."""

from upwell.app.local_access import find_access
from upwell.store.interface import ApiClient
from upwell.store.kubernetes import KubernetesStore


def create_client(server: str, token: str = "", authority: str = "") -> ApiClient:
    """Return the client of the API at `server`, an http or https URL.

    `authority` is the path of a PEM file to trust. Without a token, the one of a server that this
    user runs on this machine is used.
    """
    if not token and (local := find_access(server)) is not None:
        token = local.token
        authority = authority or str(local.authority or "")
    return KubernetesStore(server, token=token or None, ca=authority or None)
