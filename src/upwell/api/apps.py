"""Workloads: Kubernetes apps/v1 and batch/v1, OpenShift's apps.openshift.io/v1."""

from typing import Annotated, Any, ClassVar

from pydantic import Field, WithJsonSchema

from upwell.api.columns import workloads
from upwell.api.meta import (
    Condition,
    KeptText,
    Kind,
    Model,
    ObjectReference,
    Resource,
    Seconds,
    Time,
)
from upwell.api.pod_template import EnvVar, PodTemplate, PodTemplateMeta

TRIGGERS_ANNOTATION = "image.openshift.io/triggers"


class LabelSelector(Model):
    """Selector of a workload's instances."""

    match_labels: dict[str, str] = Field(default_factory=dict)
    match_expressions: tuple[dict[str, Any], ...] = ()


_SELECTOR_SCHEMA = {
    "type": "object",
    "properties": {
        "matchLabels": {"type": "object", "additionalProperties": {"type": "string"}},
        "matchExpressions": {"type": "array", "items": {"type": "object"}},
    },
}


class RollingUpdate(Model):
    """Bounds of replicas missing or extra during a rollout; a number or a percentage."""

    max_unavailable: int | str = "25%"
    max_surge: int | str = "25%"


class DeploymentStrategy(Model):
    """RollingUpdate or Recreate."""

    type: str = "RollingUpdate"
    rolling_update: RollingUpdate | None = None


class WorkloadSpec(Model):
    """Fields that Deployment, StatefulSet and DaemonSet share."""

    replicas: int = Field(default=1, ge=0)
    selector: LabelSelector = Field(default_factory=LabelSelector)
    template: PodTemplate = Field(default_factory=PodTemplate)
    min_ready_seconds: Seconds = Field(default=0, ge=0)
    revision_history_limit: int = Field(default=10, ge=0)


class VolumeClaimTemplate(Model):
    """A volume that each replica has for itself."""

    metadata: PodTemplateMeta = Field(default_factory=PodTemplateMeta)
    spec: Any = None
    """As a PersistentVolumeClaim has it; earlier versions took anything."""


class StatefulSetSpec(WorkloadSpec):
    """Desired state of a StatefulSet."""

    volume_claim_templates: tuple[VolumeClaimTemplate, ...] = ()
    pod_management_policy: KeptText = "OrderedReady"


class DeploymentSpec(WorkloadSpec):
    """Desired state of a Deployment."""

    strategy: DeploymentStrategy = Field(default_factory=DeploymentStrategy)
    progress_deadline_seconds: Seconds = Field(default=600, ge=1)
    paused: bool | None = None


class HookResult(Model):
    """Result of a lifecycle hook of a rollout."""

    phase: str
    """Complete, Failed or Ignored."""
    ended: Time
    retries: int = 0
    message: str = ""


class RevisionRecord(Model):
    """A revision that was rolled out: Upwell's own memory for `rollout undo` and for rollbacks."""

    revision: int
    hash: str
    template: PodTemplate
    created: Time
    phase: str = ""
    """Progressing, Complete or Failed."""
    message: str = ""
    cause: str = ""
    """Cause of its start: "image change", "config change", "manual change", "rollback"."""
    images: dict[str, str] = Field(default_factory=dict)
    """Container name -> pull spec with digest."""
    live_at: Time | None = None
    """Time at which the first instance of it took traffic."""
    completed_at: Time | None = None
    """Time at which it served in full, and nothing else did."""
    hooks: dict[str, HookResult] = Field(default_factory=dict)
    """Results by moment: pre, mid, post, custom."""
    aborted: bool | None = None
    """It is not tried on: a hook failed, its time was over, or a person has cancelled it."""


class RequestedRevision(Model):
    """A rollout that a person asked for although the template may not have changed."""

    template: str
    """Hash of the template that is meant; the request says nothing about any other."""
    revision: str
    """Name of the revision."""


class WorkloadStatus(Model):
    """Status of a workload."""

    observed_generation: int | None = None
    replicas: int = 0
    ready_replicas: int = 0
    updated_replicas: int = 0
    available_replicas: int = 0
    unavailable_replicas: int = 0
    conditions: tuple[Condition, ...] = ()
    revisions: tuple[RevisionRecord, ...] = ()
    """Newest first."""
    failed_hash: str | None = None
    """The template that failed and was rolled back; not tried again until something changes."""
    hold: str | None = None
    """Reason of a person's decision that keeps automation away, if there is one."""
    requested: RequestedRevision | None = None
    places: tuple[str, ...] = ()
    """`ADDRESS:PORT` of the machine that it has by its host ports."""


