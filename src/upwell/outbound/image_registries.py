"""The policy for programs that reach registries by themselves: Podman and Buildah."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit
from urllib.request import getproxies

from upwell.oci import Reference
from upwell.outbound.dialing import Dialer

_LOOKUP_SECONDS = 30.0
_HTTP, _HTTPS = 80, 443


@dataclass(frozen=True, slots=True)
class ImageRegistries:
    """Judges the registry of an image before a program is sent there."""

    dialer: Dialer
    authority: Callable[[Reference], str] = lambda image: image.registry
    """The `host[:port]` at which an image's registry is reached; empty: nowhere, it is blocked."""

    async def judge(self, image: Reference, *, insecure: bool = False) -> bool:
        """Return True if an administrator trusts the registry itself; it may be asked if not, too.

        An insecure one is asked over plain HTTP as well. Raises ForbiddenAddressError, or another
        OSError for a host that cannot be looked up.
        """
        authority = self.authority(image)
        if not authority:
            return True  # the program has the same settings, and says so
        try:
            parts = urlsplit(f"//{authority}")
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise OSError(f"{authority} is not a host and port") from error
        ports = [port] if port is not None else [_HTTPS, _HTTP] if insecure else [_HTTPS]
        for number in ports:
            await self._look_up(host, number)
        return all(self._trusts(host, number) for number in ports)

    async def _look_up(self, host: str, port: int) -> None:
        try:
            async with asyncio.timeout(_LOOKUP_SECONDS):
                await self.dialer.look_up(host, port)
        except TimeoutError as error:
            raise OSError(f"{host} was not looked up within {_LOOKUP_SECONDS:g} s") from error
        except UnicodeError as error:
            raise OSError(f"{host} is not a name that can be looked up") from error
        except socket.gaierror as error:
            # Behind a proxy that the administrator has set, it alone may know names.
            if not is_behind_proxy():
                raise OSError(f"{host} cannot be looked up: {error.strerror}") from error

    def _trusts(self, host: str, port: int) -> bool:
        policy = self.dialer.policy
        if policy.allows_name(host, port):
            return True
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(one.allows_address(address, port) for one in policy.allowed)


def is_behind_proxy() -> bool:
    """Return True if the administrator has set a proxy for this server."""
    # "no" is NO_PROXY: for what no proxy is taken, which by itself sets none.
    return bool(getproxies().keys() - {"no"})
