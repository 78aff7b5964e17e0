"""Images that the objects of the store tell of, gathered for whoever asks what one stands on."""

import asyncio

from upwell.api.builds.build import Build
from upwell.api.image import Image, ImageStream
from upwell.controller import ObjectCache
from upwell.machine.clock import elapsed
from upwell.policy.explain.ancestry import KnownImages

_KNOWN_SECONDS = 30.0
"""So long what is known of images is good for further answers: it is gathered from all objects."""


class ImageKnowledge:
    """Knowledge of images from the objects of the store, gathered anew after a while."""

    def __init__(self, cache: ObjectCache) -> None:
        self._cache = cache
        self._streams = cache.index(ImageStream, lambda _: ("",))
        self._builds = cache.index(Build, lambda _: ("",))
        self._gathering = asyncio.Lock()
        self._known = KnownImages()
        self._gathered_at = float("-inf")

    async def now(self) -> KnownImages:
        """Return what is known, a while old perhaps."""
        async with self._gathering:
            if elapsed() - self._gathered_at > _KNOWN_SECONDS:
                await self._cache.ready(ImageStream, Build)
                images = (await self._cache.store.list(Image)).items
                streams, builds = self._streams.get(""), self._builds.get("")
                self._known = await asyncio.to_thread(KnownImages.of, streams, builds, images)
                self._gathered_at = elapsed()
        return self._known
