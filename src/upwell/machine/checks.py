"""Checks of `upwell doctor`: can this machine build, run and route; if not, what mends it.

Every check is a function that returns a Check and changes nothing that outlives it.
"""

import asyncio
import contextlib
import os
import platform
import pwd
import shutil
import socket
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from upwell.machine.containers_conf import ContainersConf
from upwell.machine.host import Cgroups, Host
from upwell.machine.process import run_command

_PYTHON = (3, 12)
_RUN_SECONDS = 60.0
_REMOVALS = 20
_REMOVAL_PAUSE_SECONDS = 0.1
_MAX_SOCKET_PATH = 107
_LONGEST_SOCKET_NAME = 40
"""`/<folder>/podman-<8 digits>.sock` and some room."""
_ANY_IDS = "100000:65536"
"""Host ids and how many: whether they can be mapped does not hang on which they are."""
_MAX_DETAIL_CHARACTERS = 600


class HostCheckStatus(StrEnum):
    """Fail: Upwell does not work here. Warn: some of it does not, or not well.

    Unknown: whoever asked was not told.
    """

    OK = "ok"
    UNKNOWN = "unknown"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class HostCheck:
    """One finding; `remedy` is a command or a setting, and empty when all is well."""

    name: str
    status: HostCheckStatus
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that we call, the Debian package that has it, and what fails without it."""

    program: str
    package: str
    purpose: str
    without: HostCheckStatus = HostCheckStatus.FAIL
    folders: tuple[str, ...] = ()
    """Folders to search besides PATH."""


_HELPERS = ("/usr/lib/podman", "/usr/libexec/podman")

TOOLS = (
    Tool("buildah", "buildah", "builds images"),
    Tool("podman", "podman", "runs containers"),
    Tool("conmon", "conmon", "keeps containers running while Upwell is away"),
    Tool("netavark", "netavark", "gives containers a network", folders=_HELPERS),
    Tool(
        "aardvark-dns", "aardvark-dns", "resolves container names", HostCheckStatus.WARN, _HELPERS
    ),
    Tool("haproxy", "haproxy", "routes requests"),
    Tool("git", "git", "fetches sources"),
    Tool("skopeo", "skopeo", "copies images in the demo", HostCheckStatus.WARN),
)


@dataclass(frozen=True, slots=True)
class HostPaths:
    """Paths and ports that are examined; none is read from anywhere else."""

    data_dir: Path
    host: Host
    conf: ContainersConf
    conf_path: Path
    ports: tuple[tuple[str, int], ...] = ()
    """(address, port) pairs that Upwell wants to listen on."""
    routes: tuple[tuple[str, int], ...] = ()
    """(address, port) pairs where Routes shall answer."""


async def check_machine(subject: HostPaths) -> Sequence[HostCheck]:
    """Run all checks, in the order in which a person would mend things."""
    tools = await asyncio.gather(*(check_tool(tool) for tool in TOOLS))
    checks = [
        check_python(),
        *tools,
        check_oci_runtime(subject.host),
        check_firewall(subject.host),
        check_cgroups(subject.host, subject.conf),
        await check_privileges(subject.host),
        await check_build_isolation(subject.host),
        *([] if subject.host.root else [check_rootless_network()]),
        check_overlay(subject.conf),
        check_path_length(subject.data_dir),
        *(check_port(address, port) for address, port in subject.ports),
        *(check_routes(place, subject.data_dir) for place in subject.routes),
    ]
    if all(check.status is not HostCheckStatus.FAIL for check in checks):
        checks.append(await check_container(subject))
    return checks


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> HostCheck:
    """Python is new enough."""
    text = ".".join(map(str, version))
    if version >= _PYTHON:
        return HostCheck("python", HostCheckStatus.OK, f"{platform.python_implementation()} {text}")
    wanted = ".".join(map(str, _PYTHON))
    return HostCheck(
        "python", HostCheckStatus.FAIL, f"{text} is too old", f"install Python {wanted} or newer"
    )


async def check_tool(tool: Tool) -> HostCheck:
    """The program is there; shows its version."""
    path = os.pathsep.join((os.defpath, *tool.folders, "/usr/sbin", "/sbin"))
    found = shutil.which(tool.program) or shutil.which(tool.program, path=path)
    if found is None:
        detail = f"not found; it {tool.purpose}"
        return HostCheck(tool.program, tool.without, detail, f"apt install {tool.package}")
    flag = "-v" if tool.program == "haproxy" else "--version"
    answer = await run_command(found, flag)
    version = answer.tail.strip().splitlines()[0] if answer.tail.strip() else "version unknown"
    if answer.code != 0:
        remedy = f"apt install --reinstall {tool.package}"
        return HostCheck(tool.program, tool.without, f"{found} does not run: {version}", remedy)
    return HostCheck(tool.program, HostCheckStatus.OK, version)


def check_oci_runtime(host: Host) -> HostCheck:
    """There is an OCI runtime that copes with this machine's control groups."""
    usable = host.tools & ({"runc", "crun"} if host.cgroups is Cgroups.UNIFIED else {"runc"})
    if usable:
        return HostCheck("oci runtime", HostCheckStatus.OK, ", ".join(sorted(usable)))
    detail = f"none for cgroups {host.cgroups}"
    return HostCheck("oci runtime", HostCheckStatus.FAIL, detail, "apt install runc")


