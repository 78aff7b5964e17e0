"""build.openshift.io/v1: how images are made, and each making of one."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, ClassVar, override

from pydantic import Field

from upwell.api.columns import builds
from upwell.api.core import ConfigMapVolume, EnvVar, ResourceRequirements, SecretVolume
from upwell.api.meta import (
    Condition,
    Kind,
    LocalReference,
    Model,
    ObjectMeta,
    ObjectReference,
    Resource,
    Seconds,
    Time,
)
from upwell.api.values.base_changes import BuildRebase
from upwell.api.write_only.fields import UrlCredentials, WriteOnly

GROUP = "build.openshift.io"


class GitBuildSource(Model):
    """A git repository."""

    uri: Annotated[str, UrlCredentials()]
    ref: str | None = None
    http_proxy: Annotated[str, UrlCredentials()] | None = None
    https_proxy: Annotated[str, UrlCredentials()] | None = None
    no_proxy: str | None = None


class BinaryBuildSource(Model):
    """Upload of a client: an archive of the source, or the one file `asFile`."""

    as_file: str | None = None
    digest: str | None = None
    """Upwell's own: the content that was uploaded, in the store of inputs."""


class ImageSourcePath(Model):
    """A path of an image that is copied into the source."""

    source_path: str
    destination_dir: str


class ImageSource(Model):
    """Files of another image: copied into the source, or named in the Dockerfile by `as`."""

    from_: ObjectReference = Field(alias="from")
    paths: tuple[ImageSourcePath, ...] = ()
    as_: tuple[str, ...] = Field(default=(), alias="as")
    pull_secret: LocalReference | None = None


class SecretBuildSource(Model):
    """A Secret whose keys are files of the source while it is built."""

    secret: LocalReference
    destination_dir: str | None = None


class ConfigMapBuildSource(Model):
    """A ConfigMap whose keys are files of the source."""

    config_map: LocalReference
    destination_dir: str | None = None


class BuildSource(Model):
    """Source of a build's input."""

    type: str | None = None
    git: GitBuildSource | None = None
    dockerfile: str | None = None
    binary: BinaryBuildSource | None = None
    images: tuple[ImageSource, ...] = ()
    context_dir: str | None = None
    source_secret: LocalReference | None = None
    secrets: tuple[SecretBuildSource, ...] = ()
    config_maps: tuple[ConfigMapBuildSource, ...] = ()


class BuildVolumeMount(Model):
    """Path of a volume while the image is built."""

    destination_path: str


class BuildVolumeSource(Model):
    """Exactly one of these; `type` says which."""

    type: str | None = None
    secret: SecretVolume | None = None
    config_map: ConfigMapVolume | None = None


class BuildVolume(Model):
    """Files that a build's commands see and its image does not get."""

    name: str
    source: BuildVolumeSource = Field(default_factory=BuildVolumeSource)
    mounts: tuple[BuildVolumeMount, ...] = ()


class SourceBuildStrategy(Model):
    """Source-to-Image: a builder image and the source."""

    from_: ObjectReference = Field(alias="from")
    env: tuple[EnvVar, ...] = ()
    scripts: Annotated[str, UrlCredentials()] | None = None
    incremental: bool | None = None
    force_pull: bool | None = None
    pull_secret: LocalReference | None = None
    volumes: tuple[BuildVolume, ...] = ()


class DockerBuildStrategy(Model):
    """A Dockerfile; `from` replaces its last FROM."""

    from_: ObjectReference | None = Field(default=None, alias="from")
    env: tuple[EnvVar, ...] = ()
    build_args: tuple[EnvVar, ...] = ()
    dockerfile_path: str | None = None
    no_cache: bool | None = None
    force_pull: bool | None = None
    pull_secret: LocalReference | None = None
    image_optimization_policy: str | None = None
    volumes: tuple[BuildVolume, ...] = ()


class CustomSecret(Model):
    """A Secret that a custom builder finds as files at `mountPath`."""

    secret_source: LocalReference
    mount_path: str


class CustomBuildStrategy(Model):
    """An image that does everything itself: its environment says what to build."""

    from_: ObjectReference = Field(alias="from")
    env: tuple[EnvVar, ...] = ()
    expose_docker_socket: bool | None = None
    force_pull: bool | None = None
    pull_secret: LocalReference | None = None
    secrets: tuple[CustomSecret, ...] = ()
    build_api_version: str | None = Field(default=None, alias="buildAPIVersion")


class JenkinsPipelineBuildStrategy(Model):
    """A pipeline that an outside CI runs."""

    jenkinsfile: str | None = None
    jenkinsfile_path: str | None = None
    env: tuple[EnvVar, ...] = ()


