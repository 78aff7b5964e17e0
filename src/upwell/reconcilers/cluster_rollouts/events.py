"""Events at a cluster's workloads: what is said of each, once."""

import logging

from upwell.api.meta import ObjectKey, Resource
from upwell.cluster.errors import AccessDeniedError, ClusterError
from upwell.cluster.interface import ClusterWorkloads, WorkloadEvent
from upwell.reconcilers.signatures.questions import ImagePolicyError

log = logging.getLogger(__name__)


class WorkloadEvents:
    """Shows Events, each unless it is the one that was shown last; one that is refused is lost.

    What was shown is lost with the process: the cluster has it under its name.
    """

    def __init__(self, cluster: ClusterWorkloads) -> None:
        self._cluster = cluster
        self._shown: dict[ObjectKey, tuple[str, str]] = {}

    async def show(
        self, workload: Resource, reason: str, message: str, *, warns: bool = False
    ) -> None:
        """Show an Event at a workload; without a reason, there is nothing to say of it any more."""
        if not reason:
            self.forget(workload.key)
            return
        if self._shown.get(workload.key) == (reason, message):
            return
        try:
            await self._cluster.tell(WorkloadEvent(workload, reason, message, warns))
        except ClusterError as error:
            log.warning("Event not written", extra={"key": str(workload.key), "why": str(error)})
            if error.retryable or isinstance(error, AccessDeniedError):
                return  # it is told once that is possible
        self._shown[workload.key] = (reason, message)

    async def show_refusal(
        self, workload: Resource, error: ClusterError | ImagePolicyError, pending: str
    ) -> None:
        """Log and show that a workload was not written, and what was to be written."""
        log.warning(
            "workload not written",
            extra={"key": str(workload.key), "reason": error.reason, "why": str(error)},
        )
        await self.show(workload, error.reason, f"{error}; {pending}", warns=True)

    def forget(self, workload: ObjectKey) -> None:
        """Let the next Event of a workload be shown, whichever it is."""
        self._shown.pop(workload, None)
