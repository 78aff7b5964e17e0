"""The Kubernetes adapter: each build in a Pod of its own, which outlives whoever watches it.

The source is fetched here, as its Dockerfile decides what the build is made of, and goes to the Pod
with the plan. The Pod ends with its result in its termination message, and stays until the build is
discarded: so a server that dies finds the Pod again by its plan, and takes the result then.
"""

import asyncio
import hashlib
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from upwell.api.pod import Pod
from upwell.builder.disk.room import BuildRoom, RoomOnDisk
from upwell.builder.interface import (
    BinarySource,
    BuildError,
    BuildPlan,
    BuildResult,
    Checkout,
    WaitSink,
    untold,
)
from upwell.builder.kubernetes.documents import PodInput, encode_plan
from upwell.builder.kubernetes.handover import READY, hand_over
from upwell.builder.kubernetes.log import PodLog
from upwell.builder.kubernetes.manifests import (
    BUILD_LABEL,
    CONTAINER,
    PLAN_ANNOTATION,
    PodSettings,
    build_labels,
    has_cache,
    pod_manifest,
    pod_name,
)
from upwell.builder.kubernetes.pods import BuildPods, HandoverError, PodExistsError
from upwell.builder.kubernetes.states import PodEnded, PodRunning, PodWaiting, state_of
from upwell.builder.sources import BuildSources
from upwell.git.interface import GitSource
from upwell.machine.clock import seconds
from upwell.machine.process import LogSink
from upwell.machine.tasks import side_by_side
from upwell.oci import Digest

