"""The API as the real kubectl uses it."""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.server.api_server import Api, serving

from upwell.api.apps import Deployment
from upwell.api.core import ResourceQuota, ResourceQuotaSpec, ResourceQuotaStatus, Secret
from upwell.api.meta import ObjectMeta
from upwell.server.http.limits import ServerLimits

pytestmark = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="needs kubectl (Debian package kubernetes-client)"
)

SECONDS = 30
MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "web:1", env: [{name: A, value: "1"}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: image.openshift.io/v1
kind: ImageStream
metadata: {name: web}
spec: {tags: [{name: latest, from: {kind: DockerImage, name: "debian:12"}}]}
"""


@dataclass
class Outcome:
    code: int
    stdout: str
    stderr: str


@dataclass
class Kubectl:
    api: Api
    home: Path

    @contextlib.asynccontextmanager
    async def running(self, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            "kubectl",
            f"--server={self.api.url}",
            f"--cache-dir={self.home}",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"HOME": str(self.home), "PATH": "/usr/bin:/bin"},
        )
        try:
            async with asyncio.timeout(SECONDS):
                yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def __call__(self, *arguments: str, stdin: str = "") -> Outcome:
        async with self.running(*arguments) as process:
            stdout, stderr = await process.communicate(stdin.encode())
        return Outcome(process.returncode or 0, stdout.decode(), stderr.decode())

    async def ok(self, *arguments: str, stdin: str = "") -> str:
        outcome = await self(*arguments, stdin=stdin)
        assert outcome.code == 0, outcome
        return outcome.stdout

    async def json(self, *arguments: str) -> Any:
        return json.loads(await self.ok(*arguments, "-o", "json"))


@pytest.fixture
async def kubectl(tmp_path: Path) -> AsyncIterator[Kubectl]:
    async with serving(ServerLimits()) as api:
        yield Kubectl(api, tmp_path)


async def test_it_finds_its_way(kubectl: Kubectl) -> None:
    assert "Server Version: v1.32.0+upwell.1.2.3" in await kubectl.ok("version")
    resources = await kubectl.ok("api-resources", "-o", "name")
    assert {"deployments.apps", "buildconfigs.build.openshift.io", "pipelines.upwell.dev"} <= {
        *resources.split()
    }
    explained = await kubectl.ok("explain", "bc.spec.strategy")
    assert "dockerStrategy" in explained


async def test_client_side_apply_reaches_rest_and_merges(kubectl: Kubectl) -> None:
    created = await kubectl.ok("apply", "-f", "-", stdin=MANIFEST)
    assert created.count("created") == 3
    before = await kubectl.json("get", "deploy,svc,is")
    again = await kubectl.ok("apply", "-f", "-", stdin=MANIFEST)
    # Of an ImageStream kubectl patches the whole list of tags, since each carries a generation;
    # it says "configured", and nothing changes.
    assert (again.count("unchanged"), again.count("web configured")) == (2, 1)
    assert await kubectl.json("get", "deploy,svc,is") == before
    assert (await kubectl("diff", "-f", "-", stdin=MANIFEST)).code == 0

    await kubectl.ok("set", "env", "deploy/web", "B=2")
    changed = MANIFEST.replace("replicas: 2", "replicas: 3")
    difference = await kubectl("diff", "-f", "-", stdin=changed)
    assert difference.code == 1
    assert "+  replicas: 3" in difference.stdout
    await kubectl.ok("apply", "-f", "-", stdin=changed)
    stored = await kubectl.json("get", "deploy", "web")
    container = stored["spec"]["template"]["spec"]["containers"][0]
    assert stored["spec"]["replicas"] == 3
    assert [variable["name"] for variable in container["env"]] == ["A", "B"]


async def test_server_side_apply_takes_over_from_client_side_apply(kubectl: Kubectl) -> None:
    await kubectl.ok("apply", "-f", "-", stdin=MANIFEST)
    await kubectl.ok("apply", "--server-side", "-f", "-", stdin=MANIFEST)
    before = await kubectl.json("get", "deploy", "web", "--show-managed-fields")
    await kubectl.ok("apply", "--server-side", "-f", "-", stdin=MANIFEST)
    assert await kubectl.json("get", "deploy", "web", "--show-managed-fields") == before
    changed = MANIFEST.replace("replicas: 2", "replicas: 3")
    await kubectl.ok("apply", "--server-side", "-f", "-", stdin=changed)
    other = ("apply", "--server-side", "--field-manager=other", "-f", "-")
    refused = await kubectl(*other, stdin=changed.replace("replicas: 3", "replicas: 4"))
    assert refused.code == 1
    assert ".spec.replicas" in refused.stderr


async def test_quotas_are_described(kubectl: Kubectl) -> None:
    hard: dict[str, str | int] = {"pods": "50", "upwell.dev/build-storage": "20Gi"}
    spec = ResourceQuotaSpec(hard=hard)
    meta = ObjectMeta(namespace="default", name="team")
    quota = await kubectl.api.store.create(ResourceQuota(metadata=meta, spec=spec))
    assert "pods: 0/50, upwell.dev/build-storage: 0/20Gi" in await kubectl.ok("get", "quota")
    status = ResourceQuotaStatus(hard=hard, used={"pods": "7", "upwell.dev/build-storage": "3Gi"})
    await kubectl.api.store.update_status(quota.model_copy(update={"status": status}))
    described = await kubectl.ok("describe", "quota", "team")
    rows = [line.split() for line in described.splitlines()]
    assert ["pods", "7", "50"] in rows
    assert ["upwell.dev/build-storage", "3Gi", "20Gi"] in rows
    assert "pods: 7/50, upwell.dev/build-storage: 3Gi/20Gi" in await kubectl.ok("get", "quota")


async def test_single_objects_can_be_changed(kubectl: Kubectl) -> None:
    await kubectl.ok("apply", "-f", "-", stdin=MANIFEST)
    await kubectl.ok("label", "deploy", "web", "tier=front")
    await kubectl.ok("annotate", "is", "web", "note=x")
    await kubectl.ok("patch", "deploy", "web", "-p", '{"spec":{"paused":true}}')
    await kubectl.ok(
        "patch",
        "is",
        "web",
        "--type=json",
        "-p",
        '[{"op":"add","path":"/spec/lookupPolicy","value":{"local":true}}]',
    )
    await kubectl.ok("set", "image", "deploy/web", "web=web:2")
    await kubectl.ok("scale", "deploy", "web", "--replicas=5")
    stored = await kubectl.api.store.get(Deployment, "default", "web")
    assert stored.labels == {"app": "web", "tier": "front"}
    assert (stored.spec.paused, stored.spec.replicas) == (True, 5)
    assert stored.spec.template.spec.containers[0].image == "web:2"
    described = await kubectl.ok("describe", "deploy", "web")
    assert "web:2" in described
    assert "Lookup Policy" in await kubectl.ok("describe", "is", "web")


async def test_objects_can_be_created_from_the_command_line(kubectl: Kubectl) -> None:
    await kubectl.ok("create", "namespace", "shop")
    await kubectl.ok("create", "configmap", "settings", "--from-literal=a=ü", "-n", "shop")
    login = ("--docker-server=r.example", "--docker-username=u", "--docker-password=p")
    await kubectl.ok("create", "secret", "docker-registry", "pull", "-n", "shop", *login)
    settings = await kubectl.json("get", "configmap", "settings", "-n", "shop")
    assert settings["data"] == {"a": "ü"}
    secret = await kubectl.api.store.get(Secret, "shop", "pull")
    assert secret.type == "kubernetes.io/dockerconfigjson"
    assert (
        json.loads(secret.decoded()[".dockerconfigjson"])["auths"]["r.example"]["username"] == "u"
    )


async def test_tables_show_the_columns_of_the_kind(kubectl: Kubectl) -> None:
    await kubectl.ok("apply", "-f", "-", stdin=MANIFEST)
    heading, row = (await kubectl.ok("get", "deploy", "-l", "app=web")).splitlines()
    assert heading.split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert row.split() == ["web", "0/2", "0", "0", "0s"]
    assert "web:1" in await kubectl.ok("get", "deploy", "-A", "-o", "wide")
    assert "service/web" in await kubectl.ok("get", "all")


async def test_a_wait_and_a_watch_see_what_happens(kubectl: Kubectl) -> None:
    await kubectl.ok("apply", "-f", "-", stdin=MANIFEST)
    available = {"type": "Available", "status": "True"}
    status = {"status": {"readyReplicas": 2, "conditions": [available]}}
    patch = ("--subresource=status", "--type=merge", "-p", json.dumps(status))
    async with (
        kubectl.running("get", "deploy", "-w", "--no-headers") as watching,
        kubectl.running("wait", "--for=condition=Available", "deploy/web") as waiting,
    ):
        assert watching.stdout is not None
        assert (await watching.stdout.readline()).split()[:2] == [b"web", b"0/2"]
        await kubectl.ok("patch", "deploy", "web", *patch)
        assert (await watching.stdout.readline()).split()[:2] == [b"web", b"2/2"]
        assert await waiting.wait() == 0
    await kubectl.ok("delete", "deploy", "web", "--timeout=10s")


async def test_deletion_waits_for_finalizers_and_namespaces_take_all(kubectl: Kubectl) -> None:
    await kubectl.ok("apply", "-n", "shop", "-f", "-", stdin=MANIFEST)
    await kubectl.ok(
        "patch", "-n", "shop", "svc", "web", "-p", '{"metadata":{"finalizers":["upwell.dev/test"]}}'
    )
    held = await kubectl("delete", "-n", "shop", "svc", "web", "--timeout=1s")
    assert held.code == 1
    await kubectl.ok(
        "patch",
        "-n",
        "shop",
        "svc",
        "web",
        "--type=json",
        "-p",
        '[{"op":"remove","path":"/metadata/finalizers"}]',
    )
    assert (await kubectl("get", "-n", "shop", "svc", "web")).code == 1
    await kubectl.ok("delete", "namespace", "shop")
    assert (await kubectl.json("get", "deploy,is", "-A"))["items"] == []


async def test_mistakes_are_shown_with_their_place(kubectl: Kubectl) -> None:
    wrong = MANIFEST.replace("replicas: 2", "replicas: two").replace("port: 80", "port: 99999")
    refused = await kubectl("apply", "-f", "-", stdin=wrong)
    assert refused.code == 1
    assert "spec.replicas: expected an integer, found a string" in refused.stderr
    assert "spec.ports[0].port" in refused.stderr
    mistyped = MANIFEST.replace("replicas: 2", "replica: 2")
    strict = await kubectl("apply", "-f", "-", stdin=mistyped)
    assert strict.code == 1
    assert 'strict decoding error: unknown field "spec.replica"' in strict.stderr
    odd = await kubectl("apply", "--validate=warn", "-f", "-", stdin=mistyped)
    assert odd.code == 0
    assert 'Warning: unknown field "spec.replica" is kept and has no effect' in odd.stderr


async def test_lists_are_applied_replaced_and_deleted(kubectl: Kubectl) -> None:
    await kubectl.ok("create", "configmap", "one", "--from-literal=a=1")
    listed = await kubectl.ok("get", "configmap", "-o", "yaml")
    assert "kind: List" in listed
    await kubectl.ok("delete", "-f", "-", stdin=listed)
    assert await kubectl.ok("create", "-f", "-", stdin=listed) == "configmap/one created\n"
    fresh = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}}
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [fresh]})
    for arguments in (("apply",), ("apply", "--server-side", "--force-conflicts"), ("replace",)):
        assert "configmap/one" in await kubectl.ok(*arguments, "-f", "-", stdin=text)
    foreign = text.replace('"v1", "kind": "ConfigMap"', '"x/v1", "kind": "Foo"')
    refused = await kubectl("apply", "-f", "-", stdin=foreign)
    assert 'no matches for kind "Foo" in version "x/v1"' in refused.stderr


async def test_it_creates_by_command(kubectl: Kubectl) -> None:
    for words in (
        "deployment web --image=web:1 --replicas=0",
        "job once --image=web:1",
        "service clusterip web --tcp=80:8080",
        "quota few --hard=pods=9",
    ):
        assert "created" in await kubectl.ok("create", *words.split())
    cron = ("create", "cronjob", "tick", "--image=web:1", "--schedule=0 1 1 1 *")
    assert await kubectl.ok(*cron) == "cronjob.batch/tick created\n"
    assert (await kubectl.json("get", "deployment", "web"))["spec"]["replicas"] == 0
