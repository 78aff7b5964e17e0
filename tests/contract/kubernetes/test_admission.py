"""Writes past Upwell's API, on a real API server that asks a running `upwell serve`."""

import base64
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.cli.command_process import start_upwell
from tests.support.cluster.workloads import PLACEHOLDER, manifest
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.served_cluster import until
from tests.support.ports import free_port
from tests.support.second_tries import is_tried_again

from upwell.api.apps import TRIGGERS_ANNOTATION, Deployment
from upwell.api.schemas.webhooks import webhook_configurations
from upwell.cli.install.files import yaml_of
from upwell.cli.install.installation import ClusterInstallation
from upwell.cli.install.manifests import manifests

SYSTEM, A, B = "adm-upwell", "adm-a", "adm-b"
_START_SECONDS = 90.0
_RIGHTS = ("rights", "rights-objects", "rights-workloads")
_ANN = [
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
class ServedCluster:
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
        self.give(A, "ann", *_ANN)


@pytest.fixture
def served(serving: ServedCluster, request: pytest.FixtureRequest) -> ServedCluster:
    """Give the cluster of all tests here, without what a failed try of this one has left."""
    if is_tried_again(request):
        serving.forget()
    return serving


@pytest.fixture(scope="module")
def serving(
    cluster: KitCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServedCluster]:
    """Install Upwell's rights, run it beside the cluster, and have the cluster ask it."""
    folder, port, asked = tmp_path_factory.mktemp("upwell"), free_port(), free_port()
    installation = ClusterInstallation(namespace=SYSTEM)
    parts = manifests(installation)
    objects = [one for part in _RIGHTS for one in parts[part]]
    names = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n}} for n in (SYSTEM, A, B)
    ]
    hooks = webhook_configurations(lambda path: {"url": f"https://127.0.0.1:{asked}{path}"})
    cluster.until_gone(SYSTEM, A, B)
    cluster.kubectl("apply", "--server-side", "-f", "-", given=yaml_of([*names, *objects]))
    (folder / "kubeconfig").write_text(_kubeconfig(cluster))
    (folder / "upwell.toml").write_text(
        f'on = "kubernetes"\n[kubernetes]\nadmission-port = {asked}\n'
        f'lease-namespace = "{SYSTEM}"\nnamespaces = ["{A}", "{B}"]\n'
    )
    with (folder / "serve.log").open("ab") as log:
        server = start_upwell(
            *("serve", "--config", str(folder / "upwell.toml")),
            *("--kubeconfig", str(folder / "kubeconfig"), "--data-dir", str(folder / "data")),
            *("--listen", f"127.0.0.1:{port}", "--tls"),
            output=log,
            folder=folder,
            environment=dict(os.environ),
        )
    there = ServedCluster(cluster)
    try:
        cluster.kubectl("apply", "--server-side", "-f", "-", given=yaml_of(hooks))
        there.give(A, "ann", *_ANN)
        _until_in_force(there, folder / "serve.log")
        yield there
    finally:
        there.kubectl("delete", *_deleted(hooks))
        server.send_signal(signal.SIGTERM)
        server.wait(60)
        there.kubectl("delete", "namespace", SYSTEM, A, B, "--wait=false")
        there.kubectl("delete", "-f", "-", given=yaml_of(objects))


def _deleted(objects: tuple[dict[str, Any], ...]) -> list[str]:
    return [f"{one['kind']}/{one['metadata']['name']}" for one in objects]


def _kubeconfig(cluster: KitCluster) -> str:
    """Return the access of Upwell's account, by its token."""
    secret = cluster.kubectl(
        *("-n", SYSTEM, "get", "serviceaccount", "upwell", "-o", "jsonpath={.secrets[0].name}")
    )
    token = cluster.kubectl("-n", SYSTEM, "get", "secret", secret, "-o", "jsonpath={.data.token}")
    user = {"token": base64.b64decode(token).decode()}
    entry = {"server": cluster.base_url, "certificate-authority": cluster.ca}
    return yaml.safe_dump(
        {
            "clusters": [{"name": "kit", "cluster": entry}],
            "users": [{"name": "upwell", "user": user}],
            "contexts": [{"name": "kit", "context": {"cluster": "kit", "user": "upwell"}}],
            "current-context": "kit",
        }
    )


