"""Rights that an object takes, as a cluster's authorization is asked for them; pure.

A right is asked for as the request that whoever has it could send (authorization.k8s.io/v1,
ResourceAttributes). Content of the embedded registry is asked for as OpenShift's registry does: the
subresource `layers` of an ImageStream, which the ClusterRoles `system:image-puller` and
`system:image-pusher` give. What no kind stands for (`use hostpaths`) is of the group `upwell.dev`.
"""

from collections.abc import Mapping
from dataclasses import replace

from upwell.api.codec import RESOURCES
from upwell.api.image import ImageStream
from upwell.api.pipeline import Pipeline
from upwell.cluster.interface import AccessAttributes
from upwell.policy.access.roles import REPOSITORIES, Action

_LAYERS = "layers"
_VERBS = {"pull": "get", "push": "update"}
_OWN_GROUP = Pipeline.KIND.group
_GROUPS: Mapping[str, str] = {
    resource.KIND.plural: resource.KIND.group for resource in reversed(RESOURCES)
}


def attributes_of(action: Action) -> tuple[AccessAttributes, ...]:
    """Return the questions of which one has to be answered with yes."""
    if action.resource == REPOSITORIES:
        return (
            AccessAttributes(
                _VERBS.get(action.verb, action.verb),
                ImageStream.KIND.group,
                ImageStream.KIND.plural,
                _LAYERS,
                action.namespace,
                action.name.removeprefix(f"{action.namespace}/"),
            ),
        )
    asked = AccessAttributes(
        action.verb,
        _GROUPS.get(action.resource, _OWN_GROUP),
        action.resource,
        action.part,
        action.namespace,
        action.name,
    )
    match action.verb, action.resource:
        case "use", "secrets":  # Whoever may read a Secret may have it used.
            return (asked, replace(asked, verb="get"))
        case "use", "serviceaccounts":  # Whoever may create Pods may have them run as any of them.
            return (asked, AccessAttributes("create", "", "pods", "", action.namespace))
    return (asked,)
