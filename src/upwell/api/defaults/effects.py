"""Fields that are kept and have no effect, where their author may have meant something by them.

An empty value asks for nothing, and neither does a default that clients write out: of both, nothing
is said.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache

from pydantic import BaseModel

from upwell.api.apps import DeploymentConfigStrategy, JobSpec, StatefulSetSpec, WorkloadSpec
from upwell.api.core import ServiceSpec
from upwell.api.meta import ObjectMeta
from upwell.api.pod_template import Container, PodSpec

_ONE_MACHINE = "there is one machine, and nothing to schedule"
_RESOLVER = "names are resolved as they are for all instances"
_TRAFFIC = "requests go to any instance that is ready"
_MESSAGES = "no message of a container's end is read from it"

_KNOWN: Mapping[type[BaseModel], Mapping[str, tuple[tuple[object, ...], str]]] = {
    PodSpec: {
        "dnsPolicy": (("ClusterFirst",), _RESOLVER),
        "dnsConfig": ((), _RESOLVER),
        "schedulerName": (("default-scheduler",), _ONE_MACHINE),
        "preemptionPolicy": (("PreemptLowerPriority",), _ONE_MACHINE),
        "enableServiceLinks": ((True,), "Services are found by their names"),
        "serviceAccount": ((), "name it in serviceAccountName"),
        **dict.fromkeys(
            (
                "affinity",
                "nodeName",
                "nodeSelector",
                "priority",
                "priorityClassName",
                "tolerations",
                "topologySpreadConstraints",
            ),
            ((), _ONE_MACHINE),
        ),
    },
    Container: {
        "terminationMessagePath": (("/dev/termination-log",), _MESSAGES),
        "terminationMessagePolicy": (("File",), _MESSAGES),
        # As it is here for every container without a terminal; `kubectl run -i` asks for it.
        "stdinOnce": ((True,), ""),
    },
    ServiceSpec: {
        "sessionAffinity": (("None",), _TRAFFIC),
        "sessionAffinityConfig": (({"clientIP": {"timeoutSeconds": 10800}},), _TRAFFIC),
        "internalTrafficPolicy": (("Cluster",), _TRAFFIC),
        "externalTrafficPolicy": (("Cluster",), _TRAFFIC),
        "allocateLoadBalancerNodePorts": ((True,), "ports of the machine are taken as named"),
        "ipFamilies": ((["IPv4"],), "addresses are of IPv4"),
        "ipFamilyPolicy": (("SingleStack",), "addresses are of IPv4"),
    },
    StatefulSetSpec: {
        "podManagementPolicy": (("OrderedReady",), "replicas start one after the other"),
        "updateStrategy": (
            (
                {"type": "RollingUpdate"},
                {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            ),
            "replicas are replaced one after the other, all of them",
        ),
    },
    WorkloadSpec: {
        "updateStrategy": (
            (
                {"type": "RollingUpdate"},
                {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
                {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
            ),
            "the new instance starts beside the old one",
        ),
    },
    JobSpec: {"completionMode": (("NonIndexed",), "all runs are alike")},
    DeploymentConfigStrategy: {"resources": ((), "rollouts take nothing: no Pod carries them out")},
}
_OF_THE_API: Mapping[type[BaseModel], frozenset[str]] = {
    # Written by servers, or required without a meaning of its own.
    ObjectMeta: frozenset({"selfLink", "clusterName", "deletionGracePeriodSeconds"}),
    StatefulSetSpec: frozenset({"serviceName"}),
}


def effectless_fields(model: BaseModel, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path of each field without effect that asks for something, and what holds instead.

    Of a field that nobody knows, nothing can be said to hold: the second is empty then, or asks
    for the field that was probably meant.
    """
    known = _KNOWN.get(type(model), {})
    silent = _OF_THE_API.get(type(model), frozenset())
    for name, value in (model.model_extra or {}).items():
        defaults, instead = known.get(name, ((), ""))
        if name == "serviceAccount" and value == getattr(model, "service_account_name", None):
            continue  # the name that the field had once, beside that of today
        if value and value not in defaults and name not in silent:
            yield f"{path}{name}", instead or _meant(model, name)
    for name, alias in _fields(type(model)):
        value = model.__dict__[name]
        if isinstance(value, BaseModel):
            yield from effectless_fields(value, f"{path}{alias}.")
        elif isinstance(value, tuple):
            for at, item in enumerate(value):
                if isinstance(item, BaseModel):
                    yield from effectless_fields(item, f"{path}{alias}[{at}].")
        elif alias in known and value and value not in known[alias][0]:
            yield f"{path}{alias}", known[alias][1]


@cache
def _fields(model: type[BaseModel]) -> tuple[tuple[str, str], ...]:
    """Return each field's name, and its name on the wire."""
    return tuple(
        (name, field.serialization_alias or field.alias or name)
        for name, field in model.model_fields.items()
    )


def _meant(model: BaseModel, name: str) -> str:
    """Return a question for the field whose name is like `name`; or empty."""
    known = [alias for _, alias in _fields(type(model))]
    near = get_close_matches(name[:_LONGEST_NAME], known, n=1, cutoff=0.75)
    return f"{MEANT}{near[0]}?" if near else ""


MEANT = "did you mean "
"""Begins what is asked of a field that nobody knows."""
_LONGEST_NAME = 64
"""Characters of a name that are compared."""
