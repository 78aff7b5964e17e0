"""build.openshift.io/v1: parts of a build, which a BuildConfig and its Builds share."""

from typing import Annotated

from pydantic import Field

from upwell.api.meta import (
    LocalReference,
    Model,
    ObjectReference,
    Seconds,
)
from upwell.api.pod_template import ConfigMapVolume, EnvVar, ResourceRequirements, SecretVolume
from upwell.api.write_only.fields import UrlCredentials

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
