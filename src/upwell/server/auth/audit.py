"""The audit log: who did what, one JSON object a line; no bodies, no secrets."""

import errno
import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from upwell.machine.components import WatchedComponent
from upwell.policy.access.roles import Action

_LOG = logging.getLogger(__name__)
_MAX_BYTES = 16 * 1024 * 1024
_KEPT = 5
"""Files with older lines: audit.log.1 is the newest of them."""
_MAX_TEXT = 300


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One request and its outcome."""

    user: str
    """The token's name; empty when there was none."""
    source: str
    """The client's address."""
    action: Action
    code: int
    """The HTTP status of the answer; 0 when the client left before there was one."""
    reason: str = ""
    """Reason, as its author gives it: of actions on promotions."""


class AuditLog:
    """Appends to a file that only its owner may read, and begins another when it is full.

    Lines reach the kernel before the next request is served, so only a crash of the machine loses
    the last of them. What cannot be written stops no request, and `component` is faulty meanwhile.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], datetime],
        component: WatchedComponent,
        *,
        max_bytes: int = _MAX_BYTES,
    ) -> None:
        self._path = path
        self._clock = clock
        self._component = component
        self._max_bytes = max_bytes
        self._lost = 0
        self._write(b"")  # whether it can be written is known before the first line is lost

    def record(self, event: AuditEvent) -> None:
        """Write one line."""
        action = event.action
        reason = {"reason": event.reason[:_MAX_TEXT]} if event.reason else {}
        line = json.dumps(
            {
                "time": self._clock().isoformat(timespec="milliseconds"),
                "user": event.user,
                "source": event.source,
                "verb": action.verb,
                "resource": action.resource[:_MAX_TEXT],
                "subresource": action.part[:_MAX_TEXT],
                "namespace": action.namespace[:_MAX_TEXT],
                "name": action.name[:_MAX_TEXT],
                "code": event.code,
                **reason,
            }
        )
        self._write(f"{line}\n".encode())

    def _write(self, line: bytes) -> None:
        try:
            self._append(line)
        except OSError as error:
            self._lost += bool(line)
            _LOG.warning("audit log not written", extra={"error": error.strerror})
            self._component.fail(
                "AuditLogNotWritten",
                f"{self._path} cannot be written ({error.strerror}): {self._lost} requests are not"
                " in it; move away what has its name, or give it room",
            )
        else:
            self._component.recover()

    def _append(self, line: bytes) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            begun = os.fstat(descriptor).st_size
            if os.write(descriptor, line) < len(line):  # the disk has filled up: leave no half line
                os.ftruncate(descriptor, begun)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            full = os.fstat(descriptor).st_size >= self._max_bytes
        finally:
            os.close(descriptor)
        if full:
            self._rotate()

    def _rotate(self) -> None:
        for number in range(_KEPT, 0, -1):
            older = self._numbered(number)
            newer = self._numbered(number - 1) if number > 1 else self._path
            with suppress(FileNotFoundError):
                newer.replace(older)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
