"""Searches for the base of an image among all images that are known here: nothing is changed."""

import asyncio
from collections.abc import Callable, Sequence

from upwell.actions.known_images import ImageKnowledge
from upwell.api.builds.build import Build
from upwell.api.image import ImageStream
from upwell.api.requests.base_search import BaseSearchStatus
from upwell.controller import ObjectCache
from upwell.policy.explain.ancestry import UsedBase, by_chain, followed_tags, used_bases
from upwell.policy.images.streams import StreamTag
from upwell.reconcilers.images.layers import LayerReader, PulledImage

_MOST_BASES = 16
"""Of one answer."""


class BaseActions:
    """Finds what an image stands on by its layers."""

    def __init__(self, cache: ObjectCache, layers: LayerReader) -> None:
        """`layers` reads those of bases that no object describes."""
        self._known = ImageKnowledge(cache)
        self._cache = cache
        self._builds = cache.index(Build, lambda _: ("",))
        self._layers = layers

    async def search(
        self, namespace: str, layers: Sequence[str], may_read: Callable[[str, str], bool]
    ) -> BaseSearchStatus:
        """Return the known images whose layers are the lowest of these, the most layers first.

        Those alone that somebody may read, by kinds of objects and namespaces; of those with the
        same layers the ones of `namespace` and of its builds, where they have any.
        """
        known = await self._known.now()
        await self._cache.ready(Build)
        builds = self._builds.get("")

        def readable() -> tuple[list[UsedBase], frozenset[StreamTag]]:
            bases = used_bases(builds)  # of tens of thousands of builds perhaps
            shown = [one for one in bases if may_read(Build.KIND.kind, one.namespace)]
            # The last of equals counts: that of the namespace itself.
            shown.sort(key=lambda one: one.namespace == namespace)
            return shown, followed_tags(builds, namespace)

        used, followed = await asyncio.to_thread(readable)
        pulled = [
            PulledImage(one.namespace, one.image, one.image.partition("@")[2]) for one in used
        ]
        read = await self._layers.layers(pulled)

        def found() -> BaseSearchStatus:
            streams = ImageStream.KIND.kind
            chains = by_chain(used, read)
            bases = known.bases(
                layers, lambda one: may_read(streams, one), chains, namespace, followed
            )
            return BaseSearchStatus(bases=tuple(bases)[:_MOST_BASES])

        return await asyncio.to_thread(found)
