"""build.openshift.io/v1: BuildConfigs, and what starts their builds."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from upwell.api.builds.inputs import GROUP, CommonSpec, SourceRevision
from upwell.api.columns import builds
from upwell.api.meta import (
    Condition,
    Kind,
    LocalReference,
    Model,
    ObjectReference,
    Resource,
    Time,
)
from upwell.api.write_only.fields import WriteOnly

PAUSED_ANNOTATION = "openshift.io/build-config.paused"
HOST_NETWORK_ANNOTATION = "upwell.dev/host-network"
"""`true` on a BuildConfig: its builds ask for the machine's own network."""


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
