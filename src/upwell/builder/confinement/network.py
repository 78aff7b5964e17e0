"""The network of a build: a namespace of its own, whose only way leads past this machine.

The builder itself runs in it, with the build's commands, so that whatever fetches on behalf of a
Dockerfile is held by the same packet filter. The filter lies inside, where no reload of the
machine's firewall reaches it; the machine adds the translation of addresses, drops what is meant
for itself, and passes nothing on that the filter inside refuses. There is no IPv6 in it.
"""

import asyncio
import ipaddress
import json
import os
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
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
_ATTEMPTS = 32
_OWN_SYS = (
    'mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$1"'
    ' && mount --rbind /sys/fs/cgroup "$1/fs/cgroup" && mount --rbind "$1" /sys'
    ' && shift && exec "$@"'
)
"""The machine's own /sys shows its interfaces; control groups are needed of it."""
_BATCH = r"""printf '%s\n' "$@" | ip -n "$0" -batch -"""
"""Runs commands of ip(8) in a namespace, in one process."""


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
    await _run("ip", "netns", "add", name)
    await _run("ip", "link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", name)
    gateway, inside, taken = await _take_addresses(outside)
    # Closed before it is opened: no packet passes without the filters.
    own = sorted({str(one.ip) for one in taken})
    rules = "\n".join(_inner_rules(network, policy, own))
    await _run("ip", "netns", "exec", name, "nft", rules)
    await _run("nft", "\n".join(_outer_rules(network, policy, own, outside, inside)))
    await _run("ip", "link", "set", outside, "up")
    lines = (
        f"addr add {inside}/30 dev eth0",
        "link set lo up",
        "link set eth0 up",
        f"route add default via {gateway}",
    )
    await _run("sh", "-c", _BATCH, name, *lines)
    await asyncio.to_thread(_forward)


async def _take_addresses(
    outside: str,
) -> tuple[ipaddress.IPv4Address, ipaddress.IPv4Address, list[ipaddress.IPv4Interface]]:
    """Give an interface an address that no other network of this machine holds; raises BuildError.

    Returns it, the one for the other end, and all that this machine has then. Another
    build, of whatever process, may take the same at the same moment: each sees the other, and both
    choose anew.
    """
    for _ in range(_ATTEMPTS):
        network = _free([one.network for one in await _addresses()])
        if network is None:
            break
        place = (f"{network[1]}/30", "dev", outside)
        await _run("ip", "addr", "add", *place)
        taken = await _addresses()
        if sum(network.overlaps(one.network) for one in taken) == 1:
            return network[1], network[2], taken
        await _run("ip", "addr", "del", *place)
    raise BuildError(
        "GenericBuildFailed",
        f"a network of its own cannot be given to the build: all of {_RANGE} are in use; end what"
        " uses that range on this machine (`ip addr`), or set `network` below `[builds]` in the"
        " configuration file",
        retryable=True,
    )


def _free(used: Collection[ipaddress.IPv4Network]) -> ipaddress.IPv4Network | None:
    """Return a network of four addresses that is not used, by lot; None if all are."""
    near = [one for one in used if one.overlaps(_RANGE)]
    count = _RANGE.num_addresses // 4
    begin = randbelow(count)
    for number in range(count):
        first = int(_RANGE.network_address) + 4 * ((begin + number) % count)
        network = ipaddress.IPv4Network((first, 30))
        if not any(network.overlaps(one) for one in near):
            return network
    return None


_INTERRUPTED = "Dump was interrupted"
"""Begins what ip(8) prints when the kernel flags a list as inconsistent (NLM_F_DUMP_INTR)."""
_MOST_READINGS = 100


