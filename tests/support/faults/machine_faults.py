"""Faults of every part of an installation: how each is inflicted, and how it ends."""

import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from tests.support.faults.faulty_loop import FaultyLoop
from tests.support.faults.processes import Part, pids, send, wait_for_end
from tests.support.installation.disks import fill
from tests.support.registry.registry_proxy import (
    BadAnswer,
    other_bytes,
    server_error,
    slow,
    truncated,
)

type Act = Callable[[FaultyLoop], Awaitable[None]]


class FaultKind(StrEnum):
    """Manner of a fault."""

    KILLED = "killed"
    STOPPED = "stopped"
    """SIGSTOP: it is there, and says nothing."""
    SLOW = "slow"
    LYING = "lying"
    FULL = "full"
    GONE = "gone"


@dataclass(frozen=True)
class InflictedFault:
    """A fault, from when it is inflicted until it ends."""

    part: str
    kind: FaultKind
    inflict: Act
    heal: Act | None = None
    seconds: float = 0
    """Time for which it lasts before it is healed."""
    interrupts: bool = False
    """True if requests may fail: what served them was hit itself."""
    component: str = ""
    """The component that has to be reported as faulty meanwhile, and as well again after."""

    def __str__(self) -> str:
        return f"{self.part} {self.kind}"


async def _kill(part: Part, loop: FaultyLoop) -> None:
    found = pids(loop.made, part)
    send(found, signal.SIGKILL)
    wait_for_end(found)


async def _stop(part: Part, loop: FaultyLoop) -> None:
    send(pids(loop.made, part), signal.SIGSTOP)


async def _go_on(part: Part, loop: FaultyLoop) -> None:
    send(pids(loop.made, part), signal.SIGCONT)


async def _kill_server(loop: FaultyLoop) -> None:
    loop.made.kill()


async def _start_server(loop: FaultyLoop) -> None:
    await loop.made.start()


async def _power_off(loop: FaultyLoop, *, wipe: bool) -> None:
    loop.made.power_off(wipe_runtime=wipe)


async def _spoil_vendor(answer: BadAnswer, loop: FaultyLoop) -> None:
    loop.vendor.misbehave = answer


async def _stop_vendor(loop: FaultyLoop) -> None:
    await loop.vendor.stop()


async def _heal_vendor(loop: FaultyLoop) -> None:
    loop.vendor.misbehave = None
    await loop.vendor.start()


async def _fill_disk(loop: FaultyLoop) -> None:
    fill(loop.made.data_dir / "filler")


async def _free_disk(loop: FaultyLoop) -> None:
    (loop.made.data_dir / "filler").unlink(missing_ok=True)


def _process(
    part: Part, *, interrupts: bool = False, component: str = ""
) -> Sequence[InflictedFault]:
    return (
        InflictedFault(
            part, FaultKind.KILLED, partial(_kill, part), interrupts=interrupts, component=component
        ),
        InflictedFault(
            part,
            FaultKind.STOPPED,
            partial(_stop, part),
            partial(_go_on, part),
            seconds=6,
            interrupts=interrupts,
            component=component,
        ),
    )


def _vendor(kind: FaultKind, answer: BadAnswer) -> InflictedFault:
    part = f"vendor's registry ({answer.__name__})"
    return InflictedFault(part, kind, partial(_spoil_vendor, answer), _heal_vendor, seconds=4)


ALL_STEPS = os.environ.get("UPWELL_FAULT_STEPS") == "all"
"""True if faults are inflicted that take too long for each run of the tests."""

FAULTS: Sequence[InflictedFault] = (
    InflictedFault("server", FaultKind.KILLED, _kill_server, _start_server),
    InflictedFault("server", FaultKind.GONE, _kill_server, _start_server, seconds=5),
    InflictedFault(
        "server",
        FaultKind.STOPPED,
        partial(_stop, Part.SERVER),
        partial(_go_on, Part.SERVER),
        seconds=5,
    ),
    *_process(Part.ROUTER, interrupts=True, component="router"),
    *_process(Part.ROUTER_WORKER, interrupts=True, component="router"),
    *_process(Part.RUNTIME, component="podman"),
    *_process(Part.BUILDER),
    *_process(Part.INSTANCE, interrupts=True),
    *_process(Part.MONITOR),
    _vendor(FaultKind.SLOW, slow),
    _vendor(FaultKind.LYING, other_bytes),
    _vendor(FaultKind.LYING, truncated),
    _vendor(FaultKind.LYING, server_error),
    InflictedFault("vendor's registry", FaultKind.GONE, _stop_vendor, _heal_vendor, seconds=4),
    InflictedFault("disk", FaultKind.FULL, _fill_disk, _free_disk, seconds=5, component="storage"),
    InflictedFault(
        "machine's power, runtime folders wiped",
        FaultKind.GONE,
        partial(_power_off, wipe=True),
        _start_server,
        interrupts=True,
    ),
    InflictedFault(
        "machine's power, runtime folders kept",
        FaultKind.GONE,
        partial(_power_off, wipe=False),
        _start_server,
        interrupts=True,
    ),
)
