"""Situation of one Pipeline at one moment: the state that its promotions depend on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from itertools import chain

from upwell.api.clusters.cluster import Cluster
from upwell.api.meta import Resource
from upwell.api.pipeline import Freeze, Pipeline, Quarantine, Stage
from upwell.api.promotion import BY_HAND_ANNOTATION, Promotion, Rejection, Release
from upwell.policy.builds.triggers import digest_of
from upwell.policy.health.promotion import StageObstacle
from upwell.policy.promotion.approval import Approved, approval_of
from upwell.policy.promotion.components import FindBuild
from upwell.policy.promotion.four_eyes import involved
from upwell.policy.promotion.quarantine import held_by
from upwell.policy.promotion.releases import rejection_of
from upwell.policy.promotion.stages import Serving, hold_of, may_enter, serving


@dataclass(frozen=True)
class Situation:
    """A Pipeline, all that moves through it, and all that may bar the way."""

    pipeline: Pipeline
    releases: Mapping[str, Release]
    promotions: Sequence[Promotion]
    now: datetime
    freezes: Sequence[Freeze] = ()
    quarantines: Mapping[str, Quarantine] = field(default_factory=dict)
    """By the base image's digest."""
    workloads: Mapping[str, Sequence[Resource]] = field(default_factory=dict)
    """By the stage's name."""
    untrusted: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Reason why image policies keep a Release out of a stage, by stage and Release."""
    denied: str = ""
    """Right that the Pipeline's author lacks for what the Pipeline does."""
    maker: FindBuild = lambda _: None
    """Finds the build that made a digest."""
    claims: Mapping[str, str] = field(default_factory=dict)
    """By the stage's name, which other Pipeline has its workloads."""
    obstacles: Mapping[str, StageObstacle] = field(default_factory=dict)
    """By the stage's name, why its workloads cannot be set or followed where they run."""
    clusters: Sequence[Cluster] = ()
    """Of stages that are on clusters, those that there are."""
    turns: Mapping[str, str] = field(default_factory=dict)
    """By the stage's name, what a rollout waits for while others come first.

    Those that somebody has asked for do not.
    """

    def with_releases(self, releases: Iterable[Release]) -> "Situation":
        """Return the situation with the Releases as they are now known to be."""
        return replace(self, releases={one.name: one for one in releases})

    def rejection(self, release: Release) -> Rejection | None:
        """Return why `release` must not go on, if it must not."""
        return rejection_of(release, self.releases.values())

    def quarantine(self, release: Release) -> Quarantine | None:
        """Return the quarantine of an image of `release`, or of a base that it was built on.

        Those that a Release names, and those that its builds had: whoever writes one by hand may
        leave some out.
        """
        components = release.spec.components
        named = [base.digest for one in components for base in one.bases]
        found = (self.quarantines[one] for one in named if one in self.quarantines)
        built = (held_by(one.image, self.quarantines, self.maker) for one in components)
        return next(filter(None, chain(found, built)), None)

    def unknown(self, release: Release) -> str:
        """Return the component whose bases nobody knows, of a Release that was written by hand.

        Its build is gone, or was never here: what the Release says of it is its writer's word.
        """
        if BY_HAND_ANNOTATION not in release.annotations:
            return ""  # Upwell has recorded the bases when it made it
        recorded = {
            digest_of(component.image)
            for one in self.releases.values()
            if BY_HAND_ANNOTATION not in one.annotations
            for component in one.spec.components
        }
        for component in release.spec.components:
            digest = digest_of(component.image)
            if digest not in recorded and self.maker(digest) is None:
                return component.name
        return ""

    @cached_property
    def stamp(self) -> datetime:
        """The time to record: never before what is recorded, since the clock may have gone back.

        What is asked of the clock itself, such as a window, is asked of `now`.
        """
        times = [
            time
            for one in self.promotions
            for time in (one.status.started, one.status.ended)
            if time is not None
        ]
        return max(self.now, *times) if times else self.now

    def at(self, stage: Stage) -> "StageSituation":
        """Return what is known of one stage."""
        mine = tuple(one for one in self.promotions if one.spec.stage == stage.name)
        return StageSituation(self, stage, mine)


@dataclass(frozen=True)
class StageSituation:
    """One stage of a Situation."""

    all: Situation
    stage: Stage
    promotions: Sequence[Promotion]

    @cached_property
    def serves(self) -> Serving:
        """Release that serves here."""
        return serving(self.promotions)

    @cached_property
    def hold(self) -> str:
        """Reason of a person's hold here; empty when there is none."""
        workloads = self.all.workloads.get(self.stage.name, ())
        return hold_of(self.all.pipeline, self.stage, workloads, self.all.now)

    @property
    def claim(self) -> str:
        """Say why the workloads of the stage are not to be set; empty: they may be."""
        name = self.stage.name
        obstacle = self.all.obstacles.get(name)
        return self.all.claims.get(name, "") if obstacle is None else obstacle.message

    @cached_property
    def candidate(self) -> Release | None:
        """The newest Release that may enter, if it is newer than what serves."""
        present = self.all.releases.get(self.serves.release)
        number = present.spec.number if present is not None else 0
        able = [
            one
            for one in self.all.releases.values()
            if one.spec.number > number and self.may_enter(one) and self.all.rejection(one) is None
        ]
        return max(able, key=lambda one: one.spec.number, default=None)

    def approval(self, promotion: Promotion) -> Approved:
        """Return how the votes of a promotion stand."""
        release = self.all.releases.get(promotion.spec.release)
        people = involved(self.all.pipeline, self.stage, release, promotion, self.promotions)
        return approval_of(self.all.pipeline, self.stage, promotion, self.all.now, people)

    def may_enter(self, release: Release) -> bool:
        """Return True if `release` is verified where it has to be before this stage."""
        return may_enter(self.all.pipeline, self.stage, release)
