"""Approval: whether the people that a stage asks for have agreed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from upwell.api.pipeline import Approval
from upwell.api.promotion import ApprovalLink, Promotion, Vote


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
_NOBODY: Mapping[str, str] = MappingProxyType({})


def approval_of(
    approval: Approval | None,
    promotion: Promotion,
    now: datetime,
    interested: Mapping[str, str] = _NOBODY,
) -> Approved:
    """Count the votes of a promotion; one refusal of somebody who counts is enough.

    `interested` are those whose approval alone is not enough, and what each has done.
    """
    votes = [vote for vote in promotion.status.votes if counts(approval, vote.by)]
    refusal = next((vote for vote in votes if not vote.approved), None)
    if refusal is not None:
        why = f": {refusal.comment}" if refusal.comment else ""
        return Approved(Agreement.REFUSED, f"refused by {refusal.by}{why}")
    if approval is None:
        return Approved(Agreement.AGREED)
    agreed = {vote.by for vote in votes}
    is_independent = any(vote.override or vote.by not in interested for vote in votes)
    if len(agreed) >= approval.required and is_independent:
        return Approved(Agreement.AGREED, f"approved by {', '.join(map(_voter, votes))}")
    end = _deadline(approval, promotion)
    missing = f"{len(agreed)} of {approval.required} approvals"
    if votes and not is_independent:
        missing = f"{missing}, and one of somebody else: {_parts(agreed, interested)}"
    if end is not None and now >= end:
        if approval.on_deadline != "Wait":
            return Approved(Agreement.REFUSED, f"not approved in time: {missing}")
        return Approved(Agreement.OPEN, f"approval, overdue since {end:%Y-%m-%d %H:%M} UTC")
    return Approved(Agreement.OPEN, f"approval: {missing}", end)


def _voter(vote: Vote) -> str:
    return f"{vote.by} (overrides four eyes: {vote.override})" if vote.override else vote.by


def _parts(people: Iterable[str], interested: Mapping[str, str]) -> str:
    return "; ".join(f"{one} {interested[one]}" for one in sorted(people))


def counts(approval: Approval | None, person: str) -> bool:
    """Return True if a person's vote counts; a refusal does where no approval is asked for too."""
    return approval is None or not approval.approvers or person in approval.approvers


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


def opens(links: tuple[ApprovalLink, ...], link: str) -> bool:
    """Return True if a link is known, and not revoked."""
    return any(one.id == link and one.revoked is None for one in links)


def _said(vote: Vote) -> tuple[bool, str, str]:
    return vote.approved, vote.comment, vote.override


def _deadline(approval: Approval, promotion: Promotion) -> datetime | None:
    since = promotion.status.waiting_since or promotion.metadata.creation_timestamp
    if approval.deadline_seconds is None or since is None:
        return None
    return since + timedelta(seconds=approval.deadline_seconds)
