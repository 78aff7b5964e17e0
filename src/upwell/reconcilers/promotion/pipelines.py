"""Pipelines: makes Releases of new images, begins promotions, and says where all stages stand.

One key is one Pipeline: all beginnings are decided in one place, one after another.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

from upwell.api.clusters.cluster import Cluster
from upwell.api.conditions import DEGRADED, find, set_condition
from upwell.api.image import ImageStream
from upwell.api.meta import Condition, ObjectKey, Resource
from upwell.api.pipeline import Freeze, Pipeline, PipelineStatus, Quarantine, Stage
from upwell.api.promotion import PIPELINE_LABEL, Component, Promotion, PromotionPhase, Release
from upwell.controller import Result
from upwell.policy.builds.triggers import ImageBar, digest_of
from upwell.policy.health.promotion import (
    StageObstacle,
    behind_text,
    cluster_drift_of,
    drift_of,
    pipeline_degradation,
)
from upwell.policy.images.streams import StreamTag, resolve_tag
from upwell.policy.promotion.claims import FindObstacle, foreign_claim, unobstructed
from upwell.policy.promotion.clusters.targets import cluster_obstacle
from upwell.policy.promotion.components import component
from upwell.policy.promotion.plan import PipelinePlan, plan
from upwell.policy.promotion.quarantine import quarantines
from upwell.policy.promotion.releases import NextRelease, next_release
from upwell.policy.promotion.situation import Situation
from upwell.policy.promotion.stages import (
    STAGED,
    PipelineStage,
    names_workload,
    namespace_of,
)
from upwell.policy.waves.stop import holds
from upwell.reconcilers.authority import ASK_AGAIN_SECONDS, UNASKED, Authority
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.promotion.trust import untrusted
from upwell.reconcilers.promotion.turns import AGAIN_SECONDS, PromotionTurns
from upwell.reconcilers.signatures.policies import UNRESTRICTED, ImagePolicies
from upwell.store.interface import AlreadyExistsError, NotFoundError, Selector, Store

log = logging.getLogger(__name__)

_SIGNATURES_SECONDS = 5.0
"""Until a Release that image policies keep out is judged again; the judge spaces its questions."""
RELEASE_CURRENT = "ReleaseCurrent"
"""Condition of a Pipeline: whether the newest Release has what its components' tags name."""


type StagesOf = Callable[[Resource], Awaitable[Iterable[PipelineStage]]]
"""Returns the stages to which a workload belongs."""


async def nobody_elses(_workload: Resource) -> Iterable[PipelineStage]:
    """Return no stage: where there is one Pipeline alone."""
    return ()


class WorkloadReader(Protocol):
    """Reads workloads where a stage runs."""

    async def find[R: Resource](self, kind: type[R], namespace: str, name: str) -> R | None:
        """Return a workload; None: there is none."""
        ...

    async def select[R: Resource](
        self, kind: type[R], namespace: str, labels: Mapping[str, str]
    ) -> Sequence[R]:
        """Return the workloads of a namespace that have these labels."""
        ...


