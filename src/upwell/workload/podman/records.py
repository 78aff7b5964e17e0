"""Records of instances, with what Podman does not know: their probes and how they went.

One folder for each instance, `instances/<name>/`, readable by us alone: `record.json` and
`volumes/`. Records are written atomically and hold no environment and no login.
"""

import contextlib
import json
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from upwell.machine.disk import is_full
from upwell.machine.private_file import write_private
from upwell.workload.errors import RuntimeUnavailableError, WorkloadError
from upwell.workload.instance_spec import (
    Action,
    ContainerSpec,
    ExecProbe,
    HttpProbe,
    InstanceSpec,
    Owner,
    Pause,
    ProbeSpec,
    TcpProbe,
)
from upwell.workload.podman.users.ids import OwnIds
from upwell.workload.podman.volumes.mounts import remove_tree

_log = logging.getLogger(__name__)

_PRIVATE_FOLDER = 0o700
_REMOVED = "removed"


class InvalidNameError(WorkloadError):
    """The instance's name cannot be a folder's and a container's name."""

    reason = "InvalidName"


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """The probes and actions of one container."""

    name: str
    readiness: ProbeSpec | None = None
    liveness: ProbeSpec | None = None
    startup: ProbeSpec | None = None
    post_start: Action | None = None
    pre_stop: Action | None = None
    sidecar: bool = False
    init: bool = False

    @classmethod
    def of(cls, container: ContainerSpec) -> Self:
        """Return the record of an ordinary container."""
        return cls(
            container.name,
            container.readiness,
            container.liveness,
            container.startup,
            container.post_start,
            container.pre_stop,
            container.sidecar,
        )


@dataclass(frozen=True, slots=True)
class MountedToken:
    """A token that an instance has: which, when it is made anew, and whose its file is there."""

    volume: str
    path: str
    account: str
    audience: str
    seconds: int
    renew_at: datetime
    user: int
    """Of the host, as the group."""
    group: int
    mode: int


@dataclass(frozen=True, slots=True)
class ContainerEnd:
    """End of a container that another one has taken the place of."""

    name: str
    id: str
    exit_code: int
    started_at: datetime | None
    ended_at: datetime | None
    out_of_memory: bool = False

    def with_times(self, past: Callable[[datetime], datetime]) -> Self:
        """Return it with its times as they count now."""
        started, ended = (time and past(time) for time in (self.started_at, self.ended_at))
        return replace(self, started_at=started, ended_at=ended)


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """One instance as it was last started."""

    name: str
    owner: Owner
    revision: str
    containers: tuple[ContainerRecord, ...]
    restarts: int = 0
    failure: str = ""
    """Reason why we ended it ourselves: a liveness probe, say."""
    ready_since: Mapping[str, datetime] = field(default_factory=dict)
    """Container ID -> when its readiness probe turned to success; absent while it fails.

    By ID, not by name: what a former container achieved says nothing about its successor.
    """
    post_started: tuple[str, ...] = ()
    """IDs of the containers whose action after the start is done."""
    once: bool = False
    made: tuple[str, ...] = ()
    """IDs of the containers that we have made for this start."""
    pins: tuple[str, ...] = ()
    """Names of its pins, without which none of its containers may start."""
    users: OwnIds | None = None
    """Ids of the host that are its own; None: it runs with the host's."""
    labels: Mapping[str, str] = field(default_factory=dict)
    begun_at: datetime | None = None
    """Time at which it was first started; a restart is none, a start after `stop` is."""
    timeline: str = ""
    """Timeline of the store that started it."""
    losses: int = 0
    """Times in a row that the machine had lost it before this start."""
    uid: str = ""
    """Identity that it keeps until `stop`; empty: of an earlier version."""
    tokens: tuple[MountedToken, ...] = ()
    ends: tuple[ContainerEnd, ...] = ()
    """The last end of each container that has ended, and was started anew."""

    @classmethod
    def of(cls, spec: InstanceSpec, restarts: int, begun_at: datetime, losses: int = 0) -> Self:
        """Return the record of an instance that is about to be started."""
        containers = (
            *(ContainerRecord(container.name, init=True) for container in spec.init),
            *(ContainerRecord.of(container) for container in spec.containers),
        )
        return cls(
            spec.name,
            spec.owner,
            spec.revision,
            containers,
            restarts,
            once=spec.once,
            labels=dict(spec.labels),
            begun_at=begun_at,
            losses=losses,
        )

    def end(self, name: str) -> ContainerEnd | None:
        """Return the last end of the container called `name`, if one is known."""
        return next((entry for entry in self.ends if entry.name == name), None)

    def container(self, name: str) -> ContainerRecord | None:
        """Return the record of the container called `name`."""
        return next((entry for entry in self.containers if entry.name == name), None)

    def with_readiness(self, container_id: str, since: datetime | None) -> Self:
        """Return the record with one container ready since `since`, or not ready."""
        others = {key: value for key, value in self.ready_since.items() if key != container_id}
        if since is not None:
            others[container_id] = since
        return replace(self, ready_since=others)

    def with_times(self, past: Callable[[datetime], datetime]) -> Self:
        """Return the record with its times as they count now."""
        ready = {key: past(since) for key, since in self.ready_since.items()}
        begun = self.begun_at and past(self.begun_at)
        ends = tuple(end.with_times(past) for end in self.ends)
        if (ready, begun, ends) == (self.ready_since, self.begun_at, self.ends):
            return self
        return replace(self, ready_since=ready, begun_at=begun, ends=ends)

    def with_token(self, token: MountedToken) -> Self:
        """Return the record with a token in the place of the one before."""
        place = (token.volume, token.path)
        kept = (one for one in self.tokens if (one.volume, one.path) != place)
        return replace(self, tokens=(*kept, token))

    def with_post_start(self, container_id: str) -> Self:
        """Return the record with what follows a container's start done."""
        return replace(self, post_started=(*self.post_started, container_id))


