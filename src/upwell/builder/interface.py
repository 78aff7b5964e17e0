"""The builder port: a plan in, a digest out."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from upwell.git.interface import CommitInfo, GitSource, Proxies
from upwell.machine.process import LogSink
from upwell.oci import Digest, ImageConfig, Reference

BUILDER_KILLED = "BuilderKilled"
"""Reason of a build whose process was killed, by nothing that the build itself did."""

NODE_LOST = "NodeLost"
"""Reason of a build whose Pod went away in the middle: with its node, or by somebody's hand."""

POD_EVICTED = "BuildPodEvicted"
"""Reason of a build whose Pod had to leave its node (as of build/v1)."""

POD_REFUSED = "CannotCreateBuildPod"
"""Reason of a build whose Pod the cluster does not take (as of build/v1)."""

DISK_PRESSURE = "DiskPressure"
"""Reason of a build that found no space on the disk (as of a Kubernetes node)."""

STORAGE_EXCEEDED = "BuildStorageExceeded"
"""Reason of a build that took more room on the disk than it may."""


class BuildError(Exception):
    """A build or the fetch of its source failed; `reason` is a StatusReason of build/v1.

    `retryable`: the cause is outside of what was asked for, and may pass by itself, after
    `retry_after` seconds where that was told.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        retryable: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.retryable = retryable
        self.retry_after = retry_after


class LimitedPushError(BuildError):
    """The registry that a build pushes to takes no more requests for now: HTTP 429."""


class ReportedFullDiskError(BuildError):
    """The output of a command says that the disk is full: its word alone is no evidence."""


class MissingScriptsError(BuildError):
    """A script that is required is nowhere."""


class UnknownSchemeError(BuildError):
    """Error for a scripts URL of a kind that cannot be downloaded."""


class BuilderStrategy(StrEnum):
    """Strategy by which the image is made."""

    SOURCE = "Source"
    DOCKER = "Docker"
    CUSTOM = "Custom"


class BuildPrivilege(StrEnum):
    """Privilege of a build's Pod: the least one with which the nodes let it build is enough."""

    ROOTLESS = "rootless"
    """A user other than root, who makes user namespaces; no capability but to map ids."""
    ROOT = "root"
    """Root in the container, with the capabilities that container runtimes give by default."""
    PRIVILEGED = "privileged"
    """Root on the node: nothing keeps a hostile build from it."""


@dataclass(frozen=True, slots=True)
class RegistryLogin:
    """A login that the build's pulls and the push may use; never enters the image or the log."""

    registry: str
    username: str
    password: str = field(repr=False)


class BinaryKind(StrEnum):
    """Kind of a binary input's content."""

    FILE = "file"
    ARCHIVE = "archive"
    """tar (plain or compressed) or zip; distinguished by content."""


@dataclass(frozen=True, slots=True)
class BinarySource:
    """Content that was uploaded for a build, kept by its digest."""

    path: Path
    kind: BinaryKind
    as_file: str = ""
    """The name that a single file gets (build/v1 BinaryBuildSource.asFile)."""
    context_dir: str = ""


@dataclass(frozen=True, slots=True)
class Checkout:
    """A source tree on disk, owned by one build."""

    path: Path
    """The context: the tree's root, or its `context_dir`."""
    revision: CommitInfo | None


@dataclass(frozen=True, slots=True)
class BuildLimits:
    """Limits of one build; None is the machine's own limit."""

    memory_bytes: int | None = None
    cpus: float | None = None
    pids: int = 4096


@dataclass(frozen=True, slots=True)
class Placement:
    """Wishes for the Pod that a build runs in, on a cluster (build/v1 CommonSpec)."""

    service_account: str = ""
    """Empty: that of the server's settings, or the namespace's default."""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    requests: Mapping[str, str] = field(default_factory=dict)
    """Quantities by resource."""
    limits: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InjectedFiles:
    """Files of one Secret or ConfigMap, for a build's source (build/v1 SecretBuildSource)."""

    name: str
    files: Mapping[str, bytes] = field(repr=False)
    """By path relative to the destination."""
    destination_dir: str = ""
    """Source: absolute, or below the builder's WORKDIR. Docker: below the context."""
    secret: bool = True
    """Source builds keep a secret's content out of every layer; a ConfigMap's stays."""


@dataclass(frozen=True, slots=True)
class MountedFiles:
    """Files of one Secret or ConfigMap that a build's commands see, and that stay in no layer."""

    name: str
    files: Mapping[str, bytes] = field(repr=False)
    """By path relative to each folder."""
    targets: tuple[str, ...]
    """Absolute folders in the build's containers."""
    secret: bool = True


@dataclass(frozen=True, slots=True)
class ImagePath:
    """A path of an image and the folder of the source that gets it; `/.` at the end: its content.

    (build/v1 ImageSourcePath)
    """

    source: str
    destination_dir: str = ""