async def _addresses() -> list[ipaddress.IPv4Interface]:
    """Return the addresses of this machine, with the networks that they are in; raises BuildError.

    As ip-address(8) tells them in JSON. While others give and take addresses, it may say that what
    it read is not of one moment: then it is asked again.
    """
    for _ in range(_MOST_READINGS):
        outcome = await run_command("ip", "-j", "-4", "addr", whole=True)
        if outcome.code != 0:
            raise _failure("ip", outcome.last_line)
        if not outcome.output.startswith(_INTERRUPTED):
            break
    try:
        return [
            ipaddress.IPv4Interface(f"{one['local']}/{one['prefixlen']}")
            for link in json.loads(outcome.output)
            for one in link.get("addr_info", ())
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _failure("ip", f"it tells no addresses: {outcome.last_line[:200]}") from error


def _inner_rules(
    network: BuildNetwork, policy: BuildNetworkAccess, own: Sequence[str]
) -> Iterator[str]:
    """Yield the filter inside: the resolver and what is allowed, then nothing that is near."""
    yield "table inet build { chain output { type filter hook output priority 0; policy accept;"
    yield 'oifname "lo" accept;'
    yield "ct state established,related accept;"
    yield from _resolving(network.resolvers)
    # This machine is never the site's: what it serves stays closed whatever is allowed.
    yield f"ip daddr {{ {', '.join(own)} }} counter reject;"
    yield from _allowing(policy)
    yield f"ip daddr {{ {', '.join(_REFUSED)} }} counter reject;"
    yield "meta nfproto ipv6 drop;\n}\n}"


def _outer_rules(
    network: BuildNetwork,
    policy: BuildNetworkAccess,
    own: Collection[str],
    outside: str,
    inside: ipaddress.IPv4Address,
) -> Iterator[str]:
    """Yield what the machine adds: nothing for itself, and its address for what goes on.

    What the filter inside refuses is dropped here too: whoever gets rights over their own
    namespace can change that one.
    """
    yield f"table inet {network.name} {{"
    yield "chain input { type filter hook input priority -5; policy accept;"
    yield f'iifname != "{outside}" accept;'
    yield from _resolving([one for one in network.resolvers if one in own])
    yield "drop;\n}"
    yield "chain forward { type filter hook forward priority -5; policy accept;"
    yield f'iifname != "{outside}" oifname != "{outside}" accept;'
    yield "ct state established,related accept;"
    yield f'oifname "{outside}" drop;'
    yield f"ip saddr != {inside} drop;"
    yield from _resolving(network.resolvers)
    yield from _allowing(policy)
    yield f"ip daddr {{ {', '.join(_REFUSED)} }} drop;"
    yield "meta nfproto != ipv4 drop;\n}"
    yield "chain postrouting { type nat hook postrouting priority srcnat; policy accept;"
    yield f'ip saddr {inside} oifname != "{outside}" masquerade;\n}}\n}}'


def _resolving(resolvers: Sequence[str]) -> Iterator[str]:
    if resolvers:
        where = f"ip daddr {{ {', '.join(resolvers)} }}"
        yield f"{where} meta l4proto {{ tcp, udp }} th dport {_DNS_PORT} accept;"


def _allowing(policy: BuildNetworkAccess) -> Iterator[str]:
    if allowed := [network for network in policy.allowed if ":" not in network]:
        yield f"ip daddr {{ {', '.join(allowed)} }} accept;"


async def _remove(name: str) -> None:
    """Remove a namespace with its interface and rules, as far as they are there."""
    for command in (
        f"ip link del {_interface(name)}",
        f"ip netns del {name}",
        f"nft delete table inet {name}",
    ):
        await run_command(*command.split())


async def _run(*argv: str) -> list[str]:
    """Run a command and return its last lines; raises BuildError."""
    outcome = await run_command(*argv)
    if outcome.code != 0:
        raise _failure(argv[0], outcome.last_line)
    return outcome.tail.splitlines()


def _failure(program: str, why: str) -> BuildError:
    return BuildError(
        "GenericBuildFailed",
        f"a network of its own cannot be given to the build: {program}: {why}."
        " It takes the programs ip and nft (Debian: iproute2, nftables) and the right to use"
        " them; `network` below `[builds]` in the configuration file names another",
        retryable=True,  # this machine's fault, not the build's
    )


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
