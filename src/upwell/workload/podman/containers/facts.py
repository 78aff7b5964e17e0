"""Containers as Podman inspects them: its document as values, and what follows from them alone."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from upwell.oci import Digest, InvalidDigestError, InvalidReferenceError, Reference
from upwell.workload.instance_spec import Owner
from upwell.workload.podman.containers.body import (
    LABEL_CONTAINER,
    LABEL_INIT,
    LABEL_KEPT,
    LABEL_KIND,
    LABEL_NAME,
    LABEL_NAMESPACE,
    LABEL_OWNER,
    LABEL_RESTARTS,
    LABEL_ROLE,
    LABEL_UNVERIFIED,
)
from upwell.workload.podman.volumes.kept_volumes import VOLUME_PREFIX, NamelessVolume

_ENDED = frozenset({"exited", "dead", "removing"})
_HAS_PROCESS = frozenset({"running", "paused", "stopping"})
_START_MARGIN = timedelta(seconds=5)
"""Podman notes the start a moment after the process began, and reads the end from a file's time."""
_NANOSECONDS = re.compile(r"(\.\d{6})\d+")
_NAMELESS = re.compile(r"[0-9a-f]{64}")
"""Name that Podman itself gives to a volume."""
_SIGNAL_BASE = 128
_JOB = "Job"
_NEVER = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """One container as Podman inspects it."""

    id: str
    labels: Mapping[str, str]
    status: str
    """Podman's word: created, initialized, running, paused, stopping, stopped, exited, …"""
    exit_code: int
    out_of_memory: bool
    error: str
    """Error with which the container could not be started."""
    created: datetime
    started_at: datetime | None
    address: str
    image: Digest | None
    last_lines: str = ""
    image_name: str = ""
    ended_at: datetime | None = None
    network: str = ""
    """Path of its network namespace; empty while it does not run."""
    hosts: str = ""
    """File of ours that is its /etc/hosts; empty: none is."""
    kept: tuple[str, ...] = ()
    """Paths of the volumes that are kept with its owner."""
    nameless: tuple[NamelessVolume, ...] = ()
    """Volumes that go with the container unless they are kept."""
    pid: int = 0
    monitor_pid: int = 0
    """The process of conmon, which waits for the container's end and writes down how it came."""
    exit_on_record: bool = False
    """Podman has the exit code and the finish time that conmon wrote down for this start."""
    gone: bool = False
    """Neither process is there, whatever Podman says: to be found out beside this document."""

    def has_image(self, image: Reference) -> bool:
        """Return True if it was made of an image, by digest alone where that has one."""
        try:
            own = Reference.parse(self.image_name)
        except InvalidReferenceError:
            return False
        return image == own.exact

    def proves(self, namespace: str, image: Reference) -> bool:
        """Return True if the image was given to the namespace: it was made of it, and for that."""
        return (
            self.labels.get(LABEL_NAMESPACE) == namespace
            and LABEL_UNVERIFIED not in self.labels
            and self.has_image(image)
        )

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """Read the answer of "inspect container"."""
        state = document["State"]
        networks = (document.get("NetworkSettings") or {}).get("Networks") or {}
        addresses = [str(network.get("IPAddress") or "") for network in networks.values()]
        return cls(
            id=str(document["Id"]),
            labels=document["Config"].get("Labels") or {},
            status=str(state["Status"]),
            exit_code=int(state["ExitCode"]),
            out_of_memory=bool(state["OOMKilled"]),
            error=str(state.get("Error") or ""),
            created=parse_time(document["Created"]) or datetime.fromtimestamp(0, UTC),
            started_at=parse_time(state["StartedAt"]),
            address=next((address for address in addresses if address), ""),
            image=_image_digest(document),
            image_name=str(document.get("ImageName") or ""),
            ended_at=parse_time(str(state.get("FinishedAt") or _NEVER)),
            network=str((document.get("NetworkSettings") or {}).get("SandboxKey") or ""),
            hosts=next(
                (
                    str(mount.get("Source") or "")
                    for mount in document.get("Mounts") or ()
                    if mount.get("Destination") == "/etc/hosts"
                ),
                "",
            ),
            kept=_kept(document),
            nameless=tuple(
                NamelessVolume(str(mount["Name"]), str(mount["Destination"]), Path(mount["Source"]))
                for mount in document.get("Mounts") or ()
                if _NAMELESS.fullmatch(str(mount.get("Name") or ""))
            ),
            pid=int(state.get("Pid") or 0),
            monitor_pid=int(state.get("ConmonPid") or 0),
            exit_on_record=_exit_on_record(state),
        )

    @property
    def name(self) -> str:
        """The container's name within its instance."""
        return self.labels.get(LABEL_CONTAINER, "")

    @property
    def instance(self) -> str:
        """The instance that the container is part of."""
        return self.labels.get(LABEL_NAME, "")

    @property
    def init(self) -> int | None:
        """Number of the init container; None when it is none."""
        text = self.labels.get(LABEL_INIT, "")
        return int(text) if text.isdecimal() else None

    @property
    def owner(self) -> Owner:
        """The owner of its instance."""
        labels = self.labels
        return Owner(
            labels.get(LABEL_KIND, ""), labels.get(LABEL_NAMESPACE, ""), labels.get(LABEL_OWNER, "")
        )

    @property
    def written(self) -> Iterable[str]:
        """Paths of volumes that the image declares, and that another instance will have."""
        return (*self.kept, *(one.path for one in self.unkept))

    @property
    def unkept(self) -> tuple[NamelessVolume, ...]:
        """Volumes of a replica that an earlier version made: they may hold data.

        What runs once, or before the others, gets fresh ones; a replica's are kept nowadays.
        """
        once = self.init is not None or LABEL_ROLE in self.labels or self.owner.kind == _JOB
        return () if once else self.nameless

    @property
    def failed(self) -> bool:
        """True if it is known to have ended badly."""
        return self.finished and self.exit_code != 0

    @property
    def restarts(self) -> int:
        """Number of containers that this one replaced, one after the other."""
        text = self.labels.get(LABEL_RESTARTS, "")
        return int(text) if text.isdecimal() else 0

    @property
    def running(self) -> bool:
        """True if its process can answer."""
        return self.status == "running" and not self.gone

    @property
    def claims_process(self) -> bool:
        """True if it has a process, as Podman says: after a power cut that is not so."""
        return self.status in _HAS_PROCESS

    @property
    def ended(self) -> bool:
        """True if its process ran and is gone."""
        if self.gone or self.status in _ENDED:
            return True
        return self.status == "stopped" and self.started_at is not None

    @property
    def finished(self) -> bool:
        """True if there is evidence of how it ended."""
        return self.ended and self.exit_on_record and not self.gone

    @property
    def lost(self) -> bool:
        """True if it has ended, and nobody knows how."""
        return self.ended and not self.finished

    def how_it_ended(self) -> str:
        """Say with what exit code, and show the last lines of its log."""
        if self.lost:
            return (
                f"container {self.name} was lost with its machine or its monitor"
                " (power cut, hard reset, kill), and how it ended is unknown"
            )
        if self.out_of_memory:
            how = "was killed for using more memory than its limit"
        elif self.exit_code > _SIGNAL_BASE:
            how = f"exited {self.exit_code} (signal {self.exit_code - _SIGNAL_BASE})"
        else:
            how = f"exited {self.exit_code}"
        lines = f": {self.last_lines}" if self.last_lines else ""
        return f"container {self.name} {how}{lines}"


