"""Snapshots of claims: kept before a new revision writes them, brought back when it fails.

They are for what cannot go back by itself: a database whose new version has begun to convert its
files, and does not start on them.
"""

from collections.abc import Mapping
from dataclasses import replace

from upwell.api.apps import RevisionRecord
from upwell.policy.rollouts.history import Phase, Records, last_good
from upwell.policy.rollouts.settings import Workload
from upwell.policy.rollouts.volumes.written import written_claims, written_volumes
from upwell.workload.interface import InstanceSpec, VolumeClaim

SNAPSHOT_ANNOTATION = "upwell.dev/snapshot-volumes"
"""`true`: claims are copied before a new revision starts on them."""


def wants_snapshots(annotations: Mapping[str, str]) -> bool:
    """Return True if claims are to be copied before each update."""
    return annotations.get(SNAPSHOT_ANNOTATION, "").strip().lower() == "true"


def with_snapshots(
    spec: InstanceSpec, workload: Workload, records: Records, record: RevisionRecord
) -> InstanceSpec:
    """Return an instance of `record` with what becomes of its claims before it starts.

    Claims that several instances share stay as they are, and so does what a revision wrote that
    has served: nobody may take back what its users have done.
    """
    if not wants_snapshots(workload.annotations) or not written_volumes(workload).claims:
        return spec
    keep_as, back_to = _kept_as(records, record), _back_to(records, record)
    if not keep_as and not back_to:
        return spec
    written = written_claims(record.template)
    volumes = {
        name: replace(volume, keep_as=keep_as, back_to=back_to)
        if isinstance(volume, VolumeClaim) and volume.name in written
        else volume
        for name, volume in spec.volumes.items()
    }
    return replace(spec, volumes=volumes)


def _kept_as(records: Records, record: RevisionRecord) -> str:
    """Return the name of the snapshot that a new revision begins with; empty: it takes none."""
    begins = record.phase == Phase.PROGRESSING and record.live_at is None
    earlier = last_good(records, besides=record.hash)
    return record.hash if begins and earlier is not None else ""


def _back_to(records: Records, record: RevisionRecord) -> str:
    """Return the snapshot that an earlier revision goes back to: that of one which never served."""
    newest = records[0] if records else record
    has_failed = newest.phase == Phase.FAILED and newest.live_at is None
    return newest.hash if has_failed and newest.hash != record.hash else ""
