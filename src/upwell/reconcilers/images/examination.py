"""Looks at images of other registries for someone who asks, importing nothing."""

from collections.abc import Callable, Sequence
from datetime import datetime

from upwell.api.image import Image
from upwell.oci import InvalidReferenceError, Reference
from upwell.policy.images.repository_tags import BulkPlan, plan_bulk_import
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.images.records import ImageRecords
from upwell.registry.errors import RegistryError
from upwell.registry.interface import Registry, RequestAccess
from upwell.store.interface import Store


class ExaminationError(Exception):
    """The image cannot be looked at; `reason` is that of the registry's error."""

    def __init__(self, reason: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.retryable = retryable


class ImageExaminer:
    """Asks upstream registries with the logins of a namespace."""

    def __init__(
        self,
        store: Store,
        upstream: Registry,
        secrets: PullSecrets,
        clock: Callable[[], datetime],
    ) -> None:
        self._upstream = upstream
        self._images = ImageRecords(store, upstream, ())
        self._secrets = secrets
        self._clock = clock

    async def image(self, namespace: str, name: str, *, insecure: bool) -> Image:
        """Return what `name` is now; raises ExaminationError."""
        try:
            reference = Reference.parse(name)
            access = RequestAccess(await self._secrets.of_namespace(namespace), insecure=insecure)
            found = await self._upstream.resolve(reference, access)
            pinned = reference.with_digest(found.digest)
            return await self._images.examine(pinned, access, self._clock())
        except (InvalidReferenceError, RegistryError) as error:
            raise _examination_error(error) from error

    async def tags(self, namespace: str, name: str, *, insecure: bool) -> BulkPlan:
        """Return which tags of a repository would be imported; raises ExaminationError."""
        try:
            reference = Reference.parse(name)
            access = RequestAccess(await self._secrets.of_namespace(namespace), insecure=insecure)
            present: Sequence[str] = await self._upstream.tags(reference, access)
        except (InvalidReferenceError, RegistryError) as error:
            raise _examination_error(error) from error
        return plan_bulk_import(present, ())


def _examination_error(error: InvalidReferenceError | RegistryError) -> ExaminationError:
    if isinstance(error, InvalidReferenceError):
        return ExaminationError("Invalid", str(error))
    return ExaminationError(error.reason, str(error), retryable=error.retryable)
