"""Explanation of a build or a rollout that was made or not: the facts in causal order.

From what runs, back through tag and build to the change upstream that set it off; then what is
held back, by what, and until when.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from upwell.api.apps import CronJob, RevisionRecord
from upwell.api.builds.build import Build, BuildPhase, BuildTriggerCause, ImageChangeCause
from upwell.api.builds.config import BuildConfig
from upwell.api.cluster_operator import ClusterOperator
from upwell.api.conditions import DEGRADED, find
from upwell.api.image import Image, ImageStream, ImageStreamTag, NamedTagEventList
from upwell.api.meta import ObjectKey, ObjectReference, Resource
from upwell.api.pipeline import Pipeline
from upwell.api.values.commits import short_commit
from upwell.formats.human_duration import human_duration
from upwell.policy.builds.backlog import Urgency, no_urgency
from upwell.policy.builds.triggers import digest_of
from upwell.policy.cluster_rollouts.native_revisions import as_rolled_out
from upwell.policy.explain.endpoints import destinations
from upwell.policy.explain.freshness import Follower, Snapshot, images_of, output_digest, short
from upwell.policy.explain.image_policies import judged_by
from upwell.policy.explain.lineage import StagePlacement, origin_of
from upwell.policy.explain.statement import Statement, Topic
from upwell.policy.health.builds import SBOM_ATTESTED, SIGNED, reason_of
from upwell.policy.health.judgement import faults_of
from upwell.policy.images.streams import StreamTag
from upwell.policy.promotion.stages import STAGED
from upwell.policy.rollouts.history import image_before
from upwell.policy.rollouts.settings import Workload
from upwell.policy.rollouts.summary import RolloutState, desired_replicas, rollout_of, serving
from upwell.policy.rollouts.triggers import followers_of


@dataclass(frozen=True, slots=True, order=True)
class PackageChange:
    """A package that differs between two images; a version is empty where it is absent."""

    name: str
    old: str
    new: str

    def __str__(self) -> str:
        if not self.old:
            return f"{self.name} {self.new} added"
        if not self.new:
            return f"{self.name} {self.old} removed"
        return f"{self.name} {self.old} -> {self.new}"


def explain(snapshot: Snapshot, asked: Resource) -> list[Statement]:
    """Return the statements about a workload, Build, BuildConfig, image, tag, stream or component.

    Of objects of other kinds, what is wrong with them; of a Service or Route, where it leads.
    """
    explainer = _Explainer(snapshot)
    match asked:
        case Build():
            return list(explainer.build(asked, 0))
        case BuildConfig():
            return list(explainer.config(asked))
        case ImageStream() | ImageStreamTag() | Image():
            return list(explainer.images(asked))
        case ClusterOperator():
            return list(_component(asked))
        case _ if isinstance(asked, STAGED):
            return list(explainer.follower(asked))
        case _:
            found = [Statement(Topic.HELD, str(one), at=one.since) for one in faults_of(asked)]
            found += [*destinations(snapshot, asked), *judged_by(asked)]
            if isinstance(asked, Pipeline):
                found += _waiting_for_others(snapshot, asked)
            if all(one.topic is Topic.RUNNING for one in found):
                found.append(Statement(Topic.RUNNING, "nothing is wrong with it"))
            return found


def _waiting_for_others(snapshot: Snapshot, pipeline: Pipeline) -> Iterator[Statement]:
    """Yield which workloads a Pipeline waits for, as another one has them."""
    workloads = [*snapshot.workloads.values(), *snapshot.cron_jobs.values()]
    for claim in snapshot.lineage.claims_on(pipeline, workloads):
        yield Statement(Topic.HELD, f"waits for its workloads: {claim}")


def turn_of(
    snapshot: Snapshot, key: ObjectKey, now: datetime, urgency: Urgency = no_urgency
) -> Iterator[Statement]:
    """Yield when a build begins that waits for nothing but its turn, or a BuildConfig's next."""
    if key.kind not in {Build.KIND.kind, BuildConfig.KIND.kind}:
        return
    turns = snapshot.turns(now, urgency)
    found = [turns[one.key] for one in snapshot.builds(key) if one.key in turns]
    turn = turns.get(key) or min(found, key=lambda one: one.place, default=None)
    if turn is None:
        return
    text = f"its turn is number {turn.place} of {len(turns)} builds that wait"
    if turn.begins is None:
        yield Statement(Topic.NEXT, f"{text}; no build has ended yet that tells when that is")
    else:
        begins = human_duration(turn.begins)
        text = f"{text}; it begins in about {begins}, if builds take as long as before"
        yield Statement(Topic.NEXT, text)


