"""A Pod of a person's own, from its start to its end: watched, attached to, and removed."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from upwell.api.pod import ContainerStatus, Pod
from upwell.cli.builds.logs import write_log
from upwell.cli.core.connection import cancel_at_end
from upwell.cli.core.durations import within
from upwell.cli.core.terminal import echo
from upwell.cli.core.waiting import until
from upwell.cli.workloads.conversations import Place, interact
from upwell.store.interface import ApiClient, NotFoundError, StoreError

_ENDED = {"Succeeded", "Failed"}
_FAULTS = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "CreateContainerError",
    "CreateContainerConfigError",
    "RunContainerError",
}


@asynccontextmanager
async def removed_at_the_end(
    client: ApiClient, pod: Pod, *, quiet: bool, done: str = ""
) -> AsyncIterator[None]:
    """Delete a Pod when the block ends, also by Ctrl-C or when the terminal is closed."""
    cancel_at_end()
    try:
        yield
    finally:
        await _delete(client, pod, quiet=quiet, done=done)


async def _delete(client: ApiClient, pod: Pod, *, quiet: bool, done: str) -> None:
    if not quiet and not done:
        echo("\nRemoving debug pod ...", err=True)
    try:
        with suppress(NotFoundError):
            await client.delete(Pod, pod.namespace, pod.name)
    except StoreError as error:
        echo(f"error: unable to delete the pod {pod.name!r}: {error}", err=True)
    else:
        if done and not quiet:
            echo(done)


async def started(
    client: ApiClient, pod: Pod, container: str, seconds: float, *, quiet: bool
) -> Pod:
    """Return the Pod once the container runs or has ended; what keeps it is printed.

    Raises CommandError after the time limit.
    """
    last = [""]

    def report(state: Pod) -> None:
        status = _status(state, container)
        waiting = status.state.waiting if status is not None else None
        told = waiting.message or waiting.reason if waiting and waiting.reason in _FAULTS else ""
        if status is None or status.state.terminated is None:  # else it tells how it has ended
            told = told or state.status.message
        if told and told != last[0] and not quiet:
            last[0] = told
            echo(f"warning: container {container} is unable to start: {told}", err=True)

    async with within(seconds, f"pod/{pod.name} has not started"):
        return await until(client, pod, lambda state: _has_begun(state, container), changed=report)


def _has_begun(pod: Pod, container: str) -> bool:
    status = _status(pod, container)
    if pod.status.phase in _ENDED:
        return True
    return status is not None and bool(status.state.running or status.state.terminated)


def _status(pod: Pod, container: str) -> ContainerStatus | None:
    among = (*pod.status.init_container_statuses, *pod.status.container_statuses)
    return next((status for status in among if status.name == container), None)


def end_code(pod: Pod, container: str) -> int:
    """Return the exit code of a container that has ended."""
    status = _status(pod, container)
    if status is not None and status.state.terminated is not None:
        return status.state.terminated.exit_code
    return 0 if pod.status.phase == "Succeeded" else 1


def has_ended(pod: Pod, container: str) -> bool:
    """Return whether a container has ended for good, in a Pod that starts none again."""
    status = _status(pod, container)
    return pod.status.phase in _ENDED or (
        status is not None and status.state.terminated is not None
    )


async def follow(client: ApiClient, pod: Pod, container: str) -> int:
    """Print what a container writes until it has ended; return its exit code."""
    await write_log(client, pod, {"follow": "true", "container": container})
    ended = await until(client, pod, lambda state: has_ended(state, container))
    return end_code(ended, container)


async def attach(
    client: ApiClient, pod: Pod, container: str, *, stdin: bool, tty: bool, quiet: bool = False
) -> int:
    """Lead this terminal to a container's own process; return its exit code."""
    if has_ended(pod, container):
        await write_log(client, pod, {"container": container})
        return end_code(pod, container)
    if stdin and not quiet and sys.stdin.isatty():
        echo("If you don't see a command prompt, try pressing enter.", err=True)
    place = Place(Pod, pod.namespace, pod.name, container)
    async with place.attach(client, stdin=stdin, tty=tty) as conversation:
        return await interact(conversation, stdin=stdin, tty=tty)
