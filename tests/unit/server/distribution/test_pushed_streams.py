"""A push to a repository without an ImageStream, which makes one."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.support.registry.hosted_images import CONFIG, image, push, push_blob
from tests.support.server.api_server import Api, ApiAnswer, ApiClock, serving
from tests.support.server.audit_logs import audit_lines, audit_log

from upwell.api.core import Namespace
from upwell.api.image import ImageStream, TagEvent
from upwell.api.meta import ObjectMeta
from upwell.api.values.author import author_of
from upwell.api.waves.wave import APPROVAL_ANNOTATION
from upwell.oci import Digest, MediaType
from upwell.policy.access.roles import parse_grant
from upwell.policy.images.streams import record_image
from upwell.registry.embedded import EmbeddedRegistry
from upwell.server.admission.quota import LimitedStore
from upwell.server.auth.access_control import AccessControl
from upwell.server.auth.tokens import (
    RegistryTokens,
    TokenRecord,
    Tokens,
    hash_of,
    new_token,
    own_token,
)
from upwell.server.distribution.pushed_streams import PushedStreams
from upwell.server.distribution.routes import create_routes
from upwell.server.http.limits import ServerLimits
from upwell.server.images.pushed_stream_creation import PushedStreamCreation
from upwell.store.interface import NotFoundError
from upwell.store.memory import MemoryStore

HOST = "registry.test"


class Pushes:
    """Clients of the registry of an API whose namespaces are `shop` and `bank`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registry = EmbeddedRegistry(folder / "registry", HOST)
        self.builds = RegistryTokens()
        self.tokens = {name: new_token(name) for name in ("admin", "ann")}
        self.limits = ServerLimits()
        self.patience = 0.0
        self.api: Api

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["Pushes"]:
        routes = create_routes(self.registry)[:0]

        def guard(store: MemoryStore, clock: ApiClock) -> AccessControl:
            clients = LimitedStore(store, self.limits)
            create = PushedStreamCreation(clients, clock).create
            streams = PushedStreams(store, create, self.patience)
            routes.extend(create_routes(self.registry, streams=streams))
            tokens = Tokens(store, clock, [own_token(self.tokens["admin"])], self.builds)
            return AccessControl(tokens, audit_log(self.folder, clock))

        async with serving(self.limits, guard=guard, registry_routes=routes) as self.api:
            for name in ("shop", "bank"):
                await self.api.store.create(Namespace(metadata=ObjectMeta(name=name)))
            ann = TokenRecord("ann", hash_of(self.tokens["ann"]), (parse_grant("builder@shop"),))
            await self.api.store.create(ann.as_secret())
            yield self

    async def push(self, who: str, name: str, raw: bytes | None = None) -> ApiAnswer:
        repository, _, tag = name.rpartition(":")
        await push_blob(self.registry, repository, CONFIG)
        headers = {"Authorization": f"Bearer {self.tokens.get(who, who)}"}
        path = f"/v2/{repository}/manifests/{tag}"
        body = image() if raw is None else raw
        return await self.api.send("PUT", path, body, str(MediaType.OCI_MANIFEST), **headers)

    async def name(self, stream: str, tag: str, digest: str, **declared: Any) -> None:
        """Let a stream of `shop` name an image, as the reconciler does."""
        found = await self.api.store.get(ImageStream, "shop", stream)
        if declared:
            spec = ImageStream.model_validate({"spec": {"tags": ({"name": tag, **declared},)}}).spec
            found = await self.api.store.update(found.model_copy(update={"spec": spec}))
        pull_spec = f"{HOST}/shop/{stream}@{digest}"
        created = datetime(2026, 5, 1, tzinfo=UTC)
        event = TagEvent(created=created, docker_image_reference=pull_spec, image=digest)
        status = record_image(found.status, tag, event, changes={})
        await self.api.store.update_status(found.with_status(status))

    async def delete(self, name: str) -> ApiAnswer:
        repository, _, tag = name.rpartition(":")
        headers = {"Authorization": f"Bearer {self.tokens['ann']}"}
        return await self.api.send("DELETE", f"/v2/{repository}/manifests/{tag}", **headers)

    async def stream(self, namespace: str, name: str) -> ImageStream | None:
        try:
            return await self.api.store.get(ImageStream, namespace, name)
        except NotFoundError:
            return None


