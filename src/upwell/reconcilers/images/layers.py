"""Layers of images that run and that no object describes, as their registries give them."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from upwell.machine.clock import elapsed
from upwell.oci import (
    Digest,
    Index,
    InvalidDigestError,
    InvalidReferenceError,
    Platform,
    Reference,
)
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.registry.errors import RegistryError
from upwell.registry.interface import Registry, RequestAccess

_AT_ONCE = 4
MOST_READ = 64
"""Manifests that are read for one call; the next one has more."""
_SECONDS = 10.0
_MOST_REMEMBERED = 20_000
UNREAD_SECONDS = 600.0
"""Time until a manifest that its registry did not give is asked for again."""


@dataclass(frozen=True, slots=True)
class PulledImage:
    """An image that a node has pulled for a namespace."""

    namespace: str
    image: str
    """As its Pods name it."""
    digest: str


class LayerReader:
    """Reads manifests with the logins of the namespaces that run them, each once."""

    def __init__(
        self,
        registries: Registry,
        secrets: PullSecrets,
        platform: Platform,
        clock: Callable[[], float] = elapsed,
    ) -> None:
        """Of an index, the image for `platform` counts."""
        self._registries = registries
        self._secrets = secrets
        self._platform = platform
        self._clock = clock
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._read: OrderedDict[str, tuple[str, ...] | float] = OrderedDict()
        """Layers by digest; of what was not given, the time from which it is asked for again."""

    async def layers(self, wanted: Iterable[PulledImage]) -> Mapping[str, Sequence[str]]:
        """Return the digests of layers, the lowest first, by the image's, as far as they are had.

        Those that take too long are had by a later call.
        """
        named = {one.digest: one for one in wanted}
        missing = [digest for digest in named if self._is_due(digest)][:MOST_READ]
        with suppress(TimeoutError):
            async with asyncio.timeout(_SECONDS), asyncio.TaskGroup() as group:
                for digest in missing:
                    group.create_task(self._learn(named[digest]))
        found = {digest: self._read.get(digest) for digest in named}
        return {digest: one for digest, one in found.items() if isinstance(one, tuple)}

    def _is_due(self, digest: str) -> bool:
        known = self._read.get(digest, float("-inf"))
        return isinstance(known, float) and self._clock() >= known

    async def _learn(self, image: PulledImage) -> None:
        async with self._turns:
            found = await self._ask(image)
        self._read[image.digest] = found or self._clock() + UNREAD_SECONDS
        while len(self._read) > _MOST_REMEMBERED:
            self._read.popitem(last=False)

    async def _ask(self, image: PulledImage) -> tuple[str, ...]:
        """Return the layers; none of what cannot be had."""
        try:
            pinned = Reference.parse(image.image).with_digest(Digest.parse(image.digest))
            access = RequestAccess(await self._secrets.of_namespace(image.namespace))
            manifest = await self._registries.manifest(pinned, access)
            if isinstance(manifest, Index):
                entry = manifest.select(self._platform)
                if entry is None:
                    return ()
                child = pinned.with_digest(entry.digest)
                manifest = await self._registries.manifest(child, access)
        except (InvalidReferenceError, InvalidDigestError, RegistryError):
            return ()
        if isinstance(manifest, Index):
            return ()
        return tuple(str(one.digest) for one in manifest.layers)
