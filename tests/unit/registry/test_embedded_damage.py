"""Content that the disk has changed: what it named stays until it is pushed again or deleted."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.registry.hosted_images import CONFIG, image, index, push, push_blob

from upwell.oci import Digest, MediaType
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.errors import BlobUnknownError, ManifestUnknownError
from upwell.registry.hosted.limits import StorageLimits
from upwell.registry.hosting import ManifestContentUnknownError, ManifestPush

HOST = "registry.internal:5000"
DAY = 24 * 3600.0
DAMAGES = [b"", b"{}", b"\xff\x00damaged"]


class RegistryFolder:
    """One folder, and registries that are opened on it one after the other, a day later each."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ahead = 0.0

    def open(self) -> EmbeddedRegistry:
        now = datetime.now(UTC).timestamp()
        return EmbeddedRegistry(
            self.root, HOST, limits=StorageLimits(unused_age=3600), clock=lambda: now + self.ahead
        )

    def later(self) -> EmbeddedRegistry:
        self.ahead += DAY
        return self.open()

    def damage(self, digest: Digest, content: bytes) -> None:
        path = self.root / "blobs" / "sha256" / digest.hex[:2] / digest.hex
        path.write_bytes(content)
        os.utime(path, (0, 0))

    def tag(self, name: str) -> Path:
        return self.root / "repositories" / "team" / "app" / "_tags" / name


@pytest.fixture
def registries(tmp_path: Path) -> RegistryFolder:
    return RegistryFolder(tmp_path / "registry")


async def holds(registry: EmbeddedRegistry, *blobs: bytes) -> bool:
    return all([await registry.blob_size("team/app", Digest.of(blob)) for blob in blobs])


@pytest.mark.parametrize("content", DAMAGES)
async def test_layers_of_a_damaged_manifest_stay_until_it_is_pushed_again(
    registries: RegistryFolder, content: bytes
) -> None:
    digest = await push(registries.open(), "team/app")
    registries.damage(digest, content)

    for registry in (registries.later(), registries.later()):
        assert (await registry.collect_garbage()).blobs == 0
        await registry.collect(datetime.now(UTC))
        assert await holds(registry, CONFIG)
        assert registry.damage() == {"team/app": [f"manifest {digest}"]}

    assert await push(registry, "team/app") == digest
    assert registry.damage() == {}
    again = registries.open()  # the file is whole, not only what this process remembers
    assert await again.tag_digest("team/app", "v1") == digest
    assert Digest.of(await again.read_manifest("team/app", digest)) == digest
    await again.collect_garbage()
    assert again.damage() == {}


async def test_a_damage_under_a_running_server_is_noticed_and_not_served(
    registries: RegistryFolder,
) -> None:
    registry = registries.open()
    digest = await push(registry, "team/app")
    registries.damage(digest, b"damaged")
    registries.ahead = DAY
    with pytest.raises(ManifestUnknownError):
        await registry.read_manifest("team/app", digest)
    assert (await registry.collect_garbage()).blobs == 0
    assert await holds(registry, CONFIG)
    assert registry.damage() == {"team/app": [f"manifest {digest}"]}
    assert [one.name for one in await registry.survey()] == ["team/app"]


async def test_images_of_a_damaged_index_do_not_expire(registries: RegistryFolder) -> None:
    registry = registries.open()
    child = await push(registry, "team/app", tag=None)
    pushed = ManifestPush("team/app", index(image()), str(MediaType.OCI_INDEX), "all", actor="test")
    made = await registry.put_manifest(pushed)
    registries.damage(made.digest, b"damaged")
    registry = registries.later()
    assert not await registry.expire_manifest("team/app", child, datetime.now(UTC))
    assert await registry.has_manifest("team/app", child)


async def test_an_image_whose_tag_is_damaged_does_not_expire(registries: RegistryFolder) -> None:
    digest = await push(registries.open(), "team/app")
    registries.tag("v1").write_bytes(b"")
    registry = registries.later()
    assert not await registry.expire_manifest("team/app", digest, datetime.now(UTC))
    assert registry.damage() == {"team/app": ["tag v1"]}
    await registry.tag("team/app", "v1", digest)
    assert registry.damage() == {}


async def test_deleting_what_is_damaged_ends_the_fault(registries: RegistryFolder) -> None:
    digest = await push(registries.open(), "team/app")
    registries.damage(digest, b"damaged")
    registries.tag("v2").write_bytes(b"")
    registry = registries.later()
    await registry.collect_garbage()
    await registry.delete_manifest("team/app", digest)
    await registry.untag("team/app", "v2")
    assert registry.damage() == {}
    assert (await registry.collect_garbage()).blobs == 1


