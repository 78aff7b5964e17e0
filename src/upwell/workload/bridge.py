"""The bridge network of one Upwell: unlike that of any other on the same machine."""

import hashlib
from collections.abc import Iterator
from typing import Any

from upwell.workload.container_body import LABEL_UPWELL

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
            "subnets": [{"subnet": f"{network}.0/22", "gateway": f"{network}.1"}],
            # Names are the router's business, and a DNS server for each bridge is one more
            # process that can fail: containers resolve as the host does.
            "dns_enabled": False,
            "labels": {LABEL_UPWELL: upwell},
        }
