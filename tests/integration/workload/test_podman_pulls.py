"""Pulls from a real registry that wants credentials, over plain http."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.registry.docker_registry import ALICE, HTPASSWD, docker_registry
from tests.integration.workload.podman_home import PodmanHome, Workload

from upwell.oci import Digest, Reference
from upwell.workload.interface import ImagePullError, State
from upwell.workload.podman import PodmanRuntime, PodmanSettings


async def test_an_image_is_pulled_with_its_login_and_by_its_digest(
    settings: PodmanSettings, workload: Workload, podman_home: PodmanHome, tmp_path: Path
) -> None:
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    auth = {"htpasswd": {"realm": "test", "path": str(tmp_path / "htpasswd")}}
    async with docker_registry(tmp_path, auth) as registry:
        image = await asyncio.to_thread(push, podman_home, registry, tmp_path / "digest")
        container = replace(workload.container("sleep", "60"), image=image)
        spec = replace(workload.spec(container), insecure_registries=frozenset({registry}))
        async with PodmanRuntime.open(settings) as runtime:
            with pytest.raises(ImagePullError, match="authentication required"):
                await runtime.start(spec)
            wrong = replace(spec, logins=((registry, "alice", "looking-glass"),))
            with pytest.raises(ImagePullError) as refused:
                await runtime.start(wrong)
            assert "looking-glass" not in str(refused.value)
            assert await runtime.instances() == []

            await runtime.start(replace(spec, logins=((registry, *ALICE),)))
            [instance] = await runtime.instances()
            assert instance.state is State.RUNNING
            assert instance.images == {"web": image.digest}
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.stop(spec.name, 0)
        await runtime.start(spec)  # the registry is gone, the image is not
        assert len(await runtime.instances()) == 1


async def test_a_registry_is_not_asked_over_plain_http_unless_it_is_named(
    settings: PodmanSettings, workload: Workload, podman_home: PodmanHome, tmp_path: Path
) -> None:
    async with docker_registry(tmp_path) as registry:
        image = await asyncio.to_thread(push, podman_home, registry, tmp_path / "digest")
        container = replace(workload.container("sleep", "60"), image=image)
        async with PodmanRuntime.open(settings) as runtime:
            with pytest.raises(ImagePullError, match="HTTPS"):
                await runtime.start(workload.spec(container))


def push(home: PodmanHome, registry: str, digest_file: Path) -> Reference:
    """Push the test image and return it by its digest there."""
    home.run(
        "push",
        "--tls-verify=false",
        f"--creds={':'.join(ALICE)}",
        f"--digestfile={digest_file}",
        "localhost/web:latest",
        f"docker://{registry}/team/web:1",
    )
    reference = Reference.parse(f"{registry}/team/web")
    return reference.with_digest(Digest.parse(digest_file.read_text().strip()))
