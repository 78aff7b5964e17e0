"""Rights that an installed server lacks: each is named where it was needed, and it goes on after.

All are taken at once: what is needed first of each subject is named, and comes back without a
restart.
"""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.cluster.workloads import image, manifest
from tests.support.faults.on_demand import on_demand
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.rights.granted_rights import installed
from tests.support.kubernetes.rights.single_rights import SERVER, SHOP
from tests.support.kubernetes.served_cluster import account_kubeconfig, served, until

from upwell.api.apps import Deployment, StatefulSet
from upwell.cli.install.files import yaml_of

_WRITES = {"create", "update", "patch", "delete"}
_QUESTIONS = ["subjectaccessreviews"]
_DENIED = re.compile(r'cannot (\w+) resource \\"([\w/]+)\\"')
_STREAM = ("-n", SHOP, "patch", "imagestream.image.openshift.io/app", "--subresource=status")
_WITH_STATUSES = frozenset({"events"})


def stripped(*, statuses: bool) -> list[dict[str, Any]]:
    """Return the ClusterRoles without any right to write, or with those to tell how things are."""
    found = json.loads(json.dumps([one for one in installed() if one["kind"] == "ClusterRole"]))
    for rule in (rule for role in found for rule in role["rules"]):
        tells = all("/status" in one or one in _WITH_STATUSES for one in rule["resources"])
        if rule["resources"] != _QUESTIONS and not (statuses and tells):
            rule["verbs"] = [one for one in rule["verbs"] if one not in _WRITES] or ["get"]
    return list(found)


def objects() -> list[dict[str, Any]]:
    """Return what makes the server write of every sort: builds, rollouts, routes, promotions."""
    container = {"name": "app", "image": "registry.test/app:1"}
    template = {"metadata": {"labels": {"app": "dc"}}, "spec": {"containers": [container]}}
    tag = {"kind": "ImageStreamTag", "name": "app:latest"}
    docker = {"type": "Docker", "dockerStrategy": {"from": tag}}
    build = {"source": {"dockerfile": "FROM app"}, "strategy": docker}
    route = {"host": "web.test", "to": {"kind": "Service", "name": "app"}}
    staged: dict[str, Any] = {"components": [{"name": "app", "from": tag}]}
    staged["stages"] = [{"name": "dev", "workloads": [{"kind": "StatefulSet", "name": "web"}]}]
    rolled = {"replicas": 0, "selector": {"app": "dc"}, "template": template}
    made = [
        ("networking.k8s.io/v1", "IngressClass", {"controller": "router.test/x"}),
        ("image.openshift.io/v1", "ImageStream", {}),
        ("v1", "Service", {"selector": {"app": "web"}, "ports": [{"port": 80}]}),
        ("route.openshift.io/v1", "Route", route),
        ("build.openshift.io/v1", "BuildConfig", build | {"triggers": [{"type": "ConfigChange"}]}),
        ("apps.openshift.io/v1", "DeploymentConfig", rolled),
        ("upwell.dev/v1alpha1", "Pipeline", staged),
    ]
    placed = {"namespace": SHOP}
    return [
        {"apiVersion": version, "kind": kind, "spec": spec}
        | {"metadata": {"name": "app", **({} if kind == "IngressClass" else placed)}}
        for version, kind, spec in made
    ] + [manifest(Deployment, namespace=SHOP), _unfollowing(manifest(StatefulSet, namespace=SHOP))]


def _unfollowing(workload: dict[str, Any]) -> dict[str, Any]:
    workload["metadata"].pop("annotations", None)
    return workload


def history(version: str) -> str:
    """Return a patch by which the tag has an image."""
    spec = image(version)
    event = {"created": "2026-01-01T00:00:00Z", "dockerImageReference": spec}
    event["image"] = spec.partition("@")[2]
    return json.dumps({"status": {"tags": [{"tag": "latest", "items": [event]}]}})


@on_demand(
    "tests/contract/kubernetes/served/test_served_cluster.py"
    "::test_what_is_installed_may_do_what_it_needs_and_says_what_it_may_not"
)
def test_each_right_to_write_is_named_where_it_lacks_and_used_when_it_is_given(
    granted: KitCluster, tmp_path: Path
) -> None:
    granted.kubectl("apply", "-f", "-", given=yaml_of(stripped(statuses=False)))
    granted.kubectl("apply", "-f", "-", given=yaml_of(objects()))
    granted.kubectl(*_STREAM, "--type=merge", "-p", history("good"))

    def denied() -> set[tuple[str, ...]]:
        return set(_DENIED.findall((tmp_path / "log").read_text()))

    def messages() -> str:
        told = "jsonpath={.items[*].status}{.items[*].message}"
        kinds = "routes.route.openshift.io,deploymentconfigs.apps.openshift.io,events"
        return granted.kubectl("-n", SHOP, "get", kinds, "-o", told)

    with served(account_kubeconfig(granted, SERVER, tmp_path), tmp_path) as server:
        first = {
            ("create", "builds"),
            ("create", "events"),
            ("create", "ingresses"),
            ("create", "releases"),
            ("patch", "deployments"),
            ("update", "deploymentconfigs/status"),
            ("update", "routes/status"),
        }
        until(lambda: first - denied(), lambda missing: not missing)

        granted.kubectl("apply", "-f", "-", given=yaml_of(stripped(statuses=True)))
        told = {"builds", "ingresses", "releases", "deployments", "replicationcontrollers"}
        until(
            lambda: {
                one for one in told if f'resource "{one}"' not in messages().replace("\\", "")
            },
            lambda missing: not missing,
        )

        granted.kubectl("apply", "-f", "-", given=yaml_of(installed()))
        for what in ("builds.build.openshift.io", "ingresses", "releases", "rc"):
            until(partial(granted.kubectl, "-n", SHOP, "get", what, "-o", "name"), bool)
        path = "jsonpath={.spec.template.spec.containers[0].image}"
        web = ("-n", SHOP, "get", "deployment/web", "-o", path)
        until(lambda: granted.kubectl(*web), lambda found: found == image("good"))
        until(server.readiness, lambda seen: "readyz check passed" in seen)
