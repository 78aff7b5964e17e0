"""Examination of an image: its evidence is read as far as policies ask for it, and verified."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from weakref import WeakValueDictionary

from upwell.api.image_policies.policy import ImagePolicySpec
from upwell.machine.clock import now
from upwell.oci import Reference
from upwell.policy.signatures.scopes import JudgedImage
from upwell.policy.signatures.verification import (
    ImageEvidence,
    Verdict,
    VerdictReason,
    asked_predicates,
    verify,
)
from upwell.reconcilers.signatures.evidence import (
    EvidencePlace,
    EvidenceUnknownError,
    evidence_at,
)
from upwell.registry.attachments.reader import AttachmentReader
from upwell.registry.interface import DEFAULT_ACCESS, Registry, RequestAccess
from upwell.registry.origins import Origin

_LONGEST = 60.0
"""Seconds in which the evidence about one image has to be here."""
_AT_ONCE = 8
"""Images whose evidence is read at a time."""
_OF_ONE_NAMESPACE = 2
"""Of those: a registry that does not answer holds up those alone who ask it."""

type ImageAccess = Callable[[Reference, str], Awaitable[RequestAccess]]
"""Returns the access to an image on behalf of a namespace."""
type FindCopy = Callable[[Reference], Reference | None]
"""Returns where the copy of an image in the mirror of this machine is, which may not be there."""


type KeepEvidence = Callable[[Reference, RequestAccess], None]
"""Takes in that what lies beside an image was of use: it may be kept here; never blocks."""


@dataclass(frozen=True, slots=True)
class EvidenceCopies:
    """Copies of evidence on this machine; by default there are none."""

    find: FindCopy = lambda _image: None
    keep: KeepEvidence = lambda _image, _access: None


NO_COPIES = EvidenceCopies()


class ImageExamination:
    """Examines images in `registry`, and first their copies, which need no network."""

    def __init__(
        self,
        registry: Registry,
        access: ImageAccess,
        copies: EvidenceCopies = NO_COPIES,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._reader = AttachmentReader(registry)
        self._access = access
        self._copies = copies
        self._clock = clock
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._of_namespaces: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def verdicts(
        self,
        reference: Reference,
        namespace: str,
        image: JudgedImage,
        origin: Origin | None,
        specs: Mapping[str, ImagePolicySpec],
    ) -> dict[str, Verdict]:
        """Return the verdict of each policy about an image; UNKNOWN when nobody can say.

        What has passed by the evidence so far is asked about no further.
        """
        found: dict[str, Verdict] = {}
        try:
            async with self._turn(namespace), asyncio.timeout(_LONGEST):
                images = await self._images(reference, namespace, image, origin)
                places = [*self._copies_of(images), *images]
                predicates = _predicates(specs.values())
                readings = evidence_at(self._reader, places, predicates, image.names)
                async with aclosing(readings):
                    async for evidence in readings:
                        open_ones = _without_pass(specs, found)
                        found |= await asyncio.to_thread(
                            _verified, open_ones, image, evidence, self._clock()
                        )
                        if not _without_pass(specs, found):
                            self._keep(images)
                            break
        except (EvidenceUnknownError, TimeoutError) as error:
            why = str(error) or f"no answer within {_LONGEST:g} s"
            unknown = Verdict(VerdictReason.UNKNOWN, f"it cannot be checked: {why}")
            found |= dict.fromkeys(_without_pass(specs, found), unknown)
        return found

    @asynccontextmanager
    async def _turn(self, namespace: str) -> AsyncIterator[None]:
        own = self._of_namespaces.setdefault(namespace, asyncio.Semaphore(_OF_ONE_NAMESPACE))
        async with own, self._turns:
            yield

    async def _images(
        self, reference: Reference, namespace: str, image: JudgedImage, origin: Origin | None
    ) -> Sequence[EvidencePlace]:
        """Return the image under each name by which a registry knows it."""
        images = [EvidencePlace(reference, await self._access(reference, namespace))]
        if origin is not None:
            source = origin.reference.with_digest(image.digest)
            images.append(EvidencePlace(source, origin.access))
        return images

    def _keep(self, images: Iterable[EvidencePlace]) -> None:
        for one in images:
            self._copies.keep(one.image, one.access)

    def _copies_of(self, images: Sequence[EvidencePlace]) -> Sequence[EvidencePlace]:
        copies = [self._copies.find(one.image) for one in images]
        return [EvidencePlace(one, DEFAULT_ACCESS) for one in copies if one is not None]


def _predicates(specs: Iterable[ImagePolicySpec]) -> frozenset[str]:
    return frozenset().union(*map(asked_predicates, specs))


def _without_pass(
    specs: Mapping[str, ImagePolicySpec], found: Mapping[str, Verdict]
) -> Mapping[str, ImagePolicySpec]:
    """Return the policies that the image has not passed."""
    return {
        name: spec for name, spec in specs.items() if name not in found or not found[name].passed
    }


def _verified(
    specs: Mapping[str, ImagePolicySpec],
    image: JudgedImage,
    evidence: ImageEvidence,
    when: datetime,
) -> Mapping[str, Verdict]:
    return {name: verify(spec, image, evidence, when) for name, spec in specs.items()}
