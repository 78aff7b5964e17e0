"""Contents of the embedded registry, and removals that check once more."""

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.registry.hosted_images import CONFIG, body, image, index, push
from tests.unit.registry.test_embedded_storage import HOST

from upwell.oci import Digest, MediaType
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.hosting import ManifestPush

MONTH = 30 * 24 * 3600.0
BLOB = Digest.of(CONFIG)


@pytest.fixture
async def registry(tmp_path: Path) -> EmbeddedRegistry:
    registry = EmbeddedRegistry(tmp_path, HOST)
    await registry.recover()
    return registry


def grow_old(root: Path) -> None:
    then = time.time() - MONTH
    for path in root.rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))


def day_ago() -> datetime:
    return datetime.fromtimestamp(time.time() - 24 * 3600, UTC)


async def put(registry: EmbeddedRegistry, raw: bytes, tag: str | None = None) -> Digest:
    kind = MediaType.OCI_INDEX if b"manifests" in raw else MediaType.OCI_MANIFEST
    return (await registry.put_manifest(ManifestPush("team/app", raw, kind, tag))).digest


async def test_a_survey_tells_tags_content_and_ages(
    registry: EmbeddedRegistry, tmp_path: Path
) -> None:
    child = await push(registry, "team/app", None, "child")
    grow_old(tmp_path)
    parent = await put(registry, index(image("child")), "v1")
    subject = {"mediaType": MediaType.OCI_MANIFEST, "digest": str(child), "size": 1}
    referrer = await put(registry, json.dumps({**json.loads(image()), "subject": subject}).encode())

    [found] = await registry.survey()

    assert found.name == "team/app"
    assert found.tags["v1"].digest == parent
    by_digest = {manifest.digest: manifest for manifest in found.manifests}
    assert by_digest.keys() == {child, parent, referrer}
    assert by_digest[parent].children == {child}
    assert by_digest[child].blobs == {BLOB: len(CONFIG)}
    assert by_digest[referrer].subject == child
    assert by_digest[child].created < day_ago() < by_digest[parent].created


async def test_a_tag_that_was_moved_stays(registry: EmbeddedRegistry) -> None:
    old = await push(registry, "team/app", "v1", "old")
    new = await push(registry, "team/app", "v1", "new")

    assert not await registry.expire_tag("team/app", "v1", old)
    assert await registry.expire_tag("team/app", "v1", new)
    assert await registry.tag_digest("team/app", "v1") is None
    assert await registry.has_manifest("team/app", new)
    assert not await registry.expire_tag("no/such", "v1", new)


async def test_a_manifest_that_is_named_or_young_stays(
    registry: EmbeddedRegistry, tmp_path: Path
) -> None:
    child = await push(registry, "team/app", None, "child")
    parent = await put(registry, index(image("child")), "v1")
    alone = await push(registry, "team/app", None, "alone")
    young = await push(registry, "team/app", None, "young")
    grow_old(tmp_path)
    await push(registry, "team/app", None, "young")  # known content, pushed again

    removed = {
        digest
        for digest in (child, parent, alone, young)
        if await registry.expire_manifest("team/app", digest, day_ago())
    }

    assert removed == {alone}
    assert not await registry.expire_manifest("team/app", alone, day_ago())


async def test_a_blob_that_a_client_asked_for_stays_for_its_manifest(
    registry: EmbeddedRegistry, tmp_path: Path
) -> None:
    await push(registry, "team/app", None)
    await registry.delete_manifest("team/app", Digest.of(image()))
    grow_old(tmp_path)

    assert await registry.blob_size("team/app", BLOB) == len(CONFIG)
    await registry.collect(day_ago())

    await put(registry, image(), "v1")


async def test_known_content_that_is_uploaded_again_is_young(
    registry: EmbeddedRegistry, tmp_path: Path
) -> None:
    await push(registry, "team/other")
    grow_old(tmp_path)
    upload = await registry.start_upload("team/app")
    await registry.append("team/app", upload, body(CONFIG))
    await registry.finish_upload("team/app", upload, BLOB)

    await registry.collect(day_ago())

    await put(registry, image(), "v1")


async def test_a_manifest_that_was_asked_for_is_as_good_as_young(tmp_path: Path) -> None:
    registry = EmbeddedRegistry(tmp_path, "registry.test")
    digest = await push(registry, "team/app", tag=None)
    now = datetime.now(UTC)
    file = tmp_path / "blobs" / "sha256" / digest.hex[:2] / digest.hex
    os.utime(file, (1, 1))
    await registry.keep_manifest("team/app", digest)
    assert not await registry.expire_manifest("team/app", digest, now - timedelta(minutes=10))
    os.utime(file, (1, 1))
    assert await registry.expire_manifest("team/app", digest, now)
