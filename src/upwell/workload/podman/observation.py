"""From what Podman reports to an Instance: pure, so that every odd state can be a test."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from upwell.machine.clock import PastTimes
from upwell.oci import Digest, InvalidDigestError, InvalidReferenceError, Reference
from upwell.workload.interface import Instance, ObservedContainer, Owner, State
from upwell.workload.podman.containers.body import (
    LABEL_CONTAINER,
    LABEL_INIT,
    LABEL_KEPT,
    LABEL_KIND,
    LABEL_NAME,
    LABEL_NAMESPACE,
    LABEL_OWNER,
    LABEL_OWNER_VERSION,
    LABEL_RESTARTS,
    LABEL_REVISION,
    LABEL_ROLE,
    LABEL_TIMELINE,
    LABEL_UNVERIFIED,
)
from upwell.workload.podman.records import ContainerEnd, InstanceRecord
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


class ContainerTimes:
    """Puts what Podman says where it must lie by our own clock.

    A container that runs, and did not at the listing before, has started since then, and not in
    the future; the same for its end.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._past = PastTimes(clock)
        self._known: dict[tuple[str, datetime], datetime] = {}
        """Corrected times, by container and Podman's own."""
        self._listed_at: datetime | None = None

    @property
    def past(self) -> PastTimes:
        """Times that were written down, as they count now."""
        return self._past

    def correct(self, facts: ContainerFacts) -> ContainerFacts:
        """Return the container with its times corrected; the same ones each time."""
        started = self._correct(facts.id, facts.started_at)
        ended = self._correct(facts.id, facts.ended_at)
        if (started, ended) == (facts.started_at, facts.ended_at):
            return facts
        return replace(facts, started_at=started, ended_at=ended)

    def listed(self, began: datetime, containers: Iterable[str]) -> None:
        """Take down when a listing of all containers, by their ids, began."""
        present = set(containers)
        self._known = {key: time for key, time in self._known.items() if key[0] in present}
        self._listed_at = began

    def _correct(self, container: str, said: datetime | None) -> datetime | None:
        if said is None:
            return None
        key = container, said
        if key not in self._known:
            time = self._past(said)
            if self._listed_at is not None:
                time = max(time, min(self._listed_at, self._clock()))
            self._known[key] = time
        return self._past(self._known[key])


def observe(
    containers: Sequence[ContainerFacts],
    record: InstanceRecord | None,
    complaints: Mapping[str, str],
) -> Instance:
    """Put the containers of one instance together (there is at least one).

    `complaints` holds by container ID what its readiness probe said last.
    """
    labels = containers[0].labels
    state = _state(containers, record)
    regular = [container for container in containers if container.init is None]
    since = [_ready_since(container, record) for container in regular]
    ready = state is State.RUNNING and bool(since) and None not in since
    times = [moment for moment in since if moment is not None]
    started = [entry.started_at for entry in containers if entry.started_at is not None]
    running = state is State.RUNNING
    return Instance(
        name=containers[0].instance,
        owner=containers[0].owner,
        revision=labels.get(LABEL_REVISION, ""),
        state=state,
        ready=ready,
        ready_since=max(times) if ready else None,
        started_at=max(started, default=containers[0].created),
        address=next((c.address for c in regular if c.address), "") if running else "",
        addresses=tuple(sorted({c.address for c in containers if c.running and c.address})),
        images={container.name: container.image for container in regular},
        restarts=max(container.restarts for container in containers),
        message="" if ready else _message(state, containers, record, complaints),
        start_error=_start_error(containers) if state is State.CREATED else "",
        role=labels.get(LABEL_ROLE, ""),
        foreign=_is_foreign(containers, record),
        exit_codes={one.name: one.exit_code for one in _results(regular, record) if one.finished},
        losses=_losses(record) + (state is State.LOST),
        begun_at=record.begun_at if record else None,
        uid=record.uid if record else "",
        accounts=tuple(sorted({one.account for one in record.tokens})) if record else (),
        labels=record.labels if record else {},  # a container's own have its image's among them
        containers=tuple(_observed(container, record) for container in containers),
        volumes=tuple(sorted({path for one in regular for path in one.written})),
        probed=all(_is_probed(container, record) for container in regular),
        timeline=labels.get(LABEL_TIMELINE, ""),
        owner_version=labels.get(LABEL_OWNER_VERSION, ""),
    )


def restarts_of(old: Sequence[ContainerFacts], record: InstanceRecord | None) -> int:
    """Count from the ended containers: a start that was cut short is not counted twice."""
    ended = [container.restarts + container.finished for container in old if container.ended]
    return max(ended, default=record.restarts if record else 0)


def _observed(container: ContainerFacts, record: InstanceRecord | None) -> ObservedContainer:
    regular = container.init is None
    return ObservedContainer(
        name=container.name,
        id=container.id,
        image=container.image_name,
        digest=container.image,
        started_at=container.started_at,
        ended_at=_ended_at(container) if container.finished else None,
        running=container.running,
        ready=regular and _ready_since(container, record) is not None,
        exit_code=container.exit_code if container.finished else None,
        restarts=container.restarts,
        init=not regular,
        lost=container.lost,
        out_of_memory=container.finished and container.out_of_memory,
        previous=_previous(container, record),
    )


def ends_of(
    old: Sequence[ContainerFacts], record: InstanceRecord | None
) -> tuple[ContainerEnd, ...]:
    """Return how the containers ended that others are about to take the place of."""
    known = {end.name: end for end in record.ends} if record else {}
    for one in old:
        if one.finished:
            times = (one.started_at, _ended_at(one))
            end = ContainerEnd(one.name, one.id, one.exit_code, *times, one.out_of_memory)
            known[one.name] = end
    return tuple(known.values())


