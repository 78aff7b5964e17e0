"""The log of a running build, followed at the replica that does not lead, with real parts."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.builds.base_images import push_base_images
from tests.support.cli.command_process import run_upwell, start_upwell
from tests.support.faults.on_demand import on_demand
from tests.support.installation.installation import until
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.server_replicas import (
    ServerReplica,
    external_registry,
    server_replicas,
)
from tests.support.registry.docker_registry import docker_registry

from upwell.api.builds.build import Build
from upwell.api.codec import decode_as
from upwell.store.kubernetes import KubernetesStore

NAMESPACE = "replica-logs"
INSECURE = """\
[[registry]]
prefix = "{registry}"
insecure = true
"""

pytestmark = pytest.mark.skipif(shutil.which("buildah") is None, reason="apt install buildah")


@dataclass
class TwoReplicas:
    """A server that leads and builds, and one that follows it."""

    store: KubernetesStore
    base: str
    leader: ServerReplica
    follower: ServerReplica

    async def build_begins(self, name: str) -> None:
        lasting = f"FROM {self.base}\nRUN echo begun-{name}; sleep 60\n"
        document: dict[str, Any] = {
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "source": {"type": "Dockerfile", "dockerfile": lasting},
                "strategy": {"type": "Docker", "dockerStrategy": {}},
            },
        }
        await self.store.create(decode_as(Build, document))


@pytest.fixture
async def replicas(cluster: KitCluster, tmp_path: Path) -> AsyncIterator[TwoReplicas]:
    async with docker_registry(tmp_path) as registry, cluster.store(NAMESPACE) as store:
        base = push_base_images(registry).base
        settings = external_registry(registry) + INSECURE.format(registry=registry)
        async with server_replicas(cluster, tmp_path, NAMESPACE, settings) as (one, two):
            one.launch()
            await one.until_it_leads()
            two.launch()
            await until(two.role, lambda role: "role: follows" in role, 120)
            yield TwoReplicas(store, str(base), one, two)


@on_demand(
    "tests/unit/server/builds/test_leader_logs.py"
    "::test_a_running_build_is_followed_at_any_replica_to_its_end"
)
async def test_a_follower_shows_what_is_built_and_goes_on_when_the_leader_dies(
    replicas: TwoReplicas, tmp_path: Path
) -> None:
    token = (replicas.follower.folder / "admin.token").read_text().strip()
    server = f"http://127.0.0.1:{replicas.follower.port}"
    environment = {**os.environ, "UPWELL_SERVER": server, "UPWELL_TOKEN": token}

    for name, is_left in (("cancelled", False), ("left", True)):
        await replicas.build_begins(name)
        shown = tmp_path / f"{name}.log"
        with shown.open("wb") as output:
            follows = start_upwell(
                *("logs", "-f", f"build/{name}", "-n", NAMESPACE),
                output=output,
                folder=tmp_path,
                environment=environment,
            )
        await until_said(shown, f"begun-{name}\n")
        if is_left:
            replicas.leader.kill()
            await replicas.follower.until_it_leads()
        cancelled = run_upwell(
            *("cancel-build", name, "-n", NAMESPACE),
            seconds=60,
            folder=tmp_path,
            environment=environment,
        )
        assert cancelled.returncode == 0, cancelled.stderr
        assert follows.wait(60) == 0


async def until_said(path: Path, text: str) -> None:
    async def said() -> str:
        return await asyncio.to_thread(path.read_text)

    await until(said, lambda found: text in found, 120)
