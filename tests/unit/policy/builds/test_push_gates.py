"""Registries that refuse pushes: one build at a time tries, and a push that is taken opens them."""

import pytest

from upwell.api.builds.build import Build, BuildSpec
from upwell.api.builds.inputs import BuildOutput, BuildSource, BuildStrategy
from upwell.api.meta import ObjectKey, ObjectMeta, ObjectReference
from upwell.policy.builds.push_gates import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    TRIAL_SECONDS,
    PushGates,
    output_registry,
)

QUAY = "quay.io"


def key(name: str) -> ObjectKey:
    return ObjectKey("Build", "shop", name)


@pytest.fixture
def refused() -> PushGates:
    """Return gates after the push of build `a` to Quay was refused, at 0 s."""
    gates = PushGates()
    gates.begin(QUAY, key("a"), 0.0)
    gates.refuse(QUAY, key("a"), 0.0)
    return gates


def test_one_build_at_a_time_tries_after_a_refusal(refused: PushGates) -> None:
    assert refused.wait(QUAY, 0.0) == FIRST_PAUSE
    assert refused.wait("ghcr.io", 0.0) == 0.0
    now = FIRST_PAUSE
    assert refused.wait(QUAY, now) == 0.0
    refused.begin(QUAY, key("b"), now)
    assert refused.wait(QUAY, now) == TRIAL_SECONDS
    refused.accept(QUAY)
    assert refused.wait(QUAY, now) == 0.0
    assert QUAY not in refused


def test_the_pause_grows_with_each_try_that_is_refused(refused: PushGates) -> None:
    now, pauses = FIRST_PAUSE, []
    for number in range(6):
        build = key(f"try-{number}")
        refused.begin(QUAY, build, now)
        refused.refuse(QUAY, build, now)
        refused.end(QUAY, build, now)
        pauses.append(refused.wait(QUAY, now))
        now += pauses[-1]
    assert pauses == [60, 120, 240, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]


def test_pushes_that_began_before_the_refusal_count_once(refused: PushGates) -> None:
    for name in ("b", "c"):
        refused.refuse(QUAY, key(name), 10.0)
    assert refused.wait(QUAY, 10.0) == FIRST_PAUSE - 10.0
    refused.begin(QUAY, key("d"), FIRST_PAUSE)
    refused.refuse(QUAY, key("e"), FIRST_PAUSE)  # the try goes on
    assert refused.wait(QUAY, FIRST_PAUSE) == TRIAL_SECONDS


def test_another_build_tries_when_one_has_ended_without_a_push(refused: PushGates) -> None:
    refused.begin(QUAY, key("b"), FIRST_PAUSE)
    refused.end(QUAY, key("other"), FIRST_PAUSE + 1)
    assert refused.wait(QUAY, FIRST_PAUSE + 1) > 0
    refused.end(QUAY, key("b"), FIRST_PAUSE + 2)
    assert refused.wait(QUAY, FIRST_PAUSE + 2) == 0.0
    assert QUAY in refused


@pytest.mark.parametrize(
    ("kind", "name", "registry"),
    [
        ("DockerImage", "quay.io/team/app:1", QUAY),
        ("DockerImage", "team/app", "docker.io"),
        ("DockerImage", "not a name", ""),
        ("ImageStreamTag", "app:latest", ""),
    ],
)
def test_the_registry_of_an_output(kind: str, name: str, registry: str) -> None:
    spec = BuildSpec(
        source=BuildSource(),
        strategy=BuildStrategy(),
        output=BuildOutput(to=ObjectReference(kind=kind, name=name)),
    )
    build = Build(metadata=ObjectMeta(namespace="shop", name="app-1"), spec=spec)
    assert output_registry(build) == registry
