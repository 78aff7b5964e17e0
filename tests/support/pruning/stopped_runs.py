"""Runs of the pruning that end before a step, as where the process is killed there."""

from collections.abc import Awaitable, Callable

import pytest

from upwell.policy.pruning.rules import Rules
from upwell.reconcilers.pruning import Pruning, Stores


class _StoppedError(Exception):
    """The process is killed, as far as the run can tell."""


async def stopped_after(steps: int, stores: Stores, rules: Rules) -> bool:
    """Run the pruning, but stop it before step `steps`; say whether it came to its end."""
    left = steps

    def counted[**P, T](call: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        async def step(*args: P.args, **kwargs: P.kwargs) -> T:
            nonlocal left
            left -= 1
            if left < 0:
                raise _StoppedError
            return await call(*args, **kwargs)

        return step

    with pytest.MonkeyPatch.context() as patch:
        for target, name in (
            (stores.objects, "update_status"),
            (stores.objects, "delete"),
            (stores.registry, "expire_tag"),
            (stores.registry, "expire_manifest"),
            (stores.registry, "collect"),
            (stores.inputs, "remove_unused"),
        ):
            patch.setattr(target, name, counted(getattr(target, name)))
        try:
            await Pruning(stores).run(rules, confirm=True)
        except _StoppedError:
            return False
    return True
