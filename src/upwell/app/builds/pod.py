"""Composes what runs in a build's Pod on a cluster: Buildah, confined by the Pod itself."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from upwell.builder.buildah import BuildahBuilder, BuildahSettings
from upwell.builder.kubernetes.handover import relay
from upwell.builder.kubernetes.manifests import INPUT_FOLDER, TERMINATION_LOG, WORK_FOLDER
from upwell.builder.kubernetes.worker import PodBuild, PodFolders

_STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{root}/storage"
runroot = "{root}/run"
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
    message: Path = Path(TERMINATION_LOG)


async def run_pod_build(folders: BuildPodFolders) -> int:
    """Carry out the build that is handed over; return the exit code. SIGTERM ends it."""
    task = asyncio.current_task()
    if task is not None:
        # Process 1 has no default for it.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    (folders.work / "run").mkdir(mode=0o700, exist_ok=True)
    conf = folders.work / "containers.conf"
    conf.write_text(_CONTAINERS)
    (folders.work / "storage.conf").write_text(_STORAGE.format(root=folders.work))
    places = PodFolders(folders.work, folders.input, folders.message)
    builder = BuildahBuilder(_settings(places, conf), dialer=None)  # as its Pod may
    with suppress(asyncio.CancelledError):
        return await PodBuild(places, builder, _print).run()
    return 128 + signal.SIGTERM


async def receive_input(folders: BuildPodFolders, reader: BinaryIO) -> None:
    """Join this command's streams to the process that builds; raises OSError."""
    await relay(folders.input, reader, _print)


def _settings(folders: PodFolders, conf: Path) -> BuildahSettings:
    """Return how Buildah builds where it may not do much: the Pod is the sandbox.

    Commands share its network, user ids and limits, and nothing of the node.
    """
    return BuildahSettings(
        work_dir=folders.work / "builds",
        storage_root=folders.work / "storage",
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


def _print(content: bytes) -> None:
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def exit_now(code: int) -> None:
    """End the process without waiting for a thread that reads an input without an end."""
    sys.stdout.flush()
    os._exit(code)
