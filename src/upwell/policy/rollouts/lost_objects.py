"""Judges by what runs whether the store has lost objects: emptied, restored from an old copy, cut.

An instance carries the timeline and the version of the store from which it was started. A store of
that timeline that is not at that version yet has lost changes; a store that never heard of the
timeline is another one. The absence of an owner from such a store is no deletion.

Deletion ends instances before the object goes (its finalizer), so that one whose owner is absent is
the remainder of an interrupted call. That is only known of instances that were started in the
store's own timeline.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from upwell.workload.instance_spec import Owner
from upwell.workload.interface import Instance


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """Facts that the store tells about itself."""

    timelines: Sequence[str]
    """Names of its timelines, the present one last; none before it was ever asked."""
    newest_version: int
    """Of the last change; 0: nothing was ever written."""
    owners: Collection[Owner] = field(default=(), repr=False)
    """Owners of instances that it has."""


@dataclass(frozen=True, slots=True)
class StoreJudgement:
    """Judgement on a store by what runs."""

    missing: Sequence[Instance] = ()
    """Instances whose owners the store has lost."""
    new_timeline: bool = False
    """The store cannot go on with its timeline: from now on its changes belong to another."""
    timelines: Sequence[str] = ()
    """Timelines whose instances have been accounted for, when `missing` is accepted."""


def judge_store(store: StoreFacts, instances: Iterable[Instance]) -> StoreJudgement:
    """Say what the store has lost, and how it may go on."""
    instances = list(instances)
    unheard = [one for one in instances if _is_unheard(one, store)]
    missing = [one for one in unheard if one.owner not in store.owners]
    strange = {one.timeline for one in instances if one.timeline} - set(store.timelines)
    return StoreJudgement(
        missing,
        new_timeline=not store.timelines or bool(unheard),
        timelines=(*sorted(strange), *store.timelines),
    )


def _is_unheard(instance: Instance, store: StoreFacts) -> bool:
    """Return True if the instance was started from a change that the store does not know."""
    if not instance.timeline:  # by a version of Upwell that did not write it down
        return not store.timelines and not store.newest_version
    if instance.timeline not in store.timelines:
        return True
    version = instance.owner_version
    present = instance.timeline == store.timelines[-1]
    return present and version.isdecimal() and int(version) > store.newest_version


def remains(instances: Iterable[Instance], timeline: str) -> Sequence[Instance]:
    """Return those whose owner, being absent, was deleted: they may be removed."""
    return [one for one in instances if timeline and one.timeline == timeline]


def unexplained(instances: Iterable[Instance], timeline: str) -> Sequence[Instance]:
    """Return those whose owner's absence proves nothing: they are left alone, and reported."""
    return [one for one in instances if not timeline or one.timeline != timeline]
