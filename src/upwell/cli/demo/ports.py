"""Addresses of a demo: the default ports, or free ones if those are in use."""

import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields
from typing import Self

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports on loopback; the defaults are those of the examples."""

    api: int = 7080
    router: int = 7088
    vendor: int = 5005
    git: int = 9418

    @classmethod
    def choose(cls) -> Self:
        """Return the default ports, each replaced by a free one if it is in use."""
        usual = cls()
        with ExitStack() as held:  # until all are chosen, so that no two are the same
            return cls(
                **{field.name: _take(held, getattr(usual, field.name)) for field in fields(cls)}
            )

    def moved(self) -> Mapping[str, str]:
        """Return the examples' addresses that differ here, with their replacements."""
        usual = Ports()
        pairs = ((usual.vendor, self.vendor), (usual.git, self.git))
        return {f"{HOST}:{old}": f"{HOST}:{new}" for old, new in pairs if old != new}

    @property
    def server(self) -> str:
        """URL of the API."""
        return f"http://{HOST}:{self.api}"

    @property
    def vendor_host(self) -> str:
        """Host and port of the vendor's registry, for references."""
        return f"{HOST}:{self.vendor}"


def _take(held: ExitStack, port: int) -> int:
    probe = held.enter_context(socket.socket())
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((HOST, port))
    except OSError:
        probe.bind((HOST, 0))
    chosen: int = probe.getsockname()[1]
    return chosen
