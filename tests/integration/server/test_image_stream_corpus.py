"""OpenShift's own image stream cases (corpus, section A): 7, several platforms; 9, mappings."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from tests.support.images.stream_api import INTERNAL, StreamApi, open_stream_api
from tests.support.openshift import APISERVER, ORIGIN, needs_corpus

from upwell.api.image import Image, ImageStream
from upwell.api.manifests import parse_manifests
from upwell.oci import Digest
from upwell.registry.hosts import RegistryHost

_TESTS = ORIGIN / "test"
_MANIFESTS = APISERVER / "pkg/image/apiserver/importer/testdata"

pytestmark = needs_corpus

LIST = "sha256:5020d54e"
AMD64 = "sha256:ca013ac5c09f9a9f6db8370c1b759a29fe997d64d6591e9a75b71748858f7da0"
ARM64 = "sha256:1a06d68cb9117b52965035a5b0fa4c1470ef892e6062ffedb1af1922952e0950"


@asynccontextmanager
async def manifests_as(repository: str, tag: str, raw: bytes) -> AsyncIterator[str]:
    """Serve `raw` under a tag, and the corpus' manifests under their digests; yields host:port."""
    contents = {str(Digest.of(path.read_bytes())): path.read_bytes() for path in _files()}
    contents |= {str(Digest.of(raw)): raw, tag: raw}

    async def manifest(request: web.Request) -> web.Response:
        content = contents.get(request.match_info["target"])
        if content is None or request.match_info["name"] != repository:
            return web.Response(status=404)
        kind = json.loads(content)["mediaType"]
        digest = str(Digest.of(content))
        headers = {"Docker-Content-Digest": digest, "Content-Type": kind}
        return web.Response(body=content, headers=headers)

    app = web.Application()
    app.router.add_get("/v2/{name:.+}/manifests/{target}", manifest)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _files() -> list[Path]:
    return sorted(_MANIFESTS.glob("manifest-*.json"))


def multiarch_stream() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(
        (_TESTS / "testdata/test-multiarch-stream.yaml").read_text()
    )
    return document


async def test_a_tag_takes_the_platform_that_it_prefers(tmp_path: Path) -> None:
    """Case 7, importMode Legacy: by annotation; without a match linux/amd64, else the first."""
    raw = (_MANIFESTS / "manifest-list.json").read_bytes()
    assert str(Digest.of(raw)).startswith(LIST)
    stream = multiarch_stream()
    arm = {
        "name": "linux-arm64",
        "from": stream["spec"]["tags"][0]["from"],
        "annotations": {"importer.image.openshift.io/prefer-arch": "arm64"},
    }
    stream["spec"]["tags"].append(arm)
    async with (
        manifests_as("bparees/multiplatformtest", "latest", raw) as host,
        open_stream_api(tmp_path, RegistryHost("docker.io", location=host)) as site,
    ):
        assert (await site.send("POST", "imagestreams", stream)).status == 201
        name = "test-multiarch-stream"
        assert await site.imported(name, "linux-amd64") == AMD64
        assert await site.imported(name, "linux-arm64") == ARM64
        assert await site.imported(name, "linux-s390x") == AMD64  # the list has no s390x
        found = await site.send("GET", f"imagestreamtags/{name}:linux-arm64")
        assert found.json["image"]["dockerImageManifestMediaType"].endswith("manifest.v2+json")
        assert len(found.json["image"]["dockerImageLayers"]) > 1


async def test_without_amd64_the_first_platform_is_taken(tmp_path: Path) -> None:
    document = json.loads((_MANIFESTS / "manifest-list.json").read_bytes())
    document["manifests"] = document["manifests"][1:]
    raw = json.dumps(document).encode()
    async with (
        manifests_as("bparees/multiplatformtest", "latest", raw) as host,
        open_stream_api(tmp_path, RegistryHost("docker.io", location=host)) as site,
    ):
        await site.send("POST", "imagestreams", multiarch_stream())
        assert await site.imported("test-multiarch-stream", "linux-s390x") == ARM64


