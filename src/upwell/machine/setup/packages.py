"""Debian packages that a server takes, and their installation without the services they bring."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from upwell.machine.process import ProcessResult, run_command

_INSTALL_SECONDS = 1800.0
_POLICY = Path("usr/sbin/policy-rc.d")
_REFUSE = "#!/bin/sh\nexit 101\n"
"""invoke-rc.d(8) asks this program before it starts a service; 101 says no."""
_HELPERS = ("/usr/lib/podman", "/usr/libexec/podman")
_FOLDERS = ("/usr/sbin", "/sbin", "/usr/local/sbin")


@dataclass(frozen=True, slots=True)
class SystemPackage:
    """A package, and the programs of it that are called: any one of them will do."""

    name: str
    programs: tuple[str, ...]
    folders: tuple[str, ...] = ()
    """Folders to search besides PATH."""


SYSTEM_PACKAGES = (
    SystemPackage("buildah", ("buildah",)),
    SystemPackage("podman", ("podman",)),
    SystemPackage("conmon", ("conmon",)),
    SystemPackage("runc", ("runc", "crun")),
    SystemPackage("netavark", ("netavark",), _HELPERS),
    SystemPackage("aardvark-dns", ("aardvark-dns",), _HELPERS),
    SystemPackage("nftables", ("nft",)),
    SystemPackage("haproxy", ("haproxy",)),
    SystemPackage("git", ("git",)),
    SystemPackage("git-lfs", ("git-lfs",)),
    SystemPackage("iproute2", ("ip",)),
    SystemPackage("uidmap", ("newuidmap",)),
    SystemPackage("util-linux", ("unshare",)),
)
"""For building, running and routing; `upwell doctor` says what fails without each."""


def missing_packages() -> Sequence[str]:
    """Return the packages of which no program is found."""
    return [one.name for one in SYSTEM_PACKAGES if not _is_there(one)]


def _is_there(package: SystemPackage) -> bool:
    places = os.pathsep.join((*os.get_exec_path(), *_FOLDERS, *package.folders))
    return any(shutil.which(program, path=places) for program in package.programs)


async def install_packages(names: Sequence[str], system: Path = Path("/")) -> ProcessResult:
    """Install packages by apt-get, without starting or enabling their services."""
    updated = await run_command("apt-get", "update", "--quiet=2", seconds=_INSTALL_SECONDS)
    if updated.code:
        return updated
    with _no_services(system / _POLICY):
        done = await run_command(
            *("apt-get", "install", "--quiet=2", "--yes", "--no-install-recommends", "--", *names),
            seconds=_INSTALL_SECONDS,
            variables={"DEBIAN_FRONTEND": "noninteractive"},
        )
    if done.code == 0 and "haproxy" in names and (system / "run/systemd/system").is_dir():
        await run_command("systemctl", "disable", "--quiet", "haproxy.service")
    return done


@contextmanager
def _no_services(policy: Path) -> Iterator[None]:
    """Keep packages from starting services; where somebody has decided about that, it stays."""
    if policy.exists() or policy.is_symlink():
        yield
        return
    policy.write_text(_REFUSE)
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink(missing_ok=True)
