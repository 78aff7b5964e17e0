"""Times of containers by our own clock."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

from upwell.machine.clock import PastTimes
from upwell.workload.podman.containers.facts import ContainerFacts


class ContainerTimes:
    """Puts what Podman says where it must lie by our own clock.

    A container that runs, and did not at the listing before, has started since then, and not in
    the future; the same for its end.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._past = PastTimes(clock)
        self._known: dict[tuple[str, datetime], datetime] = {}
        """Corrected times, by container and Podman's own."""
        self._listed_at: datetime | None = None

    @property
    def past(self) -> PastTimes:
        """Times that were written down, as they count now."""
        return self._past

    def correct(self, facts: ContainerFacts) -> ContainerFacts:
        """Return the container with its times corrected; the same ones each time."""
        started = self._correct(facts.id, facts.started_at)
        ended = self._correct(facts.id, facts.ended_at)
        if (started, ended) == (facts.started_at, facts.ended_at):
            return facts
        return replace(facts, started_at=started, ended_at=ended)

    def listed(self, began: datetime, containers: Iterable[str]) -> None:
        """Take down when a listing of all containers, by their ids, began."""
        present = set(containers)
        self._known = {key: time for key, time in self._known.items() if key[0] in present}
        self._listed_at = began

    def _correct(self, container: str, said: datetime | None) -> datetime | None:
        if said is None:
            return None
        key = container, said
        if key not in self._known:
            time = self._past(said)
            if self._listed_at is not None:
                time = max(time, min(self._listed_at, self._clock()))
            self._known[key] = time
        return self._past(self._known[key])