class BuildStrategy(Model):
    """Exactly one of these."""

    type: str | None = None
    source_strategy: SourceBuildStrategy | None = None
    docker_strategy: DockerBuildStrategy | None = None
    custom_strategy: CustomBuildStrategy | None = None
    jenkins_pipeline_strategy: JenkinsPipelineBuildStrategy | None = None

    @property
    def base(self) -> ObjectReference | None:
        """The strategy's `from`."""
        strategy = self.source_strategy or self.docker_strategy or self.custom_strategy
        return strategy.from_ if strategy else None

    @property
    def pull_secret(self) -> LocalReference | None:
        """The Secret with the logins of the strategy's images."""
        strategy = self.source_strategy or self.docker_strategy or self.custom_strategy
        return strategy.pull_secret if strategy else None

    @property
    def volumes(self) -> tuple[BuildVolume, ...]:
        """The strategy's volumes."""
        strategy = self.source_strategy or self.docker_strategy
        return strategy.volumes if strategy else ()

    @property
    def env(self) -> tuple[EnvVar, ...]:
        """The strategy's environment."""
        strategy = (
            self.source_strategy
            or self.docker_strategy
            or self.custom_strategy
            or self.jenkins_pipeline_strategy
        )
        return strategy.env if strategy else ()


class ImageLabel(Model):
    """A label of the result."""

    name: str
    value: str = ""


class BuildOutput(Model):
    """Target of the result."""

    to: ObjectReference | None = None
    push_secret: LocalReference | None = None
    image_labels: tuple[ImageLabel, ...] = ()


class BuildPostCommitSpec(Model):
    """A check that runs in the built image before it is pushed."""

    script: str | None = None
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()


class ImageChangeTrigger(Model):
    """Build when this tag changes; without `from`, when the strategy's does."""

    from_: ObjectReference | None = Field(default=None, alias="from")
    paused: bool | None = None
    last_triggered_image_id: str | None = Field(default=None, alias="lastTriggeredImageID")


class WebHookTrigger(Model):
    """Build when a webhook with this secret is called."""

    secret: Annotated[str, WriteOnly()] | None = Field(default=None, repr=False)
    secret_reference: LocalReference | None = None
    allow_env: bool | None = None


class BuildTriggerPolicy(Model):
    """One reason to build."""

    type: str = ""
    image_change: ImageChangeTrigger | None = None
    github: WebHookTrigger | None = None
    gitlab: WebHookTrigger | None = None
    bitbucket: WebHookTrigger | None = None
    generic: WebHookTrigger | None = None

    @property
    def webhook(self) -> WebHookTrigger | None:
        """The webhook of the trigger's type."""
        hooks = {
            "GitHub": self.github,
            "GitLab": self.gitlab,
            "Bitbucket": self.bitbucket,
            "Generic": self.generic,
        }
        return hooks.get(self.type)


class RunPolicy(StrEnum):
    """Policy by which builds of one BuildConfig share time."""

    SERIAL = "Serial"
    SERIAL_LATEST_ONLY = "SerialLatestOnly"
    PARALLEL = "Parallel"

    @classmethod
    def _missing_(cls, value: object) -> "RunPolicy | None":
        """Return what an empty text means."""
        return cls.SERIAL if value == "" else None


class SourceControlUser(Model):
    """The author or committer of a commit."""

    name: str = ""
    email: str = ""


class GitSourceRevision(Model):
    """A commit."""

    commit: str = ""
    author: SourceControlUser = Field(default_factory=SourceControlUser)
    committer: SourceControlUser = Field(default_factory=SourceControlUser)
    message: str = ""


class SourceRevision(Model):
    """The revision of a source; none but git's are known."""

    type: str | None = None
    git: GitSourceRevision = Field(default_factory=GitSourceRevision)

    @classmethod
    def of_git(cls, git: GitSourceRevision) -> "SourceRevision":
        """Return the revision that is this commit."""
        return cls(type="Git", git=git)

    @property
    def commit(self) -> str:
        """The commit's id; empty when none is given."""
        return self.git.commit

    @property
    def subject(self) -> str:
        """The first line of the commit's message."""
        return next(iter(self.git.message.splitlines()), "")


