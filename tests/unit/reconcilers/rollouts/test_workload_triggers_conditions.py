"""Image change triggers: what is set, what is not, and the reason that is shown."""

import json
from typing import Any

import pytest
from tests.support.rollouts.memory_machine import BETTER, GOOD, MemoryClock

from upwell.api.apps import CronJob, DaemonSet, Deployment, DeploymentConfig, StatefulSet
from upwell.api.codec import decode_as
from upwell.api.image import ImageStream, ImageStreamStatus, NamedTagEventList, TagEvent
from upwell.api.meta import Resource
from upwell.controller import ObjectCache
from upwell.policy.rollouts.image_ownership import pod_template
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.reconcilers.rollouts.triggers import WorkloadTriggerReconciler
from upwell.store.memory import MemoryStore

LOCAL = "registry.internal/shop/app"
CONTAINERS = [{"name": "app", "image": " "}, {"name": "side", "image": " "}]


class TriggerSetup:
    def __init__(self) -> None:
        self.clock = MemoryClock()
        self.store = MemoryStore(self.clock)
        index = WorkloadIndex(ObjectCache(self.store))
        self.reconciler = WorkloadTriggerReconciler(index, self.clock)

    async def push(self, name: str, reference: str, digest: str, **spec: Any) -> None:
        event = TagEvent(created=self.clock(), docker_image_reference=reference, image=digest)
        stream = decode_as(
            ImageStream, {"metadata": {"namespace": "shop", "name": name}, "spec": spec}
        )
        stored = await self.store.create(stream)
        status = ImageStreamStatus(
            docker_image_repository=LOCAL,
            tags=(NamedTagEventList(tag="latest", items=(event,)),),
        )
        await self.store.update_status(stored.with_status(status))

    async def reconcile[R: Resource](self, workload: R) -> R:
        await self.reconciler.reconcile(workload.key)
        return await self.store.get(type(workload), workload.namespace, workload.name)


@pytest.fixture
def setup() -> TriggerSetup:
    return TriggerSetup()


def annotated[R: Resource](kind: type[R], *entries: object, **spec: Any) -> R:
    path: dict[str, Any] = {"template": {"spec": {"containers": CONTAINERS}}}
    if kind is CronJob:
        path = {"jobTemplate": {"spec": path}}
    return decode_as(
        kind,
        {
            "metadata": {
                "namespace": "shop",
                "name": "web",
                "annotations": {"image.openshift.io/triggers": json.dumps(entries)},
            },
            "spec": {**path, **spec},
        },
    )


def entry(container: str, tag: str, **more: object) -> dict[str, object]:
    return {
        "from": {"kind": "ImageStreamTag", "name": tag},
        "fieldPath": f'spec.template.spec.containers[?(@.name=="{container}")].image',
        **more,
    }


def config(*triggers: object) -> DeploymentConfig:
    return decode_as(
        DeploymentConfig,
        {
            "metadata": {"namespace": "shop", "name": "web"},
            "spec": {"template": {"spec": {"containers": CONTAINERS}}, "triggers": triggers},
        },
    )


def image_change(container: str, tag: str, *, automatic: bool = True) -> dict[str, object]:
    return {
        "type": "ImageChange",
        "imageChangeParams": {
            "automatic": automatic,
            "containerNames": [container],
            "from": {"kind": "ImageStreamTag", "name": tag},
        },
    }


def images(workload: Resource) -> list[str]:
    template = pod_template(workload)
    assert template is not None
    return [container.image for container in template.spec.containers]


def verdict(workload: Deployment | DeploymentConfig) -> tuple[str, str, str]:
    (condition,) = workload.status.conditions
    assert condition.type == "ImageTriggered"
    return condition.status, condition.reason, condition.message


async def test_a_tag_sets_the_image_by_digest(setup: TriggerSetup) -> None:
    name, _, digest = GOOD.partition("@")
    await setup.push("app", f"{name}:latest", digest)
    workload = await setup.store.create(annotated(Deployment, entry("app", "app:latest")))

    workload = await setup.reconcile(workload)

    assert images(workload) == [GOOD, " "]
    assert verdict(workload) == ("True", "Resolved", f"app = {GOOD}")


async def test_the_same_image_again_writes_nothing(setup: TriggerSetup) -> None:
    await setup.push("app", GOOD, GOOD.partition("@")[2])
    workload = await setup.store.create(annotated(Deployment, entry("app", "app:latest")))
    first = await setup.reconcile(workload)

    setup.clock.advance(60)

    assert (await setup.reconcile(workload)).resource_version == first.resource_version


@pytest.mark.parametrize("kind", [StatefulSet, DaemonSet, CronJob])
async def test_every_kind_with_a_template_follows(
    setup: TriggerSetup, kind: type[Resource]
) -> None:
    await setup.push("app", GOOD, GOOD.partition("@")[2])
    workload = await setup.store.create(annotated(kind, entry("app", "app:latest")))

    workload = await setup.reconcile(workload)

    assert images(workload) == [GOOD, " "]
    assert "Resolved" in workload.model_dump_json()


async def test_a_local_reference_policy_pulls_from_the_internal_registry(
    setup: TriggerSetup,
) -> None:
    tag = {"name": "latest", "referencePolicy": {"type": "Local"}}
    digest = GOOD.partition("@")[2]
    await setup.push("app", GOOD, digest, tags=[tag])
    workload = await setup.store.create(annotated(Deployment, entry("app", "app:latest")))

    assert images(await setup.reconcile(workload))[0] == f"{LOCAL}@{digest}"


