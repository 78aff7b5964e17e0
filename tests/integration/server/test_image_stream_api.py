"""Tags, images, mappings and import requests as OpenShift's clients send them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.builds.memory_builds import push
from tests.support.images.stream_api import StreamApi, open_stream_api
from tests.support.registry.docker_registry import docker_registry
from tests.support.registry.layered_images import push_index, push_layered

from upwell.api.image import Image
from upwell.oci import Digest
from upwell.store.interface import NotFoundError


@dataclass(frozen=True)
class Upstream:
    site: StreamApi
    host: str

    async def push(self, name: str, mark: str) -> str:
        image = await push_layered(self.site.pusher, f"{self.host}/{name}", mark.encode())
        return str(image.digest)


@pytest.fixture
async def upstream(tmp_path: Path) -> AsyncIterator[Upstream]:
    async with AsyncExitStack() as stack:
        (tmp_path / "vendor").mkdir()
        host = await stack.enter_async_context(docker_registry(tmp_path / "vendor"))
        yield Upstream(await stack.enter_async_context(open_stream_api(tmp_path)), host)


def stream_tag(name: str, tag: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {
        "kind": "ImageStreamTag",
        "apiVersion": "image.openshift.io/v1",
        "metadata": {"name": name, **metadata},
        "tag": tag,
    }


def docker(name: str, **tag: Any) -> dict[str, Any]:
    return {"from": {"kind": "DockerImage", "name": name}, **tag}


async def test_a_tag_is_created_with_its_stream_and_shows_its_image(upstream: Upstream) -> None:
    site = upstream.site
    digest = await upstream.push("debian:11", "old")
    wanted = stream_tag("debian:11", docker(f"{upstream.host}/debian:11"))
    created = await site.send("POST", "imagestreamtags", wanted)
    assert created.status == 201, created.text
    assert await site.imported("debian", "11") == digest
    found = (await site.send("GET", "imagestreamtags/debian:11")).json
    assert found["image"]["metadata"]["name"] == digest
    assert found["image"]["dockerImageReference"] == f"{upstream.host}/debian@{digest}"
    assert found["image"]["dockerImageLayers"][0]["name"] == str(Digest.of(b"old"))
    assert found["image"]["dockerImageMetadata"]["Architecture"] == "amd64"
    assert found["tag"]["generation"] == 1
    again = await site.send("POST", "imagestreamtags", wanted)
    assert (again.status, again.json["reason"]) == (409, "AlreadyExists")
    listed = (await site.send("GET", "imagestreamtags")).json["items"]
    assert [item["metadata"]["name"] for item in listed] == ["debian:11"]


async def test_a_tag_is_shown_before_it_has_an_image(upstream: Upstream) -> None:
    await upstream.site.send("PUT", "imagestreamtags/debian:11", stream_tag("debian:11", {}))
    found = await upstream.site.send("GET", "imagestreamtags/debian:11")
    assert (found.status, found.json.get("image")) == (200, {})
    assert (await upstream.site.send("GET", "imagestreamtags/debian:12")).status == 404
    assert (await upstream.site.send("GET", "imagestreamtags/other:12")).status == 404


async def test_generation_zero_imports_again_and_an_equal_write_does_not(
    upstream: Upstream,
) -> None:
    site = upstream.site
    wanted = stream_tag("debian:11", docker(f"{upstream.host}/debian:11"))
    first = await upstream.push("debian:11", "old")
    await site.send("PUT", "imagestreamtags/debian:11", wanted)
    assert await site.imported("debian", "11") == first
    second = await upstream.push("debian:11", "new")
    before = (await site.stream("debian")).generation
    await site.send("PUT", "imagestreamtags/debian:11", wanted)
    assert (await site.stream("debian")).generation == before
    wanted["tag"]["generation"] = 0
    answer = await site.send("PUT", "imagestreamtags/debian:11", wanted)
    assert answer.json["tag"]["generation"] == before + 1
    history = await site.tag("debian", "11", lambda found: len(found.items) == 2)
    assert [event.image for event in history.items] == [second, first]
    assert history.items[0].generation == before + 1


async def test_a_stale_write_conflicts(upstream: Upstream) -> None:
    site = upstream.site
    created = await site.send("POST", "imagestreamtags", stream_tag("app:1", {"annotations": {}}))
    version = created.json["metadata"]["resourceVersion"]
    await site.send("PUT", "imagestreamtags/app:2", stream_tag("app:2", {}))
    stale = stream_tag("app:1", {}, resourceVersion=version)
    assert (await site.send("PUT", "imagestreamtags/app:1", stale)).status == 409


async def test_a_patch_changes_one_tag(upstream: Upstream) -> None:
    site = upstream.site
    for name in ("app:1", "app:2"):
        await site.send("POST", "imagestreamtags", stream_tag(name, {"annotations": {"a": "b"}}))
    patch = {"tag": {"from": {"kind": "ImageStreamTag", "name": "2"}}}
    kind = "application/merge-patch+json"
    answer = await site.send("PATCH", "imagestreamtags/app:1", patch, kind)
    assert answer.status == 200, answer.text
    tags = {tag.name: tag for tag in (await site.stream("app")).spec.tags}
    assert tags["1"].from_ is not None
    assert tags["1"].annotations == tags["2"].annotations == {"a": "b"}
    assert tags["2"].from_ is None


@pytest.mark.parametrize(
    ("name", "document", "status"),
    [
        ("app", stream_tag("app", {}), 400),
        ("app:1", stream_tag("other:1", {}), 400),
        ("app:1", stream_tag("app:1", docker("UPPER CASE")), 422),
        ("app:1", stream_tag("app:1", {"from": {"kind": "Nothing", "name": "x"}}), 422),
    ],
)
async def test_what_is_no_tag_is_refused(
    upstream: Upstream, name: str, document: dict[str, Any], status: int
) -> None:
    answer = await upstream.site.send("PUT", f"imagestreamtags/{name}", document)
    assert answer.status == status, answer.text


async def test_an_image_of_a_stream_is_found_by_its_digest(upstream: Upstream) -> None:
    site = upstream.site
    digest = await upstream.push("debian:11", "old")
    wanted = stream_tag("debian:11", docker(f"{upstream.host}/debian:11"))
    await site.send("PUT", "imagestreamtags/debian:11", wanted)
    await site.imported("debian", "11")
    for name in (f"debian@{digest}", f"debian@{digest[:20]}", f"debian@{digest[7:20]}"):
        found = await site.send("GET", f"imagestreamimages/{name}")
        assert found.status == 200, found.text
        assert found.json["metadata"]["name"] == f"debian@{digest}"
        assert found.json["image"]["dockerImageLayers"]
    assert (await site.send("GET", "imagestreamimages/debian@sha256:00")).status == 404
    assert (await site.send("GET", "imagestreamimages")).status == 405


def import_request(name: str, images: list[dict[str, Any]], **spec: Any) -> dict[str, Any]:
    return {
        "kind": "ImageStreamImport",
        "apiVersion": "image.openshift.io/v1",
        "metadata": {"name": name},
        "spec": {"images": images, **spec},
    }


async def test_a_dry_import_tells_and_writes_nothing(upstream: Upstream) -> None:
    site = upstream.site
    digest = await upstream.push("debian:11", "old")
    images = [
        docker(f"{upstream.host}/debian:11", to={"name": "stable"}),
        docker(f"{upstream.host}/debian:none"),
        docker("127.0.0.1:1/away:1"),
    ]
    answer = await site.send("POST", "imagestreamimports", import_request("debian", images))
    assert answer.status == 201, answer.text
    found, missing, away = answer.json["status"]["images"]
    assert (found["tag"], found["status"]["status"]) == ("stable", "Success")
    assert found["image"]["metadata"]["name"] == digest
    assert (missing["tag"], missing["status"]["reason"]) == ("none", "NotFound")
    assert away["status"]["code"] == 503
    with pytest.raises(NotFoundError):
        await site.stream("debian")
    with pytest.raises(NotFoundError):
        await site.api.store.get(Image, "", digest)


async def test_an_import_declares_the_tags_and_the_images_come(upstream: Upstream) -> None:
    site = upstream.site
    digest = await upstream.push("debian:11", "old")
    images = [docker(f"{upstream.host}/debian:11", importPolicy={"scheduled": True})]
    request = import_request("debian", images, **{"import": True})
    answer = await site.send("POST", "imagestreamimports", request)
    assert answer.json["status"]["import"]["metadata"]["name"] == "debian"
    assert await site.imported("debian", "11") == digest
    (tag,) = (await site.stream("debian")).spec.tags
    assert tag.scheduled
    new = await upstream.push("debian:11", "new")
    await site.send("POST", "imagestreamimports", request)
    history = await site.tag("debian", "11", lambda found: len(found.items) == 2)
    assert history.items[0].image == new


async def test_a_repository_is_listed_and_imported(upstream: Upstream) -> None:
    site = upstream.site
    digests = {tag: await upstream.push(f"debian:{tag}", tag) for tag in ("11", "11.2", "latest")}
    repository = {"from": {"kind": "DockerImage", "name": f"{upstream.host}/debian"}}
    request = import_request("debian", [], repository=repository, **{"import": True})
    answer = await site.send("POST", "imagestreamimports", request)
    listed = answer.json["status"]["repository"]
    assert [image["tag"] for image in listed["images"]] == ["latest", "11.2", "11"]
    for tag, digest in digests.items():
        assert await site.imported("debian", tag) == digest


@pytest.mark.parametrize(
    "request_",
    [
        import_request("debian", []),
        import_request("", [docker("a:1")]),
        import_request("debian", [{"from": {"kind": "ImageStreamTag", "name": "a:1"}}]),
    ],
)
async def test_a_wrong_import_request_is_refused(
    upstream: Upstream, request_: dict[str, Any]
) -> None:
    answer = await upstream.site.send("POST", "imagestreamimports", request_)
    assert answer.status == 422, answer.text


async def test_both_modes_of_an_index_through_the_api(upstream: Upstream) -> None:
    site = upstream.site
    children = {
        name: await push_layered(site.pusher, f"{upstream.host}/debian:{name}", name.encode())
        for name in ("amd64", "s390x")
    }
    index = await push_index(site.pusher, f"{upstream.host}/debian:11", **children)
    source = f"{upstream.host}/debian:11"
    for name, policy, digest in (
        ("whole", {}, index.digest),
        ("legacy", {"importMode": "Legacy"}, children["amd64"].digest),
    ):
        wanted = stream_tag(f"debian:{name}", docker(source, importPolicy=policy))
        await site.send("PUT", f"imagestreamtags/debian:{name}", wanted)
        assert await site.imported("debian", name) == str(digest)
    found = (await site.send("GET", "imagestreamtags/debian:whole")).json["image"]
    assert found.get("dockerImageLayers", []) == []
    assert [entry["architecture"] for entry in found["dockerImageManifests"]] == ["amd64", "s390x"]


async def test_a_removed_tag_does_not_come_back_from_the_internal_registry(
    upstream: Upstream,
) -> None:
    site = upstream.site
    await site.send("POST", "imagestreams", {"metadata": {"name": "app"}})
    await push(site.internal, "shop/app:1", "pushed")
    await push(site.internal, "shop/app:2", "pushed too")
    await site.imported("app", "1")
    await site.imported("app", "2")
    assert (await site.send("DELETE", "imagestreamtags/app:1")).status == 200
    assert await site.internal.tag_names("shop/app") == ["2"]
    await site.streams.reconcile((await site.stream("app")).key)
    assert [history.tag for history in (await site.stream("app")).status.tags] == ["2"]


async def test_what_was_pushed_is_described_as_what_was_imported(upstream: Upstream) -> None:
    """`oc new-app` takes a stream's image by its configuration, and passes over others."""
    site = upstream.site
    await site.send("POST", "imagestreams", {"metadata": {"name": "app"}})
    await push(site.internal, "shop/app:1", "pushed")
    digest = await site.imported("app", "1")
    for path in ("imagestreamtags/app:1", f"imagestreamimages/app@{digest}"):
        image = (await site.send("GET", path)).json["image"]
        assert image["metadata"]["name"] == digest
        assert image["dockerImageMetadata"]["Architecture"] == "amd64"


async def test_a_stream_tells_nothing_of_the_images_of_another_namespace(
    upstream: Upstream,
) -> None:
    site = upstream.site
    await site.send("POST", "imagestreams", {"metadata": {"name": "app"}})
    victim = await push(site.internal, "bank/app:1", "secret")
    image = {
        "metadata": {"name": str(victim)},
        "dockerImageReference": f"registry.internal:5000/bank/app@{victim}",
    }
    mapping = {"metadata": {"name": "app", "namespace": "shop"}, "tag": "1", "image": image}
    await site.send("POST", "imagestreammappings", mapping)
    shown = (await site.send("GET", "imagestreamtags/app:1")).json
    assert "dockerImageMetadata" not in (shown.get("image") or {})
