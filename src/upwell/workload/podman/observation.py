"""From what Podman reports to an Instance: pure, so that every odd state can be a test."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from upwell.workload.interface import Instance, ObservedContainer, State
from upwell.workload.podman.containers.body import (
    LABEL_OWNER_VERSION,
    LABEL_REVISION,
    LABEL_ROLE,
    LABEL_TIMELINE,
)
from upwell.workload.podman.containers.facts import ContainerFacts
from upwell.workload.podman.records import ContainerEnd, InstanceRecord


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
