"""The builder port: a plan in, a digest out."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from upwell.oci import Digest, Reference

type LogSink = Callable[[bytes], None]
"""Takes the next piece of a build's log; never blocks, never raises."""


class BuildError(Exception):
    """A build or the fetch of its source failed; `reason` is a StatusReason of build/v1."""

    def __init__(self, reason: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.retryable = retryable


class Strategy(StrEnum):
    """How the image is made."""

    SOURCE = "Source"
    DOCKER = "Docker"


@dataclass(frozen=True, slots=True)
class RegistryLogin:
    """A login that the build's pulls and the push may use; never enters the image or the log."""

    registry: str
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class GitSource:
    """A git repository at a ref (branch, tag or commit; empty: the remote's HEAD)."""

    uri: str
    ref: str = ""
    context_dir: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    ssh_private_key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Revision:
    """The commit that a source tree was taken from."""

    commit: str
    author_name: str = ""
    author_email: str = ""
    committer_name: str = ""
    committer_email: str = ""
    date: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Checkout:
    """A source tree on disk, owned by one build."""

    path: Path
    """The context: the tree's root, or its `context_dir`."""
    revision: Revision | None


@dataclass(frozen=True, slots=True)
class Limits:
    """What one build may use; None is the machine's own limit."""

    memory_bytes: int | None = None
    cpus: float | None = None
    pids: int = 4096


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """Everything that a build needs, resolved: no tag is looked up after this is made."""

    id: str
    """Unique for this build (the Build's uid): names its working containers, folder and log."""
    namespace: str
    name: str
    strategy: Strategy
    context: Path | None
    """The source tree; None for a Docker build from an inline Dockerfile alone."""
    images: Mapping[str, Reference]
    """Source: {"builder": pinned}. Docker: image name as the Dockerfile writes it -> pinned."""
    push: Reference | None
    """Where the image goes, with a tag; None: build and push nothing."""
    base_name: str = ""
    """For org.opencontainers.image.base.name: the tag that the base digest was resolved from."""
    base_digest: str = ""
    dockerfile: str | None = None
    """Inline Dockerfile; None: `dockerfile_path` in the context."""
    dockerfile_path: str = "Dockerfile"
    env: tuple[tuple[str, str], ...] = ()
    """In order; committed into the image (Source), set after FROM (Docker)."""
    build_args: tuple[tuple[str, str], ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that override all others (OpenShift's build labels, then output.imageLabels)."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    scripts_url: str = ""
    no_cache: bool = False
    limits: Limits = Limits()
    deadline_seconds: float | None = None
    logins: tuple[RegistryLogin, ...] = ()
    insecure_registries: frozenset[str] = frozenset()
    host_network: bool = False
    """Only when the BuildConfig asks and the administrator allows it."""


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What was pushed, and how long each stage took in seconds."""

    digest: Digest | None
    """The manifest's digest as pushed; None when nothing was pushed."""
    stages: Mapping[str, float]


class Builder(Protocol):
    """Runs builds. Cancelling the calling task kills the build's whole process tree."""

    async def resolve_revision(self, source: GitSource) -> str:
        """Return the commit that `source.ref` names now (git ls-remote); raises BuildError."""
        ...

    async def fetch(self, build_id: str, source: GitSource, log: LogSink) -> Checkout:
        """Clone into the build's folder.

        Raises BuildError FetchSourceFailed or InvalidContextDirectory.
        """
        ...

    async def build(self, plan: BuildPlan, log: LogSink) -> BuildResult:
        """Build and push; raises BuildError. Leaves no working container, whatever happens."""
        ...

    async def discard(self, build_id: str) -> None:
        """Remove the build's folder, processes and working containers, if any; idempotent."""
        ...

    async def recover(self) -> None:
        """At start-up: kill and remove all that builds of an earlier, killed process left."""
        ...


class BuildLogs(Protocol):
    """Kept logs of builds, by build id."""

    def sink(self, build_id: str) -> LogSink:
        """Return a sink that appends to the log; past the size limit it drops and says so once."""
        ...

    def close(self, build_id: str) -> None:
        """Mark the log complete: followers end."""
        ...

    def read(self, build_id: str, *, follow: bool = False) -> AsyncIterator[bytes]:
        """Yield the log; with `follow`, go on until it is closed."""
        ...

    def tail(self, build_id: str, lines: int) -> str:
        """Return the last lines, for the Build's status."""
        ...

    def remove(self, build_id: str) -> None:
        """Delete the log; idempotent."""
        ...
