"""Imports of ImageStream tags, against a registry that counts what is asked of it."""

import asyncio
from datetime import timedelta
from pathlib import Path

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

from upwell.api.image import Image, ImageStream, TagReference
from upwell.api.meta import ObjectReference
from upwell.api.values.author import with_author, with_import_requesters
from upwell.controller import Result
from upwell.oci import Descriptor, Reference
from upwell.policy.images.registry_webhooks import PushNotice
from upwell.policy.images.schedule import INTERVAL_ANNOTATION
from upwell.policy.waves.changes import present_moves
from upwell.reconcilers.images.image_streams import ImageStreams, image_stream_controller
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.images.pushes import UNREAD_SECONDS
from upwell.registry.errors import RateLimitedError, RegistryUnavailableError, UnauthorizedError
from upwell.registry.hosting import StorageUnavailableError
from upwell.registry.interface import DEFAULT_ACCESS, RequestAccess
from upwell.store.interface import ConflictError, NotFoundError
from upwell.store.interface import UnavailableError as StoreAwayError

SOURCE = f"{VENDOR}/debian:11"
KEY = stream_key("debian")
NOTICE = PushNotice("", "debian", "11")


class CountedLogins:
    """Implements CredentialSource: no login, and all questions for one."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def find(self, registry: str, repository: str) -> None:
        self.asked.append(f"{registry}/{repository}")


@pytest.fixture
def machine(tmp_path: Path) -> BuildMachine:
    return BuildMachine(tmp_path)


@pytest.fixture
async def streams(machine: BuildMachine) -> ImageStreams:
    """The reconciler, and a stream that imports debian:11 every minute."""
    tag = imported("11", SOURCE, scheduled=True)
    await machine.store.create(image_stream("debian", tag, **{INTERVAL_ANNOTATION: "1m"}))
    return machine.streams()


async def apply_tags(machine: BuildMachine, *tags: TagReference) -> None:
    stream = await machine.stream("debian")
    spec = stream.spec.model_copy(update={"tags": tags})
    await machine.store.update(stream.model_copy(update={"spec": spec}))


async def test_the_first_import_keeps_digest_image_and_time(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    digest = await push(machine.vendor.registry, "debian:11", "old")
    result = await streams.reconcile(KEY)
    history = await machine.history("debian", "11")
    assert [event.docker_image_reference for event in history.items] == [
        f"{VENDOR}/debian@{digest}"
    ]
    assert history.items[0].created == machine.clock()
    assert machine.vendor.requests == [f"HEAD {SOURCE}", f"GET {VENDOR}/debian@{digest}"]
    image = await machine.store.get(Image, "", str(digest))
    assert image.docker_image_manifest_media_type == "application/vnd.oci.image.manifest.v1+json"
    assert (await machine.stream("debian")).status.docker_image_repository == (
        f"{INTERNAL}/{NAMESPACE}/debian"
    )
    assert result == Result(requeue_after=60)


async def test_a_known_digest_costs_one_head_and_no_write_and_its_time_is_told(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    await push(machine.vendor.registry, "debian:11", "old")
    await streams.reconcile(KEY)
    before = await machine.stream("debian")
    machine.vendor.requests.clear()
    for _ in range(2):
        machine.clock.advance(60)
        assert await streams.reconcile(KEY) == Result(requeue_after=60)
    after = await machine.stream("debian")
    assert machine.vendor.requests == [f"HEAD {SOURCE}"] * 2
    assert after == before
    assert after.resource_version == before.resource_version
    told, stored = streams.as_checked(after).status.tags[0], after.status.tags[0]
    assert stored.import_state is not None
    times = {
        "last_check_time": machine.clock(),
        "next_check_time": machine.clock() + timedelta(0, 60),
    }
    state = stored.import_state.model_copy(update=times)
    assert told == stored.model_copy(update={"import_state": state})


async def test_what_another_writes_into_a_status_at_rest_is_made_good(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    await push(machine.vendor.registry, "debian:11", "old")
    await streams.reconcile(KEY)
    machine.clock.advance(60)
    await streams.reconcile(KEY)
    rested = await machine.stream("debian")
    status = rested.status.model_copy(update={"docker_image_repository": "elsewhere"})
    await machine.store.update_status(rested.with_status(status))
    machine.clock.advance(60)
    await streams.reconcile(KEY)
    assert (await machine.stream("debian")).status == rested.status


async def test_after_checks_without_news_a_fault_and_its_end_are_written(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    await push(machine.vendor.registry, "debian:11", "old")
    for _ in range(2):
        await streams.reconcile(KEY)
        machine.clock.advance(60)
    machine.vendor.failure = RegistryUnavailableError("vendor.example", "HTTP 500")
    await streams.reconcile(KEY)
    failing = await machine.stream("debian")
    assert streams.as_checked(failing) == failing
    (condition,) = failing.status.tags[0].conditions
    assert condition.reason == "Unavailable"
    machine.vendor.failure = None
    machine.clock.advance(60)
    await streams.reconcile(KEY)
    mended = (await machine.history("debian", "11")).import_state
    assert mended is not None
    assert (mended.failures, mended.last_check_time) == (0, machine.clock())


async def test_a_changed_interval_counts_from_a_check_that_was_not_written(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    await push(machine.vendor.registry, "debian:11", "old")
    await streams.reconcile(KEY)
    machine.clock.advance(60)
    await streams.reconcile(KEY)
    machine.clock.advance(20)
    stream = await machine.stream("debian")
    await machine.store.update(stream.with_metadata(annotations={INTERVAL_ANNOTATION: "1h"}))
    assert await streams.reconcile(KEY) == Result(requeue_after=3580)


async def test_a_check_under_a_clock_that_was_set_back_is_written(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    await push(machine.vendor.registry, "debian:11", "old")
    await streams.reconcile(KEY)
    machine.clock.advance(-3600)
    again = machine.streams()
    machine.clock.advance(60)
    assert (await again.reconcile(KEY)).requeue_after == 60
    state = (await machine.history("debian", "11")).import_state
    assert state is not None
    assert state.last_check_time == machine.clock()


async def test_tags_that_are_due_soon_are_asked_along_and_keep_together(
    machine: BuildMachine,
) -> None:
    tags = [imported(name, f"{VENDOR}/debian:{name}", scheduled=True) for name in "ab"]
    for name in "ab":
        await push(machine.vendor.registry, f"debian:{name}", "old")
    await machine.store.create(image_stream("debian", tags[0], **{INTERVAL_ANNOTATION: "100s"}))
    streams = machine.streams()
    await streams.reconcile(KEY)
    machine.clock.advance(9)
    await apply_tags(machine, *tags)
    await streams.reconcile(KEY)
    machine.vendor.requests.clear()
    machine.clock.advance(91)
    assert await streams.reconcile(KEY) == Result(requeue_after=100)
    assert sorted(machine.vendor.requests) == [f"HEAD {VENDOR}/debian:{name}" for name in "ab"]


async def test_tags_of_one_new_digest_that_are_asked_at_once_share_its_gets(
    machine: BuildMachine,
) -> None:
    names = [f"t{number}" for number in range(10)]
    for name in names:
        digest = await push(machine.vendor.registry, f"debian:{name}", "same")
    tags = [imported(name, f"{VENDOR}/debian:{name}") for name in names]
    await machine.store.create(image_stream("debian", *tags))
    await machine.streams().reconcile(KEY)
    gets = [asked for asked in machine.vendor.requests if asked.startswith("GET")]
    assert gets == [f"GET {VENDOR}/debian@{digest}"]
    found = [await machine.history("debian", name) for name in names]
    assert {history.items[0].image for history in found} == {str(digest)}


async def test_tags_of_one_repository_that_are_asked_at_once_share_its_login(
    machine: BuildMachine,
) -> None:
    logins = CountedLogins()
    machine.secrets = PullSecrets(machine.store, logins)
    for name in "abc":
        await push(machine.vendor.registry, f"debian:{name}", name)
    tags = [imported(name, f"{VENDOR}/debian:{name}") for name in "abc"]
    await machine.store.create(image_stream("debian", *tags))
    await machine.streams().reconcile(KEY)
    assert logins.asked == [f"{VENDOR}/debian"]


async def test_nothing_is_asked_or_written_before_it_is_due(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    await push(machine.vendor.registry, "debian:11", "old")
    await streams.reconcile(KEY)
    version = (await machine.stream("debian")).resource_version
    machine.vendor.requests.clear()
    machine.clock.advance(20)
    restarted = machine.streams()
    assert await restarted.reconcile(KEY) == Result(requeue_after=40)
    assert machine.vendor.requests == []
    assert (await machine.stream("debian")).resource_version == version


@pytest.mark.parametrize(("interval", "pause"), [("30s", 10), ("1h", 3580)])
async def test_a_changed_interval_counts_from_the_last_check_at_once(
    machine: BuildMachine, streams: ImageStreams, interval: str, pause: float
) -> None:
    await push(machine.vendor.registry, "debian:11", "old")
    await streams.reconcile(KEY)
    machine.vendor.requests.clear()
    machine.clock.advance(20)
    stream = await machine.stream("debian")
    await machine.store.update(stream.with_metadata(annotations={INTERVAL_ANNOTATION: interval}))
    assert await streams.reconcile(KEY) == Result(requeue_after=pause)
    assert machine.vendor.requests == []
    state = (await machine.history("debian", "11")).import_state
    assert state is not None
    assert state.next_check_time == machine.clock() + timedelta(seconds=pause)


async def test_a_schedule_begins_and_ends_with_its_flag(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    await push(machine.vendor.registry, "debian:11", "old")
    await streams.reconcile(KEY)
    await apply_tags(machine, imported("11", SOURCE))
    assert await streams.reconcile(KEY) == Result()
    state = (await machine.history("debian", "11")).import_state
    assert state is not None
    assert state.next_check_time is None
    machine.clock.advance(90)
    machine.vendor.requests.clear()
    await apply_tags(machine, imported("11", SOURCE, scheduled=True))
    assert await streams.reconcile(KEY) == Result(requeue_after=0), "its time is long over"
    await streams.reconcile(KEY)
    assert machine.vendor.requests == [f"HEAD {SOURCE}"]


async def test_a_new_digest_goes_before_the_old(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    old = await push(machine.vendor.registry, "debian:11", "old")
    await streams.reconcile(KEY)
    new = await push(machine.vendor.registry, "debian:11", "new")
    machine.clock.advance(60)
    await streams.reconcile(KEY)
    history = await machine.history("debian", "11")
    assert [event.image for event in history.items] == [str(new), str(old)]
    assert history.import_state is not None
    assert history.import_state.first_seen == machine.clock()


async def test_an_index_keeps_the_digest_of_each_platform(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    registry = machine.vendor.registry
    amd64, arm64 = [await push(registry, "debian:part", mark) for mark in ("amd64", "arm64")]
    digest = await push_index(registry, "debian:11", {AMD64: amd64, ARM64: arm64})
    await streams.reconcile(KEY)
    history = await machine.history("debian", "11")
    assert history.latest is not None
    assert history.latest.image == str(digest)
    assert history.import_state is not None
    found = {entry.platform: entry.digest for entry in history.import_state.platforms}
    assert found == {"linux/amd64": str(amd64), "linux/arm64": str(arm64)}


async def test_two_tags_of_one_digest_share_the_image_and_its_get(machine: BuildMachine) -> None:
    digest = await push(machine.vendor.registry, "debian:11", "same")
    await push(machine.vendor.registry, "debian:bullseye", "same")
    await machine.store.create(image_stream("debian", imported("11", SOURCE)))
    await machine.store.create(image_stream("second", imported("b", f"{VENDOR}/debian:bullseye")))
    streams = machine.streams()
    await streams.reconcile(KEY)
    await streams.reconcile(stream_key("second"))
    assert [r for r in machine.vendor.requests if r.startswith("GET")] == [
        f"GET {VENDOR}/debian@{digest}"
    ]
    assert (await machine.history("second", "b")).items[0].image == str(digest)


async def test_a_failure_keeps_the_last_good_digest_and_says_when_it_tries_again(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    digest = await push(machine.vendor.registry, "debian:11", "old")
    await streams.reconcile(KEY)
    machine.clock.advance(60)
    machine.vendor.failure = RegistryUnavailableError("vendor.example", "HTTP 500")
    result = await streams.reconcile(KEY)
    history = await machine.history("debian", "11")
    assert [event.image for event in history.items] == [str(digest)]
    (condition,) = history.conditions
    assert (condition.type, condition.status) == ("ImportSuccess", "False")
    assert condition.reason == "Unavailable"
    again = machine.clock() + timedelta(seconds=1.5)  # 2 s, a quarter taken away by the jitter
    assert history.import_state is not None
    assert history.import_state.next_check_time == again
    assert f"{again:%Y-%m-%dT%H:%M:%SZ}" in condition.message
    assert result == Result(requeue_after=1.5)


async def test_failures_are_asked_about_ever_less_often_until_one_succeeds(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    machine.vendor.failure = RegistryUnavailableError("vendor.example", "HTTP 500")
    waits = []
    for _ in range(9):
        wait = (await streams.reconcile(KEY)).requeue_after
        assert wait is not None
        waits.append(wait)
        machine.clock.advance(wait)
    assert waits == [1.5, 3, 6, 12, 24, 48, 96, 192, 225]
    machine.vendor.failure = None
    await push(machine.vendor.registry, "debian:11", "old")
    assert await streams.reconcile(KEY) == Result(requeue_after=60)
    history = await machine.history("debian", "11")
    assert history.conditions == ()
    assert history.import_state is not None
    assert history.import_state.failures == 0


async def test_a_registry_that_asks_for_time_gets_it(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    machine.vendor.failure = RateLimitedError("vendor.example", retry_after=3000)
    # And a part of it more, by chance: every other stream was told the same.
    assert await streams.reconcile(KEY) == Result(requeue_after=3150)


async def test_a_refusal_waits_for_the_next_scheduled_check(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    machine.vendor.failure = UnauthorizedError("vendor.example", "no login")
    assert await streams.reconcile(KEY) == Result(requeue_after=60)


async def test_a_tag_without_schedule_is_imported_once_and_a_missing_one_until_it_exists(
    machine: BuildMachine,
) -> None:
    await machine.store.create(image_stream("debian", imported("11", SOURCE)))
    streams = machine.streams()
    wait = (await streams.reconcile(KEY)).requeue_after
    assert wait == 1.5
    assert (await machine.history("debian", "11")).conditions[0].reason == "ManifestUnknown"
    digest = await push(machine.vendor.registry, "debian:11", "old")
    machine.clock.advance(wait)
    assert await streams.reconcile(KEY) == Result()
    assert (await machine.history("debian", "11")).items[0].image == str(digest)


async def test_a_source_that_names_no_image_waits_for_another_spec(machine: BuildMachine) -> None:
    await machine.store.create(image_stream("debian", imported("11", "UPPER CASE", scheduled=True)))
    streams = machine.streams()
    assert await streams.reconcile(KEY) == Result()
    assert (await machine.history("debian", "11")).conditions[0].reason == "InvalidReference"
    assert machine.vendor.requests == []
    await push(machine.vendor.registry, "debian:11", "old")
    await apply_tags(machine, imported("11", SOURCE))
    await streams.reconcile(KEY)
    history = await machine.history("debian", "11")
    assert history.conditions == ()
    assert len(history.items) == 1


async def test_a_changed_source_is_imported_at_once(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    await push(machine.vendor.registry, "debian:11", "old")
    other = await push(machine.vendor.registry, "debian:12", "next")
    await streams.reconcile(KEY)
    await apply_tags(machine, imported("11", f"{VENDOR}/debian:12", scheduled=True))
    await streams.reconcile(KEY)
    assert (await machine.history("debian", "11")).items[0].image == str(other)


async def test_a_source_that_moved_is_pulled_from_its_new_place(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    digest = await push(machine.vendor.registry, "debian:11", "same")
    await push(machine.vendor.registry, "moved/debian:11", "same")
    await streams.reconcile(KEY)
    await apply_tags(machine, imported("11", f"{VENDOR}/moved/debian:11", scheduled=True))
    machine.clock.advance(1)
    await streams.reconcile(KEY)
    (event,) = (await machine.history("debian", "11")).items
    assert event.docker_image_reference == f"{VENDOR}/moved/debian@{digest}"
    assert event.created < machine.clock()  # the image itself is no news


@pytest.mark.parametrize("pushed", [False, True])
async def test_a_raised_generation_asks_once_more_and_no_more(
    machine: BuildMachine, streams: ImageStreams, *, pushed: bool
) -> None:
    await push(machine.vendor.registry, "debian:11", "old")
    await streams.reconcile(KEY)
    if pushed:
        await push(machine.internal, f"{NAMESPACE}/debian:11", "own")
    machine.vendor.requests.clear()
    tag = imported("11", SOURCE, scheduled=True).model_copy(update={"generation": 7})
    await apply_tags(machine, tag)
    assert await streams.reconcile(KEY) == Result(requeue_after=60)
    await streams.reconcile(KEY)
    assert machine.vendor.requests == [f"HEAD {SOURCE}"]


async def test_who_brings_a_digest_in_counts_and_not_who_looks_last(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    asked = 1

    async def ask(person: str) -> None:
        nonlocal asked
        asked += 1
        tag = imported("11", SOURCE, scheduled=True).model_copy(update={"generation": asked})
        await apply_tags(machine, tag)
        await machine.store.update(
            with_author(await machine.stream("debian"), f"t-{person}", person)
        )

    async def brought(mark: str = "") -> str:
        if mark:
            await push(machine.vendor.registry, "debian:11", mark)
        machine.clock.advance(120)
        await streams.reconcile(KEY)
        [(_, move)] = present_moves(await machine.stream("debian"))
        return move.requested_by

    await push(machine.vendor.registry, "debian:11", "first")
    await streams.reconcile(KEY)
    await ask("ada")
    await streams.reconcile(KEY)
    assert await brought("second") == "", "the schedule found it"
    await ask("ben")
    assert await brought() == "", "it was there"
    await ask("ada")
    assert await brought("third") == "ada"
    await ask("ben")
    assert await brought() == "ada"

    machine.vendor.failure = RegistryUnavailableError("vendor.example", "HTTP 500")
    await ask("ben")
    assert await brought() == "ada"
    machine.vendor.failure = None
    assert await brought("fourth") == "ben", "it was tried again for them"

    await push(machine.internal, f"{NAMESPACE}/debian:11", "fifth")
    await streams.reconcile(KEY)
    await ask("ada")
    assert await brought("fifth") == "ada", "who pushes what they import then counts"


async def test_a_removed_tag_keeps_its_digests_and_starts_anew_when_it_comes_back(
    machine: BuildMachine,
) -> None:
    await machine.store.create(image_stream("debian", imported("11", SOURCE)))
    streams = machine.streams()
    old = await push(machine.vendor.registry, "debian:11", "old")
    await streams.reconcile(KEY)
    await apply_tags(machine)
    assert await streams.reconcile(KEY) == Result()
    history = await machine.history("debian", "11")
    assert ([event.image for event in history.items], history.import_state) == ([str(old)], None)
    new = await push(machine.vendor.registry, "debian:11", "new")
    await apply_tags(machine, imported("11", SOURCE))
    await streams.reconcile(KEY)
    assert (await machine.history("debian", "11")).items[0].image == str(new)


async def test_a_tag_that_only_points_is_not_imported(machine: BuildMachine) -> None:
    alias = TagReference(name="a", from_=ObjectReference(kind="ImageStreamTag", name="debian:11"))
    pointer = imported("b", SOURCE).model_copy(update={"reference": True})
    await machine.store.create(image_stream("debian", alias, pointer))
    assert await machine.streams().reconcile(KEY) == Result()
    assert machine.vendor.requests == []


async def test_a_webhook_makes_the_import_due_at_once(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    await push(machine.vendor.registry, "debian:11", "old")
    await streams.reconcile(KEY)
    new = await push(machine.vendor.registry, "debian:11", "new")
    assert await streams.note([NOTICE, PushNotice("", "debian", "12")]) == 1
    await streams.reconcile(KEY)
    assert (await machine.history("debian", "11")).items[0].image == str(new)
    machine.vendor.requests.clear()
    await streams.reconcile(KEY)
    assert machine.vendor.requests == []


async def test_what_a_webhook_names_is_asked_for_before_what_is_only_due(
    machine: BuildMachine,
) -> None:
    names = "abc"
    for name in names:
        await push(machine.vendor.registry, f"debian:{name}", "old")
    tags = [imported(name, f"{VENDOR}/debian:{name}", scheduled=True) for name in names]
    await machine.store.create(image_stream("debian", *tags))
    streams = machine.streams()
    await streams.reconcile(KEY)
    machine.clock.advance(3600)
    new = await push(machine.vendor.registry, "debian:b", "new")
    await streams.note([PushNotice("", "debian", "b")])
    machine.vendor.requests.clear()
    assert await streams.reconcile(KEY) == Result(requeue_after=0)
    assert machine.vendor.requests == [f"HEAD {VENDOR}/debian:b", f"GET {VENDOR}/debian@{new}"]
    assert (await machine.history("debian", "b")).items[0].image == str(new)
    await streams.note([PushNotice("", "debian", "b")])
    machine.vendor.requests.clear()
    await streams.reconcile(KEY)
    assert sorted(machine.vendor.requests) == [f"HEAD {VENDOR}/debian:{name}" for name in names]


async def test_a_stream_that_a_webhook_names_goes_before_those_that_wait(
    streams: ImageStreams,
) -> None:
    for name in ("one", "two"):
        streams.queue.add(stream_key(name))
    await streams.note([NOTICE])
    assert await streams.queue.get() == KEY


async def test_a_registry_that_gives_the_old_digest_for_a_while_after_a_push(
    machine: BuildMachine, streams: ImageStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upstream may be several copies that learn of a push one after the other."""
    stream = (await machine.stream("debian")).with_metadata(
        annotations={INTERVAL_ANNOTATION: "10s"}
    )
    await machine.store.update(stream)
    old = await push(machine.vendor.registry, "debian:11", "old")
    await streams.reconcile(KEY)
    outdated = await machine.vendor.registry.resolve(Reference.parse(SOURCE))
    new = await push(machine.vendor.registry, "debian:11", "new")
    resolve, is_outdated = machine.vendor.resolve, True

    async def answer(reference: Reference, access: RequestAccess = DEFAULT_ACCESS) -> Descriptor:
        return outdated if is_outdated else await resolve(reference, access)

    monkeypatch.setattr(machine.vendor, "resolve", answer)
    await streams.note([PushNotice("", "debian", "11", new)])
    again = await streams.reconcile(KEY)
    assert again.requeue_after == pytest.approx(0.015)
    assert (await machine.history("debian", "11")).items[0].image == str(old)

    is_outdated = False
    machine.clock.advance(1)
    await streams.reconcile(KEY)
    assert [one.image for one in (await machine.history("debian", "11")).items] == [
        str(new),
        str(old),
    ]

    is_outdated = True  # another copy answers, which has not heard of it
    machine.clock.advance(10)
    again = await streams.reconcile(KEY)
    assert again.requeue_after == 50, "by then all copies have it"
    assert (await machine.history("debian", "11")).items[0].image == str(new)
    machine.clock.advance(50)
    await streams.reconcile(KEY)
    assert (await machine.history("debian", "11")).items[0].image == str(old), "it was moved back"


