"""Refusals of requests about rollouts: they name the object and the next step."""

import pytest
from tests.support.server.api_server import START

from upwell.api.apps import Deployment, Job
from upwell.api.meta import Resource
from upwell.policy.rollouts.requests import NoRolloutsError, cancelled, require_startable


def named[R: Resource](resource: R) -> R:
    return resource.with_metadata(namespace="shop", name="web")


def test_latest_of_another_kind_names_the_verb_that_it_has() -> None:
    with pytest.raises(NoRolloutsError) as caught:
        require_startable(named(Deployment()))

    assert str(caught.value) == (
        "Deployment shop/web: `rollout latest` is for DeploymentConfig;"
        " `upwell rollout restart deployment/web -n shop` replaces its instances"
    )


def test_a_verb_of_a_kind_without_rollouts_names_the_kinds_that_have_them() -> None:
    with pytest.raises(NoRolloutsError, match=r"^Job shop/web: `rollout` is for .*Deployment") as e:
        cancelled(named(Job()), START)

    assert str(e.value).endswith("; name one of those")
