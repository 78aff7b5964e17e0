"""Checks of this machine before the demo starts anything."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from upwell.cli.core.errors import CommandError
from upwell.cli.demo.server import data_dir
from upwell.cli.doctor.doctor import examine
from upwell.machine.checks import HostCheckStatus
from upwell.machine.containers_conf import render

_TOOLS = {
    "apt-get": "apt",
    "docker-registry": "docker-registry",
    "mmdebstrap": "mmdebstrap",
    "umount": "mount",
}
"""Programs that the demo needs besides those of a server, with their Debian packages."""


@dataclass(frozen=True, slots=True)
class ContainerSetup:
    """Configuration of containers on this machine."""

    containers_conf: Path
    storage_driver: str


async def preflight(folder: Path) -> ContainerSetup:
    """Check the machine, and write a containers.conf into `folder`; raises CommandError."""
    found = await examine(data_dir(folder))
    faults = [*_missing_tools(), *_privileges()]
    faults += [
        f"{check.name}: {check.detail} ({check.remedy})"
        for check in found.checks
        if check.status is HostCheckStatus.FAIL
    ]
    if faults:
        listed = "\n".join(f"  {fault}" for fault in faults)
        raise CommandError(
            f"cannot run the demo on this machine:\n{listed}\n"
            "scripts/install-system-packages installs every package; `upwell doctor` shows details"
        )
    conf = folder / "containers.conf"
    conf.write_text(render(found.conf.decisions))
    return ContainerSetup(conf, found.conf.storage_driver)


def _missing_tools() -> Iterator[str]:
    for program, package in _TOOLS.items():
        if shutil.which(program) is None:
            yield f"{program}: not found (apt install {package})"


def _privileges() -> Iterator[str]:
    if os.geteuid() != 0:
        yield "privileges: the router cannot reach the containers' addresses (run as root)"