def check_firewall(host: Host) -> HostCheck:
    """Netavark has the program that it sets up bridges with."""
    found = host.tools & {"nft", "iptables"}
    if found and host.root:
        return _check_filter(found)
    if found:
        return HostCheck("firewall", HostCheckStatus.OK, ", ".join(sorted(found)))
    detail = "neither nft nor iptables: no container gets a network"
    return HostCheck("firewall", HostCheckStatus.FAIL, detail, "apt install nftables")


def _check_filter(found: frozenset[str]) -> HostCheck:
    """Namespaces of instances can be kept apart."""
    lost = "namespaces of instances are not kept apart, and no NetworkPolicy is in force"
    if "nft" not in found:
        detail = f"iptables alone: {lost}"
        return HostCheck("firewall", HostCheckStatus.WARN, detail, "apt install nftables")
    modules = Path("/lib/modules", platform.release(), "modules.dep")
    is_there = any("/br_netfilter.ko" in line for line in _lines(modules))
    if not (is_there or Path("/proc/sys/net/bridge").exists()):
        remedy = "install the kernel's module br_netfilter, or another kernel"
        detail = f"this kernel filters no packets on bridges: {lost}"
        return HostCheck("firewall", HostCheckStatus.WARN, detail, remedy)
    return HostCheck("firewall", HostCheckStatus.OK, ", ".join(sorted(found)))


def check_cgroups(host: Host, conf: ContainersConf) -> HostCheck:
    """Limits on memory and processors can be enforced."""
    if host.cgroups is Cgroups.ABSENT:
        remedy = "mount -t cgroup2 none /sys/fs/cgroup"
        return HostCheck("cgroups", HostCheckStatus.FAIL, str(host.cgroups), remedy)
    if host.cgroups is Cgroups.UNIFIED:
        return HostCheck("cgroups", HostCheckStatus.OK, str(host.cgroups))
    settings = {decision.key: decision.value for decision in conf.decisions}
    chosen = f"{settings['runtime']} and {settings['cgroup_manager']}"
    remedy = "works as it is; to end the detour, boot with systemd.unified_cgroup_hierarchy=1"
    return HostCheck(
        "cgroups", HostCheckStatus.WARN, f"{host.cgroups}; handled with {chosen}", remedy
    )


