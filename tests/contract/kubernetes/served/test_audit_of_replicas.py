"""Audit logs of replicas on one cluster with a registry elsewhere: each shows those of all."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.cli.command_process import run_upwell
from tests.support.faults.on_demand import on_demand
from tests.support.installation.installation import until
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.server_replicas import (
    ServerReplica,
    external_registry,
    server_replicas,
)
from tests.support.registry.docker_registry import docker_registry

NAMESPACE = "shared-audit"

pytestmark = on_demand(
    "tests/integration/audit/test_replica_audit.py"
    "::test_lines_of_all_replicas_are_there_by_time_and_verified"
)


@pytest.fixture
async def replicas(cluster: KitCluster, tmp_path: Path) -> AsyncIterator[Sequence[ServerReplica]]:
    """Three servers with a registry in common, none of them launched."""
    async with (
        docker_registry(tmp_path, deletes=True) as registry,
        cluster.store(NAMESPACE),
        server_replicas(
            cluster, tmp_path, NAMESPACE, external_registry(registry), ("one", "two", "three")
        ) as found,
    ):
        yield found


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


async def command(*arguments: str, folder: Path, token: str = "") -> str:
    """Run a command of Upwell in a folder and return what it prints."""
    environment = {**os.environ, "UPWELL_TOKEN": token}
    done = await asyncio.to_thread(
        run_upwell, *arguments, seconds=60, folder=folder, environment=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def fetched_from(replica: ServerReplica, copy: Path) -> str:
    """Fetch the audit logs of all replicas from one into the folder `copy`."""
    token = (replica.folder / "admin.token").read_text().strip()
    arguments = ("audit", "fetch", str(copy), "--server", f"http://127.0.0.1:{replica.port}")
    return await command(*arguments, folder=copy.parent, token=token)


async def streams_in(copy: Path) -> list[str]:
    """Return the names of the streams that somebody created, by the lines that were fetched."""
    arguments = ("audit", "list", "--data-dir", str(copy), "-o", "json")
    lines = [
        json.loads(line) for line in (await command(*arguments, folder=copy.parent)).splitlines()
    ]
    return [one["name"] for one in lines if one["resource"] == "imagestreams"]


async def verified_chains(copy: Path) -> list[dict[str, Any]]:
    """Verify what was fetched; return the report about each chain."""
    arguments = ("audit", "verify", "--data-dir", str(copy), "-o", "json")
    chains = json.loads(await command(*arguments, folder=copy.parent))["chains"]
    assert isinstance(chains, list)
    return chains


@pytest.mark.timeout(400)
async def test_a_replica_that_is_killed_takes_no_more_than_the_lines_since_the_last_piece(
    replicas: Sequence[ServerReplica], tmp_path: Path
) -> None:
    killed, other, _ = replicas
    copy = tmp_path / "copy"

    async def kept() -> list[str]:
        await fetched_from(other, copy)
        return await streams_in(copy)

    for replica in (killed, other):
        replica.launch()
        await until(replica.role, bool)
    await created(killed, "kept")
    await until(kept, lambda names: names == ["kept"])
    await created(killed, "lost")  # the next piece is a minute away
    killed.kill()

    assert await kept() == ["kept"]
    chains = await verified_chains(copy)
    assert [one["ended"] for one in chains] == [False] * len(chains)
    told = await command("audit", "verify", "--data-dir", str(copy), folder=tmp_path)
    of_lines = [one for one in chains if one["lines"]]
    assert of_lines
    assert told.count("has not ended it: if it runs no more,") == len(of_lines)

    killed.launch()  # in its folder, as after a restart of its container
    await until(killed.role, bool)
    await until(kept, lambda names: names == ["kept", "lost"])
    await verified_chains(copy)


@pytest.mark.timeout(300)
async def test_a_later_replica_shows_who_did_what_at_those_before(
    replicas: Sequence[ServerReplica], tmp_path: Path
) -> None:
    one, two, three = replicas
    for number, replica in enumerate((one, two)):
        replica.launch()
        await until(replica.role, bool)
        await created(replica, f"stream-{number}")
    for replica in (one, two):
        await asyncio.to_thread(replica.stop)
    three.launch()
    await three.until_it_leads()

    copy = tmp_path / "copy"
    fetched = await fetched_from(three, copy)
    assert "of 3 replicas fetched" in fetched
    assert await streams_in(copy) == ["stream-0", "stream-1"]
    chains = await verified_chains(copy)
    ended = {one["key"] for one in chains if one["ended"]}
    assert len(ended) == 2, "two have ended in good order, and the third runs"

    for path in ("upwell.audit/tags/list", "up/upwell.audit/tags/list"):
        assert not (await three.answer_of(f"/v2/{path}")).startswith("200")