def _until_in_force(served: ServedCluster, log: Path) -> None:
    """Wait until a write is answered: the cluster trusts the webhook then."""
    deadline = time.monotonic() + _START_SECONDS
    while "created" not in (said := served.apply(build_config("first"))):
        assert time.monotonic() < deadline, f"{said}\n{log.read_text()[-3000:]}"


def _until_refused(served: ServedCluster, objects: list[dict[str, Any]], words: str) -> None:
    """Wait until each object is refused with these words: RBAC has what was just given by then."""

    def refused() -> bool:
        if served.apply(*objects).count(words) == len(objects):
            return True
        # Of what is there, and as it is, the cluster is not asked again.
        served.kubectl("-n", A, "delete", "-f", "-", given=yaml_of(objects))
        return False

    until(refused, bool)


def build_config(name: str, namespace: str = A, **spec: Any) -> dict[str, Any]:
    base = {"kind": "ImageStreamTag", "name": "base:1", "namespace": namespace}
    return {
        "apiVersion": "build.openshift.io/v1",
        "kind": "BuildConfig",
        "metadata": {"name": name, "namespace": A},
        "spec": {
            "source": {"type": "Git", "git": {"uri": "https://git.test/app.git"}},
            "strategy": {"type": "Docker", "dockerStrategy": {"from": base}},
            **spec,
        },
    }


def pipeline(name: str, namespace: str = B, **stage: Any) -> dict[str, Any]:
    workload = {"kind": "Deployment", "name": "web", "images": {"web": "app"}}
    return {
        "apiVersion": "upwell.dev/v1alpha1",
        "kind": "Pipeline",
        "metadata": {"name": name, "namespace": A},
        "spec": {
            "components": [{"name": "app", "from": {"kind": "ImageStreamTag", "name": "app:1"}}],
            "stages": [{"name": "live", "namespace": namespace, "workloads": [workload], **stage}],
        },
    }


def job_with(container: dict[str, Any] | None = None, **pod: Any) -> dict[str, Any]:
    containers = [{"name": "t", "image": "t", **(container or {})}]
    template = {"spec": {"containers": containers, "restartPolicy": "Never", **pod}}
    return {"verification": {"checks": [{"name": "t", "job": {"template": template}}]}}


def job_with_secret() -> dict[str, Any]:
    return job_with({"envFrom": [{"secretRef": {"name": "login"}}]})


def deployment_config(
    name: str,
    strategy: dict[str, Any] | None = None,
    container: dict[str, Any] | None = None,
    **pod: Any,
) -> dict[str, Any]:
    containers = [{"name": "web", "image": "web:1", **(container or {})}]
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers, **pod}}
    return {
        "apiVersion": "apps.openshift.io/v1",
        "kind": "DeploymentConfig",
        "metadata": {"name": name, "namespace": A},
        "spec": {
            "replicas": 0,
            "selector": {"app": name},
            "strategy": strategy or {"type": "Rolling"},
            "template": template,
        },
    }


