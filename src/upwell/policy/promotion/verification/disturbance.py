"""Disturbances of a check: what was wrong beside it, so that its end says nothing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from upwell.workload.instance_spec import Owner
from upwell.workload.interface import Instance


@dataclass(frozen=True, slots=True)
class AskedWorkloads:
    """Workloads of a stage: owner -> hash of its newest revision, empty before there is one."""

    namespace: str
    revisions: Mapping[Owner, str]

    def include(self, instance: Instance) -> bool:
        """Return True if a check may have met the instance, or lacked it.

        Of what is no workload of the stage only that which the machine has lost counts.
        """
        if instance.role or instance.owner.namespace != self.namespace:
            return False
        wanted = self.revisions.get(instance.owner)
        if wanted is None:
            return bool(instance.losses)
        return wanted in {"", instance.revision}


@dataclass(frozen=True, slots=True)
class Disturbance:
    """A fault beside a check while it ran."""

    why: str
    ended_by_itself: bool = False
    """True if an instance did, and the check has failed: that excuses one run, not two."""


def disturbed_instance(
    instances: Iterable[Instance],
    asked: AskedWorkloads,
    since: datetime,
    now: datetime,
    patience: timedelta,
    *,
    passed: bool,
    excused: bool = True,
) -> Disturbance | None:
    """Return what kept an instance from being ready all the time from `since` on; None: nothing.

    One that has had `patience` to get ready, and is not, is no excuse any more. What ended by
    itself takes the meaning from a check that has `passed`; for one that failed it is an excuse
    unless an earlier run was `excused` so: whoever ends under the test again has failed.
    """
    for one in instances:
        if not asked.include(one) or (excused and not passed and not one.losses):
            continue
        late = one.ready_since is not None and one.ready_since > since
        if late or (not one.ready and now < one.started_at + patience):
            by = "was lost by the machine and started anew" if one.losses else "was not ready"
            return Disturbance(f"{one.name} {by}", not passed and not one.losses)
    return None
