"""A store in which others are faster."""

from upwell.api.meta import Resource
from upwell.store.interface import AlreadyExistsError
from upwell.store.memory import MemoryStore


class OvertakenStore(MemoryStore):
    """A store in which another client writes just before each of the next `times` writes."""

    times = 0
    _theirs: Resource | None = None

    def overtake_with(self, resource: Resource) -> None:
        """Have another client write `resource` just before the next write."""
        self.times, self._theirs = 1, resource

    async def create[R: Resource](self, resource: R) -> R:
        if self.times:
            self.times -= 1
            raise AlreadyExistsError(resource.key)
        return await super().create(resource)

    async def update[R: Resource](self, resource: R) -> R:
        await self._overtake(resource)
        return await super().update(resource)

    async def update_status[R: Resource](self, resource: R) -> R:
        await self._overtake(resource)
        return await super().update_status(resource)

    async def _overtake(self, resource: Resource) -> None:
        if self.times:
            self.times -= 1
            found = await self.get(type(resource), resource.namespace, resource.name)
            theirs, self._theirs = self._theirs or found, None
            await super().update(theirs.with_metadata(labels={**found.labels, "by": "another"}))