@pytest.fixture
async def pushes(tmp_path: Path) -> AsyncIterator[Pushes]:
    async with Pushes(tmp_path).serving() as made:
        yield made


def told(answer: ApiAnswer) -> str:
    return str(json.loads(answer.text)["errors"][0]["message"])


async def test_a_push_makes_the_stream_of_its_repository(pushes: Pushes) -> None:
    answer = await pushes.push("ann", "shop/app:1")
    assert answer.status == 201, answer.text
    stream = await pushes.stream("shop", "app")
    assert stream is not None
    assert stream.spec.tags == ()
    assert author_of(stream) == "ann"
    named = ("verb", "resource", "name", "code", "user")
    lines = [tuple(one[field] for field in named) for one in audit_lines(pushes.folder)]
    assert lines == [
        ("create", "imagestreams", "app", 201, "ann"),
        ("push", "repositories", "shop/app", 201, "ann"),
    ]

    assert (await pushes.push("ann", "shop/app:2")).status == 201
    assert await pushes.stream("shop", "app") == stream
    made = [one for one in audit_lines(pushes.folder) if one["resource"] == "imagestreams"]
    assert len(made) == 1


async def test_what_is_no_image_of_a_stream_makes_none(pushes: Pushes) -> None:
    signature = f"shop/b:sha256-{'0' * 64}.sig"
    for name in ("shop/a:inputs-0123456789abcdef", signature, "shop/c/part:1", "upstream/d:1"):
        answer = await pushes.push("admin", name)
        assert answer.status in {201, 403}, answer.text
    assert (await pushes.push("ann", "shop/e:1", b"{}")).status == 400
    assert (await pushes.api.store.list(ImageStream)).items == []


async def test_what_the_registry_refuses_makes_no_stream(pushes: Pushes) -> None:
    document = json.loads(image())
    document["config"]["digest"] = str(Digest.of(b"never pushed"))
    answer = await pushes.push("ann", "shop/app:1", json.dumps(document).encode())
    assert answer.status == 404
    assert json.loads(answer.text)["errors"][0]["code"] == "MANIFEST_BLOB_UNKNOWN"
    assert (await pushes.api.store.list(ImageStream)).items == []


async def test_who_knows_the_digest_of_anothers_layer_has_it_not(pushes: Pushes) -> None:
    layer = await push_blob(pushes.registry, "bank/secret", b"another namespace's layer")
    document = json.loads(image())
    document["layers"] = [{"mediaType": "l", "digest": str(layer), "size": 25}]
    manifest = json.dumps(document).encode()
    answer = await pushes.push("ann", "shop/app:1", manifest)
    assert answer.status == 404
    assert json.loads(answer.text)["errors"][0]["code"] == "MANIFEST_BLOB_UNKNOWN"
    await push_blob(pushes.registry, "shop/app", b"another namespace's layer")
    assert (await pushes.push("ann", "shop/app:1", manifest)).status == 201


async def test_builds_make_no_streams(pushes: Pushes) -> None:
    assert (await pushes.push(pushes.builds.to_push("shop"), "shop/app:1")).status == 201
    with pushes.builds.of_build("shop/app-1", (), "shop/other") as token:
        assert (await pushes.push(token, "shop/other:1")).status == 201
    assert (await pushes.api.store.list(ImageStream)).items == []


async def test_who_has_no_right_to_push_makes_nothing(pushes: Pushes) -> None:
    assert (await pushes.push("ann", "bank/app:1")).status == 403
    assert await pushes.stream("bank", "app") is None


async def test_a_push_brings_its_namespace_into_being_as_an_object_does(pushes: Pushes) -> None:
    assert (await pushes.push("ann", "bank2/app:1")).status == 403
    with pytest.raises(NotFoundError):
        await pushes.api.store.get(Namespace, "", "bank2")
    assert (await pushes.push("admin", "fresh/app:1")).status == 201
    assert await pushes.stream("fresh", "app") is not None
    await pushes.api.store.get(Namespace, "", "fresh")

    await push(pushes.registry, "older/app")  # from before a push made streams
    assert (await pushes.push("admin", "older/app:1")).status == 201


