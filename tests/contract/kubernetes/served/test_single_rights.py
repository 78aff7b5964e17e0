"""Each right to write of an installed server is taken from it by itself while it runs.

What needs it is told where people look, does not storm, and goes on when the right is given back.
"""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import pytest
from tests.contract.kubernetes.served.test_cluster_rights import NAMESPACE, SHOP, installed
from tests.support.cluster.workloads import manifest
from tests.support.faults.on_demand import on_demand
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.served_cluster import (
    AccountServer,
    account_kubeconfig,
    served,
    until,
)

from upwell.api.apps import CronJob, DaemonSet, Deployment, DeploymentConfig, StatefulSet
from upwell.api.builds.config import BuildConfig
from upwell.api.image import ImageStream
from upwell.api.meta import Kind, Resource
from upwell.api.pipeline import Freeze
from upwell.api.route import Route
from upwell.api.template import Template
from upwell.cli.install.files import yaml_of
from upwell.cli.install.manifests import Manifest
from upwell.oci import Digest

_NUMBERS = count(1)
_MOST_REQUESTS = 60
"""Refused requests of one right until it is told; those of Events are of all objects."""
_APPS, _BUILDS, _IMAGES = "apps.openshift.io", "build.openshift.io", "image.openshift.io"
_OWN = "upwell.dev"
_FOLLOWERS = ("deployment/web", "deploymentconfig.apps.openshift.io/app")
_TOLD_BY = (
    "routes.route.openshift.io,deploymentconfigs.apps.openshift.io,builds.build.openshift.io,"
    "pipelines.upwell.dev,promotions.upwell.dev,events"
)


@dataclass(frozen=True)
class Right:
    """A verb on a resource, and what makes the server need it."""

    group: str
    verb: str
    resource: str
    need: Callable[[KitCluster], object]
    in_log: bool = False
    """Told in the log alone: it is the right to tell of things."""

    def denied(self, text: str) -> int:
        """Return how often a text says that it is missing."""
        words = re.escape(f'cannot {self.verb} resource "{self.resource}"')
        return len(re.findall(words, text.replace("\\", "")))


def moved(cluster: KitCluster) -> None:
    """Give the tag another image: builds, rollouts, Releases."""
    digest = str(Digest.of(str(next(_NUMBERS)).encode()))
    spec = f"registry.test/app@{digest}"
    event = {"created": "2026-01-01T00:00:00Z", "dockerImageReference": spec, "image": digest}
    status = {"status": {"tags": [{"tag": "latest", "items": [event]}]}}
    stream = ("-n", SHOP, "patch", "imagestream.image.openshift.io/app", "--subresource=status")
    cluster.kubectl(*stream, "--type=merge", "-p", json.dumps(status))


def built_anew(cluster: KitCluster) -> None:
    """Let nothing but the next image keep a build from being made."""
    cluster.kubectl("-n", SHOP, "delete", "builds.build.openshift.io", "--all")
    moved(cluster)


def promoted_anew(cluster: KitCluster) -> None:
    """Free the stage: a Promotion there waits for a registry that is away."""
    cluster.kubectl("-n", SHOP, "delete", "promotions.upwell.dev", "--all")
    moved(cluster)


def patched(resource: str, spec: Callable[[str], dict[str, Any]]) -> Callable[[KitCluster], object]:
    """Return what changes the spec of `app`."""

    def change(cluster: KitCluster) -> None:
        patch = json.dumps({"spec": spec(str(next(_NUMBERS)))})
        cluster.kubectl("-n", SHOP, "patch", resource, "app", "--type=merge", "-p", patch)

    return change


def ingress_lost(cluster: KitCluster) -> None:
    cluster.kubectl("-n", SHOP, "delete", "ingress", "app", "--ignore-not-found")


def ingress_outdated(cluster: KitCluster) -> None:
    names = ("-n", SHOP, "get", "ingress", "-o", "name")
    until(lambda: cluster.kubectl(*names), bool)
    route_edited(cluster)


