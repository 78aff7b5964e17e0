"""Images that needed a login, by their digests: seen where their registry has given them."""

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.support.builds.memory_builds import push
from tests.support.server.api_server import Api, ApiAnswer, ApiClock, serving
from tests.support.server.audit_logs import audit_log

from upwell.api.apps import Deployment
from upwell.api.codec import decode
from upwell.api.image import Image, ImageStream, ImportState
from upwell.inventory.interface import Package
from upwell.oci import Digest
from upwell.policy.access.roles import parse_grants
from upwell.policy.images.proofs import (
    DESCRIBED_ANNOTATION,
    PUBLIC_ANNOTATION,
    UNREAD_ANNOTATION,
)
from upwell.registry.embedded import EmbeddedRegistry
from upwell.server.auth.access_control import AccessControl
from upwell.server.auth.tokens import TokenRecord, Tokens, hash_of, new_token, own_token
from upwell.server.http.limits import ServerLimits
from upwell.store.memory import MemoryStore

GROUP = "/apis/image.openshift.io/v1"
HOST = "registry.internal:5000"
PRIVATE = Digest.of(b"a private image")
WORD = "PASSWORD=of-the-bank"
IMAGE = {
    "apiVersion": "image.openshift.io/v1",
    "kind": "Image",
    "metadata": {"name": str(PRIVATE)},
    "dockerImageReference": f"private.example/bank/app@{PRIVATE}",
    "dockerImageMetadata": {"Config": {"Env": [WORD]}},
}
EVENT = {
    "created": "2026-11-01T00:00:00Z",
    "dockerImageReference": f"private.example/bank/app@{PRIVATE}",
    "image": str(PRIVATE),
}
"""As it was stored before events told whether they are proven."""


_NUMBERS = count()


class Site:
    """An API whose namespace `bank` has a stream of a private image, which nobody else has."""

    def __init__(self, api: Api, internal: EmbeddedRegistry) -> None:
        self.api = api
        self.internal = internal

    async def keep(self, document: dict[str, Any]) -> None:
        wanted = decode(document)
        kept = await self.api.store.create(wanted)
        if isinstance(wanted, ImageStream | Deployment):
            await self.api.store.update_status(kept.with_status(wanted.status))

    async def stream(self, namespace: str, **event: Any) -> None:
        await self.keep(
            {
                "apiVersion": "image.openshift.io/v1",
                "kind": "ImageStream",
                "metadata": {"name": "app", "namespace": namespace},
                "status": {
                    "dockerImageRepository": f"{HOST}/{namespace}/app",
                    "tags": [{"tag": "1", "items": [EVENT | event]}],
                },
            }
        )

    async def ask(self, grants: str, path: str, method: str = "GET", body: Any = None) -> ApiAnswer:
        name = f"t{next(_NUMBERS)}"
        token = new_token(name)
        record = TokenRecord(name, hash_of(token), parse_grants(grants))
        await self.api.store.create(record.as_secret())
        sent = {"Authorization": f"Bearer {token}"}
        return await self.api.send(method, f"{GROUP}/{path}", body, **sent)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    def guard(store: MemoryStore, clock: ApiClock) -> AccessControl:
        return AccessControl(
            Tokens(store, clock, [own_token(new_token("admin"))]), audit_log(tmp_path, clock), None
        )

    internal = EmbeddedRegistry(tmp_path / "internal", HOST)
    async with serving(ServerLimits(), guard=guard, internal=internal) as api:
        site = Site(api, internal)
        await site.keep(IMAGE)
        await site.stream("bank")
        api.behind.inventory.indexed[PRIVATE] = [Package("openssl", "3.0")]
        yield site


@pytest.mark.parametrize("part", ["", "/packages"])
@pytest.mark.parametrize(
    ("grants", "code"),
    [
        ("viewer@bank", 200),
        ("builder@shop\ndeployer@bank", 200),
        ("viewer@*", 200),
        ("viewer@shop", 403),
        ("builder@shop,other\npromoter@shop", 403),
        ("auth-delegator@bank", 403),
    ],
)
async def test_an_image_is_for_those_who_read_a_stream_that_has_it(
    site: Site, grants: str, code: int, part: str
) -> None:
    answer = await site.ask(grants, f"images/{PRIVATE}{part}")
    assert answer.status == code
    assert (WORD in answer.text) == (code == 200 and not part)
    absent = await site.ask(grants, f"images/{Digest.of(b'none')}{part}")
    assert absent.status == (404 if grants == "viewer@*" else 403)
    if code == 403:
        said, none = (one.json["message"].partition(" may not ")[2] for one in (answer, absent))
        assert said == none


@pytest.mark.parametrize("path", ["images", f"images?fieldSelector=metadata.name%3D{PRIVATE}"])
async def test_images_are_listed_to_roles_in_all_namespaces_alone(site: Site, path: str) -> None:
    assert (await site.ask("viewer@bank", path)).status == 403
    assert (await site.ask("viewer@*", path)).status == 200


async def test_an_image_that_needed_no_login_is_for_everybody_who_has_a_role(site: Site) -> None:
    image = await site.api.store.get(Image, "", str(PRIVATE))
    await site.api.store.update(image.with_metadata(annotations={PUBLIC_ANNOTATION: "true"}))
    assert WORD in (await site.ask("viewer@shop", f"images/{PRIVATE}")).text
    await site.stream("shop", unproven=True)
    assert WORD in (await site.ask("viewer@shop", SHOP_TAG)).text


