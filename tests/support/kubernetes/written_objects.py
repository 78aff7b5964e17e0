"""Objects of Upwell's kinds that a user writes with kubectl into the first of two namespaces."""

from typing import Any

A, B = "adm-a", "adm-b"


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
