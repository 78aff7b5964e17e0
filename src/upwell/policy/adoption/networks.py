"""Networks of a Compose file, as NetworkPolicies: services of one reach each other, others do not.

Labels are those of Kompose (https://kompose.io/conversion/).
"""

from collections.abc import Iterator, Mapping, Sequence

from upwell.api.meta import ObjectMeta
from upwell.api.networking.network_policy import (
    NetworkPolicy,
    NetworkPolicyIngressRule,
    NetworkPolicyPeer,
    NetworkPolicySpec,
    PeerSelector,
)
from upwell.formats.compose.model import DEFAULT_NETWORK, ComposeService
from upwell.policy.adoption.names import object_name

_LABEL = "io.kompose.network/"


def network_labels(
    service: ComposeService, services: Sequence[ComposeService]
) -> Mapping[str, str]:
    """Return the labels that say in which networks a service is, where networks differ."""
    if not _differ(services):
        return {}
    return {f"{_LABEL}{object_name(one)}": "true" for one in _networks(service)}


def network_policies(services: Sequence[ComposeService]) -> Iterator[NetworkPolicy]:
    """Yield a policy for each network; none where all services have the same ones.

    What the machine connects to stays open: health checks, published ports, Routes.
    """
    if not _differ(services):
        return
    for name in sorted({object_name(one) for service in services for one in _networks(service)}):
        members = PeerSelector(match_labels={f"{_LABEL}{name}": "true"})
        rule = NetworkPolicyIngressRule(from_=(NetworkPolicyPeer(pod_selector=members),))
        yield NetworkPolicy(
            metadata=ObjectMeta(name=f"network-{name}"),
            spec=NetworkPolicySpec(pod_selector=members, ingress=(rule,)),
        )


def _differ(services: Sequence[ComposeService]) -> bool:
    return len({frozenset(_networks(one)) for one in services}) > 1


def _networks(service: ComposeService) -> Sequence[str]:
    return service.networks or (DEFAULT_NETWORK,)
