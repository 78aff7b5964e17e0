"""Replicas on one cluster with a registry elsewhere: uploads that one took, each has."""

import asyncio
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

from upwell.api.builds.build import Build, BuildPhase
from upwell.api.builds.config import BuildConfig
from upwell.api.codec import decode_as
from upwell.api.image import ImageStream
from upwell.oci.replica_contents import ReplicaContent
from upwell.store.kubernetes import KubernetesStore

NAMESPACE = "shared-contents"
MARK = "the upload of a client"
DOCKERFILE = f'FROM base\nLABEL mark="{MARK}"\n'.encode()


def base_stream(image: str) -> ImageStream:
    document: dict[str, Any] = {
        "metadata": {"name": "base", "namespace": NAMESPACE},
        "spec": {"tags": [{"name": "1", "from": {"kind": "DockerImage", "name": image}}]},
    }
    return decode_as(ImageStream, document)


def binary_config() -> BuildConfig:
    base = {"kind": "ImageStreamTag", "name": "base:1"}
    document: dict[str, Any] = {
        "metadata": {"name": "app", "namespace": NAMESPACE},
        "spec": {
            "source": {"type": "Binary", "binary": {}},
            "strategy": {"type": "Docker", "dockerStrategy": {"from": base}},
            "output": {"to": {"kind": "ImageStreamTag", "name": "app:latest"}},
            "triggers": [{"type": "ImageChange", "imageChange": {}}],
        },
    }
    return decode_as(BuildConfig, document)


async def uploaded(replica: ServerReplica) -> str:
    """Start a build with an upload; return its name."""
    url = (
        f"http://127.0.0.1:{replica.port}/apis/build.openshift.io/v1/namespaces/{NAMESPACE}"
        "/buildconfigs/app/instantiatebinary?asFile=Dockerfile"
    )
    async with (
        aiohttp.ClientSession(headers=replica.login()) as session,
        session.post(url, data=DOCKERFILE) as answer,
    ):
        assert answer.status == 201, await answer.text()
        name: str = (await answer.json())["metadata"]["name"]
        return name


async def ended(store: KubernetesStore, name: str) -> Build:
    async def now() -> Build | None:
        builds = (await store.list(Build)).items
        return next((one for one in builds if one.name == name), None)

    done = await until(now, lambda one: one is not None and one.status.phase.is_terminal, 120)
    assert done is not None
    assert done.status.phase is BuildPhase.COMPLETE, done.status
    return done


@on_demand(
    "tests/integration/registry/test_replica_uploads.py"
    "::test_what_one_replica_took_another_has_and_fetches_it_once"
)
@pytest.mark.timeout(300)
async def test_a_later_leader_builds_again_what_was_uploaded_to_another_replica(
    cluster: KitCluster, tmp_path: Path
) -> None:
    if shutil.which("buildah") is None:
        pytest.skip("needs buildah: apt install buildah")
    async with (
        docker_registry(tmp_path) as registry,
        cluster.store(NAMESPACE) as store,
        server_replicas(
            cluster, tmp_path, NAMESPACE, external_registry(registry), ("one", "two", "three")
        ) as (one, two, three),
    ):
        for tag in ("1", "2"):
            config = f'{{"architecture":"amd64","os":"linux","author":"{tag}"}}'.encode()
            await push_image(registry, "vendor/base", tag, config=config)
        await store.create(base_stream(f"{registry}/vendor/base:1"))
        app = {"metadata": {"name": "app", "namespace": NAMESPACE}}
        await store.create(decode_as(ImageStream, app))
        await store.create(binary_config())
        one.launch()
        await one.until_it_leads()
        two.launch()
        await until(two.role, bool)

        first = await ended(store, await uploaded(two))
        digest = first.spec.source.binary.digest if first.spec.source.binary else ""
        assert digest
        place = ReplicaContent.UPLOADS.repository(NAMESPACE)
        url = f"http://{registry}/v2/up/{place}/tags/list"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            (tag,) = (await answer.json())["tags"]
        assert tag.startswith(f"{digest.replace(':', '-')}.{len(DOCKERFILE)}.")

        await asyncio.to_thread(one.kill)
        await asyncio.to_thread(two.kill)
        three.launch()
        await three.until_it_leads()
        stream = await store.get(ImageStream, NAMESPACE, "base")
        newer = base_stream(f"{registry}/vendor/base:2")
        await store.update(stream.model_copy(update={"spec": newer.spec}))

        log = f"/apis/build.openshift.io/v1/namespaces/{NAMESPACE}/builds/{first.name}/log"
        shown = await three.answer_of(log)
        assert shown.startswith("200 ")
        assert "COMMIT" in shown, "the log that the first leader wrote"

        second = await ended(store, "app-2")
        assert second.spec.source.binary is not None
        assert second.spec.source.binary.digest == digest
        assert second.status.inputs != first.status.inputs
