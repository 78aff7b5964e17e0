"""Explanation of a build or a rollout that was made or not: the facts in causal order.

From what runs, back through tag and build to the change upstream that set it off; then what is
held back, by what, and until when.
"""

from collections.abc import Iterator
from datetime import datetime

from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.cluster_operator import ClusterOperator
from upwell.api.clusters.cluster import CHECKS_AUTHORIZED, Cluster
from upwell.api.conditions import DEGRADED, find
from upwell.api.image import Image, ImageStream, ImageStreamTag
from upwell.api.meta import ObjectKey, Resource
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import Promotion, Release
from upwell.formats.human_duration import human_duration
from upwell.policy.builds.backlog import Urgency, no_urgency
from upwell.policy.explain.clusters import stages_of
from upwell.policy.explain.endpoints import destinations
from upwell.policy.explain.freshness import Snapshot, short
from upwell.policy.explain.image_policies import judged_by
from upwell.policy.explain.images import ImageExplainer
from upwell.policy.explain.origins import OriginExplainer
from upwell.policy.explain.promotions import PromotionExplainer
from upwell.policy.explain.statement import Statement, Topic
from upwell.policy.explain.workloads import WorkloadExplainer
from upwell.policy.health.judgement import faults_of
from upwell.policy.promotion.stages import STAGED


def explain(snapshot: Snapshot, asked: Resource) -> list[Statement]:
    """Return the statements about a workload, build, promotion, Release, image or component.

    Of objects of other kinds, what is wrong with them; of a Service or Route, where it leads.
    """
    return list(_about(snapshot, asked))


def _about(snapshot: Snapshot, asked: Resource) -> Iterator[Statement]:
    origins = OriginExplainer(snapshot)
    match asked:
        case Build():
            yield from origins.build(asked, 0)
        case BuildConfig():
            yield from _config(snapshot, origins, asked)
        case ImageStream() | ImageStreamTag() | Image():
            yield from ImageExplainer(snapshot, origins).explain(asked)
        case ClusterOperator():
            yield from _component(asked)
        case Promotion():
            yield from PromotionExplainer(snapshot, origins).explain(asked)
        case Release():
            yield from PromotionExplainer(snapshot, origins).explain_release(asked)
        case _ if isinstance(asked, STAGED):
            yield from WorkloadExplainer(snapshot, origins).explain(asked)
        case _:
            yield from _faults(snapshot, asked)


def _faults(snapshot: Snapshot, asked: Resource) -> Iterator[Statement]:
    """Yield what is wrong with an object of which there is no more to tell."""
    found = [Statement(Topic.HELD, str(one), at=one.since) for one in faults_of(asked)]
    found += [*destinations(snapshot, asked), *judged_by(asked)]
    if isinstance(asked, Pipeline):
        found += _waiting_for_others(snapshot, asked)
        found += stages_of(snapshot.lineage, asked)
    if isinstance(asked, Cluster):
        found += _lacking_for_checks(asked)
    if all(one.topic is Topic.RUNNING for one in found):
        found.append(Statement(Topic.RUNNING, "nothing is wrong with it"))
    yield from found


def _waiting_for_others(snapshot: Snapshot, pipeline: Pipeline) -> Iterator[Statement]:
    """Yield which workloads a Pipeline waits for, as another one has them."""
    workloads = [*snapshot.workloads.values(), *snapshot.cron_jobs.values()]
    for claim in snapshot.lineage.claims_on(pipeline, workloads):
        yield Statement(Topic.HELD, f"waits for its workloads: {claim}")


def _lacking_for_checks(cluster: Cluster) -> Iterator[Statement]:
    """Yield what Jobs of checks lack: no fault of a Cluster whose stages have no such checks."""
    found = find(cluster.status.conditions, CHECKS_AUTHORIZED)
    if found is not None and found.status == "False":
        text = f"no check of kind job runs there: {found.message}"
        yield Statement(Topic.HELD, text, at=found.last_transition_time)


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


def _config(
    snapshot: Snapshot, origins: OriginExplainer, config: BuildConfig
) -> Iterator[Statement]:
    """Yield the last build of a BuildConfig, what it follows, and what it waits for."""
    builds = snapshot.builds(config.key)
    if builds:
        yield from origins.build(builds[0], 0)
    else:
        yield Statement(Topic.BUILD, "it has no build yet")
    for image in snapshot.built_from(config):
        now = short(image.now) if image.now else "no image yet"
        used = f"last built with {short(image.built)}" if image.built else "not built with yet"
        paused = "; its trigger is paused" if image.paused else ""
        yield Statement(
            Topic.IMAGE,
            f"follows {image.name}: now {now}, {used}{paused}",
            old=image.built or "",
            new=image.now or "",
        )
    freshness = snapshot.config_freshness(config)
    conditions = [one for one in config.status.conditions if one.message and one.type != DEGRADED]
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
    yield from origins.next_checks(config)


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
