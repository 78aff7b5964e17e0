"""Check of `upwell doctor`: what is left to a worker on this machine."""

import os

from upwell.machine.checks import HostCheck, HostCheckStatus
from upwell.workers.interface import WorkerError
from upwell.workers.runner import kept_rights

_NAME = "workers"


async def check_workers() -> HostCheck:
    """Run a worker, and say which rights it cannot give up."""
    try:
        kept = await kept_rights()
    except WorkerError as error:
        remedy = "nothing can be imported, built or unpacked until it does: mend what it names"
        return HostCheck(_NAME, HostCheckStatus.FAIL, str(error), remedy)
    if os.geteuid() != 0:
        detail = "parsers of strangers' files are limited, but see this user's files and network"
        return HostCheck(_NAME, HostCheckStatus.WARN, detail, "run upwell serve as root")
    if kept:
        detail = f"parsers of strangers' files keep {'; '.join(kept)}"
        remedy = "run upwell serve outside a container, or in one with CAP_SYS_ADMIN and all users"
        return HostCheck(_NAME, HostCheckStatus.WARN, detail, remedy)
    return HostCheck(_NAME, HostCheckStatus.OK, "parsers of strangers' files have nothing to reach")