class StoredWorkloads:
    """Implements WorkloadReader for what runs where the server's own objects are."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find[R: Resource](self, kind: type[R], namespace: str, name: str) -> R | None:
        """Return a workload; raises StoreError."""
        try:
            return await self._store.get(kind, namespace, name)
        except NotFoundError:
            return None

    async def select[R: Resource](
        self, kind: type[R], namespace: str, labels: Mapping[str, str]
    ) -> Sequence[R]:
        """Return the workloads of a namespace that have these labels; raises StoreError."""
        return (await self._store.list(kind, Selector(namespace, dict(labels)))).items


class PipelineReconciler:
    """Reconciles Pipelines; what it begins, `promotions` carries out."""

    def __init__(  # noqa: PLR0913 - the store, and all that keeps a promotion from beginning
        self,
        store: Store,
        builds: BuildIndex,
        clock: Callable[[], datetime],
        authority: Authority = UNASKED,
        *,
        stages_of: StagesOf = nobody_elses,
        policies: ImagePolicies = UNRESTRICTED,
        obstacle: FindObstacle = unobstructed,
        turns: PromotionTurns | None = None,
    ) -> None:
        """`stages_of` says to which stages, of whatever Pipeline, a workload belongs.

        `obstacle` says what keeps the workloads of a stage from being set where they run, and
        `turns` which rollouts of other Pipelines come first; None: they wait for none.
        """
        self._turns = turns
        self._obstacle = obstacle
        self._stages_of = stages_of
        self._policies = policies
        self._store = store
        self._authority = authority
        self._builds = builds
        self._clock = clock

    async def reconcile(self, key: ObjectKey) -> Result:
        """Decide about everything that moves through the Pipeline that `key` names."""
        try:
            pipeline = await self._store.get(Pipeline, key.namespace, key.name)
        except NotFoundError:
            return self._gone(key)
        if pipeline.is_deleting:
            return self._gone(key)
        now = self._clock()
        situation = await self._situation(pipeline, now)
        due = await self._next_release(situation)
        if due.release is not None:
            with suppress(AlreadyExistsError):
                await self._store.create(due.release)
                log.info("release made", extra={"release": due.release.name})
            return Result(0)  # decide anew, with the Release
        async with self._turns.lock if self._turns is not None else nullcontext():
            decided = await self._decided(situation)
        await self._record(situation, decided, due)
        times = [one for one in (decided.again, due.until) if one is not None]
        if self._turns is not None and self._turns.has_waiting(pipeline.key):
            times.append(now + timedelta(seconds=AGAIN_SECONDS))
        if situation.denied or situation.claims or situation.obstacles:
            times.append(now + timedelta(seconds=ASK_AGAIN_SECONDS))
        if situation.untrusted:
            times.append(now + timedelta(seconds=_SIGNATURES_SECONDS))
        return Result(max((min(times) - now).total_seconds(), 0.1)) if times else Result()

    def _gone(self, pipeline: ObjectKey) -> Result:
        if self._turns is not None:
            self._turns.decided(pipeline, (), ())
        return Result()

    async def _decided(self, situation: Situation) -> PipelinePlan:
        """Decide and write; where rollouts take turns, nobody else decides meanwhile."""
        turns, pipeline = self._turns, situation.pipeline
        busy = turns.busy(pipeline) if turns is not None else {}
        decided = plan(replace(situation, turns=busy))
        await self._write(situation, decided)
        if turns is not None:
            known = {one.name: one for one in situation.promotions}
            begun = [
                known[name]
                for name, status in decided.promotions.items()
                if status.phase is PromotionPhase.ROLLING_OUT and name in known
            ]
            turns.decided(pipeline.key, begun, decided.waits_for_turn)
        return decided

    async def _situation(self, pipeline: Pipeline, now: datetime) -> Situation:
        mine = Selector(pipeline.namespace, {PIPELINE_LABEL: pipeline.name})
        releases = (await self._store.list(Release, mine)).items
        tags = (StreamTag.of(one.from_, pipeline.namespace) for one in pipeline.spec.components)
        quarantined = (await self._store.list(Quarantine)).items
        images = await self._builds.images_above(*tags) if quarantined else frozenset()
        workloads = {
            stage.name: await stage_workloads(StoredWorkloads(self._store), pipeline, stage)
            for stage in pipeline.spec.stages
        }
        elsewhere = any(not stage.runs_here for stage in pipeline.spec.stages)
        clusters = (await self._store.list(Cluster)).items if elsewhere else ()
        obstacles = {
            stage.name: found
            for stage in pipeline.spec.stages
            if (found := self._stage_obstacle(pipeline, stage, workloads[stage.name], clusters))
        }
        claims = {
            stage.name: why
            for stage in pipeline.spec.stages
            if stage.name not in obstacles
            and (why := await claim_on(pipeline, stage, workloads[stage.name], self._stages_of))
        }
        situation = Situation(
            pipeline=pipeline,
            releases={one.name: one for one in releases},
            promotions=(await self._store.list(Promotion, mine)).items,
            now=now,
            freezes=(await self._store.list(Freeze)).items,
            quarantines={one.spec.digest: one for one in quarantined if holds(one, images)},
            denied=await self._authority.refusal(pipeline),
            workloads=workloads,
            maker=self._builds.maker,
            claims=claims,
            obstacles=obstacles,
            clusters=clusters,
        )
        return replace(situation, untrusted=await untrusted(situation, self._policies))

    def _stage_obstacle(
        self,
        pipeline: Pipeline,
        stage: Stage,
        workloads: Sequence[Resource],
        clusters: Sequence[Cluster],
    ) -> StageObstacle | None:
        if stage.runs_here:
            return self._obstacle(pipeline, stage, workloads)
        return cluster_obstacle(pipeline, stage, clusters)

    async def _next_release(self, situation: Situation) -> NextRelease:
        pipeline = situation.pipeline
        components: dict[str, Component | None] = {}
        coming: list[str] = []
        barred: list[str] = []
        for source in pipeline.spec.components:
            tag = StreamTag.of(source.from_, pipeline.namespace)
            coming += await self._builds.coming(tag)
            image = await self._image(tag.namespace, tag.stream, tag.tag)
            if image is not None and (bar := await self._bar(situation, source.name, tag, image)):
                barred.append(f"{tag}, which {bar.message}")
            components[source.name] = (
                component(source.name, image, self._builds.maker) if image is not None else None
            )
        releases = list(situation.releases.values())
        due = next_release(
            pipeline, components, list(dict.fromkeys(coming)), releases, situation.now
        )
        return due.kept_back("; ".join(barred)) if barred else due

    async def _bar(
        self, situation: Situation, component_name: str, tag: StreamTag, image: str
    ) -> ImageBar | None:
        """Return what keeps an image out of the next Release; None if the newest one has it."""
        newest = _newest(situation.releases.values())
        known = newest.spec.components if newest is not None else ()
        if any(
            one.name == component_name and digest_of(one.image) == digest_of(image) for one in known
        ):
            return None
        return await self._builds.bar_of_change(tag, image)

    async def _image(self, namespace: str, stream: str, tag: str) -> str | None:
        try:
            return resolve_tag(await self._store.get(ImageStream, namespace, stream), tag)
        except NotFoundError:
            return None

    async def _write(self, situation: Situation, decided: PipelinePlan) -> None:
        """Write what is decided: a quarantine goes before the rejection that it follows from."""
        for name, status in decided.releases.items():
            release = situation.releases[name].with_status(status)
            if status.rejection is not None and situation.releases[name].status.rejection is None:
                await self._quarantine(situation.pipeline, release)
            await self._store.update_status(release)
        known = {one.name: one for one in situation.promotions}
        for name, promoted in decided.promotions.items():
            await self._store.update_status(known[name].with_status(promoted))
            log.info("promotion decided", extra={"promotion": name, "phase": promoted.phase.value})
        for promotion in decided.create:
            with suppress(AlreadyExistsError):
                await self._store.create(promotion)
        for name in decided.surplus:
            with suppress(NotFoundError):
                old = situation.releases[name]
                await self._store.delete(
                    Release, old.namespace, name, resource_version=old.resource_version
                )

    async def _quarantine(self, pipeline: Pipeline, rejected: Release) -> None:
        everywhere = (await self._store.list(Release)).items
        others = [one for one in everywhere if one.key != rejected.key]
        for found in quarantines(pipeline, rejected, [*others, rejected]):
            with suppress(AlreadyExistsError):
                await self._store.create(found)
                log.warning("base image quarantined", extra={"digest": found.spec.digest})

    async def _record(self, situation: Situation, decided: PipelinePlan, due: NextRelease) -> None:
        pipeline = situation.pipeline
        waits = due.waits_for
        condition = Condition(
            type=RELEASE_CURRENT,
            status="False" if waits else "True",
            reason="Waiting" if waits else "Current",
            message=f"the next Release waits for {waits}" if waits else "",
            observed_generation=pipeline.generation,
        )
        newest = _newest(situation.releases.values())
        conditions = set_condition(pipeline.status.conditions, condition, situation.now)
        drifted = [
            why
            for stage, workloads in situation.workloads.items()
            for why in drift_of(stage, workloads)
        ]
        for one in decided.stages:
            drifted += cluster_drift_of(one.name, one.behind)
        behind = [why for one in decided.stages for why in behind_text(one.name, one.behind)]
        degraded = pipeline_degradation(
            newest,
            situation.promotions,
            find(conditions, DEGRADED),
            due.missing,
            drifted,
            situation.obstacles,
            behind,
        )
        if degraded is not None:
            observed = degraded.model_copy(update={"observed_generation": pipeline.generation})
            conditions = set_condition(conditions, observed, situation.now)
        status = PipelineStatus(
            observed_generation=pipeline.generation,
            conditions=conditions,
            latest_release=newest.name if newest is not None else "",
            stages=decided.stages,
            coalescing_since=due.since,
        )
        if status != pipeline.status:
            await self._store.update_status(pipeline.with_status(status))


def _newest(releases: Iterable[Release]) -> Release | None:
    return max(releases, key=lambda one: one.spec.number, default=None)


async def stage_workloads(
    reader: WorkloadReader, pipeline: Pipeline, stage: Stage
) -> list[Resource]:
    """Return the workloads of a stage, in a fixed order; none of one on other clusters."""
    namespace = namespace_of(pipeline, stage)
    found: dict[ObjectKey, Resource] = {}
    for entry in stage.workloads if stage.runs_here else ():
        kind = next(one for one in STAGED if one.KIND.kind == entry.kind)
        if entry.name:
            workload = await reader.find(kind, namespace, entry.name)
            found |= {workload.key: workload} if workload is not None else {}
        else:
            labels = entry.selector.match_labels if entry.selector is not None else {}
            listed = await reader.select(kind, namespace, labels)
            chosen = [one for one in listed if names_workload(pipeline, stage, one) is not None]
            found |= {one.key: one for one in chosen}
    return [found[key] for key in sorted(found)]


async def claim_on(
    pipeline: Pipeline, stage: Stage, workloads: Iterable[Resource], stages_of: StagesOf
) -> str:
    """Say which other Pipeline has one of the workloads of a stage; empty: none has."""
    for one in workloads:
        if why := foreign_claim(pipeline, stage, one, await stages_of(one)):
            return why
    return ""
