"""The categories of the OCI distribution specification: pull, push, discovery, management."""

import hashlib
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.registry.embedded_server import serving, serving_registry
from tests.support.s3.strict_server import bucket_at, strict_s3

from upwell.oci import Digest, MediaType
from upwell.registry.bucket.registry import BucketRegistry
from upwell.server.distribution import routes

MANIFEST = str(MediaType.OCI_MANIFEST)
INDEX = str(MediaType.OCI_INDEX)
CONFIG = b'{"architecture":"amd64","os":"linux"}'
LAYER = b"layer" * 1000
ABSENT = Digest.of(b"was never pushed")


@dataclass
class RegistryAnswer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["errors"][0]["code"])


@dataclass
class ConformanceClient:
    url: str
    session: aiohttp.ClientSession

    async def __call__(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        params: dict[str, str] | None = None,
        **headers: str,
    ) -> RegistryAnswer:
        async with self.session.request(
            method,
            self.url + path,
            data=io.BytesIO(body) if body else None,
            params=params,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            allow_redirects=False,
        ) as answer:
            found = {name.lower(): value for name, value in answer.headers.items()}
            return RegistryAnswer(answer.status, found, await answer.read())

    async def push_blob(self, name: str, content: bytes, algorithm: str = "sha256") -> Digest:
        digest = Digest.of(content, algorithm)
        answer = await self(
            "POST", f"/v2/{name}/blobs/uploads/", content, params={"digest": str(digest)}
        )
        assert answer.status == 201, answer.body
        return digest

    async def push_image(self, name: str, target: str = "v1", **fields: Any) -> Digest:
        await self.push_blob(name, CONFIG)
        await self.push_blob(name, LAYER)
        raw = image(**fields)
        path = f"/v2/{name}/manifests/{target}"
        answer = await self("PUT", path, raw, Content_Type=MANIFEST)
        assert answer.status == 201, answer.body
        return Digest.of(raw)


def stored(root: Path, name: str) -> list[Path]:
    return [path for path in root.rglob(name) if path.is_file()]


def descriptor(content: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content)}


def image(**fields: Any) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, "application/vnd.oci.image.config.v1+json"),
        "layers": [descriptor(LAYER, "application/vnd.oci.image.layer.v1.tar")],
        **fields,
    }
    return json.dumps(document).encode()


@pytest.fixture(params=["embedded", "bucket"])
async def client(
    request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ConformanceClient]:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        if request.param == "embedded":
            served = await stack.enter_async_context(serving(tmp_path))
            yield ConformanceClient(served.url, session)
            return
        s3 = await stack.enter_async_context(strict_s3())
        folder = tmp_path_factory.mktemp("bucket")
        bucket = await stack.enter_async_context(bucket_at(s3.url, folder))
        shared = serving_registry(lambda host: BucketRegistry(bucket, host))
        host = (await stack.enter_async_context(shared)).host
        yield ConformanceClient(f"http://{host}", session)


in_files = pytest.mark.parametrize("client", ["embedded"], indirect=True)
"""Marks a test that looks at the files of the embedded registry."""


# Pull


