"""Faults of NetworkPolicies, each with its path."""

from typing import Any

import pytest

from upwell.api.codec import InvalidObjectError, decode_as
from upwell.api.networking.network_policy import NetworkPolicy
from upwell.api.validation.objects import validate

METADATA = {"namespace": "shop", "name": "p"}


def peer(**fields: Any) -> dict[str, Any]:
    return {"ingress": [{"from": [fields]}]}


def port(**fields: Any) -> dict[str, Any]:
    return {"egress": [{"ports": [fields]}]}


def selector(operator: str, *values: str) -> dict[str, Any]:
    one = {"key": "a", "operator": operator, "values": list(values)}
    return {"podSelector": {"matchExpressions": [one]}}


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        (peer(), "spec.ingress[0].from[0]"),
        (peer(podSelector={}, ipBlock={"cidr": "10.0.0.0/8"}), "spec.ingress[0].from[0]"),
        (peer(ipBlock={"cidr": "10.0.0.0"}), "spec.ingress[0].from[0].ipBlock.cidr"),
        (peer(ipBlock={"cidr": "10.0.0.0/33"}), "spec.ingress[0].from[0].ipBlock.cidr"),
        (
            peer(ipBlock={"cidr": "10.0.0.0/8", "except": ["11.0.0.0/9"]}),
            "spec.ingress[0].from[0].ipBlock.except[0]",
        ),
        (
            peer(ipBlock={"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}),
            "spec.ingress[0].from[0].ipBlock.except[0]",
        ),
        (port(port=0), "spec.egress[0].ports[0].port"),
        (port(port=65536), "spec.egress[0].ports[0].port"),
        (port(port=""), "spec.egress[0].ports[0].port"),
        (port(port=80, endPort=79), "spec.egress[0].ports[0].endPort"),
        (port(port="web", endPort=81), "spec.egress[0].ports[0].endPort"),
        (port(endPort=81), "spec.egress[0].ports[0].endPort"),
        (selector("In"), "spec.podSelector.matchExpressions[0].values"),
        (selector("Exists", "x"), "spec.podSelector.matchExpressions[0].values"),
        ({"ingress": [{"ports": [{"port": n} for n in range(1, 20_002)]}]}, "spec"),
    ],
)
def test_faults_are_told_with_their_path(spec: dict[str, Any], path: str) -> None:
    faults = validate(decode_as(NetworkPolicy, {"metadata": METADATA, "spec": spec}))
    assert [fault.path for fault in faults] == [path]


@pytest.mark.parametrize(
    "spec",
    [
        {"policyTypes": ["Both"]},
        selector("Like", "x"),
        port(port=80, protocol="ICMP"),
        port(port=80, endPort=65536),
    ],
)
def test_what_is_not_of_the_type_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(InvalidObjectError):
        decode_as(NetworkPolicy, {"metadata": METADATA, "spec": spec})


@pytest.mark.parametrize(
    ("spec", "directions"),
    [
        ({}, {"Ingress"}),
        (selector("NotIn", "x"), {"Ingress"}),
        (port(port=80, endPort=90), {"Ingress", "Egress"}),
        ({"policyTypes": ["Egress"]}, {"Egress"}),
        (peer(ipBlock={"cidr": "2001:db8::/32", "except": ["2001:db8::/64"]}), {"Ingress"}),
    ],
)
def test_policies_as_people_have_them(spec: dict[str, Any], directions: set[str]) -> None:
    policy = decode_as(NetworkPolicy, {"metadata": METADATA, "spec": spec})
    assert not validate(policy)
    assert set(policy.spec.directions) == directions
