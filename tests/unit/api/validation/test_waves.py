"""Rules of Waves: what the change is stays as it was."""

from upwell.api.meta import ObjectMeta
from upwell.api.validation.objects import validate
from upwell.api.validation.updates import immutable_faults
from upwell.api.waves.wave import Wave, WavePhase, WaveSpec, WaveStatus

DIGEST, OTHER = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"


def wave(**spec: object) -> Wave:
    made = WaveSpec.model_validate({"image": "debian:11", "digest": DIGEST, **spec})
    return Wave(metadata=ObjectMeta(name="debian-11"), spec=made)


def test_a_wave_is_of_an_image_and_a_digest() -> None:
    assert validate(wave()) == ()
    assert [one.path for one in validate(wave(digest="sha256:00"))] == ["spec.digest"]
    assert [one.path for one in validate(wave(digest=""))] == ["spec.digest"]
    assert [one.path for one in validate(wave(image="no image"))] == ["spec.image"]
    assert [one.path for one in validate(wave(previous="sha256:1"))] == ["spec.previous"]


def test_a_wave_may_be_paused_and_nothing_else() -> None:
    assert list(immutable_faults(wave(paused=True, reason="weekend"), wave())) == []
    for changed in ({"digest": OTHER}, {"image": "debian:12"}, {"previous": OTHER}):
        assert len(list(immutable_faults(wave(**changed), wave()))) == 1


def test_a_wave_that_has_ended_is_not_paused() -> None:
    ended = wave().with_status(WaveStatus(phase=WavePhase.COMPLETE, message="all have it"))
    [fault] = immutable_faults(wave(paused=True), ended)
    assert (fault.path, "all have it" in fault.message) == ("spec.paused", True)
