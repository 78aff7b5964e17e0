"""The Firewall port by nftables: a table of the installation's own, replaced as a whole.

The kernel keeps it while this process is away. Packets between two instances pass a bridge, where
the table sees them once the bridge hands them to it (br_netfilter): that is switched on for the
instances' bridge alone.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from upwell.firewall.generation import ruleset_generation
from upwell.firewall.interface import FirewallError, FirewallTable
from upwell.firewall.ruleset import render
from upwell.machine.clock import until_tick
from upwell.machine.components import Components, WatchedComponent
from upwell.machine.private_file import write_private
from upwell.machine.process import NOT_FOUND, run_command

_SECONDS = 60.0
_PERIOD_SECONDS = 1.0
_NETWORKS = Path("/sys/class/net")
_SWITCHES = ("nf_call_iptables", "nf_call_ip6tables")
_ON = "1"
_MISSING = "No such file or directory"
_MAX_WORDS = 500


class NftFirewall:
    """Implements Firewall; `identifier` tells the installations on one machine apart."""

    def __init__(
        self,
        folder: Path,
        identifier: str,
        component: WatchedComponent | None = None,
        nft: str = "nft",
    ) -> None:
        self._rules = folder / "rules.nft"
        self._name = f"upwell-{identifier}"
        self._nft = nft
        self._component = component or Components().add("firewall", required=False)
        self._lock = asyncio.Lock()
        self._applied = ""
        """Text of the ruleset in force; empty: not known."""
        self._seen = ""
        """The table as the kernel showed it, once that was applied."""
        self._generation = -1
        self._bridge = ""
        self._filtered = -1
        """Index of the link that hands its packets over: a bridge that comes anew has another."""

    async def apply(self, table: FirewallTable) -> None:
        """Bring exactly this table into force, at once."""
        text = await asyncio.to_thread(render, self._name, table)
        async with self._lock:
            try:
                await self._apply(text, table.bridge.interface)
            except FirewallError as error:
                message = f"{error}; until then instances are not kept apart as they should be"
                self._component.fail(error.reason, message)
                raise
            self._component.recover()

    async def _apply(self, text: str, bridge: str) -> None:
        if text != self._applied or not await self._is_intact(await asyncio.to_thread(_generation)):
            self._applied = ""
            await asyncio.to_thread(_write, self._rules, text)
            await self._run("-f", str(self._rules))
            self._generation = await asyncio.to_thread(_generation)
            self._seen = await self._shown()
            self._applied = text
        self._bridge = bridge
        if fault := await self._filter():
            raise FirewallError(fault)

    async def _filter(self) -> str:
        """Have the bridge's packets filtered, and return why they cannot be; empty: they are."""
        index = await asyncio.to_thread(_index, self._bridge)
        fault = await _filter_bridge(self._bridge)
        self._filtered = -1 if fault else index
        return fault

    async def remove(self) -> None:
        """Filter nothing any more."""
        async with self._lock:
            self._applied = self._bridge = ""
            try:
                await self._run("delete", "table", "inet", self._name)
            except FirewallError as error:
                if _MISSING not in str(error):
                    raise
            self._rules.unlink(missing_ok=True)

    async def disruptions(self) -> AsyncIterator[str]:
        """Yield why the last table has to be applied anew, for ever."""
        while True:
            await asyncio.sleep(until_tick(_PERIOD_SECONDS))
            if why := await self._look():
                self._component.fail("RulesetChanged", f"{why}; it is put back")
                yield why

    async def _look(self) -> str:
        async with self._lock:
            if not self._applied:
                return ""
            # Both by one turn of a thread: nearly all looks end here.
            generation, filtered = await asyncio.to_thread(_state, self._bridge)
            if not await self._is_intact(generation):
                self._applied = ""
                return f"the table {self._name} of nftables was changed by somebody else"
            if not filtered:
                index = await asyncio.to_thread(_index, self._bridge)
                if index == self._filtered != -1:
                    return f"the bridge {self._bridge} does not hand its packets to the filter"
                return await self._filter()  # it came anew, or has just gone
            return ""

    async def _is_intact(self, generation: int) -> bool:
        """Return True if the table is as it was applied; it is read where anything has changed."""
        if generation == self._generation != -1:
            return True
        with suppress(FirewallError):
            if await self._shown() == self._seen:
                self._generation = generation
                return True
        return False

    async def _shown(self) -> str:
        """Return the table as the kernel has it, in full; raises FirewallError."""
        listed = await self._run("list", "table", "inet", self._name)
        return f"{len(listed)} {hash(listed)}"

    async def _run(self, *arguments: str) -> str:
        result = await run_command(self._nft, *arguments, seconds=_SECONDS, whole=True)
        if result.code == NOT_FOUND:
            raise FirewallError(f"{self._nft} is not installed: apt install nftables")
        if result.code != 0:
            words = result.tail.strip()[:_MAX_WORDS]
            raise FirewallError(f"nft {arguments[0]}: {words}; `upwell doctor` examines this")
        return result.output


async def _filter_bridge(bridge: str) -> str:
    """Have the packets on a bridge filtered, and return why that cannot be; empty: they are.

    A bridge that is not there has no packets: it comes with the first instance on it.
    """
    if await asyncio.to_thread(_is_filtered, bridge):
        return ""
    if not (_NETWORKS / bridge / "bridge" / _SWITCHES[0]).exists():
        await run_command("modprobe", "br_netfilter")
    try:
        await asyncio.to_thread(_switch_on, bridge)
    except OSError as error:
        return (
            f"packets between instances are not filtered ({error.strerror}): load the kernel's"
            " module with `modprobe br_netfilter`, and name it in /etc/modules"
        )
    return ""


def _switch_on(bridge: str) -> None:
    for switch in _SWITCHES:
        (_NETWORKS / bridge / "bridge" / switch).write_text(_ON)


def _index(bridge: str) -> int:
    """Return the index of a link, which no other has had since the machine started; -1: none."""
    with suppress(OSError, ValueError):
        return int((_NETWORKS / bridge / "ifindex").read_text())
    return -1


def _is_filtered(bridge: str) -> bool:
    """Return True if the bridge hands its packets to the filter, or is not there."""
    folder = _NETWORKS / bridge / "bridge"
    if not bridge or not folder.exists():
        return True
    with suppress(OSError):
        return all((folder / switch).read_text().strip() == _ON for switch in _SWITCHES)
    return False


def _state(bridge: str) -> tuple[int, bool]:
    """Return the generation of the kernel's rulesets, and whether the bridge is filtered."""
    return _generation(), _is_filtered(bridge)


def _generation() -> int:
    """Return the generation of the kernel's rulesets; -1: it cannot be told."""
    with suppress(OSError):
        return ruleset_generation()
    return -1


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(path, text, synced=False)