async def test_the_stream_counts_in_quotas(tmp_path: Path) -> None:
    limited = Pushes(tmp_path)
    most = {"count/imagestreams.image.openshift.io": Decimal(1)}
    limited.limits = replace(limited.limits, namespace_quota=most)
    async with limited.serving() as pushes:
        assert (await pushes.push("ann", "shop/a:1")).status == 201
        answer = await pushes.push("ann", "shop/b:1")
        assert answer.status == 403
        assert "shop/b has no ImageStream, and none is made" in told(answer)
        assert "exceeded quota" in told(answer)
        assert (await pushes.push("ann", "shop/a:2")).status == 201


async def test_a_push_is_answered_when_the_stream_names_what_was_pushed(tmp_path: Path) -> None:
    slow = Pushes(tmp_path)
    slow.patience = 60
    async with slow.serving() as pushes, asyncio.timeout(30):
        stored = asyncio.Event()
        pushes.registry.subscribe(lambda _: stored.set())
        pushing = asyncio.create_task(pushes.push("ann", "shop/app:1"))
        await stored.wait()
        assert not pushing.done()
        await pushes.name("app", "1", str(Digest.of(image())))
        assert (await pushing).status == 201


async def test_who_pushes_hears_at_once_of_what_keeps_the_stream_from_naming_it(
    tmp_path: Path,
) -> None:
    slow = Pushes(tmp_path)
    slow.patience = 600
    async with slow.serving() as pushes, asyncio.timeout(60):
        stored = asyncio.Event()
        pushes.registry.subscribe(lambda _: stored.set())
        for number, end in enumerate(("deleted", "imported")):
            stored.clear()
            pushing = asyncio.create_task(pushes.push("ann", f"shop/app:{number}"))
            await stored.wait()
            if end == "deleted":
                await pushes.api.store.delete(ImageStream, "shop", "app")
            else:
                origin = {"kind": "DockerImage", "name": "vendor.test/app:1"}
                await pushes.name("app", str(number), "sha256:other", **{"from": origin})
            assert (await pushing).status == 201


async def test_a_stream_that_never_names_it_holds_nobody_up(tmp_path: Path) -> None:
    slow = Pushes(tmp_path)
    slow.patience = 0.01
    async with slow.serving() as pushes:
        assert (await pushes.push("ann", "shop/app:1")).status == 201


async def test_a_tag_that_is_deleted_goes_from_its_stream_too(pushes: Pushes) -> None:
    for tag in ("1", "2"):
        assert (await pushes.push("ann", f"shop/app:{tag}")).status == 201
        await pushes.name("app", tag, str(Digest.of(image())))

    assert (await pushes.delete("shop/app:1")).status == 202
    stream = await pushes.stream("shop", "app")
    assert stream is not None
    assert [one.tag for one in stream.status.tags] == ["2"]


async def test_a_tag_that_the_stream_imports_is_not_deleted_by_the_registry(
    pushes: Pushes,
) -> None:
    assert (await pushes.push("ann", "shop/app:1")).status == 201
    origin = {"kind": "DockerImage", "name": "vendor.test/app:1"}
    await pushes.name("app", "1", str(Digest.of(image())), **{"from": origin})

    answer = await pushes.delete("shop/app:1")
    assert answer.status == 405
    assert "`upwell tag -d app:1 -n shop`" in told(answer)
    assert list(await pushes.registry.tag_names("shop/app")) == ["1"]


async def test_a_tag_whose_stream_asks_for_approval_is_not_deleted_by_the_registry(
    pushes: Pushes,
) -> None:
    assert (await pushes.push("ann", "shop/app:1")).status == 201
    stream = await pushes.stream("shop", "app")
    assert stream is not None
    await pushes.api.store.update(stream.with_metadata(annotations={APPROVAL_ANNOTATION: "manual"}))

    answer = await pushes.delete("shop/app:1")
    assert answer.status == 403
    assert "if you may approve" in told(answer)
    assert list(await pushes.registry.tag_names("shop/app")) == ["1"]