route_edited = patched("routes.route.openshift.io", lambda one: {"path": f"/{one}"})
reference_added = patched(
    "imagestreams.image.openshift.io",
    lambda one: {
        "tags": [
            {"name": one, "reference": True, "from": {"kind": "DockerImage", "name": f"b:{one}"}}
        ]
    },
)

RIGHTS = (
    Right(_BUILDS, "create", "builds", built_anew),
    Right(_BUILDS, "update", "builds/status", built_anew),
    Right(_BUILDS, "update", "buildconfigs/status", built_anew),
    Right("apps", "patch", "deployments", moved),
    Right("apps", "patch", "statefulsets", moved),
    Right("apps", "patch", "daemonsets", moved),
    Right("batch", "patch", "cronjobs", moved),
    Right(_OWN, "create", "releases", moved),
    Right(_OWN, "update", "releases/status", moved),
    Right(_OWN, "create", "promotions", promoted_anew),
    Right(_OWN, "update", "promotions/status", promoted_anew),
    Right(_OWN, "update", "pipelines/status", moved),
    Right(_APPS, "update", "deploymentconfigs", moved),
    Right(_APPS, "update", "deploymentconfigs/status", moved),
    Right("", "create", "replicationcontrollers", moved),
    Right("", "update", "replicationcontrollers", moved),
    Right("", "delete", "replicationcontrollers", moved),
    Right("", "create", "events", built_anew, in_log=True),
    Right("networking.k8s.io", "create", "ingresses", ingress_lost),
    Right("networking.k8s.io", "update", "ingresses", ingress_outdated),
    Right("route.openshift.io", "update", "routes/status", route_edited),
    Right(_IMAGES, "update", "imagestreams/status", reference_added),
)


def objects() -> list[dict[str, Any]]:
    """Return what makes the server write: all follow one tag, and nothing waits for a node."""
    container = {"name": "app", "image": "registry.test/app:1"}
    template = {"metadata": {"labels": {"app": "dc"}}, "spec": {"containers": [container]}}
    tag = {"kind": "ImageStreamTag", "name": "app:latest"}
    follows = {"automatic": True, "containerNames": ["app"], "from": tag}
    docker = {"type": "Docker", "dockerStrategy": {"from": tag}}
    build = {"source": {"dockerfile": "FROM app"}, "strategy": docker}
    route = {"host": "web.test", "to": {"kind": "Service", "name": "app"}}
    stage = {"name": "dev", "workloads": [{"name": "staged"}]}
    rolled = {
        "replicas": 0,
        "revisionHistoryLimit": 1,
        "selector": {"app": "dc"},
        "template": template,
        "triggers": [
            {"type": "ConfigChange"},
            {"type": "ImageChange", "imageChangeParams": follows},
        ],
    }
    made = [
        ("networking.k8s.io/v1", "IngressClass", {"controller": "router.test/x"}),
        ("image.openshift.io/v1", "ImageStream", {}),
        ("v1", "Service", {"selector": {"app": "web"}, "ports": [{"port": 80}]}),
        ("route.openshift.io/v1", "Route", route),
        ("build.openshift.io/v1", "BuildConfig", build | {"triggers": [{"type": "ImageChange"}]}),
        ("apps.openshift.io/v1", "DeploymentConfig", rolled),
        (
            "upwell.dev/v1alpha1",
            "Pipeline",
            {"components": [{"name": "app", "from": tag}], "stages": [stage]},
        ),
    ]
    followers = [manifest(kind) for kind in (Deployment, StatefulSet, DaemonSet, CronJob)]
    followers[3]["apiVersion"] = "batch/v1beta1"  # before Kubernetes 1.21
    staged = manifest(Deployment, "staged")
    del staged["metadata"]["annotations"]
    for one in (*followers[:2], staged):
        one["spec"]["replicas"] = 0
    placed = {"namespace": SHOP}
    named = [
        {"apiVersion": version, "kind": kind, "spec": spec}
        | {"metadata": {"name": "app", **({} if kind == "IngressClass" else placed)}}
        for version, kind, spec in made
    ]
    return [*named, *followers, staged]


