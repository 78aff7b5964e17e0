"""An audit log in a folder, for servers of tests."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from upwell.audit.heads import HeadSigner
from upwell.audit.log import AuditFiles, AuditLog
from upwell.machine.components import Components, WatchedComponent


def audit_log(
    folder: Path, clock: Callable[[], datetime], component: WatchedComponent | None = None
) -> AuditLog:
    """Return a log that writes to `folder`, with a key of its own."""
    watched = component or Components().add("audit-log", required=False)
    return AuditLog(AuditFiles(folder), HeadSigner.generate(), clock, watched)
