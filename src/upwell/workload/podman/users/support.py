"""Trial of this machine: whether it can give instances ids of their own."""

import asyncio
import errno
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from upwell.machine.process import CANNOT_RUN, TIMED_OUT, run_command
from upwell.workload.podman.users.ids import ANY_IDS
from upwell.workload.podman.users.namespaces import MAY_PASS, refusal, user_namespace
from upwell.workload.podman.volumes.mounts import require_mappable

_TRY_MOUNTS = "mount -t proc proc /proc && mount -t sysfs sysfs /sys"
"""The runtime mounts these in each container; where this machine's own are masked, as in a
container, the kernel lets no user namespace do so."""
NOT_SHIFTED = "Podman's storage copies each image for other ids: it needs overlay and Linux 5.19"
NOT_ROOT = "the server does not run as root: all containers are in its user's own namespace"
_SHIFTS = '{{index .store.GraphStatus "Supports shifting"}}'
_LIMIT = Path("/proc/sys/user/max_user_namespaces")


async def id_fault(folder: Path, limit: Path = _LIMIT) -> str:
    """Return why instances with volumes below `folder` get no ids of their own; empty: they do.

    Podman's storage is another matter: see NOT_SHIFTED. Raises OSError for what may pass, such as a
    full disk, and says nothing about the machine.
    """
    if os.geteuid() != 0:
        return NOT_ROOT
    try:
        await asyncio.to_thread(_require_mapped_volumes, folder, limit)
        await _require_mounts()
    except OSError as error:
        if error.errno in MAY_PASS:
            raise
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    return ""


async def shifts_layers(options: tuple[str, ...], variables: Mapping[str, str]) -> bool | None:
    """Return True if the storage shows images under other ids; None: Buildah cannot tell.

    `options` and `variables` say which storage. Podman can tell too, but looks for the packages of
    all its helpers first: half a second of processor, where this takes a twentieth.
    """
    answer = await run_command(
        "buildah", *options, "info", "--format", _SHIFTS, variables=variables
    )
    if answer.code or answer.last_line not in {"true", "false"}:
        return None
    return answer.last_line == "true"


def _require_mapped_volumes(folder: Path, limit: Path) -> None:
    if not limit.exists() or limit.read_text().strip() == "0":
        raise PermissionError(errno.EPERM, "user namespaces are off (user.max_user_namespaces)")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="ids-check-", dir=folder) as tried,
        user_namespace(ANY_IDS) as namespace,
    ):
        require_mappable(Path(tried), namespace)


async def _require_mounts() -> None:
    [found] = ANY_IDS.ranges
    maps = f"{found.inside}:{found.outside}:{found.count}"
    flags = ("--user", f"--map-users={maps}", f"--map-groups={maps}", "--setuid=0", "--setgid=0")
    others = ("--mount", "--net", "--pid", "--fork", "sh", "-c", _TRY_MOUNTS)
    answer = await run_command("unshare", *flags, *others, variables={"LC_ALL": "C"})
    if answer.code in {TIMED_OUT, CANNOT_RUN}:
        raise OSError(errno.EAGAIN, f"unshare: {answer.last_line}")
    if answer.code:
        raise refusal(answer.tail, answer.code)
