"""Messages about ports that a router of TCP cannot serve."""

from typing import Any

import pytest

from upwell.api.apps import Deployment
from upwell.api.codec import decode_as
from upwell.api.core import Service
from upwell.policy.routing.port_protocols import protocol_warnings

UDP = {"name": "dns", "port": 53, "protocol": "UDP"}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"ports": [UDP]}, "port dns (53/UDP) is not served"),
        ({"ports": [UDP], "type": "NodePort"}, "clusterIP: None"),
        ({"ports": [{"port": 53}]}, ""),
        ({"ports": [UDP], "clusterIP": "None"}, ""),
        ({"ports": [UDP], "type": "ExternalName"}, ""),
    ],
)
def test_a_service_is_warned_about_at_its_address_only(spec: dict[str, Any], told: str) -> None:
    found = list(protocol_warnings(decode_as(Service, {"spec": spec})))
    assert len(found) == bool(told)
    assert told in "".join(found)


def test_a_host_port_of_sctp_is_warned_about_and_others_are_not() -> None:
    ports = [
        {"containerPort": 53, "protocol": "UDP"},
        {"containerPort": 54, "protocol": "UDP", "hostPort": 5353},
        {"containerPort": 55, "protocol": "SCTP", "hostPort": 5555},
        {"containerPort": 80, "hostPort": 8080},
    ]
    pod = {"containers": [{"name": "dns", "ports": ports}]}
    workload = decode_as(Deployment, {"spec": {"template": {"spec": pod}}})
    [warning] = protocol_warnings(workload)
    assert warning.startswith("container dns: hostPort 5555/SCTP is not served")
