"""`upwell doctor --security` beside a server that runs: what it holds is looked at, live."""

import json
from collections.abc import Mapping, Sequence

import aiohttp
from tests.support.installation.installation import Installation, installation

from upwell.api.core import Namespace
from upwell.api.meta import ObjectMeta

CONFIGURATION = """
[builds]
host-network = true

[quota]
namespace = ["pods=50"]

[encryption]
keys = ["file:{key}"]
[workloads]
image-pull-verification = "always"
"""
MANIFESTS = """
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: "0 3 * * *"
  suspend: true
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers:
          - {name: job, image: "example.com/job:1", securityContext: {privileged: true}}
---
apiVersion: upwell.dev/v1alpha1
kind: Pipeline
metadata: {name: shop}
spec:
  components: [{name: shop, from: {kind: ImageStreamTag, name: "shop:latest"}}]
  stages:
  - {name: dev, workloads: [{kind: Deployment, name: shop}]}
  - name: production
    workloads: [{kind: Deployment, name: web}]
    approval: {fourEyes: false}
"""


def prepare(made: Installation) -> None:
    """Give the server a configuration file, with a key beside its data folder."""
    key = made.folder / "encryption.key"
    assert made.upwell("encryption", "new-key", str(key)).returncode == 0
    file = made.folder / "upwell.toml"
    file.write_text(CONFIGURATION.format(key=key))
    made.options = ("--config", str(file))


def looked(made: Installation) -> tuple[int, Mapping[str, Sequence[str]]]:
    """Return the exit code, and the objects with a flaw by check."""
    done = made.upwell("doctor", "--security", "--data-dir", str(made.data_dir), "-o", "json")
    assert not done.stderr
    found: dict[str, list[str]] = {}
    for check in json.loads(done.stdout)["checks"]:
        objects = found.setdefault(check["name"], [])
        if check["status"] != "ok":
            objects.append(check["object"])
    return done.returncode, found


async def test_what_runs_is_looked_at() -> None:
    async with installation(prepare=prepare) as made:
        code, found = looked(made)
        assert code == 0
        flaws = {name: objects for name, objects in found.items() if objects}
        # Of this configuration, and nothing else.
        assert flaws == {
            "local-admin": ["[server] local-admin"],
            "build-network": ["[builds] host-network"],
            "audit-export": ["[audit] export"],
            "encryption-key": [str(made.folder / "encryption.key")],
            "image-policies": ["clusterimagepolicies"],
        }

        await leave_flaws(made)
        code, found = looked(made)
        assert code == 1
        token = str(made.data_dir / "admin.token")
        assert {name: objects for name, objects in found.items() if objects} == {
            **flaws,
            "private-files": [token],
            "admin-over-tcp": [token],
            "token-ends": ["token/ops"],
            "token-roles": ["token/ops"],
            "pod-security": ["namespace/open"],
            "host-access": ["cronjob/nightly in namespace default"],
            "four-eyes": ["pipeline/shop in namespace default"],
        }

        made.kill()
        code, found = looked(made)
        assert (code, found["server"]) == (1, [str(made.data_dir)])
        assert "tls" not in found
        await made.start()


async def leave_flaws(made: Installation) -> None:
    """Leave one flaw of each kind that needs no restart."""
    done = made.upwell("token", "create", "ops", "--grant", "admin@*", "--never")
    assert done.returncode == 0, done.stderr
    async with made.client() as client:
        labels = {"pod-security.kubernetes.io/enforce": "privileged"}
        await client.create(Namespace(metadata=ObjectMeta(name="open", labels=labels)))
        await made.apply(client, MANIFESTS)
    headers = {"Authorization": f"Bearer {made.token}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        url = f"{made.url}/api/v1/namespaces/upwell-system/secrets"
        async with session.get(url) as answer:
            assert answer.status == 200
    (made.data_dir / "admin.token").chmod(0o644)