def _previous(container: ContainerFacts, record: InstanceRecord | None) -> ObservedContainer | None:
    end = record.end(container.name) if record else None
    if end is None:
        return None
    return ObservedContainer(
        name=end.name,
        id=end.id,
        image=container.image_name,
        digest=container.image,
        started_at=end.started_at,
        ended_at=end.ended_at,
        exit_code=end.exit_code,
        out_of_memory=end.out_of_memory,
    )


def _ended_at(container: ContainerFacts) -> datetime | None:
    """Return when it ended, not before its start: Podman notes that after it has begun to run."""
    times = [time for time in (container.started_at, container.ended_at) if time is not None]
    return max(times) if container.ended_at is not None else None


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


def _losses(record: InstanceRecord | None) -> int:
    """Return how often in a row the instance was lost before it was started this time."""
    return record.losses if record else 0


def _is_foreign(containers: Sequence[ContainerFacts], record: InstanceRecord | None) -> bool:
    """Return True if somebody else has made one of the containers, with our labels on it."""
    if record is None:
        return True
    return bool(record.made) and any(one.id not in record.made for one in containers)


def is_moved(containers: Sequence[ContainerFacts], root: Path) -> bool:
    """Return True if the files of an instance are in another folder of instances than `root`."""
    here = f"{root}/"
    for one in containers:
        if one.hosts.startswith(here):
            continue
        file = Path(one.hosts)
        ours = file.parent.name == one.instance and file.parent.parent.name == root.name
        if ours and file.resolve() != _in(root, file).resolve():
            return True
    return False


def _in(root: Path, file: Path) -> Path:
    return root / file.parent.name / file.name


def next_to_start(
    containers: Sequence[ContainerFacts], record: InstanceRecord | None
) -> Sequence[ContainerFacts]:
    """Return the created containers whose turn it is: the next init container, or all others.

    Empty while one runs, when all have been started, and when not all were created.
    """
    if _state(containers, record) is not State.INITIALIZING:
        return ()
    for container in sorted(containers, key=lambda one: -1 if one.init is None else one.init):
        if container.init is not None and not container.ended:
            return () if container.started_at is not None else (container,)
    return [one for one in containers if one.init is None and one.started_at is None]


def _results(
    regular: Sequence[ContainerFacts], record: InstanceRecord | None
) -> Sequence[ContainerFacts]:
    """Return the containers whose end counts as the instance's."""
    if record is None or not record.once:
        return regular
    sidecars = {known.name for known in record.containers if known.sidecar}
    return [container for container in regular if container.name not in sidecars]


def _state(containers: Sequence[ContainerFacts], record: InstanceRecord | None) -> State:
    initial = [container for container in containers if container.init is not None]
    regular = [container for container in containers if container.init is None]
    results = _results(regular, record)
    ended = [container for container in results if container.ended]
    failed = any(container.failed for container in (*initial, *ended))
    if not failed and any(container.lost for container in (*initial, *ended)):
        return State.LOST
    lasting = record is None or not record.once
    if failed or (ended and (lasting or len(ended) == len(results))):
        return State.EXITED
    expected = len(record.containers) if record else len(containers)
    incomplete = len(containers) < expected
    if incomplete:
        return State.CREATED
    if any(not container.ended for container in initial):
        return State.INITIALIZING
    if any(container.started_at is None for container in regular):
        return State.INITIALIZING if initial else State.CREATED
    return State.RUNNING


def _ready_since(container: ContainerFacts, record: InstanceRecord | None) -> datetime | None:
    if not container.running:
        return None
    known = record.container(container.name) if record else None
    if record is None or known is None:
        return container.started_at
    if known.post_start is not None and container.id not in record.post_started:
        return None
    if known.readiness is None and known.startup is None:
        return container.started_at
    return record.ready_since.get(container.id)


def _is_probed(container: ContainerFacts, record: InstanceRecord | None) -> bool:
    known = record.container(container.name) if record else None
    return known is not None and (known.readiness or known.startup) is not None


def _start_error(containers: Sequence[ContainerFacts]) -> str:
    return "; ".join(f"container {one.name}: {one.error}" for one in containers if one.error)


def _message(
    state: State,
    containers: Sequence[ContainerFacts],
    record: InstanceRecord | None,
    complaints: Mapping[str, str],
) -> str:
    match state:
        case State.EXITED:
            ends = [
                entry.how_it_ended()
                for entry in containers
                if entry.failed or (entry.ended and entry.init is None)
            ]
            failure = [record.failure] if record and record.failure else []
            return "; ".join(failure + ends)
        case State.LOST:
            ends = [entry.how_it_ended() for entry in containers if entry.lost]
            times = _losses(record) + 1
            again = [f"lost {times} times in a row"] if times > 1 else []
            return "; ".join(ends + again)
        case State.CREATED:
            return _start_error(containers) or "not started yet"
        case State.INITIALIZING:
            waiting = [one.name for one in containers if one.init is not None and not one.ended]
            return f"init container {waiting[0]} has not ended" if waiting else "starting"
        case State.PULLING:
            return ""  # nothing says that but the pull itself
        case State.RUNNING:
            return "; ".join(
                f"container {entry.name}: {complaints.get(entry.id, 'not probed yet')}"
                if entry.running
                else f"container {entry.name} is {entry.status}"
                for entry in containers
                if entry.init is None and _ready_since(entry, record) is None
            )


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