async def test_a_webhook_during_the_import_is_not_lost(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    await push(machine.vendor.registry, "debian:11", "old")
    pushed = []

    async def push_meanwhile() -> None:
        machine.vendor.before_answer = None
        pushed.append(await push(machine.vendor.registry, "debian:11", "new"))
        await streams.note([NOTICE])

    machine.vendor.before_answer = push_meanwhile
    await streams.reconcile(KEY)
    await streams.reconcile(KEY)
    assert (await machine.history("debian", "11")).items[0].image == str(pushed[0])


async def test_a_webhook_outlives_a_store_that_takes_no_writes(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    await push(machine.vendor.registry, "debian:11", "old")
    await streams.reconcile(KEY)
    new = await push(machine.vendor.registry, "debian:11", "new")
    await streams.note([NOTICE])
    machine.store.failure = StoreAwayError("disk full")
    with pytest.raises(StoreAwayError):
        await streams.reconcile(KEY)
    machine.store.failure = None
    await streams.reconcile(KEY)
    assert (await machine.history("debian", "11")).items[0].image == str(new)


async def test_a_push_is_taken_in_while_the_reconciler_runs(machine: BuildMachine) -> None:
    await machine.store.create(image_stream("app"))
    streams = machine.streams()
    controller = image_stream_controller(streams, machine.cache)
    runs = [asyncio.create_task(one.run()) for one in (machine.cache, controller)]
    try:
        digest = await push(machine.internal, f"{NAMESPACE}/app:1.0", "own")

        async def is_taken_in() -> bool:
            return (await machine.stream("app")).status.tag("1.0") is not None

        await until(is_taken_in)
    finally:
        for task in runs:
            task.cancel()
        await asyncio.wait(runs)
    history = await machine.history("app", "1.0")
    assert history.items[0].docker_image_reference == f"{INTERNAL}/{NAMESPACE}/app@{digest}"
    assert history.pushed_digest == str(digest)


async def test_a_push_that_cannot_be_read_is_looked_for_again(
    machine: BuildMachine, streams: ImageStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    await push(machine.vendor.registry, "debian:11", "old")
    own = await push(machine.internal, f"{NAMESPACE}/debian:own", "own")

    async def away(_: str) -> None:
        raise StorageUnavailableError("the endpoint does not answer")

    with monkeypatch.context() as there:
        there.setattr(machine.internal, "pushed_tags", away)
        assert await streams.reconcile(KEY) == Result(requeue_after=UNREAD_SECONDS)
    await streams.reconcile(KEY)
    found = (await machine.stream("debian")).status.tag("own")
    assert found is not None
    assert found.pushed_digest == str(own)


async def test_a_push_has_its_own_tag_read_and_no_other(
    machine: BuildMachine, streams: ImageStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    await push(machine.vendor.registry, "debian:11", "old")
    await push(machine.internal, f"{NAMESPACE}/debian:one", "own")
    await streams.reconcile(KEY)

    async def all_of(_: str) -> None:
        pytest.fail("all tags were read")

    monkeypatch.setattr(machine.internal, "pushed_tags", all_of)
    pushed = {tag: await push(machine.internal, f"{NAMESPACE}/debian:{tag}", tag) for tag in "ab"}
    await push(machine.internal, f"{NAMESPACE}/debian:gone", "gone")
    await machine.internal.untag(f"{NAMESPACE}/debian", "gone")
    await streams.reconcile(KEY)
    found = (await machine.stream("debian")).status
    assert {one.tag for one in found.tags} == {"11", "one", "a", "b"}
    for tag, digest in pushed.items():
        history = found.tag(tag)
        assert history is not None
        assert history.pushed_digest == str(digest)


async def test_a_push_that_could_not_be_read_alone_is_found_among_all_tags(
    machine: BuildMachine, streams: ImageStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    await push(machine.vendor.registry, "debian:11", "old")
    await streams.reconcile(KEY)
    await push(machine.internal, f"{NAMESPACE}/debian:own", "own")

    async def away(*_: object) -> None:
        raise StorageUnavailableError("the endpoint does not answer")

    with monkeypatch.context() as there:
        there.setattr(machine.internal, "tag_digest", away)
        assert await streams.reconcile(KEY) == Result(requeue_after=UNREAD_SECONDS)
    await streams.reconcile(KEY)
    assert (await machine.stream("debian")).status.tag("own") is not None


async def test_tags_of_build_inputs_are_no_tags_of_the_stream(machine: BuildMachine) -> None:
    await machine.store.create(image_stream("app"))
    await push(machine.internal, f"{NAMESPACE}/app:inputs-{'0' * 40}", "own")
    await machine.streams().reconcile(stream_key("app"))
    assert (await machine.stream("app")).status.tags == ()


async def test_a_push_stays_in_force_until_upstream_moves(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    await push(machine.vendor.registry, "debian:11", "old")
    await streams.reconcile(KEY)
    own = await push(machine.internal, f"{NAMESPACE}/debian:11", "own")
    machine.clock.advance(60)
    await streams.reconcile(KEY)
    assert (await machine.history("debian", "11")).items[0].image == str(own)
    new = await push(machine.vendor.registry, "debian:11", "new")
    machine.clock.advance(60)
    await streams.reconcile(KEY)
    assert (await machine.history("debian", "11")).items[0].image == str(new)


async def test_a_stream_deleted_during_its_import_ends_the_work(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    await push(machine.vendor.registry, "debian:11", "old")

    async def delete() -> None:
        await machine.store.delete(ImageStream, NAMESPACE, "debian")

    machine.vendor.before_answer = delete
    assert await streams.reconcile(KEY) == Result()
    with pytest.raises(NotFoundError):
        await machine.stream("debian")
    assert await streams.reconcile(KEY) == Result()


async def test_an_answer_about_an_earlier_source_is_not_taken_for_the_present_one(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    await push(machine.vendor.registry, "debian:11", "old")
    other = await push(machine.vendor.registry, "debian:12", "next")

    async def change_source() -> None:
        machine.vendor.before_answer = None
        await apply_tags(machine, imported("11", f"{VENDOR}/debian:12", scheduled=True))

    machine.vendor.before_answer = change_source
    assert await streams.reconcile(KEY) == Result(requeue_after=0)
    await streams.reconcile(KEY)
    assert [e.image for e in (await machine.history("debian", "11")).items] == [str(other)]


async def test_outcomes_are_folded_into_what_was_written_meanwhile(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    digest = await push(machine.vendor.registry, "debian:11", "old")
    own = await push(machine.internal, f"{NAMESPACE}/debian:own", "own")

    async def reconcile_elsewhere() -> None:
        machine.vendor.before_answer = None
        await machine.streams().reconcile(KEY)

    machine.vendor.before_answer = reconcile_elsewhere
    await streams.reconcile(KEY)
    tags = {t.tag: [e.image for e in t.items] for t in (await machine.stream("debian")).status.tags}
    assert tags == {"11": [str(digest)], "own": [str(own)]}


async def test_a_status_that_never_stands_still_is_left_to_the_queue(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    machine.store.failure = ConflictError(KEY)
    with pytest.raises(ConflictError):
        await streams.reconcile(KEY)


async def test_who_asks_for_an_import_is_told_whoever_the_author_is(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    await push(machine.vendor.registry, "debian:11", "first")
    await streams.reconcile(KEY)
    await push(machine.vendor.registry, "debian:11", "second")
    tag = imported("11", SOURCE, scheduled=True).model_copy(update={"generation": 2})
    await apply_tags(machine, tag)
    stream = with_author(await machine.stream("debian"), "t-ada", "ada")
    await machine.store.update(with_import_requesters(stream, {"2": "ben"}))
    machine.clock.advance(120)
    await streams.reconcile(KEY)
    [(_, move)] = present_moves(await machine.stream("debian"))
    assert move.requested_by == "ben"


@pytest.mark.parametrize("then", ["insecure", "elsewhere", "selection", "undeclared", "reference"])
async def test_a_change_stays_known_whatever_the_tag_declares_since(
    machine: BuildMachine, streams: ImageStreams, then: str
) -> None:
    old = await push(machine.vendor.registry, "debian:11", "old")
    await streams.reconcile(KEY)
    new = await push(machine.vendor.registry, "debian:11", "new")
    machine.clock.advance(120)
    await streams.reconcile(KEY)
    [(_, move)] = present_moves(await machine.stream("debian"))
    assert (move.digest, move.previous) == (str(new), str(old))

    machine.vendor.failure = RegistryUnavailableError("vendor.example", "HTTP 500")
    source = f"{VENDOR}/nowhere:11" if then == "elsewhere" else SOURCE
    tag = imported("11", source, scheduled=True).model_copy(update={"generation": 3})
    if then == "insecure":
        policy = tag.import_policy
        assert policy is not None
        policy = policy.model_copy(update={"insecure": True})
        tag = tag.model_copy(update={"import_policy": policy})
    if then == "selection":
        tag = tag.model_copy(update={"annotations": {"upwell.dev/tag-selection": "semver: >=1"}})
    if then == "reference":
        tag = tag.model_copy(update={"reference": True})
    await apply_tags(machine, *(() if then == "undeclared" else (tag,)))
    machine.clock.advance(120)
    await streams.reconcile(KEY)
    found = [move for _, move in present_moves(await machine.stream("debian"))]
    assert found == ([] if then == "reference" else [move])
    if then == "reference":
        history = await machine.history("debian", "11")
        assert history.items[1].imported is not None, "it is told apart from a first import"


async def test_what_is_pushed_back_is_the_change_that_it_was(
    machine: BuildMachine, streams: ImageStreams
) -> None:
    await push(machine.vendor.registry, "debian:11", "old")
    await streams.reconcile(KEY)
    new = await push(machine.vendor.registry, "debian:11", "new")
    machine.clock.advance(120)
    await streams.reconcile(KEY)
    for mark in ("other", "new"):
        await push(machine.internal, f"{NAMESPACE}/debian:11", mark)
        await apply_tags(machine)  # whoever pushes may have the tag declare nothing
        await streams.reconcile(KEY)
        found = [move.digest for _, move in present_moves(await machine.stream("debian"))]
        assert found == ([] if mark == "other" else [str(new)])
