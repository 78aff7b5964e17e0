"""Log of a Pod's container, read once: a stream that breaks off goes on after its last line."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress

from upwell.api.pod import Pod
from upwell.builder.interface import WaitSink
from upwell.builder.kubernetes.manifests import CONTAINER
from upwell.builder.kubernetes.pods import BuildPods, LogInterruptedError
from upwell.machine.backoff import Backoff

_PAUSE, _LONGEST_PAUSE = 1.0, 10.0
"""Seconds before a log that broke off is asked for again."""
_TOLD_AFTER = 2
"""Failures in a row, without a line between them, after which a log counts as unreadable."""


class PodLog:
    """Log of the build in a Pod; it knows which line it has read last."""

    def __init__(self, pods: BuildPods, pod: Pod) -> None:
        self._pods = pods
        self._pod = pod
        self._last = ""
        """Time of the last line that was read, as the kubelet writes it."""
        self._backoff = Backoff(_PAUSE, _LONGEST_PAUSE)

    async def lines(self, over: asyncio.Event, unreadable: WaitSink) -> AsyncIterator[bytes]:
        """Yield the lines that were not read yet, until the log ends after `over` is set.

        `unreadable` is told why the log cannot be read, a right is missing say; empty: it is read.
        """
        failures = 0
        while True:
            was_over = over.is_set()
            try:
                async with aclosing(self._once()) as lines:
                    async for line in lines:
                        if failures >= _TOLD_AFTER:
                            await unreadable("")
                        failures = 0
                        yield line
                if was_over:
                    return
            except LogInterruptedError as error:  # the next look goes on from here
                failures += 1
                if failures == _TOLD_AFTER:
                    await unreadable(str(error))
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), self._backoff.delay(max(failures, 1)))
            if was_over:
                await asyncio.sleep(_PAUSE)

    async def _once(self) -> AsyncGenerator[bytes]:
        """Yield new lines of one stream.

        The kubelet counts whole seconds when it looks for a time: lines that were read come again.
        """
        rest = b""
        async with aclosing(self._pods.log(self._pod, CONTAINER, self._last)) as chunks:
            async for chunk in chunks:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if (new := self._new(line)) is not None:
                        yield new + b"\n"
        if rest and (new := self._new(rest)) is not None:
            yield new

    def _new(self, line: bytes) -> bytes | None:
        """Return a line without its time; None for one that was read before."""
        time, _, text = line.partition(b" ")
        stamp = time.decode("ascii", "replace")
        if _order(stamp) <= _order(self._last):
            return None
        self._last = stamp
        return text


def _order(stamp: str) -> tuple[str, str]:
    """Return what times of RFC 3339 in UTC are compared by: their fractions differ in length."""
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    return whole, fraction.ljust(9, "0")
