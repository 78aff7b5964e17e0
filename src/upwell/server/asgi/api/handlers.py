"""Handlers of the API, by subject: of kinds that are no stored objects, and of parts of objects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.routing import BaseRoute

from upwell.api.apps import Deployment, DeploymentConfig
from upwell.api.builds.build import Build
from upwell.api.core import ServiceAccount
from upwell.machine.clock import seconds
from upwell.server.asgi.dependencies import ServerDependencies
from upwell.server.builds.builds import BuildHandlers
from upwell.server.builds.cancellation import BuildCancellation
from upwell.server.builds.leader_logs import LeaderLogs
from upwell.server.builds.uploads import UploadHandlers
from upwell.server.http.streaming import OpenStreams
from upwell.server.images.base_search import BaseSearchHandlers
from upwell.server.images.checked_streams import CheckedStreams
from upwell.server.images.image_policies import ImagePolicyReviewHandlers
from upwell.server.images.images import ImageHandlers
from upwell.server.images.imports import ImageImportHandlers
from upwell.server.images.mappings import ImageMappingHandlers
from upwell.server.images.tags import StreamTagHandlers
from upwell.server.objects.objects import Handler, ObjectHandlers
from upwell.server.objects.project_accounts import ProjectAccounts, ProjectAccountWrites
from upwell.server.objects.projects import ProjectHandlers
from upwell.server.objects.reads import ReadHandlers
from upwell.server.objects.reviews import ReviewHandlers
from upwell.server.objects.templates import TemplateHandlers
from upwell.server.objects.token_requests import TokenRequestHandlers
from upwell.server.objects.watches import Watches
from upwell.server.objects.writes import Writer
from upwell.server.waves.plans import ImpactPlanHandlers
from upwell.server.workloads.cluster_pods import ClusterPodHandlers
from upwell.server.workloads.pod_api import PodApi
from upwell.server.workloads.replica_sets import replica_sets_of
from upwell.server.workloads.replication_controllers import (
    ReplicationControllerHandlers,
    controllers_of,
)
from upwell.server.workloads.revisions import RevisionReader
from upwell.server.workloads.running import RunningWorkloadHandlers
from upwell.server.workloads.workloads import WorkloadHandlers
from upwell.store.interface import Reader

COLLECTION, OBJECT = "(collection)", "(object)"
WHOLE = frozenset({COLLECTION, OBJECT})
"""Places of a table that are no part of an object."""
WORKLOADS = ("deployments", "deploymentconfigs", "statefulsets", "daemonsets")
ENTERED = (*WORKLOADS, "jobs")
"""Plurals of what a command runs in, in one of its Pods."""
_SCALED = ("deployments", "deploymentconfigs", "statefulsets")

type Handlers = Mapping[str, Handler]
"""By HTTP method."""
type HandlerTable = Mapping[tuple[str, str], Handlers]
"""By plural, and part of an object, COLLECTION or OBJECT."""


@dataclass(frozen=True, slots=True)
class StoredHandlers:
    """Handlers of stored objects, of most kinds as they are."""

    reads: ReadHandlers
    objects: ObjectHandlers
    accounts: ProjectAccounts
    first_writes: ProjectAccountWrites
    """Of the ServiceAccounts that each project has."""

    @classmethod
    def of(cls, deps: ServerDependencies, streams: OpenStreams) -> "StoredHandlers":
        """Return those of the server's store."""
        watches = Watches(deps.store, streams, deps.limits, deps.clock)
        checked = CheckedStreams(deps.store, deps.actions.images.as_checked)
        reads = ReadHandlers(checked, watches, deps.clock)
        accounts = ProjectAccounts(deps.store)
        first_writes = ProjectAccountWrites(accounts, Writer(deps.store, deps.clock))
        cancellation = BuildCancellation(deps.store, deps.actions.builds)
        objects = ObjectHandlers(
            deps.store,
            reads,
            deps.limits,
            deps.clock,
            {Build: cancellation.carried_out, ServiceAccount: first_writes.create},
        )
        return cls(reads, objects, accounts, first_writes)

    @property
    def collection(self) -> Handlers:
        """By method, for a collection of most kinds."""
        return {
            "GET": self.reads.list,
            "POST": self.objects.create,
            "DELETE": self.objects.delete_collection,
        }

    @property
    def object(self) -> Handlers:
        """By method, for one object of most kinds."""
        return {
            "GET": self.reads.get,
            "PUT": self.objects.replace,
            "PATCH": self.objects.patch,
            "DELETE": self.objects.delete,
        }

    @property
    def status(self) -> Handlers:
        """By method, for the status of one object."""
        return {
            "GET": self.reads.get,
            "PUT": self.objects.replace_status,
            "PATCH": self.objects.patch_status,
        }

    @property
    def scale(self) -> Handlers:
        """By method, for the scale of one workload."""
        return {
            "GET": self.objects.get_scale,
            "PUT": self.objects.replace_scale,
            "PATCH": self.objects.patch_scale,
        }


