"""One build from its source to its ImageStream tag: plan it once, then carry the plan out.

Every step writes down what it found before the next begins. A killed run that comes again takes
the commit and the digests of the first, finds the pushed image by its inputs, and ends the same.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from upwell.api.builds.build import (
    Build,
    BuildOutputStatus,
    BuildOutputTo,
    BuildPhase,
    BuildStage,
    BuildStatus,
)
from upwell.api.builds.inputs import SourceRevision
from upwell.builder.context import read_dockerfile
from upwell.builder.interface import (
    Builder,
    BuildError,
    BuildLogs,
    BuildPlan,
    Checkout,
)
from upwell.formats.dockerfile.layers import layer_warnings
from upwell.formats.dockerfile.lines import DockerfileError
from upwell.git.interface import GitSource
from upwell.machine.process import LogSink
from upwell.oci import Digest, Reference
from upwell.policy.builds.failures import BuildTimeoutError, completion_time, waiting_status
from upwell.policy.builds.input_analysis import MissingInput
from upwell.policy.builds.plan import (
    FetchedSource,
    ImagePull,
    ResolvedInputs,
    declared_commit,
    plan_build,
    with_copies,
)
from upwell.reconcilers.builds.mirror import ImageMirror
from upwell.reconcilers.builds.output import BuildOutputs
from upwell.reconcilers.builds.planner import BuildPlanner, pull_error
from upwell.reconcilers.builds.rebases import BuildRebases
from upwell.reconcilers.builds.room import LimitRoom, unlimited
from upwell.registry.errors import RegistryError
from upwell.store.interface import NotFoundError, Store
from upwell.store.retry import update_with_retry

log = logging.getLogger(__name__)


class BuildRun:
    """Runs builds to their end, one call each; raises BuildError when one fails."""

    def __init__(  # noqa: PLR0913 - the ports, and what keeps a build within its limits
        self,
        store: Store,
        builder: Builder,
        logs: BuildLogs,
        mirror: ImageMirror,
        planner: BuildPlanner,
        outputs: BuildOutputs,
        *,
        rebases: BuildRebases | None = None,
        clock: Callable[[], datetime],
        limit_room: LimitRoom = unlimited,
    ) -> None:
        self._store = store
        self._builder = builder
        self._logs = logs
        self._mirror = mirror
        self._planner = planner
        self._outputs = outputs
        self._rebases = rebases
        self._clock = clock
        self._limit_room = limit_room

    async def missing_input(self, build: Build) -> MissingInput | None:
        """Say what must be created before `build` can run; None: nothing."""
        return await self._planner.missing_input(build)

    async def run(self, build: Build) -> None:
        """Build, push, tag, and record the result; raises BuildError."""
        sink = self._logs.sink(build.uid)
        seconds = self._planner.defaults.deadline(build)
        # Of each attempt anew, by the loop's monotonic time: whoever sets the clock ends no build.
        deadline, waiting = asyncio.timeout(seconds), _Waiting(self._store, build)
        try:
            async with deadline, self._limit_room(build):
                digest, made = await self._run(build, sink, waiting)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise BuildTimeoutError(build.name, seconds or 0, waiting.why) from error
        # What is left is bounded by itself: a registry that hangs fails no build that is made.
        await self._logs.keep(build.uid, build.namespace)
        await write_status(self._store, build, made)
        log.info("build complete", extra={"key": str(build.key), "digest": str(digest)})

    async def _run(
        self, build: Build, sink: LogSink, waiting: "_Waiting"
    ) -> tuple[Digest | None, Mapping[str, Any]]:
        """Build, push and tag; return the image and the fields of the status that say so."""
        await self._outputs.stream(build)
        stages: list[BuildStage] = []
        began = monotonic()
        with self._timed(stages, "FetchInputs"):
            source = await self._fetch(build, sink)
            inputs = await self._planner.resolve(build, source)
        began_before = build.status.inputs == inputs.hash
        for warning in inputs.warnings:
            sink(f"warning: {warning}\n".encode())
        build = await self._record(build, inputs)
        digest = inputs.reusable
        if digest is None:
            plan = plan_build(build, inputs, self._planner.defaults)
            with self._timed(stages, "MirrorImages"):
                plan = with_copies(plan, await self._mirrored(inputs.pulls, plan.namespace))
            if self._rebases is not None and build.spec.on_base_change is not None:
                build, digest = await self._rebase(build, inputs, plan, stages, sink)
            if digest is None:
                digest = await self._carry_out(build, plan, stages, sink, waiting)
        else:
            sink(f"These inputs were built before: {digest} is used.\n".encode())
        if digest is not None:
            if _is_own(build) and (inputs.reusable is None or began_before):
                await self._sign_pushed(build, digest, sink)
            await self._outputs.release(build, digest)
        took = timedelta(seconds=monotonic() - began)
        return digest, self._completion(build, digest, stages, took)

    async def _sign_pushed(self, build: Build, digest: Digest, sink: LogSink) -> None:
        """Sign what this build has made; an earlier try of it, where it was killed."""
        if why := await self._outputs.sign(build, digest):
            sink(f"warning: the image is not signed yet: {why}; it is tried again\n".encode())

    @contextmanager
    def _timed(self, stages: list[BuildStage], name: str) -> Iterator[None]:
        """Add the stage that the block is; how long it took has nothing to do with the clock."""
        begun, start = self._clock(), monotonic()
        yield
        stages.append(_stage(name, begun, timedelta(seconds=monotonic() - start)))

    async def _fetch(self, build: Build, sink: LogSink) -> FetchedSource:
        """Get the source of the build, and the Dockerfile that a Docker build needs of it."""
        git = await self._planner.git_source(build)
        checkout = await self._checkout(build, git, sink)
        docker, dockerfile = build.spec.strategy.docker_strategy, build.spec.source.dockerfile
        if docker is not None and dockerfile is None:
            if checkout is None:
                raise BuildError(
                    "ManageDockerfileFailed",
                    "a Docker build needs spec.source.git, binary or dockerfile",
                )
            dockerfile = read_dockerfile(checkout.path, docker.dockerfile_path or "Dockerfile")
        if docker is not None and docker.image_optimization_policy == "SkipLayersAndWarn":
            _warn_of_layers(dockerfile or "", sink)
        return FetchedSource(git, checkout, dockerfile)

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
        return Checkout(unpacked.path, declared_commit(build))

    async def _record(self, build: Build, inputs: ResolvedInputs) -> Build:
        """Name what the build works with, before anything of it is pulled or made."""
        changes = {
            "phase": BuildPhase.RUNNING,
            "images": inputs.images.resolved,
            "revision": inputs.revision,
            "inputs": inputs.hash,
            "replaces": inputs.replaces,
        }
        if inputs.revision is not None:
            await _write_revision(self._store, build, inputs.revision)
        return await write_status(self._store, build, changes)

    async def _rebase(
        self,
        build: Build,
        inputs: ResolvedInputs,
        plan: BuildPlan,
        stages: list[BuildStage],
        sink: LogSink,
    ) -> tuple[Build, Digest | None]:
        """Put the last image on its new base, if that is safe; None: it is to be built.

        What is decided stands in the status before anything is pushed.
        """
        rebases = self._rebases
        if rebases is None:
            return build, None
        with self._timed(stages, "Rebase"):
            prepared = await rebases.prepare(build, inputs, plan, await self._outputs.tagged(build))
        build = await write_status(self._store, build, {"rebase": prepared.outcome})
        for line in prepared.lines:
            sink(f"{line}\n".encode())
        if prepared.compared is None:
            rebases.require_build(build, prepared.outcome)
            sink(b"The image is built on its new base.\n")
            return build, None
        with self._timed(stages, "PushImage"):
            return build, await rebases.write(build, prepared, sink)

    async def _carry_out(
        self,
        build: Build,
        plan: BuildPlan,
        stages: list[BuildStage],
        sink: LogSink,
        waiting: "_Waiting",
    ) -> Digest | None:
        """Build and push; add how long each stage took to `stages`."""
        begun = self._clock()
        # The login knows what the build is made of, and ends with it.
        with self._planner.registry_login(plan) as login:
            logins = plan.logins if login is None else (login, *plan.logins)
            result = await self._builder.build(replace(plan, logins=logins), sink, waiting.tell)
        await self._planner.require_pushed(build, plan, result.digest)
        stages += _successive(result.stages, begun)
        return result.digest

    async def _mirrored(
        self, pulls: Sequence[ImagePull], namespace: str
    ) -> dict[Reference, Reference]:
        """Return the internal copies of images, each made if it is not there."""
        try:
            return {
                pull.reference: await self._mirror.fetch(pull.reference, pull.access, namespace)
                for pull in pulls
            }
        except RegistryError as error:
            raise pull_error(error) from error

    def _completion(
        self, build: Build, digest: Digest | None, stages: Sequence[BuildStage], took: timedelta
    ) -> Mapping[str, Any]:
        output, where = None, None
        if digest is not None and build.spec.output.to is not None:
            output = BuildOutputStatus(to=BuildOutputTo(image_digest=str(digest)))
            where = self._outputs.pull_spec(build)
        return {
            "phase": BuildPhase.COMPLETE,
            "reason": None,
            "message": None,
            "retry_time": None,
            "completion_timestamp": completion_time(build, self._clock()),
            "duration": took // timedelta(microseconds=1) * 1000,
            "output": output,
            "output_docker_image_reference": where,
            "stages": tuple(stages),
        }


class _Waiting:
    """Word of what an attempt waits for before it begins, in the status of its build."""

    def __init__(self, store: Store, build: Build) -> None:
        self._store = store
        self._build = build
        self.why = ""

    async def tell(self, why: str) -> None:
        """Write what it waits for; empty: it goes on."""
        self.why = why
        await write_status(self._store, self._build, waiting_status(why))


async def write_status(store: Store, build: Build, changes: Mapping[str, Any]) -> Build:
    """Write these fields of a build's status over what it is now; an ended build stays as it is.

    Raises StoreError; NotFoundError also when another build has taken the name.
    """

    async def changed() -> Build:
        current = await _current(store, build)
        if current.status.phase.is_terminal:
            return current
        # A cluster creates a Build without a status, and shows the phase that was written.
        whole = {"phase": current.status.phase, **changes}
        status: BuildStatus = current.status.model_copy(update=whole)
        return current.with_status(status)

    return await update_with_retry(changed, store.update_status)


async def _write_revision(store: Store, build: Build, revision: SourceRevision) -> None:
    """Write the fetched commit into a build's spec, where OpenShift's clients look for it.

    One that was declared before stays as it is.
    """

    async def changed() -> Build | None:
        current = await _current(store, build)
        if current.status.phase.is_terminal or current.spec.revision is not None:
            return None
        spec = current.spec.model_copy(update={"revision": revision})
        return current.model_copy(update={"spec": spec})

    async def write(changed: Build | None) -> None:
        if changed is not None:
            await store.update(changed)

    await update_with_retry(changed, write)


async def _current(store: Store, build: Build) -> Build:
    """Return the build as it is stored; raises NotFoundError if another one has its name."""
    current = await store.get(Build, build.namespace, build.name)
    if current.uid != build.uid:
        raise NotFoundError(build.key)
    return current


def _is_own(build: Build) -> bool:
    """Return False for a custom build: what its image has pushed, nobody here has seen made."""
    return build.spec.strategy.custom_strategy is None


def _stage(name: str, begun: datetime, duration: timedelta) -> BuildStage:
    milliseconds = round(duration.total_seconds() * 1000)
    return BuildStage(name=name, start_time=begun, duration_milliseconds=milliseconds)


def _successive(stages: Mapping[str, float], begun: datetime) -> Iterator[BuildStage]:
    """Yield stages, in seconds, that followed one another."""
    for name, seconds in stages.items():
        duration = timedelta(seconds=seconds)
        yield _stage(name, begun, duration)
        begun += duration


def _warn_of_layers(dockerfile: str, sink: LogSink) -> None:
    """Write into the build's log what one layer for the whole Dockerfile may change."""
    with suppress(DockerfileError):  # the build fails for it, and says where
        for warning in layer_warnings(dockerfile):
            sink(f"warning: {warning}\n".encode())