def without(right: Right, role: Manifest) -> Manifest:
    """Return a role without a right."""
    rules: list[dict[str, Any]] = []
    for rule in role["rules"]:
        if right.group in rule["apiGroups"] and right.resource in rule["resources"]:
            others = [one for one in rule["resources"] if one != right.resource]
            verbs = [one for one in rule["verbs"] if one != right.verb]
            rules += [{**rule, "resources": others}] if others else []
            rules += [{**rule, "resources": [right.resource], "verbs": verbs}] if verbs else []
        else:
            rules.append(rule)
    return {**role, "rules": rules}


@contextmanager
def taken(cluster: KitCluster, right: Right) -> Iterator[None]:
    """Take a right from the server for the block; it has to have it."""
    roles = [one for one in installed() if one["kind"] in {"ClusterRole", "Role"}]
    fewer = [(one, without(right, one)) for one in roles]
    changed = [(old, new) for old, new in fewer if old["rules"] != new["rules"]]
    assert changed, "no role has it"
    cluster.kubectl("replace", "-f", "-", given=yaml_of([new for _, new in changed]))
    try:
        yield
    finally:
        cluster.kubectl("replace", "-f", "-", given=yaml_of([old for old, _ in changed]))


@pytest.fixture(scope="module")
def server(
    cluster: KitCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AccountServer]:
    folder = tmp_path_factory.mktemp("single-rights")
    cluster.kubectl("apply", "-f", "-", given=yaml_of(installed()))
    cluster.kubectl("apply", "-f", "-", given=yaml_of(objects()))
    with served(account_kubeconfig(cluster, NAMESPACE, folder), folder) as running:
        until(running.readiness, lambda seen: "readyz check passed" in seen)
        moved(cluster)
        releases = ("-n", SHOP, "get", "releases.upwell.dev", "-o", "name")
        until(lambda: cluster.kubectl(*releases), bool)
        yield running
    cluster.kubectl("delete", "ingressclass", "app", "--ignore-not-found")
    kept = {("Namespace", "upwell-system")}
    gone = [one for one in installed() if (one["kind"], one["metadata"]["name"]) not in kept]
    cluster.kubectl("delete", "--wait=false", "-f", "-", given=yaml_of(gone))


@on_demand(
    "tests/contract/kubernetes/served/test_cluster_rights.py"
    "::test_each_right_to_write_is_named_where_it_lacks_and_used_when_it_is_given"
)
@pytest.mark.parametrize("right", RIGHTS, ids=lambda one: f"{one.verb}-{one.resource}")
def test_a_right_that_goes_while_the_server_runs_is_told_and_used_when_it_is_back(
    server: AccountServer, cluster: KitCluster, right: Right
) -> None:
    log = server.folder / "log"
    since = len(log.read_text())

    def requests() -> int:
        return right.denied(log.read_text()[since:])

    def told() -> int:
        text = cluster.kubectl("-n", SHOP, "get", _TOLD_BY, "-o", "json")
        return requests() if right.in_log else right.denied(text)

    with taken(cluster, right):
        right.need(cluster)
        until(told, bool)
        assert right.in_log or requests() <= _MOST_REQUESTS
    seen = until(server.readiness, lambda text: "readyz check passed" in text)
    assert "[+]role: leader" in seen

    moved(cluster)
    latest = 'jsonpath={.status.tags[?(@.tag=="latest")].items[0].dockerImageReference}'
    tag = ("-n", SHOP, "get", "imagestream.image.openshift.io/app", "-o", latest)
    template = "jsonpath={.spec.template.spec.containers[0].image}"

    def behind() -> list[str]:
        wanted = cluster.kubectl(*tag)
        images = {
            one: cluster.kubectl("-n", SHOP, "get", one, "-o", template) for one in _FOLLOWERS
        }
        return [name for name, found in images.items() if found != wanted]

    until(behind, lambda names: not names)


