"""Approval: whether the people that a stage asks for have agreed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from upwell.api.pipeline import GROUP_APPROVER, Approval, Pipeline, Stage
from upwell.api.promotion import ApprovalLink, Promotion, Vote
from upwell.policy.access.people.persons import persons_among, program_of
from upwell.policy.promotion.four_eyes import Involved, eyes_of, votes_under


class Agreement(StrEnum):
    """Result of the votes."""

    AGREED = "Agreed"
    REFUSED = "Refused"
    OPEN = "Open"


@dataclass(frozen=True, slots=True)
class Approved:
    """Result of the votes, and the time until which an open one waits."""

    agreement: Agreement
    message: str = ""
    until: datetime | None = None


MAX_LINKS = 50
"""Approval links that one Promotion has at a time."""


def approval_of(
    pipeline: Pipeline,
    stage: Stage | None,
    promotion: Promotion,
    now: datetime,
    involved: Involved | None = None,
) -> Approved:
    """Count the votes of a promotion into a stage of `pipeline`.

    One refusal of somebody who counts is enough. `stage` is None when it is there no more, and
    `involved` are those whose approval alone is not enough; None: nobody asks whose it is.
    """
    approval = stage.approval if stage is not None else None
    votes = [
        vote for vote in votes_under(pipeline, promotion.status.votes) if counts(approval, vote)
    ]
    refusal = next((vote for vote in votes if not vote.approved), None)
    if refusal is not None:
        why = f": {refusal.comment}" if refusal.comment else ""
        return Approved(Agreement.REFUSED, f"refused by {refusal.by}{why}")
    if approval is None:
        return Approved(Agreement.AGREED)
    agreed = _agreeing(votes, involved)
    alone = involved.missing(votes) if involved is not None else ""
    if agreed >= approval.required and not alone:
        return Approved(Agreement.AGREED, f"approved by {', '.join(map(_voter, votes))}")
    end = _deadline(approval, promotion)
    missing = f"{agreed} of {approval.required} approvals"
    if alone:
        missing = f"{missing}, and one of somebody else: {alone}"
    if end is not None and now >= end:
        if approval.on_deadline != "Wait":
            return Approved(Agreement.REFUSED, f"not approved in time: {missing}")
        return Approved(Agreement.OPEN, f"approval, overdue since {end:%Y-%m-%d %H:%M} UTC")
    return Approved(Agreement.OPEN, f"approval: {missing}", end)


def _agreeing(votes: Sequence[Vote], involved: Involved | None) -> int:
    """Return how many agree: persons, and programs where their eyes are not asked for."""
    if involved is None:
        programs = {found for vote in votes if (found := program_of(vote.by))}
        return persons_among(vote.by for vote in votes) + len(programs)
    overrides = {found for vote in votes if vote.override and (found := program_of(eyes_of(vote)))}
    return persons_among(map(eyes_of, votes)) + len(overrides)


def _voter(vote: Vote) -> str:
    if vote.link_by:
        return f"{vote.by} (by a link of {vote.link_by})"
    return f"{vote.by} (overrides four eyes: {vote.override})" if vote.override else vote.by


def counts(approval: Approval | None, vote: Vote) -> bool:
    """Return True if a vote counts; a refusal does where no approval is asked for too."""
    if approval is None or not approval.approvers:
        return True
    return vote.by in approval.approvers or bool(_as_approver(approval, vote))


def as_approver(approval: Approval | None, vote: Vote) -> Vote:
    """Return a vote with those of its person's groups alone that are approvers."""
    groups = _as_approver(approval, vote) if approval is not None else ()
    return vote.model_copy(update={"groups": groups})


def _as_approver(approval: Approval, vote: Vote) -> tuple[str, ...]:
    return tuple(one for one in vote.groups if f"{GROUP_APPROVER}{one}" in approval.approvers)


def with_vote(votes: tuple[Vote, ...], new: Vote) -> tuple[Vote, ...]:
    """Return the votes with a new one; a person has one, and the same again changes nothing."""
    old = next((vote for vote in votes if vote.by == new.by), None)
    if old is not None and _said(old) == _said(new):
        return votes
    return (*(vote for vote in votes if vote.by != new.by), new)


def with_link(links: tuple[ApprovalLink, ...], new: ApprovalLink) -> tuple[ApprovalLink, ...]:
    """Return the links with a new one; those whose time is over go, and the oldest of too many."""
    open_ones = tuple(link for link in links if link.expires > new.created)
    return (*open_ones, new)[-MAX_LINKS:]


def without_links(
    links: tuple[ApprovalLink, ...], which: str, now: datetime
) -> tuple[ApprovalLink, ...]:
    """Return the links with one revoked, by its id, or all of a person."""
    return tuple(
        link.model_copy(update={"revoked": now})
        if which in {link.id, link.person} and link.revoked is None
        else link
        for link in links
    )


def opened_link(links: tuple[ApprovalLink, ...], which: str) -> ApprovalLink | None:
    """Return a link by its id, if it is known, and not revoked."""
    known = (one for one in links if one.id == which and one.revoked is None)
    return next(known, None)


def _said(vote: Vote) -> tuple[object, ...]:
    what = vote.approved, vote.comment, vote.override, vote.groups, vote.link_by
    return *what, vote.pipeline, vote.generation


def _deadline(approval: Approval, promotion: Promotion) -> datetime | None:
    since = promotion.status.waiting_since or promotion.metadata.creation_timestamp
    if approval.deadline_seconds is None or since is None:
        return None
    return since + timedelta(seconds=approval.deadline_seconds)
