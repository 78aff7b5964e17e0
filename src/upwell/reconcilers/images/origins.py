"""Images that the internal registry may pull through: those that ImageStreams name."""

from upwell.api.image import ImageStream, NamedTagEventList, TagEvent
from upwell.oci import Digest, InvalidDigestError, InvalidReferenceError, Reference
from upwell.policy.images.repository_tags import effective_tags
from upwell.policy.images.streams import pinned
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.registry.interface import RequestAccess
from upwell.registry.origins import Origin
from upwell.store.interface import NotFoundError, Store


class StreamOrigins:
    """Implements ImageOrigins: the repository of a stream is `namespace/name`."""

    def __init__(self, store: Store, secrets: PullSecrets) -> None:
        self._store = store
        self._secrets = secrets

    async def digest(self, repository: str, tag: str) -> Digest | None:
        """Return the image that the tag stands for now."""
        stream = await self._stream(repository)
        history = stream.status.tag(tag) if stream is not None else None
        latest = history.latest if history is not None else None
        try:
            return Digest.parse(latest.image) if latest is not None else None
        except InvalidDigestError:
            return None  # a tag that is a reference alone

    async def find(self, repository: str, digest: Digest) -> Origin | None:
        """Return the origin of an image that one of the tags has or had."""
        stream = await self._stream(repository)
        if stream is None:
            return None
        for history in stream.status.tags:
            event = _event_of(history, str(digest))
            if event is None:
                continue
            try:
                reference = Reference.parse(pinned(event)).with_digest(digest)
            except InvalidReferenceError:
                continue
            insecure = any(t.insecure for t in effective_tags(stream) if t.name == history.tag)
            logins = await self._secrets.of_namespace(stream.namespace)
            return Origin(reference, RequestAccess(logins, insecure=insecure))
        return None

    async def _stream(self, repository: str) -> ImageStream | None:
        namespace, _, name = repository.partition("/")
        if not name or "/" in name:
            return None
        try:
            return await self._store.get(ImageStream, namespace, name)
        except NotFoundError:
            return None


def _event_of(history: NamedTagEventList, digest: str) -> TagEvent | None:
    """Return the event of an image; the newest one for a platform of what upstream has."""
    for event in history.items:
        if event.image == digest:
            return event
    state = history.import_state
    if state is not None and any(entry.digest == digest for entry in state.platforms):
        return history.latest
    return None
