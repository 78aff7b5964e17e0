"""`status.cancelled` in a write of a Build: a request to end it, as in OpenShift's API."""

from upwell.actions.builds import BuildActions
from upwell.api.builds.build import Build
from upwell.api.codec import InvalidObjectError, encode
from upwell.api.values.faults import Fault
from upwell.audit.changes import changed_fields
from upwell.server.http.target import RequestTarget
from upwell.server.objects.write_options import WriteOptions
from upwell.server.objects.writes import Change, WholeObject, WriteResult
from upwell.store.interface import ConflictError, Store


class BuildCancellation:
    """Carries out writes of Builds that ask for their end; nothing else of them is written.

    `oc cancel-build` puts the whole Build back, as far as it knows its fields.
    """

    def __init__(self, store: Store, builds: BuildActions) -> None:
        self._store = store
        self._builds = builds

    async def carried_out(
        self, target: RequestTarget, change: Change, options: WriteOptions
    ) -> WriteResult | None:
        """Return the Build that was cancelled; None for a write that asks for something else.

        Raises ConflictError for a client that has read an older Build, and InvalidObjectError for a
        Build that has ended, but for patches, which leave such a one as it is.
        """
        old = await self._store.get(Build, target.namespace, target.name)
        if old.status.cancelled:
            return None
        wanted = change(encode(options.view.of(old)))
        status = wanted.get("status")
        if not isinstance(status, dict) or status.get("cancelled") is not True:
            return None
        metadata = wanted.get("metadata")
        read = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
        if read and read != old.resource_version:
            raise ConflictError(old.key)
        if old.status.phase.is_terminal:
            if not isinstance(change, WholeObject):
                return None
            why = f"the build has ended as {old.status.phase}: there is nothing to cancel"
            fault = Fault("status.cancelled", f"Invalid value: true: {why}")
            raise InvalidObjectError(f"Build {old.name!r}", (fault,), old.key)
        new = await self._builds.cancel(target.namespace, target.name, dry_run=options.dry_run)
        changes = () if options.dry_run else tuple(changed_fields(encode(old), encode(new)))
        return WriteResult(new, changes=changes)
