"""User ids of instances as `upwell doctor` looks at them: whether they can have own ones."""

import os
from collections.abc import Sequence
from pathlib import Path

from upwell.machine.checks import HostCheck, HostCheckStatus
from upwell.workload.podman.records import RecordStore
from upwell.workload.podman.users.support import NOT_SHIFTED, id_fault, shifts_layers


async def check_instance_isolation(data_dir: Path) -> HostCheck:
    """Root inside an instance is nobody on this machine."""
    name = "instance isolation"
    if os.geteuid() != 0:
        return HostCheck(name, HostCheckStatus.OK, "rootless: root in an instance is this user")
    fault = await instance_ids_fault(data_dir)
    if not fault:
        detail = "root in an instance is an unprivileged id outside"
        return HostCheck(name, HostCheckStatus.OK, detail)
    remedy = (
        "Linux 6.3 or newer, ext4, xfs or btrfs below the data directory and Podman's storage, and"
        " sysctl -w user.max_user_namespaces=28633; until then, let no strangers deploy"
    )
    detail = f"root in an instance is root outside, with few rights: {fault}"
    return HostCheck(name, HostCheckStatus.WARN, detail, remedy)


async def instance_ids_fault(data_dir: Path, storage: str = "") -> str:
    """Return why root of an instance is root outside; empty: it is not.

    `storage` is Podman's; without one, the system's. The folder is looked at and left as it was.
    """
    if os.geteuid() != 0:
        return ""  # without root outside there is no way to it
    place = data_dir / "workloads"
    try:
        fault = await id_fault(place if place.is_dir() else data_dir)
    except OSError as error:
        fault = f"user namespaces cannot be tried: {error.strerror or error}"
    if fault:
        return fault
    conf = data_dir / "containers.conf"
    variables = {"CONTAINERS_CONF": str(conf)} if conf.is_file() else {}
    folders = ("--root", f"{storage}/storage", "--runroot", f"{storage}/run") if storage else ()
    shifts = await shifts_layers(folders, variables)
    if shifts is None:
        return "`buildah info` does not tell of Podman's storage"
    return "" if shifts else NOT_SHIFTED


def host_instances(data_dir: Path) -> Sequence[tuple[str, str, str]]:
    """Return (kind, namespace, name) of the owner of each instance whose root is root outside."""
    if os.geteuid() != 0:
        return ()
    store = RecordStore(data_dir / "workloads" / "instances")
    records = [store.load(name) for name in store.names()]
    return [
        (one.owner.kind, one.owner.namespace, one.owner.name)
        for one in records
        if one is not None and one.users is None
    ]
