"""Composes builds in Pods: the Kubernetes API as builders of Pods need it, and the builder."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from upwell.api.codec import decode_as
from upwell.api.meta import ObjectMeta
from upwell.api.pod import Pod
from upwell.api.storage import PersistentVolumeClaim
from upwell.builder.archive import ArchiveLimits
from upwell.builder.disk.room import RoomOnDisk
from upwell.builder.interface import POD_REFUSED, BuildError
from upwell.builder.kubernetes.builder import KubernetesBuilder
from upwell.builder.kubernetes.manifests import PodSettings
from upwell.builder.kubernetes.pods import HandoverError, LogInterruptedError, PodExistsError
from upwell.builder.sources import BuildSources
from upwell.cluster.errors import is_of_admission
from upwell.git.client import GitClient
from upwell.git.commands import GitProgram
from upwell.git.interface import GitLimits
from upwell.machine.process import SYSTEM_PATH, Launcher
from upwell.outbound.dialing import Dialer
from upwell.store.interface import (
    AlreadyExistsError,
    Change,
    Conversation,
    ExpiredError,
    MissingPathError,
    NotFoundError,
    RejectedError,
    Selector,
    StoreError,
    UnavailableError,
    WriteRequest,
)
from upwell.store.kubernetes import KubernetesStore

_PROTOCOL = "v4.channel.k8s.io"
"""Of commands in Pods: every API server speaks it; a later one can end an input too."""
_STDIN, _STDOUT, _STDERR, _STATUS = (bytes([channel]) for channel in range(4))
_LOST = "Lost"
"""Phase of a claim whose volume is gone (core/v1 PersistentVolumeClaimPhase)."""
_MOST_LINE = 64 * 1024
_MOST_SAID = 4096


class ClusterBuildPods:
    """Implements BuildPods over the API of a cluster, in `namespaces`; none: in all."""

    def __init__(self, store: KubernetesStore, namespaces: Sequence[str] = ()) -> None:
        self._store = store
        self._namespaces = tuple(namespaces) or ("",)

    async def find(self, labels: Mapping[str, str]) -> Sequence[Pod]:
        """Return the Pods with these labels."""
        return [
            pod
            for namespace in self._namespaces
            for pod in (await self._store.list(Pod, Selector(namespace, dict(labels)))).items
        ]

    async def create(self, namespace: str, manifest: Mapping[str, Any]) -> Pod:
        """Create a Pod; raises PodExistsError or BuildError CannotCreateBuildPod."""
        named = Pod(metadata=ObjectMeta(name=manifest["metadata"]["name"], namespace=namespace))
        try:
            document, _ = await self._store.write("POST", named, manifest, WriteRequest())
        except AlreadyExistsError as error:
            raise PodExistsError(str(error)) from error
        except StoreError as error:
            if isinstance(error, UnavailableError) and not is_of_admission(error):
                raise  # of the API server alone: nothing is wrong with the build
            # A quota, a right or a webhook: somebody may change it, and the build says what it is.
            raise BuildError(POD_REFUSED, str(error), retryable=True) from error
        return decode_as(Pod, document)

    async def missing_claim(self, namespace: str, name: str) -> str:
        """Return why a PersistentVolumeClaim cannot be used; empty: it is there."""
        try:
            claim = await self._store.get(PersistentVolumeClaim, namespace, name)
        except UnavailableError:
            raise  # of the API server alone
        except NotFoundError:
            return f"namespace {namespace} has no PersistentVolumeClaim {name}"
        except StoreError as error:
            return str(error)
        if claim.is_deleting or claim.status.phase == _LOST:
            state = "is being deleted" if claim.is_deleting else "has lost its volume"
            return f"PersistentVolumeClaim {namespace}/{name} {state}"
        return ""

    async def watch(self, pod: Pod) -> AsyncGenerator[Pod | None]:
        """Yield what a Pod is now, then each change of it; None: it is gone."""
        chosen = Selector(pod.namespace, name=pod.name)
        while True:
            listing = await self._store.list(Pod, chosen)
            now = next((one for one in listing.items if one.uid == pod.uid), None)
            yield now
            if now is None:
                return
            changes = self._store.watch(Pod, chosen, since=listing.resource_version)
            with suppress(ExpiredError):
                async with aclosing(changes) as events:
                    async for event in events:
                        if event.resource.uid == pod.uid:
                            yield None if event.change is Change.DELETED else event.resource

    async def log(self, pod: Pod, container: str, since: str) -> AsyncGenerator[bytes]:
        """Yield the log, each line with its time before it; raises LogInterruptedError."""
        params = {"container": container, "follow": "true", "timestamps": "true"}
        if since:
            params["sinceTime"] = since
        stream = self._store.stream(Pod, pod.namespace, pod.name, "log", params)
        try:
            async with aclosing(stream) as chunks:
                async for chunk in chunks:
                    yield chunk
        except StoreError as error:
            raise LogInterruptedError(str(error)) from error

    @asynccontextmanager
    async def command(
        self, pod: Pod, container: str, words: Sequence[str]
    ) -> AsyncIterator["_CommandChannel"]:
        """Run a command in a Pod for the block; raises HandoverError."""
        params = [
            *(("command", word) for word in words),
            ("container", container),
            *((stream, "true") for stream in ("stdin", "stdout", "stderr")),
        ]
        where = (Pod, pod.namespace, pod.name, "exec")
        try:
            async with self._store.converse(*where, params, _PROTOCOL) as conversation:
                yield _CommandChannel(conversation)
        except StoreError as error:
            raise HandoverError(str(error)) from error

    async def delete(self, pod: Pod) -> None:
        """Delete a Pod, and no other of its name; idempotent."""
        options = {"preconditions": {"uid": pod.uid}, "propagationPolicy": "Background"}
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"
        try:
            await self._store.send_raw("DELETE", path, options)
        except MissingPathError:
            return
        except RejectedError:
            # The precondition may have failed: then the Pod is gone, and its name is another's.
            with suppress(NotFoundError):
                if (await self._store.get(Pod, pod.namespace, pod.name)).uid == pod.uid:
                    raise


class _CommandChannel:
    """Implements PodChannel over the channels of a WebSocket, of which the first byte tells."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._messages = conversation.messages()
        self._lines = bytearray()
        self._said = bytearray()

    async def send(self, content: bytes) -> None:
        """Send to the command."""
        await self._conversation.send(_STDIN + content)

    async def line(self) -> str:
        """Return the next line of its output; raises HandoverError where it ends without one."""
        while b"\n" not in self._lines:
            message = await anext(self._messages, None)
            if message is None or len(self._lines) > _MOST_LINE:
                raise HandoverError(self._why(b""))
            channel, piece = message[:1], message[1:]
            if channel == _STDOUT:
                self._lines += piece
            elif channel == _STDERR:
                self._said += piece[:_MOST_SAID]
            elif channel == _STATUS:
                raise HandoverError(self._why(piece))
        line, _, rest = bytes(self._lines).partition(b"\n")
        self._lines = bytearray(rest)
        return line.decode("utf-8", "replace")

    def _why(self, status: bytes) -> str:
        """Return why the command ended: what it said, or else the Status of its end (meta/v1)."""
        if said := self._said.decode("utf-8", "replace").strip():
            return said
        with suppress(ValueError, AttributeError):
            return str(json.loads(status).get("message") or "the command ended")
        return "the command ended"


def cluster_builder(
    store: KubernetesStore,
    settings: PodSettings,
    folder: Path,
    namespaces: Sequence[str] = (),
    dialer: Dialer | None = None,
) -> KubernetesBuilder:
    """Return the builder in Pods; sources lie below `folder` until they are handed over.

    `dialer` connects to the repositories that objects name.
    """
    launcher = Launcher(str(folder.resolve()))
    program = GitProgram(launcher, {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8"}, dialer=dialer)
    git = GitClient(program, GitLimits(), folder.resolve() / "git")
    sources = BuildSources(folder.resolve() / "builds", git, ArchiveLimits())
    disk = RoomOnDisk(launcher, SYSTEM_PATH)
    return KubernetesBuilder(ClusterBuildPods(store, namespaces), settings, sources, disk)