async def test_the_base_says_its_version(client: ConformanceClient) -> None:
    answer = await client("GET", "/v2/")

    assert answer.status == 200
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_manifest_is_pulled_by_tag_and_by_digest(
    client: ConformanceClient, method: str
) -> None:
    digest = await client.push_image("team/app")

    for target in ("v1", str(digest)):
        answer = await client(method, f"/v2/team/app/manifests/{target}", Accept=MANIFEST)
        assert answer.status == 200
        assert answer.headers["docker-content-digest"] == str(digest)
        assert answer.headers["content-type"] == MANIFEST
        assert answer.headers["content-length"] == str(len(image()))
        assert answer.body == (image() if method == "GET" else b"")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v2/team/app/manifests/absent", 404, "MANIFEST_UNKNOWN"),
        ("/v2/team/app/manifests/.invalid", 404, "MANIFEST_UNKNOWN"),
        (f"/v2/team/app/manifests/{ABSENT}", 404, "MANIFEST_UNKNOWN"),
        ("/v2/team/app/manifests/sha256:totallywrong", 400, "DIGEST_INVALID"),
        (f"/v2/team/app/blobs/{ABSENT}", 404, "BLOB_UNKNOWN"),
        ("/v2/team/app/blobs/sha256:totallywrong", 400, "DIGEST_INVALID"),
        ("/v2/never/pushed/tags/list", 404, "NAME_UNKNOWN"),
        ("/v2/never/pushed/manifests/v1", 404, "MANIFEST_UNKNOWN"),
        ("/v2/WRONG/manifests/v1", 400, "NAME_INVALID"),
        (f"/v2/../../etc/blobs/{ABSENT}", 404, None),
        ("/v2/team/_tags/manifests/v1", 400, "NAME_INVALID"),
    ],
)
async def test_what_is_not_there_has_the_specified_error(
    client: ConformanceClient, method: str, path: str, status: int, code: str | None
) -> None:
    await client.push_image("team/app")

    answer = await client(method, path)

    assert answer.status == status
    if method == "GET" and code:
        assert answer.code == code


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('"{}"', 304),
        ("{}", 304),
        ('W/"{}"', 304),
        ("*", 304),
        ('"other", "{}"', 304),
        ('"other"', 200),
    ],
)
async def test_a_known_etag_is_not_sent_again(
    client: ConformanceClient, header: str, expected: int
) -> None:
    digest = await client.push_image("team/app")

    for path in ("manifests/v1", f"blobs/{Digest.of(LAYER)}"):
        known = digest if "manifests" in path else Digest.of(LAYER)
        first = await client("GET", f"/v2/team/app/{path}")
        answer = await client("GET", f"/v2/team/app/{path}", If_None_Match=header.format(known))
        assert first.headers["etag"] == f'"{known}"'
        assert answer.status == expected
        assert bool(answer.body) == (expected == 200)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (MANIFEST, 200),
        ("*/*", 200),
        (f"{INDEX}, {MANIFEST};q=0.5", 200),
        ("application/json", 200),
        (INDEX, 406),
        (str(MediaType.DOCKER_MANIFEST), 406),
    ],
)
async def test_accept_is_honoured(client: ConformanceClient, accept: str, expected: int) -> None:
    await client.push_image("team/app")

    assert (await client("GET", "/v2/team/app/manifests/v1", Accept=accept)).status == expected


@pytest.mark.parametrize(
    ("asked", "status", "span"),
    [
        ("bytes=0-9", 206, slice(0, 10)),
        ("bytes=10-", 206, slice(10, None)),
        ("bytes=-7", 206, slice(-7, None)),
        ("bytes=-99999", 206, slice(0, None)),
        ("bytes=4990-99999", 206, slice(4990, None)),
        ("bytes=0-1,5-6", 200, slice(0, None)),
        ("lines=1-2", 200, slice(0, None)),
    ],
)
async def test_a_range_of_a_blob(
    client: ConformanceClient, asked: str, status: int, span: slice
) -> None:
    digest = await client.push_blob("team/app", LAYER)
    whole = range(len(LAYER))[span]

    answer = await client("GET", f"/v2/team/app/blobs/{digest}", Range=asked)

    assert (answer.status, answer.body) == (status, LAYER[span])
    if status == 206:
        expected = f"bytes {whole.start}-{whole.stop - 1}/{len(LAYER)}"
        assert answer.headers["content-range"] == expected


@pytest.mark.parametrize("asked", ["bytes=5000-", "bytes=-0"])
async def test_a_range_past_the_end(client: ConformanceClient, asked: str) -> None:
    digest = await client.push_blob("team/app", LAYER)

    answer = await client("GET", f"/v2/team/app/blobs/{digest}", Range=asked)

    assert answer.status == 416
    assert answer.headers["content-range"] == "bytes */5000"


# Push


Push = Callable[[ConformanceClient, bytes, Digest], Awaitable[RegistryAnswer]]


async def _post_whole(client: ConformanceClient, content: bytes, digest: Digest) -> RegistryAnswer:
    path = "/v2/team/app/blobs/uploads/"
    return await client("POST", path, content, params={"digest": str(digest)})


async def _post_put(client: ConformanceClient, content: bytes, digest: Digest) -> RegistryAnswer:
    started = await client("POST", "/v2/team/app/blobs/uploads/")
    assert started.status == 202
    location = started.headers["location"]
    return await client("PUT", location, content, params={"digest": str(digest)})


