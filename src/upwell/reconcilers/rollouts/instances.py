"""Instances by owner, listed once for all owners whose instances have not changed since."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

from upwell.api.meta import ObjectKey
from upwell.policy.rollouts.instance import key_of
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import Instance, Runtime


class OwnedInstances:
    """The runtime's instances, by owner: ten thousand owners ask for one list, and not for each.

    A list counts for an owner until the runtime tells of a change, or `forget` does. While nobody
    follows `changes`, every question lists anew.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._listed: Mapping[ObjectKey, Sequence[Instance]] | None = None
        self._changed: set[ObjectKey] = set()
        self._followers = 0
        self._subscriptions = 0
        """Number of those that ever began."""
        self._listing = asyncio.Lock()

    async def of(self, key: ObjectKey) -> Sequence[Instance]:
        """Return the instances of an owner; raises WorkloadError."""
        async with self._listing:
            listed = self._listed
            if listed is None or key in self._changed or not self._followers:
                listed = await self._list()
            return listed.get(key, ())

    def forget(self, key: ObjectKey) -> None:
        """List anew when this owner is asked for next: something was done to its instances."""
        self._changed.add(key)

    async def instances(self) -> Sequence[Instance]:
        """List all anew; raises WorkloadError."""
        async with self._listing:
            return [one for owned in (await self._list()).values() for one in owned]

    async def changes(self) -> AsyncIterator[Owner]:
        """Yield owners whose instances changed; raises WorkloadError."""
        # A list of before may lack what nobody heard of.
        self._listed = None
        self._subscriptions += 1
        self._followers += 1
        try:
            async for owner in self._runtime.changes():
                self.forget(key_of(owner))
                yield owner
        finally:
            self._followers -= 1

    async def _list(self) -> Mapping[ObjectKey, Sequence[Instance]]:
        changed, self._changed = self._changed, set()  # what changes from here on may be missing
        subscriptions = self._subscriptions
        try:
            found = by_owner(await self._runtime.instances())
        except BaseException:
            self._changed |= changed
            raise
        if subscriptions == self._subscriptions:
            self._listed = found
        return found


def by_owner(instances: Iterable[Instance]) -> Mapping[ObjectKey, Sequence[Instance]]:
    """Group instances by their owners, each owner's in the order in which they come."""
    grouped: defaultdict[ObjectKey, list[Instance]] = defaultdict(list)
    for one in instances:
        grouped[key_of(one.owner)].append(one)
    return dict(grouped)
