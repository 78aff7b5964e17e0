"""A fault of an object, as every surface tells of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from upwell.api.meta import Condition, ObjectKey
from upwell.policy.signatures.wording import NOT_CHECKED, NOT_SATISFIED


class FaultEvent(StrEnum):
    """Reason of the Event that tells of a fault."""

    ROLLOUT_FAILED = "RolloutFailed"
    ROLLED_BACK = "RolledBack"
    ROLLOUT_BLOCKED = "RolloutBlocked"
    WORKLOAD_DEGRADED = "WorkloadDegraded"
    DRIFTED = "Drifted"
    NOT_SERVED = "NotServed"
    BUILD_FAILED = "BuildFailed"
    BUILD_BLOCKED = "BuildBlocked"
    IMAGE_UNSIGNED = "ImageUnsigned"
    IMPORT_FAILED = "ImportFailed"
    JOB_FAILED = "Failed"
    PIPELINE_DEGRADED = "PipelineDegraded"
    COMPONENT_DEGRADED = "ComponentDegraded"
    CLUSTER_DEGRADED = "ClusterDegraded"
    QUOTA_FILLING = "QuotaFilling"


_STEPS: Mapping[str, str] = {
    NOT_SATISFIED: "sign it, and it goes on by itself; `upwell image verify IMAGE` asks again",
    NOT_CHECKED: "it is asked again by itself, once its registry answers",
}
"""Steps that end what a reason stands for, whatever object has it."""


@dataclass(frozen=True, slots=True)
class HealthFault:
    """Fault of an object, as it is now."""

    key: ObjectKey
    event: FaultEvent
    reason: str
    """In CamelCase, of a bounded set: a label of a metric."""
    message: str
    since: datetime | None = None
    next_step: str = ""
    """Step that mends it, or ends the wait; empty where the message says it."""
    part: str = ""
    """Tag of an ImageStream."""

    def __str__(self) -> str:
        if not self.next_step or self.next_step in self.message:
            return self.message
        return f"{self.message}; {self.next_step}"

    @classmethod
    def of(
        cls,
        key: ObjectKey,
        event: FaultEvent,
        condition: Condition,
        next_step: str = "",
        part: str = "",
    ) -> "HealthFault":
        """Return the fault that a condition stores."""
        message = condition.message or condition.reason
        since = condition.last_transition_time
        step = next_step or _STEPS.get(condition.reason, "")
        return cls(key, event, condition.reason, message, since, step, part)
