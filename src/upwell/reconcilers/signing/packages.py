"""Attests the packages of images that builds have made, as soon as they are known."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from upwell.api.builds.build import Build
from upwell.api.conditions import find
from upwell.api.meta import ObjectKey
from upwell.builder.interface import BuildError
from upwell.controller import Controller, ObjectCache, Result, Watch
from upwell.formats.sigstore import Subject
from upwell.inventory.interface import InventoryError, Package
from upwell.oci import Reference
from upwell.policy.health.builds import SBOM_ATTESTED, SIGNED
from upwell.policy.signing.packages import package_list
from upwell.reconcilers.signing.images import ImageSigning
from upwell.reconcilers.signing.pushed import PushedImages, pushed_digest
from upwell.reconcilers.signing.reporting import (
    IMAGE_GONE,
    NO_PACKAGES,
    ConditionWriter,
    is_settled,
)
from upwell.registry.errors import ManifestUnknownError, RegistryError
from upwell.registry.interface import RequestAccess
from upwell.store.interface import NotFoundError, Store


class PackageReader(Protocol):
    """Knows the packages of images."""

    async def packages(self, image: Reference, access: RequestAccess) -> Sequence[Package]:
        """Return the packages of an image, which is read if it was not yet.

        Raises InventoryError or RegistryError.
        """
        ...


class PackageSigning:
    """Reconciles the SBOMs of Builds' images."""

    def __init__(
        self,
        store: Store,
        signing: ImageSigning,
        images: PushedImages,
        reader: PackageReader,
        conditions: ConditionWriter,
    ) -> None:
        self._store = store
        self._signing = signing
        self._images = images
        self._reader = reader
        self._conditions = conditions

    async def reconcile(self, key: ObjectKey) -> Result:
        """Attest the packages of the image that the build of this key has made."""
        try:
            build = await self._store.get(Build, key.namespace, key.name)
        except NotFoundError:
            return Result()
        if not _is_due(build):
            return Result()
        try:
            reason, message = await self._attest(build)
        except ManifestUnknownError as error:
            reason, message = IMAGE_GONE, str(error)
        except InventoryError as error:
            if error.retryable:
                raise
            reason, message = NO_PACKAGES, str(error)
        except (RegistryError, BuildError) as error:
            return await self._conditions.report_fault(build, SBOM_ATTESTED, error)
        holds = reason == SBOM_ATTESTED
        await self._conditions.report(build, SBOM_ATTESTED, reason, message, holds=holds)
        return Result()

    async def _attest(self, build: Build) -> tuple[str, str]:
        """Return reason and message of the condition."""
        digest = pushed_digest(build)
        made = build.status.completion_timestamp
        if digest is None or made is None:
            return IMAGE_GONE, "it has pushed nothing"
        image, access = await self._images.place(build, digest)
        packages = await self._reader.packages(image, access)
        if not packages:
            return NO_PACKAGES, "no package database was found in it"
        statement = package_list(Subject(image.name, digest), packages, made)
        await self._signing.attest(image, statement, access)
        return SBOM_ATTESTED, f"{len(packages)} packages"


def _is_due(build: Build) -> bool:
    """Return True if the image is signed, and its packages are not attested yet."""
    signed = find(build.status.conditions, SIGNED)
    return signed is not None and signed.is_true and not is_settled(build, SBOM_ATTESTED)


def _due(_before: Build | None, after: Build | None) -> Iterable[ObjectKey]:
    if after is not None and _is_due(after):
        yield after.key


def package_signing_controller(packages: PackageSigning, cache: ObjectCache) -> Controller:
    """Return the controller of what attests packages; one image at a time, as layers are read."""
    return Controller("sboms", packages, cache, (Watch(Build, _due),), workers=1)
