"""Contract of stores, of one object and of lists: create, read, update, delete."""

import asyncio
import uuid

import pytest
from tests.support.store.stores_under_test import NAMESPACE, Port, now, pipeline, ready

from upwell.api.builds.build import Build, BuildPhase, BuildSpec, BuildStatus
from upwell.api.builds.config import BuildConfig, BuildConfigSpec, RunPolicy
from upwell.api.builds.inputs import BuildSource, BuildStrategy, DockerBuildStrategy
from upwell.api.core import ConfigMap
from upwell.api.defaults import apply_defaults
from upwell.api.image import Image
from upwell.api.meta import ObjectMeta, ObjectReference, OwnerReference, Resource
from upwell.api.pipeline import Pipeline, PipelineStatus
from upwell.store.interface import (
    AlreadyExistsError,
    ConflictError,
    NotFoundError,
    RejectedError,
    Selector,
    Store,
)


async def eventually_gone(store: Store, resource: Resource) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                await store.get(type(resource), resource.namespace, resource.name)
            except NotFoundError:
                return
            await asyncio.sleep(0.1)


# create


async def test_create_gives_an_object_its_identity(store: Store) -> None:
    made = await store.create(pipeline("a", "test"))

    assert str(uuid.UUID(made.uid)) == made.uid
    assert made.generation == 1
    assert made.resource_version
    assert made.metadata.creation_timestamp is not None
    assert abs((now() - made.metadata.creation_timestamp).total_seconds()) < 60
    assert made.metadata.creation_timestamp.microsecond == 0
    assert await store.get(Pipeline, NAMESPACE, "a") == made


async def test_create_keeps_no_status(store: Store) -> None:
    made = await store.create(pipeline("a").with_status(ready("True")))

    assert made.status == PipelineStatus()
    assert (await store.get(Pipeline, NAMESPACE, "a")).status == PipelineStatus()


async def test_create_keeps_all_fields_of_a_kind_without_status(store: Store) -> None:
    values = ConfigMap(metadata=ObjectMeta(name="v", namespace=NAMESPACE), data={"a": "1"})

    made = await store.create(values)

    assert made.data == {"a": "1"}


async def test_create_ignores_an_identity_from_elsewhere(store: Store) -> None:
    foreign = pipeline("a", resourceVersion="17", uid=str(uuid.uuid4()), generation=9)

    made = await store.create(foreign)

    assert made.uid != foreign.uid
    assert made.generation == 1


async def test_create_refuses_a_name_that_is_taken(store: Store) -> None:
    await store.create(pipeline("a"))

    with pytest.raises(AlreadyExistsError, match="Pipeline shop/a"):
        await store.create(pipeline("a", "other"))


async def test_the_same_name_in_another_namespace_is_another_object(store: Store) -> None:
    await store.create(pipeline("a"))
    other = await store.create(pipeline("a", "x", namespace="default"))

    assert await store.get(Pipeline, "default", "a") == other
    assert len((await store.list(Pipeline, Selector(NAMESPACE))).items) == 1
    await store.delete(Pipeline, "default", "a")


async def test_create_completes_generate_name(store: Store) -> None:
    made = [await store.create(pipeline("", generateName="run-")) for _ in range(2)]

    assert made[0].name != made[1].name
    assert all(one.name.startswith("run-") and len(one.name) > 4 for one in made)


async def test_create_refuses_an_object_without_any_name(store: Store) -> None:
    with pytest.raises(RejectedError, match="name"):
        await store.create(pipeline(""))


async def test_create_refuses_a_namespaced_object_without_namespace(store: Store) -> None:
    with pytest.raises(RejectedError, match="namespace"):
        await store.create(Pipeline(metadata=ObjectMeta(name="a")))


