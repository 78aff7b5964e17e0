"""Target of a request's path: a collection, an object, or a part of one."""

from dataclasses import dataclass

from upwell.api.codec import RESOURCES
from upwell.api.meta import Kind, ObjectKey, Resource
from upwell.server.http.errors import ApiError

_BY_PLACE = {
    (resource.KIND.group, resource.KIND.version, resource.KIND.plural): resource
    for resource in RESOURCES
} | {
    (*alias.rsplit("/", 1), resource.KIND.plural): resource
    for resource in RESOURCES
    for alias in resource.KIND.aliases
}


_ABSENT = {
    ("", "nodes"): "there are no nodes: all runs on this machine (upwell doctor looks at it)",
    ("autoscaling", "horizontalpodautoscalers"): (
        "nothing is scaled by load here: set spec.replicas (kubectl scale)."
        " A HorizontalPodAutoscaler of autoscaling/v2 is kept, and has no effect"
    ),
    **dict.fromkeys(
        [
            ("authorization.openshift.io", "localresourceaccessreviews"),
            ("authorization.openshift.io", "resourceaccessreviews"),
        ],
        "who may do something is not listed by what it is: rights are grants of tokens and of"
        " ServiceAccounts; `upwell token list` shows who has which (docs/access.md)",
    ),
    **dict.fromkeys(
        [
            ("security.openshift.io", "podsecuritypolicyreviews"),
            ("security.openshift.io", "podsecuritypolicyselfsubjectreviews"),
            ("security.openshift.io", "podsecuritypolicysubjectreviews"),
        ],
        "there are no SecurityContextConstraints: the label pod-security.kubernetes.io/enforce of a"
        " Namespace says what its Pods may; `kubectl apply --dry-run=server` asks",
    ),
    ("metrics.k8s.io", "pods"): "nothing is measured here: see /metrics, and podman stats",
}
"""Words about resources that clients look for, by group and plural."""


@dataclass(frozen=True, slots=True)
class RequestTarget:
    """`namespace` is empty for cluster scope and for all namespaces, `name` for a collection."""

    resource: type[Resource]
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def kind(self) -> Kind:
        """The kind of the objects."""
        return self.resource.KIND

    @property
    def key(self) -> ObjectKey:
        """Names the object in messages."""
        return ObjectKey(self.kind.kind, self.namespace, self.name)


def parse_target(group: str, version: str, path: str) -> RequestTarget:
    """Return what `path` (below the group and version) names; raises ApiError 404."""
    steps = path.strip("/").split("/")
    namespace = ""
    if steps[0] == "namespaces" and len(steps) > 2:  # noqa: PLR2004 - namespaces/NAME/PLURAL
        resource = _BY_PLACE.get((group, version, steps[2]))
        if resource is not None and resource.KIND.namespaced:
            namespace, steps = steps[1], steps[2:]
    resource = _BY_PLACE.get((group, version, steps[0]))
    if resource is None or "" in steps:
        raise _unknown(group, version, path)
    if resource.KIND.namespaced and not namespace and len(steps) > 1:
        raise ApiError(404, f"{resource.KIND.plural} live in a namespace: …/namespaces/NAME/{path}")
    match steps[1:]:
        case []:
            return RequestTarget(resource, namespace)
        case [name]:
            return RequestTarget(resource, namespace, name)
        case [name, subresource]:
            return RequestTarget(resource, namespace, name, subresource)
        case _:
            raise _unknown(group, version, path)


def _unknown(group: str, version: str, path: str) -> ApiError:
    where = f"{group}/{version}" if group else version
    steps = path.strip("/").split("/")
    plural = steps[2] if steps[0] == "namespaces" and len(steps) > 2 else steps[0]  # noqa: PLR2004 - namespaces/NAME/PLURAL
    return ApiError(
        404, _ABSENT.get((group, plural), f"there is no resource {plural!r} in {where}")
    )