async def _chunks(client: ConformanceClient, content: bytes, digest: Digest) -> RegistryAnswer:
    location = (await client("POST", "/v2/team/app/blobs/uploads/")).headers["location"]
    step = len(content) // 3 + 1
    for start in range(0, len(content), step):
        chunk = content[start : start + step]
        last = start + len(chunk) - 1
        answer = await client("PATCH", location, chunk, Content_Range=f"{start}-{last}")
        assert (answer.status, answer.headers["range"]) == (202, f"0-{last}")
        location = answer.headers["location"]
    return await client("PUT", location, params={"digest": str(digest)})


async def _stream(client: ConformanceClient, content: bytes, digest: Digest) -> RegistryAnswer:
    location = (await client("POST", "/v2/team/app/blobs/uploads/")).headers["location"]
    answer = await client("PATCH", location, content)
    assert answer.status == 202
    return await client("PUT", answer.headers["location"], params={"digest": str(digest)})


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("push", [_post_whole, _post_put, _chunks, _stream])
async def test_every_way_to_push_a_blob(
    client: ConformanceClient, push: Push, algorithm: str
) -> None:
    content = bytes(range(256)) * 9000  # over two writes of 1 MiB
    digest = Digest.of(content, algorithm)

    answer = await push(client, content, digest)

    assert answer.status == 201
    assert answer.headers["location"] == f"/v2/team/app/blobs/{digest}"
    assert answer.headers["docker-content-digest"] == str(digest)
    pulled = await client("GET", f"/v2/team/app/blobs/{digest}")
    assert (pulled.status, pulled.body) == (200, content)
    assert (await client("GET", f"/v2/team/other/blobs/{digest}")).status == 404


@pytest.mark.parametrize("push", [_post_whole, _post_put, _chunks, _stream])
async def test_a_wrong_digest_keeps_nothing(
    client: ConformanceClient, push: Push, tmp_path: Path
) -> None:
    answer = await push(client, LAYER, ABSENT)

    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    for content in (Digest.of(LAYER), ABSENT):
        assert (await client("HEAD", f"/v2/team/app/blobs/{content}")).status == 404
    assert stored(tmp_path, "*") == []


async def test_a_chunk_out_of_order_is_refused_and_the_upload_goes_on(
    client: ConformanceClient,
) -> None:
    location = (await client("POST", "/v2/team/app/blobs/uploads/")).headers["location"]
    await client("PATCH", location, b"01234", Content_Range="0-4")

    for wrong in ("0-4", "6-10"):
        refused = await client("PATCH", location, b"56789", Content_Range=wrong)
        assert (refused.status, refused.headers["range"]) == (416, "0-4")
    status = await client("GET", location)
    assert (status.status, status.headers["range"]) == (204, "0-4")
    await client("PATCH", location, b"56789", Content_Range="5-9")
    digest = Digest.of(b"0123456789")
    assert (await client("PUT", location, params={"digest": str(digest)})).status == 201


@pytest.mark.parametrize(
    ("span", "code"), [("0-9", "SIZE_INVALID"), ("zero", "BLOB_UPLOAD_INVALID")]
)
async def test_a_content_range_that_lies(client: ConformanceClient, span: str, code: str) -> None:
    location = (await client("POST", "/v2/team/app/blobs/uploads/")).headers["location"]

    answer = await client("PATCH", location, b"01234", Content_Range=span)

    assert (answer.status, answer.code) == (400, code)


async def test_a_cancelled_upload_is_gone(client: ConformanceClient) -> None:
    location = (await client("POST", "/v2/team/app/blobs/uploads/")).headers["location"]

    assert (await client("DELETE", location)).status == 204
    for method in ("GET", "DELETE", "PATCH"):
        assert (await client(method, location)).status == 404
    elsewhere = location.replace("team/app", "team/other")
    assert (await client("GET", elsewhere)).status == 404


async def test_an_upload_belongs_to_its_repository(client: ConformanceClient) -> None:
    location = (await client("POST", "/v2/team/app/blobs/uploads/")).headers["location"]

    answer = await client("PATCH", location.replace("team/app", "team/other"), b"01234")

    assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")


@in_files
async def test_a_mount_links_without_a_copy(client: ConformanceClient, tmp_path: Path) -> None:
    digest = await client.push_blob("team/app", LAYER)

    answer = await client(
        "POST", "/v2/new/app/blobs/uploads/", params={"mount": str(digest), "from": "team/app"}
    )

    assert answer.status == 201
    assert (await client("GET", answer.headers["location"])).body == LAYER
    assert len({path.stat().st_ino for path in stored(tmp_path, digest.hex)}) == 1


