"""ImageStreams of repositories that clients push to: a push makes one where there is none."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress

from starlette.requests import Request

from upwell.actions.images import forget_tag
from upwell.api.image import ImageStream
from upwell.api.meta import Resource
from upwell.oci import Digest
from upwell.policy.access.roles import MIRROR_NAMESPACE
from upwell.policy.images.repository_tags import effective_tags
from upwell.policy.images.streams import is_image_tag
from upwell.policy.waves.approval import asks_for_approval
from upwell.registry.hosting import HostedRegistry, ManifestPush
from upwell.server.distribution.requests import DistributionError
from upwell.store.interface import Change, NotFoundError, Selector, Store

_PATIENCE = 2.0
"""Seconds, at most, until a stream is to name what was pushed."""

type CreateStream = Callable[[Request, str, str], Awaitable[None]]
"""Makes a stream, by namespace and name, for who pushes; raises DistributionError to refuse."""


class PushedStreams:
    """Makes the ImageStream of a repository when its first tag is pushed, as OpenShift does."""

    def __init__(self, store: Store, create: CreateStream, patience: float = _PATIENCE) -> None:
        self._store = store
        self._create = create
        self._patience = patience

    async def require(self, registry: HostedRegistry, request: Request, push: ManifestPush) -> None:
        """Make the stream of a push unless there is one; raises DistributionError, RegistryError.

        None is made for what has no stream: repositories of more than two parts, copies of upstream
        images, tags of inputs and of signatures; nor for a manifest that the registry refuses. A
        namespace that does not exist comes with it, as with any object.
        """
        namespace, _, name = push.repository.partition("/")
        if push.tag is None or not is_image_tag(push.tag) or not name or "/" in name:
            return
        if namespace == MIRROR_NAMESPACE or await self._has(ImageStream, namespace, name):
            return
        await registry.check_manifest(push)
        await self._create(request, namespace, name)

    async def wait_for(self, push: ManifestPush, digest: Digest) -> None:
        """Wait, two seconds at the most, until the stream names what was pushed to a tag.

        So who pulls right after a push gets what they have pushed. Without a stream, or with a tag
        that is imported, there is nothing to wait for.
        """
        if push.tag is None or not is_image_tag(push.tag):
            return
        stream = await self._stream(push.repository)
        if stream is None or _has_settled(stream, push.tag, digest):
            return
        only = Selector(stream.namespace, name=stream.name)
        with suppress(TimeoutError):
            async with (
                asyncio.timeout(self._patience),
                aclosing(self._store.watch(ImageStream, only)) as events,
            ):
                async for event in events:
                    gone = event.change is Change.DELETED
                    if gone or _has_settled(event.resource, push.tag, digest):
                        return

    async def require_pushed(self, repository: str, tag: str) -> None:
        """Raise DistributionError for a tag that a stream imports: it would come back.

        And for one of a stream whose changes take approval: the next import of a tag without a
        history waits for nobody, so that it takes a right which is asked for elsewhere.
        """
        stream = await self._stream(repository)
        if stream is None:
            return
        command = f"`upwell tag -d {stream.name}:{tag} -n {stream.namespace}` deletes it"
        if _is_imported(stream, tag):
            message = f"tag {tag} of {repository} is imported by its ImageStream: {command}"
            raise DistributionError(405, "UNSUPPORTED", message)
        if asks_for_approval(stream):
            why = "asks for approval of what it imports"
            message = f"the ImageStream of {repository} {why}: {command}, if you may approve"
            raise DistributionError(403, "DENIED", message)

    async def untag(self, repository: str, tag: str) -> None:
        """Take a tag that was deleted in the registry from its stream, if that has it."""
        stream = await self._stream(repository)
        if stream is not None and stream.status.tag(tag) is not None:
            await forget_tag(self._store, stream, tag)

    async def _stream(self, repository: str) -> ImageStream | None:
        namespace, _, name = repository.partition("/")
        with suppress(NotFoundError):
            return await self._store.get(ImageStream, namespace, name)
        return None

    async def _has(self, kind: type[Resource], namespace: str, name: str) -> bool:
        try:
            await self._store.get(kind, namespace, name)
        except NotFoundError:
            return False
        return True


def _has_settled(stream: ImageStream, tag: str, digest: Digest) -> bool:
    """Return True if the tag names what was pushed, or will not as it is imported."""
    history = stream.status.tag(tag)
    latest = history.latest if history is not None else None
    named = latest is not None and latest.image == str(digest)
    return named or _is_imported(stream, tag)


def _is_imported(stream: ImageStream, tag: str) -> bool:
    return any(one.name == tag and one.from_ is not None for one in effective_tags(stream))
