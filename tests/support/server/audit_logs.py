"""An audit log in a folder, for servers of tests."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from upwell.audit.heads import HeadSigner
from upwell.audit.log import AuditFiles, AuditLog
from upwell.machine.components import Components, WatchedComponent


def audit_log(
    folder: Path, clock: Callable[[], datetime], component: WatchedComponent | None = None
) -> AuditLog:
    """Return a log that writes to `folder`, with a key of its own."""
    watched = component or Components().add("audit-log", required=False)
    return AuditLog(AuditFiles(folder), HeadSigner.generate(), clock, watched)


def audit_lines(folder: Path) -> list[dict[str, Any]]:
    """Return the requests in both chains: what was answered, and after it what was denied."""
    paths = [path for path in AuditFiles(folder).paths if path.exists()]
    lines = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    return [line for line in lines if "kind" not in line]  # signed heads are of no request
