"""Check of `upwell doctor --on kubernetes`: servers of an installation that do not serve."""

from collections.abc import Iterator, Mapping
from typing import Any

from upwell.cli.install.installation import NAME, ClusterInstallation
from upwell.cli.install.kubectl import KubectlRunner
from upwell.machine.checks import HostCheck, HostCheckStatus

_NAME = "servers"
_SELECTOR = f"app.kubernetes.io/name={NAME}"


def check_servers(kubectl: KubectlRunner, installation: ClusterInstallation) -> HostCheck | None:
    """Return whether the installed Pods serve, and what keeps them from it; None: there are none.

    Raises CommandError.
    """
    pods = kubectl.items("pods", "--namespace", installation.namespace, "--selector", _SELECTOR)
    if not pods:
        return None
    absent = {pod["metadata"]["name"]: _why(pod) for pod in pods if not _is_ready(pod)}
    if not absent:
        return HostCheck(_NAME, HostCheckStatus.OK, f"{len(pods)} of {len(pods)} serve")
    told = "; ".join(f"{name}: {why}" for name, why in sorted(absent.items()))
    status = HostCheckStatus.FAIL if len(absent) == len(pods) else HostCheckStatus.WARN
    remedy = f"kubectl -n {installation.namespace} describe pods; upwell help kubernetes install"
    detail = f"{len(pods) - len(absent)} of {len(pods)} serve: {told}"
    return HostCheck(_NAME, status, detail, remedy)


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _why(pod: Mapping[str, Any]) -> str:
    """Return the words of the container or of the scheduler, the first there are."""
    return next(iter(_reasons(pod.get("status") or {})), "not ready")


def _reasons(status: Mapping[str, Any]) -> Iterator[str]:
    for container in status.get("containerStatuses") or ():
        state = container.get("state") or {}
        if told := state.get("waiting") or state.get("terminated"):
            yield ": ".join(filter(None, (told.get("reason"), told.get("message"))))
    for condition in status.get("conditions") or ():
        if condition.get("status") == "False" and condition.get("message"):
            yield str(condition["message"])
