"""networking.k8s.io/v1: what may connect to instances, and where they may connect to."""

from typing import ClassVar, Literal

from pydantic import Field

from upwell.api.columns import networking
from upwell.api.meta import Condition, Kind, Model, Resource


class SelectorRequirement(Model):
    """A condition on one label."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()


class PeerSelector(Model):
    """Labels that all have to be there; an empty selector selects everything."""

    match_labels: dict[str, str] = Field(default_factory=dict)
    match_expressions: tuple[SelectorRequirement, ...] = ()


class IPBlock(Model):
    """A network, less parts of it."""

    cidr: str
    except_: tuple[str, ...] = Field(default=(), alias="except")


class NetworkPolicyPeer(Model):
    """Instances by the labels of theirs and of their namespace, or a network."""

    pod_selector: PeerSelector | None = None
    namespace_selector: PeerSelector | None = None
    ip_block: IPBlock | None = Field(default=None, alias="ipBlock")


class NetworkPolicyPort(Model):
    """A port, by number or by the name that a container gives it, up to `endPort`."""

    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    port: int | str | None = None
    end_port: int | None = Field(default=None, ge=1, le=65535)


class NetworkPolicyIngressRule(Model):
    """Connections that are let in: from any of these, to any of these ports."""

    from_: tuple[NetworkPolicyPeer, ...] = Field(default=(), alias="from")
    ports: tuple[NetworkPolicyPort, ...] = ()


class NetworkPolicyEgressRule(Model):
    """Connections that are let out: to any of these, at any of these ports."""

    to: tuple[NetworkPolicyPeer, ...] = ()
    ports: tuple[NetworkPolicyPort, ...] = ()


class NetworkPolicySpec(Model):
    """Instances that a policy is about, and what is let in and out."""

    pod_selector: PeerSelector = Field(default_factory=PeerSelector)
    policy_types: tuple[Literal["Ingress", "Egress"], ...] = ()
    ingress: tuple[NetworkPolicyIngressRule, ...] = ()
    egress: tuple[NetworkPolicyEgressRule, ...] = ()

    @property
    def directions(self) -> tuple[str, ...]:
        """Directions that it is about: Ingress always, Egress where it has such rules."""
        return self.policy_types or ("Ingress", *(("Egress",) if self.egress else ()))


class NetworkPolicyStatus(Model):
    """Status that the firewall reports."""

    conditions: tuple[Condition, ...] = ()


class NetworkPolicy(Resource):
    """Rules of what may connect to the instances that it selects, and where these may connect."""

    KIND: ClassVar[Kind] = Kind(
        "networking.k8s.io",
        "v1",
        "NetworkPolicy",
        "networkpolicies",
        ("netpol",),
        columns=networking.NETWORK_POLICY,
    )

    spec: NetworkPolicySpec = Field(default_factory=NetworkPolicySpec)
    status: NetworkPolicyStatus = Field(default_factory=NetworkPolicyStatus)
