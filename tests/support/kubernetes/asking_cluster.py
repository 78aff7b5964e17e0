"""A Kubernetes cluster that asks a running `upwell serve` about writes past Upwell's API."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.served_cluster import account_kubeconfig, served
from tests.support.kubernetes.written_objects import A, B, build_config
from tests.support.ports import free_port

from upwell.api.schemas.webhooks import webhook_configurations
from upwell.cli.install.files import yaml_of
from upwell.cli.install.installation import ClusterInstallation
from upwell.cli.install.manifests import manifests

SYSTEM = "adm-upwell"
_SECONDS = 90.0
_RIGHTS = ("rights", "rights-objects", "rights-workloads")
ANN = [
    {
        "apiGroups": ["build.openshift.io", "upwell.dev"],
        "resources": ["buildconfigs", "pipelines", "pipelines/status"],
        "verbs": ["get", "create", "update", "patch", "delete"],
    },
    {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["*"]},
]
"""Every right of Upwell's kinds in one namespace, those of their statuses too."""
_GIVEN = {"test": "given"}
_WRITTEN = (
    "buildconfigs.build.openshift.io,deploymentconfigs.apps.openshift.io,pipelines.upwell.dev,"
    "deployments.apps,events"
)


@dataclass
class AskingCluster:
    """A cluster that asks an Upwell about writes."""

    cluster: KitCluster

    def apply(self, *objects: dict[str, Any], user: str = "ann") -> str:
        """Create or change objects as a user; return what kubectl says."""
        return self.kubectl("apply", "-f", "-", user=user, given=yaml_of(objects))

    def kubectl(self, *words: str, user: str = "", given: str = "") -> str:
        identity = ["--as", user, "--as-group", "system:authenticated"] if user else []
        done = subprocess.run(
            ["kubectl", "--kubeconfig", str(self.cluster.kubeconfig), *identity, *words],
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    def annotations(self, what: str) -> dict[str, str]:
        found = json.loads(self.kubectl("-n", A, "get", what, "-o", "json"))
        return dict(found["metadata"].get("annotations") or {})

    def give(self, namespace: str, subject: str, *rules: dict[str, Any]) -> None:
        """Give a user, or a group if it has a colon, rights in a namespace."""
        name = f"given-{subject.replace(':', '-')}"
        kind = "Group" if ":" in subject else "User"
        meta = {"name": name, "namespace": namespace, "labels": _GIVEN}
        api = "rbac.authorization.k8s.io"
        role = {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": meta, "rules": list(rules)}
        bound = {
            "apiVersion": f"{api}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": api, "kind": "Role", "name": name},
            "subjects": [{"apiGroup": api, "kind": kind, "name": subject}],
        }
        self.cluster.kubectl("apply", "-f", "-", given=yaml_of([role, bound]))

    def forget(self) -> None:
        """Delete what tests have written, and take what they have given."""
        self.cluster.kubectl("-n", A, "delete", _WRITTEN, "--all")
        for namespace in (A, B):
            given = ("roles,rolebindings", "-l", "test=given")
            self.cluster.kubectl("-n", namespace, "delete", *given)
        self.give(A, "ann", *ANN)


@contextmanager
def asking_cluster(cluster: KitCluster, folder: Path) -> Iterator[AskingCluster]:
    """Install Upwell's rights, run it beside the cluster, and have the cluster ask it."""
    asked = free_port()
    parts = manifests(ClusterInstallation(namespace=SYSTEM))
    objects = [one for part in _RIGHTS for one in parts[part]]
    names = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n}} for n in (SYSTEM, A, B)
    ]
    hooks = webhook_configurations(lambda path: {"url": f"https://127.0.0.1:{asked}{path}"})
    (folder / "upwell.toml").write_text(
        f"[kubernetes]\nadmission-port = {asked}\n"
        f'lease-namespace = "{SYSTEM}"\nnamespaces = ["{A}", "{B}"]\n'
    )
    there = AskingCluster(cluster)
    cluster.until_gone(SYSTEM, A, B)
    cluster.kubectl("apply", "--server-side", "-f", "-", given=yaml_of([*names, *objects]))
    try:
        kubeconfig = account_kubeconfig(cluster, SYSTEM, folder)
        with served(kubeconfig, folder, f"--config={folder / 'upwell.toml'}", "--tls"):
            try:
                cluster.kubectl("apply", "--server-side", "-f", "-", given=yaml_of(hooks))
                there.give(A, "ann", *ANN)
                _until_in_force(there, folder / "log")
                yield there
            finally:
                there.kubectl("delete", *_named(hooks))
    finally:
        there.kubectl("delete", "namespace", SYSTEM, A, B, "--wait=false")
        there.kubectl("delete", "-f", "-", given=yaml_of(objects))


def _named(objects: tuple[dict[str, Any], ...]) -> list[str]:
    return [f"{one['kind']}/{one['metadata']['name']}" for one in objects]


def _until_in_force(asking: AskingCluster, log: Path) -> None:
    """Wait until a write is answered: the cluster trusts the webhook then."""
    deadline = time.monotonic() + _SECONDS
    while "created" not in (said := asking.apply(build_config("first"))):
        assert time.monotonic() < deadline, f"{said}\n{log.read_text()[-3000:]}"
