"""Rights to use the ServiceAccounts that builds and Pods run as."""

from typing import Any

import pytest

from upwell.api.apps import Deployment, DeploymentConfig, Job
from upwell.api.builds.config import BuildConfig
from upwell.api.codec import decode_as
from upwell.api.meta import Resource
from upwell.api.pipeline import Pipeline
from upwell.policy.access.authority import refusal
from upwell.policy.access.rights import GrantedRights
from upwell.policy.access.roles import parse_grants

VIEWER, BUILDER, DEPLOYER = (
    GrantedRights(parse_grants(f"{role}@shop")) for role in ("viewer", "builder", "deployer")
)
ROBOT = "use serviceaccounts in namespace shop"


def named[R: Resource](kind: type[R], **spec: Any) -> R:
    return decode_as(kind, {"metadata": {"name": "web", "namespace": "shop"}, "spec": spec})


def template(**pod: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "web", "image": "web"}], **pod}}


def build(**spec: Any) -> BuildConfig:
    strategy = {"type": "Docker", "dockerStrategy": {}}
    return named(BuildConfig, source={"dockerfile": "FROM scratch"}, strategy=strategy, **spec)


def check(account: str) -> Pipeline:
    test = {"template": template(serviceAccountName=account, restartPolicy="Never")}
    checks = [{"name": "t", "job": test}]
    stage = {"name": "dev", "workloads": [{"name": "web"}], "verification": {"checks": checks}}
    return named(Pipeline, components=[], stages=[stage])


@pytest.mark.parametrize(
    "resource",
    [
        build(serviceAccount="robot"),
        named(Deployment, template=template(serviceAccountName="robot")),
        named(DeploymentConfig, template=template(serviceAccountName="robot")),
        named(DeploymentConfig, template=template(serviceAccount="robot")),
        named(Job, template=template(serviceAccountName="robot")),
        check("robot"),
    ],
    ids=["build", "deployment", "config", "deprecated", "job", "check"],
)
def test_an_account_takes_the_right_to_use_it(resource: Resource) -> None:
    why = refusal(resource, None, VIEWER)

    assert why is not None
    assert ROBOT in why
    assert "ServiceAccount shop/robot" in why
    assert refusal(resource, None, BUILDER) is None


@pytest.mark.parametrize("account", [None, "", "builder", "default"])
def test_a_build_has_the_accounts_of_builds(account: str | None) -> None:
    assert refusal(build(serviceAccount=account), None, VIEWER) is None


@pytest.mark.parametrize("pod", [{}, {"serviceAccountName": "default"}])
def test_a_pod_has_the_account_of_its_namespace(pod: dict[str, Any]) -> None:
    assert refusal(named(Deployment, template=template(**pod)), None, VIEWER) is None


def test_who_says_what_runs_as_it_is_asked_again() -> None:
    old = named(Deployment, template=template(serviceAccountName="robot"), replicas=1)
    more = named(Deployment, template=template(serviceAccountName="robot"), replicas=3)
    spec = template(serviceAccountName="robot")
    spec["spec"]["containers"][0]["image"] = "evil"

    assert refusal(more, old, VIEWER) is None
    assert ROBOT in str(refusal(named(Deployment, template=spec), old, VIEWER))
    built = build(serviceAccount="robot")
    assert refusal(built, built, VIEWER) is None
    other = build(serviceAccount="robot", completionDeadlineSeconds=5)
    assert ROBOT in str(refusal(other, built, VIEWER))
