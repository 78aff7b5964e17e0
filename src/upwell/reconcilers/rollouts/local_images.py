"""Finds what short image names stand for in a namespace's own streams."""

from collections.abc import Awaitable, Callable, Mapping

from upwell.api.image import ImageStream
from upwell.policy.builds.triggers import ImageBar, digest_of
from upwell.policy.images.local_names import local_stream, local_tag, resolve_local
from upwell.policy.images.streams import StreamTag, pull_specs
from upwell.registry.errors import RegistryError
from upwell.store.interface import NotFoundError, Store

type UnapprovedChanges = Callable[[StreamTag], Awaitable[Mapping[str, ImageBar]]]
"""Returns what bars the digests of changes that nobody has approved, for what uses a tag."""


async def nothing_unapproved(_tag: StreamTag) -> Mapping[str, ImageBar]:
    """Return no digest: nothing waits for an approval."""
    return {}


class LocalImageBarredError(RegistryError):
    """A tag has had no image but one that waits for approval; it is asked for again."""

    reason = "WaveApproval"
    retryable = True

    def __init__(self, tag: StreamTag, bar: ImageBar) -> None:
        super().__init__(f"{tag} {bar.message}")


class LocalImages:
    """Resolves image names through streams with a local lookup policy."""

    def __init__(self, store: Store, unapproved: UnapprovedChanges = nothing_unapproved) -> None:
        self._store = store
        self._unapproved = unapproved

    async def resolve(self, image: str, namespace: str, *, every_stream: bool = False) -> str:
        """Return the pull spec that `image` stands for; itself when no stream claims it.

        While a change of a tag waits for approval, that is what the tag had before. `every_stream`
        is what the object's annotation `resolve-names` asks for. Raises LocalImageBarredError.
        """
        name = local_stream(image, namespace)
        if name is None:
            return image
        try:
            stream = await self._store.get(ImageStream, name.namespace, name.name)
        except NotFoundError:
            return image
        found = resolve_local(image, namespace, {name: stream}, every_stream=every_stream)
        tag = local_tag(image, namespace, stream, every_stream=every_stream)
        if found is None or tag is None:
            return found or image
        return await self._approved(found, tag, stream)

    async def _approved(self, found: str, tag: StreamTag, stream: ImageStream) -> str:
        bars = await self._unapproved(tag)
        bar = bars.get(digest_of(found))
        if bar is None:
            return found
        earlier = (one for one in pull_specs(stream, tag.tag) if digest_of(one) not in bars)
        if (approved := next(earlier, None)) is None:
            raise LocalImageBarredError(tag, bar)
        return approved