@dataclass(frozen=True, slots=True)
class SourceImage:
    """An image that gives files to the source, or stands in for names in a Dockerfile."""

    reference: Reference
    """Pinned."""
    paths: tuple[ImagePath, ...] = ()
    as_names: tuple[str, ...] = ()
    """Names in `FROM` and `COPY --from` that mean this image."""


@dataclass(frozen=True, slots=True)
class PostCommit:
    """A check inside the built image, before the push (build/v1 BuildPostCommitSpec)."""

    script: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RuntimeImage:
    """The image that gets what assemble made, in place of the builder image."""

    reference: Reference
    artifacts: tuple[tuple[str, str], ...] = ()
    """Absolute path in the builder, folder below the runtime image's WORKDIR; empty: its label."""


@dataclass(frozen=True, slots=True)
class HostVolume:
    """A file or folder of this machine that scripts see."""

    path: Path
    target: str
    options: tuple[str, ...] = ("rw",)
    """Of `buildah build --volume`."""


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Options of Source builds alone."""

    previous: Reference | None = None
    """The image whose artifacts an incremental build takes up."""
    previous_required: bool = False
    """Fail when they cannot be had; otherwise build without."""
    runtime: RuntimeImage | None = None
    assemble_user: str = ""
    """In place of the builder's label and USER."""
    assemble_runtime_user: str = ""
    destination: str = ""
    """Folder in the image to upload to, in place of the builder's label."""
    allowed_uids: str = ""
    """Ranges such as `1-,5`; empty: any user."""
    volumes: tuple[HostVolume, ...] = ()
    """Seen by assemble and save-artifacts, where host paths are allowed."""
    exclude: str | None = None
    """A regular expression on paths of the source in place of the one that leaves out `.git`."""


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """Inputs of a build, resolved: no tag is looked up after this is made."""

    id: str
    """Unique for this build (the Build's uid): names its working containers, folder and log."""
    namespace: str
    name: str
    strategy: BuilderStrategy
    context: Path | None
    """The source tree; None for a Docker build from an inline Dockerfile alone."""
    images: Mapping[str, Reference]
    """Source: {"builder": pinned}. Docker: image name as the Dockerfile writes it -> pinned."""
    push: Reference | None
    """Target of the push, with a tag; None: build and push nothing."""
    base_name: str = ""
    """For org.opencontainers.image.base.name: the tag that the base digest was resolved from."""
    base_digest: str = ""
    dockerfile: str | None = None
    """Inline Dockerfile; None: `dockerfile_path` in the context."""
    dockerfile_path: str = "Dockerfile"
    env: tuple[tuple[str, str], ...] = ()
    """In order; committed into the image (Source), set after FROM (Docker)."""
    build_env: tuple[tuple[str, str], ...] = ()
    """Facts about the build itself: set before `env` (Source), or at the very end (Docker)."""
    build_args: tuple[tuple[str, str], ...] = ()
    secret_env: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """For commands of the build alone: in no image, history, argument or log."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that override all others (OpenShift's build labels, then output.imageLabels)."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    scripts_url: str = ""
    no_cache: bool = False
    cache_key: str = ""
    """Docker: builds with the same one share what commands keep (`--mount=type=cache`).

    Empty: nothing is kept.
    """
    step_scope: str = ""
    """Docker: builds with the same one find each other's steps again, and no others do.

    What a command leaves depends on more than its words: on caches, proxies, Secrets and what
    answers it. Empty: the builds are one person's.
    """
    limits: BuildLimits = BuildLimits()
    deadline_seconds: float | None = None
    logins: tuple[RegistryLogin, ...] = ()
    insecure_registries: frozenset[str] = frozenset()
    host_network: bool = False
    """Only when the BuildConfig asks and the administrator allows it."""
    final_image: Reference | None = None
    """Docker: takes the place of what the last FROM names, and of nothing else."""
    inputs: tuple[InjectedFiles, ...] = ()
    volumes: tuple[MountedFiles, ...] = ()
    source_images: tuple[SourceImage, ...] = ()
    post_commit: PostCommit | None = None
    source: SourceOptions = SourceOptions()
    display_name: str = ""
    """Source: for the label io.k8s.display-name; empty: the name under which it is pushed."""
    local_name: str = ""
    """A name that the result keeps in the builder's own store; empty: none."""
    squash: bool = False
    """One layer above the base (imageOptimizationPolicy SkipLayers)."""
    force_pull: bool = False
    """Ask the registry even for a digest that the store has."""
    pull_policies: Mapping[Reference, str] = field(default_factory=dict)
    """Of images that have another one than the builder: `missing`, `always` or `never`."""
    proxies: Proxies = field(default_factory=Proxies)
    """For the build's commands; they do not stay in the image."""
    build_document: str = field(default="", repr=False)
    """Custom: the Build as JSON, for the variable BUILD."""
    docker_socket: bool = False
    """Custom: only when the administrator allows it."""
    placement: Placement = Placement()
    """For builders that run builds elsewhere."""

    @property
    def pulled(self) -> tuple[Reference, ...]:
        """Every image that the build needs, once."""
        runtime = self.source.runtime
        wanted = (
            *self.images.values(),
            self.final_image,
            *(image.reference for image in self.source_images),
            runtime.reference if runtime else None,
            self.source.previous,
        )
        return tuple(dict.fromkeys(image for image in wanted if image is not None))


