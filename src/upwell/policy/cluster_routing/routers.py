"""Router of a cluster that Routes are given to: an IngressClass, or a Gateway; pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from upwell.api.networking.gateway import Gateway, IngressClass

_DEFAULT = "ingressclass.kubernetes.io/is-default-class"


@dataclass(frozen=True, slots=True)
class IngressRouter:
    """Routes become Ingresses of this class."""

    class_name: str
    controller: str = ""
    """Name of the controller that serves the class."""


@dataclass(frozen=True, slots=True)
class GatewayRouter:
    """Routes become HTTPRoutes or TLSRoutes that attach to this Gateway."""

    gateway: Gateway


@dataclass(frozen=True, slots=True)
class NoRouter:
    """Absence of a router; the message says why, and what to do."""

    message: str


type Router = IngressRouter | GatewayRouter | NoRouter


def choose_router(
    classes: Sequence[IngressClass], gateways: Sequence[Gateway], wanted: str = ""
) -> Router:
    """Return the router of a cluster; `wanted` is a Gateway, as `NAMESPACE/NAME`.

    Without one, the default IngressClass, or the only one; where there is none, the only Gateway.
    """
    if wanted:
        found = [one for one in gateways if f"{one.namespace}/{one.name}" == wanted]
        if found:
            return GatewayRouter(found[0])
        return NoRouter(f"Gateway {wanted} ([kubernetes] gateway) does not exist: create it")
    defaults = [one for one in classes if one.annotations.get(_DEFAULT) == "true"]
    for some in (defaults, classes):
        if len(some) == 1:
            return IngressRouter(some[0].name, some[0].spec.controller)
    if len(gateways) == 1 and not classes:
        return GatewayRouter(gateways[0])
    return NoRouter(_unclear(sorted(one.name for one in defaults or classes), gateways))


def _unclear(classes: Sequence[str], gateways: Sequence[Gateway]) -> str:
    """Say why none is chosen, and what to do."""
    if classes:
        return (
            f"which IngressClass serves Routes is not clear ({', '.join(classes)}): give one of"
            f" them the annotation {_DEFAULT}: true"
        )
    if gateways:
        return "there are several Gateways: name one as [kubernetes] gateway"
    return (
        "the cluster has no IngressClass and no Gateway: install an ingress controller, or one of"
        " the Gateway API"
    )