async def test_other_repositories_are_collected_as_before(registries: RegistryFolder) -> None:
    registry = registries.open()
    await push(registry, "team/app")
    other = await push(registry, "team/other")
    await registry.delete_manifest("team/other", other)
    app = await push(registry, "team/third", mark="another")
    registries.damage(app, b"damaged")
    registry = registries.later()
    assert (await registry.collect_garbage()).blobs == 1
    assert list(registry.damage()) == ["team/third"]


# Blobs


def flip(registries: RegistryFolder, digest: Digest) -> None:
    """Change a byte, as a failing disk does: no time of the file tells."""
    path = registries.root / "blobs" / "sha256" / digest.hex[:2] / digest.hex
    facts = path.stat()
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


async def read(registry: EmbeddedRegistry, repository: str, digest: Digest) -> bytes:
    size = await registry.blob_size(repository, digest, verified=True)
    async with registry.read_blob(repository, digest, range(size)) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def test_a_damaged_blob_is_as_good_as_none_and_is_told(registries: RegistryFolder) -> None:
    registry = registries.open()
    digest = await push_blob(registry, "team/app", b"layer")
    assert await registry.mount_blob("team/web", digest, "team/app")
    flip(registries, digest)

    registry = registries.open()
    with pytest.raises(BlobUnknownError):
        await read(registry, "team/app", digest)
    for repository in ("team/app", "team/web"):
        with pytest.raises(BlobUnknownError):
            await registry.blob_size(repository, digest)
    assert not await registry.mount_blob("team/third", digest, "team/app")
    what = [f"blob {digest.short}"]  # whole, it would open it to whoever asks for layers by them
    assert registry.damage() == {"team/app": what, "team/web": what}


async def test_a_push_heals_a_damaged_blob_in_every_repository(registries: RegistryFolder) -> None:
    registry = registries.open()
    digest = await push_blob(registry, "team/app", b"layer")
    await registry.mount_blob("team/web", digest, "team/app")
    flip(registries, digest)

    registry = registries.open()  # it has not looked at the blob
    await push_blob(registry, "team/web", b"layer")
    again = registries.open()
    assert await read(again, "team/app", digest) == b"layer"
    assert await read(again, "team/web", digest) == b"layer"
    assert registry.damage() == {}


async def test_a_push_heals_what_no_time_tells(registries: RegistryFolder) -> None:
    registry = registries.open()
    digest = await push_blob(registry, "team/app", b"layer")
    await registry.mount_blob("team/web", digest, "team/app")
    assert await read(registry, "team/app", digest) == b"layer"
    flip(registries, digest)

    await push_blob(registry, "team/app", b"layer")
    for repository in ("team/app", "team/web"):
        assert await read(registry, repository, digest) == b"layer"
    assert registry.damage() == {}


async def test_scrubbing_finds_what_no_time_tells(registries: RegistryFolder) -> None:
    registry = registries.open()
    bad, good = [await push_blob(registry, "team/app", one) for one in (b"layer", b"another")]
    assert await read(registry, "team/app", bad) == b"layer"
    flip(registries, bad)

    assert await registry.scrub(rate=10**9) == len(b"layer" + b"another")
    assert registry.damage() == {"team/app": [f"blob {bad.short}"]}
    assert await read(registry, "team/app", good) == b"another"

    await push_blob(registry, "team/app", b"layer")
    assert registry.damage() == {}
    await registry.delete_blob("team/app", bad)
    await registry.scrub(rate=10**9)
    assert registry.damage() == {}


async def test_what_was_written_to_is_hashed_again_before_it_is_served(
    registries: RegistryFolder,
) -> None:
    registry = registries.open()
    digest = await push_blob(registry, "team/app", b"layer")
    registries.damage(digest, b"wrong")
    with pytest.raises(BlobUnknownError):
        await read(registry, "team/app", digest)


async def test_a_manifest_is_refused_that_names_a_damaged_blob(registries: RegistryFolder) -> None:
    registry = registries.open()
    await push(registry, "team/app")
    flip(registries, Digest.of(CONFIG))
    await registry.scrub(rate=10**9)
    with pytest.raises(ManifestContentUnknownError):
        await registry.put_manifest(
            ManifestPush("team/app", image("other"), str(MediaType.OCI_MANIFEST), "v2")
        )


async def test_a_push_heals_a_manifest_that_nobody_has_read(registries: RegistryFolder) -> None:
    registry = registries.open()
    digest = await push(registry, "team/app")
    await push(registry, "team/web")
    registries.damage(digest, b"damaged")
    with pytest.raises(ManifestUnknownError):
        await registry.read_manifest("team/web", digest)
    with pytest.raises(ManifestUnknownError):
        await registry.find_manifest("team/web", digest)

    assert await push(registry, "team/app") == digest
    for repository in ("team/app", "team/web"):
        assert Digest.of(await registry.read_manifest(repository, digest)) == digest
    assert registry.damage() == {}
    assert (await registry.find_manifest("team/web", digest)).digest == digest
