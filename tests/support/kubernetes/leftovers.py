"""Objects that a module of tests has left on a cluster which the next ones share."""

import json
import ssl
from collections.abc import Callable
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from tests.support.kubernetes.cluster import KitCluster

from upwell.api.cluster_operator import ClusterOperator
from upwell.api.schemas.crds import custom_resource_definitions

_NATIVE = (
    *(f"/api/v1/{one}" for one in ("pods", "services", "replicationcontrollers", "resourcequotas")),
    *(f"/api/v1/{one}" for one in ("secrets", "configmaps", "serviceaccounts")),
    *(f"/apis/apps/v1/{one}" for one in ("deployments", "statefulsets", "daemonsets")),
    *("/apis/batch/v1/jobs", "/apis/batch/v1beta1/cronjobs"),
    *(f"/apis/networking.k8s.io/v1/{one}" for one in ("ingresses", "ingressclasses")),
    *(
        f"/apis/rbac.authorization.k8s.io/v1/{one}"
        for one in ("roles", "rolebindings", "clusterroles", "clusterrolebindings")
    ),
    *(
        f"/apis/admissionregistration.k8s.io/v1/{one}"
        for one in ("validatingwebhookconfigurations", "mutatingwebhookconfigurations")
    ),
    *("/apis/apiextensions.k8s.io/v1/customresourcedefinitions",),
    *("/apis/coordination.k8s.io/v1/leases",),
    *(
        f"/apis/flowcontrol.apiserver.k8s.io/v1beta1/{one}"
        for one in ("flowschemas", "prioritylevelconfigurations")
    ),
)
_OF_EVERY_NAMESPACE = ("serviceaccounts/default", "configmaps/kube-root-ca.crt")
_OF_THE_CLUSTER = (
    "kube-system/",
    "kube-public/",
    "kube-node-lease/",
    "default/services/kubernetes",
)
"""Objects that the cluster itself makes, whenever its parts and nodes have come so far."""


def objects_there(cluster: KitCluster) -> frozenset[str]:
    """Return resource, namespace and name of what lasts: of no namespace that is on its way out.

    Of the namespaces themselves nothing is said, as the next test may have the same one.
    """
    context = ssl.create_default_context(cafile=cluster.ca)
    with closing(
        HTTPSConnection(urlsplit(cluster.base_url).netloc, timeout=60, context=context)
    ) as connection:

        def items(path: str) -> list[dict[str, Any]]:
            connection.request("GET", path, headers={"Authorization": f"Bearer {cluster.token}"})
            answer = connection.getresponse()
            found = json.load(answer)
            if answer.status == HTTPStatus.NOT_FOUND:  # of a kind that is not there
                return []
            assert answer.status == HTTPStatus.OK, found
            return list(found["items"])

        return _lasting(items)


def _lasting(items: Callable[[str], list[dict[str, Any]]]) -> frozenset[str]:
    gone = {
        one["metadata"]["name"]
        for one in items("/api/v1/namespaces")
        if "deletionTimestamp" in one["metadata"]
    }
    found = set()
    for path in (*_NATIVE, *_own_paths()):
        resource = path.rpartition("/")[2]
        for one in items(path):
            metadata = one["metadata"]
            namespace = metadata.get("namespace", "")
            if namespace not in gone and "deletionTimestamp" not in metadata:
                found.add(f"{namespace}/{resource}/{metadata['name']}")
    return frozenset(one for one in found if not _is_made_by_the_cluster(one))


def _own_paths() -> list[str]:
    """Return the paths of our kinds, but for what each server says of itself, as the last did."""
    return [
        f"/apis/{spec['group']}/{version['name']}/{spec['names']['plural']}"
        for spec in (one["spec"] for one in custom_resource_definitions())
        for version in spec["versions"]
        if version["storage"] and spec["names"]["plural"] != ClusterOperator.KIND.plural
    ]


def _is_made_by_the_cluster(place: str) -> bool:
    if place.startswith(_OF_THE_CLUSTER):
        return True
    return place.endswith(_OF_EVERY_NAMESPACE) or "/secrets/default-token-" in place
