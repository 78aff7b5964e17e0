"""Opens the audit logs of all replicas, where these share a registry."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from upwell.app.access import audit_files
from upwell.app.kubernetes.leading import Loop
from upwell.app.registries.replica_audit import RegistryAudit
from upwell.app.registries.uploads import SharedRegistry
from upwell.audit.files import AuditRetention
from upwell.audit.keeping import AuditKeeping, KeptAuditError
from upwell.audit.log import ANSWERED, DENIED, AuditLog
from upwell.machine.clock import now
from upwell.machine.components import Components
from upwell.oci.replica_contents import ReplicaContent
from upwell.settings import ServerSettings

log = logging.getLogger(__name__)
_CLEANING_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class SharedAudit:
    """Audit logs of all replicas, and what keeps this one's among them."""

    kept: RegistryAudit
    keeping: AuditKeeping
    retention: Mapping[str, AuditRetention]

    @property
    def loops(self) -> Sequence[Loop]:
        """Loops beside the server."""
        return (self.keeping.run, partial(_clean, self.kept, self.retention))


def open_audit(
    settings: ServerSettings,
    shared: SharedRegistry | None,
    audit: AuditLog,
    components: Components,
    stack: AsyncExitStack,
) -> SharedAudit | None:
    """Open what replicas share; at the end of `stack` the last lines are kept.

    None: each server has its audit log alone.
    """
    if shared is None:
        return None
    kept = RegistryAudit(shared.artifacts(ReplicaContent.AUDIT), shared.leads, now)
    keeping = AuditKeeping(audit, kept, components.add("audit-shared", required=False))
    stack.push_async_callback(keeping.keep_last)
    files = audit_files(settings)
    return SharedAudit(kept, keeping, {ANSWERED: files.answered, DENIED: files.denied})


async def _clean(kept: RegistryAudit, retention: Mapping[str, AuditRetention]) -> None:
    """Remove what is too old each hour, until cancelled."""
    while True:
        await asyncio.sleep(_CLEANING_SECONDS)
        try:
            await kept.remove_old(retention)
        except KeptAuditError as error:
            log.warning("audit logs not cleaned", extra={"why": str(error)})
