"""The one reader of the ImageStreams that other objects name."""

from collections.abc import Iterable

from upwell.api.image import ImageStream
from upwell.policy.images.streams import StreamName
from upwell.store.interface import NotFoundError, Store


async def read_streams(store: Store, names: Iterable[StreamName]) -> dict[StreamName, ImageStream]:
    """Return those that exist: whether another is missed, only who names it knows."""
    found: dict[StreamName, ImageStream] = {}
    for name in names:
        try:
            found[name] = await store.get(ImageStream, name.namespace, name.name)
        except NotFoundError:
            continue
    return found
