"""Events of a Wave: one each, whatever becomes of its counts."""

from datetime import UTC, datetime

from upwell.api.meta import ObjectMeta
from upwell.api.waves.wave import (
    Wave,
    WaveApproval,
    WaveCancellation,
    WaveCount,
    WaveDecision,
    WavePhase,
    WaveSpec,
    WaveStatus,
    WaveStop,
)
from upwell.policy.notifications.cloud_events import addressed_events
from upwell.policy.notifications.events import events_of

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DIGEST = f"sha256:{'b' * 64}"


def wave(phase: WavePhase | None = WavePhase.RUNNING, **status: object) -> Wave:
    spec = WaveSpec(image="vendor.test/debian:11", digest=DIGEST, approval=WaveApproval.MANUAL)
    metadata = ObjectMeta(name="debian-11", uid="u", creation_timestamp=NOW)
    made = Wave(metadata=metadata, spec=spec)
    known = WaveStatus(phase=phase, builds=WaveCount(total=1))
    return made.with_status(known.model_copy(update=status))


def reasons(one: Wave) -> list[str]:
    return [event.reason for event in events_of(one)]


def test_each_state_is_told() -> None:
    given = WaveDecision(by="ada", at=NOW)
    assert reasons(wave(None)) == [], "it may turn out that there is nothing to do"
    assert reasons(wave()) == ["WaveBegun", "WaveApprovalNeeded"]
    assert reasons(wave(approval=given)) == ["WaveBegun"]
    done = wave(WavePhase.COMPLETE, approval=given, ended=NOW)
    assert reasons(done) == ["WaveBegun", "WaveComplete"]
    cancelled = WaveCancellation(by="ada", at=NOW, reason="broken")
    assert reasons(wave(WavePhase.CANCELLED, cancelled=cancelled)) == ["WaveBegun", "WaveCancelled"]
    stop = WaveStop(stopped=NOW, message="3 of 4 failed")
    assert "WaveStopped" in reasons(wave(WavePhase.STOPPED, stop=stop))
    assert reasons(wave(WavePhase.SUPERSEDED)) == ["WaveBegun"]
    idle = wave(WavePhase.COMPLETE, builds=WaveCount(), ended=NOW)
    assert reasons(idle) == [], "nothing followed"


def test_an_event_is_known_again_while_the_wave_goes_on() -> None:
    def names(one: Wave) -> list[str]:
        return [event.name(one) for event in events_of(one)]

    assert names(wave()) == names(wave(builds=WaveCount(total=5, done=3), message="news"))
    ids = [event.id for event, _ in addressed_events(wave())]
    assert ids == [event.id for event, _ in addressed_events(wave(message="news"))]
    assert len({*ids}) == 2


def test_waves_are_told_of_where_who_looks_after_all_namespaces_is() -> None:
    audiences = [audience.namespaces for _, audience in addressed_events(wave())]
    assert audiences == [frozenset({"default"})] * 2
