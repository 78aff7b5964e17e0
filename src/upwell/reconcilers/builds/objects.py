"""Reads the objects that builds name: streams, Secrets, ConfigMaps; and says what is missing."""

from collections.abc import Iterable
from contextlib import suppress

from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.image import ImageStream
from upwell.oci import Digest, InvalidDigestError
from upwell.policy.builds.input_analysis import MissingInput, missing_input, streams_named
from upwell.policy.builds.objects import Objects, content_of, objects_read, objects_required
from upwell.policy.builds.triggers import Streams
from upwell.policy.images.streams import StreamName
from upwell.policy.rollouts.pod_template import SourceName
from upwell.reconcilers.images.named_streams import read_streams
from upwell.reconcilers.sources import read_sources
from upwell.store.interface import Store


class BuildObjects:
    """Reader of the objects that a Build names."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def missing(self, build: Build) -> MissingInput | None:
        """Say what must be created before `build` can run; None: nothing."""
        streams = await read_streams(self._store, streams_named(build))
        objects = await self._read(build.namespace, objects_required(build))
        return missing_input(build, streams, objects)

    async def streams(self) -> Streams:
        """Return every ImageStream."""
        listing = await self._store.list(ImageStream)
        return {StreamName(s.namespace, s.name): s for s in listing.items}

    async def read(self, build: Build) -> Objects:
        """Return what the build's result depends on; what does not exist is absent."""
        return await self._read(build.namespace, objects_read(build))

    async def _read(self, namespace: str, names: Iterable[SourceName]) -> Objects:
        found = await read_sources(self._store, namespace, names)
        return {name: content_of(source) for name, source in found.items()}


async def referenced_inputs(store: Store) -> frozenset[Digest]:
    """Return the uploads that a Build or a BuildConfig names."""
    names = set()
    # BuildConfigs last: a build that goes in between has left its upload in one's status.
    for build in (await store.list(Build)).items:
        if build.spec.source.binary is not None:
            names.add(build.spec.source.binary.digest or "")
    for config in (await store.list(BuildConfig)).items:
        if config.status.binary_input is not None:
            names.add(config.status.binary_input.digest)
    found = set()
    for name in names:
        with suppress(InvalidDigestError):
            found.add(Digest.parse(name))
    return frozenset(found)