_MOST_PODS = 100
"""Of one build at once, those that are on their way out among them."""
_LOG_SECONDS = 10.0
"""Time that the rest of a log has to come after its container has ended."""
_MANAGED = {"app.kubernetes.io/managed-by": "upwell"}


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A Pod and the plan that it carries out."""

    pod: Pod
    plan: BuildPlan
    log: LogSink
    waits: WaitSink


class KubernetesBuilder:
    """Builder in Pods of a cluster."""

    def __init__(
        self, pods: BuildPods, settings: PodSettings, sources: BuildSources, disk: RoomOnDisk
    ) -> None:
        """`disk` counts what sources take on this machine."""
        self._pods = pods
        self._settings = settings
        self._sources = sources
        self._disk = disk
        self._logs: dict[str, PodLog] = {}
        """By the uid of the Pod, so that no line of it is read twice by this process."""
        self._builds: dict[str, dict[str, Pod]] = {}
        """Pods that are not deleted yet, by the build and their uid."""

    async def fetch(self, build_id: str, source: GitSource, log: LogSink) -> Checkout:
        """Clone into the build's folder; raises BuildError."""
        return await self._sources.fetch(build_id, source, log)

    async def unpack(self, build_id: str, source: BinarySource, log: LogSink) -> Checkout:
        """Put uploaded content into the build's folder; raises BuildError."""
        return await self._sources.unpack(build_id, source, log)

    async def build(self, plan: BuildPlan, log: LogSink, waits: WaitSink = untold) -> BuildResult:
        """Build in a Pod, or go on with the one that an earlier call has made for this plan.

        Raises BuildError.
        """
        self._require_possible(plan)
        deadline = asyncio.timeout(plan.deadline_seconds)
        try:
            async with deadline:
                pod = await self._pod_for(plan, log)
                return await self._follow(_Attempt(pod, plan, log, waits))
        except TimeoutError as error:
            if not deadline.expired():
                raise
            message = f"The build took longer than its deadline of {plan.deadline_seconds:g} s."
            raise BuildError("DeadlineExceeded", message) from error

    async def storage_used(self, build_id: str) -> int:
        """Return the bytes that the build's source takes here: the Pod's are its node's affair."""
        folder = self._sources.folder(build_id)
        return await BuildRoom(seconds()).look(self._disk, [folder.path], (), ())

    async def discard(self, build_id: str) -> None:
        """Delete the build's Pods and its folder; idempotent."""
        pods = self._builds.get(build_id, {})
        for uid, pod in tuple(pods.items()):
            await self._pods.delete(pod)
            pods.pop(uid, None)  # not before: one that was not deleted is deleted by the next call
            self._logs.pop(uid, None)
        if not pods:
            self._builds.pop(build_id, None)
        await asyncio.to_thread(self._sources.folder(build_id).remove)

    async def recover(self) -> None:
        """Remove what a killed process has left on this machine, and find the Pods again."""
        await asyncio.to_thread(self._sources.remove_all)
        for pod in await self._pods.find(_MANAGED):
            if build_id := pod.labels.get(BUILD_LABEL):
                self._note(build_id, pod)

    async def close(self) -> None:
        """Remove nothing: what is elsewhere are Pods, which build on and are found again."""

    async def prune(
        self, keep: frozenset[Digest], *, unused_for: timedelta, dry_run: bool = False
    ) -> tuple[str, ...]:
        """Remove nothing: images that a Pod has pulled go with it."""
        del keep, unused_for, dry_run
        return ()

    def _require_possible(self, plan: BuildPlan) -> None:
        if plan.docker_socket or plan.source.volumes:
            message = "a build on a cluster sees no socket, file or folder of its node"
            raise BuildError("GenericBuildFailed", message)
        if plan.host_network and not self._settings.allow_host_network:
            message = (
                "the network of nodes is not allowed to builds: the administrator allows it with"
                " `host-network = true` below `[builds]` in the configuration file"
            )
            raise BuildError("GenericBuildFailed", message)
        for image in (plan.push, *plan.pulled):
            if image is not None and image.registry in self._settings.unreachable:
                message = (
                    f"no Pod reaches {image}: {image.registry} is the server's own loopback. Let"
                    " `upwell serve --listen` name an address that Pods reach, or the build push to"
                    " another registry"
                )
                raise BuildError("GenericBuildFailed", message)

    def _note(self, build_id: str, pod: Pod) -> None:
        self._builds.setdefault(build_id, {})[pod.uid] = pod

    async def _pod_for(self, plan: BuildPlan, log: LogSink) -> Pod:
        """Return the Pod that carries out this plan; others of the build are deleted."""
        plan_hash = _hash_of(plan)
        found = [
            pod
            for pod in await self._pods.find(build_labels(plan.id))
            if pod.namespace == plan.namespace
        ]
        for pod in found:
            self._note(plan.id, pod)
            if not pod.is_deleting and pod.annotations.get(PLAN_ANNOTATION) == plan_hash:
                log(f"Pod {pod.name} of this build is there: its log follows.\n".encode())
                return pod
        for pod in found:
            await self._pods.delete(pod)
        cached = await self._has_cache(plan, log)
        # A Pod on a node that is lost keeps its name until the node is back, or is removed.
        for attempt in range(1, _MOST_PODS + 1):
            name = pod_name(plan.name, attempt)
            manifest = pod_manifest(
                plan, self._settings, name=name, plan_hash=plan_hash, cached=cached
            )
            try:
                pod = await self._pods.create(plan.namespace, manifest)
            except PodExistsError:
                continue
            self._note(plan.id, pod)
            log(f"Created Pod {pod.name}.\n{_of_another_image(pod, self._settings.image)}".encode())
            return pod
        message = f"{_MOST_PODS} Pods of build {plan.name} are there, and are on their way out"
        raise BuildError("BuildPodExists", message, retryable=True)

    async def _has_cache(self, plan: BuildPlan, log: LogSink) -> bool:
        """Return True if the Pod gets the cache of its BuildConfig; the log says why it does not.

        A Pod that names a claim which is not there would wait for it.
        """
        if not has_cache(plan, self._settings):
            return False
        claim = self._settings.cache_claim
        if why := await self._pods.missing_claim(plan.namespace, claim):
            log(f"Warning: this build goes without a cache: {why}\n".encode())
        return not why

    async def _follow(self, attempt: _Attempt) -> BuildResult:
        """Stay with a Pod to its end: read its log, and give it its input when it asks for it."""
        pod_log = self._logs.setdefault(attempt.pod.uid, PodLog(self._pods, attempt.pod))
        begun, over = asyncio.Event(), asyncio.Event()
        async with side_by_side() as group:
            reading = group.create_task(self._read(pod_log, attempt, begun, over))
            end = await self._end_of(attempt, begun)
            over.set()
            if begun.is_set():
                await asyncio.wait([reading], timeout=_LOG_SECONDS)
            reading.cancel()
        if isinstance(end, BuildError):
            raise end
        return end

    async def _end_of(self, attempt: _Attempt, begun: asyncio.Event) -> BuildResult | BuildError:
        """Wait for the end of a Pod's build; set `begun` when its container has a log."""
        said = ""
        async with aclosing(self._pods.watch(attempt.pod)) as changes:
            async for pod in changes:
                match state_of(pod):
                    case PodEnded(end):
                        if said:
                            await attempt.waits("")
                        if pod is not None and pod.status.container_statuses:
                            begun.set()
                        return end
                    case PodRunning():
                        begun.set()
                        if said:
                            said = ""
                            await attempt.waits("")
                    case PodWaiting(why) if why and why != said:
                        said = why
                        waiting = f"Pod {attempt.pod.name} waits: {why}"
                        attempt.log(f"{waiting}\n".encode())
                        await attempt.waits(waiting)
        raise AssertionError("a watch ends by an error alone")

    async def _read(
        self, pod_log: PodLog, attempt: _Attempt, begun: asyncio.Event, over: asyncio.Event
    ) -> None:
        """Put the log of a Pod into the build's, and give the Pod its input when it asks for it.

        While that log cannot be read, the build waits: nothing else tells that the Pod is ready.
        """
        name, given = attempt.pod.name, False

        async def unreadable(why: str) -> None:
            words = f"the log of Pod {name} cannot be read: {why}" if why else ""
            if words:
                attempt.log(f"Warning: {words}\n".encode())
            if not given:
                await attempt.waits(f"{words}; by it the Pod asks for its input" if words else "")

        await begun.wait()
        async for line in pod_log.lines(over, unreadable):
            if line.rstrip(b"\n") == READY and not over.is_set():
                await self._hand_over(attempt, over)
                given = True
            else:
                attempt.log(line)

    async def _hand_over(self, attempt: _Attempt, over: asyncio.Event) -> None:
        """Give a Pod its input; one that ended meanwhile needs none, and says why."""
        words = ("upwell", "build-pod", "receive")
        folder = self._sources.folder(attempt.plan.id)
        folder.create()
        try:
            async with self._pods.command(attempt.pod, CONTAINER, words) as channel:
                given = PodInput(attempt.plan, self._settings.registries)
                await hand_over(channel, given, folder.path)
        except HandoverError as error:
            if not over.is_set():
                message = f"Pod {attempt.pod.name} did not take the input of its build: {error}"
                raise BuildError("FetchSourceFailed", message, retryable=True) from error


def _of_another_image(pod: Pod, wanted: str) -> str:
    """Return a line about an image that admission has put into a Pod; empty: it is as wanted."""
    images = [one.image for one in pod.spec.containers if one.name == CONTAINER]
    if images == [wanted]:
        return ""
    there = images[0] if images else "no container of ours"
    return f"Warning: the cluster made it with {there} in place of {wanted}: ask who admits Pods.\n"


def _hash_of(plan: BuildPlan) -> str:
    """Return what a plan is known by again.

    Logins are made anew each time, and the source lies elsewhere: the hash of a Build's inputs,
    which is among its image's annotations, says what is in it.
    """
    same = replace(plan, logins=(), context=Path() if plan.context is not None else None)
    return hashlib.sha256(encode_plan(same)).hexdigest()
