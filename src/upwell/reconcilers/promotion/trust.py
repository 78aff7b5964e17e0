"""Judgement of the Releases that stand before a stage, by the image policies of where they go."""

from collections.abc import Mapping

from upwell.api.image_policies.policy import PolicyPoint
from upwell.api.pipeline import Stage
from upwell.api.promotion import PromotionPhase, Purpose, Release
from upwell.oci import InvalidReferenceError, Reference
from upwell.policy.promotion.situation import Situation
from upwell.policy.promotion.stages import namespace_of
from upwell.reconcilers.signatures.policies import ImagePolicies
from upwell.reconcilers.signatures.questions import ImageQuestion


async def untrusted(situation: Situation, policies: ImagePolicies) -> Mapping[tuple[str, str], str]:
    """Return why a Release is kept out of a stage, by stage and Release; no entry: it is not."""
    found: dict[tuple[str, str], str] = {}
    for stage in situation.pipeline.spec.stages:
        namespace = namespace_of(situation.pipeline, stage)
        if not await policies.judges(namespace, PolicyPoint.PROMOTION, stage.name):
            continue
        for release in _before(situation, stage):
            if why := await _refusal(release, stage, namespace, policies):
                found[stage.name, release.name] = why
    return found


def _before(situation: Situation, stage: Stage) -> list[Release]:
    """Return the Releases that may begin in a stage: the candidate, and those that were asked."""
    here = situation.at(stage)
    names = [
        one.spec.release
        for one in here.promotions
        if one.status.phase is PromotionPhase.WAITING and one.spec.purpose is Purpose.PROMOTE
    ]
    if here.candidate is not None:
        names.append(here.candidate.name)
    return [situation.releases[name] for name in dict.fromkeys(names) if name in situation.releases]


async def _refusal(release: Release, stage: Stage, namespace: str, policies: ImagePolicies) -> str:
    """Return why one of a Release's images is kept out; empty: none of them is."""
    for component in release.spec.components:
        try:
            image = Reference.parse(component.image)
        except InvalidReferenceError as error:
            return str(error)
        if image.digest is None:
            return f"image {image} has no digest, by which signatures are found"
        asked = ImageQuestion(image, namespace, PolicyPoint.PROMOTION, stage.name)
        judgement = await policies.judge(asked)
        if judgement.refusal:
            return judgement.refusal
    return ""