async def test_unknown_fields_are_kept(store: Store) -> None:
    document = pipeline("a").model_dump(by_alias=True, exclude_none=True)
    document["spec"]["later"] = {"x": [1, "2"]}
    await store.create(Pipeline.model_validate(document))

    found = await store.get(Pipeline, NAMESPACE, "a")

    assert found.spec.model_extra == {"later": {"x": [1, "2"]}}


async def test_a_cluster_scoped_object_has_no_namespace(store: Store) -> None:
    name = f"image-{uuid.uuid4().hex}"
    await store.create(Image(metadata=ObjectMeta(name=name), docker_image_reference="r/x:1"))

    found = await store.get(Image, "", name)

    assert (found.namespace, found.docker_image_reference) == ("", "r/x:1")
    await store.delete(Image, "", name)


# get and list


async def test_a_missing_object_is_named_in_the_error(store: Store) -> None:
    with pytest.raises(NotFoundError, match="Pipeline shop/none does not exist"):
        await store.get(Pipeline, NAMESPACE, "none")


@pytest.mark.parametrize("name", ["a/status", "../pipelines/a", "..", "a%2Fstatus"])
async def test_a_name_that_no_object_can_have_is_missing(store: Store, name: str) -> None:
    await store.create(pipeline("a"))

    with pytest.raises(NotFoundError) as missing:
        await store.get(Pipeline, NAMESPACE, name)

    assert missing.value.key.name == name


async def test_list_is_ordered_by_name(store: Store) -> None:
    for name in ("c", "a", "b"):
        await store.create(pipeline(name))

    listing = await store.list(Pipeline, Selector(NAMESPACE))

    assert [item.name for item in listing.items] == ["a", "b", "c"]


async def test_list_selects_by_namespace_labels_and_name(store: Store) -> None:
    await store.create(pipeline("a", labels={"app": "shop", "tier": "web"}))
    await store.create(pipeline("b", labels={"app": "gate", "tier": "web"}))

    async def names(selector: Selector) -> list[str]:
        return [item.name for item in (await store.list(Pipeline, selector)).items]

    assert await names(Selector(NAMESPACE, {"tier": "web"})) == ["a", "b"]
    assert await names(Selector(NAMESPACE, {"tier": "web", "app": "gate"})) == ["b"]
    assert await names(Selector(NAMESPACE, name="a")) == ["a"]
    assert await names(Selector("elsewhere")) == []


async def test_list_reads_a_large_set_in_full(store: Store) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(620):  # more than one page of any API server's client
            group.create_task(store.create(pipeline(f"p{number}")))

    listing = await store.list(Pipeline, Selector(NAMESPACE))

    assert {item.name for item in listing.items} == {f"p{number}" for number in range(620)}


# update


async def test_update_of_the_spec_raises_the_generation(store: Store) -> None:
    made = await store.create(pipeline("a", "test"))

    changed = await store.update(made.model_copy(update={"spec": pipeline("a", "live").spec}))

    assert changed.generation == 2
    assert changed.resource_version != made.resource_version
    assert [stage.name for stage in changed.spec.stages] == ["live"]
    assert await store.get(Pipeline, NAMESPACE, "a") == changed


async def test_update_of_metadata_keeps_the_generation(store: Store) -> None:
    made = await store.create(pipeline("a", "test"))

    changed = await store.update(made.with_metadata(labels={"x": "y"}))

    assert (changed.generation, dict(changed.labels)) == (1, {"x": "y"})
    assert changed.resource_version != made.resource_version


async def test_update_keeps_the_stored_status(store: Store) -> None:
    made = await store.create(pipeline("a"))
    made = await store.update_status(made.with_status(ready("True")))

    changed = await store.update(made.with_status(ready("False")).with_metadata(labels={"x": "y"}))

    assert changed.status == ready("True")


async def test_update_cannot_change_identity(store: Store) -> None:
    made = await store.create(pipeline("a"))

    changed = await store.update(made.with_metadata(generation=7, labels={"x": "y"}))

    assert changed.uid == made.uid
    assert changed.generation == 1
    assert changed.metadata.creation_timestamp == made.metadata.creation_timestamp


