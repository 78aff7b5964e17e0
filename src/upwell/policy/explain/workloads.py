"""Explanation of a workload: what it runs, why, and what it waits for."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from upwell.api.apps import CronJob, RevisionRecord
from upwell.policy.cluster_rollouts.deployment_configs import images_of_template
from upwell.policy.cluster_rollouts.native_revisions import as_rolled_out
from upwell.policy.cluster_rollouts.note import RolloutNote, listed_images
from upwell.policy.explain.freshness import Follower, Freshness, Snapshot, short
from upwell.policy.explain.lineage import StagePlacement, origin_of
from upwell.policy.explain.origins import OriginExplainer
from upwell.policy.explain.statement import Statement, Topic
from upwell.policy.health.fault import HealthFault
from upwell.policy.health.judgement import faults_of
from upwell.policy.rollouts.commands import is_native
from upwell.policy.rollouts.history import image_before
from upwell.policy.rollouts.settings import Workload, template_of
from upwell.policy.rollouts.summary import RolloutState, desired_replicas, rollout_of, serving
from upwell.policy.rollouts.triggers import followers_of


class WorkloadExplainer:
    """Says what a workload runs and why, what is held back, and what comes next."""

    def __init__(self, snapshot: Snapshot, origins: OriginExplainer) -> None:
        self._snapshot = snapshot
        self._origins = origins

    def explain(self, asked: Follower) -> Iterator[Statement]:
        """Yield the statements about a workload or CronJob."""
        if isinstance(asked, CronJob):
            return self._cron_job(asked)
        return self._workload(as_rolled_out(asked))

    def _workload(self, workload: Workload) -> Iterator[Statement]:
        revision = serving(workload)
        place = self._snapshot.lineage.placement(workload)
        if revision is None:
            yield Statement(Topic.RUNNING, _unfinished(workload))
        else:
            cause = f", rolled out for {revision.cause}" if revision.cause else ""
            ready = workload.status.ready_replicas or not desired_replicas(workload)
            verb = "serves" if ready else "is in force, but no replica of it is ready"
            text = f"revision {revision.revision} {verb}{cause}"
            yield Statement(Topic.RUNNING, text, at=revision.live_at or revision.created)
            for container, image in revision.images.items():
                if place is not None:
                    yield from self._promoted(place, container, image)
                    yield from self._snapshot.policies.statements(image, workload.namespace, 1)
                else:
                    yield from self._container(workload, container, image)
                if self._snapshot.producer_of(image) is None:  # else that says what has changed
                    yield from _ran_before(workload, revision, container)
        for image in self._snapshot.next_images(workload):
            yield from self._snapshot.policies.statements(image, workload.namespace)
        yield from self._outlook(workload, place)
        yield from self._origins.next_checks(workload)

    def _cron_job(self, cron: CronJob) -> Iterator[Statement]:
        """Say what its next Job runs, and why that is not the newest; Jobs before had theirs."""
        place = self._snapshot.lineage.placement(cron)
        last = cron.status.last_schedule_time
        stopped = ", and is suspended" if cron.spec.suspend else ""
        text = f"it makes Jobs by the schedule {cron.spec.schedule!r}{stopped}"
        yield Statement(Topic.RUNNING, f"{text}; the last one then" if last else text, at=last)
        for container, image in self._snapshot.running(cron).items():
            if place is not None:
                yield from self._promoted(place, container, image)
                yield from self._snapshot.policies.statements(image, cron.namespace, 1)
            else:
                yield from self._container(cron, container, image)
        for image in self._snapshot.next_images(cron):
            yield from self._snapshot.policies.statements(image, cron.namespace)
        faults, followers = faults_of(cron), followers_of(cron)
        freshness = self._snapshot.workload_freshness(cron)
        held = [*map(str, faults), *followers.faults]
        if place is not None and place.status.hold:
            held.append(f"{place} is held: {place.status.hold}")
        if not freshness.is_current:
            held.append(str(freshness))
        yield from (Statement(Topic.HELD, one) for one in held)
        if not held and place is None and not followers.entries:
            text = "no image trigger: images change only when the manifest does"
            yield Statement(Topic.NEXT, text)
        elif not held:
            yield Statement(Topic.NEXT, "nothing is due: its next Job runs the newest images")
        yield from self._origins.next_checks(cron)

    def _outlook(self, workload: Workload, place: StagePlacement | None) -> Iterator[Statement]:
        """Say what is held back, by what, and what comes next."""
        faults, freshness = faults_of(workload), self._snapshot.workload_freshness(workload)
        yield from _held(workload, place, faults, freshness)
        if freshness.behind:
            text = str(freshness)
            if any(fault.message in text for fault in faults):
                text = str(replace(freshness, waits_for=""))
            until = place.status.until if place is not None else None
            yield Statement(Topic.HELD, text, at=until)
        elif freshness.unknown:
            text = f"whether anything newer waits is unknown: {freshness.unknown}"
            yield Statement(Topic.NEXT, text)
        elif not faults and (text := _due(workload, place)):
            yield Statement(Topic.NEXT, text)

    def _container(self, workload: Follower, container: str, image: str) -> Iterator[Statement]:
        text = f"container {container} runs {short(image)}"
        stage = self._snapshot.unread_stage(workload)
        entries = () if stage else followers_of(workload).entries
        followed = [one for one in entries if one.slot[0] == container]
        for follower in followed:
            source = f"from {follower.tag} ({follower.mode})"
            yield Statement(Topic.IMAGE, f"{text}, {source}", new=image)
            yield from self._origins.origin(follower.tag, image, 1)
        if not followed:
            source = f"{stage} sets it" if stage else "it follows no tag"
            yield Statement(Topic.IMAGE, f"{text}; {source}", new=image)
            yield from self._origins.origin(None, image, 1)
        yield from self._snapshot.policies.statements(image, workload.namespace, 1)

    def _promoted(self, place: StagePlacement, container: str, image: str) -> Iterator[Statement]:
        """Follow what a container runs back through its Release."""
        text = f"container {container} runs {short(image)}"
        found = self._snapshot.lineage.release_with(place, image)
        if found is None:
            text = f"{text}, which no known Release of {place} has"
            yield Statement(Topic.IMAGE, text, new=image)
            yield from self._origins.origin(None, image, 1)
            return
        release, component = found
        text = f"{text}, component {component.name} of release {release.name} in {place}"
        yield Statement(Topic.IMAGE, text, new=image)
        if self._origins.is_first(release.key):
            yield from self._snapshot.lineage.history_of(place, release, 1)
        if self._snapshot.producer_of(image) is None:
            yield from origin_of(component, 1)
        yield from self._origins.origin(None, image, 1)


def _unfinished(workload: Workload) -> str:
    """Say what serves where the newest revision is not complete, and no other is recorded."""
    ready, newest = workload.status.ready_replicas, next(iter(workload.status.revisions), None)
    if newest is not None and not ready and is_native(workload):
        return f"no replica of revision {newest.revision} is ready{_known_before(workload)}"
    if not ready or newest is None:
        return "no revision serves yet"
    wanted = desired_replicas(workload)
    return f"{ready} of {wanted} replicas ready, of revision {newest.revision} or one before it"


def _known_before(workload: Workload) -> str:
    """Say which images a workload of a cluster had before, as Upwell has noted them, if it has."""
    note, declared = RolloutNote.of(workload), images_of_template(template_of(workload))
    replaced = {
        name: one
        for name, one in note.images.items()
        if one not in {declared.get(name), note.failed.get(name)}
    }
    if replaced:
        return f"; before it, Upwell had set {listed_images(replaced)}"
    good = {name: one for name, one in note.good.items() if declared.get(name) != one}
    return f"; {listed_images(good)} ran in full before" if good else ""


def _ran_before(
    workload: Workload, revision: RevisionRecord, container: str
) -> Iterator[Statement]:
    """Say what the container ran before: all that is known to who reads this namespace alone."""
    if before := image_before(workload.status.revisions, revision, container):
        number, old = before
        text = f"in place of {short(old)}, which revision {number} ran"
        yield Statement(Topic.CAUSE, text, 1, old=old, new=revision.images[container])


def _held(
    workload: Workload,
    place: StagePlacement | None,
    faults: Sequence[HealthFault],
    freshness: Freshness,
) -> Iterator[Statement]:
    """Yield what is wrong with it, and what holds its rollout or its stage back."""
    for fault in faults:
        yield Statement(Topic.HELD, str(fault), at=fault.since)
    rollout = rollout_of(workload)
    told = rollout.text == freshness.waits_for or any(
        fault.message in rollout.text for fault in faults
    )
    if rollout.state is not RolloutState.COMPLETE and not told:
        yield Statement(Topic.HELD, rollout.text)
    for misread in followers_of(workload).faults:
        yield Statement(Topic.HELD, misread)
    if place is not None and place.status.hold:
        yield Statement(Topic.HELD, f"{place} is held: {place.status.hold}")


def _due(workload: Workload, place: StagePlacement | None) -> str:
    """Return what comes next of one that is well and not behind; empty: its rollout goes on."""
    if place is not None:
        return f"nothing is due: {place} has the newest Release"
    if not followers_of(workload).entries:
        return "no image trigger: images change only when the manifest does"
    if rollout_of(workload).state is RolloutState.COMPLETE:
        return "nothing is due: it runs the newest image of every tag that it follows"
    return ""
