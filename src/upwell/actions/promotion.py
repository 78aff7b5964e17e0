"""Promotions, rejections, votes and verdicts that people and their CI ask for."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from upwell.api.meta import Resource
from upwell.api.pipeline import Pipeline, Quarantine, Stage
from upwell.api.promotion import PIPELINE_LABEL, ApprovalLink, Promotion, Rejection, Release, Vote
from upwell.policy.images.streams import StreamTag
from upwell.policy.promotion import requests
from upwell.policy.promotion.approval import with_link, without_links
from upwell.policy.promotion.four_eyes import involved
from upwell.policy.promotion.releases import (
    rejected,
    restoration_time,
    restored,
    with_same_images,
)
from upwell.policy.promotion.requests import (
    Asked,
    Known,
    RequestOutcome,
    require_waiting,
    stage_named,
    voted,
)
from upwell.policy.promotion.stages import with_hold
from upwell.policy.promotion.verification.verdicts import (
    ReportedVerdict,
    check_for,
    judged,
    with_verdict,
)
from upwell.policy.waves.stop import holds
from upwell.reconcilers.builds.index import BuildIndex
from upwell.store.interface import AlreadyExistsError, ConflictError, NotFoundError, Selector, Store
from upwell.store.retry import update_with_retry


@dataclass(frozen=True, slots=True)
class RequestedPromotion:
    """A Promotion, and whether this request made it."""

    promotion: Promotion
    created: bool


class PromotionActions:
    """Requests, approvals and verdicts, written into the store.

    Methods raise StoreError, or RefusedError with the next step.
    """

    def __init__(
        self, store: Store, clock: Callable[[], datetime], builds: BuildIndex | None = None
    ) -> None:
        """`builds` tells which images a Pipeline follows; without it, every quarantine counts."""
        self._store = store
        self._clock = clock
        self._builds = builds

    async def promote(self, namespace: str, pipeline: str, asked: Asked) -> RequestedPromotion:
        """Promote a Release into a stage, unless such a Promotion is there."""
        return await self._request(namespace, pipeline, asked, requests.promote)

    async def roll_back(self, namespace: str, pipeline: str, asked: Asked) -> RequestedPromotion:
        """Put an earlier Release back into a stage, and hold the stage."""
        return await self._request(namespace, pipeline, asked, requests.roll_back)

    async def verify_again(self, namespace: str, pipeline: str, asked: Asked) -> RequestedPromotion:
        """Verify once more what serves in a stage."""
        return await self._request(namespace, pipeline, asked, requests.verify_again)

    async def known(self, namespace: str, pipeline: str) -> Known:
        """Return a Pipeline and all that belongs to it."""
        mine = Selector(namespace, {PIPELINE_LABEL: pipeline})
        found = await self._store.get(Pipeline, namespace, pipeline)
        releases = await self._store.list(Release, mine)
        promotions = await self._store.list(Promotion, mine)
        quarantines = (await self._store.list(Quarantine)).items
        if quarantines and self._builds is not None:
            tags = (StreamTag.of(one.from_, namespace) for one in found.spec.components)
            images = await self._builds.images_above(*tags)
            quarantines = tuple(one for one in quarantines if holds(one, images))
        return Known(
            found,
            {one.name: one for one in releases.items},
            promotions.items,
            self._clock(),
            {one.spec.digest: one.spec.reason for one in quarantines},
        )

    async def reject(self, namespace: str, name: str, rejection: Rejection) -> Release:
        """Keep a Release out of every later stage; the first rejection stands."""
        release = await self._store.get(Release, namespace, name)
        if rejection.stage:
            pipeline = await self._store.get(Pipeline, namespace, release.spec.pipeline)
            stage_named(pipeline, rejection.stage)
        return await self._changed(Release, namespace, name, lambda one: rejected(one, rejection))

    async def restore(self, namespace: str, name: str, by: str, reason: str) -> Release:
        """Lift the rejection of a Release, and of those with the same images."""
        asked = await self._store.get(Release, namespace, name)
        mine = Selector(namespace, {PIPELINE_LABEL: asked.spec.pipeline})
        promotions = (await self._store.list(Promotion, mine)).items
        at = restoration_time(self._clock(), promotions)

        def change(release: Release) -> Release:
            return restored(release, by, reason, at)

        for other in with_same_images(asked, (await self._store.list(Release, mine)).items):
            await self._changed(Release, namespace, other.name, change)
        return await self._changed(Release, namespace, name, change)

    async def vote(self, namespace: str, name: str, vote: Vote) -> Promotion:
        """Record what somebody says about a Promotion."""
        asked = await self._store.get(Promotion, namespace, name)
        known = await self.known(namespace, asked.spec.pipeline)
        pipeline, stage = known.pipeline, stage_named(known.pipeline, asked.spec.stage)
        release = await self._release(asked)
        earlier = known.of_stage(stage)

        def change(promotion: Promotion) -> Promotion:
            people = involved(pipeline, stage, release, promotion, earlier, vote)
            return voted(promotion, pipeline, stage, vote, people)

        return await self._changed(Promotion, namespace, name, change)

    async def add_link(self, promotion: Promotion, link: ApprovalLink) -> Promotion:
        """Record a link, without which it opens nothing, on a Promotion that waits."""

        def change(one: Promotion) -> Promotion:
            require_waiting(one)
            return _with_links(one, with_link(one.status.links, link))

        return await self._changed(Promotion, promotion.namespace, promotion.name, change)

    async def revoke_links(self, promotion: Promotion, which: str) -> Promotion:
        """Revoke a link, by its id, or all of a person; what was voted stands."""
        now = self._clock()

        def change(one: Promotion) -> Promotion:
            return _with_links(one, without_links(one.status.links, which, now))

        return await self._changed(Promotion, promotion.namespace, promotion.name, change)

    async def _release(self, promotion: Promotion) -> Release | None:
        try:
            return await self._store.get(Release, promotion.namespace, promotion.spec.release)
        except NotFoundError:
            return None

    async def verify(
        self, release: Release, stage: str, check: str, verdict: ReportedVerdict
    ) -> tuple[Promotion, str]:
        """Record a verdict on a Release in a stage; return the Promotion, and the check's name."""
        known = await self.known(release.namespace, release.spec.pipeline)
        name = check_for(stage_named(known.pipeline, stage), check)
        promotion = judged(known.promotions, release.name, stage)
        return await self.judge(promotion, name, verdict), name

    async def judge(self, promotion: Promotion, check: str, verdict: ReportedVerdict) -> Promotion:
        """Record a verdict on a check of a Promotion."""
        return await self._changed(
            Promotion,
            promotion.namespace,
            promotion.name,
            lambda one: with_verdict(one, check, verdict),
        )

    async def stage_of(self, promotion: Promotion) -> tuple[Pipeline, Stage]:
        """Return the Pipeline of a Promotion, and the stage."""
        pipeline = await self._store.get(Pipeline, promotion.namespace, promotion.spec.pipeline)
        return pipeline, stage_named(pipeline, promotion.spec.stage)

    async def _request(
        self,
        namespace: str,
        pipeline: str,
        asked: Asked,
        decide: Callable[[Known, Asked], RequestOutcome],
    ) -> RequestedPromotion:
        """Make the Promotion that `decide` asks for, unless there is one."""

        async def decided() -> RequestOutcome:
            return decide(await self.known(namespace, pipeline), asked)

        async def write(outcome: RequestOutcome) -> RequestedPromotion:
            if outcome.exists:
                return RequestedPromotion(outcome.promotion, created=False)
            if outcome.hold:
                await self._hold(namespace, pipeline, asked.stage, outcome.hold)
            try:
                return RequestedPromotion(await self._store.create(outcome.promotion), created=True)
            except AlreadyExistsError as error:
                # Somebody took the name: perhaps for the same request.
                why = "concurrent requests promote the same release: try again"
                raise ConflictError(outcome.promotion.key, why) from error

        return await update_with_retry(decided, write)

    async def _hold(self, namespace: str, pipeline: str, stage: str, reason: str) -> None:
        async def held() -> Pipeline:
            found = await self._store.get(Pipeline, namespace, pipeline)
            return with_hold(found, stage, reason)

        await update_with_retry(held, self._store.update)

    async def _changed[R: Resource](
        self, kind: type[R], namespace: str, name: str, change: Callable[[R], R]
    ) -> R:
        """Write the status that `change` gives an object, as it is at that moment."""

        async def changed() -> R:
            return change(await self._store.get(kind, namespace, name))

        return await update_with_retry(changed, self._store.update_status)


def _with_links(promotion: Promotion, links: tuple[ApprovalLink, ...]) -> Promotion:
    return promotion.with_status(promotion.status.model_copy(update={"links": links}))
