"""Rules of Waves: what the change is stays as it was."""

import pytest

from upwell.api.image import ImageStream
from upwell.api.meta import ObjectMeta, Resource
from upwell.api.validation.objects import validate
from upwell.api.validation.updates import immutable_faults, new_faults
from upwell.api.waves.wave import (
    APPROVAL_ANNOTATION,
    SEVERITY,
    Wave,
    WavePhase,
    WaveSpec,
    WaveStatus,
)

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


def stream(**annotations: str) -> ImageStream:
    return ImageStream(
        metadata=ObjectMeta(name="debian", namespace="shop", annotations=annotations)
    )


@pytest.mark.parametrize(
    ("made", "path", "values"),
    [
        (
            stream(**{APPROVAL_ANNOTATION: "manul"}),
            f"metadata.annotations[{APPROVAL_ANNOTATION}]",
            '"auto", "manual"',
        ),
        (
            stream(**{SEVERITY: "urgent"}),
            f"metadata.annotations[{SEVERITY}]",
            '"critical", "high", "medium", "low"',
        ),
        (
            wave().with_metadata(labels={SEVERITY: "urgent"}),
            f"metadata.labels[{SEVERITY}]",
            '"critical", "high", "medium", "low"',
        ),
    ],
)
def test_what_says_how_a_change_goes_on_is_one_of_its_values(
    made: Resource, path: str, values: str
) -> None:
    [fault] = validate(made)
    assert (fault.path, fault.message.endswith(f"supported values: {values}")) == (path, True)
    assert list(new_faults([fault], validate(made))) == [], "what is stored may stay"


def test_values_that_are_known_are_no_faults() -> None:
    for value in ("auto", "manual"):
        assert validate(stream(**{APPROVAL_ANNOTATION: value, SEVERITY: "low"})) == ()
    assert validate(wave().with_metadata(labels={SEVERITY: "critical"})) == ()
