"""Names that the server answers to, against pages that have their own name point here.

A page whose author changes its name's address to this machine (DNS rebinding) is of one site with
the API, to its browser: the name that the browser sends is all that tells them apart.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from upwell.server.http.errors import ApiError

_LOCAL = "localhost"


@dataclass(frozen=True, slots=True)
class HostNames:
    """Names beside addresses and localhost; None: any name."""

    names: frozenset[str] | None = None

    @classmethod
    def of(cls, names: Iterable[str]) -> "HostNames":
        """Return these and no others; `*.example.org` stands for all below."""
        return cls(frozenset(name.lower().rstrip(".") for name in names))

    def require(self, headers: Sequence[tuple[bytes, bytes]], version: str) -> None:
        """Raise ApiError unless a request names this server, once (RFC 9112, 3.2)."""
        found = [value for name, value in headers if name == b"host"]
        if len(found) > 1:
            raise ApiError(400, "the request has several Host headers: send one")
        if not found:
            if version == "1.0":
                return
            raise ApiError(400, "the request has no Host header: HTTP/1.1 wants one")
        host = found[0].decode("latin-1").strip().lower()
        if self.names is not None and not self._is_ours(_without_port(host)):
            shown = host[:100] or "(empty)"
            raise ApiError(
                421,
                f"this server is not called {shown!r}: ask for it by its address, or add the name"
                " to `names` of [server] in its configuration file",
                reason="MisdirectedRequest",
            )

    def _is_ours(self, host: str) -> bool:
        host = host.rstrip(".")
        if host == _LOCAL or host.endswith(f".{_LOCAL}") or _is_address(host):
            return True
        names = self.names or frozenset()
        above = host.partition(".")[2]
        return host in names or (bool(above) and f"*.{above}" in names)


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host.removesuffix(":")


def _is_address(host: str) -> bool:
    try:
        ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
