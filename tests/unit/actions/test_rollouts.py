"""A person's decision: rollback by hand, the hold on automation, and its end."""

import pytest
from tests.support.rollouts.memory_machine import BETTER, GOOD, RolloutSetup
from tests.support.rollouts.permissions import permit_all

from upwell.api.apps import CronJob, Deployment
from upwell.api.codec import decode_as
from upwell.api.conditions import find
from upwell.api.image import ImageStream, ImageStreamStatus, NamedTagEventList, TagEvent
from upwell.api.meta import Condition, ObjectKey
from upwell.policy.rollouts.requests import (
    NoRevisionsError,
    PausedWorkloadError,
    RevisionNotFoundError,
    SameRevisionError,
)
from upwell.policy.rollouts.settings import with_pod_template
from upwell.policy.rollouts.triggers import HOLD_ANNOTATION, without_hold
from upwell.store.interface import ConflictError

EDITED = "registry.test/app:edited"
KEY = ObjectKey("Deployment", "shop", "web")
TRIGGER = (
    '[{"from":{"kind":"ImageStreamTag","name":"app:latest"},'
    '"fieldPath":"spec.template.spec.containers[0].image"}]'
)


def followed(image: str) -> Deployment:
    return decode_as(
        Deployment,
        {
            "metadata": {
                "namespace": "shop",
                "name": "web",
                "annotations": {"image.openshift.io/triggers": TRIGGER},
            },
            "spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}},
        },
    )


async def push(setup: RolloutSetup, image: str) -> None:
    """Make `image` the newest of app:latest."""
    event = TagEvent(
        created=setup.clock(), docker_image_reference=image, image=image.partition("@")[2]
    )
    stream = ImageStream().with_metadata(namespace="shop", name="app")
    listing = await setup.store.list(ImageStream)
    current = listing.items[0] if listing.items else await setup.apply(stream)
    status = ImageStreamStatus(tags=(NamedTagEventList(tag="latest", items=(event,)),))
    await setup.store.update_status(current.with_status(status))


async def triggered(setup: RolloutSetup) -> Condition:
    deployment = await setup.store.get(Deployment, "shop", "web")
    found = find(deployment.status.conditions, "ImageTriggered")
    assert found is not None
    return found


@pytest.fixture
async def setup() -> RolloutSetup:
    """Two revisions by image change, the second in force."""
    setup = RolloutSetup()
    await push(setup, GOOD)
    await setup.apply(followed(" "))
    await setup.settle(KEY)
    await push(setup, BETTER)
    await setup.settle(KEY)
    assert setup.runtime.images() == [BETTER]
    return setup


async def test_undo_outranks_the_trigger_until_it_is_resumed(setup: RolloutSetup) -> None:
    await setup.actions.roll_back(Deployment, "shop", "web", None, permit_all)
    await setup.settle(KEY)

    assert setup.runtime.images() == [GOOD]
    deployment = await setup.store.get(Deployment, "shop", "web")
    assert deployment.status.revisions[0].cause == "rollback"
    assert deployment.status.hold is not None
    assert "revision 1" in deployment.status.hold
    held = await triggered(setup)
    assert (held.status, held.reason) == ("False", "Held")
    assert BETTER in held.message

    await setup.store.update(without_hold(deployment))
    await setup.settle(KEY)

    assert setup.runtime.images() == [BETTER]
    assert (await triggered(setup)).reason == "Resolved"
    assert (await setup.store.get(Deployment, "shop", "web")).status.hold is None


async def test_undo_to_a_revision_by_number(setup: RolloutSetup) -> None:
    changed = await setup.actions.roll_back(Deployment, "shop", "web", 1, permit_all)

    assert isinstance(changed, Deployment)
    assert changed.spec.template.spec.containers[0].image == GOOD
    assert "revision 1" in changed.annotations[HOLD_ANNOTATION]


async def test_undo_goes_on_where_another_client_writes_meanwhile(setup: RolloutSetup) -> None:
    setup.overtaken.times = 3

    changed = await setup.actions.roll_back(Deployment, "shop", "web", None, permit_all)

    assert isinstance(changed, Deployment)
    assert changed.spec.template.spec.containers[0].image == GOOD
    assert changed.labels["by"] == "another"


async def test_undo_does_not_go_over_a_template_that_comes_meanwhile(setup: RolloutSetup) -> None:
    found = await setup.store.get(Deployment, "shop", "web")
    edited = with_pod_template(found, followed(EDITED).spec.template)

    setup.overtaken.overtake_with(edited)
    with pytest.raises(ConflictError, match="its template was changed meanwhile"):
        await setup.actions.roll_back(Deployment, "shop", "web", None, permit_all)

    kept = await setup.store.get(Deployment, "shop", "web")
    assert [one.image for one in kept.spec.template.spec.containers] == [EDITED]


async def test_undo_refuses_what_it_cannot_do(setup: RolloutSetup) -> None:
    with pytest.raises(RevisionNotFoundError, match=r"no revision 7; known revisions: 2, 1"):
        await setup.actions.roll_back(Deployment, "shop", "web", 7, permit_all)
    with pytest.raises(SameRevisionError, match="revision 2 is what the template says"):
        await setup.actions.roll_back(Deployment, "shop", "web", 2, permit_all)

    await setup.apply(CronJob().with_metadata(namespace="shop", name="nightly"))
    with pytest.raises(NoRevisionsError):
        await setup.actions.roll_back(CronJob, "shop", "nightly", None, permit_all)


async def test_what_is_paused_is_not_undone_since_resuming_it_would_lift_the_hold(
    setup: RolloutSetup,
) -> None:
    current = await setup.store.get(Deployment, "shop", "web")
    spec = current.spec.model_copy(update={"paused": True})
    await setup.store.update(current.model_copy(update={"spec": spec}))
    await setup.settle(KEY)
    assert (await setup.store.get(Deployment, "shop", "web")).status.hold == "paused"

    with pytest.raises(PausedWorkloadError, match=r"cannot rollback a paused deployment: .*resume"):
        await setup.actions.roll_back(Deployment, "shop", "web", None, permit_all)
    with pytest.raises(PausedWorkloadError, match=r"unable to retry paused deployment: .*resume"):
        await setup.actions.retry(Deployment, "shop", "web")


async def test_a_first_revision_has_nothing_to_go_back_to() -> None:
    setup = RolloutSetup()
    await setup.apply(followed(GOOD).with_metadata(annotations={}))
    await setup.settle(KEY)

    with pytest.raises(RevisionNotFoundError, match="no earlier revision has served"):
        await setup.actions.roll_back(Deployment, "shop", "web", None, permit_all)
