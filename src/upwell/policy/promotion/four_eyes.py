"""Four eyes: who asked for a promotion, or wrote the change, is not the only one to approve it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from upwell.api.pipeline import Pipeline, Stage
from upwell.api.promotion import Promotion, Purpose, Release, Vote
from upwell.api.values.author import author_person_of, writers_of
from upwell.policy.access.people.persons import may_be_one, program_of
from upwell.policy.promotion.stages import last_stages


@dataclass(frozen=True, slots=True)
class Involved:
    """People who have a part in a promotion, and what each has done."""

    parties: Mapping[str, str] = field(default_factory=dict)
    """One approval is of somebody who is none of these."""
    writers: Mapping[str, str] = field(default_factory=dict)
    """Wrote what nobody else has approved since: for each, one approval is of somebody else."""

    def has_part(self, vote: Vote) -> bool:
        """Return True if a vote is of somebody who has a part in it."""
        eyes = eyes_of(vote)
        return any(may_be_one(eyes, one) for one in (*self.parties, *self.writers))

    def party(self, principal: str) -> str:
        """Return the party that a principal is, or may be; empty: none."""
        if principal in self.parties:
            return principal
        return next((one for one in sorted(self.parties) if may_be_one(principal, one)), "")

    def missing(self, votes: Iterable[Vote]) -> str:
        """Say whose approval is not enough, and why, where that is all there is; empty: it is.

        `votes` agree; each that overrides four eyes is enough.
        """
        votes = tuple(votes)
        eyes = {eyes_of(vote) for vote in votes}
        if not votes or any(vote.override for vote in votes):
            return ""
        parties = {one: self.party(one) for one in sorted(eyes)}
        if all(parties.values()):
            return "; ".join(self.part_of(one) for one in parties)
        for writer in sorted(self.writers):
            if all(may_be_one(one, writer) for one in eyes if program_of(one) is None):
                return f"{writer} {self.writers[writer]}"
        return ""

    def part_of(self, principal: str) -> str:
        """Say what part a party has, as somebody who may come by another name."""
        party = self.party(principal)
        also = "" if party == principal else f", who may be {party} by another name,"
        return f"{principal}{also} {self.parties[party]}"


def eyes_of(vote: Vote) -> str:
    """Return the person who gave a vote, as far as it shows: whoever makes a link can use it."""
    return vote.link_by or vote.by


def votes_under(pipeline: Pipeline, votes: Iterable[Vote]) -> Iterator[Vote]:
    """Yield the votes that were not given under another Pipeline of the same name."""
    # Votes of an earlier version of Upwell do not say it.
    yield from (vote for vote in votes if vote.pipeline in {"", pipeline.uid})


def needs_four_eyes(pipeline: Pipeline, stage: Stage) -> bool:
    """Return True if a stage asks for the approval of somebody else.

    Unless it says so itself, a stage does that no other comes after: production, that is.
    """
    if stage.approval is None:
        return False
    if stage.approval.four_eyes is not None:
        return stage.approval.four_eyes
    return stage.name in last_stages(pipeline)


def involved(
    pipeline: Pipeline,
    stage: Stage,
    release: Release | None,
    promotion: Promotion,
    earlier: Iterable[Promotion],
    new: Vote | None = None,
) -> Involved | None:
    """Return the people whose approval alone is not enough; None: nobody asks whose it is.

    `earlier` has the promotions into the stage, and `new` is a vote that the promotion has not yet.
    """
    if not needs_four_eyes(pipeline, stage):
        return None
    found = {
        author_person_of(pipeline): f"wrote Pipeline {pipeline.name}",
        author_person_of(release) if release is not None else "": f"wrote {promotion.spec.release}",
        promotion.spec.requested_by: "asked for it",
    }
    votes = (*votes_under(pipeline, promotion.status.votes), *((new,) if new is not None else ()))
    programs = (one for vote in votes if program_of(one := eyes_of(vote)))
    # Whoever gave one its grants would be both pairs of eyes.
    found |= dict.fromkeys(programs, "is a ServiceAccount, and nobody's eyes")
    seen = max(_approved_generations(pipeline, earlier), default=0)
    writers = {
        name: f"wrote a part of Pipeline {pipeline.name} that nobody else has approved yet"
        for name, generation in writers_of(pipeline).items()
        if generation >= seen and name not in found
    }
    return Involved({name: what for name, what in found.items() if name}, writers)


def _approved_generations(pipeline: Pipeline, promotions: Iterable[Promotion]) -> Iterator[int]:
    """Yield generations of the Pipeline with which somebody without a part in it has agreed.

    Only where the promotion has begun on that word.
    """
    for promotion in promotions:
        spec, status = promotion.spec, promotion.status
        if spec.purpose is Purpose.PROMOTE and not spec.bypass and status.started is not None:
            votes = votes_under(pipeline, status.votes)
            yield from (vote.generation for vote in votes if vote.approved)
