"""The one judgement: what is wrong with an object now."""

from collections.abc import Iterator

from upwell.api.apps import Job
from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.cluster_operator import ClusterOperator
from upwell.api.clusters.cluster import Cluster
from upwell.api.conditions import NEARLY_USED, find
from upwell.api.core import ResourceQuota
from upwell.api.image import ImageStream
from upwell.api.meta import Resource
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import PIPELINE_LABEL
from upwell.policy.health.builds import build_faults, config_faults
from upwell.policy.health.clusters import cluster_faults
from upwell.policy.health.fault import FaultEvent, HealthFault
from upwell.policy.health.promotion import pipeline_faults
from upwell.policy.health.workloads import workload_faults
from upwell.policy.images.outcome import without_next_attempt
from upwell.policy.jobs.runs import SUPERSEDED
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.policy.routing.reachability import unserved


def faults_of(resource: Resource) -> tuple[HealthFault, ...]:
    """Return the faults of an object, each once; none of one that is being deleted.

    Releases, Promotions and earlier Builds are history: their Pipeline or BuildConfig says whether
    it still matters.
    """
    return () if resource.is_deleting else tuple(_faults(resource))


def _faults(resource: Resource) -> Iterator[HealthFault]:
    match resource:
        case Build():
            yield from build_faults(resource)
        case BuildConfig():
            yield from config_faults(resource)
        case ImageStream():
            yield from _stream_faults(resource)
        case Job():
            yield from _job_faults(resource)
        case Pipeline():
            yield from pipeline_faults(resource)
        case ClusterOperator():
            if resource.fault is not None:
                event = FaultEvent.COMPONENT_DEGRADED
                yield HealthFault.of(resource.key, event, resource.fault)
        case Cluster():
            yield from cluster_faults(resource)
        case ResourceQuota():
            nearly = find(resource.status.conditions, NEARLY_USED)
            if nearly is not None and nearly.is_true:
                yield HealthFault.of(resource.key, FaultEvent.QUOTA_FILLING, nearly)
        case _ if isinstance(resource, WORKLOADS):
            yield from workload_faults(resource)
    yield from _routing_faults(resource)


def _stream_faults(stream: ImageStream) -> Iterator[HealthFault]:
    for entry in stream.status.tags:
        for condition in entry.conditions:
            if condition.status != "False":
                continue
            message = without_next_attempt(condition.message)
            again = condition.message[len(message) :].removeprefix("; ")
            told = condition.model_copy(update={"message": message})
            event = FaultEvent.IMPORT_FAILED
            yield HealthFault.of(stream.key, event, told, again, entry.tag)


def _job_faults(job: Job) -> Iterator[HealthFault]:
    """Yield that a Job failed, until a newer run of its CronJob succeeds.

    One that tests a stage is told of by its Promotion.
    """
    superseded = find(job.status.conditions, SUPERSEDED)
    if superseded is not None and superseded.is_true:
        return
    failed = find(job.status.conditions, "Failed")
    if failed is not None and failed.is_true and PIPELINE_LABEL not in job.labels:
        how = f"see `upwell logs job/{job.name}`"
        yield HealthFault.of(job.key, FaultEvent.JOB_FAILED, failed, how)


def _routing_faults(resource: Resource) -> Iterator[HealthFault]:
    for one in unserved([resource]):
        yield HealthFault(
            one.key, FaultEvent.NOT_SERVED, one.reason, one.message or one.reason, one.since
        )
