"""Test servers on one cluster, with a registry of their own, and with one that they share."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.faults.on_demand import on_demand
from tests.support.installation.installation import until
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.server_replicas import (
    ServerReplica,
    external_registry,
    server_replicas,
)
from tests.support.registry.docker_registry import docker_registry, push_image
from tests.support.s3.strict_server import BUCKET, credentials_file, strict_s3

from upwell.api.builds.build import Build, BuildPhase
from upwell.api.codec import decode_as
from upwell.api.image import ImageStream
from upwell.oci import Digest
from upwell.store.interface import NotFoundError
from upwell.store.kubernetes import KubernetesStore

NAMESPACE = "registries"


def stream(name: str) -> ImageStream:
    return decode_as(ImageStream, {"metadata": {"name": name, "namespace": NAMESPACE}})


def build(name: str, base: str) -> Build:
    document: dict[str, Any] = {
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "source": {"type": "Dockerfile", "dockerfile": f"FROM {base}\nLABEL is={name}\n"},
            "strategy": {"type": "Docker", "dockerStrategy": {}},
            "output": {"to": {"kind": "ImageStreamTag", "name": "app:latest"}},
        },
    }
    return decode_as(Build, document)


async def built(store: KubernetesStore, name: str, base: str) -> str:
    """Have an image built on a base; return its digest."""
    await store.create(build(name, base))

    async def now() -> Build:
        return await store.get(Build, NAMESPACE, name)

    done = await until(now, lambda one: one.status.phase.is_terminal, 120)
    assert done.status.phase is BuildPhase.COMPLETE, done.status
    assert done.status.output is not None
    assert done.status.output.to is not None
    return done.status.output.to.image_digest


async def image_of(store: KubernetesStore, name: str, tag: str) -> str:
    history = (await store.get(ImageStream, NAMESPACE, name)).status.tag(tag)
    return "" if history is None or history.latest is None else history.latest.image


async def reconciled(store: KubernetesStore, name: str) -> None:
    """Wait until whoever leads has looked at streams: at a new one, which comes last."""
    await store.create(stream(name))

    async def repository() -> str:
        return (await store.get(ImageStream, NAMESPACE, name)).status.docker_image_repository

    await until(repository, bool)


async def tag_there(registry: str, repository: str, tag: str) -> str:
    url = f"http://{registry}/v2/{repository}/manifests/{tag}"
    headers = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    async with aiohttp.ClientSession() as session, session.head(url, headers=headers) as answer:
        return answer.headers.get("Docker-Content-Digest", "")


async def test_a_push_makes_its_stream(cluster: KitCluster, tmp_path: Path) -> None:
    async with (
        cluster.store(NAMESPACE) as store,
        server_replicas(cluster, tmp_path, NAMESPACE) as (one, _),
    ):
        one.launch()
        await one.until_it_leads()
        login = one.login()["Authorization"]
        pushed = await push_image(f"127.0.0.1:{one.port}", f"{NAMESPACE}/pushed", "v1", login=login)

        async def now() -> str:
            return await image_of(store, "pushed", "v1")

        assert await until(now, bool) == str(pushed.digest)
        await store.delete(ImageStream, NAMESPACE, "pushed")


@on_demand(
    "tests/integration/registry/bucket/test_bucket_replicas.py"
    "::test_a_push_to_another_replica_is_told_by_who_follows"
)
@pytest.mark.timeout(240)
async def test_replicas_share_a_bucket_whoever_leads_and_whoever_is_pushed_to(
    cluster: KitCluster, tmp_path: Path
) -> None:
    async with strict_s3() as s3, cluster.store(NAMESPACE) as store:
        registry = (
            '[embedded-registry]\naddress = "images.example"\n[embedded-registry.bucket]\n'
            f'endpoint = "{s3.url}"\nbucket = "{BUCKET}"\n'
            f'credentials-file = "{credentials_file(tmp_path)}"'
        )
        async with server_replicas(cluster, tmp_path, NAMESPACE, registry) as (one, two):
            one.launch()
            await one.until_it_leads()
            two.launch()
            await until(two.role, bool)

            pushed = await pushed_to(two, "v1")  # which does not lead
            assert await until_tagged(store, "shared", "v1") == pushed
            assert await pulled_from(one, "v1") == pushed

            await asyncio.to_thread(one.kill)
            await two.until_it_leads()
            again = await pushed_to(two, "v2")
            assert await until_tagged(store, "shared", "v2") == again
            assert await image_of(store, "shared", "v1") == pushed
            assert await pulled_from(two, "v1") == pushed


async def pushed_to(replica: ServerReplica, tag: str) -> str:
    login = replica.login()["Authorization"]
    host, config = f"127.0.0.1:{replica.port}", f'{{"os":"linux","author":"{tag}"}}'.encode()
    pushed = await push_image(host, f"{NAMESPACE}/shared", tag, login=login, config=config)
    return str(pushed.digest)


async def pulled_from(replica: ServerReplica, tag: str) -> str:
    """Return the digest of a manifest that a replica serves, whose blobs it serves as well."""
    url = f"http://127.0.0.1:{replica.port}/v2/{NAMESPACE}/shared"
    async with aiohttp.ClientSession(headers=replica.login()) as session:
        async with session.get(f"{url}/manifests/{tag}") as answer:
            answer.raise_for_status()
            raw = await answer.read()
        for blob in (json.loads(raw)["config"], *json.loads(raw)["layers"]):
            async with session.get(f"{url}/blobs/{blob['digest']}") as answer:
                assert Digest.parse(blob["digest"]).matches(await answer.read())
    return str(Digest.of(raw))


async def until_tagged(store: KubernetesStore, name: str, tag: str) -> str:
    async def now() -> str:
        try:
            return await image_of(store, name, tag)
        except NotFoundError:
            return ""

    return await until(now, bool)


@pytest.mark.timeout(240)
async def test_no_tag_goes_back_when_another_replica_leads(
    cluster: KitCluster, tmp_path: Path
) -> None:
    if shutil.which("buildah") is None:
        pytest.skip("needs buildah: apt install buildah")
    async with (
        docker_registry(tmp_path) as registry,
        cluster.store(NAMESPACE) as store,
        server_replicas(cluster, tmp_path, NAMESPACE, external_registry(registry)) as (one, two),
    ):
        await push_image(registry, "vendor/base", "1")
        base = f"{registry}/vendor/base:1"
        await store.create(stream("app"))
        one.launch()
        await one.until_it_leads()
        first = await built(store, "app-1", base)
        assert await image_of(store, "app", "latest") == first
        repository = (await store.get(ImageStream, NAMESPACE, "app")).status.docker_image_repository
        assert repository == f"{registry}/up/{NAMESPACE}/app"
        assert await tag_there(registry, f"up/{NAMESPACE}/app", "latest") == first
        refusal = await one.answer_of("/v2/")
        assert refusal.startswith("404 ")
        assert f"{registry}/up/NAMESPACE/STREAM" in refusal

        two.launch()
        await asyncio.to_thread(one.stop)
        await two.until_it_leads()
        second = await built(store, "app-2", base)
        assert second != first

        one.launch()  # with all that it has kept of the time when the first image was the newest
        await until(one.role, bool)
        await asyncio.to_thread(two.kill)
        await one.until_it_leads()
        await reconciled(store, "probe")
        assert await image_of(store, "app", "latest") == second
        assert await tag_there(registry, f"up/{NAMESPACE}/app", "latest") == second