@pytest.mark.parametrize("source", ["team/empty", "never/pushed", None])
async def test_a_mount_that_cannot_be_becomes_an_upload(
    client: ConformanceClient, source: str | None
) -> None:
    digest = await client.push_blob("team/app", LAYER)
    params = {"mount": str(digest)} | ({"from": source} if source else {})

    answer = await client("POST", "/v2/new/app/blobs/uploads/", params=params)

    assert answer.status == 202
    assert (await client("HEAD", f"/v2/new/app/blobs/{digest}")).status == 404
    finished = await client(
        "PUT", answer.headers["location"], LAYER, params={"digest": str(digest)}
    )
    assert finished.status == 201


@pytest.mark.parametrize(
    ("raw", "media_type", "status", "code"),
    [
        (b"not json", MANIFEST, 400, "MANIFEST_INVALID"),
        (b"[]", MANIFEST, 400, "MANIFEST_INVALID"),
        (b"[" * 100_000, MANIFEST, 400, "MANIFEST_INVALID"),
        (image(mediaType="application/x-other"), MANIFEST, 400, "MANIFEST_INVALID"),
        (image(), INDEX, 400, "MANIFEST_INVALID"),
        (image(layers=[{"digest": "x"}]), MANIFEST, 400, "MANIFEST_INVALID"),
        (image(layers=[descriptor(b"x", "l")]), MANIFEST, 404, "MANIFEST_BLOB_UNKNOWN"),
        (b" " * (4 * 1024 * 1024 + 1), MANIFEST, 413, "SIZE_INVALID"),
    ],
)
async def test_a_manifest_that_may_not_be_stored(
    client: ConformanceClient, raw: bytes, media_type: str, status: int, code: str
) -> None:
    await client.push_image("team/app")

    answer = await client("PUT", "/v2/team/app/manifests/bad", raw, Content_Type=media_type)

    assert (answer.status, answer.code) == (status, code)
    assert (await client("HEAD", "/v2/team/app/manifests/bad")).status == 404


async def test_the_largest_manifest_that_must_be_accepted(client: ConformanceClient) -> None:
    padding = 4 * 1024 * 1024 - len(image(annotations={"pad": ""}))

    await client.push_image("team/app", annotations={"pad": "x" * padding})

    answer = await client("HEAD", "/v2/team/app/manifests/v1")
    assert answer.headers["content-length"] == str(4 * 1024 * 1024)


async def test_a_manifest_pushed_by_digest_must_have_it(client: ConformanceClient) -> None:
    await client.push_image("team/app")
    raw = image(annotations={"a": "b"})
    wrong = f"/v2/team/app/manifests/{ABSENT}"
    right = f"/v2/team/app/manifests/sha512:{hashlib.sha512(raw).hexdigest()}"

    assert (await client("PUT", wrong, raw, Content_Type=MANIFEST)).code == "DIGEST_INVALID"
    assert (await client("PUT", right, raw, Content_Type=MANIFEST)).status == 201
    assert (await client("GET", right)).body == raw


