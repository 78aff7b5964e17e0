"""Images that people and registries ask about, push by name, or take out of a stream."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

from upwell.api.image import Image, ImageStream, ImageStreamMapping, ImageStreamTag
from upwell.api.image_policies.policy import PolicyPoint
from upwell.api.image_policies.review import ImagePolicyReviewSpec, ImagePolicyReviewStatus
from upwell.api.meta import ObjectKey
from upwell.inventory.interface import Inventory, Package
from upwell.oci import Digest, InvalidDigestError, InvalidReferenceError, Reference
from upwell.oci.registry_prefix import repository_in
from upwell.policy.images.registry_webhooks import PushNotice
from upwell.policy.images.repository_tags import BulkPlan, has_tag, plan_bulk_import
from upwell.policy.images.short_names import is_short, meaning, stream_of
from upwell.policy.images.streams import (
    mapped,
    newest_event,
    newest_image,
    without_declaration,
    without_record,
)
from upwell.reconcilers.images.image_streams import ImageStreams
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.images.records import as_described, examine, is_unread
from upwell.reconcilers.signatures.policies import UNRESTRICTED, ImagePolicies
from upwell.reconcilers.signatures.questions import ImageQuestion
from upwell.registry.errors import ManifestUnknownError, RegistryError
from upwell.registry.interface import (
    DEFAULT_ACCESS,
    InternalRegistry,
    Registry,
    RequestAccess,
)
from upwell.store.interface import AlreadyExistsError, ConflictError, NotFoundError, Store
from upwell.store.retry import update_with_retry

_PROOF_SECONDS = 10
"""For a registry to show an image that a client names the newest of a tag."""


class ExaminationError(Exception):
    """The image cannot be looked at; `reason` is that of the registry's error."""

    def __init__(self, reason: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.retryable = retryable


class ImageActions:
    """Pushes announced by name or by webhook, tags taken away, and the packages of images."""

    def __init__(
        self,
        store: Store,
        internal: InternalRegistry,
        streams: ImageStreams,
        inventory: Inventory,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._internal = internal
        self._streams = streams
        self._inventory = inventory
        self._clock = clock

    async def note_pushes(self, notices: Sequence[PushNotice]) -> int:
        """Make the imports of pushed images due; return how many tags follow them."""
        return await self._streams.note(notices) if notices else 0

    def as_checked(self, stream: ImageStream) -> ImageStream:
        """Return a stream with the times of the checks since it was written."""
        return self._streams.as_checked(stream)

    async def packages(self, digest: Digest) -> Sequence[Package]:
        """Return the packages of an image; empty when none are known."""
        return await self._inventory.packages(digest) or ()

    async def unknown_packages(self, digest: Digest) -> str | None:
        """Return why the packages of an image cannot be read; None: they can, or nobody tried."""
        return await self._inventory.failure(digest)

    async def pushed_image(self, namespace: str, pinned: str) -> Image | None:
        """Return the Image of what was pushed to the internal registry; no import keeps one.

        None of what is elsewhere, in a repository of another namespace, or gone.
        """
        try:
            reference = Reference.parse(pinned)
            repository = repository_in(reference, self._internal.prefix)
            if repository is None or not repository.startswith(f"{namespace}/"):
                return None
            return await examine(self._internal, reference, DEFAULT_ACCESS, self._clock())
        except (InvalidReferenceError, RegistryError):
            return None

    async def remove_tag(self, namespace: str, stream: str, tag: str) -> None:
        """Take a tag out of a stream, declared, recorded and pushed.

        Raises NotFoundError, ConflictError or RegistryError.
        """

        async def found() -> ImageStream:
            return await self._store.get(ImageStream, namespace, stream)

        await update_with_retry(found, lambda one: self._remove(one, tag))

    async def map_image(
        self, stream: ImageStream, mapping: ImageStreamMapping, *, proven: bool = False
    ) -> None:
        """Make an image the newest of a stream's tag; no tag is declared.

        `proven`: its registry gives it to the stream's namespace (`ImageExaminer.is_given`).

        The same again changes nothing, unless it proves now what it did not then. Another image
        that came to the tag meanwhile is a ConflictError: which of the two is the newer, nobody can
        say.
        """
        with suppress(AlreadyExistsError):
            await self._store.create(as_described(mapping.image, stream.namespace))
        newest, before = newest_event(stream, mapping.tag), newest_image(stream, mapping.tag)
        is_news = newest is None or (proven and newest.unproven)
        if before == mapping.image.name and not is_news:
            return

        async def with_mapping() -> ImageStream:
            current = await self._store.get(ImageStream, stream.namespace, stream.name)
            if newest_image(current, mapping.tag) != before:
                why = f"another image was pushed to {mapping.tag} meanwhile"
                raise ConflictError(current.key, why)
            return mapped(current, mapping, self._clock(), proven=proven)

        await update_with_retry(with_mapping, self._store.update_status)

    async def _remove(self, stream: ImageStream, tag: str) -> None:
        if not has_tag(stream, tag):
            name = f"{stream.name}:{tag}"
            raise NotFoundError(ObjectKey(ImageStreamTag.KIND.kind, stream.namespace, name))
        # First what would bring the tag back: a pushed image, then the declaration.
        with suppress(ManifestUnknownError):
            await self._internal.untag(f"{stream.namespace}/{stream.name}", tag)
        stream = await self._store.update(without_declaration(stream, tag))
        await self._store.update_status(without_record(stream, tag))


async def forget_tag(store: Store, stream: ImageStream, tag: str) -> None:
    """Take a tag that was deleted in the internal registry out of what its stream records.

    Raises NotFoundError or ConflictError.
    """
    await update_with_retry(
        lambda: store.get(ImageStream, stream.namespace, stream.name),
        lambda found: store.update_status(without_record(found, tag)),
    )


class ImageExaminer:
    """Asks upstream registries with the logins of a namespace."""

    def __init__(
        self,
        store: Store,
        upstream: Registry,
        secrets: PullSecrets,
        clock: Callable[[], datetime],
        policies: ImagePolicies = UNRESTRICTED,
    ) -> None:
        self._store = store
        self._policies = policies
        self._upstream = upstream
        self._secrets = secrets
        self._clock = clock

    async def image(self, namespace: str, name: str, *, insecure: bool) -> Image:
        """Return what `name` is now; raises ExaminationError."""
        try:
            reference = Reference.parse(name)
            access = RequestAccess(await self._secrets.of_namespace(namespace), insecure=insecure)
            found = await self._upstream.resolve(reference, access)
            pinned = reference.with_digest(found.digest)
            return await examine(self._upstream, pinned, access, self._clock())
        except (InvalidReferenceError, RegistryError) as error:
            raise _examination_error(error) from error

    async def is_given(self, namespace: str, place: str, digest: str) -> bool:
        """Return True if an image's registry gives it to the namespace, with its configuration."""
        try:
            pinned = Reference.parse(place).with_digest(Digest.parse(digest))
            access = RequestAccess(await self._secrets.of_namespace(namespace))
            async with asyncio.timeout(_PROOF_SECONDS):
                return not is_unread(await examine(self._upstream, pinned, access, self._clock()))
        except (InvalidReferenceError, InvalidDigestError, RegistryError, TimeoutError):
            return False

    async def review(self, namespace: str, asked: ImagePolicyReviewSpec) -> ImagePolicyReviewStatus:
        """Return what image policies would say of an image; raises ExaminationError."""
        note = ""
        try:
            reference = Reference.parse(asked.image)
            note = await self._meaning(namespace, asked.image, reference)
            if reference.digest is None:
                access = RequestAccess(await self._secrets.of_namespace(namespace))
                found = await self._upstream.resolve(reference, access)
                reference = reference.with_digest(found.digest)
        except (InvalidReferenceError, RegistryError) as error:
            raise _examination_error(error, note) from error
        judgement = await self._policies.judge(
            ImageQuestion(
                reference, namespace, PolicyPoint(asked.at), asked.stage, asked.policy, quiet=True
            )
        )
        return ImagePolicyReviewStatus(
            image=str(reference),
            allowed=judgement.allowed,
            policies=tuple(one.answer() for one in judgement.verdicts),
            note=note or None,
        )

    async def _meaning(self, namespace: str, name: str, found: Reference) -> str:
        """Say what a name without a registry means; empty: it has one."""
        if not is_short(name):
            return ""
        is_stream = True
        try:
            await self._store.get(ImageStream, namespace, stream_of(name))
        except NotFoundError:
            is_stream = False
        return meaning(name, found, namespace, is_stream=is_stream)

    async def tags(self, namespace: str, name: str, *, insecure: bool) -> BulkPlan:
        """Return which tags of a repository would be imported; raises ExaminationError."""
        try:
            reference = Reference.parse(name)
            access = RequestAccess(await self._secrets.of_namespace(namespace), insecure=insecure)
            present: Sequence[str] = await self._upstream.tags(reference, access)
        except (InvalidReferenceError, RegistryError) as error:
            raise _examination_error(error) from error
        return plan_bulk_import(present, ())


def _examination_error(
    error: InvalidReferenceError | RegistryError, note: str = ""
) -> ExaminationError:
    message = f"{error} ({note})" if note else str(error)
    if isinstance(error, InvalidReferenceError):
        return ExaminationError("Invalid", message)
    return ExaminationError(error.reason, message, retryable=error.retryable)