@pytest.mark.parametrize(
    ("wanted", "lacking", "rule"),
    [
        (
            pipeline("sets"),
            "patch deployments in namespace adm-b",
            {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["patch"]},
        ),
        (
            build_config("takes", B),
            "get imagestreams in namespace adm-b",
            {"apiGroups": ["image.openshift.io"], "resources": ["imagestreams"], "verbs": ["get"]},
        ),
        (
            pipeline("uses", **job_with_secret()),
            "use secrets in namespace adm-b",
            {
                "apiGroups": ["", "batch"],
                "resources": ["secrets", "jobs"],
                "verbs": ["get", "create"],
            },
        ),
    ],
    ids=["stage", "stream", "secret"],
)
def test_another_namespace_takes_the_right_that_its_rbac_gives(
    served: ServedCluster, wanted: dict[str, Any], lacking: str, rule: dict[str, Any]
) -> None:
    if wanted["metadata"]["name"] == "uses":
        served.give(B, "ann", {"apiGroups": ["apps", "batch"], "resources": ["*"], "verbs": ["*"]})
    else:
        served.kubectl("-n", B, "delete", "rolebinding", "given-ann")
    deadline = time.monotonic() + 60
    kind, name = wanted["kind"].lower(), wanted["metadata"]["name"]
    while lacking not in (said := served.apply(wanted)):
        # What was given before is good for seconds; of what is there, the cluster is not asked.
        served.kubectl("-n", A, "delete", f"{kind}/{name}")
        assert time.monotonic() < deadline, said
    assert "denied the request: user ann may not write" in said

    both = {"apiGroups": ["apps", "batch"], "resources": ["*"], "verbs": ["*"]}
    served.give(B, "ann", rule, *([both] if "jobs" in rule["resources"] else []))
    try:
        while "created" not in (said := served.apply(wanted)):
            assert time.monotonic() < deadline, said
        author = served.annotations(f"{kind}/{name}")["upwell.dev/author"]
        assert author == "system:cluster-user:ann"
    finally:
        served.kubectl("-n", A, "delete", f"{kind}/{name}")  # a workload has one Pipeline


def test_an_author_is_who_writes_whatever_the_object_says(served: ServedCluster) -> None:
    forged = build_config("forged")
    forged["metadata"]["annotations"] = {
        "upwell.dev/author": "system:admin",
        "upwell.dev/author-groups": "system:masters",
    }
    assert "created" in served.apply(forged)
    kept = served.annotations("buildconfig/forged")
    assert kept["upwell.dev/author"] == "system:cluster-user:ann"
    assert kept["upwell.dev/author-groups"] == "system:authenticated"
    assert kept["upwell.dev/admission"]

    patch = json.dumps({"metadata": {"annotations": {"upwell.dev/author": "system:admin"}}})
    served.kubectl("-n", A, "patch", "buildconfig/forged", "--type=merge", "-p", patch, user="ann")
    again = served.annotations("buildconfig/forged")
    assert again["upwell.dev/author"] == "system:cluster-user:ann"