class DaemonSetStatus(WorkloadStatus):
    """Status of a DaemonSet, whose instances are counted by machines too: there is one."""

    desired_number_scheduled: int = 0
    current_number_scheduled: int = 0
    updated_number_scheduled: int = 0
    number_ready: int = 0
    number_available: int = 0
    number_unavailable: int = 0
    number_misscheduled: int = 0


class Deployment(Resource):
    """Stateless replicas."""

    KIND: ClassVar[Kind] = Kind(
        "apps", "v1", "Deployment", "deployments", ("deploy",), columns=workloads.DEPLOYMENT
    )

    spec: DeploymentSpec = Field(default_factory=DeploymentSpec)
    status: WorkloadStatus = Field(default_factory=WorkloadStatus)


class StatefulSet(Resource):
    """Replicas with identities."""

    KIND: ClassVar[Kind] = Kind(
        "apps", "v1", "StatefulSet", "statefulsets", ("sts",), columns=workloads.STATEFUL_SET
    )

    spec: StatefulSetSpec = Field(default_factory=StatefulSetSpec)
    status: WorkloadStatus = Field(default_factory=WorkloadStatus)


class DaemonSet(Resource):
    """One replica a machine."""

    KIND: ClassVar[Kind] = Kind(
        "apps", "v1", "DaemonSet", "daemonsets", ("ds",), columns=workloads.DAEMON_SET
    )

    spec: WorkloadSpec = Field(default_factory=WorkloadSpec)
    status: DaemonSetStatus = Field(default_factory=DaemonSetStatus)


class JobSpec(Model):
    """Run to a good end, and the number of times."""

    template: PodTemplate = Field(default_factory=PodTemplate)
    completions: int | None = Field(default=None, ge=0)
    """None: once, where `parallelism` is set alone."""
    parallelism: int = Field(default=1, ge=0)
    backoff_limit: int = Field(default=6, ge=0)
    active_deadline_seconds: Seconds | None = Field(default=None, ge=0)
    ttl_seconds_after_finished: int | None = Field(default=None, ge=0)
    suspend: bool = False
    completion_mode: KeptText = "NonIndexed"
    selector: Annotated[Any, WithJsonSchema(_SELECTOR_SCHEMA)] = None
    """A LabelSelector; earlier versions kept whatever was there, and all of it still loads."""
    manual_selector: Annotated[Any, WithJsonSchema({"type": "boolean"})] = None
    """True: which Pods are its own is said by its author, in `selector` and the labels."""


class JobStatus(Model):
    """Status of a Job."""

    active: int = 0
    succeeded: int = 0
    failed: int = 0
    start_time: Time | None = None
    completion_time: Time | None = None
    conditions: tuple[Condition, ...] = ()
    completed: tuple[int, ...] = ()
    """Indices of the runs that have ended well."""
    images: dict[str, str] = Field(default_factory=dict)
    """Container name -> pull spec with digest: one for all runs."""


class Job(Resource):
    """Workload that is run once, or so many times."""

    KIND: ClassVar[Kind] = Kind(
        "batch",
        "v1",
        "Job",
        "jobs",
        columns=workloads.JOB,
    )

    spec: JobSpec = Field(default_factory=JobSpec)
    status: JobStatus = Field(default_factory=JobStatus)


class JobTemplate(Model):
    """The template of a CronJob's Jobs."""

    metadata: PodTemplateMeta = Field(default_factory=PodTemplateMeta)
    spec: JobSpec = Field(default_factory=JobSpec)


class CronJobSpec(Model):
    """Schedule of a Job."""

    schedule: str = ""
    suspend: bool = False
    time_zone: str | None = None
    concurrency_policy: str = "Allow"
    """Allow, Forbid or Replace."""
    starting_deadline_seconds: Seconds | None = Field(default=None, ge=0)
    successful_jobs_history_limit: int = Field(default=3, ge=0)
    failed_jobs_history_limit: int = Field(default=1, ge=0)
    job_template: JobTemplate = Field(default_factory=JobTemplate)


class CronJobStatus(Model):
    """Times of a CronJob's runs."""

    active: tuple[ObjectReference, ...] = ()
    last_schedule_time: Time | None = None
    last_successful_time: Time | None = None
    conditions: tuple[Condition, ...] = ()


