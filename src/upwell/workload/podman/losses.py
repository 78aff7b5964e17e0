"""Facts that Podman has to be told after a power cut, because it cannot know it by itself.

Podman keeps the state of what runs in a folder that it takes to be empty after a boot. Where that
folder is on a disk it believes for ever that everything runs, by process numbers that may belong to
somebody else by now: it then refuses to remove such a container for as long as that process lives.
"""

import contextlib
import shutil
from collections.abc import Sequence

from upwell.machine.private_file import write_private
from upwell.machine.processes import boot_identity, is_process_of
from upwell.workload.interface import State
from upwell.workload.podman.api.service import PodmanSettings
from upwell.workload.podman.containers.facts import ContainerFacts
from upwell.workload.podman.records import InstanceRecord

_UNKNOWN = "-1"
"""Exit code by which Podman itself says that it was not to be had."""


def living_process(container: ContainerFacts) -> int:
    """Return the process whose end tells of the container's; 0 where there is none.

    The monitor's, or, where that is gone already, the container's own.
    """
    pids = (container.monitor_pid, container.pid)
    return next((pid for pid in pids if is_process_of(pid, container.id)), 0)


def forget_earlier_boot(settings: PodmanSettings) -> None:
    """Empty Podman's folder of what runs when another boot of the machine has filled it.

    It holds nothing else, and Podman finds out then by itself what it has lost. Only the folder
    that is ours alone: the system's is emptied by the system. To be called before Podman starts.
    """
    folder, now = settings.run_root, boot_identity()
    if folder is None or not now:
        return
    note = folder / "boot-identity"
    with contextlib.suppress(OSError):
        if note.read_text() not in {now, ""}:
            shutil.rmtree(folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(note, now)


def record_losses(settings: PodmanSettings, containers: Sequence[ContainerFacts]) -> None:
    """Note for Podman that lost containers have ended, so that it lets them be removed.

    The note is the file in which conmon would have left the exit code. Only in a folder that is
    ours alone; without it, Podman finds out in its own time.
    """
    if settings.run_root is None:
        return
    exits = settings.run_root / "libpod" / "exits"
    for container in containers:
        if container.gone and exits.is_dir():
            with contextlib.suppress(FileExistsError), (exits / container.id).open("x") as file:
                file.write(_UNKNOWN)


def losses_of(state: State, record: InstanceRecord | None) -> int:
    """Count how often it was lost in a row: a start that was cut short is not counted twice."""
    if record is None or state is State.EXITED:
        return 0
    # Without containers on record, this start is tried again: the loss is counted already.
    return record.losses + (state is State.LOST and bool(record.made))
