"""upwell.dev/v1alpha1: the way of an application to production, and what may bar it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field

from upwell.api.apps import LabelSelector
from upwell.api.clusters.cluster import LOCAL
from upwell.api.meta import (
    Column,
    Condition,
    Kind,
    LocalReference,
    Model,
    ObjectReference,
    Resource,
    Scope,
    Seconds,
    Time,
)
from upwell.api.pod_template import EnvVar, PodTemplate
from upwell.api.write_only.fields import UrlCredentials

GROUP = "upwell.dev"


class ComponentSource(Model):
    """One image that a Pipeline moves: a new digest of the tag makes a new Release."""

    name: str
    from_: ObjectReference = Field(alias="from")
    """An ImageStreamTag."""


class StageWorkloads(Model):
    """Workloads of a stage: one by its name, or all of a kind whose labels match."""

    kind: str = "Deployment"
    """Deployment, DeploymentConfig, StatefulSet, DaemonSet or CronJob."""
    name: str = ""
    selector: LabelSelector | None = None
    images: dict[str, str] = Field(default_factory=dict)
    """Container -> component. Without it a container has the component of its own name; a
    Pipeline's only component goes into a workload's only container."""


class JobCheck(Model):
    """A command that is run beside the workloads as a Job: exit code 0 is a pass.

    Its environment says what is tested: UPWELL_PIPELINE, UPWELL_STAGE, UPWELL_RELEASE,
    UPWELL_ADDRESS, and UPWELL_IMAGE_<COMPONENT> for each component.
    """

    component: str = ""
    """Run in this component's own image of the Release."""
    image: str = ""
    """Run in another image."""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[EnvVar, ...] = ()
    template: PodTemplate | None = None
    """For everything else that a Pod may say; the first container is the test."""
    junit: str = ""
    """Path in the container of a JUnit XML file, or of a folder of them: read, and believed before
    the exit code. /dev/stdout: the test prints it."""
    artifacts: tuple[str, ...] = ()
    """Paths in the container that are kept as evidence."""
    each_cluster: bool = False
    """Run in each cluster of a stage on many, and not in the first alone: it has to pass in all."""


class HttpCheck(Model):
    """A request that must be answered as said."""

    url: Annotated[str, UrlCredentials()] = ""
    """Absolute, or a path at the stage's address."""
    status: tuple[int, ...] = (200,)
    contains: str = ""
    host: str = ""
    """The Host header, when it is not that of the URL."""


class TcpCheck(Model):
    """A connection that must be accepted."""

    address: str = ""
    """host:port; without it, the stage's address."""


class MetricCheck(Model):
    """A Prometheus query that must hold over the whole soak."""

    server: Annotated[str, UrlCredentials()]
    """Base URL of the Prometheus API."""
    query: str
    """Gives one number; an instant query."""
    condition: str
    """`OP NUMBER`, with one of < <= > >= == !=."""
    interval_seconds: Seconds = Field(default=30, ge=1)
    failure_limit: int = Field(default=0, ge=0)
    """Samples that may fail before the check does."""
    secret: LocalReference | None = None
    """A Secret whose key `token`, or `username` and `password`, the server is asked with."""


class WebhookCheck(Model):
    """Notice to a CI that the stage is ready; it answers later with its verdict.

    The request is a CloudEvent `dev.upwell.verification.requested` with the URL and a token for the
    answer.
    """

    url: Annotated[str, UrlCredentials()] = ""
    """Without it nobody is called: the verdict is waited for."""
    secret: LocalReference | None = None
    """A Secret whose key `secret` signs the request."""


class Check(Model):
    """One test of a stage; exactly one of the kinds is set."""

    name: str
    job: JobCheck | None = None
    http: HttpCheck | None = None
    tcp: TcpCheck | None = None
    metric: MetricCheck | None = None
    webhook: WebhookCheck | None = None
    timeout_seconds: Seconds = Field(default=600, ge=1)
    retries: int = Field(default=0, ge=0, le=10)
    """Further attempts after one that did not pass."""
    flaky: str = "Accept"
    """Meaning of a pass after a failed attempt: Accept (noted) or Reject."""


