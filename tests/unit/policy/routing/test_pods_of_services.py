"""Stored Pods behind a Service, beside the instances of workloads."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from upwell.api.codec import decode_as
from upwell.api.core import Service
from upwell.api.pod import Pod
from upwell.policy.routing.table import RoutingState, compute
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import Instance, State

NOW = datetime(2024, 5, 1, tzinfo=UTC)


def pod(labels: dict[str, str], phase: str = "Running") -> Pod:
    container = {"name": "app", "image": "a", "ports": [{"name": "http", "containerPort": 8080}]}
    metadata = {"namespace": "shop", "name": "task", "labels": labels}
    document = {"metadata": metadata, "spec": {"containers": [container]}}
    return decode_as(Pod, document | {"status": {"phase": phase}})


def instance(**changes: Any) -> Instance:
    made = Instance(
        name="upwell-shop-po-task-0-0",
        owner=Owner("Pod", "shop", "task"),
        revision="any",
        state=State.RUNNING,
        ready=True,
        ready_since=NOW,
        started_at=NOW,
        address="10.0.0.7",
        images={},
    )
    return replace(made, **changes)


def routed(made: Pod, *instances: Instance) -> tuple[list[str], bool]:
    """Return the servers of the Service, and whether somebody is told that there are none."""
    spec = {"selector": {"app": "x"}, "ports": [{"port": 80, "targetPort": "http"}]}
    metadata = {"namespace": "shop", "name": "web"}
    service = decode_as(Service, {"metadata": metadata, "spec": spec})
    state = RoutingState([service], [], {}, instances, NOW, pods={made.key: made})
    found = compute(state)
    (backend,) = found.table.backends
    servers = [f"{one.address}:{one.port}" for one in backend.endpoints]
    return servers, service.key in found.empty


def test_a_pod_is_served_by_the_labels_that_it_has() -> None:
    assert routed(pod({"app": "x"}), instance(probed=True)) == (["10.0.0.7:8080"], False)
    assert routed(pod({"app": "y"}), instance(probed=True)) == ([], True)


def test_one_that_runs_once_serves_while_it_is_ready() -> None:
    once = instance(role="pod", probed=True)
    assert routed(pod({"app": "x"}), once) == (["10.0.0.7:8080"], False)
    assert routed(pod({"app": "x"}), replace(once, ready=False)) == ([], False)


def test_a_service_of_what_has_ended_alone_is_told_of() -> None:
    assert routed(pod({"app": "x"}, "Succeeded")) == ([], True)