def project_handlers(
    deps: ServerDependencies, streams: OpenStreams, stored: StoredHandlers
) -> HandlerTable:
    """Return the handlers of projects and of their ServiceAccounts."""
    projects = ProjectHandlers(deps.store, stored.objects, streams, deps.limits, deps.clock)
    reads = _reads_of(stored.accounts, deps, streams)
    accounts = deps.access.tokens.accounts if deps.access else None
    tokens = TokenRequestHandlers(deps.store, stored.first_writes, accounts, deps.limits)
    return {
        ("projects", COLLECTION): {"GET": projects.list, "POST": projects.create},
        ("projects", OBJECT): {"GET": projects.get, "DELETE": projects.delete},
        ("projectrequests", COLLECTION): {"GET": projects.may_ask, "POST": projects.ask},
        ("projectrequests", OBJECT): {},
        ("serviceaccounts", COLLECTION): {**stored.collection, "GET": reads.list},
        ("serviceaccounts", OBJECT): {
            **stored.object,
            "GET": reads.get,
            "DELETE": stored.first_writes.delete(stored.objects.delete),
        },
        ("serviceaccounts", "token"): {"POST": tokens.create},
    }


def image_handlers(deps: ServerDependencies, stored: StoredHandlers) -> HandlerTable:
    """Return the handlers of images, their tags and imports, and of questions about images."""
    actions = deps.actions
    images = ImageHandlers(deps.store, actions.images, stored.reads)
    tags = StreamTagHandlers(deps.store, actions.images, deps.limits, deps.clock)
    mappings = ImageMappingHandlers(deps.store, actions.images, actions.examiner, deps.limits)
    imports = ImageImportHandlers(deps.store, actions.examiner, deps.limits, deps.clock)
    policies = ImagePolicyReviewHandlers(actions.examiner, deps.limits)
    plans = ImpactPlanHandlers(actions.plans, deps.limits)
    bases = BaseSearchHandlers(actions.bases, deps.limits)
    return {
        ("images", OBJECT): {**stored.object, "GET": images.get},
        ("images", "packages"): {"GET": images.packages},
        ("imagestreamtags", COLLECTION): {"GET": tags.list, "POST": tags.create},
        ("imagestreamtags", OBJECT): {
            "GET": tags.get,
            "PUT": tags.replace,
            "PATCH": tags.patch,
            "DELETE": tags.delete,
        },
        ("imagestreamimages", COLLECTION): {},
        ("imagestreamimages", OBJECT): {"GET": tags.get_image},
        **_asked("imagestreammappings", mappings.create),
        **_asked("imagestreamimports", imports.create),
        **_asked("imagepolicyreviews", policies.create),
        **_asked("impactplans", plans.create),
        **_asked("basesearches", bases.create),
    }


def build_handlers(
    deps: ServerDependencies, streams: OpenStreams
) -> tuple[HandlerTable, Sequence[BaseRoute]]:
    """Return the handlers of parts of builds, and the routes that other replicas ask."""
    leader = None
    if deps.leader is not None:
        leader = LeaderLogs(deps.leader, deps.signatures, seconds)
    builds = BuildHandlers(
        deps.store, deps.build_logs, deps.actions.builds, streams, deps.limits, leader
    )
    uploads = UploadHandlers(deps.store, deps.inputs, deps.actions.builds)
    table: HandlerTable = {
        ("builds", "log"): {"GET": builds.log},
        ("builds", "clone"): {"POST": builds.clone},
        ("buildconfigs", "instantiate"): {"POST": builds.instantiate},
        ("buildconfigs", "instantiatebinary"): {"POST": uploads.instantiate_binary},
    }
    return table, builds.replica_routes()


