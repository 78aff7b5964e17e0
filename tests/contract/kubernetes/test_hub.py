"""A server on one cluster that promotes onto another: what it sets there, and what it tells."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.installation.installation import until
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.server_replicas import ServerReplica
from tests.support.ports import free_port
from tests.support.registry.docker_registry import docker_registry, push_image

from upwell.api.schemas.webhooks import webhook_configurations
from upwell.cli.install.files import yaml_of

HUB = "hub"
SHOP = "hub-shop"
SETTINGS = """\
on = "kubernetes"
[kubernetes]
namespaces = ["hub"]
lease-namespace = "hub"
admission-port = {admission}
[outbound]
allow = ["127.0.0.0/8"]
"""


def secret(east: KitCluster) -> dict[str, Any]:
    config = east.kubectl("config", "view", "--flatten", "--minify")
    metadata = {"name": "east", "namespace": HUB}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "stringData": {"value": config},
    }


def hub_objects(registry: str) -> list[dict[str, Any]]:
    """Return the other cluster, a tag, and the Pipeline from it to that cluster."""
    access = {"secretRef": {"namespace": HUB, "name": "east"}}
    tag = {"name": "latest", "from": {"kind": "DockerImage", "name": f"{registry}/vendor/app:1"}}
    stage = {
        "name": "production",
        "cluster": "east",
        "namespace": SHOP,
        "workloads": [{"name": "web"}],
    }
    source = {"name": "app", "from": {"kind": "ImageStreamTag", "name": "app:latest"}}
    return [
        {
            "apiVersion": "upwell.dev/v1alpha1",
            "kind": "Cluster",
            "metadata": {"name": "east"},
            "spec": {"kubeConfig": access, "namespaces": [SHOP], "mirror": f"{registry}/east"},
        },
        {
            "apiVersion": "image.openshift.io/v1",
            "kind": "ImageStream",
            "metadata": {"name": "app", "namespace": HUB},
            "spec": {"tags": [tag]},
        },
        {
            "apiVersion": "upwell.dev/v1alpha1",
            "kind": "Pipeline",
            "metadata": {"name": "shop", "namespace": HUB},
            "spec": {"components": [source], "stages": [stage]},
        },
    ]


def web() -> dict[str, Any]:
    container = {"name": "app", "image": "registry.example/app:first"}
    labels = {"app": "web"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": SHOP},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def apply(cluster: KitCluster, *objects: dict[str, Any]) -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    cluster.kubectl("apply", "-f", "-", given=json.dumps(listed))


def write_kubeconfig(cluster: KitCluster, path: Path) -> None:
    """Make the server's account, and write its access, by its token."""
    cluster.kubectl("-n", HUB, "create", "serviceaccount", "upwell")
    bound = f"--serviceaccount={HUB}:upwell"
    cluster.kubectl("create", "clusterrolebinding", HUB, "--clusterrole=cluster-admin", bound)
    token = cluster.kubectl("-n", HUB, "create", "token", "upwell").strip()
    entry = {"server": cluster.base_url, "certificate-authority": cluster.ca}
    document = {
        "clusters": [{"name": "kit", "cluster": entry}],
        "users": [{"name": "upwell", "user": {"token": token}}],
        "contexts": [{"name": "kit", "context": {"cluster": "kit", "user": "upwell"}}],
        "current-context": "kit",
    }
    path.write_text(json.dumps(document))  # JSON is YAML


@asynccontextmanager
async def hub(cluster: KitCluster, east: KitCluster, folder: Path) -> AsyncIterator[str]:
    """Run the server, with access to the other cluster; give the registry of its images."""
    cluster.until_gone(HUB)
    east.until_gone(SHOP)
    cluster.kubectl("create", "namespace", HUB)
    east.kubectl("create", "namespace", SHOP)
    asked = free_port()
    (folder / "upwell.toml").write_text(SETTINGS.format(admission=asked))
    hooks = webhook_configurations(lambda path: {"url": f"https://127.0.0.1:{asked}{path}"})
    server = ServerReplica(folder / "data", folder / "kubeconfig")
    try:
        write_kubeconfig(cluster, server.kubeconfig)
        async with docker_registry(folder) as registry:
            await push_image(registry, "vendor/app", "1")
            apply(east, web())
            apply(cluster, secret(east))
            server.launch()
            await server.until_it_leads()
            # Authors are believed of what is written while the cluster asks about writes.
            cluster.kubectl("apply", "--server-side", "-f", "-", given=yaml_of(hooks))
            await until(partial(may_apply, cluster, *hub_objects(registry)), bool)
            yield registry
    finally:
        cluster.kubectl("delete", "-f", "-", "--ignore-not-found", given=yaml_of(hooks))
        server.kill()
        cluster.kubectl("delete", "cluster.upwell.dev", "east", "--ignore-not-found")
        cluster.kubectl("delete", "images.image.openshift.io", "--all")
        cluster.kubectl("delete", "clusterrolebinding", HUB, "--ignore-not-found")
        told = ("events", "--field-selector=involvedObject.kind=Cluster")
        cluster.kubectl("-n", "default", "delete", *told)
        cluster.kubectl("delete", "namespace", HUB, "--wait=false")
        east.kubectl("delete", "namespace", SHOP, "--wait=false")


async def may_apply(cluster: KitCluster, *objects: dict[str, Any]) -> bool:
    """Apply, and return False if the cluster refuses: it does until the webhook has its names."""
    with suppress(AssertionError):
        await asyncio.to_thread(apply, cluster, *objects)
        return True
    return False


async def asked(cluster: KitCluster, *arguments: str) -> str:
    return await asyncio.to_thread(cluster.kubectl, *arguments, "--ignore-not-found")


async def test_a_hub_on_a_cluster_promotes_onto_another_and_tells_when_it_is_away(
    cluster: KitCluster, hollow_cluster: KitCluster, tmp_path: Path
) -> None:
    east = hollow_cluster
    async with hub(cluster, east, tmp_path) as registry:
        phase = (
            "-n",
            HUB,
            "get",
            "promotion",
            "shop-1.production",
            "-o",
            "jsonpath={.status.phase}",
        )
        await until(partial(asked, cluster, *phase), "Succeeded".__eq__)
        path = "jsonpath={.spec.template.spec.containers[0].image} {.status.readyReplicas}"
        running = east.kubectl("-n", SHOP, "get", "deployment", "web", "-o", path)
        assert running.startswith(f"{registry}/east/vendor/app@sha256:")
        assert running.endswith(" 1")

        cluster.kubectl("-n", HUB, "delete", "secret", "east")
        events = ("get", "events", "--field-selector=involvedObject.kind=Cluster")
        told = ("-n", "default", *events, "-o", "jsonpath={.items[*].reason} {.items[*].message}")
        said = await until(partial(asked, cluster, *told), lambda text: "ClusterDegraded" in text)
        assert f"there is no Secret {HUB}/east with a kubeconfig" in said

        apply(cluster, secret(east))
        await until(partial(asked, cluster, *told), lambda text: "ClusterRecovered" in text)
