"""Finds what short image names stand for in a namespace's own streams."""

from upwell.api.image import ImageStream
from upwell.policy.images.local_names import local_stream, resolve_local
from upwell.store.interface import NotFoundError, Store


class LocalImages:
    """Resolves image names through streams with a local lookup policy."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def resolve(self, image: str, namespace: str, *, every_stream: bool = False) -> str:
        """Return the pull spec that `image` stands for; itself when no stream claims it.

        `every_stream` is what the object's annotation `resolve-names` asks for.
        """
        name = local_stream(image, namespace)
        if name is None:
            return image
        try:
            stream = await self._store.get(ImageStream, name.namespace, name.name)
        except NotFoundError:
            return image
        found = resolve_local(image, namespace, {name: stream}, every_stream=every_stream)
        return found or image
