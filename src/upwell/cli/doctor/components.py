"""Check of `upwell doctor --on kubernetes`: components of running servers that are faulty."""

from collections.abc import Mapping
from typing import Any

from upwell.api.cluster_operator import ClusterOperator
from upwell.api.codec import InvalidObjectError, decode_as
from upwell.cli.install.kubectl import KubectlRunner
from upwell.machine.checks import HostCheck, HostCheckStatus

_NAME = "components"


def check_components(kubectl: KubectlRunner) -> HostCheck | None:
    """Return what the servers tell of what they stand on; None: no server has told anything.

    Raises CommandError.
    """
    if ClusterOperator.KIND.api_version not in kubectl.ask("api-versions").split():
        return None
    found = [_decoded(one) for one in kubectl.items(ClusterOperator.KIND.resource)]
    told = [one for one in found if one is not None]
    if not told:
        return None
    faults = [f"{one.name}: {one.fault.message}" for one in told if one.fault is not None]
    if faults:
        remedy = "as the message says; upwell explain clusteroperator/NAME has the last faults"
        return HostCheck(_NAME, HostCheckStatus.WARN, "; ".join(faults), remedy)
    return HostCheck(_NAME, HostCheckStatus.OK, f"nothing is wrong with all {len(told)}")


def _decoded(document: Mapping[str, Any]) -> ClusterOperator | None:
    """Return a component; None: it is somebody else's, in a shape of their own."""
    try:
        return decode_as(ClusterOperator, document)
    except InvalidObjectError:
        return None