@dataclass(frozen=True, slots=True)
class BuildResult:
    """Image that was pushed, and the seconds that each stage took."""

    digest: Digest | None
    """The manifest's digest as pushed; None when nothing was pushed."""
    stages: Mapping[str, float]
    image: str = ""
    """Its id in the builder's own store."""


type WaitSink = Callable[[str], Awaitable[None]]
"""Takes what a build waits for before it begins, for people; empty: for nothing any more."""


async def untold(_: str) -> None:
    """Tell nobody what a build waits for."""


class Builder(Protocol):
    """Runs builds.

    Cancelling the calling task lets go of a build. One that runs in this process's own children is
    killed by that, with all that it started; one that runs elsewhere goes on until it is discarded,
    and `build` with the same plan takes it up again: so it outlives whoever started it.
    """

    async def fetch(self, build_id: str, source: GitSource, log: LogSink) -> Checkout:
        """Clone into the build's folder.

        Raises BuildError FetchSourceFailed or InvalidContextDirectory.
        """
        ...

    async def unpack(self, build_id: str, source: BinarySource, log: LogSink) -> Checkout:
        """Put uploaded content into the build's folder, as `fetch` does with a repository.

        Raises BuildError FetchSourceFailed or InvalidContextDirectory.
        """
        ...

    async def build(self, plan: BuildPlan, log: LogSink, waits: WaitSink = untold) -> BuildResult:
        """Build and push; raises BuildError. Leaves no working container, whatever happens.

        A Custom build pushes by itself: its result has no digest. `waits` is told what keeps the
        build from beginning, where something elsewhere does.
        """
        ...

    async def storage_used(self, build_id: str) -> int:
        """Return the bytes that a running build takes on the disk; 0: it has left nothing.

        Its folder and what its steps have written, not the images that it takes from elsewhere.
        """
        ...

    async def discard(self, build_id: str) -> None:
        """Remove the build's folder, processes and working containers, if any; idempotent.

        And its image, unless it has a name or is the cache of other builds.
        """
        ...

    async def recover(self) -> None:
        """At start-up: kill and remove all that builds of an earlier, killed process left."""
        ...

    async def close(self) -> None:
        """At the end, when no build runs: remove what any has outside of the server's own folders.

        Those may never be started from again. Idempotent.
        """
        ...

    async def prune(
        self, keep: frozenset[Digest], *, unused_for: timedelta, dry_run: bool = False
    ) -> tuple[str, ...]:
        """Remove old images from the builder's own store; return their names or ids.

        Stays what `keep` names, what a running build needs, and what was made or pulled within
        `unused_for`.
        """
        ...


class LocalBuilder(Builder, Protocol):
    """A builder that leaves its images in a store of this machine."""

    async def default_branch(self, source: GitSource) -> str:
        """Return the branch that HEAD of a repository names; empty: it cannot be found out."""
        ...

    async def inspect(self, image: Reference) -> ImageConfig:
        """Pull an image by the policy, and return its configuration; raises BuildError."""
        ...

    async def stored_config(self, image: str) -> ImageConfig:
        """Return the configuration of an image in the store, by name or id; raises BuildError."""
        ...

    async def output_of(self, image: Reference, script: str) -> bytes:
        """Return what a script of an image in the store prints; raises BuildError."""
        ...

    async def image_id(self, name: str) -> str | None:
        """Return the id of the image with this name in the store; raises BuildError."""
        ...

    async def remove_image(self, image: str) -> bool:
        """Remove an image of the store; return whether it went: what is in use stays."""
        ...


class BuildLogs(Protocol):
    """Kept logs of builds, by build id."""

    def sink(self, build_id: str) -> LogSink:
        """Return a sink that appends to the log; past the size limit it drops and says so once."""
        ...

    def close(self, build_id: str) -> None:
        """Mark the log complete: followers end."""
        ...

    async def keep(self, build_id: str, namespace: str, *, again: bool = False) -> float:
        """Keep the log of a build that is about to end where all replicas find it, if they do so.

        Returns the seconds until it is to be tried `again`; 0: it is kept, or there is none.
        """
        ...

    def read(
        self, build_id: str, namespace: str = "", *, follow: bool = False
    ) -> AsyncIterator[bytes]:
        """Yield the log of a build of `namespace`; with `follow`, go on until it is closed."""
        ...

    def tail(self, build_id: str, lines: int) -> str:
        """Return the last lines, for the Build's status."""
        ...

    def remove(self, build_id: str) -> bool:
        """Delete the log; idempotent. False: there was none."""
        ...
