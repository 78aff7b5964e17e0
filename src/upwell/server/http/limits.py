"""Limits of one client's requests."""

from dataclasses import dataclass, field

from upwell.policy.quotas.usage import Usage

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SeatLimits:
    """Requests that are served at once, in all and of one client, and that wait for it."""

    total: int = 128
    per_client: int = 32
    waiting_per_client: int = 1000
    seconds: float = 30.0
    """The longest wait."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bytes and seconds."""

    body_bytes: int = 3 * MIB
    """The largest object that is accepted, as Kubernetes' own."""
    webhook_bytes: int = MIB
    header_bytes: int = 64 * 1024
    body_seconds: float = 30.0
    """A body that takes longer is refused."""
    watches: int = 1000
    """Watches and followed logs that are open at one time."""
    watches_per_client: int = 500
    watches_per_namespace: int = 750
    forwards: int = 512
    """Connections to the ports of instances, over WebSockets."""
    forwards_per_client: int = 256
    requests_per_second: float = 500.0
    """Of one token, in the long run."""
    requests_burst: int = 2000
    anonymous_per_second: float = 50.0
    """Of one address without a valid token: webhooks, and who tries tokens."""
    anonymous_burst: int = 500
    seats: SeatLimits = SeatLimits()
    transfers: SeatLimits = SeatLimits(waiting_per_client=256, seconds=60)
    """Of content to and from the registry, each of which takes memory."""
    bodies: SeatLimits = SeatLimits(total=24 * MIB, per_client=8 * MIB)
    """Bytes of bodies that are held in memory at once."""
    large: SeatLimits = SeatLimits(total=1, per_client=1, waiting_per_client=8)
    """Of requests that work on large objects, which take memory while they do."""
    commands: SeatLimits = SeatLimits(total=4, per_client=2, waiting_per_client=64)
    """Of commands in containers that are being started, for which the runtime starts processes."""
    objects: int = 200_000
    objects_per_namespace: int = 20_000
    namespace_quota: Usage = field(default_factory=dict)
    """Of each namespace, where no ResourceQuota of its own limits the same."""
    bookmark_seconds: float = 60.0
    watch_seconds: float = 3600.0
    """A watch that asks for no end is ended after this; clients go on from where they were."""
    recheck_seconds: float = 2.0
    """Seconds between two checks of the token of a watch or a followed log."""


DEFAULT_LIMITS = ServerLimits()
