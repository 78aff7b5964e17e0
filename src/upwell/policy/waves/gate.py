"""Gate of a Wave: what keeps builds on its image from beginning, and who opens it."""

from dataclasses import dataclass

from upwell.api.waves.wave import ENDED_WAVES, Wave, WaveApproval, WavePhase
from upwell.policy.builds.triggers import ImageBar

WAITS_FOR_APPROVAL = "WaveApproval"
"""Reason of what waits until a change of an image is approved."""
WHO_APPROVES = "role promoter or approver in all namespaces"
"""Roles that may approve a Wave."""


@dataclass(frozen=True, slots=True)
class ClosedGate:
    """Reason why no build begins on the image of a Wave, and the next step."""

    reason: str
    text: str
    new_alone: bool = True
    """Builds on the image go on where the newest build stands on it already."""


def closed_gate(wave: Wave) -> ClosedGate | None:
    """Return what keeps builds from beginning on the image of a Wave; None: nothing does."""
    name, status = wave.name, wave.status
    if keeps_cancelled(wave):
        why = _why(status.cancelled.reason if status.cancelled is not None else "")
        text = f"is cancelled{why}: what has not begun waits for the next image"
        if needs_approval(wave):  # nobody has a right to build on what nobody has approved
            text += ", and nobody has approved this one"
            return ClosedGate(WAITS_FOR_APPROVAL, f"Wave {name} {text}")
        text += "; `upwell start-build` builds on this one"
        return ClosedGate("WaveCancelled", f"Wave {name} {text}")
    if status.phase in ENDED_WAVES:
        return None
    if wave.spec.paused:
        text = f"is paused{_why(wave.spec.reason)}; `upwell wave resume {name}` goes on"
        reason = "WavePaused"
        if needs_approval(wave):  # which a pause does not stand in for
            text += f"; it waits for approval; `upwell wave approve {name}` gives it"
            text += f" ({WHO_APPROVES})"
            reason = WAITS_FOR_APPROVAL
        return ClosedGate(reason, f"Wave {name} {text}", new_alone=False)
    if needs_approval(wave):
        text = f"waits for approval; `upwell wave approve {name}` gives it ({WHO_APPROVES})"
        return ClosedGate(WAITS_FOR_APPROVAL, f"Wave {name} {text}")
    return None


def bar_of_wave(wave: Wave) -> ImageBar | None:
    """Return the bar of builds on the image of a Wave."""
    closed = closed_gate(wave)
    if closed is None:
        return None
    message = f"depends on {wave.spec.image}, whose {closed.text}"
    return ImageBar(closed.reason, message, closed.new_alone)


def needs_approval(wave: Wave) -> bool:
    """Return True if somebody has to approve the change, and nobody has."""
    return wave.spec.approval is WaveApproval.MANUAL and wave.status.approval is None


def keeps_cancelled(wave: Wave) -> bool:
    """Return True if a Wave is cancelled, and its image has not changed again since."""
    status = wave.status
    return (
        status.cancelled is not None
        and status.lifted is None
        and status.phase is not WavePhase.SUPERSEDED
    )


def _why(reason: str) -> str:
    return f" ({reason})" if reason else ""
