"""Faults of the runtime, told once each: as the state of a component, and in the log."""

import logging
from collections.abc import Callable
from enum import StrEnum

from upwell.machine.components import WatchedComponent

_log = logging.getLogger(__name__)


class FaultPlace(StrEnum):
    """Part of the runtime that a fault was seen at; an earlier one explains the later ones."""

    SERVICE = "service"
    LIST = "list"
    CONTAINER = "container"


class RuntimeFaults:
    """Faults of Podman by where they were seen; `recovered` is called when the last is gone."""

    def __init__(self, component: WatchedComponent, recovered: Callable[[], None]) -> None:
        self.component = component
        self._recovered = recovered
        self._faults: dict[FaultPlace, tuple[str, str]] = {}

    @property
    def answers(self) -> bool:
        """True while Podman answers, whatever is wrong with one container or another."""
        return not self._faults.keys() & {FaultPlace.SERVICE, FaultPlace.LIST}

    def report(self, place: FaultPlace, reason: str, message: str) -> None:
        """Report a fault; of several, the one that explains the others is told."""
        before = self._faults.get(place)
        self._faults[place] = (reason, message)
        if before is None or before[0] != reason:
            _log.warning("podman is at fault", extra={"reason": reason, "why": message})
        self._tell()

    def clear(self, place: FaultPlace) -> None:
        """Report that nothing is wrong there."""
        if self._faults.pop(place, None) is None:
            return
        if self._faults:
            self._tell()
            return
        _log.info("podman is well again")
        self.component.recover()
        self._recovered()

    def _tell(self) -> None:
        first = min(self._faults, key=list(FaultPlace).index)
        self.component.fail(*self._faults[first])


class InstanceFaults:
    """Log of faults that concern one instance alone: each once, until it is over or another."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], str] = {}
        """(Instance, constant message) -> error that was told last."""

    def tell(self, instance: str, error: Exception, message: str) -> None:
        """Log a fault of an instance, unless it was the last one told of it."""
        why = str(error) or type(error).__name__
        if self._told.get((instance, message)) == why:
            return
        self._told[instance, message] = why
        expected = getattr(error, "retryable", False)
        _log.log(
            logging.WARNING if expected else logging.ERROR,
            message,
            extra={"instance": instance, "why": why},
            exc_info=None if expected else error,
        )

    def forget(self, instance: str, message: str) -> None:
        """Let a fault of an instance be told when it comes again, as it is over."""
        self._told.pop((instance, message), None)
