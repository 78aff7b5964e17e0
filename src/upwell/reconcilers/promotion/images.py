"""Makes sure of a Release's images before anything is changed: the stage can pull them."""

from collections.abc import Mapping
from typing import Protocol

from upwell.api.pipeline import Stage
from upwell.api.promotion import Release
from upwell.oci import Reference
from upwell.policy.promotion.images import mirrored, stage_images
from upwell.reconcilers.images.insecure import InsecureRegistries
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.registry.interface import CredentialSource, Registry, RequestAccess


class Copier(Protocol):
    """Copies images between registries."""

    async def copy(
        self,
        origin: Reference,
        goal: Reference,
        logins: CredentialSource,
        insecure: frozenset[str],
    ) -> None:
        """Copy by digest, what is there already excepted; raises a RegistryError.

        `insecure` registries may be asked over plain HTTP or without valid TLS.
        """
        ...


class ReleaseImages:
    """Looks the images of Releases up, and copies them to the mirrors of stages."""

    def __init__(
        self,
        registry: Registry,
        secrets: PullSecrets,
        copier: Copier,
        insecure: InsecureRegistries,
    ) -> None:
        self._registry = registry
        self._secrets = secrets
        self._copier = copier
        self._insecure = insecure

    async def provide(self, release: Release, stage: Stage, namespace: str) -> Mapping[str, str]:
        """Return component -> pull spec, all of which can be pulled; raises a RegistryError."""
        logins = await self._secrets.of_namespace(namespace)
        for one in release.spec.components:
            origin = Reference.parse(one.image)
            goal = mirrored(origin, stage.mirror)
            insecure = await self._insecure.among([origin, goal], namespace)
            if goal == origin:
                access = RequestAccess(logins, insecure=origin.registry in insecure)
                await self._registry.resolve(origin, access)
            else:
                await self._copier.copy(origin, goal, logins, insecure)
        return stage_images(release, stage)
