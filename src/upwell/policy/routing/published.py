"""Ports of the machine that the runtime leads to one instance: each belongs to one workload."""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network

from upwell.api.meta import ObjectKey
from upwell.policy.rollouts.instance import key_of
from upwell.policy.rollouts.settings import Workload, template_of
from upwell.policy.rollouts.starts.published_ports import published_ports
from upwell.policy.routing.claims import EVERY_ADDRESS, Claim, Place, created_text, withheld
from upwell.workload.instance_spec import PortMapping
from upwell.workload.interface import Instance, State


def published_name(workload: ObjectKey, port: PortMapping) -> str:
    """Return the name of a published port among the listeners, of which it is none."""
    return f"{workload.namespace}:{workload.kind}:{workload.name}:{port}"


def withheld_ports(
    workloads: Mapping[ObjectKey, Workload], instances: Iterable[Instance], network: IPv4Network
) -> Mapping[str, str]:
    """Return the published ports that another workload has, each with the reason.

    Whoever runs has it, else the oldest: an instance of the other cannot be started.
    """
    runs = {key_of(one.owner) for one in instances if one.state is State.RUNNING and not one.role}
    claims: list[Claim] = []
    held: dict[Place, ObjectKey] = {}
    for key, workload in sorted(workloads.items(), key=lambda item: created_text(item[1])):
        for port in published_ports(template_of(workload).spec):
            place = (port.host_ip or EVERY_ADDRESS, port.host_port)
            claims.append(Claim(published_name(key, port), place, key, created_text(workload)))
            if key in runs:
                held.setdefault(place, key)
    faults, _ = withheld(claims, held, (), network)
    return faults
