"""Storage of each namespace in the embedded registry, and pushes beyond its quota."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.registry.embedded_server import serving_registry
from tests.support.registry.hosted_images import CONFIG, body, image, push, push_blob

from upwell.api.core import IMAGE_STORAGE
from upwell.oci import Digest, MediaType
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.hosted import quotas
from upwell.registry.hosting import (
    ManifestPush,
    QuotaExceededError,
    StorageQuota,
    TooManyUploadsError,
)

HOST = "registry.internal:5000"
BLOCK = quotas.BLOCK
IMAGE = 3 * BLOCK
"""A configuration, a manifest and a tag."""


class Quotas:
    """Quotas of a test's choice."""

    def __init__(self, **blocks: int) -> None:
        self.blocks = blocks

    async def __call__(self, repository: str) -> StorageQuota | None:
        blocks = self.blocks.get(repository.partition("/")[0])
        return None if blocks is None else StorageQuota("storage", blocks * BLOCK)


async def opened(root: Path, quotas: Quotas | None = None) -> EmbeddedRegistry:
    registry = EmbeddedRegistry(root, HOST, quota=quotas or Quotas())
    await registry.recover()
    return registry


async def test_content_counts_once_for_each_namespace_that_has_it(tmp_path: Path) -> None:
    registry = await opened(tmp_path)
    await push(registry, "shop/app")
    assert await registry.storage_used("shop") == IMAGE
    await push(registry, "shop/app", tag="v2")
    await push(registry, "shop/deep/er")
    assert await registry.storage_used("shop") == IMAGE + 2 * BLOCK  # two tags
    assert await registry.storage_used("bank") == 0
    assert await registry.mount_blob("bank/app", Digest.of(CONFIG), "shop/app")
    assert await registry.storage_used("bank") == BLOCK
    assert await registry.storage_used("shop-2") == 0


async def test_a_killed_process_leaves_no_wrong_count(tmp_path: Path) -> None:
    registry = await opened(tmp_path)
    await push(registry, "shop/app")
    upload = await registry.start_upload("shop/app")
    await registry.append("shop/app", upload, body(b"x" * 5000))
    used = await registry.storage_used("shop")
    assert used == IMAGE + 2 * BLOCK

    again = await opened(tmp_path)
    assert await again.storage_used("shop") == used
    await again.append("shop/app", upload, body(b"x" * 5000))
    assert await again.storage_used("shop") == IMAGE + 3 * BLOCK
    await again.finish_upload("shop/app", upload, Digest.of(b"x" * 10_000))
    assert await again.storage_used("shop") == IMAGE + 3 * BLOCK


async def test_more_than_the_quota_is_refused_and_not_kept(tmp_path: Path) -> None:
    registry = await opened(tmp_path, Quotas(shop=5))
    await push(registry, "shop/app")
    upload = await registry.start_upload("shop/app")
    with pytest.raises(QuotaExceededError) as refused:
        await registry.append("shop/app", upload, body(*[b"x" * BLOCK] * 3))
    assert f"exceeded quota: storage, requested: {IMAGE_STORAGE}=" in str(refused.value)
    assert f"limited: {IMAGE_STORAGE}=20Ki" in str(refused.value)
    assert "upwell prune" in str(refused.value)
    assert await registry.storage_used("shop") == IMAGE
    assert not list((tmp_path / "uploads").rglob("*/*"))

    await push_blob(registry, "shop/app", b"x" * 2 * BLOCK)  # to the byte
    manifest = ManifestPush("shop/app", image(), str(MediaType.OCI_MANIFEST), "v1")
    await registry.put_manifest(manifest)  # what is there takes nothing
    for more in (
        lambda: registry.start_upload("shop/app"),
        lambda: registry.put_manifest(
            ManifestPush("shop/app", image("other"), str(MediaType.OCI_MANIFEST))
        ),
        lambda: registry.put_manifest(
            ManifestPush("shop/app", image(), str(MediaType.OCI_MANIFEST), "another-tag")
        ),
    ):
        with pytest.raises(QuotaExceededError):
            await more()
    assert await registry.storage_used("shop") == 5 * BLOCK
    await push(registry, "bank/app")


async def test_a_mount_takes_of_the_quota_too(tmp_path: Path) -> None:
    quotas = Quotas(bank=1)
    registry = await opened(tmp_path, quotas)
    large = await push_blob(registry, "shop/app", b"x" * 2 * BLOCK)
    small = await push_blob(registry, "shop/app", b"x")
    with pytest.raises(QuotaExceededError):
        await registry.mount_blob("bank/app", large, "shop/app")
    assert await registry.mount_blob("bank/app", small, "shop/app")
    assert await registry.mount_blob("bank/web", small, "bank/app")  # its own already


