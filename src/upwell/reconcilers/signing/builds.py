"""Signs what builds have pushed, at once or as soon as it can be; a build never fails by it."""

import asyncio
import logging
from collections.abc import Iterable

from upwell.api.builds.build import Build
from upwell.api.meta import ObjectKey
from upwell.builder.interface import BuildError
from upwell.controller import Controller, ObjectCache, Result, Watch
from upwell.formats.sigstore import Subject
from upwell.oci import Digest
from upwell.policy.health.builds import SIGNED
from upwell.policy.signing.provenance import BuilderIdentity, made_here, provenance
from upwell.reconcilers.signing.images import ImageSigning
from upwell.reconcilers.signing.pushed import PushedImages, pushed_digest
from upwell.reconcilers.signing.reporting import (
    IMAGE_GONE,
    NOT_MADE_HERE,
    ConditionWriter,
    is_settled,
)
from upwell.registry.errors import ManifestUnknownError, RegistryError
from upwell.store.interface import NotFoundError, Store

log = logging.getLogger(__name__)

_SECONDS = 15.0
"""Longest time that a build waits for its signature; it comes later then."""


class BuildSigning:
    """Reconciles the signatures of Builds' images."""

    def __init__(
        self,
        store: Store,
        signing: ImageSigning,
        images: PushedImages,
        builder: BuilderIdentity,
        conditions: ConditionWriter,
    ) -> None:
        self._store = store
        self._signing = signing
        self._images = images
        self._builder = builder
        self._conditions = conditions

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
        digest = pushed_digest(build)
        if digest is None or is_settled(build, SIGNED):
            return Result()
        try:
            if not made_here(build) and not await self._is_signed(build, digest):
                await self._conditions.report(
                    build,
                    SIGNED,
                    NOT_MADE_HERE,
                    "the image was made of equal inputs before, and nobody knows by which build:"
                    " start the build anew to have it made and signed",
                )
                return Result()
            await self._sign(build, digest)
        except ManifestUnknownError as error:
            await self._conditions.report(build, SIGNED, IMAGE_GONE, str(error))
        except (RegistryError, BuildError) as error:
            return await self._conditions.report_fault(build, SIGNED, error)
        else:
            what = "signature and provenance"
            await self._conditions.report(build, SIGNED, SIGNED, what, holds=True)
        return Result()

    async def _sign(self, build: Build, digest: Digest) -> None:
        image, access = await self._images.place(build, digest)
        await self._signing.sign(image, access)
        statement = provenance(build, Subject(image.name, digest), self._builder)
        await self._signing.attest(image, statement, access)

    async def _is_signed(self, build: Build, digest: Digest) -> bool:
        image, access = await self._images.place(build, digest)
        return await self._signing.is_signed(image, access)


def _unsettled(_before: Build | None, after: Build | None) -> Iterable[ObjectKey]:
    """Yield a build whose image may lack its signature."""
    if after is not None and pushed_digest(after) is not None and not is_settled(after, SIGNED):
        yield after.key


def build_signing_controller(signing: BuildSigning, cache: ObjectCache) -> Controller:
    """Return the controller of what signs the images of builds."""
    return Controller("signing", signing, cache, (Watch(Build, _unsettled),), workers=2)
