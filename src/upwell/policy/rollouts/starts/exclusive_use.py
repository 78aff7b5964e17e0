"""Volumes and ports that instances of two revisions cannot have at once, and what follows from it.

These are volumes that they write, and ports of the machine that the runtime publishes: two
instances cannot share those, unlike what the router listens at. The old instance stops first.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from upwell.api.meta import Condition, Resource
from upwell.policy.rollouts.pod_template import TemplateError
from upwell.policy.rollouts.rollout import RolloutStrategy, Settings
from upwell.policy.rollouts.settings import WORKLOADS, Workload, settings_of, template_of
from upwell.policy.rollouts.starts.published_ports import published_ports
from upwell.policy.rollouts.volumes.written import written_claims
from upwell.workload.interface import Instance

SHARE_ANNOTATION = "upwell.dev/share-volumes"
"""`true`: instances of two revisions may write the same volumes at the same time."""
STOPS_FIRST = "StopsBeforeStart"

_AS_DECLARED = Condition(type=STOPS_FIRST, status="False", reason="AsDeclared", message="")


@dataclass(frozen=True, slots=True)
class ExclusiveUse:
    """Parts of a workload that one instance alone can have at a time."""

    claims: tuple[str, ...] = ()
    """Names of claims that it writes."""
    declared: tuple[str, ...] = ()
    """Paths at which images declare volumes, which it writes."""
    ports: tuple[str, ...] = ()
    """Ports of the machine that the runtime publishes, `53/UDP`."""

    def __str__(self) -> str:
        names = [
            f"{word} {', '.join(names)}"
            for word, names in (
                ("write persistentVolumeClaim", self.claims),
                ("write the image's volume", self.declared),
                ("have host port", self.ports),
            )
            if names
        ]
        return " and ".join(names)

    def __bool__(self) -> bool:
        return bool(self.claims or self.declared or self.ports)


def exclusive_use(workload: Workload, instances: Iterable[Instance] = ()) -> ExclusiveUse:
    """Return what only one revision may have at a time; volumes are left out where they are shared.

    A claim counts where one replica is wanted: several share it anyway, as they are declared to.
    Which volumes an image declares, its instances show.
    """
    ports = tuple(dict.fromkeys(map(str, published_ports(template_of(workload).spec))))
    if _shares(workload):
        return ExclusiveUse(ports=ports)
    single = getattr(workload.spec, "replicas", None) in {None, 1}
    claims = written_claims(template_of(workload)) if single else ()
    paths = {path for one in instances for path in one.volumes if not one.role}
    return ExclusiveUse(claims, tuple(sorted(paths)), ports)


def one_at_a_time(settings: Settings, use: ExclusiveUse) -> Settings:
    """Return the settings under which two revisions never have the same at once."""
    if not use or settings.strategy is not RolloutStrategy.ROLLING:
        return settings
    return replace(
        settings,
        exclusive=True,
        max_surge=0,
        max_unavailable=max(settings.max_unavailable, 1),
    )


def stops_first(settings: Settings, use: ExclusiveUse) -> Condition:
    """Say whether the old instance is stopped before the new one starts, and why."""
    if not use or settings.strategy is not RolloutStrategy.ROLLING:
        return _AS_DECLARED
    way_out = "" if use.ports else f"; annotation {SHARE_ANNOTATION}=true lets both run at once"
    return Condition(
        type=STOPS_FIRST,
        status="True",
        reason="VolumeIsWritten" if use.claims or use.declared else "HostPortIsPublished",
        message=f"{_because(use)}{way_out}",
    )


def exclusive_use_warnings(resource: Resource) -> Iterator[str]:
    """Yield what the claims and ports of a workload mean for its rollouts."""
    if not isinstance(resource, WORKLOADS):
        return
    try:
        settings = settings_of(resource)
    except TemplateError:
        return  # it is told of elsewhere, and nothing is rolled out
    use = exclusive_use(resource)
    if one_at_a_time(settings, use) != settings:
        sharing = f", or annotate {SHARE_ANNOTATION}=true to let both run at once"
        way_out = "" if use.ports else sharing
        yield f"{_because(use)}: declare strategy Recreate to say so yourself{way_out}"
    if use.ports and settings.replicas > 1:
        yield (
            f"one instance alone can have host port {', '.join(use.ports)}: the others of"
            f" {settings.replicas} replicas cannot start; set replicas to 1"
        )
    claims = written_claims(template_of(resource))
    if claims and settings.replicas > 1 and not _shares(resource):
        yield (
            f"{settings.replicas} replicas write persistentVolumeClaim {', '.join(claims)} at the"
            f" same time, which destroys a database: set replicas to 1, or annotate"
            f" {SHARE_ANNOTATION}=true if they are made for it"
        )


def _shares(workload: Workload) -> bool:
    return workload.annotations.get(SHARE_ANNOTATION, "").strip().lower() == "true"


def _because(use: ExclusiveUse) -> str:
    return (
        f"instances {use}, so each update stops the old one before the new one starts,"
        " and nothing serves in between"
    )
