"""Attests that the images of a Release were verified in a stage, beside the images themselves."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from upwell.api.meta import ObjectKey
from upwell.api.pipeline import Pipeline, Stage
from upwell.api.promotion import Component, Promotion, Release
from upwell.controller import Controller, ObjectCache, Result, Watch
from upwell.formats.sigstore import Subject
from upwell.oci import InvalidReferenceError, Reference
from upwell.policy.promotion.images import mirrored
from upwell.policy.promotion.stages import namespace_of
from upwell.policy.signing.verdicts import is_of_stage, is_verdict, stage_name, verdict
from upwell.reconcilers.images.insecure import InsecureRegistries
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.signing.images import ImageSigning
from upwell.reconcilers.signing.reporting import IMAGE_GONE, ConditionWriter, is_settled
from upwell.registry.errors import ManifestUnknownError, RegistryError
from upwell.registry.interface import DEFAULT_ACCESS, RequestAccess
from upwell.store.interface import NotFoundError, Store

_NOTHING = "no image that the stage ran lies where this namespace may write"
ATTESTED = "Attested"
"""Condition of a Promotion: the images that ran say that they were verified in the stage."""


@dataclass(frozen=True, slots=True)
class VerdictPorts:
    """Ports of what attests verdicts."""

    signing: ImageSigning
    secrets: PullSecrets
    insecure: InsecureRegistries
    host: str
    """The `host:port` of the embedded registry."""
    url: str
    """The API's address."""


class VerdictSigning:
    """Reconciles the attestations of Promotions that have verified a Release."""

    def __init__(self, store: Store, ports: VerdictPorts, conditions: ConditionWriter) -> None:
        self._store = store
        self._ports = ports
        self._conditions = conditions

    async def reconcile(self, key: ObjectKey) -> Result:
        """Attest what the Promotion that `key` names has verified."""
        try:
            promotion = await self._store.get(Promotion, key.namespace, key.name)
            if not is_verdict(promotion) or is_settled(promotion, ATTESTED):
                return Result()
            release = await self._store.get(Release, key.namespace, promotion.spec.release)
            pipeline = await self._store.get(Pipeline, key.namespace, promotion.spec.pipeline)
        except NotFoundError:
            return Result()  # it is being deleted, or nothing says any more what it was about
        stage = next(
            (one for one in pipeline.spec.stages if one.name == promotion.spec.stage), None
        )
        places = list(_places(promotion, release, stage, self._ports.host))
        namespace = promotion.namespace if stage is None else namespace_of(pipeline, stage)
        try:
            count = await self._attest(promotion, places, namespace)
        except RegistryError as error:
            return await self._conditions.report_fault(promotion, ATTESTED, error)
        reason, message = ATTESTED, f"{count} images"
        if not count:
            reason, message = IMAGE_GONE, _NOTHING
        await self._conditions.report(promotion, ATTESTED, reason, message, holds=count > 0)
        return Result()

    async def _attest(
        self, promotion: Promotion, places: Iterable[Reference], namespace: str
    ) -> int:
        """Attest each image that is there; return how many."""
        stage, count = stage_name(promotion), 0
        for image in places:
            if image.digest is None:
                continue
            access = await self._access(image, namespace)
            statement = verdict(promotion, [Subject(image.name, image.digest)], self._ports.url)
            try:
                await self._ports.signing.attest(
                    image, statement, access, lambda known: is_of_stage(known, stage)
                )
            except ManifestUnknownError:
                continue
            count += 1
        return count

    async def _access(self, image: Reference, namespace: str) -> RequestAccess:
        if image.registry == self._ports.host:
            return DEFAULT_ACCESS
        insecure = await self._ports.insecure.among([image], namespace)
        logins = await self._ports.secrets.of_namespace(namespace)
        return RequestAccess(logins, insecure=image.registry in insecure)


def _places(
    promotion: Promotion, release: Release, stage: Stage | None, host: str
) -> Iterator[Reference]:
    """Yield the images of a Release, once each, that its stage ran and may say something about.

    Those in the stage's mirror, to which its author may push; and, for the mirrors of stages that
    come after, where the namespace's own builds have pushed them. Nothing is added to others'.
    """
    found: dict[Reference, None] = {}
    for component in release.spec.components:
        try:
            image = Reference.parse(component.image)
            copy = mirrored(image, stage.mirror if stage is not None else None)
        except InvalidReferenceError:
            continue
        if str(image.digest) not in promotion.status.tested:
            continue
        if _is_own(component, image, promotion.namespace, host):
            found[image] = None
        if copy != image:
            found[copy] = None
    yield from found


def _is_own(component: Component, image: Reference, namespace: str, host: str) -> bool:
    if image.registry == host:
        return image.repository.partition("/")[0] == namespace
    return component.build.partition("/")[0] == namespace


def _unsettled(_before: Promotion | None, after: Promotion | None) -> Iterable[ObjectKey]:
    """Yield a Promotion whose verdict may not be attested yet."""
    if after is not None and is_verdict(after) and not is_settled(after, ATTESTED):
        yield after.key


def verdict_signing_controller(verdicts: VerdictSigning, cache: ObjectCache) -> Controller:
    """Return the controller of what attests verdicts of stages."""
    return Controller("verdicts", verdicts, cache, (Watch(Promotion, _unsettled),), workers=2)
