"""Conditions that say what is signed and attested."""

from collections.abc import Callable
from datetime import datetime

from upwell.api.builds.build import Build
from upwell.api.conditions import find, set_condition
from upwell.api.meta import Condition
from upwell.api.promotion import Promotion
from upwell.builder.interface import BuildError
from upwell.controller import Result
from upwell.policy.health.builds import NEVER_SIGNED
from upwell.registry.errors import RegistryError
from upwell.store.interface import NotFoundError, Store
from upwell.store.retry import update_with_retry

IMAGE_GONE = "ImageGone"
NOT_MADE_HERE = "NotMadeHere"
NO_PACKAGES = "NoPackages"
_SETTLED = NEVER_SIGNED | {NO_PACKAGES}
"""Reasons for which a condition stays False."""
_REFUSED_AGAIN_SECONDS = 3600.0
"""Until another try after a refusal, which no time ends but a person may."""


def is_settled(resource: Build | Promotion, kind: str) -> bool:
    """Return True if nothing more is to be done for a condition."""
    condition = find(resource.status.conditions, kind)
    return condition is not None and (condition.is_true or condition.reason in _SETTLED)


class ConditionWriter:
    """Writes conditions over what objects are now; an equal one is no write."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    async def report[R: (Build, Promotion)](
        self, resource: R, kind: str, reason: str, message: str, *, holds: bool = False
    ) -> None:
        """Set a condition; raises StoreError, NotFoundError also when the name is another's."""
        status = "True" if holds else "False"
        condition = Condition(type=kind, status=status, reason=reason, message=message)

        async def changed() -> R:
            current = await self._store.get(type(resource), resource.namespace, resource.name)
            if current.uid != resource.uid:
                raise NotFoundError(resource.key)  # deleted; another one has its name
            conditions = set_condition(current.status.conditions, condition, self._clock())
            return current.with_status(current.status.model_copy(update={"conditions": conditions}))

        await update_with_retry(changed, self._store.update_status)

    async def report_fault[R: (Build, Promotion)](
        self, resource: R, kind: str, error: RegistryError | BuildError
    ) -> Result:
        """Say what hinders a condition, and return when it is tried again.

        Raises the error where it may pass by itself, and StoreError.
        """
        await self.report(resource, kind, error.reason, f"{error}; it is tried again")
        if error.retryable:
            raise error
        return Result(_REFUSED_AGAIN_SECONDS)
