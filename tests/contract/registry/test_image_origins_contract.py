"""Contract of origins: which images a repository has by its ImageStream, and where they are."""

from collections.abc import Awaitable, Callable

import pytest
from tests.support.registry.origins import STREAM, StreamInMemory
from tests.support.store.stores_under_test import now

from upwell.api.codec import decode_as
from upwell.api.image import ImageStream
from upwell.oci import Digest, Reference
from upwell.reconcilers.images.origins import StreamOrigins
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.registry.origins import ImageOrigins
from upwell.store.memory import MemoryStore

OLD, NEW, OTHER = (Digest.of(mark) for mark in (b"old", b"new", b"other"))
VENDOR = "vendor.test/debian"


def document() -> dict[str, object]:
    namespace, _, name = STREAM.partition("/")
    items = [
        {
            "created": "2026-03-01T12:00:00Z",
            "dockerImageReference": f"{VENDOR}@{digest}",
            "image": str(digest),
        }
        for digest in (NEW, OLD)
    ]
    tag = {"name": "12", "from": {"kind": "DockerImage", "name": f"{VENDOR}:12"}}
    return {
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStream",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"tags": [tag]},
        "status": {"tags": [{"tag": "12", "items": items}]},
    }


async def in_store() -> ImageOrigins:
    store, wanted = MemoryStore(now), decode_as(ImageStream, document())
    made = await store.create(wanted)
    await store.update_status(made.model_copy(update={"status": wanted.status}))
    return StreamOrigins(store, PullSecrets(store))


async def in_memory() -> ImageOrigins:
    references = {digest: Reference.parse(f"{VENDOR}@{digest}") for digest in (OLD, NEW)}
    return StreamInMemory({"12": NEW}, references)


KINDS: dict[str, Callable[[], Awaitable[ImageOrigins]]] = {"store": in_store, "memory": in_memory}


@pytest.fixture(params=KINDS)
async def origins(request: pytest.FixtureRequest) -> ImageOrigins:
    return await KINDS[request.param]()


async def test_a_tag_is_the_newest_image_that_it_has(origins: ImageOrigins) -> None:
    assert await origins.digest(STREAM, "12") == NEW
    assert await origins.digest(STREAM, "13") is None
    assert await origins.digest("shop/none", "12") is None


@pytest.mark.parametrize("digest", [OLD, NEW])
async def test_an_image_that_a_tag_has_or_had_has_its_origin(
    origins: ImageOrigins, digest: Digest
) -> None:
    found = await origins.find(STREAM, digest)
    assert found is not None
    assert found.reference == Reference.parse(f"{VENDOR}@{digest}")
    assert not found.access.insecure


async def test_any_other_image_has_none(origins: ImageOrigins) -> None:
    assert await origins.find(STREAM, OTHER) is None
    assert await origins.find("shop/none", NEW) is None
