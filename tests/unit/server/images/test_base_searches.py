"""BaseSearches at the API: which known images an image stands on, by its layers."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.cluster.images import build, described, digest, stream
from tests.support.server.granted_api import GrantedApi, open_granted_api

from upwell.api.builds.build import ResolvedImage
from upwell.api.codec import decode_as
from upwell.api.image import ImageStream, ImageStreamSpec, TagReference
from upwell.api.meta import ObjectReference
from upwell.policy.explain.ancestry import KnownImages, UsedBase, by_chain, used_bases

PATH = "/apis/upwell.dev/v1alpha1/namespaces/shop/basesearches"
DEBIAN = "docker.io/library/debian:12"


def imported_stream() -> ImageStream:
    from_ = ObjectReference(kind="DockerImage", name=DEBIAN)
    spec = ImageStreamSpec(tags=(TagReference(name="v12", from_=from_),))
    found = stream("base", "debian", v12=["d2", "d1"])
    return found.model_copy(update={"spec": spec})


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[GrantedApi]:
    """Serve an imported base that has moved on, and a runtime that was built on it."""
    async with open_granted_api(tmp_path) as served:
        store = served.api.store
        for one in (imported_stream(), stream("vault", "runtime", latest=["r1"])):
            stored = await store.create(one)
            await store.update_status(stored.with_status(one.status))
        await store.create(described("d1", "l1", "l2"))
        await store.create(described("d2", "l3", "l2"))
        await store.create(described("r1", "l1", "l2", "runtime"))
        await served.grant("ada", "viewer@shop,base")
        await served.grant("grace", "viewer@*")
        await served.grant("joan", "viewer@shop")
        yield served


async def search(
    served: GrantedApi, who: str, *layers: str, namespace: str = "shop"
) -> list[tuple[str, str, int]]:
    spec = {"layers": [digest(one) for one in layers]}
    path = PATH.replace("shop", namespace)
    answer = await served.send(who, "POST", path, {"spec": spec})
    assert answer.status == 201, answer.text
    found = answer.json["status"]["bases"]
    return [(one["name"], one["image"], one["layers"]) for one in found]


async def test_the_nearest_known_image_is_first(served: GrantedApi) -> None:
    base = DEBIAN, f"registry.test/debian@{digest('d1')}", 2
    runtime = "registry.test/runtime:latest", f"registry.test/runtime@{digest('r1')}", 3
    assert await search(served, "grace", "l1", "l2", "own") == [base]
    assert await search(served, "grace", "l1", "l2", "runtime", "own") == [runtime, base]
    assert await search(served, "grace", "l2", "own") == []
    assert await search(served, "grace", "l1", "l2") == [], "it is that image itself"


async def test_what_a_client_may_not_read_is_not_told(served: GrantedApi) -> None:
    assert len(await search(served, "ada", "l1", "l2", "runtime", "own")) == 1
    assert await search(served, "joan", "l1", "l2", "runtime", "own") == []


async def test_a_stranger_with_the_same_layers_neither_hides_a_base_nor_takes_its_place(
    served: GrantedApi,
) -> None:
    store = served.api.store
    for namespace, name in (("aaa", "lure"), ("vault", "twin")):
        again = stream(namespace, name, latest=[name])
        stored = await store.create(again)
        await store.update_status(stored.with_status(again.status))
        await store.create(described(name, "l1", "l2"))
    await served.grant("carol", "viewer@shop,base,aaa")
    mine = DEBIAN, f"registry.test/debian@{digest('d1')}", 2
    other = "registry.test/lure:latest", f"registry.test/lure@{digest('lure')}", 2
    assert await search(served, "ada", "l1", "l2", "own") == [mine]
    assert await search(served, "carol", "l1", "l2", "own") == [mine, other], "both are told"
    assert await search(served, "carol", "l1", "l2", "own", namespace="base") == [mine]


async def test_the_word_of_strangers_is_told_from_that_of_the_namespace(
    served: GrantedApi,
) -> None:
    async def own(namespace: str, *layers: str) -> list[bool]:
        spec = {"layers": [digest(one) for one in layers]}
        path = PATH.replace("shop", namespace)
        answer = await served.send("grace", "POST", path, {"spec": spec})
        return [one.get("own", False) for one in answer.json["status"]["bases"]]

    nearer = "l1", "l2", "runtime", "own"
    assert await own("base", *nearer) == [False, True], "the nearest is another namespace's"
    assert await own("shop", *nearer) == [False, False]
    made = build("shop", "app-1", "app")
    used = ResolvedImage(
        name="runtime",
        reference=f"registry.test/runtime@{digest('r0')}",
        stream_tag="vault/runtime:latest",
        final=True,
    )
    stored = await served.api.store.create(made)
    images = made.status.model_copy(update={"images": (used,)})
    await served.api.store.update_status(stored.with_status(images))
    assert await own("shop", *nearer) == [True, False], "what its builds stand on"


@pytest.mark.parametrize("layers", [[], ["sha256:short"], [digest("l")] * 513])
async def test_what_no_image_has_is_refused(served: GrantedApi, layers: list[str]) -> None:
    answer = await served.send("grace", "POST", PATH, {"spec": {"layers": layers}})
    assert answer.status == 422, answer.text


def test_bases_of_builds_without_a_stream_count_too() -> None:
    pinned = f"docker.io/library/alpine@{digest('a1')}"
    made = build("shop", "app-1", "app")
    images = (
        ResolvedImage(name="alpine:3", reference=pinned, final=True),
        ResolvedImage(name="golang:1", reference=f"docker.io/library/golang@{digest('g')}"),
    )
    made = made.with_status(made.status.model_copy(update={"images": images}))
    [used] = used_bases([made, made])
    assert used == UsedBase("shop", "docker.io/library/alpine:3", pinned)

    known = KnownImages.of([imported_stream()], [made], [described("d1", "l1")])
    chains = by_chain([used], {digest("a1"): [digest("x")]})
    for namespace, own in (("shop", True), ("other", False)):
        layers = [digest("x"), digest("y")]
        found = list(known.bases(layers, sees_all, chains, namespace))
        assert [(one.name, one.own) for one in found] == [("docker.io/library/alpine:3", own)]


def test_what_no_registry_has_given_to_a_stream_is_not_told() -> None:
    hidden: dict[str, Any] = imported_stream().model_dump(by_alias=True, mode="json")
    for event in hidden["status"]["tags"][0]["items"]:
        event["unproven"] = True
    known = KnownImages.of([decode_as(ImageStream, hidden)], [], [described("d1", "l1")])
    assert not list(known.bases([digest("l1"), digest("y")], sees_all, {}))


def sees_all(_namespace: str) -> bool:
    return True
