"""Snapshots of claims: kept before a new revision writes them, brought back when it fails.

They are for what cannot go back by itself: a database whose new version has begun to convert its
files, and does not start on them.
"""

from collections.abc import Mapping
from dataclasses import replace

from upwell.api.apps import RevisionRecord
from upwell.policy.rollouts.history import Phase, Records, is_superseded, last_good
from upwell.policy.rollouts.settings import Workload
from upwell.policy.rollouts.starts.exclusive_use import exclusive_use
from upwell.policy.rollouts.volumes.written import written_claims
from upwell.workload.instance_spec import InstanceSpec, VolumeClaim

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
    if not wants_snapshots(workload.annotations) or not exclusive_use(workload).claims:
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


def _back_to(records: Records, record: RevisionRecord) -> tuple[str, ...]:
    """Return the snapshots to go back to, the newest first: those of what never served before it.

    That is the newest revision once it has failed, and any that another has superseded before it
    served: until then no other revision has had the files.
    """
    newest, names = records[0] if records else record, list[str]()
    for one in records:
        if one is newest and one.hash == record.hash:
            if one.live_at is not None and one.live_at >= one.created:
                break  # it has served, on the files as they are
            continue
        has_failed = one is newest and one.phase == Phase.FAILED
        if one.live_at is not None or not (has_failed or is_superseded(one)):
            break
        names.append(one.hash)
    return tuple(names)
