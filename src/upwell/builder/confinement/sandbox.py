"""Separation of a build from the machine: user namespace, network, limits, a control group."""

import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from upwell.builder.confinement.network import BuildNetwork
from upwell.builder.interface import BuildLimits
from upwell.machine.process import ChildCommand, Launcher

_CPU_PERIOD = 100_000
_FIRST_ID = 1_900_000_000
"""Above systemd's containers and below its other ranges: nobody else hands these out."""

_IDS = 65_536
_CGROUPS = Path("/sys/fs/cgroup")
_PARENT = "upwell-builds"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Sandbox of the commands of one build."""

    limits: BuildLimits = field(default_factory=BuildLimits)
    network: str = "private"
    namespace: BuildNetwork | None = None
    """The network that the builder itself runs in, and so the build's commands."""
    shares_processes: bool = False
    """True if commands see the processes around the builder: where no /proc can be mounted."""
    control_group: str = ""
    """The parent of the containers' control groups; it holds the limit of processes."""

    @property
    def has_machine_network(self) -> bool:
        """True if the build's commands share the network of this machine."""
        return self.network == "host" and self.namespace is None

    def flags(self) -> Iterator[str]:
        """Yield the options of `buildah build`."""
        yield f"--network={self.network if self.namespace is None else 'host'}"
        if self.shares_processes:
            yield "--pid=host"
        if self.namespace is not None:
            yield from (f"--dns={address}" for address in self.namespace.resolvers)
        # The limit per user; it holds where there is no control group, except for root's.
        yield f"--ulimit=nproc={self.limits.pids}:{self.limits.pids}"
        if self.control_group:
            yield f"--cgroup-parent={self.control_group}"
        if self.limits.memory_bytes is not None:
            yield f"--memory={self.limits.memory_bytes}"
            if _counts_swap():
                yield f"--memory-swap={self.limits.memory_bytes}"
        if self.limits.cpus is not None:
            yield f"--cpu-period={_CPU_PERIOD}"
            yield f"--cpu-quota={int(self.limits.cpus * _CPU_PERIOD)}"


class UserIds:
    """The user ids that builds have on this machine: a range that is nobody's, or the machine's.

    All commands on a store must get the same range. Then layers are unpacked with shifted
    owners; those that were unpacked otherwise are copied before the first build on them.
    """

    def __init__(self, launcher: Launcher, path: str, *, shifted: bool) -> None:
        self._launcher = launcher
        self._path = path
        self._flags: tuple[str, ...] | None = None if shifted else ()

    async def flags(self) -> tuple[str, ...]:
        """Return the options of `buildah`; none where the machine does not let us shift."""
        if self._flags is None:
            ids = f"0:{_FIRST_ID}:{_IDS}"
            works = await self._work(ids)
            self._flags = (f"--userns-uid-map={ids}", f"--userns-gid-map={ids}") if works else ()
        return self._flags

    async def root(self) -> int:
        """Return the id that root in a build has on this machine."""
        return _FIRST_ID if await self.flags() else os.geteuid()

    async def _work(self, ids: str) -> bool:
        if os.geteuid() != 0:
            return False  # Buildah itself makes a user namespace, from /etc/subuid
        argv = ("unshare", "--user", f"--map-users={ids}", f"--map-groups={ids}", "true")
        try:
            outcome = await self._launcher.capture(
                ChildCommand(argv, {"PATH": self._path}, Path("/")), 4096
            )
        except FileNotFoundError:
            return False
        return outcome.code == 0


def takes_control_groups(containers_conf: Path | None) -> bool:
    """Say whether builds may be put under a control group of ours: where systemd has no say."""
    if containers_conf is not None:
        engine = tomllib.loads(containers_conf.read_text()).get("engine", {})
        if manager := engine.get("cgroup_manager"):
            return bool(manager == "cgroupfs")
    return not Path("/run/systemd/system").is_dir()


@contextmanager
def process_limit(sandbox: Sandbox, build_id: str, owner: str) -> Iterator[Sandbox]:
    """Run the block with a control group that limits the processes of all the build's commands.

    Where none can be made, the sandbox stays as it is: the limit per user remains.
    """
    folder = _pids_root() / _PARENT / owner / build_id
    try:
        _make(folder, sandbox.limits.pids)
    except OSError:
        yield sandbox
        return
    try:
        # A level further down: the runtime removes the group that it is given after each command.
        yield replace(sandbox, control_group=f"/{_PARENT}/{owner}/{build_id}/run")
    finally:
        remove_control_groups(owner, build_id)


def remove_control_groups(owner: str, build_id: str = "") -> None:
    """Remove what is left of the groups of a build, or of all builds of `owner`; idempotent."""
    root = _pids_root()
    # On a hybrid machine the runtime makes the same group in every hierarchy.
    hierarchies = [root] if root == _CGROUPS else list(_CGROUPS.iterdir())
    for hierarchy in hierarchies:
        top = hierarchy / _PARENT / owner / build_id
        for folder, _, _ in os.walk(top, topdown=False):
            with suppress(OSError):
                Path(folder).rmdir()


def _make(folder: Path, pids: int) -> None:
    """Create a group and its parents, handing the controller down where that must be asked for."""
    for parent in reversed(folder.parents):
        if parent.is_relative_to(_CGROUPS):
            parent.mkdir(exist_ok=True)
            switch = parent / "cgroup.subtree_control"
            if switch.exists() and "pids" not in switch.read_text().split():
                switch.write_text("+pids")
    folder.mkdir(exist_ok=True)
    (folder / "pids.max").write_text(str(pids))


def _counts_swap() -> bool:
    """Return True if swap can be limited; old kernels need a request, and runc insists on it."""
    memory = _CGROUPS / "memory"
    return not memory.is_dir() or (memory / "memory.memsw.limit_in_bytes").exists()


def _pids_root() -> Path:
    """Return the hierarchy of the `pids` controller: its own (v1), or the only one (v2)."""
    own = _CGROUPS / "pids"
    return own if own.is_dir() else _CGROUPS