def test_nobody_gets_by_an_object_what_they_may_not_do_themselves(served: ServedCluster) -> None:
    """Those who may write Upwell's kinds alone reach no account, Secret or part of a node."""
    configs = {"apiGroups": ["apps.openshift.io"], "resources": ["*"], "verbs": ["*"]}
    served.give(A, "ann", *_ANN, configs)
    hook: dict[str, Any] = {
        "env": [{"name": "K", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}}]
    }
    hook |= {"command": ["x"], "containerName": "web"}
    pre = {"pre": {"failurePolicy": "Abort", "execNewPod": hook}}
    path: Any = {"volumes": [{"name": "node", "hostPath": {"path": "/"}}]}
    privileged = {"securityContext": {"privileged": True}}
    on_node = build_config("on-node")
    on_node["metadata"]["annotations"] = {"upwell.dev/host-network": "true"}
    wanted: dict[str, list[dict[str, Any]]] = {
        "use serviceaccounts": [
            build_config("as-robot", serviceAccount="robot"),
            deployment_config("as-robot", serviceAccountName="robot"),
            deployment_config("as-other-robot", serviceAccount="robot"),
            pipeline("as-robot", A, **job_with(serviceAccountName="robot")),
        ],
        "use secrets": [
            build_config("key", output={"pushSecret": {"name": "key"}}),
            deployment_config("hook-key", {"type": "Rolling", "rollingParams": pre}),
            pipeline("key", A, **job_with_secret()),
        ],
        "use hostpaths": [
            deployment_config("node", **path),
            pipeline("node", A, **job_with(**path)),
        ],
        "use hostnetwork": [on_node],
        "use privileged": [deployment_config("root", container=privileged)],
    }
    for right, objects in wanted.items():
        _until_refused(served, objects, f"{right} in namespace {A}")
    served.give(A, "ann", *_ANN, {"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]})
    deadline = time.monotonic() + 60
    while "created" not in (said := served.apply(wanted["use serviceaccounts"][0])):
        assert time.monotonic() < deadline, said


def test_a_status_is_upwells_alone(served: ServedCluster) -> None:
    assert "created" in served.apply(pipeline("approved", A, approval={"required": 1}))
    status = json.dumps({"status": {"stages": [{"name": "live"}]}})
    patch = ("patch", "pipeline/approved", "--subresource=status", "--type=merge", "-p", status)
    for user in ("ann", ""):  # not even an administrator's
        said = served.kubectl("-n", A, *patch, user=user)
        assert "Upwell alone does" in said, said
    said = served.kubectl("-n", A, "delete", "pipeline/approved", user="ann")
    assert "create pipelines/override" in said


def test_faults_are_told_with_their_paths(served: ServedCluster) -> None:
    wrong = pipeline("wrong", A)
    wrong["spec"]["stages"][0]["name"] = "LIVE!"
    assert "spec.stages[0].name" in served.apply(wrong)


def test_a_workload_gets_images_of_another_namespace_that_its_own_may_have(
    served: ServedCluster,
) -> None:
    """The author of its annotation is unknown, and not the administrator."""
    own = f"system:serviceaccount:{SYSTEM}:upwell"
    stream = {
        "metadata": {"namespace": B, "name": "app"},
        **_kind("image.openshift.io/v1", "ImageStream"),
    }
    image = f"registry.test/app@sha256:{'a' * 64}"
    event = {
        "created": "2026-01-01T00:00:00Z",
        "dockerImageReference": image,
        "image": image.partition("@")[2],
    }
    served.apply(stream, user=own)
    made = json.loads(served.kubectl("-n", B, "get", "imagestream/app", "-o", "json"))
    made["status"] = {"tags": [{"tag": "latest", "items": [event]}]}
    replace = ("replace", "--subresource=status", "-f", "-")
    said = served.kubectl("-n", B, *replace, user=own, given=json.dumps(made))
    assert "replaced" in said, said

    web = manifest(Deployment, "follower", namespace=A)
    trigger = json.loads(web["metadata"]["annotations"][TRIGGERS_ANNOTATION])[0]
    trigger["from"]["namespace"] = B
    web["metadata"]["annotations"][TRIGGERS_ANNOTATION] = json.dumps([trigger])
    assert "created" in served.apply(web)
    path = "jsonpath={.spec.template.spec.containers[0].image}"
    deadline = time.monotonic() + _START_SECONDS
    while "MissingRight" not in (said := served.kubectl("-n", A, "get", "events")):
        assert time.monotonic() < deadline, said
    assert f"system:serviceaccounts:{A}" in said
    assert served.kubectl("-n", A, "get", "deployment/follower", "-o", path) == PLACEHOLDER

    rule = {"apiGroups": ["image.openshift.io"], "resources": ["imagestreams"], "verbs": ["get"]}
    served.give(B, f"system:serviceaccounts:{A}", rule)
    while served.kubectl("-n", A, "get", "deployment/follower", "-o", path) != image:
        # A change is asked about at once; without one, that is in half a minute.
        touched = f"touched={time.monotonic()}"
        served.kubectl("-n", A, "annotate", "deployment/follower", touched, "--overwrite")
        assert time.monotonic() < deadline, served.kubectl("-n", A, "get", "events")


def _kind(api: str, kind: str) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind}
