"""A copy of a workload that Upwell keeps current: the note on it is of the other one."""

import pytest
from tests.support.cluster.memory_cluster import owned_by
from tests.support.cluster.workloads import Native, image, move_tag
from tests.unit.reconcilers.cluster_rollouts.test_cluster_rollouts import (
    SLOT,
    ClusterSetup,
    at_good,
    image_of,
)

from upwell.api.apps import Deployment
from upwell.policy.cluster_rollouts.field_owners import TRIGGERS_PATH, image_path
from upwell.policy.cluster_rollouts.note import NOTE_ANNOTATION, NOTE_PATH, RolloutNote
from upwell.policy.cluster_rollouts.observation import NATIVE_WORKLOADS


@pytest.fixture
def setup() -> ClusterSetup:
    return ClusterSetup()


async def copied(setup: ClusterSetup, stored: Native) -> Native:
    """Return what `kubectl get -o yaml`, another name and `kubectl create` make of a workload."""
    found = await setup.read(stored)
    fields = owned_by("kubectl-create", TRIGGERS_PATH, NOTE_PATH, image_path(found, SLOT))
    copy = found.with_metadata(name="copy", uid="", resource_version="", managed_fields=(fields,))
    return await setup.store.create(copy)


@pytest.mark.parametrize("kind", NATIVE_WORKLOADS)
async def test_a_copy_is_kept_current_as_the_one_that_it_was_made_of(
    setup: ClusterSetup, kind: type[Native]
) -> None:
    copy = await copied(setup, await at_good(setup, kind))
    await move_tag(setup.store, "better")

    rolled = await setup.roll(copy)

    assert image_of(rolled) == image("better")
    assert setup.reasons.count("FieldConflict") == 0
    assert RolloutNote.of(rolled).good == {"app": image("good")}


async def test_a_note_that_a_person_has_changed_keeps_no_image_away(setup: ClusterSetup) -> None:
    found = await setup.read(await at_good(setup, Deployment))
    person = owned_by("kubectl-annotate", NOTE_PATH)
    image_alone = owned_by("upwell", image_path(found, SLOT), operation="Apply")
    await setup.store.update(
        found.with_metadata(
            annotations={**found.annotations, NOTE_ANNOTATION: "{}"},
            managed_fields=(owned_by("kubectl", TRIGGERS_PATH), image_alone, person),
        )
    )
    await move_tag(setup.store, "better")

    rolled = await setup.roll(found)

    assert image_of(rolled) == image("better")
    assert RolloutNote.of(rolled).good == {"app": image("good")}


async def test_an_image_that_failed_elsewhere_is_tried_on_a_copy(setup: ClusterSetup) -> None:
    stored = await at_good(setup, Deployment)
    await move_tag(setup.store, "bad")
    await setup.get_stuck(await setup.roll(stored))
    assert image_of(await setup.roll(stored)) == image("good")

    rolled = await setup.roll(await copied(setup, stored))

    assert image_of(rolled) == image("bad")
    assert RolloutNote.of(rolled).failures == ()
