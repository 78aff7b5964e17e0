"""`upwell doctor` beside a running server tells which of its components are faulty."""

from datetime import UTC, datetime
from pathlib import Path

from upwell.api.cluster_operator import ClusterOperator, ClusterOperatorStatus
from upwell.api.conditions import DEGRADED
from upwell.api.meta import Condition, ObjectMeta
from upwell.app.hardening.components import check_components, judge_components
from upwell.machine.checks import HostCheckStatus

NOW = datetime(2026, 11, 29, tzinfo=UTC)


def component(name: str, message: str = "") -> ClusterOperator:
    degraded = Condition(
        type=DEGRADED,
        status="True" if message else "False",
        reason="ContentDamaged" if message else "AsExpected",
        message=message,
        last_transition_time=NOW,
    )
    status = ClusterOperatorStatus(conditions=(degraded,))
    return ClusterOperator(metadata=ObjectMeta(name=name), status=status)


def test_each_faulty_component_is_a_warning() -> None:
    damaged = "blob sha256:1 of team/app: damaged on the disk"
    (found,) = judge_components([component("registry", damaged), component("router")])
    assert (found.name, found.status) == ("component registry", HostCheckStatus.WARN)
    assert found.detail == f"ContentDamaged: {damaged}"
    assert "upwell describe clusteroperator registry" in found.remedy


def test_where_none_is_faulty_one_line_says_so() -> None:
    (found,) = judge_components([component("registry"), component("router")])
    assert (found.name, found.status) == ("components", HostCheckStatus.OK)
    assert found.detail.startswith("2 of the running server")


async def test_without_a_server_there_is_nothing_to_tell(tmp_path: Path) -> None:
    assert not await check_components(tmp_path)