async def check_privileges(host: Host) -> HostCheck:
    """We are root, or may make user namespaces with a range of user IDs."""
    if host.root:
        return HostCheck("privileges", HostCheckStatus.OK, "root")
    answer = await run_command("unshare", "--user", "--map-root-user", "true")
    if answer.code != 0:
        remedy = "sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=28633"
        return HostCheck(
            "privileges", HostCheckStatus.FAIL, f"no user namespaces: {answer.tail}", remedy
        )
    if shutil.which("newuidmap") is None:
        detail = "rootless, but newuidmap is missing"
        return HostCheck("privileges", HostCheckStatus.FAIL, detail, "apt install uidmap")
    detail = "rootless: the host cannot reach the addresses of containers, so no routing"
    return HostCheck("privileges", HostCheckStatus.WARN, detail, "run upwell serve as root")


async def check_build_isolation(host: Host) -> HostCheck:
    """Root inside a build is nobody on this machine."""
    name = "build isolation"
    if host.root:
        ids = f"0:{_ANY_IDS}"
        answer = await run_command(
            "unshare", "--user", f"--map-users={ids}", f"--map-groups={ids}", "true"
        )
        if answer.code == 0:
            return HostCheck(
                name, HostCheckStatus.OK, "root in a build is an unprivileged id outside"
            )
        detail = f"root inside a build is root outside, without rights: {answer.tail}"
        remedy = "sysctl -w user.max_user_namespaces=28633; until then, let no strangers build"
        return HostCheck(name, HostCheckStatus.WARN, detail, remedy)
    return check_own_ids(pwd.getpwuid(os.geteuid()))


def check_own_ids(user: pwd.struct_passwd, etc: Path = Path("/etc")) -> HostCheck:
    """A user other than root has ranges of ids for containers (subuid(5))."""
    name, owners = "build isolation", (user.pw_name, str(user.pw_uid))
    missing = [
        file
        for file in ("subuid", "subgid")
        if not any(line.split(":")[0] in owners for line in _lines(etc / file))
    ]
    if not missing:
        return HostCheck(name, HostCheckStatus.OK, f"root inside a build is {user.pw_name} outside")
    range_ = "100000-165535"
    remedy = f"usermod --add-subuids {range_} --add-subgids {range_} {user.pw_name}"
    detail = f"{user.pw_name} has no ids for containers in {' and '.join(missing)}"
    return HostCheck(name, HostCheckStatus.FAIL, detail, remedy)


def check_rootless_network(tun: Path = Path("/dev/net/tun")) -> HostCheck:
    """Check that the means for containers' network without root are there, and may be used."""
    name = "rootless network"
    if shutil.which("pasta") is None and shutil.which("slirp4netns") is None:
        detail = "neither pasta nor slirp4netns: no container gets a network"
        return HostCheck(name, HostCheckStatus.FAIL, detail, "apt install passt")
    if not os.access(tun, os.R_OK | os.W_OK):
        detail = f"{tun} may not be opened: no container gets a network"
        return HostCheck(name, HostCheckStatus.FAIL, detail, f"chmod 0666 {tun}, as udev has it")
    return HostCheck(name, HostCheckStatus.OK, "there is what containers need")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def check_overlay(conf: ContainersConf) -> HostCheck:
    """Images can be layered without copying them."""
    if conf.storage_driver == "overlay":
        return HostCheck("storage", HostCheckStatus.OK, conf.storage_reason)
    remedy = "put the data directory on ext4 or xfs (an overlay cannot lie on another overlay)"
    return HostCheck("storage", HostCheckStatus.WARN, conf.storage_reason, remedy)


def check_path_length(data_dir: Path) -> HostCheck:
    """The sockets below the data directory have names that fit (unix(7): 107 bytes)."""
    left = _MAX_SOCKET_PATH - len(os.fsencode(data_dir.absolute()))
    if left >= _LONGEST_SOCKET_NAME:
        return HostCheck("data directory", HostCheckStatus.OK, str(data_dir))
    longest = _MAX_SOCKET_PATH - _LONGEST_SOCKET_NAME
    remedy = f"choose a data directory of at most {longest} bytes"
    return HostCheck(
        "data directory", HostCheckStatus.FAIL, f"{data_dir} is too long a name", remedy
    )


