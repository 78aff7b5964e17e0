"""The network of a build: a namespace of its own, whose only way leads past this machine.

The builder itself runs in it, with the build's commands, so that whatever fetches on behalf of a
Dockerfile is held by the same packet filter. The filter lies inside, where no reload of the
machine's firewall reaches it; the machine adds the translation of addresses, and drops what is
meant for itself. There is no IPv6 in it.
"""

import asyncio
import ipaddress
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import randbelow, token_hex

from upwell.builder.interface import BuildError
from upwell.machine.process import run_command
from upwell.outbound.resolvers import machine_resolvers

_NAMESPACES = Path("/run/netns")
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_RANGE = ipaddress.IPv4Network("198.18.0.0/15")
"""For tests between networks (RFC 2544), and so for nobody's own: a build has four addresses."""

_REFUSED = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
    *("172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3"),
)
_DNS_PORT = 53
_OWN_SYS = (
    'mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$1"'
    ' && mount --rbind /sys/fs/cgroup "$1/fs/cgroup" && mount --rbind "$1" /sys'
    ' && shift && exec "$@"'
)
"""The machine's own /sys shows its interfaces; control groups are needed of it."""


@dataclass(frozen=True, slots=True)
class BuildNetworkAccess:
    """Networks that builds may reach besides the public ones."""

    allowed: tuple[str, ...] = ()
    """In CIDR notation, without overlaps; those of IPv6 have no effect."""


@dataclass(frozen=True, slots=True)
class BuildNetwork:
    """A network namespace that lives as long as its build."""

    name: str
    resolvers: tuple[str, ...]
    """Name servers that are reached from inside."""

    def enter(self, folder: Path, argv: Sequence[str]) -> tuple[str, ...]:
        """Return the command that runs `argv` inside; it must have a mount namespace of its own."""
        own_sys = folder / "sys"
        own_sys.mkdir(exist_ok=True)
        shell = ("sh", "-c", _OWN_SYS, "sh", str(own_sys))
        return ("nsenter", f"--net={_NAMESPACES / self.name}", "--", *shell, *argv)

    async def refused(self) -> bool:
        """Say whether something of the build was kept from a network that is not allowed."""
        shown = await _run("ip", "netns", "exec", self.name, "nft", "list", "chain", *_CHAIN)
        return any("counter packets" in line and " packets 0 " not in line for line in shown)


_CHAIN = ("inet", "build", "output")


@asynccontextmanager
async def build_network(owner: str, policy: BuildNetworkAccess) -> AsyncIterator[BuildNetwork]:
    """Make a network for the time of the block; raises BuildError where it cannot be had."""
    name = f"{_prefix(owner)}{token_hex(4)}"
    network = BuildNetwork(name, await asyncio.to_thread(machine_resolvers))
    try:
        await _set_up(network, policy)
        yield network
    finally:
        await _remove(name)


async def remove_networks(owner: str) -> None:
    """Remove what killed builds of `owner` left; idempotent."""
    for name in await asyncio.to_thread(_namespaces, owner):
        await _remove(name)


def is_possible() -> bool:
    """Return True if this process has the rights that a network takes."""
    return os.geteuid() == 0


async def _set_up(network: BuildNetwork, policy: BuildNetworkAccess) -> None:
    name, outside = network.name, _interface(network.name)
    first = int(_RANGE.network_address) + 4 * randbelow(_RANGE.num_addresses // 4)
    gateway, inside = ipaddress.IPv4Address(first + 1), ipaddress.IPv4Address(first + 2)
    await _run("ip", "netns", "add", name)
    await _run("ip", "link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", name)
    # Closed before it is opened: no packet passes without the filter.
    own = [line.split()[3].partition("/")[0] for line in await _run("ip", "-4", "-o", "addr")]
    rules = "\n".join(_inner_rules(network, policy, own))
    await _run("ip", "netns", "exec", name, "nft", rules)
    await _run("nft", "\n".join(_outer_rules(name, outside, str(inside), network, own)))
    for command in (
        f"ip addr add {gateway}/30 dev {outside}",
        f"ip link set {outside} up",
        f"ip -n {name} addr add {inside}/30 dev eth0",
        f"ip -n {name} link set lo up",
        f"ip -n {name} link set eth0 up",
        f"ip -n {name} route add default via {gateway}",
    ):
        await _run(*command.split())
    await asyncio.to_thread(_forward)


def _inner_rules(
    network: BuildNetwork, policy: BuildNetworkAccess, own: Iterable[str]
) -> Iterator[str]:
    """Yield the filter inside: the resolver and what is allowed, then nothing that is near."""
    yield "table inet build { chain output { type filter hook output priority 0; policy accept;"
    yield 'oifname "lo" accept;'
    yield "ct state established,related accept;"
    if network.resolvers:
        where = f"ip daddr {{ {', '.join(network.resolvers)} }}"
        yield f"{where} meta l4proto {{ tcp, udp }} th dport {_DNS_PORT} accept;"
    # This machine is never the site's: what it serves stays closed whatever is allowed.
    yield f"ip daddr {{ {', '.join(sorted(set(own)))} }} counter reject;"
    if allowed := [network for network in policy.allowed if ":" not in network]:
        yield f"ip daddr {{ {', '.join(allowed)} }} accept;"
    yield f"ip daddr {{ {', '.join(_REFUSED)} }} counter reject;"
    yield "meta nfproto ipv6 drop;\n}\n}"


def _outer_rules(
    name: str, outside: str, inside: str, network: BuildNetwork, own: Sequence[str]
) -> Iterator[str]:
    """Yield what the machine adds: nothing for itself, and its address for what goes on."""
    yield f"table inet {name} {{ chain input {{ type filter hook input priority -5; policy accept;"
    local = [one for one in network.resolvers if one in own]
    if local:
        where = f"ip daddr {{ {', '.join(local)} }}"
        yield f'iifname "{outside}" {where} meta l4proto {{ tcp, udp }} th dport 53 accept;'
    yield f'iifname "{outside}" drop;\n}}'
    yield "chain postrouting { type nat hook postrouting priority srcnat; policy accept;"
    yield f'ip saddr {inside} oifname != "{outside}" masquerade;\n}}\n}}'


async def _remove(name: str) -> None:
    """Remove a namespace with its interface and rules, as far as they are there."""
    for command in (
        f"ip link del {_interface(name)}",
        f"ip netns del {name}",
        f"nft delete table inet {name}",
    ):
        await run_command(*command.split())


async def _run(*argv: str) -> list[str]:
    """Run a command and return its lines; raises BuildError."""
    outcome = await run_command(*argv)
    if outcome.code != 0:
        raise BuildError(
            "GenericBuildFailed",
            f"a network of its own cannot be given to the build: {argv[0]}: {outcome.last_line}."
            " It takes the programs ip and nft (Debian: iproute2, nftables) and the right to use"
            " them; `network` below `[builds]` in the configuration file names another",
        )
    return outcome.tail.splitlines()


def _namespaces(owner: str) -> list[str]:
    return [path.name for path in _NAMESPACES.glob(f"{_prefix(owner)}*")]


def _forward() -> None:
    """Have the kernel pass packets on, as every network of containers does."""
    if _FORWARDING.read_text().strip() != "1":
        _FORWARDING.write_text("1")


def _prefix(owner: str) -> str:
    return f"upwell-build-{owner[:8]}-"


def _interface(name: str) -> str:
    """Return the interface outside: of at most 15 letters."""
    return f"upb{name[-8:]}"
