"""Audit logs of replicas on one cluster with a registry elsewhere: each shows those of all."""

import asyncio
import json
import os
from pathlib import Path

import aiohttp
import pytest
from tests.support.cli.command_process import run_upwell
from tests.support.faults.on_demand import on_demand
from tests.support.installation.installation import until
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.namespaces import leave_empty
from tests.support.kubernetes.server_replicas import ServerReplica
from tests.support.registry.docker_registry import docker_registry

NAMESPACE = "shared-audit"
SETTINGS = """\
on = "kubernetes"
[kubernetes]
namespaces = ["{namespace}"]
lease-namespace = "{namespace}"
[external-registry]
prefix = "{registry}/up"
"""


async def created(replica: ServerReplica, name: str) -> None:
    """Create a stream by the API of one replica."""
    url = (
        f"http://127.0.0.1:{replica.port}/apis/image.openshift.io/v1/namespaces/{NAMESPACE}"
        "/imagestreams"
    )
    body = {"metadata": {"name": name, "namespace": NAMESPACE}}
    async with (
        aiohttp.ClientSession(headers=replica.login()) as session,
        session.post(url, json=body) as answer,
    ):
        assert answer.status == 201, await answer.text()


@on_demand(
    "tests/integration/audit/test_replica_audit.py"
    "::test_lines_of_all_replicas_are_there_by_time_and_verified"
)
@pytest.mark.timeout(300)
async def test_a_later_replica_shows_who_did_what_at_those_before(
    cluster: KitCluster, tmp_path: Path
) -> None:
    async with (
        docker_registry(tmp_path, deletes=True) as registry,
        cluster.store(NAMESPACE) as store,
    ):
        text = SETTINGS.format(namespace=NAMESPACE, registry=registry)
        (tmp_path / "upwell.toml").write_text(text)
        one, two, three = (
            ServerReplica(tmp_path / name, cluster.kubeconfig) for name in ("one", "two", "three")
        )
        try:
            for number, replica in enumerate((one, two)):
                replica.launch()
                await until(replica.role, bool)
                await created(replica, f"stream-{number}")
            for replica in (one, two):
                await asyncio.to_thread(replica.stop)
            three.launch()
            await three.until_it_leads()

            copy = tmp_path / "copy"
            server = ("--server", f"http://127.0.0.1:{three.port}")
            environment = {
                **os.environ,
                "UPWELL_TOKEN": (three.folder / "admin.token").read_text().strip(),
            }

            async def command(*arguments: str) -> str:
                done = await asyncio.to_thread(
                    run_upwell, *arguments, seconds=60, folder=tmp_path, environment=environment
                )
                assert done.returncode == 0, done.stdout + done.stderr
                return done.stdout

            fetched = await command("audit", "fetch", str(copy), *server)
            assert "of 3 replicas fetched" in fetched
            listed = await command("audit", "list", "--data-dir", str(copy), "-o", "json")
            lines = [json.loads(line) for line in listed.splitlines()]
            streams = [one["name"] for one in lines if one["resource"] == "imagestreams"]
            assert streams == ["stream-0", "stream-1"]
            verified = await command("audit", "verify", "--data-dir", str(copy), "-o", "json")
            chains = json.loads(verified)["chains"]
            ended = {one["key"] for one in chains if one["ended"]}
            assert len(ended) == 2, "two have ended in good order, and the third runs"

            for path in ("upwell.audit/tags/list", "up/upwell.audit/tags/list"):
                assert not (await three.answer_of(f"/v2/{path}")).startswith("200")
        finally:
            for replica in (one, two, three):
                replica.kill()
            await leave_empty(store, NAMESPACE)
