"""Pods in memory: the process of each is a task of the test, with a builder of the test's."""

import asyncio
import json
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from upwell.api.codec import decode_as
from upwell.api.pod import Pod, PodStatus
from upwell.builder.kubernetes.pods import (
    HandoverError,
    LogInterruptedError,
    PodChannel,
    PodExistsError,
)
from upwell.builder.kubernetes.worker import PodBuild, PodBuilder, PodFolders

NODE = "node-1"


@dataclass
class RunningPod:
    """A Pod, what it has logged, and the task that it is."""

    pod: Pod
    manifest: Mapping[str, Any]
    folders: PodFolders
    changed: asyncio.Condition
    log: list[bytes] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    is_gone: bool = False

    async def set(self, status: Mapping[str, Any], **metadata: object) -> None:
        """Change the status, and metadata."""
        async with self.changed:
            self.pod = self.pod.with_metadata(**metadata).model_copy(
                update={"status": pod_status(status)}
            )
            self.changed.notify_all()


def pod_status(status: Mapping[str, object]) -> PodStatus:
    """Return a status as an API server's JSON has it."""
    return PodStatus.model_validate_json(json.dumps(status))


def container_status(phase: str, **state: object) -> dict[str, object]:
    """Return the status of a Pod whose container is in this state."""
    container = {"name": "build", "image": "upwell", "state": state}
    return {"phase": phase, "containerStatuses": [container]}


class MemoryPods:
    """Implements BuildPods. The Pods outlive whoever made them, until they are deleted."""

    def __init__(self, builder: Callable[[PodFolders], PodBuilder]) -> None:
        # Not in pytest's folders: a path of a socket has 107 bytes at most.
        self._temporary = tempfile.TemporaryDirectory(prefix="pods-")
        self._folder = Path(self._temporary.name)
        self._builder = builder
        self._numbers = count(1)
        self.pods: list[RunningPod] = []
        self.refusal: Exception | None = None
        self.image_instead = ""
        """Put into new Pods, as by an admission webhook."""
        self.starts = True
        """False: Pods wait for a node."""
        self.claims: set[str] = set()
        """PersistentVolumeClaims, as NAMESPACE/NAME."""
        self.cut_logs = 0
        """So many streams of logs break off after their first line."""
        self.log_refusal = ""
        """Words by which logs are refused; empty: they are read."""
        self.log_requests = 0

    @property
    def present(self) -> list[RunningPod]:
        return [one for one in self.pods if not one.is_gone]

    async def find(self, labels: Mapping[str, str]) -> Sequence[Pod]:
        return [one.pod for one in self.present if labels.items() <= one.pod.labels.items()]

    async def create(self, namespace: str, manifest: Mapping[str, Any]) -> Pod:
        if self.refusal is not None:
            raise self.refusal
        name = str(manifest["metadata"]["name"])
        if any((one.pod.namespace, one.pod.name) == (namespace, name) for one in self.present):
            raise PodExistsError(name)
        number = next(self._numbers)
        folder = self._folder / str(number)
        folder.mkdir(parents=True)
        meta = {**manifest["metadata"], "uid": f"pod-{number}"}
        [container] = manifest["spec"]["containers"]
        image = self.image_instead or container["image"]
        spec = {"containers": [{"name": container["name"], "image": image}]}
        pod = decode_as(Pod, {"metadata": meta, "spec": spec, "status": {"phase": "Pending"}})
        folders = PodFolders(folder, folder, folder / "message")
        running = RunningPod(pod, manifest, folders, asyncio.Condition())
        self.pods.append(running)
        if self.starts:
            running.task = asyncio.create_task(self._run(running))
        return pod

    async def _run(self, running: RunningPod) -> None:
        def log(content: bytes) -> None:
            for line in content.splitlines():
                stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
                running.log.append(f"{stamp}{len(running.log):03}Z ".encode() + line)

        await running.set(container_status("Running", running={}))
        builder = self._builder(running.folders)
        try:
            code = await PodBuild(running.folders, builder, log).run()
        except Exception as error:  # noqa: BLE001 - as a container whose process fails
            running.folders.message.write_text(repr(error))
            code = 1
        ended = {
            "exitCode": code,
            "reason": "Completed" if code == 0 else "Error",
            "message": running.folders.message.read_text(),
        }
        phase = "Failed" if code else "Succeeded"
        await running.set(container_status(phase, terminated=ended))

    def _of(self, pod: Pod) -> RunningPod:
        return next(one for one in self.pods if one.pod.uid == pod.uid)

    async def missing_claim(self, namespace: str, name: str) -> str:
        there = f"{namespace}/{name}" in self.claims
        return "" if there else f"namespace {namespace} has no PersistentVolumeClaim {name}"

    async def watch(self, pod: Pod) -> AsyncGenerator[Pod | None]:
        running = self._of(pod)
        while True:
            seen = running.pod
            yield None if running.is_gone else seen
            async with running.changed:
                while running.pod is seen and not running.is_gone:
                    await running.changed.wait()

    async def log(self, pod: Pod, container: str, since: str) -> AsyncGenerator[bytes]:
        assert container == "build"
        self.log_requests += 1
        if self.log_refusal:
            raise LogInterruptedError(self.log_refusal)
        running, at = self._of(pod), 0
        whole = since.partition(".")[0]
        while True:
            for line in running.log[at:]:
                at += 1
                if line[: len(whole)].decode() < whole:
                    continue
                yield line + b"\n"
                if self.cut_logs:
                    self.cut_logs -= 1
                    raise LogInterruptedError("cut")
            if running.task is None or running.task.done() or running.is_gone:
                return
            await asyncio.sleep(0.005)

    @asynccontextmanager
    async def command(
        self, pod: Pod, container: str, words: Sequence[str]
    ) -> AsyncIterator[PodChannel]:
        assert (container, *words) == ("build", "upwell", "build-pod", "receive")
        try:
            streams = await asyncio.open_unix_connection(self._of(pod).folders.input / "input.sock")
        except OSError as error:
            raise HandoverError(str(error)) from error
        try:
            yield SocketChannel(*streams)
        finally:
            streams[1].close()

    async def delete(self, pod: Pod) -> None:
        running = self._of(pod)
        if running.task is not None:
            running.task.cancel()
            with suppress(asyncio.CancelledError):
                await running.task
        async with running.changed:
            running.is_gone = True
            running.changed.notify_all()

    async def close(self) -> None:
        for one in self.present:
            await self.delete(one.pod)
        self._temporary.cleanup()


class SocketChannel:
    """Implements PodChannel over the socket that a Pod's command would join."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, content: bytes) -> None:
        self._writer.write(content)
        await self._writer.drain()

    async def line(self) -> str:
        return (await self._reader.readline()).decode().rstrip("\n")
