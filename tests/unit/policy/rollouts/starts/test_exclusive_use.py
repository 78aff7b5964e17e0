"""Volumes and ports that one instance alone can have, and what follows for a rollout."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from upwell.api.apps import DaemonSet, Deployment, DeploymentConfig, StatefulSet
from upwell.api.codec import decode_as
from upwell.policy.rollouts.rollout import (
    Replica,
    Rollout,
    RolloutStrategy,
    RolloutTarget,
    Settings,
)
from upwell.policy.rollouts.settings import Workload, settings_of
from upwell.policy.rollouts.starts.exclusive_use import (
    SHARE_ANNOTATION,
    ExclusiveUse,
    exclusive_use,
    exclusive_use_warnings,
    one_at_a_time,
    stops_first,
)
from upwell.policy.rollouts.steps import Drain, StartReplica, Stop, makes_room, next_steps
from upwell.policy.rollouts.volumes.written import declared_warnings
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import Instance, State

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DATA = {"name": "data", "persistentVolumeClaim": {"claimName": "pg"}}
READ_ONLY = {"name": "data", "persistentVolumeClaim": {"claimName": "pg", "readOnly": True}}
MOUNT = {"name": "data", "mountPath": "/var/lib/data"}
DECLARED = ExclusiveUse(declared=("/data",))


def workload(
    kind: type[Workload] = Deployment,
    volume: dict[str, Any] = DATA,
    mount: dict[str, Any] = MOUNT,
    annotations: dict[str, str] | None = None,
    *,
    init: bool = False,
    **spec: Any,
) -> Workload:
    container = {"name": "db", "image": "db:1", "volumeMounts": [mount]}
    other = {"name": "other", "image": "db:1"}
    pod = {
        "containers": [other if init else container],
        "initContainers": [container] if init else [],
        "volumes": [volume],
    }
    metadata = {"namespace": "shop", "name": "db", "annotations": annotations or {}}
    spec = {"template": {"spec": pod}, **spec}
    return decode_as(kind, {"metadata": metadata, "spec": spec})


def instance(*volumes: str, role: str = "") -> Instance:
    owner = Owner("Deployment", "shop", "db")
    fields: dict[str, Any] = {"ready_since": None, "started_at": NOW, "address": "", "images": {}}
    return Instance(
        "db-1-0", owner, "1", State.RUNNING, ready=False, role=role, volumes=volumes, **fields
    )


@pytest.mark.parametrize(
    ("found", "claims"),
    [
        (workload(), ("pg",)),
        (workload(init=True), ("pg",)),
        (workload(DeploymentConfig), ("pg",)),
        (workload(DaemonSet), ("pg",)),
        (workload(replicas=2), ()),
        (workload(mount={**MOUNT, "readOnly": True}), ()),
        (
            workload(volume=READ_ONLY),
            (),
        ),
        (workload(volume={"name": "data", "emptyDir": {}}), ()),
        (workload(annotations={SHARE_ANNOTATION: "true"}), ()),
    ],
)
def test_a_claim_that_one_instance_writes_is_written(
    found: Workload, claims: tuple[str, ...]
) -> None:
    assert exclusive_use(found) == ExclusiveUse(claims)


def test_what_an_image_declares_its_instances_show() -> None:
    shown = [instance("/data", "/logs"), instance("/hooks", role="pre")]

    found = exclusive_use(workload(volume={"name": "data", "emptyDir": {}}, replicas=3), shown)

    assert found == ExclusiveUse(declared=("/data", "/logs"))
    assert str(found) == "write the image's volume /data, /logs"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(3, max_surge=2), Settings(3, max_surge=0, max_unavailable=1, exclusive=True)),
        (
            Settings(3, max_unavailable=2, max_surge=0),
            Settings(3, RolloutStrategy.ROLLING, 0, 2, exclusive=True),
        ),
        (Settings(1, RolloutStrategy.RECREATE), None),
        (Settings(1, RolloutStrategy.ORDERED), None),
    ],
)
def test_the_old_instance_makes_room_first(settings: Settings, expected: Settings | None) -> None:
    assert one_at_a_time(settings, DECLARED) == (expected or settings)
    assert one_at_a_time(settings, ExclusiveUse()) == settings


@pytest.mark.parametrize(
    ("found", "warns"),
    [
        (workload(), True),
        (workload(strategy={"type": "Recreate"}), False),
        (workload(annotations={SHARE_ANNOTATION: "true"}), False),
        (workload(StatefulSet), False),
    ],
)
def test_it_is_said_when_it_is_applied(found: Workload, *, warns: bool) -> None:
    said = list(exclusive_use_warnings(found))

    assert bool(said) == warns
    condition = stops_first(settings_of(found), exclusive_use(found))
    if warns:
        assert "persistentVolumeClaim pg" in said[0]
        assert "nothing serves in between" in said[0]
        assert (condition.status, condition.reason) == ("True", "VolumeIsWritten")
        assert len(said[0]) <= 256  # as much of a warning as is sent


DNS = [
    {"containerPort": 53, "hostPort": 53, "protocol": "UDP"},
    {"containerPort": 53, "hostPort": 53, "protocol": "UDP", "hostIP": "10.0.0.1"},
    {"containerPort": 53, "hostPort": 53},
    {"containerPort": 54, "protocol": "UDP"},
    {"containerPort": 55, "hostPort": 55, "protocol": "SCTP"},
]


def dns(replicas: int, **changes: Any) -> Workload:
    template = {"spec": {"containers": [{"name": "dns", "image": "dns:1", "ports": DNS}]}}
    return workload(template=template, replicas=replicas, **changes)


def test_a_udp_port_of_the_machine_is_for_one_instance() -> None:
    found = dns(1, annotations={SHARE_ANNOTATION: "true"})

    [said] = exclusive_use_warnings(found)
    assert said.startswith("instances have host port 53/UDP, so each update stops the old one")
    assert SHARE_ANNOTATION not in said
    condition = stops_first(settings_of(found), exclusive_use(found))
    assert (condition.status, condition.reason) == ("True", "HostPortIsPublished")
    assert one_at_a_time(settings_of(found), exclusive_use(found)).exclusive
    assert not list(exclusive_use_warnings(dns(1, strategy={"type": "Recreate"})))


def test_more_replicas_than_a_udp_port_is_for_are_warned_about() -> None:
    [said] = exclusive_use_warnings(dns(3, strategy={"type": "Recreate"}))

    assert "one instance alone can have host port 53/UDP" in said
    assert "set replicas to 1" in said


def test_more_replicas_than_one_that_write_a_claim_are_warned_about() -> None:
    [said] = exclusive_use_warnings(workload(replicas=2))

    assert said.startswith("2 replicas write persistentVolumeClaim pg at the same time")
    assert "set replicas to 1" in said
    assert not list(exclusive_use_warnings(workload(volume=READ_ONLY, replicas=2)))
    shared = {SHARE_ANNOTATION: "true"}
    assert not list(exclusive_use_warnings(workload(annotations=shared, replicas=2)))


def test_a_declared_volume_at_which_nothing_is_mounted_is_named() -> None:
    paths = {"db": ["/var/lib/data/pg", "/logs"], "gone": ["/x"]}

    [said] = declared_warnings(workload(), paths)

    assert "the image of container db declares the volume /logs" in said
    assert "persistentVolumeClaim" in said
    assert len(said) <= 256


def replica(index: int, revision: str, **changes: Any) -> Replica:
    made = Replica(f"{revision}-{index}", index, revision, NOW, NOW - timedelta(hours=1))
    return replace(made, **changes)


def rollout(replicas: int = 1) -> Rollout:
    settings = one_at_a_time(Settings(replicas), DECLARED)
    return Rollout(settings, RolloutTarget("new", NOW, complete=False), "old")


def test_room_is_made_for_the_new_instance_before_it_starts() -> None:
    old = [replica(0, "old")]

    first = next_steps(rollout(), old, NOW)
    drained = next_steps(rollout(), [replace(old[0], drained=True)], NOW)
    gone = next_steps(rollout(), [], NOW)

    assert (first[0], drained[0]) == (Drain("old-0"), Stop("old-0"))
    assert StartReplica("new", 0) not in (*first, *drained)
    assert gone[0] == StartReplica("new", 0)
    assert makes_room(rollout(), old, first) == 0
    assert makes_room(rollout(), [], gone) is None


def test_one_index_after_the_other_is_replaced() -> None:
    left = [replica(0, "old"), replica(1, "old")]

    steps = next_steps(rollout(3), left, NOW)

    assert [step for step in steps if isinstance(step, StartReplica)] == [StartReplica("new", 2)]
    assert not [step for step in steps if isinstance(step, Drain | Stop)]


def test_the_old_instance_is_not_restarted_beside_the_new_one() -> None:
    crashed = replica(0, "old", ended=True, ready_since=None, started_at=NOW - timedelta(hours=1))
    coming = replica(0, "new", ready_since=None)

    steps = next_steps(rollout(), [crashed, coming], NOW)

    assert StartReplica("old", 0) not in steps