def check_port(address: str, port: int) -> HostCheck:
    """Check that no other process listens on the port; 0 is any free one."""
    name = f"port {address}:{port}"
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            detail = f"cannot be listened on: {error.strerror}"
            remedy = f"ss -ltnp 'sport = :{port}' shows who does; or choose another port"
            return HostCheck(name, HostCheckStatus.FAIL, detail, remedy)
    return HostCheck(name, HostCheckStatus.OK, "free")


def check_routes(place: tuple[str, int], data_dir: Path) -> HostCheck:
    """Routes can be served there: nobody has the port but our own router, which outlives us."""
    found = check_port(*place)
    name = f"routes at {place[0]}:{place[1]}"
    if found.status is HostCheckStatus.OK:
        return HostCheck(name, HostCheckStatus.OK, found.detail)
    if _is_routers_own(place, data_dir / "router"):
        return HostCheck(name, HostCheckStatus.OK, "served by the router of this data directory")
    remedy = f"{found.remedy}, with --router or --router-https"
    return HostCheck(
        name, HostCheckStatus.WARN, f"{found.detail}: no Route is served there", remedy
    )


def _is_routers_own(place: tuple[str, int], folder: Path) -> bool:
    """Return True if the HAProxy that keeps its files in `folder` runs, and listens there."""
    with socket.socket(socket.AF_UNIX) as control:
        try:
            control.connect(str(folder / "haproxy.sock"))
            lines = (folder / "haproxy.cfg").read_text().splitlines()
        except OSError:
            return False
    bind = ["bind", f"{place[0]}:{place[1]}"]
    return any(line.split()[:2] == bind for line in lines)


async def check_container(subject: HostPaths) -> HostCheck:
    """A container really starts, with a network, from a root file system of one program."""
    busybox = shutil.which("busybox")
    if busybox is None:
        detail = "not tried: busybox, which it would run, is missing"
        return HostCheck("container", HostCheckStatus.WARN, detail, "apt install busybox-static")
    subject.data_dir.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="doctor-", dir=subject.data_dir))
    try:
        return await _try_container(subject, folder, busybox)
    finally:
        await _remove(folder)


async def _remove(folder: Path) -> None:
    """Remove the storage; the container's own clean-up may still be writing to it."""
    for _ in range(_REMOVALS):
        # Podman leaves a bind mount on its overlay folder.
        await run_command("umount", "--recursive", str(folder / "storage/overlay"))
        with contextlib.suppress(OSError):
            await asyncio.to_thread(shutil.rmtree, folder)
            return
        await asyncio.sleep(_REMOVAL_PAUSE_SECONDS)


async def _try_container(subject: HostPaths, folder: Path, busybox: str) -> HostCheck:
    program = folder / "rootfs/bin/busybox"
    program.parent.mkdir(parents=True)
    shutil.copy(busybox, program)
    answer = await run_command(
        "env",
        f"CONTAINERS_CONF={subject.conf_path}",
        "PODMAN_IGNORE_CGROUPSV1_WARNING=1",
        "podman",
        f"--root={folder / 'storage'}",
        f"--runroot={folder / 'run'}",
        f"--tmpdir={folder / 'run/libpod'}",
        f"--storage-driver={subject.conf.storage_driver}",
        *("run", "--rm", "--pull=never", "--rootfs", str(folder / "rootfs")),
        *("/bin/busybox", "echo", "it runs"),
        seconds=_RUN_SECONDS,
    )
    if answer.code == 0 and "it runs" in answer.tail:
        return HostCheck("container", HostCheckStatus.OK, "started, answered and removed")
    detail = answer.tail.strip()[-_MAX_DETAIL_CHARACTERS:] or f"podman ended with {answer.code}"
    static = "install busybox-static if busybox is linked dynamically"
    return HostCheck(
        "container", HostCheckStatus.FAIL, detail, f"podman info shows what it found; {static}"
    )
