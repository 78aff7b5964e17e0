"""Status of a Route that a cluster serves, in OpenShift's words (route/v1 RouteIngress); pure."""

from collections.abc import Sequence
from datetime import datetime

from upwell.api.conditions import find, set_condition
from upwell.api.meta import Condition
from upwell.api.networking.gateway import Gateway, HttpRoute, TlsRoute
from upwell.api.networking.ingress import Ingress
from upwell.api.route import Route, RouteIngress, RouteStatus
from upwell.policy.routing.hosts import ROUTER_NAME
from upwell.policy.routing.reachability import ADMITTED

EXPRESSED = "Expressed"
"""Addition of ours: False while fields of the Route have no place in what serves it."""
_ACCEPTED, _RESOLVED = "Accepted", "ResolvedRefs"


def answer_of(served: HttpRoute | TlsRoute) -> Condition:
    """Return whether a Gateway serves an HTTPRoute or TLSRoute, as a Route's condition."""
    for parent in served.status.parents:
        for kind in (_ACCEPTED, _RESOLVED):
            found = find(parent.conditions, kind)
            if found is not None and found.status == "False":
                return Condition(
                    type=ADMITTED, status="False", reason=found.reason, message=found.message
                )
    if served.status.parents:
        return Condition(type=ADMITTED, status="True", reason="Admitted", message="")
    message = f"no Gateway has answered for its {served.KIND.kind} yet"
    return Condition(type=ADMITTED, status="Unknown", reason="Pending", message=message)


def refused(reason: str, message: str) -> Condition:
    """Return the condition of a Route that is not served."""
    return Condition(type=ADMITTED, status="False", reason=reason, message=message)


def address_of(served: Ingress | Gateway | None) -> str:
    """Return the name or address at which what serves a Route is reached; empty: unknown."""
    if isinstance(served, Gateway):
        return next((one.value for one in served.status.addresses if one.value), "")
    if served is None:
        return ""
    for one in served.status.load_balancer.ingress:
        if found := one.hostname or str((one.model_extra or {}).get("ip") or ""):
            return found
    return ""


def status_of(
    route: Route, admitted: Condition, left_out: Sequence[str], address: str, now: datetime
) -> RouteStatus:
    """Return the status; what other routers say stays, and the same again changes nothing."""
    before = next((one for one in route.status.ingress if one.router_name == ROUTER_NAME), None)
    expressed = Condition(
        type=EXPRESSED,
        status="False" if left_out else "True",
        reason="NotExpressible" if left_out else "AsDeclared",
        message="; ".join(left_out),
    )
    conditions = before.conditions if before is not None else ()
    for one in (admitted, expressed):
        seen = one.model_copy(update={"observed_generation": route.generation})
        conditions = set_condition(conditions, seen, now)
    own = RouteIngress(
        host=route.spec.host,
        router_name=ROUTER_NAME,
        conditions=conditions,
        wildcard_policy=route.spec.wildcard_policy or "None",
        router_canonical_hostname=address or None,
    )
    others = tuple(one for one in route.status.ingress if one.router_name != ROUTER_NAME)
    return RouteStatus(ingress=(own, *others))
