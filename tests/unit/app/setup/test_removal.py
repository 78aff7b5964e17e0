"""Removal of what runs, by `upwell setup --undo`, on a machine that is busy."""

import pytest

from upwell.app.setup.setup import removed
from upwell.machine.backoff import Backoff
from upwell.router.interface import RouterUnavailableError
from upwell.workload.errors import ForbiddenError, RuntimeUnavailableError

AT_ONCE = Backoff(first=0.0)


class Removal:
    """Removal that fails with these errors, one a try, before it succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.is_done = False

    async def __call__(self) -> None:
        if self._errors:
            raise self._errors.pop(0)
        self.is_done = True


async def test_a_busy_podman_and_router_are_asked_again() -> None:
    busy = Removal(RuntimeUnavailableError("no answer"), RouterUnavailableError("no answer"))
    await removed(busy, AT_ONCE)
    assert busy.is_done


async def test_a_podman_that_stays_away_is_told() -> None:
    away = Removal(*(RuntimeUnavailableError(f"try {number}") for number in range(20)))
    with pytest.raises(RuntimeUnavailableError, match="try 5"):
        await removed(away, AT_ONCE)


async def test_what_does_not_pass_is_told_at_once() -> None:
    refused = Removal(ForbiddenError("host path"))
    with pytest.raises(ForbiddenError):
        await removed(refused, AT_ONCE)
    assert not refused.is_done
