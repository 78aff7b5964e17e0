"""Objects that are not moved, each with the reason."""

from upwell.api.apps import Job
from upwell.api.coordination.replicas import KEYS_SECRET
from upwell.api.core import ConfigMap, Namespace, Secret, Service, ServiceAccount
from upwell.api.kept import KEPT
from upwell.api.meta import Resource
from upwell.api.pod import Pod

_PART_OF = "app.kubernetes.io/part-of"
_ACCOUNT_TOKEN = "kubernetes.io/service-account-token"  # noqa: S105 - a type of Secrets
_SIGNING_KEY = "signing.key"
_CLUSTERS_OWN = "kube-"


def stays_behind(resource: Resource) -> str:
    """Return why a cluster's object is not exported; empty: it is."""
    place = resource.name if isinstance(resource, Namespace) else resource.namespace
    if place.startswith(_CLUSTERS_OWN):
        return "the cluster's own"
    if resource.labels.get(_PART_OF) == "upwell" or _has_keys(resource):
        return "part of the installation"
    if _is_made_by_cluster(resource):
        return "made by the cluster"
    if type(resource) in KEPT:
        return "has its effect on the cluster alone"
    return ""


def not_for_cluster(resource: Resource) -> str:
    """Return why an object is not created on a cluster; empty: it is."""
    if resource.KIND.read_only:
        return "made anew by the server"
    if type(resource) in KEPT:
        return "had no effect, and would have one there: apply it yourself"
    if isinstance(resource, Pod | Job):
        return "would run again"
    if _is_made_by_cluster(resource):
        return "made by each cluster for itself"
    return ""


def may_exist(resource: Resource) -> bool:
    """Return True for what a cluster has by itself, and which is kept as it is there."""
    is_default = isinstance(resource, ServiceAccount) and resource.name == "default"
    return isinstance(resource, Namespace) or is_default


def _has_keys(resource: Resource) -> bool:
    """Return True for keys of a server; who made them of files has set no label."""
    return (
        isinstance(resource, Secret)
        and resource.name == KEYS_SECRET
        and _SIGNING_KEY in resource.data
    )


def _is_made_by_cluster(resource: Resource) -> bool:
    if isinstance(resource, Secret):
        return resource.type == _ACCOUNT_TOKEN
    if isinstance(resource, Service):  # the API server's own
        return (resource.namespace, resource.name) == ("default", "kubernetes")
    if isinstance(resource, ConfigMap):
        return resource.name == "kube-root-ca.crt"
    return isinstance(resource, Pod) and bool(resource.metadata.owner_references)
