"""Pruning of the builder's own store, at times when it is safe."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from upwell.builder.disk.listings import StoredImage
from upwell.oci import Digest


@dataclass(frozen=True, slots=True)
class Needs:
    """Needs of running builds: the images that they named, and, if any runs, every cached step."""

    names: frozenset[str]
    busy: bool


class Occupancy:
    """Tells pruning of running builds; a build that begins waits until pruning is over."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._names: Counter[str] = Counter()
        self._builds = 0

    @asynccontextmanager
    async def building(self, images: Iterable[str]) -> AsyncIterator[None]:
        """Hold the block's images, by name."""
        names = list(images)
        async with self._lock:
            self._builds += 1
            self._names.update(names)
        try:
            yield
        finally:
            self._builds -= 1
            self._names.subtract(names)

    @asynccontextmanager
    async def pruning(self) -> AsyncIterator[Needs]:
        """Let no build begin within the block; yield what the running ones need."""
        async with self._lock:
            yield Needs(frozenset(+self._names), busy=self._builds > 0)


def prunable(
    images: Iterable[StoredImage], keep: frozenset[Digest], needs: Needs, oldest: float
) -> Iterator[StoredImage]:
    """Yield the images that may go, newest first: so a step goes before what it stands on.

    `oldest` is the time (seconds since 1970) from which on images stay.
    """
    digests = {str(digest) for digest in keep}
    for image in sorted(images, key=lambda image: image.created, reverse=True):
        named = {name.rpartition("@")[2] for name in image.names} | {image.digest}
        wanted = not digests.isdisjoint(named) or not needs.names.isdisjoint(image.names)
        if wanted or image.created >= oldest or (needs.busy and not image.names):
            continue
        yield image