class Verification(Model):
    """Checks that must pass in a stage before a Release counts as verified there."""

    checks: tuple[Check, ...] = ()
    schedule: str | None = None
    """Cron expression: what is live is verified again then."""
    time_zone: str = "UTC"


GROUP_APPROVER = "group:"
"""Begins an approver that is everybody in a group; no person's name does."""


class Approval(Model):
    """Approvers who must agree before a Release enters a stage."""

    required: int = Field(default=1, ge=1)
    """Approvals of different people."""
    approvers: tuple[str, ...] = ()
    """People that count, and groups as `group:NAME`; empty: all that may approve."""
    four_eyes: bool | None = None
    """Need of the approval of somebody who neither asked for the promotion nor wrote the Release or
    the Pipeline; without it, that of stages that no other comes after."""
    deadline_seconds: Seconds | None = Field(default=None, ge=1)
    on_deadline: str = "Reject"
    """Reject, or Wait on: it is then said to be overdue."""


class Window(Model):
    """A time by the clock: between two dates, or for so long from each time that a cron gives."""

    start: Time | None = None
    end: Time | None = None
    cron: str | None = None
    duration_seconds: Seconds | None = Field(default=None, ge=1)
    time_zone: str = "UTC"
    """IANA name, for the cron."""
    reason: str = ""


class GitTarget(Model):
    """The digests of a stage are committed to a git repository instead of set on its workloads.

    The stage has a Release once the branch has its digests and what runs has them too: the stage's
    workloads, here or in its `cluster`, or what answers at `running_url`.
    """

    repository: Annotated[str, UrlCredentials()]
    branch: str = "main"
    """Says what shall run."""
    push_branch: str | None = None
    """Another branch to commit to, for review: then it is waited for until `branch` has the
    digests. `{promotion}`, which it must have, `{release}` and `{stage}` are replaced."""
    review_seconds: Seconds | None = Field(default=None, ge=1)
    """Time that a review may take; without it, any. `rolloutSeconds` count from the merge on."""
    path: str = "."
    """A folder or file in the repository."""
    format: str = "Plain"
    """Plain manifests, Kustomize (`images`), Helm (values) or Flux (`$imagepolicy` setters)."""
    keys: dict[str, str] = Field(default_factory=dict)
    """Component -> where its image stands: a key path of Helm values, an image name of a
    kustomization, an image policy `NAMESPACE:NAME`, in plain manifests a repository or
    KIND/NAME/CONTAINER. Without it, the component's repository; the policy of its name."""
    secret: LocalReference | None = None
    """As a BuildConfig's source secret: `username` and `password`, or `ssh-privatekey` with
    `known_hosts`; and `ca.crt`."""
    running_url: Annotated[str, UrlCredentials()] = ""
    """For a stage without workloads here: answers 200 with a text that has the digests that run."""


class StageClusters(Model):
    """Clusters of a stage that runs on many: the same workloads in each of them.

    They get a Release in steps: canary clusters first, all others in the order of their names.
    """

    selector: LabelSelector = Field(default_factory=LabelSelector)
    """Labels of the Clusters."""
    canary: LabelSelector | None = None
    """Labels of those, among them, that have to run a Release before any other gets it."""
    max_concurrency: int = Field(default=1, ge=1)
    """Clusters that roll out at once, after the canaries."""
    max_unavailable: int = Field(default=1, ge=0)
    """Clusters that may be away or fail: with one more, no further cluster begins; and with one
    more that fails, or a canary that does, the stage fails and goes back everywhere."""


