"""Messages to the service manager that has started this process: sd_notify(3), Type=notify.

A datagram of lines NAME=VALUE to the socket of NOTIFY_SOCKET; a name that begins with @ is one of
the abstract namespace (unix(7)).
"""

import logging
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

log = logging.getLogger(__name__)

_SOCKET, _PERIOD, _PROCESS = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
_TICKS = 3
"""Signs of life within the time after which the manager takes us for dead."""


@dataclass(frozen=True, slots=True)
class ServiceManager:
    """The manager of this service; without an address nobody is told anything."""

    address: str = ""
    watchdog: timedelta | None = None
    """Time without a sign of life after which the service is killed; None: it is not watched."""

    @classmethod
    def take(cls, environment: MutableMapping[str, str], process: int) -> Self:
        """Take the manager's variables out of the environment of the process of that id.

        Children must not have them: Podman and HAProxy would speak in the service's name.
        """
        address = environment.pop(_SOCKET, "")
        period = environment.pop(_PERIOD, "")
        meant = environment.pop(_PROCESS, "")
        if not period.isdecimal() or not int(period) or meant not in {"", str(process)}:
            return cls(address)
        return cls(address, timedelta(microseconds=int(period)))

    @property
    def tick_seconds(self) -> float | None:
        """Seconds between two signs of life; None: nobody waits for them."""
        return None if self.watchdog is None else self.watchdog.total_seconds() / _TICKS

    def ready(self, status: str) -> None:
        """Say that the service has started: what is ordered after it may start, too."""
        self._send("READY=1", f"STATUS={_line(status)}")

    def status(self, text: str) -> None:
        """Say how the service is, in one line that `systemctl status` shows."""
        self._send(f"STATUS={_line(text)}")

    def alive(self) -> None:
        """Give a sign of life."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the service has begun to stop."""
        self._send("STOPPING=1", "STATUS=stopping: workloads and the router run on")

    def _send(self, *lines: str) -> None:
        if not self.address:
            return
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as found:
                found.settimeout(0)
                found.sendto("\n".join(lines).encode(), address)
        except OSError as error:
            log.debug("the service manager was not told", extra={"why": str(error)})


def _line(text: str) -> str:
    return " ".join(text.split())