def _kept(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the paths of kept volumes: Podman's volumes, or mounts of ours that a label tells."""
    volumes = [
        str(mount["Destination"])
        for mount in document.get("Mounts") or ()
        if str(mount.get("Name") or "").startswith(VOLUME_PREFIX)
    ]
    label = (document["Config"].get("Labels") or {}).get(LABEL_KEPT) or "[]"
    try:
        return (*volumes, *map(str, json.loads(label)))
    except (ValueError, TypeError):
        return tuple(volumes)  # a label of somebody else


def _exit_on_record(state: Mapping[str, Any]) -> bool:
    """Return True if Podman has read the file in which conmon leaves how a container ended.

    It has the finish time from there. Of what was lost in a power cut it says `exited` with code 0
    and no finish time; where conmon alone was killed, code -1.
    """
    started = parse_time(str(state["StartedAt"]))
    ended = parse_time(str(state.get("FinishedAt") or _NEVER))
    if ended is None or int(state["ExitCode"]) < 0:
        return False
    return started is None or ended >= started - _START_MARGIN


def _image_digest(document: Mapping[str, Any]) -> Digest | None:
    """Return the digest by which Podman found the image, else that of its manifest.

    One image can be stored under several digests (an index and its manifest, say); the one that
    the container was started by is what rollouts and promotions name.
    """
    _, _, pinned = str(document.get("ImageName") or "").partition("@")
    for text in (pinned, str(document.get("ImageDigest") or "")):
        try:
            return Digest.parse(text)
        except InvalidDigestError:
            continue
    return None


def parse_time(text: str) -> datetime | None:
    """Parse Go's RFC 3339 with nanoseconds; its zero time, year 1, means never."""
    moment = datetime.fromisoformat(_NANOSECONDS.sub(r"\1", text))
    return moment.astimezone(UTC) if moment.year > 1 else None
