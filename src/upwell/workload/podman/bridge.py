"""The bridge network of one Upwell: unlike that of any other on the same machine."""

import asyncio
import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

from upwell.machine.process import run_command
from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.podman.api.client import PodmanApi
from upwell.workload.podman.api.connection import PodmanNotFoundError
from upwell.workload.podman.containers.body import LABEL_UPWELL

_log = logging.getLogger(__name__)

_ATTEMPTS = 16
_MAX_INTERFACE_NAME = 15
"""IFNAMSIZ less the final NUL (linux/if.h)."""


def candidates(name: str, upwell: str) -> Iterator[dict[str, Any]]:
    """Yield bodies of Podman's "create network" request, to be tried until one is accepted.

    Podman chooses a bridge and a subnet that are free *now*, and knows only its own storage: two
    Upwells would choose the same while neither has a container. A hash of the name spreads
    them over the 8,192 networks of 1,022 addresses in the upper half of 10.0.0.0/8.
    """
    for attempt in range(_ATTEMPTS):
        seed = hashlib.sha256(f"{upwell} {attempt}".encode())
        number = int.from_bytes(seed.digest()[:2], "big") >> 3
        first, second = 128 + (number >> 6), (number & 63) << 2
        network = f"10.{first}.{second}"
        yield {
            "name": name,
            "driver": "bridge",
            "network_interface": f"upwell{seed.hexdigest()}"[:_MAX_INTERFACE_NAME],
            "subnets": [
                {
                    "subnet": f"{network}.0/22",
                    "gateway": f"{network}.1",
                    # The upper half is the Services'.
                    "lease_range": {
                        "start_ip": f"{network}.2",
                        "end_ip": f"10.{first}.{second + 1}.254",
                    },
                }
            ],
            # Services' names are in /etc/hosts, which works while nothing of ours runs; a DNS
            # server for each bridge would be one more process that can fail.
            "dns_enabled": False,
            "labels": {LABEL_UPWELL: upwell},
        }


@dataclass(frozen=True, slots=True)
class BridgeNetwork:
    """Network of all instances: the lower half is theirs, the upper half the Services'."""

    interface: str
    subnet: IPv4Network

    @property
    def instances(self) -> IPv4Network:
        """Addresses of instances."""
        return next(iter(self.subnet.subnets(prefixlen_diff=1)))

    @property
    def services(self) -> IPv4Network:
        """Addresses of Services."""
        return list(self.subnet.subnets(prefixlen_diff=1))[1]


class InstancesNetwork:
    """The network of all instances in Podman: made when it is needed, and found by its name."""

    def __init__(self, api: PodmanApi, name: str, upwell: str) -> None:
        self._api = api
        self._name = name
        self._upwell = upwell
        self._making = asyncio.Lock()

    async def ensure(self) -> None:
        """Make it unless it is there; raises RuntimeUnavailableError."""
        async with self._making:
            if await self._api.network_exists(self._name):
                return None
            refusal = RuntimeUnavailableError("no subnet is free")
            for body in candidates(self._name, self._upwell):
                try:
                    return await self._api.create_network(body)
                except RuntimeUnavailableError as error:
                    refusal = error
            raise refusal

    async def find(self) -> BridgeNetwork:
        """Return it as Podman has it; raises RuntimeUnavailableError."""
        try:
            interface, subnet = await self._api.network(self._name)
        except PodmanNotFoundError as error:
            raise RuntimeUnavailableError(f"podman: {error}") from error
        return BridgeNetwork(interface, IPv4Network(subnet))

    async def remove(self) -> None:
        """Remove it, and what made its Services local; raises RuntimeUnavailableError."""
        await leave((await self.find()).services)
        await self._api.remove_network(self._name)


async def make_local(network: IPv4Network) -> bool:
    """Let this machine answer for every address of `network`; False when it does not let us.

    A route of type local (AnyIP) does it for all addresses at once, for programs of the machine
    and for containers: the kernel answers their ARP. It is gone after a restart of the machine.
    """
    return await _change_route("replace", network)


async def leave(network: IPv4Network) -> None:
    """Let this machine answer for `network` no longer."""
    await _change_route("del", network)


async def _change_route(verb: str, network: IPv4Network) -> bool:
    route = ("local", str(network), "dev", "lo", "table", "local")
    result = await run_command("ip", "route", verb, *route)
    if result.code != 0:
        _log.warning("route not changed", extra={"network": network, "why": result.tail.strip()})
    return result.code == 0
