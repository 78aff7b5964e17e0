"""Kubernetes coordination.k8s.io/v1: by whom something is led, and until when.

Leases are of clusters: this server reads and writes them there, and serves none itself.
"""

from datetime import UTC, datetime
from typing import Annotated, ClassVar

from pydantic import AwareDatetime, Field, PlainSerializer

from upwell.api.meta import Kind, Model, Resource


def format_micro_time(time: datetime) -> str:
    """Return RFC 3339 in UTC with six digits of a fraction, as meta/v1 MicroTime is read."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


type MicroTime = Annotated[
    AwareDatetime, PlainSerializer(format_micro_time, when_used="json-unless-none")
]


class LeaseSpec(Model):
    """Holder of a Lease, and how long its last renewal counts."""

    holder_identity: str | None = None
    """Empty after a release."""
    lease_duration_seconds: int | None = None
    acquire_time: MicroTime | None = None
    renew_time: MicroTime | None = None
    lease_transitions: int | None = None
    """Times that the holder has changed."""


class Lease(Resource):
    """A lead that one of several candidates has for a time."""

    KIND: ClassVar[Kind] = Kind("coordination.k8s.io", "v1", "Lease", "leases", has_status=False)

    spec: LeaseSpec = Field(default_factory=LeaseSpec)
