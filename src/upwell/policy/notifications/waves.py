"""Events of Waves: each once, whatever becomes of their counts."""

from collections.abc import Iterator
from datetime import datetime

from upwell.api.waves.wave import ENDED_WAVES, Wave, WaveApproval, WavePhase
from upwell.oci import Digest
from upwell.policy.notifications.record import EventRecord

_WHERE = "default"
"""Namespace of those who are told: a Wave counts builds of all namespaces."""


def events_of_wave(wave: Wave) -> Iterator[EventRecord]:
    """Yield that a Wave has begun, needs an approval, was stopped or cancelled, or is complete."""
    spec, status = wave.spec, wave.status
    about: dict[str, object] = {
        "image": spec.image,
        "digest": spec.digest,
        "previous": spec.previous,
        "builds": status.builds.total,
        "workloads": status.workloads.total,
    }

    def record(
        reason: str, text: str, at: datetime | None, *, warning: bool = False
    ) -> Iterator[EventRecord]:
        if at is not None:
            message = f"Wave {wave.name}: {text}"
            yield EventRecord(
                reason, message, at, warning, details=about, namespace=_WHERE, identity=reason
            )

    began = wave.metadata.creation_timestamp
    follows = bool(status.builds.total or status.workloads.total)
    if status.phase is not None and follows:
        yield from record("WaveBegun", f"{spec.image} is {_short(spec.digest)} now", began)
    waits = spec.approval is WaveApproval.MANUAL and status.approval is None
    if waits and status.phase is not None and status.phase not in ENDED_WAVES:
        text = f"{spec.image} waits for approval: `upwell wave approve {wave.name}`"
        yield from record("WaveApprovalNeeded", text, began, warning=True)
    if (stop := status.stop) is not None:
        yield from record("WaveStopped", f"stopped: {stop.message}", stop.stopped, warning=True)
    if (cancelled := status.cancelled) is not None:
        text = f"cancelled by {cancelled.by}: {cancelled.reason}"
        yield from record("WaveCancelled", text, cancelled.at)
    if status.phase is WavePhase.COMPLETE and follows:
        yield from record("WaveComplete", f"all that follows {spec.image} has it", status.ended)


def _short(digest: str) -> str:
    return Digest.parse(digest).short
