"""Annotation that names what a workload waits for."""

import pytest

from upwell.api.apps import Deployment
from upwell.api.codec import decode_as
from upwell.policy.rollouts.starts.dependencies import (
    DEPENDS_ON_ANNOTATION,
    Dependency,
    DependencyCondition,
    dependencies_of,
)


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("", ()),
        ("db", (Dependency("db"),)),
        (
            " db:service_healthy, cache:service_started,",
            (Dependency("db", DependencyCondition.HEALTHY), Dependency("cache")),
        ),
        ("db:never", (Dependency("db"),)),
    ],
)
def test_dependencies_are_read_in_composes_words(
    written: str, found: tuple[Dependency, ...]
) -> None:
    metadata = {"name": "web", "annotations": {DEPENDS_ON_ANNOTATION: written}}
    assert dependencies_of(decode_as(Deployment, {"metadata": metadata})) == found
