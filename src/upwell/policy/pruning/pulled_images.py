"""Images that a runtime has pulled for workloads: which of them nothing needs any more; pure."""

from collections.abc import Collection, Iterable
from datetime import datetime

from upwell.oci import Digest
from upwell.workload.interface import InstanceImage


def unneeded_images(
    images: Iterable[InstanceImage], kept: Collection[Digest], oldest: datetime
) -> list[InstanceImage]:
    """Return those that may go, the longest unused first.

    `kept` are the digests that anything names or runs; what was used at `oldest` or later stays.
    """
    found = (one for one in images if one.used_at < oldest and one.digests.isdisjoint(kept))
    return sorted(found, key=lambda one: (one.used_at, str(one.reference)))
