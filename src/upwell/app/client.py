"""Composes the command line's client."""

from upwell.app.local_access import find_access
from upwell.store.interface import ApiClient
from upwell.store.kubernetes import KubernetesStore


def create_client(server: str, token: str = "", authority: str = "") -> ApiClient:
    """Return the client of the API at `server`, an http or https URL.

    `authority` is the path of a PEM file to trust. What is not given is that of the server which
    this user runs on this machine at that address, if there is one.
    """
    if (local := find_access(server)) is not None:
        token = token or local.token
        authority = authority or str(local.authority or "")
    return KubernetesStore(server, token=token or None, ca=authority or None)
