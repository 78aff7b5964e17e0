"""Signs what builds have pushed, at once or as soon as it can be; a build never fails by it."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import datetime

from upwell.api.build import Build, BuildPhase
from upwell.api.conditions import find, set_condition
from upwell.api.meta import Condition, ObjectKey
from upwell.builder.interface import BuildError
from upwell.controller import Controller, ObjectCache, Result, Watch
from upwell.formats.sigstore import Subject
from upwell.oci import Digest, InvalidDigestError, Reference
from upwell.policy.builds.plan import push_reference
from upwell.policy.signing.provenance import BuilderIdentity, made_here, provenance
from upwell.reconcilers.builds.logins import BuildLogins
from upwell.reconcilers.images.insecure import InsecureRegistries
from upwell.reconcilers.signing.images import ImageSigning
from upwell.registry.errors import ManifestUnknownError, RegistryError
from upwell.registry.interface import DEFAULT_ACCESS, RequestAccess
from upwell.store.interface import NotFoundError, Store
from upwell.store.retry import update_with_retry

log = logging.getLogger(__name__)

SIGNED = "Signed"
"""Condition of a Build: its image has a signature and provenance of this server."""
_IMAGE_GONE = "ImageGone"
_NOT_MADE_HERE = "NotMadeHere"
_SETTLED = frozenset({_IMAGE_GONE, _NOT_MADE_HERE})
"""Reasons for which it stays unsigned."""
_SECONDS = 15.0
"""Longest time that a build waits for its signature; it comes later then."""
_REFUSED_AGAIN_SECONDS = 3600.0
"""Until another try after a refusal, which no time ends but a person may."""


class BuildSigning:
    """Reconciles the signatures of Builds' images."""

    def __init__(
        self,
        store: Store,
        signing: ImageSigning,
        logins: BuildLogins,
        insecure: InsecureRegistries,
        host: str,
        builder: BuilderIdentity,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._signing = signing
        self._logins = logins
        self._insecure = insecure
        self._host = host
        self._builder = builder
        self._clock = clock

    async def sign_pushed(self, build: Build, digest: Digest) -> str:
        """Sign the image that a run of the build has pushed; return why not, empty if it is.

        Before anything else names the image: who asks for signatures finds them from the first
        moment on. `build` has what it was made of in its status.
        """
        try:
            async with asyncio.timeout(_SECONDS):
                await self._sign(build, digest)
        except (RegistryError, BuildError) as error:
            why = str(error)
        except TimeoutError:
            why = f"its registry took longer than {_SECONDS:.0f} s"
        else:
            return ""
        log.warning("image not signed yet", extra={"key": str(build.key), "why": why})
        return why

    async def reconcile(self, key: ObjectKey) -> Result:
        """Sign the image of the build that `key` names, if it is not signed."""
        try:
            build = await self._store.get(Build, key.namespace, key.name)
        except NotFoundError:
            return Result()
        digest = _digest(build)
        if digest is None or _is_settled(build):
            return Result()
        try:
            if not made_here(build) and not await self._is_signed(build, digest):
                await self._report(
                    build,
                    _NOT_MADE_HERE,
                    "the image was made of equal inputs before, and nobody knows by which build:"
                    " start the build anew to have it made and signed",
                )
                return Result()
            await self._sign(build, digest)
        except ManifestUnknownError as error:
            await self._report(build, _IMAGE_GONE, str(error))
        except RegistryError as error:
            await self._report(build, error.reason, f"{error}; it is tried again")
            if error.retryable:
                raise
            return Result(_REFUSED_AGAIN_SECONDS)
        except BuildError as error:
            await self._report(build, error.reason, f"{error}; it is tried again")
            return Result(_REFUSED_AGAIN_SECONDS)
        else:
            await self._report(build, SIGNED, "signature and provenance", signed=True)
        return Result()

    async def _sign(self, build: Build, digest: Digest) -> None:
        image, access = await self._place(build, digest)
        await self._signing.sign(image, access)
        statement = provenance(build, Subject(image.name, digest), self._builder)
        await self._signing.attest(image, statement, access)

    async def _is_signed(self, build: Build, digest: Digest) -> bool:
        image, access = await self._place(build, digest)
        return await self._signing.is_signed(image, access)

    async def _place(self, build: Build, digest: Digest) -> tuple[Reference, RequestAccess]:
        """Return where the image is, and how it is written to; raises BuildError."""
        pushed = push_reference(build, self._host, build.status.inputs or "")
        if pushed is None:
            raise BuildError("InvalidOutputReference", "the build pushes nothing")
        image = pushed.with_digest(digest)
        if image.registry == self._host:
            return image, DEFAULT_ACCESS
        credentials = await self._logins.read(build)
        insecure = await self._insecure.among([image], build.namespace)
        return image, RequestAccess(credentials.push, insecure=image.registry in insecure)

    async def _report(
        self, build: Build, reason: str, message: str, *, signed: bool = False
    ) -> None:
        condition = Condition(
            type=SIGNED, status="True" if signed else "False", reason=reason, message=message
        )

        async def changed() -> Build:
            current = await self._store.get(Build, build.namespace, build.name)
            if current.uid != build.uid:
                raise NotFoundError(build.key)  # deleted; another one has its name
            conditions = set_condition(current.status.conditions, condition, self._clock())
            return current.with_status(current.status.model_copy(update={"conditions": conditions}))

        await update_with_retry(changed, self._store.update_status)


def _digest(build: Build) -> Digest | None:
    """Return the image of a build that is complete and has pushed one itself."""
    output = build.status.output
    if build.status.phase is not BuildPhase.COMPLETE or output is None or output.to is None:
        return None
    try:
        return Digest.parse(output.to.image_digest)
    except InvalidDigestError:
        return None


def _is_settled(build: Build) -> bool:
    condition = find(build.status.conditions, SIGNED)
    return condition is not None and (condition.is_true or condition.reason in _SETTLED)


def _unsettled(_before: Build | None, after: Build | None) -> Iterable[ObjectKey]:
    """Yield a build whose image may lack its signature."""
    if after is not None and _digest(after) is not None and not _is_settled(after):
        yield after.key


def build_signing_controller(signing: BuildSigning, cache: ObjectCache) -> Controller:
    """Return the controller of what signs the images of builds."""
    return Controller("signing", signing, cache, (Watch(Build, _unsettled),), workers=2)