class CommonSpec(Model):
    """Fields that a BuildConfig and its Builds share."""

    source: BuildSource = Field(default_factory=BuildSource)
    strategy: BuildStrategy = Field(default_factory=BuildStrategy)
    output: BuildOutput = Field(default_factory=BuildOutput)
    revision: SourceRevision | None = None
    resources: ResourceRequirements | None = None
    post_commit: BuildPostCommitSpec | None = None
    completion_deadline_seconds: Seconds | None = Field(default=None, ge=1)
    service_account: str | None = None
    node_selector: dict[str, str] | None = None
    mount_trusted_ca: bool | None = Field(default=None, alias="mountTrustedCA")


class BuildConfigSpec(CommonSpec):
    """Description of builds, and their triggers."""

    run_policy: RunPolicy = Field(default=RunPolicy.SERIAL, strict=False)
    triggers: tuple[BuildTriggerPolicy, ...] = ()
    successful_builds_history_limit: int = Field(default=5, ge=0)
    failed_builds_history_limit: int = Field(default=5, ge=0)


class ImageChangeTriggerStatus(Model):
    """The digest that an image change trigger last started a build with."""

    from_: ObjectReference = Field(alias="from")
    last_triggered_image_id: str = Field(default="", alias="lastTriggeredImageID")
    last_trigger_time: Time | None = None


class BinaryInput(Model):
    """Upwell's own: the last upload of a BuildConfig, which later builds use again."""

    digest: str
    as_file: str | None = None
    revision: SourceRevision | None = None
    build: str = ""
    """The build that it was uploaded for."""
    authors: tuple[str, ...] = ()
    """Names of those who stand for it."""


class FollowedCommit(Model):
    """Upwell's own: the newest commit that a look at the repository has found."""

    commit: str
    time: Time | None = None
    """The time at which it was noted."""


class BuildConfigStatus(Model):
    """Counters and trigger memory; spec is never written."""

    last_version: int = 0
    image_change_triggers: tuple[ImageChangeTriggerStatus, ...] = ()
    tracked_images: tuple[str, ...] = ()
    """Image names that the last build's Dockerfile took from outside, as it writes them."""
    binary_input: BinaryInput | None = None
    on_base_change: str | None = None
    """Upwell's own: the answer to a change of its base, where that is not `rebuild`."""
    followed_commit: FollowedCommit | None = None
    observed_generation: int | None = None
    conditions: tuple[Condition, ...] = ()


class BuildConfig(Resource):
    """Configuration of an image's builds, and of what starts them."""

    KIND: ClassVar[Kind] = Kind(
        GROUP,
        "v1",
        "BuildConfig",
        "buildconfigs",
        ("bc",),
        legacy=True,
        has_age=False,
        columns=builds.BUILD_CONFIG,
    )

    spec: BuildConfigSpec = Field(default_factory=BuildConfigSpec)
    status: BuildConfigStatus = Field(default_factory=BuildConfigStatus)


class BuildPhase(StrEnum):
    """A Build's life; the last four never change again."""

    NEW = "New"
    PENDING = "Pending"
    RUNNING = "Running"
    COMPLETE = "Complete"
    FAILED = "Failed"
    ERROR = "Error"
    CANCELLED = "Cancelled"

    @property
    def is_terminal(self) -> bool:
        """True if the build has ended."""
        return self not in {BuildPhase.NEW, BuildPhase.PENDING, BuildPhase.RUNNING}


class ImageChangeCause(Model):
    """An image change that started a build: from which digest to which."""

    image_id: str = Field(default="", alias="imageID")
    """Pull spec with digest."""
    from_ref: ObjectReference | None = None
    previous_image_id: str | None = Field(default=None, alias="previousImageID")
    """Upwell's own: the pull spec that the last build used."""


class WebHookCause(Model):
    """The call of a webhook that started a build."""

    revision: SourceRevision | None = None
    secret: str = ""
    """Never the secret itself."""


class BuildTriggerCause(Model):
    """Cause of a build's start."""

    message: str = ""
    image_change_build: ImageChangeCause | None = None
    generic_web_hook: WebHookCause | None = None
    github_web_hook: WebHookCause | None = Field(default=None, alias="githubWebHook")
    gitlab_web_hook: WebHookCause | None = Field(default=None, alias="gitlabWebHook")
    bitbucket_web_hook: WebHookCause | None = Field(default=None, alias="bitbucketWebHook")


class DockerStrategyOptions(Model):
    """Changes of a request to a Docker strategy."""

    build_args: tuple[EnvVar, ...] = ()
    no_cache: bool | None = None


class SourceStrategyOptions(Model):
    """Changes of a request to a Source strategy."""

    incremental: bool | None = None


