"""Instances whose owner is not in the store: remains of a deletion, or evidence of lost objects.

Deletion ends instances before the object goes (its finalizer), so that such an instance is the
remainder of an interrupted call. That is only known of instances that were started in the store's
own timeline: of any other, the object may be missing because the store has lost it.
"""

from collections.abc import Iterable, Sequence

from upwell.workload.interface import Instance


def remains(instances: Iterable[Instance], timeline: str) -> Sequence[Instance]:
    """Return those whose owner, being absent, was deleted: they may be removed."""
    return [one for one in instances if timeline and one.timeline == timeline]


def unexplained(instances: Iterable[Instance], timeline: str) -> Sequence[Instance]:
    """Return those whose owner's absence proves nothing: they are left alone, and reported."""
    return [one for one in instances if not timeline or one.timeline != timeline]
