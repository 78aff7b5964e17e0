"""Examination of an image: its evidence is read as far as policies ask for it, and verified."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime

from upwell.api.image_policies.policy import ImagePolicySpec
from upwell.machine.clock import now
from upwell.oci import Reference
from upwell.policy.signatures.scopes import JudgedImage
from upwell.policy.signatures.verification import ImageEvidence, Verdict, VerdictReason, verify
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
_AT_ONCE = 4
"""Images whose evidence is read at a time."""

type ImageAccess = Callable[[Reference, str], Awaitable[RequestAccess]]
"""Returns the access to an image on behalf of a namespace."""
type FindCopy = Callable[[Reference], Reference | None]
"""Returns the copy of an image in the mirror of this machine, which may not be there."""


def no_copies(image: Reference) -> Reference | None:
    """Return that there is no copy: a FindCopy where nothing is mirrored."""
    del image
    return None


class ImageExamination:
    """Examines images in `registry`, and their copies, which need no network."""

    def __init__(
        self,
        registry: Registry,
        access: ImageAccess,
        copy_of: FindCopy = no_copies,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._reader = AttachmentReader(registry)
        self._access = access
        self._copy_of = copy_of
        self._clock = clock
        self._turns = asyncio.Semaphore(_AT_ONCE)

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
            async with self._turns, asyncio.timeout(_LONGEST):
                places = await self._places(reference, namespace, image, origin)
                readings = evidence_at(self._reader, places, _predicates(specs.values()))
                async with aclosing(readings):
                    async for evidence in readings:
                        open_ones = _without_pass(specs, found)
                        found |= await asyncio.to_thread(
                            _verified, open_ones, image, evidence, self._clock()
                        )
                        if not _without_pass(specs, found):
                            break
        except (EvidenceUnknownError, TimeoutError) as error:
            why = str(error) or f"no answer within {_LONGEST:g} s"
            unknown = Verdict(VerdictReason.UNKNOWN, f"it cannot be checked: {why}")
            found |= dict.fromkeys(_without_pass(specs, found), unknown)
        return found

    async def _places(
        self, reference: Reference, namespace: str, image: JudgedImage, origin: Origin | None
    ) -> Sequence[EvidencePlace]:
        """Return where evidence may lie: what needs no network first."""
        images = [EvidencePlace(reference, await self._access(reference, namespace))]
        if origin is not None:
            source = origin.reference.with_digest(image.digest)
            images.append(EvidencePlace(source, origin.access))
        copies = [self._copy_of(one.image) for one in images]
        mirrored = [EvidencePlace(one, DEFAULT_ACCESS) for one in copies if one is not None]
        return [*mirrored, *images]


def _predicates(specs: Iterable[ImagePolicySpec]) -> frozenset[str]:
    return frozenset(one.predicate_type for spec in specs for one in spec.attestations)


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
