"""Reach into a cluster that builds in Pods need: Pods, their logs, and a way to their input."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from upwell.api.pod import Pod


class PodExistsError(Exception):
    """The namespace has a Pod of this name."""


class LogInterruptedError(Exception):
    """The log of a Pod broke off, or cannot be had now: ask again."""


class HandoverError(Exception):
    """A Pod did not take its input: the way to it broke, or the program there failed."""


class PodChannel(Protocol):
    """Standard input and output of a command in a Pod; raises HandoverError when it breaks."""

    async def send(self, content: bytes) -> None:
        """Send to the command; returns when there is room for more."""
        ...

    async def line(self) -> str:
        """Return the next line of its output, without the line break."""
        ...


class BuildPods(Protocol):
    """Pods of one cluster. Faults of its API are raised as they are, but for those named here."""

    async def find(self, labels: Mapping[str, str]) -> Sequence[Pod]:
        """Return the Pods with these labels, in every namespace that is ours to look into."""
        ...

    async def create(self, namespace: str, manifest: Mapping[str, Any]) -> Pod:
        """Create a Pod.

        Raises PodExistsError, or BuildError CannotCreateBuildPod with what the cluster says.
        """
        ...

    async def missing_claim(self, namespace: str, name: str) -> str:
        """Return why a PersistentVolumeClaim cannot be used; empty: it is there."""
        ...

    def watch(self, pod: Pod) -> AsyncGenerator[Pod | None]:
        """Yield what a Pod is now, then each change of it, for ever; None: it is gone."""
        ...

    def log(self, pod: Pod, container: str, since: str) -> AsyncGenerator[bytes]:
        """Yield the log, each line with its time before it, as it comes and until it ends.

        `since` is a time of RFC 3339: no line before its second is sent. Raises
        LogInterruptedError.
        """
        ...

    def command(
        self, pod: Pod, container: str, words: Sequence[str]
    ) -> AbstractAsyncContextManager[PodChannel]:
        """Run a command in a Pod for the block; raises HandoverError."""
        ...

    async def delete(self, pod: Pod) -> None:
        """Delete a Pod, and no other of its name; idempotent. Does not wait until it is gone."""
        ...
