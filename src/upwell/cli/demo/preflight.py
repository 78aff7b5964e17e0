"""Whether the demo can run on this machine, before anything is started."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from upwell.cli.core.errors import CommandError
from upwell.cli.demo.server import data_dir
from upwell.cli.serve.doctor import examine
from upwell.machine.checks import HostCheckStatus
from upwell.machine.containers_conf import render

_TOOLS = {
    "apt-get": "apt",
    "docker-registry": "docker-registry",
    "mmdebstrap": "mmdebstrap",
    "umount": "mount",
}
"""Programs that the demo needs besides those of a server, and their Debian packages."""


@dataclass(frozen=True, slots=True)
class ContainerSetup:
    """How containers are made here."""

    containers_conf: Path
    storage_driver: str


async def preflight(folder: Path) -> ContainerSetup:
    """Examine the machine, and write a containers.conf into `folder`; raises CommandError."""
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
            f"the demo cannot run on this machine:\n{listed}\n"
            "scripts/install-system-packages installs every package; `upwell doctor` tells more"
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
        yield "privileges: the router has to reach the containers' addresses (run it as root)"
