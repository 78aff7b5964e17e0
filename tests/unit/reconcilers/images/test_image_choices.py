"""Image of a stream's tag: of an index, of a repository's tags, of another stream."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.builds.memory_builds import (
    AMD64,
    ARM64,
    INTERNAL,
    NAMESPACE,
    VENDOR,
    BuildMachine,
    image_stream,
    imported,
    push,
    push_index,
    stream_key,
    until,
)

from upwell.api.image import Image, ImageStream, ImportMode, ImportPolicy, TagReference
from upwell.api.meta import ObjectReference
from upwell.oci import Digest
from upwell.policy.images.import_request import PREFER_ARCH
from upwell.policy.images.registry_webhooks import PushNotice
from upwell.policy.images.schedule import INTERVAL_ANNOTATION
from upwell.policy.images.selection import SELECTION_ANNOTATION
from upwell.reconcilers.images.image_streams import ImageStreams, image_stream_controller
from upwell.reconcilers.images.records import FIRST_SEEN_ANNOTATION

SOURCE = f"{VENDOR}/debian:11"
KEY = stream_key("debian")


@pytest.fixture
def machine(tmp_path: Path) -> BuildMachine:
    return BuildMachine(tmp_path)


def config(**changes: Any) -> bytes:
    document = {"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": []}, **changes}
    return json.dumps(document).encode()


async def create(machine: BuildMachine, *tags: TagReference, name: str = "debian") -> ImageStreams:
    await machine.store.create(image_stream(name, *tags, **{INTERVAL_ANNOTATION: "1m"}))
    return machine.streams(platforms=[AMD64])


async def images(machine: BuildMachine, stream: str, tag: str) -> list[str]:
    return [event.image for event in (await machine.history(stream, tag)).items]


async def push_multi(machine: BuildMachine, amd64: str, arm64: str) -> dict[str, Digest]:
    """Push debian:11 as an index of two images, told apart by their labels."""
    registry = machine.vendor.registry
    own, other = [
        await push(registry, "debian:part", mark, config(config={"Labels": {"mark": mark}}))
        for mark in (amd64, arm64)
    ]
    index = await push_index(registry, "debian:11", {AMD64: own, ARM64: other})
    return {"index": index, "amd64": own, "arm64": other}


async def test_a_change_of_another_platform_is_noted_and_is_no_new_image(
    machine: BuildMachine,
) -> None:
    streams = await create(machine, imported("11", SOURCE, scheduled=True))
    first = await push_multi(machine, "one", "two")
    await streams.reconcile(KEY)
    second = await push_multi(machine, "one", "three")
    machine.clock.advance(60)
    await streams.reconcile(KEY)
    history = await machine.history("debian", "11")
    assert [event.image for event in history.items] == [str(first["index"])]
    assert history.import_state is not None
    ignored = history.import_state.ignored
    assert ignored is not None
    assert (ignored.digest, ignored.reason) == (str(second["index"]), "OtherPlatformsOnly")
    assert ignored.seen == machine.clock()
    machine.vendor.requests.clear()
    machine.clock.advance(60)
    await streams.reconcile(KEY)  # it is known now
    assert machine.vendor.requests == [f"HEAD {SOURCE}"]
    assert len((await machine.history("debian", "11")).items) == 1


async def test_what_was_passed_over_is_compared_with_what_is_in_force(
    machine: BuildMachine,
) -> None:
    streams = await create(machine, imported("11", SOURCE, scheduled=True))
    await push_multi(machine, "one", "two")
    await streams.reconcile(KEY)
    for amd64, arm64 in (("one", "three"), ("four", "three")):
        latest = await push_multi(machine, amd64, arm64)
        machine.clock.advance(60)
        await streams.reconcile(KEY)
    history = await machine.history("debian", "11")
    assert history.items[0].image == str(latest["index"])
    assert history.import_state is not None
    assert history.import_state.ignored is None


async def test_a_rebuild_that_changes_times_alone_is_no_new_image(machine: BuildMachine) -> None:
    streams = await create(machine, imported("11", SOURCE, scheduled=True))
    registry = machine.vendor.registry
    old = await push(registry, "debian:11", "a", config(created="2026-01-01T00:00:00Z"))
    await streams.reconcile(KEY)
    new = await push(registry, "debian:11", "b", config(created="2026-02-02T00:00:00Z"))
    machine.clock.advance(60)
    await streams.reconcile(KEY)
    assert await images(machine, "debian", "11") == [str(old)]
    state = (await machine.history("debian", "11")).import_state
    assert state is not None
    assert state.ignored is not None
    assert (state.ignored.digest, state.ignored.reason) == (str(new), "TimestampsOnly")


async def test_a_person_who_imports_again_gets_what_was_passed_over(machine: BuildMachine) -> None:
    tag = imported("11", SOURCE, scheduled=True)
    streams = await create(machine, tag)
    await push_multi(machine, "one", "two")
    await streams.reconcile(KEY)
    second = await push_multi(machine, "one", "three")
    machine.clock.advance(60)
    await streams.reconcile(KEY)
    stream = await machine.stream("debian")
    spec = stream.spec.model_copy(update={"tags": (tag.model_copy(update={"generation": 9}),)})
    await machine.store.update(stream.model_copy(update={"spec": spec}))
    await streams.reconcile(KEY)
    history = await machine.history("debian", "11")
    assert history.items[0].image == str(second["index"])
    assert history.items[0].generation == 9


async def test_an_import_by_hand_undoes_a_push(machine: BuildMachine) -> None:
    tag = imported("11", SOURCE)
    streams = await create(machine, tag)
    upstream = await push(machine.vendor.registry, "debian:11", "theirs")
    await streams.reconcile(KEY)
    await push(machine.internal, f"{NAMESPACE}/debian:11", "own")
    await streams.reconcile(KEY)
    stream = await machine.stream("debian")
    spec = stream.spec.model_copy(update={"tags": (tag.model_copy(update={"generation": 9}),)})
    await machine.store.update(stream.model_copy(update={"spec": spec}))
    await streams.reconcile(KEY)
    assert (await images(machine, "debian", "11"))[0] == str(upstream)


async def test_legacy_mode_takes_the_image_of_one_platform(machine: BuildMachine) -> None:
    ours = imported("11", SOURCE).model_copy(
        update={"import_policy": ImportPolicy(import_mode=ImportMode.LEGACY)}
    )
    theirs = imported("arm", SOURCE).model_copy(update={"annotations": {PREFER_ARCH: "arm64"}})
    streams = await create(machine, ours, theirs)
    digests = await push_multi(machine, "one", "two")
    await streams.reconcile(KEY)
    assert await images(machine, "debian", "11") == [str(digests["amd64"])]
    assert await images(machine, "debian", "arm") == [str(digests["arm64"])]
    state = (await machine.history("debian", "arm")).import_state
    assert state is not None
    assert state.upstream_digest == str(digests["index"])
    kept = await machine.store.get(Image, "", str(digests["arm64"]))
    assert kept.docker_image_metadata["Config"] == {"Labels": {"mark": "two"}}


async def test_the_first_time_that_a_digest_was_seen_is_kept(machine: BuildMachine) -> None:
    streams = await create(machine, imported("11", SOURCE, scheduled=True))
    digests = await push_multi(machine, "one", "two")
    seen = machine.clock()
    await streams.reconcile(KEY)
    for marks in (("three", "two"), ("one", "two")):
        machine.clock.advance(60)
        await push_multi(machine, *marks)
        await streams.reconcile(KEY)
    state = (await machine.history("debian", "11")).import_state
    assert state is not None
    assert state.upstream_digest == str(digests["index"])
    assert state.first_seen == seen
    image = await machine.store.get(Image, "", str(digests["index"]))
    assert image.annotations[FIRST_SEEN_ANNOTATION].endswith("Z")
    assert [entry.architecture for entry in image.docker_image_manifests] == ["amd64", "arm64"]


async def test_a_selection_follows_the_best_tag_and_survives_a_gap(machine: BuildMachine) -> None:
    tag = imported("stable", f"{VENDOR}/debian", scheduled=True)
    streams = await create(
        machine, tag.model_copy(update={"annotations": {SELECTION_ANNOTATION: "semver:>=1.2 <2"}})
    )
    registry = machine.vendor.registry
    for name in ("1.2.0", "1.10.0", "2.0.0", "latest"):
        await push(registry, f"debian:{name}", name, config(author=name))
    await streams.reconcile(KEY)
    history = await machine.history("debian", "stable")
    assert history.import_state is not None
    assert history.import_state.selected == "1.10.0"
    assert "semver:>=1.2 <2" in history.import_state.selection_reason
    await registry.untag("debian", "1.10.0")
    best = await push(registry, "debian:1.11.0", "n", config(author="n"))
    machine.clock.advance(60)
    await streams.reconcile(KEY)
    assert (await images(machine, "debian", "stable"))[0] == str(best)
    await registry.untag("debian", "1.11.0")
    machine.clock.advance(60)
    await streams.reconcile(KEY)
    history = await machine.history("debian", "stable")
    assert history.items[0].image == str(best)
    assert history.conditions[0].reason == "ManifestUnknown"


async def test_a_selection_that_is_wrong_or_finds_nothing_is_said(machine: BuildMachine) -> None:
    await push(machine.vendor.registry, "debian:1.0", "x")
    wrong, empty = [
        imported(name, f"{VENDOR}/debian", scheduled=True).model_copy(
            update={"annotations": {SELECTION_ANNOTATION: rule}}
        )
        for name, rule in (("wrong", "semver:high"), ("empty", "semver:>=3"))
    ]
    streams = await create(machine, wrong, empty)
    await streams.reconcile(KEY)
    reasons = [
        (await machine.history("debian", t)).conditions[0].reason for t in ("wrong", "empty")
    ]
    assert reasons == ["InvalidSelection", "NoTagMatches"]


async def test_a_webhook_of_any_tag_wakes_a_selection(machine: BuildMachine) -> None:
    tag = imported("stable", f"{VENDOR}/debian", scheduled=True)
    streams = await create(
        machine, tag.model_copy(update={"annotations": {SELECTION_ANNOTATION: "semver:*"}})
    )
    await push(machine.vendor.registry, "debian:1.0.0", "a")
    await streams.reconcile(KEY)
    new = await push(machine.vendor.registry, "debian:1.1.0", "b", config(author="b"))
    assert await streams.note([PushNotice("", "debian", "1.1.0")]) == 1
    await streams.reconcile(KEY)
    assert (await images(machine, "debian", "stable"))[0] == str(new)


async def bulk(machine: BuildMachine) -> ImageStreams:
    stream = image_stream("debian", **{INTERVAL_ANNOTATION: "1m"})
    spec = stream.spec.model_copy(update={"docker_image_repository": f"{VENDOR}/debian"})
    await machine.store.create(stream.model_copy(update={"spec": spec}))
    return machine.streams(platforms=[AMD64])


async def test_a_repository_is_imported_and_its_new_tags_are_found_later(
    machine: BuildMachine,
) -> None:
    registry = machine.vendor.registry
    for minor in range(52):
        await push(registry, f"debian:1.{minor}", "same")
    streams = await bulk(machine)
    await streams.reconcile(KEY)  # lists
    assert await streams.reconcile(KEY) is not None  # imports what was listed
    stream = await machine.stream("debian")
    assert stream.status.repository is not None
    assert stream.status.repository.additional_tags == ("1.1", "1.0")
    assert len(stream.status.tags) == 50
    assert all(history.latest for history in stream.status.tags)
    new = await push(registry, "debian:latest", "new", config(author="new"))
    machine.clock.advance(60)
    await streams.reconcile(KEY)
    await streams.reconcile(KEY)
    assert await images(machine, "debian", "latest") == [str(new)]
    assert len((await machine.stream("debian")).status.tags) == 51


async def test_a_changed_interval_moves_the_next_list_of_a_repository(
    machine: BuildMachine,
) -> None:
    await push(machine.vendor.registry, "debian:11", "old")
    streams = await bulk(machine)
    await streams.reconcile(KEY)
    stream = await machine.stream("debian")
    await machine.store.update(stream.with_metadata(annotations={INTERVAL_ANNOTATION: "1h"}))
    await streams.reconcile(KEY)
    repository = (await machine.stream("debian")).status.repository
    assert repository is not None
    assert repository.next_check_time == machine.clock() + timedelta(hours=1)


async def test_a_repository_that_cannot_be_listed_says_so_and_is_tried_again(
    machine: BuildMachine,
) -> None:
    streams = await bulk(machine)
    result = await streams.reconcile(KEY)
    repository = (await machine.stream("debian")).status.repository
    assert repository is not None
    assert repository.conditions[0].reason == "RepositoryUnknown"
    assert result.requeue_after == 60


def following(name: str, source: str, namespace: str | None = None) -> TagReference:
    reference = ObjectReference(kind="ImageStreamTag", name=source, namespace=namespace)
    return TagReference(name=name, from_=reference)


async def test_a_tag_of_the_same_stream_is_followed_in_one_step(machine: BuildMachine) -> None:
    tags = [following("b", "a"), following("a", "11"), imported("11", SOURCE, scheduled=True)]
    streams = await create(machine, *tags)
    for mark in ("old", "new"):
        digest = await push(machine.vendor.registry, "debian:11", mark, config(author=mark))
        await streams.reconcile(KEY)
        machine.clock.advance(60)
        for tag in ("11", "a", "b"):
            assert (await images(machine, "debian", tag))[0] == str(digest)


async def test_tags_are_followed_from_stream_to_stream_while_the_reconciler_runs(
    machine: BuildMachine,
) -> None:
    await create(machine, following("dev", "middle:1"), name="last")
    await create(machine, following("1", "app:latest"), name="middle")
    await create(machine, name="app")
    streams = machine.streams()
    controller = image_stream_controller(streams, machine.cache)
    runs = [asyncio.create_task(one.run()) for one in (machine.cache, controller)]
    try:
        for mark in ("old", "new"):
            digest = await push(machine.internal, f"{NAMESPACE}/app:latest", mark)

            async def has_arrived(wanted: Digest = digest) -> bool:
                history = (await machine.stream("last")).status.tag("dev")
                latest = history.latest if history is not None else None
                return latest is not None and latest.image == str(wanted)

            await until(has_arrived)
    finally:
        for task in runs:
            task.cancel()
        await asyncio.wait(runs)
    event = (await machine.history("last", "dev")).items[0]
    assert event.docker_image_reference == f"{INTERNAL}/{NAMESPACE}/app@{digest}"


async def test_a_missing_source_is_a_condition_until_it_comes(machine: BuildMachine) -> None:
    streams = await create(machine, following("dev", "app:latest"))
    await streams.reconcile(KEY)
    (condition,) = (await machine.history("debian", "dev")).conditions
    assert condition.reason == "SourceNotFound"
    version = (await machine.stream("debian")).resource_version
    await streams.reconcile(KEY)
    assert (await machine.stream("debian")).resource_version == version
    await create(machine, name="app")
    digest = await push(machine.internal, f"{NAMESPACE}/app:latest", "x")
    await streams.reconcile(stream_key("app"))
    await streams.reconcile(KEY)
    history = await machine.history("debian", "dev")
    assert history.conditions == ()
    assert history.items[0].image == str(digest)


async def test_a_ring_of_tags_stands_still_and_is_named(machine: BuildMachine) -> None:
    await create(machine, following("x", "two:y"), name="one")
    streams = await create(machine, following("y", "one:x"), name="two")
    own = await push(machine.internal, f"{NAMESPACE}/one:x", "own")
    for _ in range(3):
        for name in ("one", "two"):
            await streams.reconcile(stream_key(name))
    assert await images(machine, "one", "x") == [str(own)]
    history = await machine.history("two", "y")
    assert history.items == ()
    assert history.conditions[0].reason == "TagCycle"


async def test_a_reference_is_written_without_asking_anyone(machine: BuildMachine) -> None:
    pointer = imported("b", SOURCE).model_copy(update={"reference": True})
    streams = await create(machine, pointer)
    await streams.reconcile(KEY)
    (event,) = (await machine.history("debian", "b")).items
    assert (event.image, event.docker_image_reference) == ("", SOURCE)
    assert machine.vendor.requests == []


async def test_a_push_to_another_tag_delays_no_check(machine: BuildMachine) -> None:
    streams = await create(machine, imported("11", SOURCE, scheduled=True))
    await push(machine.vendor.registry, "debian:11", "old")
    await streams.reconcile(KEY)
    for number in range(6):
        machine.clock.advance(10)
        await push(machine.internal, f"{NAMESPACE}/debian:own", str(number))
        machine.vendor.requests.clear()
        result = await streams.reconcile(KEY)
        assert result.requeue_after == (60 if number == 5 else 50 - 10 * number)
    assert machine.vendor.requests == [f"HEAD {SOURCE}"]


async def test_checks_missed_by_a_stopped_server_are_made_one_after_the_other(
    machine: BuildMachine,
) -> None:
    await push(machine.vendor.registry, "debian:11", "old")
    tag = imported("t", SOURCE, scheduled=True)
    keys = [stream_key(f"debian{number}") for number in range(40)]
    for key in keys:
        streams = await create(machine, tag, name=key.name)
        await streams.reconcile(key)
    machine.clock.advance(3600)
    machine.vendor.requests.clear()
    restarted = machine.streams()
    started = machine.clock()
    busiest = 0
    while machine.clock() <= started + timedelta(seconds=60):
        before = len(machine.vendor.requests)
        for key in keys:
            await restarted.reconcile(key)
        busiest = max(busiest, len(machine.vendor.requests) - before)
        machine.clock.advance(5)
    assert len(machine.vendor.requests) == 40
    assert busiest < 12


async def test_a_thousand_tags_settle_with_one_head_each(machine: BuildMachine) -> None:
    await push(machine.vendor.registry, "debian:11", "same")
    streams = await create(
        machine, *(imported(f"t{number}", SOURCE, scheduled=True) for number in range(1000))
    )
    await streams.reconcile(KEY)
    machine.vendor.requests.clear()
    machine.clock.advance(60)
    await streams.reconcile(KEY)
    assert machine.vendor.requests == [f"HEAD {SOURCE}"] * 1000
    assert isinstance(await machine.stream("debian"), ImageStream)