def review_handlers(deps: ServerDependencies) -> HandlerTable:
    """Return the handlers of reviews of who may do what, and of processed Templates."""
    reviews, templates = ReviewHandlers(deps.limits, deps.access), TemplateHandlers(deps.limits)
    return {
        **_asked("processedtemplates", templates.process),
        **_asked("selfsubjectreviews", reviews.identity),
        **_asked("selfsubjectaccessreviews", reviews.access),
        **_asked("subjectaccessreviews", reviews.access_of),
        **_asked("tokenreviews", reviews.token),
        **_asked("selfsubjectrulesreviews", reviews.rules),
    }


def workload_handlers(
    deps: ServerDependencies, streams: OpenStreams, stored: StoredHandlers, pods: PodApi
) -> HandlerTable:
    """Return the handlers of parts of workloads and Jobs, and of the Pods that they have."""
    workloads = WorkloadHandlers(
        deps.store, pods.instances, deps.actions.rollouts, streams, deps.limits, deps.clock
    )
    instances = workloads.instances
    if deps.actions.running is not None:
        instances = ClusterPodHandlers(deps.store, deps.actions.running).instances
    return {
        ("pods", COLLECTION): pods.collection,
        ("pods", OBJECT): pods.object,
        **{(one, COLLECTION): {"GET": read.list} for one, read in pods.endpoints.items()},
        **{(one, OBJECT): {"GET": read.get} for one, read in pods.endpoints.items()},
        **{(plural, "log"): {"GET": workloads.log} for plural in WORKLOADS},
        **{(plural, "instances"): {"GET": instances} for plural in WORKLOADS},
        **{(plural, "scale"): stored.scale for plural in _SCALED},
        **{(plural, "rollback"): {"POST": workloads.rollback} for plural in WORKLOADS},
        **{(plural, "rollout"): {"POST": workloads.roll_out} for plural in WORKLOADS},
        **{(plural, "exec"): {**pods.entrance, "POST": workloads.execute} for plural in ENTERED},
        **{
            (plural, part): pods.entrance
            for plural in (*ENTERED, "pods")
            for part in ("attach", "portforward")
        },
        **pods.parts,
        ("pods", "log"): {"GET": workloads.log},
        ("deploymentconfigs", "instantiate"): {"POST": workloads.instantiate},
        ("jobs", "log"): {"GET": workloads.log},
        ("jobs", "instances"): {"GET": workloads.instances},
    }


def revision_handlers(deps: ServerDependencies, streams: OpenStreams) -> HandlerTable:
    """Return the handlers of what is read out of workloads: their revisions, and what runs."""
    running = RunningWorkloadHandlers(deps.actions.running, deps.clock)
    sets = _reads_of(RevisionReader(deps.store, Deployment, replica_sets_of), deps, streams)
    revisions = RevisionReader(deps.store, DeploymentConfig, controllers_of)
    reads = _reads_of(revisions, deps, streams)
    writes = ReplicationControllerHandlers(revisions, deps.actions.rollouts, deps.limits)
    return {
        ("runningworkloads", COLLECTION): {"GET": running.list},
        ("runningworkloads", OBJECT): {},
        ("replicasets", COLLECTION): {"GET": sets.list},
        ("replicasets", OBJECT): {"GET": sets.get},
        ("replicationcontrollers", COLLECTION): {"GET": reads.list, "POST": writes.refuse},
        ("replicationcontrollers", OBJECT): {
            "GET": reads.get,
            "PUT": writes.replace,
            "PATCH": writes.patch,
            "DELETE": writes.refuse,
        },
    }


def _reads_of(reader: Reader, deps: ServerDependencies, streams: OpenStreams) -> ReadHandlers:
    return ReadHandlers(reader, Watches(reader, streams, deps.limits, deps.clock), deps.clock)


def _asked(plural: str, create: Handler) -> HandlerTable:
    """Return the handlers of a kind that is created to be answered, and never stored."""
    return {(plural, COLLECTION): {"POST": create}, (plural, OBJECT): {}}
