"""Uploads that replicas share in a registry elsewhere, which may lie, refuse, or not answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from tests.support.clocks import SecondsClock
from tests.support.registry.docker_registry import HTPASSWD, docker_registry
from tests.support.registry.shared_contents import (
    NAMESPACES,
    elsewhere,
    shared_contents,
    unlisted,
)
from tests.support.registry.unruly_registry import FaultyRegistry, status, unruly_registry
from tests.support.s3.strict_server import bucket_at, strict_s3
from tests.support.server.api_server import serving

from upwell.app.registries.replica_uploads import RegistryContents
from upwell.oci import Descriptor, Digest, Reference
from upwell.oci.replica_contents import ReplicaContent
from upwell.registry.attachments.targets import HostedArtifacts
from upwell.registry.bucket.registry import BucketRegistry
from upwell.registry.client.push import once
from upwell.registry.errors import RegistryRejectedError, RegistryUnavailableError
from upwell.registry.interface import DEFAULT_ACCESS
from upwell.registry.replica_contents import ReplicaArtifact, ReplicaArtifacts
from upwell.server.http.limits import ServerLimits
from upwell.uploads import shared as shared_uploads
from upwell.uploads.interface import InputMissingError, SharedContentError
from upwell.uploads.shared import SharedInputs
from upwell.uploads.usage import UploadUsage

MANY = 20
CONTENT = b"sources of a build"
CONFIGS = "/apis/build.openshift.io/v1/namespaces/shop/buildconfigs"


async def pieces(content: bytes = CONTENT) -> AsyncIterator[bytes]:
    yield content


@asynccontextmanager
async def uploads_at(host: str) -> AsyncIterator[RegistryContents]:
    async def namespaces() -> tuple[str, ...]:
        return NAMESPACES

    async with elsewhere(host) as (internal, target):
        artifacts = ReplicaArtifacts(internal, target, ReplicaContent.UPLOADS)
        yield RegistryContents(artifacts, lambda: True, namespaces)


def files(folder: Path) -> list[str]:
    return [one.name for one in folder.iterdir()] if folder.is_dir() else []


async def test_what_one_replica_took_another_has_and_fetches_it_once(tmp_path: Path) -> None:
    async with docker_registry(tmp_path, access_log=True) as host, uploads_at(host) as shared:
        clock = SecondsClock()
        one, two = (
            SharedInputs(tmp_path / name, shared, usage=UploadUsage(clock=clock))
            for name in ("one", "two")
        )
        stored = await one.save(pieces(), "a")
        found = await asyncio.gather(*(two.path(stored.digest, "a") for _ in range(5)))
        assert {file.read_bytes() for file in found} == {CONTENT}
        assert found[0].stat().st_mode & 0o222 == 0
        assert await two.used("a") == await one.used("a") == 4096
        await one.save(pieces(b"of another build"), "a")
        assert await two.used("a") == 4096, "as it was counted last"
        clock.now += 10
        assert await two.used("a") == await one.used("a") == 2 * 4096
        with pytest.raises(InputMissingError):
            await SharedInputs(tmp_path / "three", shared).path(stored.digest, "b")
        log = (tmp_path / "registry.log").read_text()
        assert log.count(f"GET /v2/ours/images/upwell.uploads/a/blobs/{stored.digest}") == 1


async def test_what_the_registry_has_changed_is_not_built(tmp_path: Path) -> None:
    async with docker_registry(tmp_path) as host, uploads_at(host) as shared:
        stored = await SharedInputs(tmp_path / "one", shared).save(pieces(), "a")
        (blob,) = [one for one in (tmp_path / "data").rglob("data") if one.read_bytes() == CONTENT]
        blob.write_bytes(b"another content   ")
        two = SharedInputs(tmp_path / "two", shared)
        with pytest.raises(SharedContentError, match=r"upwell\.uploads/a"):
            await two.path(stored.digest, "a")
        assert files(tmp_path / "two") == []


async def test_a_login_that_may_not_push_is_told_where_it_must(tmp_path: Path) -> None:
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    auth = {"htpasswd": {"realm": "test", "path": str(tmp_path / "htpasswd")}}
    async with docker_registry(tmp_path, auth) as host, uploads_at(host) as shared:
        inputs = SharedInputs(tmp_path / "one", shared)
        with pytest.raises(SharedContentError) as caught:
            await inputs.save(pieces(), "a")
        place = f"{host}/ours/images/upwell.uploads/a"
        assert f"let the server's login pull from and push to {place}" in str(caught.value)
        assert not caught.value.retryable
        assert files(tmp_path / "one") == []


@pytest.mark.parametrize(
    ("code", "answered", "told"),
    [
        (401, 500, "let the server's login pull from and push to"),
        (403, 500, "let the server's login pull from and push to"),
        (413, 500, "let that registry, and a proxy before it, take larger bodies"),
        (500, 503, "is not available: HTTP 500; nothing is started: send it again then"),
    ],
)
async def test_a_client_is_told_whether_a_refusal_may_pass(
    tmp_path: Path, code: int, answered: int, told: str
) -> None:
    config = {
        "apiVersion": "build.openshift.io/v1",
        "kind": "BuildConfig",
        "metadata": {"name": "app"},
        "spec": {"source": {"binary": {}}, "strategy": {"dockerStrategy": {}}},
    }
    async with unruly_registry() as registry, uploads_at(registry.address) as shared:
        registry.misbehave = status(code)
        inputs = SharedInputs(tmp_path / "one", shared)
        async with serving(ServerLimits(), inputs=inputs) as api:
            assert (await api.send("POST", CONFIGS, config)).status == 201
            path = f"{CONFIGS}/app/instantiatebinary"
            answer = await api.send("POST", path, CONTENT, content_type="application/x-tar")
    lasts = answered == 500
    assert answer.status == answered, answer.text
    assert told in answer.json["message"]
    assert ("no use to send it again before" in answer.text) is lasts
    assert (answer.json["reason"] == "ContentNotShared") is lasts
    assert f"{registry.address}/ours/images/upwell.uploads/shop" in answer.text


@pytest.mark.parametrize("is_there_then", [True, False])
async def test_content_that_another_replica_pushes_at_once_is_no_fault(
    is_there_then: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    blob = Descriptor("application/octet-stream", Digest.of(CONTENT), len(CONTENT))
    asked: list[str] = []

    async def refuse_once(_: FaultyRegistry, request: web.Request) -> web.StreamResponse:
        """Refuse the first push, as distribution does the second of two at once."""
        asked.append(request.method)
        pushes = asked.count("PUT")
        match request.method:
            case "HEAD":
                return web.Response(status=200 if pushes and is_there_then else 404)
            case "POST":
                return web.Response(status=202, headers={"Location": f"{request.path}one"})
        await request.read()
        if pushes == 1:
            return web.json_response({"errors": [{"code": "DIGEST_INVALID"}]}, status=400)
        return web.Response(status=201)

    async with (
        unruly_registry() as registry,
        elsewhere(registry.address) as (_, target),
    ):
        registry.misbehave = refuse_once
        place = Reference.parse(f"{registry.address}/ours/shared:tag")
        await target.put_blob(place, blob, partial(once, CONTENT), DEFAULT_ACCESS)
    assert asked.count("PUT") == (1 if is_there_then else 2)


async def test_content_that_is_refused_for_good_is_pushed_twice_and_no_more() -> None:
    blob = Descriptor("application/octet-stream", Digest.of(CONTENT), len(CONTENT))
    pushes = 0

    async def refuse(_: FaultyRegistry, request: web.Request) -> web.StreamResponse:
        nonlocal pushes
        if request.method == "HEAD":
            return web.Response(status=404)
        if request.method == "POST":
            return web.Response(status=202, headers={"Location": f"{request.path}one"})
        pushes += 1
        await request.read()
        return web.json_response({"errors": [{"code": "DIGEST_INVALID"}]}, status=400)

    async with (
        unruly_registry() as registry,
        elsewhere(registry.address) as (_, target),
    ):
        registry.misbehave = refuse
        place = Reference.parse(f"{registry.address}/ours/shared:tag")
        with pytest.raises(RegistryRejectedError, match="400"):
            await target.put_blob(place, blob, partial(once, CONTENT), DEFAULT_ACCESS)
    assert pushes == 2


async def test_a_registry_that_is_away_keeps_nothing_and_may_come_back(tmp_path: Path) -> None:
    async with docker_registry(tmp_path) as host:
        pass
    async with uploads_at(host) as shared:
        inputs = SharedInputs(tmp_path / "one", shared)
        for want in (
            lambda: inputs.save(pieces(), "a"),
            lambda: inputs.path(Digest.of(CONTENT), "a"),
        ):
            with pytest.raises(SharedContentError) as caught:
                await want()
            assert caught.value.retryable
        assert files(tmp_path / "one") == []


async def test_a_replica_that_does_not_lead_removes_its_own_files_alone(tmp_path: Path) -> None:
    clock, leads = SecondsClock(), False
    async with shared_contents(tmp_path, "registry", lambda: leads) as shared:
        hour = timedelta(hours=1)
        inputs = SharedInputs(tmp_path / "one", shared, clock=clock)
        stored = await inputs.save(pieces(), "a")
        clock.now += 7200
        assert await inputs.remove_unused((), unused_for=hour) == len(CONTENT)
        assert files(tmp_path / "one") == ["of"]
        assert await shared.cleaned_namespaces() == ()
        [kept] = await shared.contents("a")
        await shared.remove("a", kept)  # as one that has led a moment ago
        assert await shared.contents("a") == [kept]
        assert await inputs.used("a") == 4096
        await inputs.path(stored.digest, "a")
        leads = True
        clock.now += 7200
        assert await inputs.remove_unused((), unused_for=hour) == len(CONTENT)
        assert await inputs.used("a") == 0
        with pytest.raises(InputMissingError):
            await inputs.path(stored.digest, "a")


async def test_old_uploads_go_several_at_a_time(tmp_path: Path) -> None:
    clock = SecondsClock()
    async with strict_s3() as s3, bucket_at(s3.url, tmp_path) as bucket:
        registry = BucketRegistry(bucket, "registry.internal:5000")
        artifacts = ReplicaArtifacts(registry, HostedArtifacts(registry), ReplicaContent.UPLOADS)

        async def namespaces() -> tuple[str, ...]:
            return ("a",)

        shared = RegistryContents(artifacts, lambda: True, namespaces)
        inputs = SharedInputs(tmp_path / "one", shared, clock=clock)
        for number in range(MANY):
            await inputs.save(pieces(b"%d of many" % number), "a")
        clock.now += 7200
        index = "PUT /images/ours/repositories/upwell.uploads/a/_index"
        before = s3.requests.count(index)
        await inputs.remove_unused((), unused_for=timedelta(hours=1))
        assert list(await shared.contents("a")) == []
        assert 1 < s3.requests.count(index) - before <= MANY / 2, "those at once share a write"


async def test_tags_that_somebody_else_has_set_are_passed_over(tmp_path: Path) -> None:
    async with docker_registry(tmp_path) as host, uploads_at(host) as shared:
        inputs = SharedInputs(tmp_path / "one", shared)
        stored = await inputs.save(pieces(), "a")
        base = f"http://{host}/v2/ours/images/upwell.uploads/a"
        accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
        async with aiohttp.ClientSession(headers=accept, raise_for_status=True) as session:
            async with session.get(f"{base}/tags/list") as answer:
                (tag,) = (await answer.json())["tags"]
            async with session.get(f"{base}/manifests/{tag}") as answer:
                raw = await answer.read()
            kind = {"Content-Type": accept["Accept"]}
            for other in ("latest", f"sha256-{'a' * 64}.7.x", f"{tag}.1"):
                async with session.put(f"{base}/manifests/{other}", data=raw, headers=kind):
                    pass
        assert [one.digest for one in await shared.contents("a")] == [stored.digest]


async def test_a_namespace_that_cannot_be_listed_keeps_no_other_from_being_cleaned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SecondsClock()
    async with shared_contents(tmp_path, "registry") as shared:
        inputs = SharedInputs(tmp_path / "one", shared, clock=clock)
        await inputs.save(pieces(), "b")
        clock.now += 7200
        with monkeypatch.context() as patched:
            patched.setattr(ReplicaArtifacts, "tags", unlisted(ReplicaArtifacts.tags, "a"))
            with pytest.raises(SharedContentError, match=r"upwell\.uploads/a"):
                await inputs.remove_unused((), unused_for=timedelta(hours=1))
        assert await shared.contents("b") == []


async def test_bytes_that_went_before_a_removal_failed_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, contents = SecondsClock(), (b"sources", b"more sources", b"of another namespace")
    async with shared_contents(tmp_path, "bucket") as shared:
        inputs = SharedInputs(tmp_path / "one", shared, clock=clock)
        replica = SharedInputs(tmp_path / "two", shared, clock=clock)
        for namespace, content in zip("aab", contents, strict=True):
            await inputs.save(pieces(content), namespace)
        clock.now += 7200
        remove, asked = ReplicaArtifacts.remove, list[str]()

        async def refused(
            artifacts: ReplicaArtifacts, namespace: str, artifact: ReplicaArtifact
        ) -> None:
            asked.append(namespace)
            if asked == ["a", "a"]:
                raise RegistryUnavailableError(artifacts.place(namespace), "503")
            await remove(artifacts, namespace, artifact)

        monkeypatch.setattr(ReplicaArtifacts, "remove", refused)
        monkeypatch.setattr(shared_uploads, "_REMOVALS", 1)
        with pytest.raises(SharedContentError, match="503") as caught:
            await replica.remove_unused((), unused_for=timedelta(hours=1))
        left = {one.digest for namespace in "ab" for one in await shared.contents(namespace)}
        gone = [one for one in contents if Digest.of(one) not in left]
        assert (len(left), asked) == (1, ["a", "a", "b"])
        assert caught.value.freed_bytes == sum(map(len, gone))
