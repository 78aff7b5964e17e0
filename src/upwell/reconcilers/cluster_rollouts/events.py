"""Events at a cluster's workloads: what is said of each, once."""

import logging
from datetime import datetime, timedelta

from upwell.api.meta import ObjectKey, Resource
from upwell.cluster.errors import AccessDeniedError, ClusterError
from upwell.cluster.interface import ClusterWorkloads, WorkloadEvent
from upwell.policy.cluster_rollouts.last_write import EVENT_AGE, LastWrite, owed_write
from upwell.policy.cluster_rollouts.note import RolloutNote
from upwell.reconcilers.signatures.questions import ImagePolicyError

log = logging.getLogger(__name__)

_OWED_EACH = timedelta(seconds=0.05)
"""Between two Events that an earlier process may owe: a new leader finds one of each workload that
was changed in the last hour, and asks the API server no more often than its own controllers do
(kube-controller-manager's `--kube-api-qps`, 20 by default)."""
_AGAIN_SECONDS = 30.0
"""Until one is tried again that a cluster could not take."""


class ShownWrites:
    """Last write of each workload of a cluster that this process has told, or is not to tell.

    Whoever writes to the cluster has the same: so those that an earlier process may owe are told
    one after the other, whoever looks at them.
    """

    def __init__(self) -> None:
        self._told: dict[ObjectKey, LastWrite] = {}
        self._turns: dict[ObjectKey, datetime] = {}
        """Of those who wait for theirs to be told of what an earlier process may owe."""
        self._next_turn: datetime | None = None

    def has(self, workload: ObjectKey, write: LastWrite) -> bool:
        """Return True if a write is not to be told any more."""
        return self._told.get(workload) == write

    def note(self, workload: ObjectKey, write: LastWrite) -> None:
        """Note that a write was told."""
        self._told[workload] = write
        self._turns.pop(workload, None)

    def wait(self, workload: ObjectKey, write: LastWrite | None, now: datetime) -> timedelta | None:
        """Return how long a write that an earlier process may owe waits for its turn.

        Zero: it is its turn, which is taken. None: nothing is owed any more.
        """
        if write is None or self.has(workload, write):
            self._turns.pop(workload, None)
            return None
        if workload not in self._turns:
            self._turns[workload] = max(self._next_turn or now, now)
            self._next_turn = self._turns[workload] + _OWED_EACH
        # None waits for longer than those before it take, wherever the clock was set to meanwhile.
        wait = min(self._turns[workload] - now, _OWED_EACH * len(self._turns))
        if wait > timedelta():
            return wait
        del self._turns[workload]
        return timedelta()

    def forget(self, workload: ObjectKey) -> None:
        """Forget a workload that is gone."""
        self._told.pop(workload, None)
        self._turns.pop(workload, None)

    def prune(self, now: datetime) -> None:
        """Forget writes whose Events would be gone by now: of workloads, too, that are gone."""
        oldest = now - EVENT_AGE
        self._told = {key: one for key, one in self._told.items() if one.at > oldest}
        self._turns = {key: turn for key, turn in self._turns.items() if turn > oldest}


class WorkloadEvents:
    """Shows Events, each unless it is the one that was shown last; one that is refused is lost.

    What was shown is lost with the process: the cluster has it under its name. Events about writes
    are shown after them, by whoever sees the note that one has left.
    """

    def __init__(self, cluster: ClusterWorkloads, writes: ShownWrites) -> None:
        """`writes` is shared by all that write to the workloads of the cluster."""
        self._cluster = cluster
        self._shown: dict[ObjectKey, tuple[str, str]] = {}
        self._writes = writes

    async def show(
        self, workload: Resource, reason: str, message: str, *, warns: bool = False
    ) -> None:
        """Show an Event at a workload; without a reason, there is nothing to say of it any more."""
        if not reason:
            self._shown.pop(workload.key, None)
            return
        if self._shown.get(workload.key) == (reason, message):
            return
        error = await self._tell(WorkloadEvent(workload, reason, message, warns))
        if error is None or not (error.retryable or isinstance(error, AccessDeniedError)):
            self._shown[workload.key] = (reason, message)  # else it is told once that is possible

    async def show_owed(
        self, workload: Resource, write: LastWrite | None, now: datetime
    ) -> float | None:
        """Show the Event of a write that an earlier process may owe, once it is its turn.

        Returns the seconds until then, or until it is tried again; None: nothing is owed any more.
        """
        wait = self._writes.wait(workload.key, write, now)
        if wait is None or write is None:
            return None
        if wait > timedelta():
            return wait.total_seconds()
        await self.show_write(workload, write)
        return None if self._writes.has(workload.key, write) else _AGAIN_SECONDS

    async def show_replaced(self, workload: Resource, now: datetime) -> None:
        """Show the Event of the last write, whose note the next one is about to replace."""
        await self.show_write(workload, owed_write(RolloutNote.of(workload), now))

    async def show_write(self, workload: Resource, write: LastWrite | None) -> None:
        """Show the Event of a write, unless this process has; nothing else is shown any more."""
        if write is None or self._writes.has(workload.key, write):
            return
        self._shown.pop(workload.key, None)
        event = WorkloadEvent(workload, write.reason, write.message, write.is_warning, write.at)
        error = await self._tell(event)
        if error is None or not error.retryable:
            self._writes.note(workload.key, write)

    async def _tell(self, event: WorkloadEvent) -> ClusterError | None:
        try:
            await self._cluster.tell(event)
        except ClusterError as error:
            about = {"key": str(event.workload.key), "why": str(error)}
            log.warning("Event not written", extra=about)
            return error
        return None

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
        """Forget a workload that is gone."""
        self._shown.pop(workload, None)
        self._writes.forget(workload)
