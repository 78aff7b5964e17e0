"""What every store does: in memory, in a file, behind our own server, behind Kubernetes' own.

Two differences are allowed. Kubernetes deletes what an object owned a while after the object
(`Port.settles_at_once`). Our server, when a watch is resumed, does not know which objects its
client has: what enters the selection may come as MODIFIED (`Port.knows_old_labels`).
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.contract.own_server import own_client

from upwell.api.build import (
    Build,
    BuildConfig,
    BuildConfigSpec,
    BuildPhase,
    BuildStatus,
    BuildStrategy,
    DockerBuildStrategy,
    RunPolicy,
)
from upwell.api.core import ConfigMap
from upwell.api.defaults import apply_defaults
from upwell.api.image import Image
from upwell.api.meta import Condition, ObjectMeta, ObjectReference, OwnerReference, Resource
from upwell.api.promotion import ConditionedStatus, Pipeline, PipelineSpec, Stage
from upwell.store.interface import (
    EVERYTHING,
    AlreadyExistsError,
    Change,
    ConflictError,
    ExpiredError,
    NotFoundError,
    RejectedError,
    Selector,
    Store,
    WatchEvent,
)
from upwell.store.memory import MemoryStore
from upwell.store.sqlite import SqliteStore

NAMESPACE = "shop"
SOON = 10.0


@dataclass(frozen=True)
class Port:
    """A store under test."""

    store: Store
    settles_at_once: bool
    knows_old_labels: bool = True


@pytest.fixture(params=["memory", "sqlite", "server", "kubernetes"])
async def port(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Port]:
    match request.param:
        case "memory":
            yield Port(MemoryStore(_now), settles_at_once=True)
        case "sqlite":
            sqlite = await SqliteStore.open(tmp_path / "upwell.db", clock=_now)
            yield Port(sqlite, settles_at_once=True)
            await sqlite.close()
        case "server":
            async with own_client(NAMESPACE) as client:
                yield Port(client, settles_at_once=True, knows_old_labels=False)
        case _:
            cluster = request.getfixturevalue("cluster")
            async with cluster.store(NAMESPACE) as kubernetes:
                yield Port(kubernetes, settles_at_once=False)


@pytest.fixture
def store(port: Port) -> Store:
    return port.store


def _now() -> datetime:
    return datetime.now(UTC)


def pipeline(name: str, *stages: str, **metadata: object) -> Pipeline:
    return Pipeline(
        metadata=ObjectMeta.model_validate({"name": name, "namespace": NAMESPACE, **metadata}),
        spec=PipelineSpec(stages=tuple(Stage(name=stage) for stage in stages)),
    )


def ready(status: str) -> ConditionedStatus:
    return ConditionedStatus(conditions=(Condition(type="Ready", status=status),))


async def eventually_gone(store: Store, resource: Resource) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                await store.get(type(resource), resource.namespace, resource.name)
            except NotFoundError:
                return
            await asyncio.sleep(0.1)


@asynccontextmanager
async def watching(
    store: Store, selector: Selector = EVERYTHING, *, since: str = ""
) -> AsyncIterator[AsyncIterator[WatchEvent[Pipeline]]]:
    events = store.watch(Pipeline, selector, since=since)
    async with asyncio.timeout(SOON), aclosing(events) as open_events:
        yield open_events


async def take(events: AsyncIterator[WatchEvent[Pipeline]], count: int) -> list[tuple[str, str]]:
    taken = []
    for _ in range(count):
        event = await anext(events)
        taken.append((event.change.value, event.resource.name))
    return taken


# create


async def test_create_gives_an_object_its_identity(store: Store) -> None:
    made = await store.create(pipeline("a", "test"))

    assert str(uuid.UUID(made.uid)) == made.uid
    assert made.generation == 1
    assert made.resource_version
    assert made.metadata.creation_timestamp is not None
    assert abs((_now() - made.metadata.creation_timestamp).total_seconds()) < 60
    assert made.metadata.creation_timestamp.microsecond == 0
    assert await store.get(Pipeline, NAMESPACE, "a") == made


async def test_create_keeps_no_status(store: Store) -> None:
    made = await store.create(pipeline("a").with_status(ready("True")))

    assert made.status == ConditionedStatus()
    assert (await store.get(Pipeline, NAMESPACE, "a")).status == ConditionedStatus()


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
    extended = Pipeline.model_validate(
        {"metadata": {"name": "a", "namespace": NAMESPACE}, "spec": {"later": {"x": [1, "2"]}}}
    )
    await store.create(extended)

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
    config = BuildConfig(
        metadata=ObjectMeta(name="rich", namespace=NAMESPACE, annotations={"a/b": "ü"}),
        spec=BuildConfigSpec(strategy=strategy, run_policy=RunPolicy.PARALLEL),
    )
    complete = apply_defaults(config)  # a server completes what is not
    assert isinstance(complete, BuildConfig)
    made = await store.create(complete)
    build = await store.create(Build(metadata=ObjectMeta(name="rich-1", namespace=NAMESPACE)))
    status = BuildStatus(phase=BuildPhase.RUNNING, start_timestamp=_now(), duration=10**12)
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


# watch


async def test_a_watch_without_since_first_yields_what_exists(store: Store) -> None:
    for name in ("a", "b"):
        await store.create(pipeline(name))

    async with watching(store, Selector(NAMESPACE)) as events:
        existing = await take(events, 2)
        await store.create(pipeline("c"))
        then = await take(events, 1)

    assert existing == [("ADDED", "a"), ("ADDED", "b")]
    assert then == [("ADDED", "c")]


async def test_a_watch_goes_on_after_a_listing(store: Store) -> None:
    made = await store.create(pipeline("a"))
    since = (await store.list(Pipeline, Selector(NAMESPACE))).resource_version
    await store.update_status(made.with_status(ready("True")))
    await store.delete(Pipeline, NAMESPACE, "a")
    await store.create(pipeline("b"))

    async with watching(store, Selector(NAMESPACE), since=since) as events:
        seen = await take(events, 3)

    assert seen == [("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "b")]


async def test_a_watch_resumes_after_any_event_without_loss_or_repetition(store: Store) -> None:
    since = (await store.list(Pipeline, Selector(NAMESPACE))).resource_version
    names = [f"p{number}" for number in range(12)]
    for name in names:
        await store.create(pipeline(name))
    seen: list[str] = []

    while len(seen) < len(names):
        async with watching(store, Selector(NAMESPACE), since=since) as events:
            for _ in range(3):
                event = await anext(events)
                seen.append(event.resource.name)
                since = event.resource.resource_version

    assert seen == names


async def test_a_deletion_is_a_position_to_resume_from(store: Store) -> None:
    await store.create(pipeline("a"))
    since = (await store.list(Pipeline, Selector(NAMESPACE))).resource_version
    await store.delete(Pipeline, NAMESPACE, "a")
    await store.create(pipeline("b"))

    async with watching(store, Selector(NAMESPACE), since=since) as events:
        deleted = await anext(events)
    resumed = deleted.resource.resource_version
    async with watching(store, Selector(NAMESPACE), since=resumed) as events:
        assert await take(events, 1) == [("ADDED", "b")]
    assert deleted.change is Change.DELETED


async def test_a_watch_sees_labels_come_and_go(port: Port) -> None:
    store = port.store
    made = await store.create(pipeline("a"))
    selector = Selector(NAMESPACE, {"app": "shop"})
    since = (await store.list(Pipeline, selector)).resource_version

    async with watching(store, selector, since=since) as events:
        made = await store.update(made.with_metadata(labels={"app": "shop"}))
        made = await store.update(made.with_metadata(labels={"app": "shop", "x": "y"}))
        made = await store.update(made.with_metadata(labels={}))
        await store.update(made.with_metadata(labels={"x": "z"}))
        await store.create(pipeline("end", labels={"app": "shop"}))
        seen = await take(events, 4)

    entered = "ADDED" if port.knows_old_labels else "MODIFIED"
    assert seen == [(entered, "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "end")]


async def test_a_watch_sees_one_name_and_one_kind_only(store: Store) -> None:
    selector = Selector(NAMESPACE, name="wanted")
    since = (await store.list(Pipeline, selector)).resource_version

    async with watching(store, selector, since=since) as events:
        await store.create(pipeline("other"))
        await store.create(ConfigMap(metadata=ObjectMeta(name="wanted", namespace=NAMESPACE)))
        await store.create(pipeline("wanted"))
        assert await take(events, 1) == [("ADDED", "wanted")]


async def test_a_write_that_changes_nothing_is_no_event(store: Store) -> None:
    made = await store.create(pipeline("a"))
    since = (await store.list(Pipeline, Selector(NAMESPACE))).resource_version

    async with watching(store, Selector(NAMESPACE), since=since) as events:
        await store.update(made)
        await store.update_status(made)
        await store.create(pipeline("b"))
        assert await take(events, 1) == [("ADDED", "b")]


@pytest.mark.parametrize("since", ["99999999999", "yesterday"])
async def test_a_position_that_the_store_never_gave_has_expired(port: Port, since: str) -> None:
    if not port.settles_at_once:
        pytest.skip("an API server waits for a version of the future, and refuses a word")
    async with watching(port.store, since=since) as events:
        with pytest.raises(ExpiredError, match=since):
            await anext(events)


# many at a time


async def test_every_increment_of_many_writers_survives(store: Store) -> None:
    await store.create(
        ConfigMap(metadata=ObjectMeta(name="n", namespace=NAMESPACE), data={"n": "0"})
    )

    async def increment() -> None:
        while True:
            found = await store.get(ConfigMap, NAMESPACE, "n")
            wanted = found.model_copy(update={"data": {"n": str(int(found.data["n"]) + 1)}})
            try:
                await store.update(wanted)
            except ConflictError:
                continue
            return

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(increment())

    assert (await store.get(ConfigMap, NAMESPACE, "n")).data == {"n": "20"}


async def test_of_many_creators_of_one_name_one_succeeds(store: Store) -> None:
    outcomes = await asyncio.gather(
        *(store.create(pipeline("a", f"s{number}")) for number in range(10)), return_exceptions=True
    )

    made = [outcome for outcome in outcomes if isinstance(outcome, Pipeline)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, AlreadyExistsError)]
    assert (len(made), len(refused)) == (1, 9)
    assert await store.get(Pipeline, NAMESPACE, "a") == made[0]


async def test_every_watch_sees_concurrent_writes_in_the_same_order(store: Store) -> None:
    since = (await store.list(Pipeline, Selector(NAMESPACE))).resource_version

    async def observe() -> list[tuple[str, str]]:
        async with watching(store, Selector(NAMESPACE), since=since) as events:
            return await take(events, 40)

    async with asyncio.TaskGroup() as group:
        watches = [group.create_task(observe()) for _ in range(5)]
        for number in range(40):
            group.create_task(store.create(pipeline(f"p{number}")))

    orders = [watch.result() for watch in watches]
    assert all(order == orders[0] for order in orders)
    assert len(set(orders[0])) == 40
