"""One build from its source to its ImageStream tag.

Every step writes down what it found before the next begins. A killed run that comes again takes
the commit and the digests of the first, finds the pushed image by its inputs, and ends the same.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from upwell.api.build import (
    HOST_NETWORK_ANNOTATION,
    Build,
    BuildOutputStatus,
    BuildOutputTo,
    BuildPhase,
    BuildStage,
    BuildStatus,
    GitSourceRevision,
    SourceControlUser,
    SourceRevision,
)
from upwell.api.codec import encode_json
from upwell.api.defaults import DOCKER_IMAGE, IMAGE_STREAM_TAG
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectReference
from upwell.builder.context import read_dockerfile
from upwell.builder.interface import (
    Builder,
    BuildError,
    BuilderStrategy,
    BuildLimits,
    BuildLogs,
    BuildPlan,
    Checkout,
    SourceOptions,
)
from upwell.formats.dockerfile.layers import layer_warnings
from upwell.formats.dockerfile.parse import DockerfileError
from upwell.git.interface import CommitInfo, GitSource
from upwell.machine.process import LogSink
from upwell.oci import Digest, Reference
from upwell.policy.builds.identity import inputs_hash
from upwell.policy.builds.triggers import SPEC_IMAGE_PREFIX
from upwell.policy.images.streams import split_tag, take_push
from upwell.reconcilers.builds.inputs import BuildInputs, MissingInput
from upwell.reconcilers.builds.plan import (
    FINAL_IMAGE,
    BuildImages,
    BuildPlanner,
    build_labels,
    limits_of,
    post_commit_of,
    proxies_of,
    push_reference,
    source_images_of,
)
from upwell.registry.errors import RegistryError
from upwell.registry.interface import InternalRegistry
from upwell.store.interface import ConflictError, NotFoundError, Store

log = logging.getLogger(__name__)

_WRITE_TRIES = 20


@dataclass(frozen=True, slots=True)
class BuildDefaults:
    """What the administrator sets for all builds."""

    limits: BuildLimits = field(default_factory=BuildLimits)
    deadline_seconds: float = 7200
    insecure_registries: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What a run works with, once it is all known."""

    context: Path | None
    source: GitSource | None
    revision: CommitInfo | None
    dockerfile: str | None
    images: BuildImages
    hash: str
    stage: BuildStage
    """How it was all found and fetched."""