class CronJob(Resource):
    """A Job by the clock."""

    KIND: ClassVar[Kind] = Kind(
        "batch",
        "v1",
        "CronJob",
        "cronjobs",
        ("cj",),
        columns=workloads.CRON_JOB,
    )

    spec: CronJobSpec = Field(default_factory=CronJobSpec)
    status: CronJobStatus = Field(default_factory=CronJobStatus)


class ImageTriggerParams(Model):
    """Containers that follow a tag."""

    automatic: bool | None = Field(
        default=None, description="Whether a new image of the tag is rolled out by itself."
    )
    container_names: tuple[str, ...] = Field(
        default=(), description="Containers and init containers whose image is the tag's."
    )
    from_: ObjectReference = Field(alias="from")
    last_triggered_image: str | None = Field(
        default=None, description="Image that the trigger has set last."
    )


class DeploymentTrigger(Model):
    """ConfigChange or ImageChange."""

    type: str = Field(
        description="ConfigChange: a changed template is rolled out. ImageChange: a new image is."
    )
    image_change_params: ImageTriggerParams | None = None


class ExecNewPodHook(Model):
    """A command that is run once, in a container like one of the template's."""

    command: tuple[str, ...] = ()
    container_name: str = ""
    env: tuple[EnvVar, ...] = ()
    volumes: tuple[str, ...] = ()
    """The template's volumes that the command sees."""


class TagImageHook(Model):
    """A tag that is given to the image of a container."""

    container_name: str = ""
    to: ObjectReference


class LifecycleHook(Model):
    """Action at a moment of a rollout, and the policy for its failure."""

    failure_policy: str = "Abort"
    """Abort, Retry or Ignore."""
    exec_new_pod: ExecNewPodHook | None = None
    tag_images: tuple[TagImageHook, ...] = ()


class CustomParams(Model):
    """A command that rolls out by calling `openshift-deploy`."""

    image: str = ""
    command: tuple[str, ...] = ()
    environment: tuple[EnvVar, ...] = ()


class RollingParams(Model):
    """OpenShift's rolling strategy; seconds."""

    update_period_seconds: Seconds = 1
    interval_seconds: Seconds = 1
    timeout_seconds: Seconds = 600
    max_unavailable: int | str | None = None
    max_surge: int | str | None = None
    pre: LifecycleHook | None = None
    post: LifecycleHook | None = None


class RecreateParams(Model):
    """OpenShift's recreate strategy; seconds."""

    timeout_seconds: Seconds = 600
    pre: LifecycleHook | None = None
    mid: LifecycleHook | None = None
    post: LifecycleHook | None = None


class DeploymentConfigStrategy(Model):
    """Rolling, Recreate or Custom."""

    type: str = "Rolling"
    rolling_params: RollingParams | None = None
    recreate_params: RecreateParams | None = None
    custom_params: CustomParams | None = None
    active_deadline_seconds: Seconds = 21600
    """Time that a rollout may take (apps.openshift.io MaxDeploymentDurationSeconds)."""


class DeploymentConfigSpec(Model):
    """Desired state of a DeploymentConfig."""

    replicas: int = Field(default=1, ge=0)
    selector: dict[str, str] = Field(default_factory=dict)
    template: PodTemplate | None = None
    strategy: DeploymentConfigStrategy = Field(default_factory=DeploymentConfigStrategy)
    triggers: tuple[DeploymentTrigger, ...] | None = None
    min_ready_seconds: Seconds = Field(default=0, ge=0)
    revision_history_limit: int = Field(default=10, ge=0)
    paused: bool | None = None
    test: bool | None = None


class ResolvedTrigger(Model):
    """The image that a DeploymentConfig's trigger last set; Upwell keeps it out of the spec."""

    container: str
    from_: ObjectReference = Field(alias="from")
    image: str


class DeploymentConfigStatus(WorkloadStatus):
    """Status of a DeploymentConfig, and its version."""

    latest_version: int = 0
    details: dict[str, Any] | None = None
    triggered: tuple[ResolvedTrigger, ...] = ()


class DeploymentConfig(Resource):
    """OpenShift's deployment with triggers and hooks."""

    KIND: ClassVar[Kind] = Kind(
        "apps.openshift.io",
        "v1",
        "DeploymentConfig",
        "deploymentconfigs",
        ("dc",),
        legacy=True,
        has_age=False,
        columns=workloads.DEPLOYMENT_CONFIG,
    )

    spec: DeploymentConfigSpec = Field(default_factory=DeploymentConfigSpec)
    status: DeploymentConfigStatus = Field(default_factory=DeploymentConfigStatus)