async def test_an_equal_object_is_not_written_again(store: Store) -> None:
    made = await store.create(pipeline("a", "test"))

    again = await store.update(made)

    assert again.resource_version == made.resource_version


async def test_a_stale_update_conflicts(store: Store) -> None:
    stale = await store.create(pipeline("a"))
    await store.update_status(stale.with_status(ready("True")))

    with pytest.raises(ConflictError, match="Pipeline shop/a"):
        await store.update(stale.with_metadata(labels={"x": "y"}))


async def test_an_object_without_resource_version_is_written_unconditionally(store: Store) -> None:
    made = await store.create(pipeline("a", "test"))
    await store.update_status(made.with_status(ready("True")))

    changed = await store.update(pipeline("a", "live"))

    assert changed.generation == 2
    assert changed.uid == made.uid
    assert changed.status == ready("True")


async def test_update_of_another_incarnation_conflicts(store: Store) -> None:
    first = await store.create(pipeline("a"))
    await store.delete(Pipeline, NAMESPACE, "a")
    await store.create(pipeline("a"))

    with pytest.raises(ConflictError):
        await store.update(first.with_metadata(resource_version=None, labels={"x": "y"}))


async def test_update_of_a_missing_object_is_refused(store: Store) -> None:
    with pytest.raises(NotFoundError):
        await store.update(pipeline("none"))


# status


async def test_update_status_writes_the_status_alone(store: Store) -> None:
    made = await store.create(pipeline("a", "test"))

    changed = await store.update_status(
        pipeline(
            "a", "other", labels={"x": "y"}, resourceVersion=made.resource_version
        ).with_status(ready("True"))
    )

    assert changed.status == ready("True")
    assert (changed.spec, dict(changed.labels)) == (made.spec, {})
    assert changed.generation == 1
    assert changed.resource_version != made.resource_version


async def test_an_equal_status_is_not_written_again(store: Store) -> None:
    made = await store.create(pipeline("a"))
    first = await store.update_status(made.with_status(ready("True")))

    again = await store.update_status(first.with_status(ready("True")))

    assert again.resource_version == first.resource_version


async def test_a_stale_status_conflicts(store: Store) -> None:
    stale = await store.create(pipeline("a"))
    await store.update_status(stale.with_status(ready("True")))

    with pytest.raises(ConflictError):
        await store.update_status(stale.with_status(ready("False")))


async def test_update_status_of_a_missing_object_is_refused(store: Store) -> None:
    with pytest.raises(NotFoundError):
        await store.update_status(pipeline("none").with_status(ready("True")))


async def test_a_kind_without_status_has_none_to_write(store: Store) -> None:
    made = await store.create(ConfigMap(metadata=ObjectMeta(name="v", namespace=NAMESPACE)))

    with pytest.raises(RejectedError, match="status"):
        await store.update_status(made)


async def test_a_rich_object_comes_back_as_it_was_written(store: Store) -> None:
    base = ObjectReference(kind="ImageStreamTag", name="base:1")
    strategy = BuildStrategy(docker_strategy=DockerBuildStrategy(from_=base))
    source = BuildSource(dockerfile="FROM base")
    config = BuildConfig(
        metadata=ObjectMeta(name="rich", namespace=NAMESPACE, annotations={"a/b": "ü"}),
        spec=BuildConfigSpec(strategy=strategy, source=source, run_policy=RunPolicy.PARALLEL),
    )
    complete = apply_defaults(config)  # a server completes what is not
    assert isinstance(complete, BuildConfig)
    made = await store.create(complete)
    meta = ObjectMeta(name="rich-1", namespace=NAMESPACE)
    spec = BuildSpec(strategy=strategy, source=source)
    build = await store.create(apply_defaults(Build(metadata=meta, spec=spec)))
    assert isinstance(build, Build)
    status = BuildStatus(phase=BuildPhase.RUNNING, start_timestamp=now(), duration=10**12)
    await store.update_status(build.with_status(status))

    found = await store.get(BuildConfig, NAMESPACE, "rich")
    found_build = await store.get(Build, NAMESPACE, "rich-1")

    assert found == made
    assert found.spec == complete.spec
    assert found_build.status == status


