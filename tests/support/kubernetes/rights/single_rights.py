"""The rights to write of an installed server, and what makes it need each of them.

What is not among RIGHTS and ASKED is in BESIDE, with the reason.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from tests.support.cluster.workloads import manifest
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.served_cluster import until
from tests.support.registry.signed_images import CosignKey

from upwell.api.apps import CronJob, DaemonSet, Deployment, DeploymentConfig, StatefulSet
from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.clusters.cluster import Cluster
from upwell.api.coordination.replicas import KEYS_SECRET
from upwell.api.image import Image, ImageStream
from upwell.api.image_policies.policy import ClusterImagePolicy, ImagePolicy
from upwell.api.meta import Resource
from upwell.api.pipeline import Freeze, Pipeline, Quarantine
from upwell.api.promotion import Promotion, Release
from upwell.api.route import Route
from upwell.api.subscription import Subscription
from upwell.api.template import Template
from upwell.api.waves.wave import Wave
from upwell.cli.install.manifests import Manifest
from upwell.oci import Digest

SERVER = "upwell-rights"
"""Namespace of the server."""
SHOP = "rights-shop"
"""Namespace of the workloads."""
_NUMBERS = count(1)
MOST_REQUESTS = 60
"""Refused requests of one right until it is told; those of Events are of all objects."""
_APPS, _BUILDS, _IMAGES = "apps.openshift.io", "build.openshift.io", "image.openshift.io"
_OWN, _CONFIG = "upwell.dev", "config.openshift.io"
_DIGEST = f"sha256:{'a' * 64}"
_TAG = {"kind": "ImageStreamTag", "name": "asked:1"}
_STAGE = {"name": "dev", "workloads": [{"name": "asked"}]}
_RELEASED = {"name": "app", "image": f"registry.test/app@{_DIGEST}"}
_SIGNED = CosignKey().spec("registry.test/asked").model_dump(mode="json", by_alias=True)
_HOOK = {"webhook": {"url": "https://ci.test/hook"}}
_ACCESS = {"kubeConfig": {"secretRef": {"namespace": SHOP, "name": "asked"}}}
FOLLOWERS = ("deployment/web", "deploymentconfig.apps.openshift.io/app")
TOLD_BY = (
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
    role: str = ""
    """Role that gives it; empty: whichever do."""
    name: str = ""
    """Object for which it is given; empty: whatever it is given for."""

    def is_in(self, role: str, rule: Mapping[str, Any]) -> bool:
        """Return True if a rule of a role gives it."""
        names = rule.get("resourceNames", ())
        return (
            self.role in {"", role}
            and (not self.name or self.name in names)
            and self.group in rule["apiGroups"]
            and self.resource in rule["resources"]
            and self.verb in rule["verbs"]
        )

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


def applied(kind: type[Resource], spec: dict[str, Any]) -> Callable[[KitCluster], object]:
    """Return what makes `walked` of a kind anew."""

    def change(cluster: KitCluster) -> None:
        metadata = {"name": "walked", **({"namespace": SHOP} if kind.KIND.namespaced else {})}
        made = {"apiVersion": kind.KIND.api_version, "kind": kind.KIND.kind, "metadata": metadata}
        where = (f"{kind.KIND.plural}.{kind.KIND.group}", "walked", "-n", SHOP)
        cluster.kubectl("delete", *where, "--ignore-not-found")
        cluster.kubectl("create", "-f", "-", given=json.dumps({**made, "spec": spec}))

    return change


def operator_lost(cluster: KitCluster) -> None:
    cluster.kubectl("delete", "clusteroperator", "admission", "--ignore-not-found")


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
    Right(_OWN, "update", "subscriptions/status", applied(Subscription, _HOOK), in_log=True),
    Right(_OWN, "update", "clusters/status", applied(Cluster, _ACCESS), in_log=True),
    Right(_CONFIG, "create", "clusteroperators", operator_lost, in_log=True),
    Right(_CONFIG, "update", "clusteroperators/status", operator_lost, in_log=True),
)


def lease_lost(cluster: KitCluster) -> None:
    cluster.kubectl("-n", SERVER, "delete", "lease", "upwell", "--ignore-not-found")


def keys_lost(cluster: KitCluster) -> None:
    cluster.kubectl("-n", SERVER, "delete", "secret", KEYS_SECRET, "--ignore-not-found")


def key_lost(cluster: KitCluster) -> None:
    patch = '[{"op": "remove", "path": "/data/signing.key"}]'
    cluster.kubectl("-n", SERVER, "patch", "secret", KEYS_SECRET, "--type=json", "-p", patch)


_LEADER, _TOKENS = "upwell-leader", "upwell-tokens"
SHARED = (
    Right("coordination.k8s.io", "create", "leases", lease_lost, role=_LEADER),
    Right("", "create", "secrets", keys_lost, role=_LEADER),
    Right("", "update", "secrets", key_lost, role=_LEADER, name=KEYS_SECRET),
)
"""Rights to what replicas share: told in readiness, and by the server's components."""
RENEWED = Right("coordination.k8s.io", "update", "leases", lease_lost, role=_LEADER)
OF_TOKENS = {
    verb: Right("", verb, "secrets", moved, role=_TOKENS) for verb in ("create", "update", "delete")
}


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
    followers = [
        manifest(kind, namespace=SHOP) for kind in (Deployment, StatefulSet, DaemonSet, CronJob)
    ]
    followers[3]["apiVersion"] = "batch/v1beta1"  # before Kubernetes 1.21
    staged = manifest(Deployment, "staged", namespace=SHOP)
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
        if not right.is_in(role["metadata"]["name"], rule):
            rules.append(rule)
            continue
        others = [one for one in rule["resources"] if one != right.resource]
        verbs = [one for one in rule["verbs"] if one != right.verb]
        rules += [{**rule, "resources": others}] if others else []
        rules += [{**rule, "resources": [right.resource], "verbs": verbs}] if verbs else []
    return {**role, "rules": rules}


ASKED: dict[str, tuple[type[Resource], dict[str, Any]]] = {
    "imagestreams": (ImageStream, {"spec": {}}),
    "images": (Image, {"dockerImageReference": f"registry.test/asked@{_DIGEST}"}),
    "buildconfigs": (
        BuildConfig,
        {"spec": {"strategy": {"dockerStrategy": {}}, "source": {"dockerfile": "FROM a"}}},
    ),
    "builds": (
        Build,
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
    "pipelines": (
        Pipeline,
        {"spec": {"components": [{"name": "app", "from": _TAG}], "stages": [_STAGE]}},
    ),
    "releases": (Release, {"spec": {"pipeline": "app", "number": 99, "components": [_RELEASED]}}),
    "promotions": (
        Promotion,
        {"spec": {"pipeline": "asked", "release": "asked", "stage": "dev"}},
    ),
    "subscriptions": (Subscription, {"spec": _HOOK}),
    "imagepolicies": (ImagePolicy, {"spec": _SIGNED}),
    "clusterimagepolicies": (ClusterImagePolicy, {"spec": _SIGNED}),
    "clusters": (Cluster, {"spec": _ACCESS}),
    "freezes": (Freeze, {"spec": {"reason": "asked"}}),
    "quarantines": (Quarantine, {"spec": {"digest": _DIGEST, "reason": "asked"}}),
    "waves": (Wave, {"spec": {"image": "registry.test/asked", "digest": _DIGEST}}),
}
"""Objects that a person asks the server for, by resource: it creates, updates and deletes them."""
