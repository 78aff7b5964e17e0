"""Composes what runs in a build's Pod on a cluster: Buildah, confined by the Pod itself."""

import asyncio
import os
import signal
import sys
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from upwell.builder.buildah import BuildahBuilder
from upwell.builder.buildah_settings import BuildahSettings
from upwell.builder.kubernetes.cache import cache_in_use, may_use_cache
from upwell.builder.kubernetes.handover import relay
from upwell.builder.kubernetes.manifests import (
    CACHE_FOLDER,
    INPUT_FOLDER,
    TERMINATION_LOG,
    WORK_FOLDER,
)
from upwell.builder.kubernetes.worker import PodBuild, PodFolders

_STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{images}"
runroot = "{run}"
"""
_CONTAINERS = """\
[containers]
default_capabilities = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE",
  "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


@dataclass(frozen=True, slots=True)
class BuildPodFolders:
    """Volumes of a Pod."""

    work: Path = Path(WORK_FOLDER)
    input: Path = Path(INPUT_FOLDER)
    cache: Path = Path(CACHE_FOLDER)
    message: Path = Path(TERMINATION_LOG)

    @property
    def places(self) -> PodFolders:
        """Those that every build of a Pod has."""
        return PodFolders(self.work, self.input, self.message)


async def run_pod_build(folders: BuildPodFolders, *, cached: bool = False) -> int:
    """Carry out the build that is handed over; return the exit code. SIGTERM ends it.

    With `cached`, the folder of the cache is a volume with what earlier builds have kept.
    """
    task = asyncio.current_task()
    if task is not None:
        # Process 1 has no default for it.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with suppress(asyncio.CancelledError), ExitStack() as stack:
        builder = None
        if cached and stack.enter_context(cache_in_use(folders.cache, _say)):
            kept = pod_builder(folders, folders.cache)
            builder = kept if await may_use_cache(kept, folders.cache, _say) else None
        builder = builder or pod_builder(folders)
        return await PodBuild(folders.places, builder, print_log).run()
    return 128 + signal.SIGTERM


async def receive_input(folders: BuildPodFolders, reader: BinaryIO) -> None:
    """Join this command's streams to the process that builds; raises OSError."""
    await relay(folders.input, reader, print_log)


def pod_builder(folders: BuildPodFolders, kept: Path | None = None) -> BuildahBuilder:
    """Return the builder of a Pod, with its images, steps and caches in `kept`; None: in `work`."""
    kept = kept or folders.work
    (folders.work / "run").mkdir(mode=0o700, exist_ok=True)
    conf = folders.work / "containers.conf"
    conf.write_text(_CONTAINERS)
    (folders.work / "storage.conf").write_text(
        _STORAGE.format(images=kept / "storage", run=folders.work / "run")
    )
    return BuildahBuilder(_settings(folders.places, conf, kept), dialer=None)  # as its Pod may


def _settings(folders: PodFolders, conf: Path, kept: Path) -> BuildahSettings:
    """Return how Buildah builds where it may not do much: the Pod is the sandbox.

    Commands share its network, user ids and limits, and nothing of the node.
    """
    return BuildahSettings(
        work_dir=kept / "builds",
        storage_root=kept / "storage",
        run_root=folders.work / "run",
        containers_conf=conf,
        registries_conf=folders.registries_conf,
        authorities=folders.authorities,
        limits_resources=False,
        isolation="rootless",
        shares_processes=True,
        user_namespaces=False,
        network="host",
        allow_host_network=True,
        environment={
            "CONTAINERS_STORAGE_CONF": str(folders.work / "storage.conf"),
            "HOME": str(folders.work),
            "XDG_RUNTIME_DIR": str(folders.work / "run"),
        },
    )


def _say(line: str) -> None:
    print_log(f"{line}\n".encode())


def print_log(content: bytes) -> None:
    """Add to the log of the Pod."""
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def exit_now(code: int) -> None:
    """End the process without waiting for a thread that reads an input without an end."""
    sys.stdout.flush()
    os._exit(code)