SHOP_TAG = "namespaces/shop/imagestreamtags/app:1"
SHOP_IMAGE = f"namespaces/shop/imagestreamimages/app@{PRIVATE}"
SHOP_VIEWS = (SHOP_TAG, SHOP_IMAGE, f"images/{PRIVATE}", f"images/{PRIVATE}/packages")


async def seen(site: Site, grants: str = "viewer@shop") -> list[bool]:
    answers = [await site.ask(grants, path) for path in SHOP_VIEWS]
    return [WORD in answer.text or "openssl" in answer.text for answer in answers]


async def test_a_stream_that_claims_a_digest_is_told_nothing_of_it(site: Site) -> None:
    await site.stream("shop", unproven=True)
    assert await seen(site) == [False] * 4
    shown = (await site.ask("viewer@shop", SHOP_TAG)).json["image"]
    assert shown["metadata"]["name"] == str(PRIVATE)
    assert (await site.ask("viewer@bank", f"images/{PRIVATE}")).status == 200


async def test_what_was_stored_before_there_were_proofs_is_shown_on(site: Site) -> None:
    await site.stream("shop")
    assert await seen(site) == [True] * 4


async def map_image(site: Site, digest: Digest, place: str) -> None:
    await site.keep(
        {
            "apiVersion": "image.openshift.io/v1",
            "kind": "ImageStream",
            "metadata": {"name": "app", "namespace": "shop"},
        }
    )
    image = {"metadata": {"name": str(digest)}, "dockerImageReference": place}
    mapping = {"metadata": {"name": "app", "namespace": "shop"}, "tag": "1", "image": image}
    path = "namespaces/shop/imagestreammappings"
    assert (await site.ask("builder@shop", path, "POST", mapping)).status == 201


@pytest.mark.parametrize(
    "place",
    [
        f"private.example/bank/app@{PRIVATE}",
        "private.example/bank/app",
        f"{HOST}/shop/app:1",
        f"{HOST}/shop/app@{PRIVATE}",
        "",
    ],
)
async def test_a_mapping_is_no_proof(site: Site, place: str) -> None:
    await push(site.internal, "shop/app:1", "own")
    await map_image(site, PRIVATE, place)
    assert await seen(site) == [False] * 4


async def test_a_mapping_of_what_its_registry_gives_is_shown(site: Site) -> None:
    digest = await push(site.internal, "shop/app:1", "own")
    image = {**IMAGE, "metadata": {"name": str(digest)}}
    await site.keep(image)
    await map_image(site, digest, f"{HOST}/shop/app:1")
    assert WORD in (await site.ask("viewer@shop", SHOP_TAG)).text
    assert WORD in (await site.ask("viewer@shop", f"images/{digest}")).text
    assert (await site.ask("viewer@bank", f"images/{digest}")).status == 403


async def test_what_a_client_has_described_is_shown_in_its_namespace(site: Site) -> None:
    image = await site.api.store.get(Image, "", str(PRIVATE))
    await site.api.store.update(image.with_metadata(annotations={DESCRIBED_ANNOTATION: "shop"}))
    await site.stream("shop", unproven=True)
    assert await seen(site) == [True, True, True, False]
    await site.stream("other", unproven=True)
    assert WORD not in (await site.ask("viewer@other", f"images/{PRIVATE}")).text


@pytest.mark.parametrize("imported", [str(PRIVATE), ""])
async def test_a_manifest_is_shown_where_a_registry_has_given_it_without_a_configuration(
    site: Site, imported: str
) -> None:
    image = await site.api.store.get(Image, "", str(PRIVATE))
    kept = await site.api.store.update(image.with_metadata(annotations={UNREAD_ANNOTATION: "true"}))
    await site.stream("shop", unproven=True)
    stream = await site.api.store.get(ImageStream, "shop", "app")
    tag = stream.status.tags[0].model_copy(
        update={"import_state": ImportState(imported_digest=imported, unproven=True)}
    )
    await site.api.store.update_status(
        stream.with_status(stream.status.model_copy(update={"tags": (tag,)}))
    )
    given = bool(imported)
    assert await seen(site) == [given, given, given, False]
    await site.api.store.update(kept.with_metadata(annotations={}))
    assert await seen(site) == [False] * 4


def running(**times: str) -> dict[str, Any]:
    """Return a workload of the namespace `live` that follows the stream of `bank`."""
    image = f"private.example/bank/app@{PRIVATE}"
    record = {
        "revision": 1,
        "hash": "a",
        "template": {},
        "created": "2026-11-01T00:00:00Z",
        "images": {"app": image},
    }
    container = {"name": "app", "image": image}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "app", "namespace": "live"},
        "spec": {
            "selector": {"matchLabels": {"app": "app"}},
            "template": {
                "metadata": {"labels": {"app": "app"}},
                "spec": {"containers": [container]},
            },
        },
        "status": {"revisions": [record | times]},
    }


@pytest.mark.parametrize(
    ("times", "grants", "code"),
    [
        ({"liveAt": "2026-11-01T00:00:00Z"}, "viewer@live", 200),
        ({"liveAt": "2026-11-01T00:00:00Z"}, "viewer@shop", 403),
        ({}, "viewer@live", 403),
    ],
    ids=["runs", "runs elsewhere", "is only named"],
)
async def test_who_reads_what_runs_an_image_sees_its_packages(
    site: Site, times: dict[str, str], grants: str, code: int
) -> None:
    await site.keep(running(**times))
    assert (await site.ask(grants, f"images/{PRIVATE}/packages")).status == code
    assert (await site.ask(grants, f"images/{PRIVATE}")).status == 403
