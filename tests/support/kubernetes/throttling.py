"""An API server that is too busy for one account: its priority level has no seat left.

Administrators are exempt from all limits (Kubernetes, "API Priority and Fairness").
"""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from tests.support.kubernetes.cluster import KitCluster
from tests.support.workload.waiting import eventually

from upwell.api.apps import Deployment
from upwell.api.meta import ObjectKey
from upwell.api.patches.content_types import MERGE_PATCH
from upwell.store.interface import StoreError
from upwell.store.kubernetes import KubernetesStore
from upwell.store.kubernetes_errors import BusyError
from upwell.store.kubernetes_http import ApiRequest

_RBAC = "rbac.authorization.k8s.io"
_FLOW = "flowcontrol.apiserver.k8s.io/v1beta1"
OWN, OTHER = "busy-own", "busy-other"
"""Accounts, each with a FlowSchema of its name, of the same priority level."""
_LEVEL = "busy"
_LABELS = {"busy": "yes"}
_AT_ONCE = 8
"""Writes on their way: more than a level of one share has seats."""


def rejected(cluster: KitCluster, account: str) -> int:
    """Return how many writes of an account were answered 429 so far."""
    counter = "apiserver_flowcontrol_rejected_requests_total"
    pattern = rf'^{counter}{{.*flow_?[sS]chema="{account}".*}} (\d+)'
    metrics = cluster.kubectl("get", "--raw", "/metrics")
    return sum(map(int, re.findall(pattern, metrics, re.MULTILINE)))


@contextmanager
def accounts(cluster: KitCluster, namespace: str) -> Iterator[Sequence[str]]:
    """Give the tokens of both accounts, which may do everything, and are not exempt."""
    made = [_document("v1", "ServiceAccount", one, namespace=namespace) for one in (OWN, OTHER)]
    subjects = [{"kind": "ServiceAccount", "name": o, "namespace": namespace} for o in (OWN, OTHER)]
    role = {"apiGroup": _RBAC, "kind": "ClusterRole", "name": "cluster-admin"}
    bound = {"roleRef": role, "subjects": subjects}
    made.append(_document(f"{_RBAC}/v1", "ClusterRoleBinding", _LEVEL) | bound)
    with _applied(cluster, made):
        yield [
            cluster.kubectl("-n", namespace, "create", "token", one).strip() for one in (OWN, OTHER)
        ]


@asynccontextmanager
async def no_seat_left(cluster: KitCluster, namespace: str, token: str) -> AsyncIterator[None]:
    """Have writes of the other account take all seats: they wait for a webhook that is silent."""
    store = KubernetesStore(cluster.base_url, token=token, ca=cluster.ca)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        webhook = _webhook(silent.getsockname()[1])
        with _applied(cluster, [_deployment(namespace), webhook, *_flows(namespace)]):
            writes = [asyncio.create_task(_write(store, namespace)) for _ in range(_AT_ONCE)]
            try:
                await eventually(lambda: asyncio.to_thread(rejected, cluster, OTHER), bool)
                yield
            finally:
                for one in writes:
                    one.cancel()
                await asyncio.gather(*writes, return_exceptions=True)
                await store.close()
                silent.close()  # the webhook fails, which is ignored


@contextmanager
def _applied(cluster: KitCluster, objects: Sequence[dict[str, Any]]) -> Iterator[None]:
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    cluster.kubectl("apply", "-f", "-", given=listed)
    try:
        yield
    finally:
        cluster.kubectl("delete", "-f", "-", given=listed)


async def _write(store: KubernetesStore, namespace: str) -> None:
    """Write again and again, for ever."""
    key = ObjectKey(Deployment.KIND.kind, namespace, _LEVEL)
    body = {"metadata": {"annotations": {"touched": "yes"}}}
    request = ApiRequest("PATCH", Deployment.KIND, key, body=body, content_type=MERGE_PATCH)
    while True:
        try:
            await store.connection.ask(request)
        except BusyError as error:
            await asyncio.sleep(error.retry_after)
        except StoreError:
            continue


def _document(version: str, kind: str, name: str, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **metadata}}


def _deployment(namespace: str) -> dict[str, Any]:
    container = {"name": "app", "image": "registry.example/app:1"}
    template = {"metadata": {"labels": _LABELS}, "spec": {"containers": [container]}}
    spec = {"replicas": 0, "selector": {"matchLabels": _LABELS}, "template": template}
    made = _document("apps/v1", "Deployment", _LEVEL, namespace=namespace, labels=_LABELS)
    return made | {"spec": spec}


def _flows(namespace: str) -> list[dict[str, Any]]:
    """Return the priority level, and that the accounts' writes to Deployments are of it."""
    limited = {"assuredConcurrencyShares": 1, "limitResponse": {"type": "Reject"}}
    level = _document(_FLOW, "PriorityLevelConfiguration", _LEVEL)
    made = [level | {"spec": {"type": "Limited", "limited": limited}}]
    rule = {
        "verbs": ["patch"],
        "apiGroups": ["apps"],
        "resources": ["deployments"],
        "namespaces": [namespace],
    }
    for name in (OWN, OTHER):
        account = {"name": name, "namespace": namespace}
        subject = {"kind": "ServiceAccount", "serviceAccount": account}
        spec = {
            "priorityLevelConfiguration": {"name": _LEVEL},
            "matchingPrecedence": 2,
            "rules": [{"subjects": [subject], "resourceRules": [rule]}],
        }
        made.append(_document(_FLOW, "FlowSchema", name) | {"spec": spec})
    return made


def _webhook(port: int) -> dict[str, Any]:
    rule = {
        "operations": ["UPDATE"],
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "resources": ["deployments"],
    }
    webhook = {
        "name": "busy.example.com",
        "clientConfig": {"url": f"https://127.0.0.1:{port}/"},
        "objectSelector": {"matchLabels": _LABELS},
        "rules": [rule],
        "failurePolicy": "Ignore",
        "timeoutSeconds": 30,
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
    }
    made = _document("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", _LEVEL)
    return made | {"webhooks": [webhook]}
