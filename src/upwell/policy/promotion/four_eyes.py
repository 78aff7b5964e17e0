"""Four eyes: who asked for a promotion, or wrote the change, is not the only one to approve it."""

from collections.abc import Mapping

from upwell.api.pipeline import Pipeline, Stage
from upwell.api.promotion import Promotion, Release
from upwell.api.values.author import author_person_of
from upwell.policy.access.service_accounts import parse_account
from upwell.policy.promotion.stages import last_stages


def needs_four_eyes(pipeline: Pipeline, stage: Stage) -> bool:
    """Return True if a stage asks for the approval of somebody else.

    Unless it says so itself, a stage does that no other comes after: production, that is.
    """
    if stage.approval is None:
        return False
    if stage.approval.four_eyes is not None:
        return stage.approval.four_eyes
    return stage.name in last_stages(pipeline)


def interested(
    pipeline: Pipeline,
    stage: Stage,
    release: Release | None,
    promotion: Promotion,
    voter: str = "",
) -> Mapping[str, str]:
    """Return the people whose approval alone is not enough, and what each has done.

    `voter` is one whose vote is not among the promotion's yet.
    """
    if not needs_four_eyes(pipeline, stage):
        return {}
    found = {
        author_person_of(pipeline): f"wrote Pipeline {pipeline.name}",
        author_person_of(release) if release is not None else "": f"wrote {promotion.spec.release}",
        promotion.spec.requested_by: "asked for it",
    }
    voters = (voter, *(vote.by for vote in promotion.status.votes))
    programs = (name for name in voters if parse_account(name))
    # Whoever gave one its grants would be both pairs of eyes.
    found |= dict.fromkeys(programs, "is a ServiceAccount, and nobody's eyes")
    return {name: what for name, what in found.items() if name}
