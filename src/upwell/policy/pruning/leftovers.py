"""Leftovers of interrupted work: which of them is provably unneeded, and which is unexplained.

Everything judged here is ours by its label or its place. What no object needs any more goes; what
cannot be explained by a deletion or an end (the store may have lost the object) is only reported.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from upwell.workload.instance_spec import Owner
from upwell.workload.interface import Instance, Leftover, LeftoverKind

GRACE = timedelta(minutes=10)
"""Age from which what has no owner is no part of a start that is under way."""
VOLUME_GRACE = timedelta(hours=24)
"""Longer for volumes: their containers may be on their way."""

_NAMES = {
    LeftoverKind.FOLDER: "instance folder",
    LeftoverKind.VOLUME: "anonymous volume",
    LeftoverKind.NETWORK: "network",
    LeftoverKind.SOCKET: "socket",
}


@dataclass(frozen=True, slots=True)
class LeftoverFacts:
    """Facts of one moment; the owners were read after everything else."""

    instances: Collection[Instance]
    leftovers: Collection[Leftover]
    owners: Collection[Owner]
    """Owners of instances that the store has."""
    timeline: str
    """The store's; empty: the absence of an owner proves nothing."""
    now: datetime


@dataclass(frozen=True, slots=True)
class UnneededItem:
    """One leftover, and what is known of it."""

    what: str
    found: Instance | Leftover
    reason: str
    unexplained: bool = False
    """Only a person may have it removed."""


def judge_leftovers(facts: LeftoverFacts) -> list[UnneededItem]:
    """Return what is left behind, by name."""
    found = [*_instances(facts), *_others(facts)]
    return sorted(found, key=lambda item: (item.what, item.found.name))


def _instances(facts: LeftoverFacts) -> Iterator[UnneededItem]:
    for one in facts.instances:
        if one.owner not in facts.owners:
            deleted = _is_evidence(one.timeline, facts)
            yield UnneededItem(
                "instance", one, _reason(one.owner, deleted=deleted), unexplained=not deleted
            )


def _others(facts: LeftoverFacts) -> Iterator[UnneededItem]:
    for one in facts.leftovers:
        age = facts.now - one.changed_at
        grace = VOLUME_GRACE if one.kind is LeftoverKind.VOLUME else GRACE
        what = _NAMES[one.kind]
        if one.kind is LeftoverKind.SOCKET:
            yield UnneededItem(what, one, "nobody listens on it")
        elif one.owner is not None and one.owner in facts.owners:
            continue  # it may be started again
        elif one.owner is not None:
            deleted = _is_evidence(one.timeline, facts)
            yield UnneededItem(
                what, one, _reason(one.owner, deleted=deleted), unexplained=not deleted
            )
        elif age >= grace and one.kind is LeftoverKind.VOLUME:
            # An earlier version left the data of its workloads in such volumes.
            reason = "no container has it, and it may hold data of an earlier version"
            yield UnneededItem(what, one, reason, unexplained=True)
        elif age >= grace:
            yield UnneededItem(what, one, "no container needs it")


def _is_evidence(timeline: str, facts: LeftoverFacts) -> bool:
    return bool(facts.timeline) and timeline == facts.timeline


def _reason(owner: Owner, *, deleted: bool) -> str:
    named = f"{owner.kind.lower()}/{owner.name} in {owner.namespace}"
    return f"{named} was deleted" if deleted else f"{named} is not in the database, nor its end"


def without_owner(items: Iterable[UnneededItem]) -> list[str]:
    """Return the names of the instances that run without an owner, for people."""
    return [one.found.name for one in items if one.unexplained and not _is_volume(one)]


def without_container(items: Iterable[UnneededItem]) -> list[str]:
    """Return the names of volumes that nobody has, and that may hold data."""
    return [one.found.name for one in items if one.unexplained and _is_volume(one)]


def _is_volume(item: UnneededItem) -> bool:
    return isinstance(item.found, Leftover) and item.found.kind is LeftoverKind.VOLUME