# delete


async def test_delete_removes_the_object(store: Store) -> None:
    made = await store.create(pipeline("a"))

    await store.delete(Pipeline, NAMESPACE, "a")

    with pytest.raises(NotFoundError):
        await store.get(Pipeline, NAMESPACE, "a")
    assert (await store.create(pipeline("a"))).uid != made.uid


async def test_delete_of_a_missing_object_is_refused(store: Store) -> None:
    with pytest.raises(NotFoundError):
        await store.delete(Pipeline, NAMESPACE, "none")


async def test_delete_of_one_version_spares_a_newer_one(store: Store) -> None:
    old = await store.create(pipeline("a"))
    new = await store.update_status(old.with_status(ready("True")))

    with pytest.raises(ConflictError):
        await store.delete(Pipeline, NAMESPACE, "a", resource_version=old.resource_version)
    await store.delete(Pipeline, NAMESPACE, "a", resource_version=new.resource_version)


async def test_a_finalizer_holds_deletion_up_until_it_is_removed(store: Store) -> None:
    await store.create(pipeline("a", finalizers=("upwell.dev/cleanup",)))

    await store.delete(Pipeline, NAMESPACE, "a")
    held = await store.get(Pipeline, NAMESPACE, "a")
    await store.delete(Pipeline, NAMESPACE, "a")
    still = await store.get(Pipeline, NAMESPACE, "a")

    assert held.is_deleting
    assert still.metadata.deletion_timestamp == held.metadata.deletion_timestamp
    await store.update(still.with_metadata(finalizers=()))
    with pytest.raises(NotFoundError):
        await store.get(Pipeline, NAMESPACE, "a")


async def test_removing_a_finalizer_of_a_living_object_removes_nothing_else(store: Store) -> None:
    made = await store.create(pipeline("a", finalizers=("upwell.dev/cleanup",)))

    await store.update(made.with_metadata(finalizers=()))

    assert not (await store.get(Pipeline, NAMESPACE, "a")).is_deleting


async def test_deletion_takes_along_what_the_object_owned(port: Port) -> None:
    store = port.store
    parent = await store.create(pipeline("parent"))
    child = await store.create(_owned(pipeline("child"), parent.owner_reference()))
    grandchild = await store.create(_owned(pipeline("grandchild"), child.owner_reference()))
    other = await store.create(pipeline("other"))

    await store.delete(Pipeline, NAMESPACE, "parent")

    if port.settles_at_once:
        listing = await store.list(Pipeline, Selector(NAMESPACE))
        assert [item.name for item in listing.items] == ["other"]
    else:
        await eventually_gone(store, grandchild)
        await eventually_gone(store, child)
    assert await store.get(Pipeline, NAMESPACE, "other") == other


async def test_an_object_with_two_owners_lives_until_both_are_gone(port: Port) -> None:
    store = port.store
    owners = [await store.create(pipeline(name)) for name in ("one", "two")]
    references = [owner.owner_reference() for owner in owners]
    # Kubernetes allows one controller among the owners.
    references[1] = references[1].model_copy(update={"controller": None})
    child = await store.create(_owned(pipeline("child"), *references))

    await store.delete(Pipeline, NAMESPACE, "one")
    assert (await store.get(Pipeline, NAMESPACE, "child")).uid == child.uid

    await store.delete(Pipeline, NAMESPACE, "two")
    await eventually_gone(store, child)


def _owned(resource: Pipeline, *owners: OwnerReference) -> Pipeline:
    return resource.with_metadata(owner_references=owners)
