"""Contract of the registry that builds push to: its tags are the server's, wherever it is."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.registry.docker_registry import docker_registry, push_image
from tests.support.registry.hosted_images import push
from tests.support.s3.strict_server import bucket_at, strict_s3

from upwell.oci import Digest
from upwell.oci.registry_prefix import reference_in
from upwell.outbound.dialing import unrestricted
from upwell.registry.bucket.registry import BucketRegistry
from upwell.registry.client.client import RegistryClient
from upwell.registry.client.push import RegistryPusher
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.errors import ManifestUnknownError
from upwell.registry.external.registry import ExternalRegistry
from upwell.registry.interface import InternalRegistry

APP, MISSING = "team/app", Digest.of(b"missing")


@dataclass(frozen=True)
class RegistryOfBuilds:
    """A registry, and how a build pushes to it: its mark is in the image."""

    internal: InternalRegistry
    push: Callable[[str, str], Awaitable[Digest]]


@pytest.fixture(params=["embedded", "bucket", "external", "external without a path"])
async def registry(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[RegistryOfBuilds]:
    if request.param == "embedded":
        hosted = EmbeddedRegistry(tmp_path, "registry.internal:5000")
        await hosted.recover()

        async def keep(tag: str, mark: str) -> Digest:
            return await push(hosted, APP, tag, mark)

        yield RegistryOfBuilds(hosted, keep)
        return
    if request.param == "bucket":
        async with strict_s3() as s3, bucket_at(s3.url, tmp_path) as bucket:
            shared = BucketRegistry(bucket, "registry.internal:5000")

            async def share(tag: str, mark: str) -> Digest:
                return await push(shared, APP, tag, mark)

            yield RegistryOfBuilds(shared, share)
        return
    path = "/ours/images" if request.param == "external" else ""
    async with docker_registry(tmp_path) as host, RegistryClient(unrestricted()) as client:
        pusher = RegistryPusher(client.connection)
        external = ExternalRegistry(client, pusher, f"{host}{path}")

        async def send(tag: str, mark: str) -> Digest:
            config = f'{{"os":"linux","author":"{mark}"}}'.encode()
            repository = f"{path}/{APP}".removeprefix("/")
            return (await push_image(host, repository, tag, config=config)).digest

        yield RegistryOfBuilds(external, send)


async def test_a_tag_is_set_and_moved(registry: RegistryOfBuilds) -> None:
    internal = registry.internal
    old, new = await registry.push("build-1", "old"), await registry.push("build-2", "new")
    assert old != new
    for digest in (old, new, new):
        await internal.tag(APP, "latest", digest)
        assert await internal.tag_digest(APP, "latest") == digest
        named = reference_in(internal.prefix, APP, "latest")
        assert (await internal.resolve(named)).digest == digest
    assert await internal.tag_digest(APP, "build-1") == old


async def test_what_is_not_there_is_not_tagged(registry: RegistryOfBuilds) -> None:
    internal = registry.internal
    await registry.push("build-1", "old")
    with pytest.raises(ManifestUnknownError):
        await internal.tag(APP, "latest", MISSING)
    assert await internal.tag_digest(APP, "latest") is None
    assert await internal.tag_digest("team/none", "latest") is None
    with pytest.raises(ManifestUnknownError):
        await internal.untag(APP, "latest")


async def test_a_tag_that_is_removed_leaves_its_image(registry: RegistryOfBuilds) -> None:
    internal = registry.internal
    digest = await registry.push("build-1", "old")
    await internal.tag(APP, "latest", digest)
    await internal.untag(APP, "latest")
    pinned = reference_in(internal.prefix, APP, digest=digest)
    assert (await internal.resolve(pinned)).digest == digest


async def test_tags_of_an_external_registry_are_not_read_back(tmp_path: Path) -> None:
    hosted = EmbeddedRegistry(tmp_path / "embedded", "registry.internal:5000")
    await hosted.recover()
    digest = await push(hosted, APP, "v1")
    assert list(await hosted.pushed_tags(APP)) == [("v1", digest)]
    (tmp_path / "external").mkdir()
    async with (
        docker_registry(tmp_path / "external") as host,
        RegistryClient(unrestricted()) as client,
    ):
        await push_image(host, APP, "v1")
        external = ExternalRegistry(client, RegistryPusher(client.connection), host)
        assert list(await external.pushed_tags(APP)) == []


async def test_no_tag_is_set_by_whom_must_not_write(tmp_path: Path) -> None:
    class DeposedError(Exception):
        pass

    def refuse() -> None:
        raise DeposedError

    async with docker_registry(tmp_path) as host, RegistryClient(unrestricted()) as client:
        first = (await push_image(host, APP, "v1")).digest
        external = ExternalRegistry(client, RegistryPusher(client.connection), host, refuse)
        with pytest.raises(DeposedError):
            await external.tag(APP, "latest", first)
        with pytest.raises(DeposedError):
            await external.untag(APP, "v1")
        assert await external.tag_digest(APP, "latest") is None
        assert await external.tag_digest(APP, "v1") == first
