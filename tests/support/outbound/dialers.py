"""Dialers of tests, whose servers are all on loopback."""

from upwell.outbound.dialing import Dialer
from upwell.outbound.policy import OutboundPolicy


def loopback_dialer() -> Dialer:
    """Return a dialer that is allowed all of loopback, and otherwise what is by default."""
    return Dialer(OutboundPolicy.of(["127.0.0.0/8", "::1"]))
