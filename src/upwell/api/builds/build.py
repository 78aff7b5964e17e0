"""build.openshift.io/v1: each making of an image, and requests for one."""

from datetime import timedelta
from enum import StrEnum
from typing import ClassVar, override

from pydantic import Field

from upwell.api.builds.inputs import GROUP, BinaryBuildSource, CommonSpec, SourceRevision
from upwell.api.columns import builds
from upwell.api.meta import (
    Condition,
    Kind,
    Model,
    ObjectMeta,
    ObjectReference,
    Resource,
    Seconds,
    Time,
)
from upwell.api.pod_template import EnvVar
from upwell.api.values.base_changes import BuildRebase

BUILD_CONFIG_LABEL = "openshift.io/build-config.name"
BUILD_NUMBER_ANNOTATION = "openshift.io/build.number"
RUN_POLICY_LABEL = "openshift.io/build.start-policy"


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
