"""The tables [network], [router] and [outbound] of the configuration file."""

from ipaddress import ip_network
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, Field

from upwell.outbound.destinations import AllowedDestination
from upwell.policy.firewall.table import NetworkIsolation
from upwell.settings.base import SettingsTable
from upwell.settings.values import AllowedValues, Flag


def _network(value: Any) -> str:
    return str(ip_network(value, strict=False))


Networks = Annotated[
    tuple[
        Annotated[str, BeforeValidator(_network), AllowedValues("an address or a network")],
        ...,
    ],
    Field(strict=False),
    AllowedValues("a list of addresses and networks"),
]


class NetworkSettings(SettingsTable):
    """The network of what runs: what instances may connect to. NetworkPolicies say more."""

    isolation: Annotated[
        NetworkIsolation,
        Field(strict=False),
        AllowedValues(f"one of {', '.join(NetworkIsolation)}"),
    ] = NetworkIsolation.SERVICES
    """Access from other namespaces to what no NetworkPolicy selects: by Services alone; closed:
    none; open: by its own address too, as in Kubernetes. With off, nothing at all is filtered."""
    machine_ports: Annotated[
        tuple[Annotated[int, Field(ge=1, le=65535), AllowedValues("a port")], ...],
        Field(strict=False),
        AllowedValues("a list of ports"),
    ] = ()
    """TCP ports of this machine that instances may connect to, besides those of the router."""
    metadata: Flag = False
    """Lets instances connect to link-local addresses, where clouds serve credentials."""


class RouterSettings(SettingsTable):
    """The router of Routes."""

    trusted_proxies: Networks = ()
    """Proxies in front of the router. What they say in X-Forwarded-* and Forwarded of who asks is
    passed on; of everyone else these headers are replaced by what the router knows."""


def _destination(value: Any) -> str:
    AllowedDestination.parse(value if isinstance(value, str) else "")
    return cast("str", value)


class OutboundSettings(SettingsTable):
    """Requests to places that objects name: images, sources, webhooks, checks."""

    allow: Annotated[
        tuple[
            Annotated[
                str,
                BeforeValidator(_destination),
                AllowedValues("a network, an address or a name, each with :PORT or without"),
            ],
            ...,
        ],
        Field(strict=False),
        AllowedValues("a list of networks, addresses and names, each with :PORT or without"),
    ] = ()
    """Places of this machine's own, on loopback or link-local that may be reached all the same;
    `--allow-outbound` adds to them."""
