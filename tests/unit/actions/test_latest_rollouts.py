"""`rollout latest` of a DeploymentConfig that is held: one rollout, by hand."""

from typing import Any

import pytest
from tests.support.rollouts.memory_machine import BETTER, GOOD, RolloutSetup

from upwell.api.apps import DeploymentConfig
from upwell.api.codec import decode_as
from upwell.api.image import ImageStream, ImageStreamStatus, NamedTagEventList, TagEvent
from upwell.api.meta import ObjectKey
from upwell.policy.rollouts.triggers import HOLD_ANNOTATION

PLACE = ObjectKey("DeploymentConfig", "shop", "db")
PARAMS = {
    "automatic": True,
    "containerNames": ["app"],
    "from": {"kind": "ImageStreamTag", "name": "db:v1"},
}
TRIGGERS = [{"type": "ConfigChange"}, {"type": "ImageChange", "imageChangeParams": PARAMS}]


def config(**spec: Any) -> DeploymentConfig:
    containers = [{"name": "app", "image": GOOD}]
    template = {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": containers}}
    annotations = {HOLD_ANNOTATION: "by hand"}
    document = {
        "metadata": {"namespace": "shop", "name": "db", "annotations": annotations},
        "spec": {"template": template, "replicas": 2, **spec},
    }
    return decode_as(DeploymentConfig, document)


async def stored(setup: RolloutSetup) -> DeploymentConfig:
    return await setup.store.get(DeploymentConfig, "shop", "db")


@pytest.fixture
async def setup() -> RolloutSetup:
    """One revision in force, and a held trigger that was added when its tag had another image."""
    setup = RolloutSetup()
    event = TagEvent(
        created=setup.clock(), docker_image_reference=BETTER, image=BETTER.partition("@")[2]
    )
    status = ImageStreamStatus(tags=(NamedTagEventList(tag="v1", items=(event,)),))
    stream = await setup.apply(ImageStream().with_metadata(namespace="shop", name="db"))
    await setup.store.update_status(stream.with_status(status))
    await setup.apply(config())
    await setup.settle(PLACE)
    following = config(triggers=TRIGGERS)
    await setup.store.update((await stored(setup)).model_copy(update={"spec": following.spec}))
    await setup.settle(PLACE)
    assert setup.runtime.images() == [GOOD] * 2
    return setup


@pytest.mark.parametrize("times", [0, 3])
async def test_it_succeeds_where_its_rollout_begins_at_once(
    setup: RolloutSetup, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    update = setup.store.update

    async def overtaken(resource: DeploymentConfig) -> DeploymentConfig:
        written = await update(resource)
        monkeypatch.undo()
        await setup.rollouts.reconcile(PLACE)
        return written

    setup.overtaken.times = times
    monkeypatch.setattr(setup.store, "update", overtaken)
    await setup.actions.latest(DeploymentConfig, "shop", "db", again=False)
    await setup.settle(PLACE)

    records = (await stored(setup)).status.revisions
    assert [(one.revision, one.cause) for one in records] == [
        (2, "manual change"),
        (1, "config change"),
    ]
    assert setup.runtime.images() == [BETTER] * 2


async def test_it_succeeds_where_another_writer_brings_the_same_images(
    setup: RolloutSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = setup.store.update

    async def overtaken(resource: DeploymentConfig) -> DeploymentConfig:
        monkeypatch.undo()
        theirs = await stored(setup)
        await update(theirs.model_copy(update={"spec": resource.spec}))
        await setup.rollouts.reconcile(PLACE)
        return await update(resource)

    monkeypatch.setattr(setup.store, "update", overtaken)
    await setup.actions.latest(DeploymentConfig, "shop", "db", again=False)
    await setup.settle(PLACE)

    assert [one.revision for one in (await stored(setup)).status.revisions] == [2, 1]
    assert setup.runtime.images() == [BETTER] * 2
