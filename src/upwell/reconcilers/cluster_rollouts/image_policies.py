"""Image policies before a cluster's workloads get images: what is kept out is not written."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from upwell.api.image_policies.policy import PolicyPoint
from upwell.oci import InvalidReferenceError, Reference
from upwell.policy.rollouts.triggers import Reason, Slot
from upwell.reconcilers.rollouts.gate import RolloutBar
from upwell.reconcilers.signatures.policies import UNRESTRICTED, ImagePolicies
from upwell.reconcilers.signatures.questions import ImagePolicyError, ImageQuestion


class ImageRequirement(Protocol):
    """Asks whether images may be set."""

    async def require(self, namespace: str, images: Iterable[str]) -> None:
        """Raise ImagePolicyError if a policy keeps one of the images out of a namespace."""
        ...


@dataclass(frozen=True, slots=True)
class RolloutPolicies:
    """Asks the judge of images about what is about to be set, at the point `rollout`.

    An image without a digest is not asked about: signatures are found by digests, and nodes
    resolve the tags of what names one.
    """

    judge: ImagePolicies = UNRESTRICTED

    async def require(self, namespace: str, images: Iterable[str]) -> None:
        """Raise ImagePolicyError if a policy keeps one of the images out of a namespace."""
        for image in dict.fromkeys(images):
            reference = _with_digest(image)
            if reference is not None:
                await self.judge.require(ImageQuestion(reference, namespace, PolicyPoint.ROLLOUT))

    async def bar(self, namespace: str, images: Mapping[Slot, str]) -> RolloutBar | None:
        """Return which containers' images are kept out of a namespace, and why; None: none is."""
        refused: dict[Slot, ImagePolicyError] = {}
        for slot, image in images.items():
            try:
                await self.require(namespace, (image,))
            except ImagePolicyError as error:
                refused[slot] = error
        if not refused:
            return None
        first = next(iter(refused.values()))
        return RolloutBar(Reason(first.reason), str(first), frozenset(refused))


NO_POLICIES = RolloutPolicies()
"""Lets every image pass."""


def _with_digest(image: str) -> Reference | None:
    try:
        reference = Reference.parse(image)
    except InvalidReferenceError:
        return None  # the cluster says what is wrong with it
    return reference if reference.digest is not None else None