class RecordStore:
    """The folders of all instances; reads each record once.

    A folder that is removed goes at once and as a whole: it is moved aside first, beside the
    folder of all instances, and emptied there.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._removed = root.with_name(_REMOVED)
        self._cache: dict[str, InstanceRecord] = {}
        self._unwritten: set[str] = set()

    def folder(self, name: str) -> Path:
        """Return the folder of an instance, which may not exist; raises InvalidNameError."""
        if not name or name in {".", ".."} or "/" in name or "\0" in name:
            raise InvalidNameError(f"{name!r} cannot name an instance")
        return self.root / name

    def load(self, name: str) -> InstanceRecord | None:
        """Return the record, or None when there is none or it cannot be read."""
        if name not in self._cache:
            try:
                raw = (self.folder(name) / "record.json").read_bytes()
                self._cache[name] = _decode(json.loads(raw))
            except (OSError, ValueError, KeyError, TypeError, InvalidNameError):
                return None  # written atomically: absent, or of a format that is not ours
        return self._cache[name]

    def save(self, record: InstanceRecord) -> None:
        """Write the record so that a crash leaves the old one or the new one."""
        folder = self.folder(record.name)
        folder.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
        self._write(record)

    def change(self, name: str, change: Callable[[InstanceRecord], InstanceRecord]) -> None:
        """Change the record of an instance, if it has one; one that is removed stays removed.

        While the disk takes nothing, the change is kept in memory, for `write_rest`.
        """
        record = self.load(name)
        if record is not None:
            self._note(change(record))

    def write_rest(self) -> None:
        """Write the changes that the disk did not take."""
        for name in sorted(self._unwritten):
            self._note(self._cache[name])

    def remove(self, name: str) -> None:
        """Remove the folder of an instance, if there is one; what cannot go yet, `purge` removes.

        Raises OSError.
        """
        self._cache.pop(name, None)
        self._unwritten.discard(name)
        aside = self._removed / f"{name}.{secrets.token_hex(4)}"
        try:
            self._removed.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
            self.folder(name).rename(aside)
        except FileNotFoundError:
            return
        except OSError as error:
            if not is_full(error):
                raise
            aside = self.folder(name)  # no room for another name: a removal goes on all the same
        remove_tree(aside)

    def purge(self) -> None:
        """Remove what is left of folders whose removal was cut short."""
        remove_tree(self._removed)

    def names(self) -> list[str]:
        """Return the instances that have a folder."""
        if not self.root.is_dir():
            return []
        return sorted(entry.name for entry in self.root.iterdir())

    def _note(self, record: InstanceRecord) -> None:
        name = record.name
        try:
            self._write(record)
        except FileNotFoundError:
            self._cache.pop(name, None)
            self._unwritten.discard(name)
        except OSError as error:
            if name not in self._unwritten:
                _log.warning("record not written", extra={"instance": name, "why": str(error)})
            self._cache[name] = record
            self._unwritten.add(name)

    def _write(self, record: InstanceRecord) -> None:
        document = json.dumps(asdict(record), default=_encode_time)
        # Not synced: it is written at each turn of a probe, and one that is lost costs a new probe.
        write_private(self.folder(record.name) / "record.json", document, synced=False)
        self._cache[record.name] = record
        self._unwritten.discard(record.name)


def _encode_time(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(type(value).__name__)


def _decode(document: Mapping[str, Any]) -> InstanceRecord:
    return InstanceRecord(
        name=str(document["name"]),
        owner=Owner(**document["owner"]),
        revision=str(document["revision"]),
        containers=tuple(
            ContainerRecord(
                name=entry["name"],
                readiness=_probe(entry["readiness"]),
                liveness=_probe(entry["liveness"]),
                startup=_probe(entry.get("startup")),
                post_start=_action(entry.get("post_start")),
                pre_stop=_action(entry.get("pre_stop")),
                sidecar=bool(entry.get("sidecar")),
                init=bool(entry.get("init")),
            )
            for entry in document["containers"]
        ),
        restarts=int(document["restarts"]),
        failure=str(document["failure"]),
        ready_since={
            key: datetime.fromisoformat(value) for key, value in document["ready_since"].items()
        },
        post_started=tuple(document.get("post_started", ())),
        once=bool(document.get("once")),
        made=tuple(document.get("made", ())),
        pins=tuple(document.get("pins", ())),
        users=_ids(document.get("users")),
        labels=document.get("labels", {}),
        begun_at=_time(document.get("begun_at")),
        timeline=str(document.get("timeline", "")),
        losses=int(document.get("losses", 0)),
        uid=str(document.get("uid", "")),
        tokens=tuple(_token(one) for one in document.get("tokens", ())),
        ends=tuple(_end(one) for one in document.get("ends", ())),
    )


def _end(document: Mapping[str, Any]) -> ContainerEnd:
    times = {key: _time(document.get(key)) for key in ("started_at", "ended_at")}
    return ContainerEnd(**{**document, **times})


def _token(document: Mapping[str, Any]) -> MountedToken:
    renew_at = datetime.fromisoformat(document["renew_at"])
    return MountedToken(**{**document, "renew_at": renew_at})


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _ids(document: Mapping[str, Any] | None) -> OwnIds | None:
    return OwnIds(int(document["first"]), tuple(document["more"])) if document else None


def _probe(document: Mapping[str, Any] | None) -> ProbeSpec | None:
    if document is None:
        return None
    return ProbeSpec(**{**document, "check": _check(document["check"])})


def _check(check: Mapping[str, Any]) -> HttpProbe | TcpProbe | ExecProbe:
    if "command" in check:
        return ExecProbe(tuple(check["command"]))
    if "scheme" in check:
        headers = tuple((name, value) for name, value in check["headers"])
        return HttpProbe(check["port"], check["path"], check["scheme"], headers)
    return TcpProbe(check["port"])


def _action(document: Mapping[str, Any] | None) -> Action | None:
    if document is None:
        return None
    if "seconds" in document:
        return Pause(document["seconds"])
    check = _check(document)
    return None if isinstance(check, TcpProbe) else check


@contextlib.contextmanager
def writing(name: str) -> Iterator[None]:
    """Turn a fault of the disk into the runtime's, to be tried again."""
    try:
        yield
    except OSError as error:
        why = f"cannot write the files of instance {name}: {error.strerror}"
        raise RuntimeUnavailableError(why) from error