async def test_an_index_needs_its_manifests(client: ConformanceClient) -> None:
    raw = json.dumps(
        {"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(image(), MANIFEST)]}
    ).encode()

    before = await client("PUT", "/v2/team/app/manifests/all", raw, Content_Type=INDEX)
    await client.push_image("team/app", str(Digest.of(image())))
    after = await client("PUT", "/v2/team/app/manifests/all", raw, Content_Type=INDEX)

    assert (before.code, after.status) == ("MANIFEST_BLOB_UNKNOWN", 201)


async def test_a_foreign_layer_need_not_be_pushed(client: ConformanceClient) -> None:
    foreign = {**descriptor(b"elsewhere", "l"), "urls": ["https://example.com/layer"]}

    await client.push_image("team/app", layers=[foreign])

    assert (await client("HEAD", "/v2/team/app/manifests/v1")).status == 200


# Content discovery


async def test_tags_come_in_sorted_pages(client: ConformanceClient) -> None:
    names = ["10", "9", "Z", "a", "b_c"]
    for name in reversed(names):
        await client.push_image("team/app", name)

    whole = await client("GET", "/v2/team/app/tags/list")
    path, seen = "/v2/team/app/tags/list?n=2", []
    while path:
        page = await client("GET", path)
        seen.append(page.json["tags"])
        link = page.headers.get("link", "")
        path = link.partition(">")[0].removeprefix("<")

    assert whole.json == {"name": "team/app", "tags": names}
    assert "link" not in whole.headers
    assert seen == [["10", "9"], ["Z", "a"], ["b_c"]]
    assert (await client("GET", "/v2/team/app/tags/list?last=a")).json["tags"] == ["b_c"]
    assert (await client("GET", "/v2/team/app/tags/list?n=0")).json["tags"] == []
    assert (await client("GET", "/v2/team/app/tags/list?n=x")).status == 400


async def test_the_catalog_comes_in_pages(client: ConformanceClient) -> None:
    for name in ("c", "a/b", "a"):
        await client.push_image(name)
    await client.push_blob("only/blobs", LAYER)

    first = await client("GET", "/v2/_catalog?n=2")
    second = await client("GET", "/v2/_catalog?n=2&last=a/b")

    assert first.json == {"repositories": ["a", "a/b"]}
    assert "last=a%2Fb" in first.headers["link"]
    assert second.json == {"repositories": ["c"]}


async def test_half_of_a_surrogate_pair_hides_no_referrer(client: ConformanceClient) -> None:
    subject = Digest.of(image())
    pointer = {"subject": descriptor(image(), MANIFEST)}
    half = image(**pointer, artifactType="x/\ud800", annotations={"\udfff": "a\ud800b"})
    assert b"\\ud800" in half
    good = image(**pointer, annotations={"smile": "\U0001f600"})
    await client.push_blob("team/app", CONFIG)
    await client.push_blob("team/app", LAYER)
    for tag, raw in (("half", half), ("good", good)):
        await client("PUT", f"/v2/team/app/manifests/{tag}", raw, Content_Type=MANIFEST)

    found = await client("GET", f"/v2/team/app/referrers/{subject}")

    annotations = {one["digest"]: one["annotations"] for one in found.json["manifests"]}
    assert annotations == {
        str(Digest.of(half)): {"\ufffd": "a\ufffdb"},
        str(Digest.of(good)): {"smile": "\U0001f600"},
    }


async def test_referrers_come_in_pages(
    client: ConformanceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "_MAX_REFERRERS", 2)
    monkeypatch.setattr(routes, "_MAX_REFERRERS_SIZE", 1000)
    subject = Digest.of(image())
    pointer = {"subject": descriptor(image(), MANIFEST)}
    await client.push_blob("team/app", CONFIG)
    await client.push_blob("team/app", LAYER)
    pushed = []
    for number in range(7):
        notes = {"n": str(number), "large": "x" * (2000 if number in {2, 3} else 1)}
        raw = image(**pointer, artifactType="x/sig", annotations=notes)
        await client("PUT", f"/v2/team/app/manifests/t{number}", raw, Content_Type=MANIFEST)
        pushed.append(str(Digest.of(raw)))
    await client.push_image("team/app", "other", **pointer)

    path, listed = f"/v2/team/app/referrers/{subject}?artifactType=x/sig", []
    while path:
        found = await client("GET", path)
        page = [one["digest"] for one in found.json["manifests"]]
        assert 1 <= len(page) <= 2
        listed += page
        path = found.headers.get("link", "").partition(">")[0].removeprefix("<")
        assert len(listed) <= len(pushed)

    assert listed == sorted(pushed)
    wrong = await client("GET", f"/v2/team/app/referrers/{subject}?last=zzz")
    assert (wrong.status, wrong.json["errors"][0]["code"]) == (400, "DIGEST_INVALID")


async def test_referrers_are_listed_and_filtered(client: ConformanceClient) -> None:
    subject = Digest.of(image())
    pointer = {"subject": descriptor(image(), MANIFEST)}
    signature = image(**pointer, artifactType="application/x-sig", annotations={"k": "v"})
    path = f"/v2/team/app/referrers/{subject}"
    assert (await client("GET", path)).json["manifests"] == []

    await client.push_blob("team/app", CONFIG)
    await client.push_blob("team/app", LAYER)
    pushed = await client("PUT", "/v2/team/app/manifests/sig", signature, Content_Type=MANIFEST)
    plain = await client.push_image("team/app", "plain", **pointer)

    assert pushed.headers["oci-subject"] == str(subject)
    everything = await client("GET", path)
    assert everything.headers["content-type"] == INDEX
    assert {entry["digest"] for entry in everything.json["manifests"]} == {
        str(plain),
        str(Digest.of(signature)),
    }
    filtered = await client("GET", path, params={"artifactType": "application/x-sig"})
    assert filtered.headers["oci-filters-applied"] == "artifactType"
    assert filtered.json["manifests"] == [
        {
            **descriptor(signature, MANIFEST),
            "artifactType": "application/x-sig",
            "annotations": {"k": "v"},
        }
    ]
    await client("DELETE", f"/v2/team/app/manifests/{plain}")
    assert len((await client("GET", path)).json["manifests"]) == 1


# Content management


async def test_a_deleted_tag_keeps_its_manifest(client: ConformanceClient) -> None:
    digest = await client.push_image("team/app")

    assert (await client("DELETE", "/v2/team/app/manifests/v1")).status == 202
    assert (await client("GET", "/v2/team/app/manifests/v1")).status == 404
    assert (await client("DELETE", "/v2/team/app/manifests/v1")).status == 404
    assert (await client("GET", f"/v2/team/app/manifests/{digest}")).status == 200


async def test_a_deleted_manifest_takes_its_tags_along(client: ConformanceClient) -> None:
    digest = await client.push_image("team/app")
    other = await client.push_image("team/app", "other", annotations={"a": "b"})

    assert (await client("DELETE", f"/v2/team/app/manifests/{digest}")).status == 202
    assert (await client("GET", f"/v2/team/app/manifests/{digest}")).status == 404
    assert (await client("GET", "/v2/team/app/manifests/v1")).status == 404
    assert (await client("DELETE", f"/v2/team/app/manifests/{digest}")).status == 404
    assert (await client("GET", f"/v2/team/app/manifests/{other}")).status == 200
    assert (await client("GET", "/v2/team/app/tags/list")).json["tags"] == ["other"]


async def test_a_deleted_blob_stays_in_the_other_repository(
    client: ConformanceClient, tmp_path: Path
) -> None:
    digest = await client.push_blob("team/app", LAYER)
    await client.push_blob("team/other", LAYER)

    assert (await client("DELETE", f"/v2/team/app/blobs/{digest}")).status == 202
    assert (await client("HEAD", f"/v2/team/app/blobs/{digest}")).status == 404
    assert (await client("DELETE", f"/v2/team/app/blobs/{digest}")).status == 404
    assert (await client("GET", f"/v2/team/other/blobs/{digest}")).body == LAYER
    await client("DELETE", f"/v2/team/other/blobs/{digest}")
    assert stored(tmp_path, digest.hex) == []


async def test_a_method_that_is_not_specified(client: ConformanceClient) -> None:
    await client.push_image("team/app")

    assert (await client("PATCH", "/v2/team/app/manifests/v1")).status == 405


async def test_a_manifest_that_is_pushed_by_digest_gets_the_tags_that_are_named(
    client: ConformanceClient,
) -> None:
    digest = await client.push_image("team/app")
    path = f"/v2/team/app/manifests/{digest}"
    answer = await client("PUT", f"{path}?tag=1.2&tag=latest", image(), Content_Type=MANIFEST)
    assert (answer.status, answer.headers["oci-tag"]) == (201, "1.2, latest")
    listed = await client("GET", "/v2/team/app/tags/list")
    assert listed.json["tags"] == ["1.2", "latest", "v1"]
    for wrong in ("tag=-", "&".join(f"tag=t{number}" for number in range(11))):
        answer = await client("PUT", f"{path}?{wrong}", image(), Content_Type=MANIFEST)
        assert answer.status in {400, 413}
    assert (await client("GET", "/v2/team/app/tags/list")).json == listed.json


async def test_a_range_that_ends_before_it_begins_is_refused(client: ConformanceClient) -> None:
    digest = await client.push_blob("team/app", LAYER)
    answer = await client("GET", f"/v2/team/app/blobs/{digest}", Range="bytes=500-0")
    assert (answer.status, answer.headers["content-range"]) == (416, f"bytes */{len(LAYER)}")


@in_files
async def test_a_damaged_blob_is_answered_as_one_that_is_not_there(
    client: ConformanceClient, tmp_path: Path
) -> None:
    digest = await client.push_blob("team/app", LAYER)
    for file in stored(tmp_path, digest.hex):
        file.write_bytes(LAYER[:-1] + b"?")
    url = f"/v2/team/app/blobs/{digest}"
    assert [(await client(method, url)).status for method in ("GET", "HEAD")] == [404, 404]
    await client.push_blob("team/app", LAYER)
    assert (await client("GET", url)).body == LAYER