class BuildRun:
    """Runs builds to their end, one call each; raises BuildError when one fails."""

    def __init__(
        self,
        store: Store,
        builder: Builder,
        logs: BuildLogs,
        internal: InternalRegistry,
        planner: BuildPlanner,
        defaults: BuildDefaults,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._inputs_of = BuildInputs(store)
        self._store = store
        self._builder = builder
        self._logs = logs
        self._internal = internal
        self._planner = planner
        self._defaults = defaults
        self._clock = clock

    async def missing_input(self, build: Build) -> MissingInput | None:
        """Say what must be created before `build` can run; None: nothing."""
        return await self._inputs_of.missing_input(build)

    async def run(self, build: Build) -> None:
        """Build, push, tag, and record the result; raises BuildError."""
        sink = self._logs.sink(build.uid)
        deadline = asyncio.timeout(self._time_left(build))
        try:
            async with deadline:
                await self._run(build, sink)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise _overdue(build, self._deadline(build)) from error

    async def _run(self, build: Build, sink: LogSink) -> None:
        await self._output_stream(build)
        inputs = await self._inputs(build, sink)
        push = push_reference(build, self._internal.host, inputs.hash)
        digest = await self._existing(push)
        replaces = _replaced(build, inputs.hash, digest)
        build = await self._note(
            build,
            phase=BuildPhase.RUNNING,
            images=inputs.images.resolved,
            revision=_revision_of(inputs.revision),
            inputs=inputs.hash,
            replaces=replaces,
        )
        if replaces == str(digest or ""):
            digest = None
        stages = [inputs.stage]
        if digest is None:
            begun = self._clock()
            plan = await self._plan(build, inputs, push)
            stages.append(_stage("MirrorImages", begun, self._clock() - begun))
            begun = self._clock()
            result = await self._builder.build(plan, sink)
            digest = result.digest
            stages += _successive(result.stages, begun)
        else:
            sink(f"These inputs were built before: {digest} is used.\n".encode())
        if digest is not None:
            await self._release(build, digest)
        await self._complete(build, digest, stages)

    async def _inputs(self, build: Build, sink: LogSink) -> _Inputs:
        started = self._clock()
        source = await self._planner.git_source(build)
        checkout = await self._checkout(build, source, sink)
        context, revision = (checkout.path, checkout.revision) if checkout else (None, None)
        dockerfile = build.spec.source.dockerfile
        docker = build.spec.strategy.docker_strategy
        if docker is not None and dockerfile is None:
            if context is None:
                raise BuildError(
                    "ManageDockerfileFailed",
                    "a Docker build needs spec.source.git, binary or dockerfile",
                )
            dockerfile = read_dockerfile(context, docker.dockerfile_path or "Dockerfile")
        if docker is not None and docker.image_optimization_policy == "SkipLayersAndWarn":
            _warn_of_layers(dockerfile or "", sink)
        images = await self._planner.images(build, dockerfile)
        commit = revision.commit if revision else ""
        objects = await self._inputs_of.versions(build)
        return _Inputs(
            context,
            source,
            revision,
            build.spec.source.dockerfile,
            images,
            inputs_hash(build.spec, commit, images.pins(), objects),
            _stage("FetchInputs", started, self._clock() - started),
        )

    async def _checkout(
        self, build: Build, source: GitSource | None, sink: LogSink
    ) -> Checkout | None:
        """Return the source tree: a commit, or what was uploaded; None: there is none."""
        if source is not None:
            return await self._builder.fetch(build.uid, source, sink)
        upload = await self._planner.upload(build)
        if upload is None:
            return None
        unpacked = await self._builder.unpack(build.uid, upload, sink)
        return Checkout(unpacked.path, _told_revision(build))

    async def _plan(self, build: Build, inputs: _Inputs, push: Reference | None) -> BuildPlan:
        strategy = build.spec.strategy
        docker, source = strategy.docker_strategy, strategy.source_strategy
        base = inputs.images.base
        arguments = docker.build_args if docker else ()
        mirrored = await self._planner.mirrored(build, inputs.images)
        previous = None
        if source is not None and source.incremental:
            previous = await self._planner.previous(build)
        return BuildPlan(
            id=build.uid,
            namespace=build.namespace,
            name=build.name,
            strategy=BuilderStrategy(strategy.type or "Docker"),
            context=inputs.context,
            images={k: v for k, v in mirrored.items() if not k.startswith(SPEC_IMAGE_PREFIX)},
            push=push,
            base_name=inputs.images.base_name,
            base_digest=str(base.digest) if base and base.digest else "",
            dockerfile=inputs.dockerfile,
            dockerfile_path=(docker.dockerfile_path if docker else None) or "Dockerfile",
            env=(*_own_variables(build, inputs), *await self._inputs_of.env(build, strategy.env)),
            build_args=await self._inputs_of.env(build, arguments),
            labels=build_labels(build, inputs.source, inputs.revision),
            annotations={"dev.upwell.build.inputs": inputs.hash},
            scripts_url=(source.scripts if source else None) or "",
            no_cache=bool(docker and docker.no_cache),
            limits=limits_of(build, self._defaults.limits),
            logins=await self._planner.logins(build, inputs.images, push),
            insecure_registries=self._defaults.insecure_registries
            | await self._planner.insecure_registries(inputs.images),
            final_image=mirrored.get(FINAL_IMAGE),
            inputs=await self._inputs_of.files(build),
            volumes=await self._inputs_of.volumes(build),
            source_images=source_images_of(build, mirrored),
            post_commit=post_commit_of(build),
            source=SourceOptions(previous=previous),
            squash=bool(docker and (docker.image_optimization_policy or "None") != "None"),
            force_pull=bool(
                (docker and docker.force_pull)
                or (source and source.force_pull)
                or (strategy.custom_strategy and strategy.custom_strategy.force_pull)
            ),
            proxies=proxies_of(build),
            build_document=_document_of(build, push) if strategy.custom_strategy else "",
            host_network=build.annotations.get(HOST_NETWORK_ANNOTATION) == "true",
            docker_socket=bool(
                strategy.custom_strategy and strategy.custom_strategy.expose_docker_socket
            ),
        )

    async def _existing(self, push: Reference | None) -> Digest | None:
        """Return what the same inputs were built into before, if it is still there."""
        if push is None or push.registry != self._internal.host or push.tag is None:
            return None
        return await self._internal.tag_digest(push.repository, push.tag)

    async def _output_stream(self, build: Build) -> tuple[ImageStream, str] | None:
        """Return the stream and the tag that the build goes to; None when it goes to none.

        Raises BuildError for a stream that does not exist: the result would be lost.
        """
        target = build.spec.output.to
        if target is None or target.kind != IMAGE_STREAM_TAG:
            return None
        name, tag = split_tag(target, build.namespace)
        try:
            return await self._store.get(ImageStream, name.namespace, name.name), tag
        except NotFoundError as error:
            raise BuildError(
                "InvalidOutputReference",
                f"output ImageStream {name.namespace}/{name.name} does not exist: create it",
                retryable=True,
            ) from error

    async def _release(self, build: Build, digest: Digest) -> None:
        """Make the digest the output tag's newest, in the registry and in the stream.

        Both before the Build is Complete: who waits for this build finds its result.
        """
        for _ in range(_WRITE_TRIES):
            output = await self._output_stream(build)
            if output is None:
                return
            stream, tag = output
            path = f"{stream.namespace}/{stream.name}"
            try:
                await self._internal.tag(path, tag, digest)
            except RegistryError as error:
                raise BuildError(
                    "PushImageToRegistryFailed",
                    f"Failed to push the image to the registry. {error}",
                ) from error
            repository = f"{self._internal.host}/{path}"
            status = take_push(stream.status, repository, tag, digest, self._clock())
            try:
                await self._store.update_status(stream.with_status(status))
            except (ConflictError, NotFoundError):
                continue  # written by somebody else, or deleted: read it again
            return
        raise ConflictError(build.key)

    async def _complete(
        self, build: Build, digest: Digest | None, stages: Sequence[BuildStage]
    ) -> None:
        now = self._clock()
        target = build.spec.output.to
        output, where = None, None
        if digest is not None and target is not None:
            output = BuildOutputStatus(to=BuildOutputTo(image_digest=str(digest)))
            where = target.name
            if target.kind == IMAGE_STREAM_TAG:
                stream, tag = split_tag(target, build.namespace)
                where = f"{self._internal.host}/{stream.repository}:{tag}"
        started = build.status.start_timestamp or now
        await self._note(
            build,
            phase=BuildPhase.COMPLETE,
            reason=None,
            message=None,
            retry_time=None,
            completion_timestamp=now,
            duration=int((now - started).total_seconds() * 1_000_000_000),
            output=output,
            output_docker_image_reference=where,
            stages=tuple(stages),
        )
        log.info("build complete", extra={"key": str(build.key), "digest": str(digest)})

    async def _note(self, build: Build, **changes: Any) -> Build:
        """Write these fields of the status."""
        return await write_status(self._store, build, changes)

    def _deadline(self, build: Build) -> float:
        return float(build.spec.completion_deadline_seconds or self._defaults.deadline_seconds)

    def _time_left(self, build: Build) -> float:
        started = build.status.start_timestamp
        used = (self._clock() - started).total_seconds() if started else 0
        return max(self._deadline(build) - used, 0)


async def write_status(store: Store, build: Build, changes: Mapping[str, Any]) -> Build:
    """Write these fields of a build's status over what it is now; an ended build stays as it is.

    Raises StoreError; NotFoundError also when another build has taken the name.
    """
    for _ in range(_WRITE_TRIES):
        current = await store.get(Build, build.namespace, build.name)
        if current.uid != build.uid:
            raise NotFoundError(build.key)  # deleted; another one has its name
        if current.status.phase.is_terminal:
            return current
        status: BuildStatus = current.status.model_copy(update=dict(changes))
        try:
            return await store.update_status(current.with_status(status))
        except ConflictError:
            continue
    raise ConflictError(build.key)


def _stage(name: str, begun: datetime, duration: timedelta) -> BuildStage:
    milliseconds = round(duration.total_seconds() * 1000)
    return BuildStage(name=name, start_time=begun, duration_milliseconds=milliseconds)


def _successive(stages: Mapping[str, float], begun: datetime) -> Iterator[BuildStage]:
    """Yield stages, in seconds, that followed one another."""
    for name, seconds in stages.items():
        duration = timedelta(seconds=seconds)
        yield _stage(name, begun, duration)
        begun += duration


def _replaced(build: Build, inputs: str, made: Digest | None) -> str | None:
    """Return which result of these inputs a forced build does not want; None: it is not forced.

    What its first try found, that is: another one was pushed by a try that was cut off since.
    """
    if not build.spec.forced:
        return None
    known = build.status.replaces
    return known if known is not None and build.status.inputs == inputs else str(made or "")


def _warn_of_layers(dockerfile: str, sink: LogSink) -> None:
    """Write into the build's log what one layer for the whole Dockerfile may change."""
    with suppress(DockerfileError):  # the build fails for it, and says where
        for warning in layer_warnings(dockerfile):
            sink(f"warning: {warning}\n".encode())


def _overdue(build: Build, seconds: float) -> BuildError:
    message = f"build {build.name} took longer than its deadline of {seconds:.0f} s"
    return BuildError("DeadlineExceeded", message)


def _own_variables(build: Build, inputs: _Inputs) -> tuple[tuple[str, str], ...]:
    """Return what OpenShift tells every build about itself."""
    git = build.spec.source.git
    facts = {
        "OPENSHIFT_BUILD_NAME": build.name,
        "OPENSHIFT_BUILD_NAMESPACE": build.namespace,
        "OPENSHIFT_BUILD_SOURCE": inputs.source.uri if inputs.source else "",
        "OPENSHIFT_BUILD_REFERENCE": (git.ref if git else None) or "",
        "OPENSHIFT_BUILD_COMMIT": inputs.revision.commit if inputs.revision else "",
    }
    return tuple((name, value) for name, value in facts.items() if value)


def _document_of(build: Build, push: Reference | None) -> str:
    """Return the Build as a custom builder reads it: its output names the registry's own place."""
    if push is None:
        return encode_json(build)
    to = ObjectReference(kind=DOCKER_IMAGE, name=str(push))
    output = build.spec.output.model_copy(update={"to": to})
    return encode_json(
        build.model_copy(update={"spec": build.spec.model_copy(update={"output": output})})
    )


def _told_revision(build: Build) -> CommitInfo | None:
    """Return the commit that an upload is said to be, as its client told."""
    if build.spec.revision is None or not build.spec.revision.commit:
        return None
    git = build.spec.revision.git
    return CommitInfo(
        commit=git.commit,
        author_name=git.author.name,
        author_email=git.author.email,
        committer_name=git.committer.name,
        committer_email=git.committer.email,
        message=git.message,
    )


def _revision_of(commit: CommitInfo | None) -> SourceRevision | None:
    """Return the revision as a Build's status has it."""
    if commit is None:
        return None
    return SourceRevision.of_git(
        GitSourceRevision(
            commit=commit.commit,
            author=SourceControlUser(name=commit.author_name, email=commit.author_email),
            committer=SourceControlUser(name=commit.committer_name, email=commit.committer_email),
            message=commit.message,
        )
    )