def package_changes(
    old: Iterable[Mapping[str, Any]], new: Iterable[Mapping[str, Any]]
) -> list[PackageChange]:
    """Compare two lists of `{"name", "version", "architecture"}`; equal versions are left out.

    A name that several architectures have carries its architecture.
    """
    before, after = _versions(old), _versions(new)
    both = before.keys() | after.keys()
    names = Counter(name for name, _ in both)
    return sorted(
        PackageChange(
            f"{name}:{architecture}" if names[name] > 1 else name,
            before.get((name, architecture), ""),
            after.get((name, architecture), ""),
        )
        for name, architecture in both
        if before.get((name, architecture)) != after.get((name, architecture))
    )


def _versions(packages: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """Return versions by name and architecture."""
    return {
        (str(package.get("name", "")), str(package.get("architecture", ""))): str(
            package.get("version", "")
        )
        for package in packages
    }


def _component(component: ClusterOperator) -> Iterator[Statement]:
    """Say what is wrong with a component, and what was before."""
    if not faults_of(component):
        yield Statement(Topic.RUNNING, "it works")
    for fault in reversed(component.status.extension.faults):
        lasts = fault.until is None
        text = f"{fault.reason}: {fault.message}" if fault.message else fault.reason
        topic = Topic.HELD if lasts else Topic.CAUSE
        yield Statement(topic, text if lasts else f"it was faulty: {text}", at=fault.since)
        if fault.until is not None:
            yield Statement(Topic.RUNNING, "it worked again", depth=1, at=fault.until)


def _unfinished(workload: Workload) -> str:
    """Say what serves where the newest revision is not complete, and no other is recorded."""
    ready, newest = workload.status.ready_replicas, next(iter(workload.status.revisions), None)
    if not ready or newest is None:
        return "no revision serves yet"
    wanted = desired_replicas(workload)
    return f"{ready} of {wanted} replicas ready, of revision {newest.revision} or one before it"


def _ran_before(
    workload: Workload, revision: RevisionRecord, container: str
) -> Iterator[Statement]:
    """Say what the container ran before: all that is known to who reads this namespace alone."""
    if before := image_before(workload.status.revisions, revision, container):
        number, old = before
        text = f"in place of {short(old)}, which revision {number} ran"
        yield Statement(Topic.CAUSE, text, 1, old=old, new=revision.images[container])


class _Explainer:
    """Follows a change backwards; a fact is stated once."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._stated: set[str] = set()

    def follower(self, asked: Follower) -> Iterator[Statement]:
        if isinstance(asked, CronJob):
            return self.cron_job(asked)
        return self.workload(as_rolled_out(asked))

    def workload(self, workload: Workload) -> Iterator[Statement]:
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
        yield from self._next_checks(workload)

    def cron_job(self, cron: CronJob) -> Iterator[Statement]:
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
        yield from self._next_checks(cron)

    def _outlook(self, workload: Workload, place: StagePlacement | None) -> Iterator[Statement]:
        """Say what is held back, by what, and what comes next."""
        rollout = rollout_of(workload)
        freshness = self._snapshot.workload_freshness(workload)
        faults = faults_of(workload)
        for fault in faults:
            yield Statement(Topic.HELD, str(fault), at=fault.since)
        told = rollout.text == freshness.waits_for or any(
            fault.message in rollout.text for fault in faults
        )
        if rollout.state is not RolloutState.COMPLETE and not told:
            yield Statement(Topic.HELD, rollout.text)
        followers = followers_of(workload)
        for misread in followers.faults:
            yield Statement(Topic.HELD, misread)
        if place is not None and place.status.hold:
            yield Statement(Topic.HELD, f"{place} is held: {place.status.hold}")
        if freshness.behind:
            until = place.status.until if place is not None else None
            text = str(freshness)
            if any(fault.message in text for fault in faults):
                text = str(replace(freshness, waits_for=""))
            yield Statement(Topic.HELD, text, at=until)
        elif freshness.unknown:
            text = f"whether anything newer waits is unknown: {freshness.unknown}"
            yield Statement(Topic.NEXT, text)
        elif faults:
            return
        elif place is not None:
            text = f"nothing is due: {place} has the newest Release"
            yield Statement(Topic.NEXT, text)
        elif not followers.entries:
            text = "no image trigger: images change only when the manifest does"
            yield Statement(Topic.NEXT, text)
        elif rollout.state is RolloutState.COMPLETE:
            text = "nothing is due: it runs the newest image of every tag that it follows"
            yield Statement(Topic.NEXT, text)

    def config(self, config: BuildConfig) -> Iterator[Statement]:
        builds = self._snapshot.builds(config.key)
        if builds:
            yield from self.build(builds[0], 0)
        else:
            yield Statement(Topic.BUILD, "it has no build yet")
        for image in self._snapshot.built_from(config):
            now = short(image.now) if image.now else "no image yet"
            used = f"last built with {short(image.built)}" if image.built else "not built with yet"
            paused = "; its trigger is paused" if image.paused else ""
            yield Statement(
                Topic.IMAGE,
                f"follows {image.name}: now {now}, {used}{paused}",
                old=image.built or "",
                new=image.now or "",
            )
        freshness = self._snapshot.config_freshness(config)
        conditions = [
            one for one in config.status.conditions if one.message and one.type != DEGRADED
        ]
        faults = faults_of(config)
        for fault in faults:
            yield Statement(Topic.HELD, str(fault), at=fault.since)
        told = [fault.message for fault in faults]
        if freshness.behind and freshness.waits_for not in told:
            yield Statement(Topic.HELD, str(freshness))
        for condition in conditions:
            topic = Topic.BUILD if condition.is_true else Topic.HELD
            if not any(condition.message in text for text in (*told, str(freshness))):
                text = f"{condition.reason}: {condition.message}"
                yield Statement(topic, text, at=condition.last_transition_time)
        if not freshness.behind and not conditions and not faults:
            yield Statement(Topic.NEXT, "nothing is due: every followed image was built with")
        yield from self._next_checks(config)

    def images(self, asked: ImageStream | ImageStreamTag | Image) -> Iterator[Statement]:
        match asked:
            case ImageStream():
                yield from self.stream(asked)
            case ImageStreamTag():
                yield from self.tag(asked)
            case Image():
                yield from self.image(asked)

    def stream(self, stream: ImageStream) -> Iterator[Statement]:
        if not stream.status.tags:
            yield Statement(Topic.IMAGE, "no tag has an image yet")
        for history in stream.status.tags:
            tag = StreamTag(stream.namespace, stream.name, history.tag)
            yield from self._tag(tag, history)
        if stream.spec.docker_image_repository is None and not stream.spec.tags:
            text = "nothing is imported: images are pushed or built"
            yield Statement(Topic.NEXT, text)

    def tag(self, asked: ImageStreamTag) -> Iterator[Statement]:
        tag = StreamTag.named(asked.name, asked.namespace)
        history = self._snapshot.history(tag)
        if history is None:
            yield Statement(Topic.IMAGE, f"{tag} has no image yet")
        else:
            yield from self._tag(tag, history)

    def image(self, image: Image) -> Iterator[Statement]:
        text = f"it is {image.docker_image_reference or image.name}"
        since = image.metadata.creation_timestamp
        yield Statement(Topic.IMAGE, text, at=since, new=image.name)
        yield from self._origin(None, image.name, 1)
        told = list(self._snapshot.policies.statements(image.name, None))
        yield from told
        if not told:
            yield Statement(Topic.POLICY, "no image policy that you may read has judged it")

    def _tag(self, tag: StreamTag, history: NamedTagEventList) -> Iterator[Statement]:
        """Say what a tag is, what image policies say of it, and what it is to be."""
        latest, state = history.latest, history.import_state
        if latest is None:
            yield Statement(Topic.IMAGE, f"{tag} has no image yet")
        else:
            text = f"{tag} is {short(latest.image)}"
            yield Statement(Topic.IMAGE, text, at=latest.created, new=latest.image)
            yield from self._snapshot.policies.statements(latest.image, tag.namespace, 1)
            yield from self._origin(tag, latest.image, 1)
        coming = state.imported_digest if state is not None else ""
        if coming and (latest is None or coming != latest.image):
            yield from self._snapshot.policies.statements(coming, tag.namespace)
        yield from self._import_state(tag, history)

    def build(self, build: Build, depth: int) -> Iterator[Statement]:
        status = build.status
        self._stated.add(str(build.key))
        match status.phase:
            case BuildPhase.COMPLETE:
                text = f"build {build.name} made {short(output_digest(build)) or 'no image'}"
            case phase if phase.is_terminal:
                text = f"build {build.name} ended as {phase}: {reason_of(build)}"
            case phase:
                text = f"build {build.name} is {phase}: {reason_of(build)}"
        at = status.completion_timestamp or status.start_timestamp
        at = at or build.metadata.creation_timestamp
        yield Statement(Topic.BUILD, text, depth, at, new=output_digest(build))
        if status.retry_time is not None and not status.phase.is_terminal:
            text = f"it is tried again: attempt {status.attempts + 1}"
            yield Statement(Topic.HELD, text, depth, status.retry_time)
        yield from _rebase(build, depth)
        if not depth:
            yield from _signature(build)
            for image in images_of(build):
                yield from self._snapshot.policies.statements(image, build.namespace, 1)
        commit = _commit(build)
        if commit:
            yield Statement(Topic.COMMIT, commit, depth + 1)
        for cause in build.spec.triggered_by:
            yield from self._cause(build, cause, depth + 1)
        if not build.spec.triggered_by:
            yield Statement(Topic.CAUSE, "no cause was recorded", depth + 1)

    def _container(self, workload: Follower, container: str, image: str) -> Iterator[Statement]:
        text = f"container {container} runs {short(image)}"
        stage = self._snapshot.unread_stage(workload)
        entries = () if stage else followers_of(workload).entries
        followed = [one for one in entries if one.slot[0] == container]
        for follower in followed:
            source = f"from {follower.tag} ({follower.mode})"
            yield Statement(Topic.IMAGE, f"{text}, {source}", new=image)
            yield from self._origin(follower.tag, image, 1)
        if not followed:
            source = f"{stage} sets it" if stage else "it follows no tag"
            yield Statement(Topic.IMAGE, f"{text}; {source}", new=image)
            yield from self._origin(None, image, 1)
        yield from self._snapshot.policies.statements(image, workload.namespace, 1)

    def _promoted(self, place: StagePlacement, container: str, image: str) -> Iterator[Statement]:
        """Follow what a container runs back through its Release."""
        text = f"container {container} runs {short(image)}"
        found = self._snapshot.lineage.release_with(place, image)
        if found is None:
            text = f"{text}, which no known Release of {place} has"
            yield Statement(Topic.IMAGE, text, new=image)
            yield from self._origin(None, image, 1)
            return
        release, component = found
        text = f"{text}, component {component.name} of release {release.name} in {place}"
        yield Statement(Topic.IMAGE, text, new=image)
        if str(release.key) not in self._stated:
            self._stated.add(str(release.key))
            yield from self._snapshot.lineage.history_of(place, release, 1)
        if self._snapshot.producer_of(image) is None:
            yield from origin_of(component, 1)
        yield from self._origin(None, image, 1)

    def _cause(self, build: Build, cause: BuildTriggerCause, depth: int) -> Iterator[Statement]:
        change = cause.image_change_build
        if change is None:
            yield Statement(Topic.CAUSE, f"because: {cause.message or 'unknown'}", depth)
            yield from self._inputs(build, depth)
            return
        tag = _tag(change, build.namespace)
        name = str(tag) if tag is not None else "an image"
        if change.previous_image_id:
            text = f"because {name} changed from {short(change.previous_image_id)} to"
        else:
            text = f"because {name} came to be"
        text = f"{text} {short(change.image_id)}"
        old, new = change.previous_image_id or "", change.image_id
        yield Statement(Topic.CAUSE, text, depth, old=old, new=new)
        yield from self._origin(tag, change.image_id, depth + 1, build)

    def _inputs(self, build: Build, depth: int) -> Iterator[Statement]:
        """Say which images a build took that no image change has started."""
        for used in build.spec.image_inputs:
            tag = StreamTag.of(used.from_, build.namespace)
            text = f"it took {tag} as it was, {short(used.image)}"
            yield Statement(Topic.IMAGE, text, depth, new=used.image)
            yield from self._origin(tag, used.image, depth + 1, build)

    def _origin(
        self, tag: StreamTag | None, image: str, depth: int, build: Build | None = None
    ) -> Iterator[Statement]:
        """Say where an image comes from: one of our builds, or upstream.

        With the build that took it: a tag may have got the same image again since.
        """
        producer = self._snapshot.producer_of(image)
        if producer is not None:
            if str(producer.key) not in self._stated:
                yield from self.build(producer, depth)
            return
        history = self._snapshot.history(tag) if tag is not None else None
        state = history.import_state if history is not None else None
        if history is None or state is None or not state.source or str(tag) in self._stated:
            return
        self._stated.add(str(tag))
        began = build.metadata.creation_timestamp if build is not None else None

        def is_before(moment: datetime | None) -> bool:
            if moment is None or began is None:
                return moment is not None
            return moment.replace(microsecond=0) <= began  # creations have whole seconds

        of_image = (e for e in history.items if e.image == digest_of(image))
        event = next((e for e in of_image if is_before(e.created)), None)
        seen = event.created if event is not None else None
        if event is not None and history.latest is event and is_before(state.first_seen):
            seen = state.first_seen
        text = f"{state.source} was first seen as {short(image)}"
        yield Statement(Topic.UPSTREAM, text, depth, seen, new=image)

    def _next_checks(self, asked: Resource) -> Iterator[Statement]:
        """Say when the upstream images that `asked` stands on are looked at again."""
        graph = self._snapshot.graph
        for tag in graph.ancestors(asked.key):
            history = self._snapshot.history(tag) if isinstance(tag, StreamTag) else None
            if history is not None and isinstance(tag, StreamTag):
                yield from self._import_state(tag, history)

    def _import_state(self, tag: StreamTag, history: NamedTagEventList) -> Iterator[Statement]:
        state = history.import_state
        for fault in self._snapshot.faults_about(tag.stream_key, tag.tag):
            text = f"{tag}: {fault.reason}: {fault}"
            yield Statement(Topic.HELD, text, at=fault.since)
        if state is not None and state.selected:
            text = f"{tag} takes tag {state.selected} of {state.source}: {state.selection_reason}"
            yield Statement(Topic.UPSTREAM, text)
        if state is not None and state.ignored is not None:
            passed = state.ignored
            text = f"{state.source} is {short(passed.digest)} now, passed over: {passed.message}"
            yield Statement(Topic.UPSTREAM, text, at=passed.seen, new=passed.digest)
        if state is not None and state.next_check_time is not None:
            text = f"{state.source} is checked again for {tag}"
            yield Statement(Topic.NEXT, text, at=state.next_check_time)


def _tag(change: ImageChangeCause, namespace: str) -> StreamTag | None:
    reference: ObjectReference | None = change.from_ref
    return StreamTag.of(reference, namespace) if reference is not None else None


def _rebase(build: Build, depth: int) -> Iterator[Statement]:
    """Say why the image was put on a new base, or was not."""
    found = build.status.rebase
    if found is None:
        return
    if found.rebased:
        text = (
            f"it was rebased: nothing but the base has changed since build {found.build}, and none"
            " of its layers depends on what the base update changes"
        )
        yield Statement(Topic.BUILD, text, depth, old=found.image or "")
    else:
        yield Statement(Topic.BUILD, f"it could not be rebased: {found.message}", depth)


def _signature(build: Build) -> Iterator[Statement]:
    """Say what of the build's image is signed and attested, or why it is not yet."""
    for kind, what in ((SIGNED, "signed"), (SBOM_ATTESTED, "attested")):
        condition = find(build.status.conditions, kind)
        if condition is None:
            continue
        if condition.is_true:
            text = f"its image is {what}: {condition.message}"
            yield Statement(Topic.BUILD, text, 1, condition.last_transition_time)
        elif kind == SIGNED:
            since = condition.last_transition_time
            yield Statement(Topic.HELD, f"its image is not signed: {condition.message}", 0, since)


def _commit(build: Build) -> str:
    """Return the commit that was built, as one line; empty without one."""
    revision = build.revision
    if not revision.commit:
        return ""
    name, subject = revision.git.author.name, revision.subject
    text = f"commit {short_commit(revision.commit)}"
    return text + (f" by {name}" if name else "") + (f": {subject}" if subject else "")
