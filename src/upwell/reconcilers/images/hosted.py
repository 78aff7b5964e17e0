"""Images of the embedded registry as objects: pushed by clients, and made by builds."""

from collections import Counter
from collections.abc import Iterator

from upwell.api.image import ImageStream, TagEvent
from upwell.api.meta import ObjectKey
from upwell.oci import InvalidDigestError, InvalidReferenceError, Reference
from upwell.reconcilers.images.records import ImageRecords
from upwell.registry.errors import RegistryError
from upwell.registry.interface import InternalRegistry

MOST_OF_NAMESPACE = 10_000
"""Images that one namespace can have kept: half of the objects that it may have."""


class HostedImages:
    """Keeps an Image for all that tags of streams have, or had, in the embedded registry.

    What a stream has had is looked for once after a start, then only what is new to it. A namespace
    has so `many`: pushes of one leave room for the objects of all.
    """

    def __init__(
        self, images: ImageRecords, internal: InternalRegistry, many: int = MOST_OF_NAMESPACE
    ) -> None:
        self._images = images
        self._internal = internal
        self._many = many
        self._counted: Counter[str] = Counter()
        """Of each namespace, the sum over its streams."""
        self._recorded: dict[ObjectKey, frozenset[int]] = {}
        """Hashes of the digests that were looked at: a digest itself takes thrice the memory."""

    async def record(self, stream: ImageStream) -> None:
        """Keep what is new to the stream; what the registry cannot give now is tried again.

        Raises StoreError.
        """
        before = self._recorded.get(stream.key, frozenset())
        events = {hash(event.image): event for event in self._events(stream)}
        recorded = before & events.keys()
        room = self._many - self._counted[stream.namespace] + len(before) - len(recorded)
        new = [mark for mark in events if mark not in before][: max(room, 0)]
        found = {mark for mark in new if await self._record(events[mark])}
        self._keep(stream.key, recorded | found)

    def forget(self, key: ObjectKey) -> None:
        """Forget a stream that is no more."""
        self._keep(key, frozenset())

    def _keep(self, key: ObjectKey, recorded: frozenset[int]) -> None:
        known = self._recorded.pop(key, frozenset())
        self._counted[key.namespace] += len(recorded) - len(known)
        if recorded:
            self._recorded[key] = recorded
        elif not self._counted[key.namespace]:
            del self._counted[key.namespace]

    def _events(self, stream: ImageStream) -> Iterator[TagEvent]:
        """Yield the events of images that the registry has given to the stream's namespace."""
        own = f"{self._internal.prefix}/{stream.namespace}/"
        for history in stream.status.tags:
            for event in history.items:
                if event.docker_image_reference.startswith(own) and not event.unproven:
                    yield event

    async def _record(self, event: TagEvent) -> bool:
        """Return True unless another look may find what this one has not."""
        try:
            pinned = Reference.parse(event.docker_image_reference)
            await self._images.record(self._internal, pinned, event.created)
        except RegistryError as error:
            return not error.retryable
        except (InvalidReferenceError, InvalidDigestError):
            return True
        return True