class Stage(Model):
    """One stage of a Pipeline."""

    name: str
    namespace: str | None = None
    """Of the workloads; without it, the Pipeline's."""
    cluster: str = ""
    """Cluster that the workloads are in; without it, `local`: where this server runs them."""
    clusters: StageClusters | None = None
    """Many of them, in place of `cluster`."""
    after: tuple[str, ...] | None = None
    """The stages in which a Release is verified first; without it, the stage before in the list."""
    requires: str = "All"
    """Number of the stages in `after` that it needs: All, or Any one."""
    promotion: str = "Automatic"
    """Automatic, or Manual: a person or a CI promotes."""
    workloads: tuple[StageWorkloads, ...] = ()
    address: str = ""
    """URL or host:port of what is tested; without it, that of a Route or Service of a workload."""
    verification: Verification = Field(default_factory=Verification)
    soak_seconds: Seconds = Field(default=0, ge=0)
    """Time that a Release must serve well before it counts as verified."""
    rollout_seconds: Seconds = Field(default=1800, ge=1)
    """Time that its rollouts may take together."""
    approval: Approval | None = None
    windows: tuple[Window, ...] = ()
    """Promotions begin only within one of them."""
    freezes: tuple[Window, ...] = ()
    """No promotion begins within them."""
    mirror: str | None = None
    """A registry and repository prefix to which the images are copied first, digests kept."""
    git: GitTarget | None = None

    @property
    def runs_here(self) -> bool:
        """True if its workloads are where this server runs them itself."""
        return self.clusters is None and self.cluster in {"", LOCAL}


class PipelineSpec(Model):
    """Components, and the stages that they go through together."""

    components: tuple[ComponentSource, ...] = ()
    stages: tuple[Stage, ...] = ()
    freezes: tuple[Window, ...] = ()
    coalesce_seconds: Seconds = Field(default=1800, ge=0)
    """Time that a Release waits for other components that the same change rebuilds."""
    quarantine_after: int = Field(default=2, ge=0)
    """Number of Pipelines that must fail on a new base before it is quarantined; 0: never."""
    history_limit: int = Field(default=20, ge=1)
    """Releases that are kept beside those that serve."""


class ClusterPhase(StrEnum):
    """Phase of a Release in one cluster of a stage."""

    WAITING = "Waiting"
    """Its turn has not come."""
    ROLLING_OUT = "RollingOut"
    COMPLETE = "Complete"
    FAILED = "Failed"
    """Its rollout failed, and was put back there."""
    AWAY = "Away"
    """It cannot be reached: it gets the Release when it is back."""
    DRIFTED = "Drifted"
    """It has what somebody else has set, or keeps there: that stays so."""

    @property
    def is_behind(self) -> bool:
        """True if others do not wait for it."""
        return self in {self.FAILED, self.AWAY, self.DRIFTED}

    @property
    def had_turn(self) -> bool:
        """True if its turn is over: what is set by hand from then on stays."""
        return self in {self.COMPLETE, self.DRIFTED}


class ClusterProgress(Model):
    """Progress of a Release in one cluster."""

    name: str
    release: str = ""
    """Release that it is about: of one that goes back, the one before."""
    phase: ClusterPhase = ClusterPhase.WAITING
    message: str = ""
    since: Time | None = None
    """Begin of the phase; of `Complete`, when the Release had arrived there."""
    arrived: Time | None = None
    """Time at which the cluster had all of the Release; unset once it has something else."""


class StageStatus(Model):
    """Status of a stage."""

    name: str
    release: str = ""
    """Release that serves: that of the last promotion that got through its rollout."""
    since: Time | None = None
    verified: bool | None = None
    """True if `release` is verified here; None while that is not known."""
    last_good: str = ""
    """The last Release that was verified here: what a failure goes back to."""
    candidate: str = ""
    """The Release that would come next."""
    promotion: str = ""
    """The Promotion that is under way or waits."""
    hold: str | None = None
    waits_for: str = ""
    """Reason why the candidate waits, or why there is none, for people."""
    until: Time | None = None
    behind: tuple[ClusterProgress, ...] = ()
    """Clusters that do not run the Release that the others do: away, or their rollout failed."""