async def test_uploads_at_once_count_one_another(tmp_path: Path) -> None:
    registry = await opened(tmp_path, Quotas(shop=100))

    async def pushed(number: int) -> bool:
        try:
            await push_blob(registry, "shop/app", bytes([number]) * 30 * BLOCK)
        except QuotaExceededError:
            return False
        return True

    outcomes = await asyncio.gather(*(pushed(number) for number in range(20)))
    assert sum(outcomes) <= 3
    assert await registry.storage_used("shop") == sum(outcomes) * 30 * BLOCK


async def test_what_is_pruned_may_be_pushed_anew(tmp_path: Path) -> None:
    registry = await opened(tmp_path, Quotas(shop=3))
    digest = await push(registry, "shop/app")
    with pytest.raises(QuotaExceededError):
        await push(registry, "shop/app", mark="other", tag=None)
    await registry.delete_manifest("shop/app", digest)
    await registry.collect(datetime.now(UTC) + timedelta(days=1))
    assert await registry.storage_used("shop") == 0
    await push(registry, "shop/app", mark="other")


async def test_a_client_has_so_many_uploads_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "CLIENT_UPLOADS", 3)
    monkeypatch.setattr(quotas, "NAMESPACE_UPLOADS", 5)
    registry = await opened(tmp_path)
    mine = [await registry.start_upload("shop/app", owner="mallory") for _ in range(3)]
    with pytest.raises(TooManyUploadsError, match="client mallory"):
        await registry.start_upload("bank/app", owner="mallory")
    for _ in range(2):
        await registry.start_upload("shop/web", owner="alice")
    with pytest.raises(TooManyUploadsError, match="namespace shop"):
        await registry.start_upload("shop/app", owner="alice")
    await registry.start_upload("shop/app")  # the server's own
    await registry.start_upload("bank/app", owner="alice")
    await registry.cancel_upload("shop/app", mine[0])
    await registry.start_upload("bank/app", owner="mallory")
    assert await registry.storage_used("shop") == 5 * BLOCK


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["push", "blob", "mount", "upload", "untag", "delete", "collect", "ask"]),
        st.sampled_from(["shop/app", "shop/web", "shop/a/b", "bank/app"]),
        st.integers(0, 3),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_the_count_is_that_of_the_files_after_any_changes(
    steps: list[tuple[str, str, int]],
) -> None:
    async def play(root: Path) -> None:
        registry = await opened(root)
        for step, repository, number in steps:
            await _take(registry, step, repository, number)
        fresh = await opened(root)
        for namespace in ("shop", "bank"):
            counted = await registry.storage_used(namespace)
            assert counted == await fresh.storage_used(namespace)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder)))


async def _take(registry: EmbeddedRegistry, step: str, repository: str, number: int) -> None:
    content = b"x" * (number * 3000)
    digest = Digest.of(content)
    held = await registry.has_manifest(repository, Digest.of(image(str(number))))
    match step:
        case "push":
            await push(registry, repository, f"v{number}", str(number))
        case "blob":
            await push_blob(registry, repository, content)
        case "mount":
            await registry.mount_blob(repository, digest, "shop/app")
        case "upload":
            upload = await registry.start_upload(repository)
            await registry.append(repository, upload, body(content))
        case "untag" if await registry.tag_digest(repository, f"v{number}"):
            await registry.untag(repository, f"v{number}")
        case "delete" if held:
            await registry.delete_manifest(repository, Digest.of(image(str(number))))
        case "collect":
            await registry.collect(datetime.now(UTC) + timedelta(days=1))
        case "ask":
            await registry.storage_used(repository.partition("/")[0])


async def test_a_client_is_told_as_the_specification_says(tmp_path: Path) -> None:
    def create(host: str) -> EmbeddedRegistry:
        return EmbeddedRegistry(tmp_path, host, quota=Quotas(shop=4))

    async with serving_registry(create) as registry, aiohttp.ClientSession() as session:
        blobs = f"http://{registry.host}/v2/shop/app/blobs/uploads/"
        begun = await session.post(blobs)
        assert begun.status == 202
        location = f"http://{registry.host}{begun.headers['Location']}"
        refused = await session.patch(location, data=b"x" * 5 * BLOCK)
        assert refused.status == 403
        [error] = (await refused.json())["errors"]
        assert error["code"] == "DENIED"
        assert "exceeded quota: storage" in error["message"]
        assert (await session.get(location)).status == 404  # nothing of it is kept
        digest = Digest.of(b"x" * 4 * BLOCK)
        whole = await session.post(f"{blobs}?digest={digest}", data=b"x" * 4 * BLOCK)
        assert whole.status == 201
        assert (await session.post(blobs)).status == 403


async def test_a_body_that_ends_early_counts_as_what_arrived(tmp_path: Path) -> None:
    registry = await opened(tmp_path, Quotas(shop=10))

    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 5000
        raise ConnectionError

    upload = await registry.start_upload("shop/app")
    with pytest.raises(ConnectionError):
        await registry.append("shop/app", upload, broken())
    assert await registry.storage_used("shop") == 2 * BLOCK
