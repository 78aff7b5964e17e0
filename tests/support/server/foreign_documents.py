"""Objects of namespace `a` that name what is in a namespace of a test's choice."""

import json
from typing import Any

from tests.support.server.granted_api import REGISTRY

_LABELS = {"app": "web"}
_PUBLIC = "docker.io/library/web:1"
DIGEST = f"sha256:{'a' * 64}"


def image_of(namespace: str) -> str:
    """Return an image of the embedded registry; of elsewhere without a namespace."""
    return f"{REGISTRY}/{namespace}/app@{DIGEST}" if namespace else f"docker.io/web@{DIGEST}"


def tag_of(namespace: str) -> dict[str, str]:
    """Return a reference to an ImageStreamTag."""
    return {
        "kind": "ImageStreamTag",
        "name": "app:1",
        **({"namespace": namespace} if namespace else {}),
    }


def documents(name: str, where: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return what -> plural and object, each of which names `where` in one way."""
    image, tag = image_of(where), tag_of(where)
    found = {
        "deployment by image": ("deployments", workload(image)),
        "deployment by trigger": ("deployments", following(tag)),
        "config by hook of a strategy": ("deploymentconfigs", hooked("rollingParams", "pre", tag)),
        "config by hook of another": ("deploymentconfigs", hooked("recreateParams", "mid", tag)),
        "config by command": (
            "deploymentconfigs",
            config({"type": "Custom", "customParams": {"image": image, "command": ["x"]}}),
        ),
        "job by image": ("jobs", {"spec": {"template": template(image)}}),
        "cron job by image": (
            "cronjobs",
            {
                "spec": {
                    "schedule": "0 0 * * *",
                    "jobTemplate": {"spec": {"template": template(image)}},
                }
            },
        ),
        "stream by tag": ("imagestreams", stream(tag)),
        "stream by image": ("imagestreams", stream({"kind": "DockerImage", "name": image})),
        "config by output": ("buildconfigs", build(output={"to": tag})),
        "config by base": ("buildconfigs", build({"from": tag})),
        "config by base image": (
            "buildconfigs",
            build({"from": {"kind": "DockerImage", "name": image}}),
        ),
        "build by output": ("builds", build(output={"to": tag})),
        "build by source": ("builds", build(source={"images": [source_image(tag)]})),
        "pipeline by component": ("pipelines", pipeline(component=tag)),
        "pipeline by stage": ("pipelines", pipeline(namespace=where or None)),
        "pipeline by check": (
            "pipelines",
            pipeline(verification={"checks": [{"name": "t", "job": {"image": image}}]}),
        ),
        "release by image": (
            "releases",
            {
                "spec": {
                    "pipeline": "app",
                    "number": 1,
                    "components": [{"name": "web", "image": image}],
                }
            },
        ),
        "account by grant": (
            "serviceaccounts",
            {"metadata": {"annotations": {"upwell.dev/grants": f"viewer@{where or 'a'}"}}},
        ),
        "subscription": (
            "subscriptions",
            {
                "spec": {
                    "webhook": {"url": "https://x.test/"},
                    **({"namespaces": [where]} if where else {}),
                }
            },
        ),
    }
    return {
        what: (plural, {"metadata": {"name": name}} | document)
        if "metadata" not in document
        else (plural, document | {"metadata": {"name": name, **document["metadata"]}})
        for what, (plural, document) in found.items()
    }


def template(image: str) -> dict[str, Any]:
    """Return a Pod's template."""
    return {
        "metadata": {"labels": _LABELS},
        "spec": {"containers": [{"name": "web", "image": image}], "restartPolicy": "Never"},
    }


def workload(image: str) -> dict[str, Any]:
    """Return a Deployment."""
    pod = template(image)
    pod["spec"].pop("restartPolicy")
    return {"spec": {"replicas": 1, "selector": {"matchLabels": _LABELS}, "template": pod}}


def config(strategy: dict[str, Any]) -> dict[str, Any]:
    """Return a DeploymentConfig with a strategy."""
    template = workload(_PUBLIC)["spec"]["template"]
    return {
        "spec": {"replicas": 1, "selector": _LABELS, "template": template, "strategy": strategy}
    }


def hooked(params: str, moment: str, tag: dict[str, str]) -> dict[str, Any]:
    """Return a DeploymentConfig one of whose hooks gives a tag."""
    hook = {"failurePolicy": "Abort", "tagImages": [{"containerName": "web", "to": tag}]}
    return config({"type": "Rolling", params: {moment: hook}})


def following(tag: dict[str, str]) -> dict[str, Any]:
    """Return a Deployment whose container follows a tag."""
    path = 'spec.template.spec.containers[?(@.name=="web")].image'
    triggers = json.dumps([{"from": tag, "fieldPath": path}])
    return workload(_PUBLIC) | {
        "metadata": {"annotations": {"image.openshift.io/triggers": triggers}}
    }


def stream(source: dict[str, str]) -> dict[str, Any]:
    """Return an ImageStream with one tag."""
    return {"spec": {"tags": [{"name": "1", "from": source}]}}


def source_image(tag: dict[str, str]) -> dict[str, Any]:
    """Return an image whose files a build copies."""
    return {"from": tag, "paths": [{"sourcePath": "/x/.", "destinationDir": "x"}]}


def build(strategy: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """Return a Build or BuildConfig without its name."""
    source = {"dockerfile": "FROM scratch\n", **spec.pop("source", {})}
    docker = {"type": "Docker", "dockerStrategy": strategy or {}}
    return {"spec": {"source": source, "strategy": docker, **spec}}


def pipeline(component: dict[str, str] | None = None, **stage: Any) -> dict[str, Any]:
    """Return a Pipeline of one stage."""
    workloads = [{"kind": "Deployment", "name": "web"}]
    stage = {name: value for name, value in stage.items() if value is not None}
    return {
        "spec": {
            "components": [{"name": "web", "from": component or tag_of("")}],
            "stages": [{"name": "dev", "workloads": workloads, **stage}],
        }
    }
