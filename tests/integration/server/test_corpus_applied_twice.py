"""OpenShift's manifests, applied twice to a server that imports and starts builds."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from tests.support.builds.memory_builds import AMD64, INTERNAL, push
from tests.support.openshift import needs_corpus
from tests.support.server.api_server import Api, serving
from tests.support.server.corpus_objects import corpus_objects

from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.image import ImageStream
from upwell.controller import ObjectCache
from upwell.oci import Descriptor, Digest, Index, Manifest, Reference
from upwell.policy.images.schedule import ImportSchedule
from upwell.reconcilers.builds.build_configs import BuildConfigs
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.images.image_streams import ImageStreams
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.interface import DEFAULT_ACCESS, Credential, RequestAccess
from upwell.server.http.limits import ServerLimits

pytestmark = needs_corpus


class OneImageRegistry:
    """Implements Registry: every name is that of one image."""

    def __init__(self, folder: Path) -> None:
        self._registry = EmbeddedRegistry(folder, "everywhere.example")
        self._image = Reference.parse("everywhere.example/image:1")

    async def fill(self) -> None:
        await push(self._registry, "image:1", "one")

    async def resolve(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Descriptor:
        del reference
        return await self._registry.resolve(self._image, access)

    async def manifest(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Manifest | Index:
        del reference
        return await self._registry.manifest(self._image, access)

    async def blob(
        self,
        reference: Reference,
        digest: Digest,
        limit: int,
        access: RequestAccess = DEFAULT_ACCESS,
    ) -> bytes:
        del reference
        return await self._registry.blob(self._image, digest, limit, access)

    def open_blob(
        self, reference: Reference, digest: Digest, access: RequestAccess = DEFAULT_ACCESS
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        del reference
        return self._registry.open_blob(self._image, digest, access)

    async def logins(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> tuple[Credential, ...]:
        del reference, access
        return ()

    async def tags(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Sequence[str]:
        del reference, access
        return ["1", "latest"]

    async def referrers_of(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Sequence[Descriptor]:
        del reference, access
        return []


class AppliedCorpusApi:
    """The API, with reconcilers that work when they are told to."""

    def __init__(self, api: Api, upstream: OneImageRegistry, folder: Path) -> None:
        self.api = api
        self.cache = ObjectCache(api.store)
        self._configs = BuildConfigs(BuildIndex(self.cache), clock=api.clock)
        self._streams = ImageStreams(
            self.cache,
            upstream,
            EmbeddedRegistry(folder, INTERNAL),
            PullSecrets(api.store),
            ImportSchedule(),
            clock=api.clock,
            platforms=[AMD64],
        )

    async def apply_all(self) -> int:
        """Apply every object of the corpus as `upwell apply` does; return how many were taken."""
        # One file declares a name twice.
        wanted = {
            f"{collection}/{document['metadata']['name']}": document
            for collection, document in corpus_objects()
            if "name" in document.get("metadata", {})
        }
        taken = 0
        for path, document in wanted.items():
            apply = f"{path}?fieldManager=me"
            answer = await self.api.send("PATCH", apply, document, "application/apply-patch+yaml")
            assert answer.status in {200, 201, 422}, answer.text
            taken += answer.status != 422
        return taken

    async def reconcile_all(self) -> None:
        """Let streams and BuildConfigs do what they have to do, until they want nothing more."""
        store, before = self.api.store, ""
        for _ in range(10):
            if before == (before := await self.version()):
                return
            for stream in (await store.list(ImageStream)).items:
                await self._streams.reconcile(stream.key)
            for build in (await store.list(Build)).items:
                await self.cache.wait_for(build)
            for config in (await store.list(BuildConfig)).items:
                await self.cache.wait_for(config)
                await self._configs.reconcile(config.key)
        raise AssertionError("the reconcilers go on writing")

    async def version(self) -> str:
        """Return the resourceVersion of the store, which its next write will change."""
        return (await self.api.store.list(Build)).resource_version


@asynccontextmanager
async def reconciled(folder: Path) -> AsyncIterator[AppliedCorpusApi]:
    upstream = OneImageRegistry(folder / "upstream")
    await upstream.fill()
    async with serving(ServerLimits()) as api:
        served = AppliedCorpusApi(api, upstream, folder / "own")
        cache = asyncio.create_task(served.cache.run())
        try:
            yield served
        finally:
            cache.cancel()
            await asyncio.wait([cache])


async def test_what_is_applied_twice_changes_nothing_and_builds_nothing(tmp_path: Path) -> None:
    async with reconciled(tmp_path) as served:
        taken = await served.apply_all()
        await served.reconcile_all()
        store = served.api.store
        imported = [
            stream
            for stream in (await store.list(ImageStream)).items
            if any(tag.items for tag in stream.status.tags)
        ]
        builds = {build.key for build in (await store.list(Build)).items}
        assert len(imported) > 10
        assert len(builds) > 10
        version = await served.version()

        assert await served.apply_all() == taken
        assert await served.version() == version
        await served.reconcile_all()
        assert await served.version() == version
        assert {build.key for build in (await store.list(Build)).items} == builds
