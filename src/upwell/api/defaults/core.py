"""Defaults of the core group, and of what leads to Services: Routes, NetworkPolicies."""

from collections.abc import Mapping

from upwell.api.core import Namespace, Secret, ServicePort, ServiceSpec
from upwell.api.meta import Model
from upwell.api.networking.network_policy import NetworkPolicyPort, NetworkPolicySpec
from upwell.api.route import RouteSpec, RouteTarget, RouteTls
from upwell.api.validation.formats import label_problem

STORED: Mapping[type[Model], tuple[str, ...]] = {
    Secret: ("type",),
    ServiceSpec: ("type", "session_affinity"),
    ServicePort: ("protocol",),
    RouteSpec: ("wildcard_policy", "to"),
    RouteTarget: ("kind", "weight"),
    NetworkPolicyPort: ("protocol",),
}
_NAME_LABEL = "kubernetes.io/metadata.name"
_EXTERNAL = ("NodePort", "LoadBalancer")
_CLIENT_IP = {"clientIP": {"timeoutSeconds": 10800}}
_TERMINATIONS = {"Edge": "edge", "Reencrypt": "reencrypt", "Passthrough": "passthrough"}


def namespace(found: Namespace) -> Namespace:
    """Return a Namespace with the label by which others select it.

    As in Kubernetes a name that is none gets no label: that would be a second fault.
    """
    if label_problem(found.name) or found.labels.get(_NAME_LABEL) == found.name:
        return found
    return found.with_metadata(labels={**found.labels, _NAME_LABEL: found.name})


def service_port(port: ServicePort) -> dict[str, object]:
    """Return the port of the instances: the same."""
    return {} if port.target_port not in {None, 0, ""} else {"target_port": port.port}


def service_spec(spec: ServiceSpec) -> dict[str, object]:
    """Return the traffic policies of a Service; they have no effect on one machine."""
    changes: dict[str, object] = {}
    given = spec.model_extra or {}
    if spec.type in {"ClusterIP", *_EXTERNAL}:
        changes["internalTrafficPolicy"] = "Cluster"
    if spec.type in _EXTERNAL:
        changes["externalTrafficPolicy"] = "Cluster"
    if spec.type == "LoadBalancer":
        changes["allocateLoadBalancerNodePorts"] = True
    if spec.session_affinity == "ClientIP":
        changes["sessionAffinityConfig"] = _CLIENT_IP
    return {name: value for name, value in changes.items() if name not in given}


def route_tls(tls: RouteTls) -> dict[str, object]:
    """Return the termination, in lower case; `edge` unless a certificate says reencrypt."""
    if not tls.termination and not tls.destination_ca_certificate:
        return {"termination": "edge"}
    wanted = _TERMINATIONS.get(tls.termination)
    return {"termination": wanted} if wanted else {}


def network_policy_spec(spec: NetworkPolicySpec) -> dict[str, object]:
    """Return the directions that a policy is about."""
    return {} if spec.policy_types else {"policy_types": spec.directions}


def fold_string_data(secret: Secret) -> Secret:
    """Fold `stringData` into `data`: it is a way to write, never one to read."""
    plain = {key: text.encode() for key, text in secret.string_data.items()}
    folded = secret.data | Secret.encode_values(plain)
    return secret.model_copy(update={"data": folded, "string_data": {}})
