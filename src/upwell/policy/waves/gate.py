"""Gate of a Wave: what keeps builds on its image from beginning, and who opens it."""

from upwell.api.waves.wave import ENDED_WAVES, Wave, WaveApproval, WaveDecision, WavePhase
from upwell.policy.builds.triggers import ImageBar

WAITS_FOR_APPROVAL = "WaveApproval"
"""Reason of what waits until a change of an image is approved."""


def bar_of_wave(wave: Wave) -> ImageBar | None:
    """Return what keeps builds from beginning on the image of a Wave; None: nothing does.

    What has the image already is built on it further, unless the Wave is paused.
    """
    image, name, status = wave.spec.image, wave.name, wave.status
    if keeps_cancelled(wave):
        return ImageBar(
            "WaveCancelled",
            f"depends on {image}, whose Wave {name} is cancelled{_why(status.cancelled)}; its next"
            " image is built on, and `upwell start-build` builds on this one",
            new_alone=True,
        )
    if status.phase in ENDED_WAVES:
        return None
    if wave.spec.paused:
        why = f" ({wave.spec.reason})" if wave.spec.reason else ""
        return ImageBar(
            "WavePaused",
            f"depends on {image}, whose Wave {name} is paused{why};"
            f" `upwell wave resume {name}` goes on",
        )
    if needs_approval(wave):
        return ImageBar(
            WAITS_FOR_APPROVAL,
            f"depends on {image}, whose Wave {name} waits for approval;"
            f" `upwell wave approve {name}` gives it",
            new_alone=True,
        )
    return None


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


def _why(decision: WaveDecision | None) -> str:
    return f" ({decision.reason})" if decision is not None and decision.reason else ""