@on_demand(
    "tests/contract/kubernetes/served/test_cluster_rights.py"
    "::test_each_right_to_write_is_named_where_it_lacks_and_used_when_it_is_given"
)
def test_a_leader_that_may_not_renew_its_lease_says_so_and_leads_again(
    server: AccountServer, cluster: KitCluster
) -> None:
    right = Right("coordination.k8s.io", "update", "leases", moved)

    def stands_down(seen: str) -> bool:
        return "[-]leader-election" in seen and bool(right.denied(seen))

    until(server.readiness, lambda seen: "[+]role: leader" in seen)
    with taken(cluster, right):
        seen = until(server.readiness, stands_down)
        assert "grant update leases.coordination.k8s.io in namespace" in seen
        assert "[+]role: leader" not in seen
    until(server.readiness, lambda seen: "[+]role: leader" in seen and "check passed" in seen)


_ASKED: dict[str, tuple[type[Resource], dict[str, Any]]] = {
    "imagestreams": (ImageStream, {"spec": {}}),
    "buildconfigs": (
        BuildConfig,
        {"spec": {"strategy": {"dockerStrategy": {}}, "source": {"dockerfile": "FROM a"}}},
    ),
    "deploymentconfigs": (
        DeploymentConfig,
        {
            "spec": {
                "replicas": 0,
                "selector": {"app": "asked"},
                "template": {
                    "metadata": {"labels": {"app": "asked"}},
                    "spec": {"containers": [{"name": "app", "image": "registry.test/app:1"}]},
                },
            }
        },
    ),
    "routes": (Route, {"spec": {"host": "asked.test", "to": {"kind": "Service", "name": "a"}}}),
    "templates": (Template, {"objects": []}),
    "freezes": (Freeze, {"spec": {"reason": "asked"}}),
}
"""Objects that a person asks the server for, by resource; others are written by the same way."""


def asked(
    server: AccountServer, method: str, kind: Kind, body: dict[str, Any] | None = None
) -> tuple[int, str]:
    """Ask the server's API for the object `asked`, as its own user; return code and answer."""
    place = f"namespaces/{SHOP}/{kind.plural}" if kind.namespaced else kind.plural
    path = f"/apis/{kind.api_version}/{place}" + ("" if method == "POST" else "/asked")
    token = (server.folder / "data" / "admin.token").read_text().strip()
    sent = "application/merge-patch+json" if method == "PATCH" else "application/json"
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}{path}",
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": sent},
        method=method,
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@on_demand(
    "tests/contract/kubernetes/served/test_cluster_rights.py"
    "::test_each_right_to_write_is_named_where_it_lacks_and_used_when_it_is_given"
)
@pytest.mark.parametrize("resource", _ASKED)
def test_who_asks_for_what_the_server_may_not_write_is_told(
    server: AccountServer, cluster: KitCluster, resource: str
) -> None:
    model, content = _ASKED[resource]
    kind = model.KIND
    metadata = {"name": "asked", **({"namespace": SHOP} if kind.namespaced else {})}
    made = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **content}
    edited = {"metadata": {"labels": {"asked": "yes"}}}
    for verb, method, body in (
        ("create", "POST", made),
        ("update", "PATCH", edited),
        ("delete", "DELETE", None),
    ):
        right = Right(kind.group, verb, resource, moved)
        with taken(cluster, right):
            code, answer = asked(server, method, kind, body)
            assert code == 403, answer
            assert right.denied(answer)
        until(partial(asked, server, method, kind, body), lambda found: found[0] < 400)