class PipelineStatus(Model):
    """Status of all stages."""

    observed_generation: int | None = None
    conditions: tuple[Condition, ...] = ()
    latest_release: str = ""
    stages: tuple[StageStatus, ...] = ()
    coalescing_since: Time | None = None
    """Since when a new Release waits for the builds of other components."""

    def stage(self, name: str) -> StageStatus:
        """Return where a stage stands; an unknown one is empty."""
        return next((one for one in self.stages if one.name == name), StageStatus(name=name))


def _serving(pipeline: Mapping[str, Any]) -> str:
    """Return what serves in each stage: `dev=shop-7,production=shop-5`."""
    serves = {one["name"]: one.get("release") for one in _stages(pipeline, "status")}
    names = [one["name"] for one in _stages(pipeline, "spec")]
    return ",".join(f"{name}={serves.get(name) or '-'}" for name in names)


def _held(pipeline: Mapping[str, Any]) -> str:
    """Return the stages that are held."""
    held = [one["name"] for one in _stages(pipeline, "status") if one.get("hold")]
    return ",".join(held)


def _waiting(pipeline: Mapping[str, Any]) -> str:
    """Return what each stage waits for."""
    waits = {one["name"]: one.get("waitsFor") for one in _stages(pipeline, "status")}
    return "; ".join(f"{name}: {why}" for name, why in waits.items() if why)


def _stages(pipeline: Mapping[str, Any], part: str) -> list[dict[str, Any]]:
    stages: list[dict[str, Any]] = (pipeline.get(part) or {}).get("stages") or []
    return stages


class Pipeline(Resource):
    """The way of an application to production."""

    KIND: ClassVar[Kind] = Kind(
        GROUP,
        "v1alpha1",
        "Pipeline",
        "pipelines",
        ("pl",),
        columns=(
            Column("STAGES", "spec.stages[*].name", text=_serving),
            Column("LATEST", "status.latestRelease"),
            Column("HELD", "status.stages[*].hold", text=_held),
            Column("WAITS", 'status.stages[?(@.waitsFor!="")].waitsFor', wide=True, text=_waiting),
        ),
    )

    spec: PipelineSpec = Field(default_factory=PipelineSpec)
    status: PipelineStatus = Field(default_factory=PipelineStatus)

    def stage(self, name: str) -> Stage | None:
        """Return a stage by its name."""
        return next((one for one in self.spec.stages if one.name == name), None)


class FreezeSpec(Window):
    """A time in which nothing is promoted; without dates and cron, until the Freeze is deleted."""

    namespaces: tuple[str, ...] = ()
    """Of the Pipelines that it stops; empty: of all."""
    pipelines: tuple[str, ...] = ()
    """Names of the Pipelines that it stops; empty: all."""
    by: str = ""
    """Person who asked for it."""


class Freeze(Resource):
    """Stops the line: no promotion begins; what has begun is finished."""

    KIND: ClassVar[Kind] = Kind(
        GROUP,
        "v1alpha1",
        "Freeze",
        "freezes",
        scope=Scope.CLUSTER,
        has_status=False,
        columns=(
            Column("NAMESPACES", "spec.namespaces[*]"),
            Column("PIPELINES", "spec.pipelines[*]"),
            Column("END", "spec.end"),
            Column("BY", "spec.by"),
            Column("REASON", "spec.reason"),
        ),
    )

    spec: FreezeSpec = Field(default_factory=FreezeSpec)


class QuarantineSpec(Model):
    """A base image on which applications fail."""

    digest: str = ""
    image: str = ""
    """The base image's name, for people."""
    reason: str = ""
    releases: tuple[str, ...] = ()
    """`NAMESPACE/NAME` of the Releases that were rejected on it."""


class Quarantine(Resource):
    """Keeps a base image's digest out of builds and stages until it is deleted."""

    KIND: ClassVar[Kind] = Kind(
        GROUP,
        "v1alpha1",
        "Quarantine",
        "quarantines",
        scope=Scope.CLUSTER,
        has_status=False,
        columns=(
            Column("IMAGE", "spec.image"),
            Column("DIGEST", "spec.digest"),
            Column("REASON", "spec.reason"),
        ),
    )

    spec: QuarantineSpec = Field(default_factory=QuarantineSpec)
