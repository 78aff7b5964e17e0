"""Runs of builds that the store has cut off: when each goes on, and who is told."""

import logging

from upwell.api.meta import ObjectKey
from upwell.controller.failing import FailingReconciles
from upwell.controller.refusals import Refusals
from upwell.store.interface import StoreError

log = logging.getLogger(__name__)

RUNS = "build-runs"
"""Name under which a run counts as failing: a reconcile that begins one ends well."""
_STORE_PAUSE = 5.0
"""Seconds before a build that the store interrupted is looked at again."""


class Interruptions:
    """Refusals of the store, by build.

    One for good, of a right for instance, is told as failing until the run goes on; one that may
    pass, of a full disk for instance, is logged alone.
    """

    def __init__(self, failing: FailingReconciles) -> None:
        self._failing = failing
        self._refusals = Refusals(_STORE_PAUSE)
        """Those for good."""

    def note(self, key: ObjectKey, error: StoreError) -> float:
        """Note that a run was cut off; return the seconds until it is tried again."""
        if error.retryable:
            log.warning("build interrupted", extra={"key": str(key), "why": str(error)})
            return _STORE_PAUSE
        pause = self._refusals.note(key)
        self._failing.note(RUNS, key, str(error))
        where = {"key": str(key), "why": str(error), "retry_in": pause}
        log.error("build interrupted", extra=where)
        return pause

    def forget(self, key: ObjectKey) -> None:
        """Note that a run has ended by itself, or that its build is gone."""
        self._refusals.forget(key)
        self._failing.forget(RUNS, key)
