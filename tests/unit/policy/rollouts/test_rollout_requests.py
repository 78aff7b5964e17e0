"""Refusals of requests about rollouts: they name the object and the next step."""

import pytest
from tests.support.server.api_server import START

from upwell.api.apps import Deployment, DeploymentConfig, DeploymentSpec, Job
from upwell.api.meta import Condition, Resource
from upwell.policy.rollouts.image_ownership import PROMOTED_ANNOTATION
from upwell.policy.rollouts.requests import (
    NoRolloutsError,
    NothingToDoError,
    PausedWorkloadError,
    cancelled,
    newest_images,
    require_startable,
)
from upwell.policy.rollouts.triggers import IMAGE_TRIGGERED, Reason


def named[R: Resource](resource: R) -> R:
    return resource.with_metadata(namespace="shop", name="web")


def test_what_another_kind_has_is_not_rolled_out_again_and_its_own_verb_is_named() -> None:
    with pytest.raises(NoRolloutsError) as caught:
        require_startable(named(Deployment()), again=True)

    assert str(caught.value) == (
        "Deployment shop/web: `rollout latest --again` is for DeploymentConfig;"
        " `upwell rollout restart deployment/web -n shop` replaces its instances"
    )


def test_a_verb_of_a_kind_without_rollouts_names_the_kinds_that_have_them() -> None:
    with pytest.raises(NoRolloutsError, match=r"^Job shop/web: `rollout` is for .*Deployment") as e:
        cancelled(named(Job()), START)

    assert str(e.value).endswith("; name one of those")


def test_a_paused_deployment_is_not_rolled_out() -> None:
    paused = named(Deployment(spec=DeploymentSpec(paused=True)))
    with pytest.raises(PausedWorkloadError, match="cannot deploy a paused deployment: "):
        require_startable(paused, again=False)


def test_images_that_a_stage_sets_are_not_set_by_a_rollout_by_hand() -> None:
    """The gates of a stage are passed by `upwell promote`, with the right for that."""
    images = {("web", False): "registry.test/web@sha256:1"}
    note = {PROMOTED_ANNOTATION: '{"containers": ["web"]}'}
    promoted = named(DeploymentConfig()).with_metadata(annotations=note)
    assert newest_images(promoted, images) == {}

    web = named(Deployment())
    verdict = Condition(
        type=IMAGE_TRIGGERED, status="False", reason=Reason.PIPELINE, message="stage live sets them"
    )
    staged = web.with_status(web.status.model_copy(update={"conditions": (verdict,)}))
    with pytest.raises(NothingToDoError, match="stage live sets them; `upwell promote`"):
        newest_images(staged, images)