class BuildRequest(Model):
    """Asks for a build of a BuildConfig, or for a Build to be made again."""

    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    revision: SourceRevision | None = None
    binary: BinaryBuildSource | None = None
    last_version: int | None = None
    env: tuple[EnvVar, ...] = ()
    triggered_by: tuple[BuildTriggerCause, ...] = ()
    docker_strategy_options: DockerStrategyOptions | None = None
    source_strategy_options: SourceStrategyOptions | None = None
    unless_built: bool = False
    """Upwell's own: the image that equal inputs have made before is taken, as for a trigger."""


class ImageInput(Model):
    """A followed tag, and the digest that it named when the build was started."""

    from_: ObjectReference = Field(alias="from")
    image: str
    """Pull spec with digest."""


class BuildSpec(CommonSpec):
    """One making of an image: all tags resolved.

    Never changed once it began, but for the commit that was fetched, which is written into it.
    """

    triggered_by: tuple[BuildTriggerCause, ...] = ()
    image_inputs: tuple[ImageInput, ...] = ()
    """Upwell's own: every followed tag, triggering or not."""
    forced: bool | None = None
    """Upwell's own: a person asked for this build, so that equal inputs are built again."""
    on_base_change: str | None = None
    """Upwell's own: `auto` or `rebase` where nothing but the base has changed."""


class BuildStage(Model):
    """A stage of a build that has ended."""

    name: str
    start_time: Time | None = None
    duration_milliseconds: Seconds = 0

    @property
    def duration(self) -> timedelta:
        """Time that it took."""
        return timedelta(milliseconds=self.duration_milliseconds)


class BuildOutputTo(Model):
    """The digest that was pushed."""

    image_digest: str = ""


class BuildOutputStatus(Model):
    """Result of a build."""

    to: BuildOutputTo | None = None


class ResolvedImage(Model):
    """An input image as the build used it."""

    name: str
    """As the Dockerfile or the strategy names it."""
    reference: str
    """Pull spec with digest."""
    stream_tag: str | None = None
    """`namespace/stream:tag` that tracks it, if one does."""
    final: bool | None = None
    """True if the result stands on it (the last stage's base)."""


class BuildStatus(Model):
    """Status of a build."""

    phase: BuildPhase = Field(default=BuildPhase.NEW, strict=False)
    reason: str | None = None
    message: str | None = None
    cancelled: bool | None = None
    start_timestamp: Time | None = None
    completion_timestamp: Time | None = None
    duration: int | None = None
    """Nanoseconds, as OpenShift writes it."""
    output_docker_image_reference: str | None = None
    config: ObjectReference | None = None
    output: BuildOutputStatus | None = None
    stages: tuple[BuildStage, ...] = ()
    log_snippet: str | None = None
    revision: SourceRevision | None = None
    """The commit that was built."""
    images: tuple[ResolvedImage, ...] = ()
    """Upwell's own: every external image of the build."""
    inputs: str | None = None
    """Upwell's own: the hash of the build's inputs, its identity."""
    replaces: str | None = None
    """Upwell's own: the image that these inputs had made when the forced build began; empty: none.

    Another one that they have now is the build's own."""
    attempts: int = 0
    """Upwell's own: how often it was tried; faults that may pass are tried again."""
    retry_time: Time | None = None
    """Upwell's own: when the next try is due."""
    rebase: BuildRebase | None = None
    renewed: int = 0
    """Upwell's own: how often newer images took the place of its inputs before it began."""
    conditions: tuple[Condition, ...] = ()


class Build(Resource):
    """One making of an image."""

    KIND: ClassVar[Kind] = Kind(
        GROUP,
        "v1",
        "Build",
        "builds",
        legacy=True,
        has_age=False,
        columns=builds.BUILD,
    )

    spec: BuildSpec = Field(default_factory=BuildSpec)
    status: BuildStatus = Field(default_factory=BuildStatus)

    @override
    @classmethod
    def first_status(cls) -> BuildStatus:
        """Return that of a build that waits: clients look for its phase."""
        return BuildStatus(phase=BuildPhase.NEW)

    @property
    def revision(self) -> SourceRevision:
        """The commit that was built, or shall be; empty when none is known."""
        return self.status.revision or self.spec.revision or SourceRevision()


BUILD_CONFIG_LABEL = "openshift.io/build-config.name"
BUILD_NUMBER_ANNOTATION = "openshift.io/build.number"
RUN_POLICY_LABEL = "openshift.io/build.start-policy"
PAUSED_ANNOTATION = "openshift.io/build-config.paused"
HOST_NETWORK_ANNOTATION = "upwell.dev/host-network"
"""`true` on a BuildConfig: its builds ask for the machine's own network."""
