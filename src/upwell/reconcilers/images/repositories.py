"""The import of a whole repository (spec.dockerImageRepository): finds its tags, now and later."""

import logging
from datetime import datetime

from upwell.api.conditions import set_condition
from upwell.api.image import ImageStream, RepositoryImport
from upwell.oci import InvalidReferenceError, Reference
from upwell.policy.images.outcome import failure
from upwell.policy.images.repository_tags import (
    bulk_source,
    is_insecure,
    plan_bulk_import,
    repository_generation,
)
from upwell.policy.images.schedule import ImportSchedule
from upwell.policy.images.stream_plan import WHOLE
from upwell.reconcilers.images.tags import ImportTurn
from upwell.registry.errors import RegistryError
from upwell.registry.interface import Registry, RequestAccess

log = logging.getLogger(__name__)


class RepositoryImporter:
    """Lists the tags of repositories; their images are the tags' own imports."""

    def __init__(
        self,
        upstream: Registry,
        prefix: str,
        schedule: ImportSchedule,
    ) -> None:
        self._upstream = upstream
        self._prefix = prefix
        self._schedule = schedule

    async def ask(self, stream: ImageStream, turn: ImportTurn) -> RepositoryImport:
        """List the repository's tags, and say which of them are imported."""
        now = turn.now
        source = bulk_source(stream, self._prefix) or ""
        state = stream.status.repository
        if state is None or state.source != source:
            state = RepositoryImport(source=source)
        generation = repository_generation(stream.annotations)
        state = state.model_copy(update={"generation": generation})
        try:
            reference = Reference.parse(source)
            access = RequestAccess(turn.logins, insecure=is_insecure(stream))
            present = await self._upstream.tags(reference, access)
        except InvalidReferenceError as error:
            return _failed(state, "InvalidReference", str(error), now, None)
        except RegistryError as error:
            failures = state.failures + 1
            again = self._schedule.after_failure(failures, error.retry_after, now, turn.chance)
            if not error.retryable:
                again = max(again, now + self._schedule.interval_of(stream, WHOLE))
            return _failed(state, error.reason, str(error), now, again)
        plan = plan_bulk_import(present, state.tags)
        interval = self._schedule.interval_of(stream, WHOLE)
        return state.model_copy(
            update={
                "tags": plan.imported,
                "additional_tags": plan.additional,
                "last_check_time": now,
                "next_check_time": self._schedule.after_success(interval, now, turn.chance),
                "interval": interval.total_seconds(),
                "failures": 0,
                "conditions": (),
            }
        )


def _failed(
    state: RepositoryImport, reason: str, message: str, now: datetime, again: datetime | None
) -> RepositoryImport:
    log.warning("listing failed", extra={"source": state.source, "reason": reason})
    condition = failure(reason, message, None)
    return state.model_copy(
        update={
            "last_check_time": now,
            "next_check_time": again,
            "failures": state.failures + 1,
            "conditions": set_condition(state.conditions, condition, now),
        }
    )
