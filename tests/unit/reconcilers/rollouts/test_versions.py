"""Versions of DeploymentConfigs: a template that comes back is a new one, and the old one stays."""

from typing import Any

import pytest
from tests.support.rollouts.memory_machine import GOOD, RolloutSetup
from tests.support.rollouts.permissions import permit_all

from upwell.api.apps import DeploymentConfig, RequestedRevision
from upwell.api.codec import decode_as
from upwell.api.meta import ObjectKey
from upwell.policy.rollouts.history import wanted_revision
from upwell.policy.rollouts.pod_template import template_hash

PLACE = ObjectKey("DeploymentConfig", "shop", "db")


def config(env: str, **spec: Any) -> DeploymentConfig:
    container = {"name": "app", "image": GOOD, "env": [{"name": "MODE", "value": env}]}
    template = {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [container]}}
    document = {
        "metadata": {"namespace": "shop", "name": "db"},
        "spec": {"template": template, "replicas": 2, **spec},
    }
    return decode_as(DeploymentConfig, document)


async def stored(setup: RolloutSetup) -> DeploymentConfig:
    return await setup.store.get(DeploymentConfig, "shop", "db")


async def changed_twice(setup: RolloutSetup, **fields: Any) -> None:
    """Roll out a DeploymentConfig and a second version of it."""
    await setup.apply(config("old", **fields))
    await setup.actions.latest(DeploymentConfig, "shop", "db", again=True)
    await setup.settle(PLACE)
    current = await stored(setup)
    changed = config("new", **fields)
    await setup.store.update(current.model_copy(update={"spec": changed.spec}))
    await setup.actions.latest(DeploymentConfig, "shop", "db", again=True)
    await setup.settle(PLACE)


@pytest.mark.parametrize("fields", [{}, {"triggers": []}], ids=["by change", "by hand"])
async def test_a_version_that_was_rolled_back_to_stays_and_can_be_again(
    fields: dict[str, Any],
) -> None:
    setup = RolloutSetup()
    await changed_twice(setup, **fields)
    first = (await stored(setup)).status.revisions[-1]

    for version in (3, 4):  # to the same one, once more as it is what runs
        await setup.actions.roll_back(DeploymentConfig, "shop", "db", 1, permit_all)
        await setup.settle(PLACE)
        records = (await stored(setup)).status.revisions
        assert [one.revision for one in records] == list(range(version, 0, -1))
        assert (records[0].phase, records[0].cause) == ("Complete", "rollback")
        assert template_hash(records[0].template) == template_hash(first.template)
        assert records[-1] == first

    await setup.actions.roll_back(DeploymentConfig, "shop", "db", None, permit_all)
    await setup.actions.roll_back(DeploymentConfig, "shop", "db", 2, permit_all)
    await setup.settle(PLACE)
    records = (await stored(setup)).status.revisions
    assert [one.revision for one in records] == [5, 4, 3, 2, 1]
    assert template_hash(records[0].template) == template_hash(records[3].template)


async def test_a_template_that_somebody_writes_back_is_a_new_version_too() -> None:
    setup = RolloutSetup()
    await changed_twice(setup)
    current = await stored(setup)
    old = config("old")
    await setup.store.update(current.model_copy(update={"spec": old.spec}))
    await setup.settle(PLACE)

    status = (await stored(setup)).status
    assert [one.revision for one in status.revisions] == [3, 2, 1]
    assert status.latest_version == 3


async def test_a_version_that_an_earlier_release_has_renumbered_goes_on() -> None:
    setup = RolloutSetup()
    await changed_twice(setup)
    current = await stored(setup)
    second, first = current.status.revisions
    again = first.model_copy(update={"revision": 3})
    asked = RequestedRevision(template=template_hash(first.template), revision=first.hash)
    old = current.model_copy(update={"spec": config("old").spec})
    written = await setup.store.update(old)
    changes = {"revisions": (again, second), "requested": asked}
    kept = written.status.model_copy(update=changes)
    await setup.store.update_status(written.with_status(kept))
    await setup.settle(PLACE)

    settled = await stored(setup)
    assert [one.revision for one in settled.status.revisions] == [3, 2]
    assert wanted_revision(settled) == first.hash
