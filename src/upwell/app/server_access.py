"""Access of commands to the server that they name."""

from upwell.app.local_access import find_access
from upwell.store.kubernetes_connections import ServerAccess


def server_access(server: str, token: str = "", authority: str = "") -> ServerAccess:
    """Return the access to the API at `server`, an http or https URL.

    `authority` is the path of a PEM file to trust. What is not given is that of the server which
    this user runs on this machine at that address, if there is one: without both it is asked on its
    local socket, so that none crosses the network.
    """
    if (local := find_access(server)) is not None:
        if local.socket is not None and not token and not authority:
            # No TLS there: the kernel vouches for both ends.
            return ServerAccess(server.replace("https://", "http://", 1), socket=local.socket)
        token = token or local.token
        authority = authority or str(local.authority or "")
    return ServerAccess(server, token or None, authority or None)
