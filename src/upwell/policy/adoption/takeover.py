"""Plan of the adoption of containers: how each is taken over, and in which order."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from upwell.formats.compose.inspected import InspectedContainer
from upwell.formats.compose.model import ComposeService
from upwell.formats.human_duration import human_duration
from upwell.policy.adoption.images import image_of
from upwell.policy.adoption.labels import follow_rule
from upwell.policy.adoption.names import AdoptionError, object_name
from upwell.policy.adoption.objects import LOCAL

CURRENT, BUILT_HERE, STOPPED = "current", "built here", "does not run"
_SHORT = 12
"""Digits of a digest for people."""


class TakeoverMethod(StrEnum):
    """Way in which a service changes hands."""

    BESIDE = "beside"
    """The new instance is ready before the old container is stopped: nothing is missed."""
    PORT = "port"
    """The same, but the port of the machine changes hands in between: about a second."""
    STOP_FIRST = "stop first"
    """The old container is stopped, its volumes are copied, and the new instance starts on them.

    So it is too where a port of the machine cannot be had by both: one of UDP.
    """
    NEVER = "stays"
    """It cannot be run otherwise."""


@dataclass(frozen=True, slots=True)
class CurrentUpstream:
    """The image that a name stands for in its registry now."""

    digest: str = ""
    created: str = ""
    """RFC 3339; empty where the image does not say."""
    fault: str = ""
    """Reason why it cannot be known."""


@dataclass(frozen=True, slots=True)
class AdoptionCandidate:
    """A container that may be adopted."""

    engine: str
    container: InspectedContainer
    upstream: CurrentUpstream

    @property
    def name(self) -> str:
        """Name of its objects; raises AdoptionError."""
        return object_name(self.container.service.name)

    @property
    def obstacles(self) -> tuple[str, ...]:
        """Reasons why it stays where it is."""
        image = self.container.service.image
        found = list(self.container.obstacles)
        if not image or image.startswith("sha256:"):
            found.append("its image has no name that could be followed")
        elif self.upstream.fault and not image.startswith(LOCAL):
            found.append(f"its image cannot be pulled: {self.upstream.fault}")
        return tuple(found)

    @property
    def is_watchable(self) -> bool:
        """True if it stays where it is, and its new images can be told of."""
        image = self.container.service.image
        if not self.obstacles or not image or image.startswith(("sha256:", LOCAL)):
            return False
        return not self.upstream.fault and follow_rule(self.container.service.labels).watched

    @property
    def method(self) -> TakeoverMethod:
        """Way in which it is taken over."""
        service = self.container.service
        if self.obstacles:
            return TakeoverMethod.NEVER
        if service.writes_files or any(port.is_exclusive for port in service.ports):
            return TakeoverMethod.STOP_FIRST
        published = any(port.host_port is not None for port in service.ports)
        return TakeoverMethod.PORT if published else TakeoverMethod.BESIDE

    @property
    def running_image(self) -> str:
        """Pull spec of what runs, where its name stands for another image now; empty otherwise."""
        if self.obstacles or self.behind in {CURRENT, BUILT_HERE} or not self.container.digest:
            return ""
        reference = image_of(self.container.service.image)
        return f"{reference.registry}/{reference.repository}@{self.container.digest}"

    @property
    def behind(self) -> str:
        """Say how far its image is behind what its name stands for now."""
        image, now = self.container.service.image, self.upstream
        if image.startswith(LOCAL):
            return BUILT_HERE
        if not self.container.runs:
            return STOPPED
        if now.fault:
            return "unknown"
        if now.digest in self.container.digests:
            return CURRENT
        age = _between(self.container.created, now.created)
        short = now.digest.partition(":")[2][:_SHORT]
        return f"{age} (now {short})" if age else f"another image (now {short})"

    @property
    def follows(self) -> str:
        """Say what becomes of a new image."""
        if self.container.service.image.startswith(LOCAL):
            return "nothing"
        if self.obstacles:
            return "-"
        rule = follow_rule(self.container.service.labels)
        return "updated" if rule.updated else "told" if rule.watched else "nothing"


def _between(old: str, new: str) -> str:
    """Return the time between two images; empty where it is not known."""
    try:
        later, earlier = (datetime.fromisoformat(text) for text in (new, old))
        age = later - earlier
    except (ValueError, TypeError):
        return ""
    return human_duration(age) if age > timedelta() else ""


def adoption_order(candidates: Iterable[AdoptionCandidate]) -> list[AdoptionCandidate]:
    """Return the candidates so that each comes after those of its project that it depends on."""
    left = sorted(candidates, key=lambda one: (one.container.project, one.container.name))
    ordered: list[AdoptionCandidate] = []
    while left:
        names = {(one.container.project, one.container.service.name) for one in left}
        ready = [
            one
            for one in left
            if not any(
                (one.container.project, other) in names and other != one.container.service.name
                for other in one.container.service.depends_on
            )
        ] or left[:1]  # a circle: any of it
        ordered += ready
        left = [one for one in left if one not in ready]
    return ordered


def with_shared_volumes(containers: Sequence[InspectedContainer]) -> list[InspectedContainer]:
    """Return all containers of an engine; an obstacle for those that share a volume.

    A takeover copies a volume: the others would go on with other files than the new instance.
    """
    users: dict[str, list[str]] = {}
    for one in containers:
        for folder in set(one.volumes.values()):
            users.setdefault(folder, []).append(one.name)
    found: list[InspectedContainer] = []
    for one in containers:
        shared = tuple(
            f"shares volume {name} with {', '.join(sorted(set(users[folder]) - {one.name}))}"
            for name, folder in one.volumes.items()
            if len(users[folder]) > 1
        )
        found.append(replace(one, obstacles=(*one.obstacles, *shared)))
    return found


def refuse_same_names(candidates: Sequence[AdoptionCandidate]) -> None:
    """Raise AdoptionError when two containers would become one service."""
    seen: dict[str, str] = {}
    for candidate in candidates:
        other = seen.setdefault(candidate.name, candidate.container.name)
        if other != candidate.container.name:
            raise AdoptionError(
                f"containers {other} and {candidate.container.name} would both become"
                f" {candidate.name}: adopt them one by one, each in a namespace (-n) of its own"
            )


def plan_rows(candidates: Iterable[AdoptionCandidate]) -> list[tuple[str, ...]]:
    """Return the plan as rows of a table, its titles first."""
    rows: list[tuple[str, ...]] = [
        ("SERVICE", "CONTAINER", "IMAGE", "BEHIND", "NEW IMAGES", "TAKEOVER")
    ]
    for one in candidates:
        engine = one.engine if one.container.runs else "quadlet"
        place = f"{engine}/{one.container.name}"
        image = one.container.service.image
        rows.append((one.name, place, image, one.behind, one.follows, _how(one)))
    return rows


def _handed_over(service: ComposeService) -> Iterator[str]:
    """Yield what the old and the new one cannot have at once."""
    if service.writes_files:
        yield "its files are copied"
    if ports := [str(port.host_port) for port in service.ports if port.is_exclusive]:
        yield f"port {', '.join(ports)}/udp changes hands"


def _how(candidate: AdoptionCandidate) -> str:
    ports = [p.host_port for p in candidate.container.service.ports if p.host_port is not None]
    if candidate.method is not TakeoverMethod.NEVER and not candidate.container.runs:
        copied = " on copies of its volumes" if candidate.container.volumes else ""
        return f"started{copied}; {candidate.container.unit} no more"
    match candidate.method:
        case TakeoverMethod.BESIDE:
            return "beside it, then it is stopped"
        case TakeoverMethod.PORT:
            return f"beside it, then port {', '.join(map(str, ports))} changes hands: about 1 s"
        case TakeoverMethod.STOP_FIRST:
            return f"stopped first: {' and '.join(_handed_over(candidate.container.service))}"
        case TakeoverMethod.NEVER:
            return f"stays: {candidate.obstacles[0]}"
