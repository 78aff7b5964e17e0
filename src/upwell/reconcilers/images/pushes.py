"""Tags that clients and builds have set in the embedded registry, until their streams know them."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial

from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey
from upwell.oci import Digest
from upwell.policy.images.streams import is_image_tag
from upwell.registry.errors import RegistryError, RepositoryUnknownError
from upwell.registry.interface import InternalRegistry, PushEvent

log = logging.getLogger(__name__)

UNREAD_SECONDS = 10.0
"""Until tags are read again that could not be read."""

_MOST_TOLD = 100
"""Pushed tags that are read one after the other; of more, all tags of the repository are."""

type PushedTags = Sequence[tuple[str, Digest]]
"""Tags of one repository, each with what it names."""


class PushedTagReader:
    """Reads the tags of a stream's repository at a start, and after each push the one it has set.

    A push is an event: without one, nothing is read again. `look_again` is called with the key of
    the stream that a push is for.
    """

    def __init__(self, internal: InternalRegistry, look_again: Callable[[ObjectKey], None]) -> None:
        self._internal = internal
        self._look_again = look_again
        self._known: dict[ObjectKey, str] = {}
        """Uids of the streams that know all tags that had been pushed when these were read."""
        self._told: dict[ObjectKey, set[str]] = {}
        """Tags that were pushed since then."""
        internal.subscribe(self._on_push)

    @asynccontextmanager
    async def taken(self, stream: ImageStream) -> AsyncIterator[PushedTags]:
        """Give the tags that the stream may not know; they count as known if the body ends well.

        None are given where the registry does not answer, and the stream does not know them then.
        """
        key = stream.key
        told = self._told.pop(key, set())
        if self._known.get(key) != stream.uid or len(told) > _MOST_TOLD:
            self._known[key] = stream.uid  # before the look: a push meanwhile asks for another
            read = self._read_all
        elif told:
            read = partial(self._read_some, told)
        else:
            yield ()
            return
        try:
            yield await self._read(key, read)
        except BaseException:
            self.forget(key)
            raise

    def forget(self, stream: ObjectKey) -> None:
        """Forget a stream: its tags are read again."""
        self._known.pop(stream, None)
        self._told.pop(stream, None)

    def knows(self, stream: ImageStream) -> bool:
        """Return True if a stream knows all tags, as far as anybody has told of them."""
        return self._known.get(stream.key) == stream.uid and stream.key not in self._told

    async def _read(
        self, stream: ObjectKey, read: Callable[[str], Awaitable[PushedTags]]
    ) -> PushedTags:
        repository = f"{stream.namespace}/{stream.name}"
        try:
            return await read(repository)
        except RepositoryUnknownError:
            return ()  # nothing was ever pushed
        except RegistryError as error:
            log.info("tags not read", extra={"repository": repository, "why": str(error)})
            self.forget(stream)
            return ()

    async def _read_all(self, repository: str) -> PushedTags:
        found = await self._internal.pushed_tags(repository)
        return [(name, digest) for name, digest in found if is_image_tag(name)]

    async def _read_some(self, tags: Collection[str], repository: str) -> PushedTags:
        found = [(tag, await self._internal.tag_digest(repository, tag)) for tag in sorted(tags)]
        return [(tag, digest) for tag, digest in found if digest is not None]

    def _on_push(self, event: PushEvent) -> None:
        namespace, _, name = event.repository.partition("/")
        if name and is_image_tag(event.tag):
            key = ObjectKey(ImageStream.KIND.kind, namespace, name)
            if key in self._known:
                self._told.setdefault(key, set()).add(event.tag)
            self._look_again(key)
