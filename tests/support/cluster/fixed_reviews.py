"""Authorization of a cluster, as a test turns it."""

from dataclasses import dataclass, field

from upwell.cluster.errors import ClusterError
from upwell.cluster.interface import AccessAttributes, ClusterUser


@dataclass
class FixedReviews:
    """Implements AccessReviews: who is named, a user or a group, may do what stands beside.

    A request is written `VERB RESOURCE NAMESPACE`, with a subresource behind a slash.
    """

    allowed: dict[str, set[str]] = field(default_factory=dict)
    asked: list[tuple[ClusterUser, AccessAttributes]] = field(default_factory=list)
    fault: ClusterError | None = None

    async def is_allowed(self, user: ClusterUser, wanted: AccessAttributes) -> bool:
        self.asked.append((user, wanted))
        if self.fault is not None:
            raise self.fault
        part = f"/{wanted.subresource}" if wanted.subresource else ""
        text = f"{wanted.verb} {wanted.resource}{part} {wanted.namespace}".strip()
        return any(text in self.allowed.get(name, ()) for name in (user.name, *user.groups))