async def test_the_whole_list_is_kept_with_its_manifests(tmp_path: Path) -> None:
    """Case 7, importMode PreserveOriginal: the event is the list, its manifests are known."""
    raw = (_MANIFESTS / "manifest-list.json").read_bytes()
    stream = multiarch_stream()
    for tag in stream["spec"]["tags"]:
        tag["importPolicy"] = {"importMode": "PreserveOriginal"}
    async with (
        manifests_as("bparees/multiplatformtest", "latest", raw) as host,
        open_stream_api(tmp_path, RegistryHost("docker.io", location=host)) as site,
    ):
        await site.send("POST", "imagestreams", stream)
        digest = await site.imported("test-multiarch-stream", "linux-s390x")
        assert digest == str(Digest.of(raw))
        image = await site.api.store.get(Image, "", digest)
        assert [entry.digest for entry in image.docker_image_manifests] == [AMD64, ARM64]
        assert image.docker_image_layers == ()
        assert (await site.api.store.get(Image, "", AMD64)).docker_image_layers


async def mapped(site: StreamApi, mapping: dict[str, Any]) -> int:
    answer = await site.send("POST", "imagestreammappings", mapping)
    return answer.status


async def test_a_mapping_is_a_push(tmp_path: Path) -> None:
    """Case 9: the newest event is the image, no tag is declared, the same again is nothing."""
    stream = json.loads((_TESTS / "integration/testdata/test-image-stream.json").read_text())
    mapping = json.loads(
        (_TESTS / "integration/testdata/test-image-stream-mapping.json").read_text()
    )
    async with open_stream_api(tmp_path) as site:
        assert await mapped(site, mapping) == 404
        await site.send("POST", "imagestreams", stream)
        assert await mapped(site, mapping) == 201
        found = await site.stream("test")
        history = found.status.tag("sometag")
        assert history is not None
        assert history.items[0].image == mapping["image"]["metadata"]["name"]
        assert found.spec.tags == ()
        assert await mapped(site, mapping) == 201
        await site.reconciled("test")
        version = (await site.stream("test")).resource_version
        assert await mapped(site, mapping) == 201
        assert (await site.stream("test")).resource_version == version
        shown = (await site.send("GET", "imagestreamtags/test:sometag")).json
        assert shown["image"]["dockerImageMetadataVersion"] == "1.0"
        assert shown["image"]["dockerImageManifest"]


async def test_a_mapping_without_a_pull_spec_is_of_the_internal_registry(tmp_path: Path) -> None:
    (mapping,) = parse_manifests(
        (_TESTS / "testdata/mysql-image-stream-mapping.yaml").read_text(), "mysql"
    )
    async with open_stream_api(tmp_path) as site:
        await site.send("POST", "imagestreams", {"metadata": {"name": "test"}})
        await site.reconciled("test")
        assert await mapped(site, mapping) == 201
        digest = await site.imported("test", "new")
        history = (await site.stream("test")).status.tag("new")
        assert history is not None
        assert history.items[0].docker_image_reference == f"{INTERNAL}/shop/test@{digest}"


async def test_two_pushes_at_once_conflict(tmp_path: Path) -> None:
    mapping = json.loads(
        (_TESTS / "integration/testdata/test-image-stream-mapping.json").read_text()
    )
    async with open_stream_api(tmp_path) as site:
        await site.send("POST", "imagestreams", {"metadata": {"name": "test"}})
        await site.reconciled("test")  # else its first write would be taken for the mapping's
        store = site.api.store
        write = store.update_status

        async def overtaken(stream: ImageStream) -> ImageStream:
            """Let another push come between the mapping's read and its write."""
            store.update_status = write  # type: ignore[method-assign] # plays the other client
            other = json.loads(json.dumps(mapping))
            other["image"]["metadata"]["name"] = "sha256:" + "b" * 64
            assert await mapped(site, other) == 201
            return await write(stream)

        store.update_status = overtaken  # type: ignore[method-assign, assignment] # the same
        assert await mapped(site, mapping) == 409
        assert await site.imported("test", "sometag") == "sha256:" + "b" * 64


@pytest.mark.parametrize("field", ["tag", "image", "metadata"])
async def test_a_mapping_that_lacks_something_is_refused(tmp_path: Path, field: str) -> None:
    mapping = json.loads(
        (_TESTS / "integration/testdata/test-image-stream-mapping.json").read_text()
    )
    del mapping[field]
    async with open_stream_api(tmp_path) as site:
        await site.send("POST", "imagestreams", {"metadata": {"name": "test"}})
        assert await mapped(site, mapping) == 422
