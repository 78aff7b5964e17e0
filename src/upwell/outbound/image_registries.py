"""The policy for programs that reach registries by themselves: Podman and Buildah."""

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit
from urllib.request import getproxies

from upwell.oci import Reference
from upwell.outbound.dialing import Dialer
from upwell.outbound.policy import ForbiddenAddressError

_LOOKUP_SECONDS = 30.0
_HTTP, _HTTPS = 80, 443
_OWN_FAULTS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, socket.EAI_MEMORY}


_ANSWER_SECONDS = 10.0
_REQUEST = b"GET /v2/ HTTP/1.0\r\n\r\n"
"""Request that a server of TLS refuses at once, which is an answer too."""


class RegistryLookupError(OSError):
    """The name of a registry leads to no address now."""


@dataclass(frozen=True, slots=True)
class ImageRegistries:
    """Judges the registry of an image before a program is sent there."""

    dialer: Dialer
    authorities: Callable[[Reference], Sequence[str]] = lambda image: (image.registry,)
    """The `host[:port]` of what is asked for an image, its registry last; none: it is blocked."""

    async def judge(self, image: Reference, *, insecure: bool = False) -> bool:
        """Return True if an administrator trusts the registry itself; it may be asked if not, too.

        An insecure one is asked over plain HTTP as well. Raises ForbiddenAddressError, a
        RegistryLookupError for a host that cannot be looked up, or another OSError. The registry of
        an image with mirrors may be away for good.
        """
        *mirrors, authority = self.authorities(image) or [""]
        if not authority:
            return True  # the program has the same settings, and says so
        places = _places(authority, insecure=insecure)
        for host, port in places:
            try:
                await self._look_up(host, port)
            except RegistryLookupError:
                if not mirrors:
                    raise
        return all(self._trusts(host, port) for host, port in places)

    async def anything_answers(self, image: Reference, *, insecure: bool = False) -> bool:
        """Return True if the registry of an image, or one of its mirrors, can be spoken to.

        Who says that it cannot be asked is believed only if nothing does. What is to be looked up
        is looked up apart: nobody else's names come before it.
        """
        dialer = Dialer(self.dialer.policy)
        try:
            for authority in self.authorities(image):
                for host, port in _places(authority, insecure=insecure):
                    if await _answers(dialer, host, port):
                        return True
        finally:
            dialer.close()
        return False

    async def _look_up(self, host: str, port: int) -> None:
        try:
            async with asyncio.timeout(_LOOKUP_SECONDS):
                await self.dialer.look_up(host, port)
        except TimeoutError as error:
            took = f"{host} was not looked up within {_LOOKUP_SECONDS:g} s"
            raise RegistryLookupError(took) from error
        except UnicodeError as error:
            raise OSError(f"{host} is not a name that can be looked up") from error
        except socket.gaierror as error:
            # Behind a proxy that the administrator has set, it alone may know names.
            if not is_behind_proxy():
                why = f"{host} cannot be looked up: {error.strerror}"
                raise RegistryLookupError(why) from error

    def _trusts(self, host: str, port: int) -> bool:
        policy = self.dialer.policy
        if policy.allows_name(host, port):
            return True
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(one.allows_address(address, port) for one in policy.allowed)


def _places(authority: str, *, insecure: bool) -> Sequence[tuple[str, int]]:
    """Return the hosts and ports that a `host[:port]` means; raises OSError when it is none."""
    try:
        parts = urlsplit(f"//{authority}")
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise OSError(f"{authority} is not a host and port") from error
    ports = [port] if port is not None else [_HTTPS, _HTTP] if insecure else [_HTTPS]
    return [(host, number) for number in ports]


async def _answers(dialer: Dialer, host: str, port: int) -> bool:
    """Return False if nothing accepts a connection, or says a word there.

    Where that cannot be found out (a policy forbids it, this process can open no more) it may.
    """
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await dialer.open_connection(host, port)
    except (ForbiddenAddressError, UnicodeError):
        return True
    except OSError as error:  # TimeoutError and socket.gaierror are two
        return error.errno in _OWN_FAULTS
    try:
        writer.write(_REQUEST)
        async with asyncio.timeout(_ANSWER_SECONDS):
            await reader.read(1)
    except TimeoutError:
        return False
    except OSError:
        return True
    else:
        return True
    finally:
        writer.close()


def is_behind_proxy() -> bool:
    """Return True if the administrator has set a proxy for this server."""
    # "no" is NO_PROXY: for what no proxy is taken, which by itself sets none.
    return bool(getproxies().keys() - {"no"})