async def test_what_is_missing_is_named(setup: TriggerSetup) -> None:
    workload = await setup.store.create(annotated(Deployment, entry("app", "app:v2")))
    status, reason, message = verdict(await setup.reconcile(workload))
    assert (status, reason) == ("False", "StreamNotFound")
    assert "ImageStream shop/app does not exist" in message

    await setup.push("app", GOOD, GOOD.partition("@")[2])
    status, reason, message = verdict(await setup.reconcile(workload))
    assert (status, reason) == ("False", "TagNotFound")
    assert "shop/app:v2" in message


async def test_the_annotation_sets_what_it_can(setup: TriggerSetup) -> None:
    await setup.push("app", GOOD, GOOD.partition("@")[2])
    both = annotated(Deployment, entry("app", "app:latest"), entry("side", "gone:latest"))

    workload = await setup.reconcile(await setup.store.create(both))

    assert images(workload) == [GOOD, " "]
    assert verdict(workload)[1] == "StreamNotFound"


async def test_a_deployment_config_waits_for_all_its_automatic_triggers(
    setup: TriggerSetup,
) -> None:
    await setup.push("app", GOOD, GOOD.partition("@")[2])
    both = config(image_change("app", "app:latest"), image_change("side", "side:latest"))
    workload = await setup.reconcile(await setup.store.create(both))
    assert images(workload) == [" ", " "]
    assert verdict(workload)[1] == "StreamNotFound"

    await setup.push("side", BETTER, BETTER.partition("@")[2])
    workload = await setup.reconcile(workload)

    assert images(workload) == [GOOD, BETTER]
    assert [(one.container, one.image) for one in workload.status.triggered] == [
        ("app", GOOD),
        ("side", BETTER),
    ]


async def test_a_trigger_that_is_not_automatic_sets_nothing_but_shows_what_is_pending(
    setup: TriggerSetup,
) -> None:
    await setup.push("app", GOOD, GOOD.partition("@")[2])
    manual = config(image_change("app", "app:latest", automatic=False))

    workload = await setup.reconcile(await setup.store.create(manual))

    assert images(workload) == [" ", " "]
    status, reason, message = verdict(workload)
    assert (status, reason) == ("False", "Paused")
    assert f"pending: app = {GOOD}" in message


async def test_a_paused_trigger_and_a_paused_workload_set_nothing(setup: TriggerSetup) -> None:
    await setup.push("app", GOOD, GOOD.partition("@")[2])
    paused = annotated(Deployment, entry("app", "app:latest", paused=True))
    stopped = annotated(Deployment, entry("app", "app:latest"), paused=True)
    stopped = stopped.with_metadata(name="stopped")

    for workload in (paused, stopped):
        seen = await setup.reconcile(await setup.store.create(workload))
        assert images(seen) == [" ", " "]
        assert verdict(seen)[:2] == ("False", "Paused")


async def test_a_hold_keeps_the_trigger_away(setup: TriggerSetup) -> None:
    await setup.push("app", GOOD, GOOD.partition("@")[2])
    workload = annotated(Deployment, entry("app", "app:latest"))
    annotations = {**workload.annotations, "upwell.dev/hold": "friday"}
    held = await setup.store.create(workload.with_metadata(annotations=annotations))

    held = await setup.reconcile(held)

    assert images(held) == [" ", " "]
    assert verdict(held)[1] == "Held"
    assert "friday" in verdict(held)[2]


async def test_a_trigger_that_makes_no_sense_is_shown(setup: TriggerSetup) -> None:
    nonsense = annotated(Deployment, entry("nobody", "app:latest"))

    status, reason, message = verdict(await setup.reconcile(await setup.store.create(nonsense)))

    assert (status, reason) == ("False", "InvalidTrigger")
    assert "nobody" in message


async def test_a_workload_without_triggers_gets_no_condition(setup: TriggerSetup) -> None:
    plain = annotated(Deployment).with_metadata(annotations={})

    assert (await setup.reconcile(await setup.store.create(plain))).status.conditions == ()


async def test_a_hold_outranks_every_trigger_until_its_end(setup: TriggerSetup) -> None:
    await setup.push("app", GOOD, GOOD.partition("@")[2])
    workload = annotated(Deployment, entry("app", "app:latest"))
    annotations = {
        **workload.annotations,
        "upwell.dev/hold": "Black Friday",
        "upwell.dev/hold-until": "2026-01-01T12:00:00+00:00",
    }
    await setup.store.create(workload.with_metadata(annotations=annotations))

    result = await setup.reconciler.reconcile(workload.key)
    held = await setup.store.get(Deployment, "shop", "web")
    template = pod_template(held)
    assert template is not None
    assert template.spec.containers[0].image == " "
    [told] = held.status.conditions
    assert told.reason == "Held"
    assert "Black Friday (until 2026-01-01 12:00 UTC)" in told.message
    assert result.requeue_after == 12 * 3600

    setup.clock.advance(12 * 3600)
    lifted = await setup.reconcile(held)
    template = pod_template(lifted)
    assert template is not None
    assert template.spec.containers[0].image == GOOD
    assert "upwell.dev/hold" not in lifted.annotations


async def test_a_hold_whose_end_nobody_understands_stays(setup: TriggerSetup) -> None:
    await setup.push("app", GOOD, GOOD.partition("@")[2])
    workload = annotated(Deployment, entry("app", "app:latest"))
    annotations = {**workload.annotations, "upwell.dev/hold": "", "upwell.dev/hold-until": "soon"}
    await setup.store.create(workload.with_metadata(annotations=annotations))

    held = await setup.reconcile(workload)
    assert "for ever: 'soon' is not a time with a zone" in held.status.conditions[0].message
