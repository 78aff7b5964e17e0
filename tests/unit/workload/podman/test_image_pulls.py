"""Pulls beside the calls that ask for them."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from pydantic import ValidationError

from upwell.machine.disk import PressureCheck, no_pressure
from upwell.oci import Digest, Reference
from upwell.outbound.dialing import Dialer
from upwell.outbound.image_registries import ImageRegistries
from upwell.outbound.policy import OutboundPolicy
from upwell.settings.tables import PullVerification, WorkloadLimits
from upwell.workload.errors import ImagePullError
from upwell.workload.instance_spec import ContainerSpec, InstanceSpec, Owner
from upwell.workload.interface import State
from upwell.workload.podman.api.pull_faults import failed_pull
from upwell.workload.podman.api.service import PodmanSettings
from upwell.workload.podman.containers.body import LABEL_NAMESPACE
from upwell.workload.podman.containers.creation import ContainerCreation, PlacedInstance
from upwell.workload.podman.containers.facts import ContainerFacts
from upwell.workload.podman.hosts_files import HostsFiles
from upwell.workload.podman.images import given_images
from upwell.workload.podman.images.given_images import GivenImages
from upwell.workload.podman.images.judged_pulls import JudgedPulls
from upwell.workload.podman.images.pulled_images import PulledImages
from upwell.workload.podman.images.pulls import Pulls, images_of
from upwell.workload.podman.records import InstanceRecord

if TYPE_CHECKING:
    from upwell.workload.podman.api.client import PodmanApi

OWNER = Owner("Deployment", "shop", "web")
IMAGE = Reference.parse("registry.test/team/web:1").with_digest(Digest.of(b"web"))
BY_DIGEST = replace(IMAGE, tag=None)
ALICE = ("registry.test", "alice", "wonder")
DEADLINE = 30


class ManualClock:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class SlowApi:
    """Ends a pull when it is let, well or badly."""

    def __init__(self) -> None:
        self.present: set[Reference] = set()
        self.also: list[Reference] = []
        """Other names of what is there."""
        self.fault = ""
        self.interrupted = False
        """True if Podman ends in the middle of pulls."""
        self.pulled: list[tuple[Reference, tuple[str, str] | None, bool]] = []
        self.given_up = 0
        self.let = asyncio.Event()
        self.began = asyncio.Condition()

    async def image_exists(self, reference: Reference) -> bool:
        return reference in self.present

    async def image_names(self, reference: Reference) -> list[Reference]:
        return [reference, *self.also] if reference in self.present else []

    async def images(self) -> list[dict[str, Any]]:
        return [{"Names": [str(one)], "Containers": 0} for one in self.present]

    async def remove_image(self, reference: Reference) -> None:
        self.present.remove(reference)

    async def pull(
        self, reference: Reference, login: tuple[str, str] | None, *, insecure: bool
    ) -> None:
        async with self.began:
            self.pulled.append((reference, login, insecure))
            self.began.notify_all()
        try:
            await self.let.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        if self.interrupted:
            raise ImagePullError("podman has ended", interrupted=True)
        if self.fault:
            raise failed_pull(reference, self.fault)
        self.present.add(reference)


class PullsUnderTest:
    """Pulls that run, and who hears of them."""

    def __init__(
        self,
        registries: ImageRegistries | None = None,
        pressure: PressureCheck = no_pressure,
        given: Path = Path("/nowhere/given-images"),
        workloads: WorkloadLimits | None = None,
    ) -> None:
        self.api = SlowApi()
        self.runs: set[tuple[str, Reference]] = set()
        self.clock = ManualClock()
        self.told: asyncio.Queue[Owner] = asyncio.Queue()
        settings = PodmanSettings(
            Path("/nowhere"), "test", registries=registries, pressure=pressure
        )
        images = JudgedPulls(settings, self.api)
        chosen = workloads or WorkloadLimits()
        self.pulled = PulledImages(settings, self.api, self.clock)
        self.given = GivenImages(given, chosen.preloaded_images)
        self.given.load()
        self.pulls = Pulls(
            images,
            self.clock,
            self.told.put_nowait,
            self.given,
            self.pulled,
            self._has_run,
            always_verified=chosen.image_pull_verification is PullVerification.ALWAYS,
        )

    async def _has_run(self, namespace: str, image: Reference) -> bool:
        return (namespace, image) in self.runs

    async def heard(self) -> Owner:
        async with asyncio.timeout(DEADLINE):
            return await self.told.get()

    async def until_asked(self, times: int) -> None:
        async with asyncio.timeout(DEADLINE), self.api.began:
            await self.api.began.wait_for(lambda: len(self.api.pulled) >= times)


@asynccontextmanager
async def pulling(
    registries: ImageRegistries | None = None,
    pressure: PressureCheck = no_pressure,
    given: Path = Path("/nowhere/given-images"),
    settings: WorkloadLimits | None = None,
) -> AsyncIterator[PullsUnderTest]:
    made = PullsUnderTest(registries, pressure, given, settings)
    task = asyncio.create_task(made.pulls.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.wait([task])


def instance(name: str = "web-0", **changes: object) -> InstanceSpec:
    spec = InstanceSpec(name, OWNER, "rev1", (ContainerSpec("web", IMAGE),))
    return replace(spec, **changes)  # type: ignore[arg-type]  # names of its fields


async def test_an_instance_is_shown_while_its_image_is_pulled() -> None:
    async with pulling() as it:
        assert await it.pulls.are_needed(instance(role="pre"), restarts=2)
        shown = it.pulls.instances()["web-0"]
        assert (shown.state, shown.ready, shown.restarts) == (State.PULLING, False, 2)
        assert (shown.owner, shown.revision, shown.role) == (OWNER, "rev1", "pre")
        assert shown.started_at == it.clock.time
        assert shown.message == f"pulling image {BY_DIGEST}"
        assert await it.pulls.are_needed(instance(), restarts=2), "asked again, it goes on"

        it.api.let.set()
        assert await it.heard() == OWNER
        assert not it.pulls.instances()
        assert not await it.pulls.are_needed(instance(), restarts=0)
        assert len(it.api.pulled) == 1


async def test_a_namespace_whose_registry_hangs_has_few_pulls_and_holds_nobody_up() -> None:
    async with pulling() as it:
        for number in range(50):
            image = replace(IMAGE, digest=Digest.of(b"%d" % number))
            web = ContainerSpec("web", image)
            await it.pulls.are_needed(instance(f"web-{number}", containers=(web,)), restarts=0)
        other = instance("other-0", owner=replace(OWNER, namespace="other"))
        await it.pulls.are_needed(other, restarts=0)
        await it.until_asked(9)
        assert it.api.pulled[-1][0] == BY_DIGEST
        assert len(it.api.pulled) == 9

        it.pulls.cancel("web-0")
        await it.until_asked(10)
        it.api.let.set()
        for _ in range(50):
            await it.heard()
        assert not it.pulls.instances()


async def test_instances_share_the_pull_of_an_image() -> None:
    async with pulling() as it:
        for name in ("web-0", "web-1"):
            assert await it.pulls.are_needed(instance(name), restarts=0)
        await it.until_asked(1)
        it.api.let.set()
        await it.heard()
        await it.heard()
        assert len(it.api.pulled) == 1


async def test_a_failed_pull_is_told_and_not_begun_anew_too_early() -> None:
    async with pulling() as it:
        it.api.fault = "cannot pull: 500"
        it.api.let.set()
        waits = []
        for times in range(1, 11):
            assert await it.pulls.are_needed(instance(), restarts=0)
            await it.heard()
            assert len(it.api.pulled) == times
            with pytest.raises(ImagePullError, match="500") as told:
                await it.pulls.are_needed(instance(), restarts=0)
            waits.append(told.value.retry_after)
            it.clock.time += timedelta(seconds=told.value.retry_after)
        assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


async def test_a_pull_that_is_tried_again_says_since_when_and_why_it_has_failed() -> None:
    async with pulling() as it:
        it.api.let.set()

        async def message(spec: InstanceSpec) -> str:
            assert await it.pulls.are_needed(spec, restarts=0)
            return it.pulls.instances()[spec.name].message

        said = []
        for fault in ("500", "500", "503"):
            said.append(await message(instance()))
            it.api.fault = fault
            await it.heard()
            it.clock.time += timedelta(minutes=1)
        said.append(await message(instance()))
        first = f"pulling image {BY_DIGEST}"
        failed = f"{first} again, which has failed since 2026-01-01T00:00:00Z, the last time"
        assert said == [first, f"{failed}: 500", f"{failed}: 500", f"{failed}: 503"]
        assert await message(instance("others-0", owner=OTHERS)) == first, "not theirs to know"

        it.api.fault = ""
        await it.heard()
        await it.heard()
        it.api.present.clear()
        assert await message(instance()) == first, "it has come since"


async def test_a_pull_that_takes_long_to_fail_again_has_failed_since_the_first_time() -> None:
    other = replace(IMAGE, digest=Digest.of(b"other"))
    beside = instance("other-0", containers=(ContainerSpec("web", other),))
    async with pulling() as it:
        it.api.fault = "500"
        it.api.let.set()
        await it.pulls.are_needed(instance(), restarts=0)
        await it.heard()

        it.clock.time += timedelta(seconds=2)
        it.api.let.clear()
        for times, spec in ((2, beside), (3, instance())):
            await it.pulls.are_needed(spec, restarts=0)
            await it.until_asked(times)
        it.clock.time += timedelta(hours=1)
        it.api.let.set()
        await it.heard()
        await it.heard()
        with pytest.raises(ImagePullError) as told:
            await it.pulls.are_needed(instance(), restarts=0)
        assert told.value.retry_after == 4
        it.clock.time += timedelta(seconds=4)
        await it.pulls.are_needed(instance(), restarts=0)
        assert "since 2026-01-01T00:00:00Z" in it.pulls.instances()["web-0"].message


async def test_a_pull_that_podman_itself_has_cut_short_begins_anew_soon() -> None:
    """A runtime that was killed again and again says nothing of a registry."""
    async with pulling() as it:
        it.api.let.set()
        waits = []
        for interrupted in (True,) * 6 + (False,) * 2 + (True,):
            it.api.interrupted, it.api.fault = interrupted, "cannot pull: 500"
            assert await it.pulls.are_needed(instance(), restarts=0)
            await it.heard()
            with pytest.raises(ImagePullError) as told:
                await it.pulls.are_needed(instance(), restarts=0)
            waits.append(told.value.retry_after)
            it.clock.time += timedelta(seconds=told.value.retry_after)
        assert waits == [2, 4, 8, 15, 15, 15, 2, 4, 2]


@pytest.mark.parametrize("registry", ["127.0.0.1:5000", "169.254.169.254", "localhost:5000"])
async def test_podman_is_not_sent_to_where_nothing_is_sent(registry: str) -> None:
    near = replace(IMAGE, registry=registry)
    spec = instance(containers=(ContainerSpec("web", near),), init=(ContainerSpec("i", near),))
    async with pulling(ImageRegistries(Dialer(OutboundPolicy()))) as it:
        it.api.let.set()
        assert await it.pulls.are_needed(spec, restarts=0)
        await it.heard()
        with pytest.raises(ImagePullError, match=r"\[outbound\]") as told:
            await it.pulls.are_needed(spec, restarts=0)
        assert told.value.retry_after > 0
        assert it.api.pulled == []


async def test_what_is_allowed_is_pulled() -> None:
    near = replace(IMAGE, registry="127.0.0.1:5000")
    spec = instance(containers=(ContainerSpec("web", near),))
    async with pulling(ImageRegistries(Dialer(OutboundPolicy.of(["127.0.0.1:5000"])))) as it:
        it.api.let.set()
        assert await it.pulls.are_needed(spec, restarts=0)
        await it.heard()
        assert not await it.pulls.are_needed(spec, restarts=0)


async def test_another_login_is_tried_at_once() -> None:
    async with pulling() as it:
        it.api.fault = "unauthorized"
        it.api.let.set()
        await it.pulls.are_needed(instance(), restarts=0)
        await it.heard()
        it.api.fault = ""
        with pytest.raises(ImagePullError):
            await it.pulls.are_needed(instance(), restarts=0)
        mended = instance(logins=(ALICE,), insecure_registries=frozenset({"registry.test"}))
        assert await it.pulls.are_needed(mended, restarts=0)
        await it.heard()
        assert it.api.pulled[-1] == (BY_DIGEST, ("alice", "wonder"), True)
        assert not await it.pulls.are_needed(mended, restarts=0)


async def test_a_pull_that_nobody_wants_any_more_is_given_up() -> None:
    async with pulling() as it:
        await it.pulls.are_needed(instance("web-0"), restarts=0)
        await it.pulls.are_needed(instance("web-1"), restarts=0)
        await it.until_asked(1)
        it.pulls.cancel("web-0")
        it.pulls.cancel("nobody")
        assert set(it.pulls.instances()) == {"web-1"}
        await it.until_asked(2)  # the other one takes it up
        assert it.api.given_up == 1
        it.api.let.set()
        await it.heard()
        assert it.told.empty(), "nobody hears of what was given up"


async def test_an_instance_that_is_given_up_before_its_turn_pulls_nothing() -> None:
    async with pulling() as it:
        await it.pulls.are_needed(instance("web-0"), restarts=0)
        it.pulls.cancel("web-0")
        await it.pulls.are_needed(instance("web-1"), restarts=0)
        it.api.let.set()
        await it.heard()
        assert len(it.api.pulled) == 1


def test_the_images_of_an_instance_are_named_once_and_by_digest() -> None:
    tagged = Reference.parse("registry.test/team/tool:2")
    spec = instance(init=(ContainerSpec("prepare", tagged), ContainerSpec("again", IMAGE)))
    assert list(images_of(spec)) == [tagged, BY_DIGEST]


async def test_a_pull_ends_when_the_disk_gets_full() -> None:
    full = [""]
    async with pulling(pressure=lambda: full[0]) as it:
        assert await it.pulls.are_needed(instance(), restarts=0)
        await it.until_asked(1)
        full[0] = "/data has 3 MiB free"
        assert await it.heard() == OWNER
        assert it.api.given_up == 1
        with pytest.raises(ImagePullError, match=r"cannot pull .* now: /data has 3 MiB free"):
            await it.pulls.are_needed(instance(), restarts=0)


OTHERS = replace(OWNER, namespace="others")


async def pulled(it: PullsUnderTest, spec: InstanceSpec) -> bool:
    """Return whether it had to be pulled, once that has ended."""
    if not await it.pulls.are_needed(spec, restarts=0):
        return False
    await it.heard()
    return True


async def test_an_image_that_lies_here_is_nobodys_who_was_not_given_it() -> None:
    async with pulling() as it:
        it.api.let.set()
        assert await pulled(it, instance(logins=(ALICE,)))
        it.api.fault = "cannot pull: 401 unauthorized"
        assert await pulled(it, instance("evil-0", owner=OTHERS))
        with pytest.raises(ImagePullError, match="401"):
            await it.pulls.are_needed(instance("evil-0", owner=OTHERS), restarts=0)
        assert it.api.pulled[-1] == (BY_DIGEST, None, False)
        # Whoever has it keeps it, whatever the registry says now.
        assert not await pulled(it, instance("web-1", logins=(ALICE,)))
        assert not await pulled(it, instance("web-2"))
        it.api.fault = ""
        assert await pulled(it, instance("others-0", owner=OTHERS, logins=(ALICE,)))
        assert not await pulled(it, instance("others-1", owner=OTHERS))


async def test_what_needed_no_login_is_everybodys(tmp_path: Path) -> None:
    file = tmp_path / "given-images"
    async with pulling(given=file) as it:
        it.api.let.set()
        assert await pulled(it, instance())
        assert not await pulled(it, instance("others-0", owner=OTHERS))
    async with pulling(given=file) as it:
        it.api.present.add(BY_DIGEST)
        assert not await pulled(it, instance("others-1", owner=OTHERS))


async def test_an_image_that_was_there_before_its_pull_is_not_ours() -> None:
    other = replace(BY_DIGEST, digest=Digest.of(b"other"))
    async with pulling() as it:
        it.api.present.add(BY_DIGEST)
        it.api.let.set()
        both = (ContainerSpec("web", IMAGE), ContainerSpec("other", other))
        assert await pulled(it, instance(containers=both))
        assert [one for one, _, _ in it.api.pulled] == [BY_DIGEST, other]
        assert [one.reference for one in await it.pulled.find()] == [other]


async def test_an_image_that_is_asked_for_again_is_used_and_a_removed_one_is_pulled() -> None:
    async with pulling() as it:
        it.api.let.set()
        assert await pulled(it, instance())
        [found] = await it.pulled.find()
        it.clock.time += timedelta(days=30)
        assert not await pulled(it, instance("web-1"))
        assert not await it.pulled.remove(found), "it was used since"

        [found] = await it.pulled.find()
        assert found.used_at == it.clock.time
        assert await it.pulled.remove(found)
        assert it.api.present == set()
        assert await pulled(it, instance("web-2"))
        assert len(it.api.pulled) == 2


async def test_what_was_built_or_loaded_on_this_machine_is_everybodys() -> None:
    async with pulling() as it:
        local = replace(IMAGE, registry="localhost")
        spec = instance(containers=(ContainerSpec("web", local),))
        it.api.present.update(images_of(spec))
        assert not await pulled(it, spec)


@pytest.mark.parametrize(
    ("fault", "starts"),
    [
        ("pinging registry.test: Get https://registry.test/v2/: dial tcp: no such host", True),
        ("reading manifest: authentication required", False),
        ("reading manifest: manifest unknown", False),
        ('reading manifest: StatusCode: 403, "dial tcp: no such host"', False),
        ("manifest digest does not match the image's", False),
        ("something that nobody has seen yet", False),
    ],
)
async def test_what_lies_here_unknown_is_used_if_its_registry_cannot_be_asked(
    fault: str, *, starts: bool
) -> None:
    async with pulling() as it:
        it.api.present.add(BY_DIGEST)
        it.api.fault = fault
        it.api.let.set()
        assert await pulled(it, instance())
        if starts:
            assert not await pulled(it, instance())
            assert len(it.api.pulled) == 1
        else:
            with pytest.raises(ImagePullError, match=fault.partition(":")[0]):
                await it.pulls.are_needed(instance(), restarts=0)


AWAY = "pinging registry.test: dial tcp: connect: connection refused"


async def test_an_administrator_may_let_all_images_wait_for_their_registry() -> None:
    always = WorkloadLimits.model_validate({"image-pull-verification": "always"})
    async with pulling(settings=always) as it:
        it.api.present.add(BY_DIGEST)
        it.api.fault = AWAY
        it.api.let.set()
        assert await pulled(it, instance())
        with pytest.raises(ImagePullError, match="connection refused") as told:
            await it.pulls.are_needed(instance(), restarts=0)
        assert "registry.test alone can say whether namespace shop may have the image" in str(
            told.value
        )
        assert "name registry.test/team/web in preloaded-images" in str(told.value)
        it.api.fault = ""
        it.clock.time += timedelta(seconds=told.value.retry_after)
        assert await pulled(it, instance())
        it.api.fault = AWAY
        assert not await pulled(it, instance("web-1")), "what was given stays, without a registry"
        it.runs.add(("others", BY_DIGEST))
        assert not await pulled(it, instance("others-0", owner=replace(OWNER, namespace="others")))


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("named", ["as it was pulled", "by its manifest"])
async def test_what_another_namespace_was_given_waits_for_its_registry(
    tmp_path: Path, named: str, *, restarted: bool
) -> None:
    manifest = replace(BY_DIGEST, digest=Digest.of(b"the manifest of an index"))
    image = BY_DIGEST if named == "as it was pulled" else manifest
    file = tmp_path / "given-images"
    async with pulling(given=file) as it:
        it.api.let.set()
        assert await pulled(it, instance(logins=(ALICE,)))
        if restarted:
            it.given.load()
        it.api.present.add(image)
        it.api.also = [BY_DIGEST, manifest]
        it.api.fault = AWAY
        spec = instance("b-0", owner=OTHERS, containers=(ContainerSpec("web", image),))
        assert await pulled(it, spec)
        with pytest.raises(ImagePullError, match="may have the image: make it reachable") as told:
            await it.pulls.are_needed(spec, restarts=0)
        it.api.fault = ""
        it.clock.time += timedelta(seconds=told.value.retry_after)
        assert await pulled(it, spec), "its registry gives it"
        it.api.fault = AWAY
        assert not await pulled(it, spec)


@pytest.mark.parametrize(
    ("answer", "waits"),
    [
        ("reading manifest: authentication required", True),
        ("reading manifest: manifest unknown", True),
        ("something that nobody has seen yet", True),
        ("received unexpected HTTP status: 503 Service Unavailable", False),
        ("toomanyrequests: slow down", False),
    ],
)
async def test_a_registry_that_has_refused_an_image_gives_it_by_no_outage(
    tmp_path: Path, answer: str, *, waits: bool
) -> None:
    file = tmp_path / "given-images"
    async with pulling(given=file) as it:
        it.api.present.add(BY_DIGEST)
        it.api.fault = answer
        it.api.let.set()
        assert await pulled(it, instance())
    for _ in range(2):
        async with pulling(given=file) as it:
            it.api.present.add(BY_DIGEST)
            it.api.fault = AWAY
            it.api.let.set()
            assert await pulled(it, instance())
            assert it.given.has("shop", BY_DIGEST) is not waits
            assert await pulled(it, instance("o-0", owner=OTHERS))
            assert it.given.has("others", BY_DIGEST), "it was refused to one namespace"
    async with pulling(given=file) as it:
        it.api.let.set()
        assert await pulled(it, instance()), "and is given by another answer"
    assert '"refused"' not in file.read_text() or waits
    async with pulling(given=file) as it:
        it.api.present.add(BY_DIGEST)
        assert not await pulled(it, instance())


@pytest.mark.parametrize("always", [False, True])
async def test_nothing_is_told_of_what_lies_here(*, always: bool) -> None:
    verification = "always" if always else "when-reachable"
    settings = WorkloadLimits.model_validate({"image-pull-verification": verification})
    said: list[str] = []
    for here in (True, False):
        async with pulling(settings=settings) as it:
            it.api.let.set()
            if here:
                assert await pulled(it, instance(logins=(ALICE,)))
            it.api.fault = AWAY
            assert await pulled(it, instance("b-0", owner=OTHERS))
            with pytest.raises(ImagePullError) as told:
                await it.pulls.are_needed(instance("b-0", owner=OTHERS), restarts=0)
            said.append(str(told.value))
    assert said[0] == said[1]
    assert "which gives it to every namespace" in said[0]


async def test_no_registry_is_asked_for_images_of_this_machine() -> None:
    async with pulling() as it:
        local = replace(IMAGE, registry="localhost")
        spec = instance(containers=(ContainerSpec("web", local),))
        with pytest.raises(ImagePullError, match="no registry has names of localhost") as told:
            await it.pulls.are_needed(spec, restarts=0)
        assert told.value.retry_after > 0
        assert "podman load" in str(told.value)
        assert not it.api.pulled
        it.api.present.update(images_of(spec))
        assert not await pulled(it, spec), "it is looked for each time"


@pytest.mark.parametrize(
    ("name", "starts"),
    [
        ("registry.test/team/web", True),
        ("registry.test/team/*", True),
        ("REGISTRY.test:443/*", True),
        ("registry.test/team", False),
        ("registry.test/team/we", False),
        ("registry.test/team/web/*", False),
        ("registry.tes/*", False),
    ],
)
async def test_what_an_administrator_has_loaded_is_everybodys(name: str, *, starts: bool) -> None:
    named = WorkloadLimits.model_validate(
        {"image-pull-verification": "always", "preloaded-images": [name]}
    )
    async with pulling(settings=named) as it:
        it.api.present.add(BY_DIGEST)
        it.api.fault = AWAY
        it.api.let.set()
        assert await pulled(it, instance()) is not starts
        assert bool(it.api.pulled) is not starts


@pytest.mark.parametrize("name", ["", "/*", "*", "registry.test/web:1", "web@sha256:0", "a b", 5])
def test_what_names_no_images_is_refused(name: object) -> None:
    with pytest.raises(ValidationError, match="preloaded-images"):
        WorkloadLimits.model_validate({"preloaded-images": [name]})


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
    writer.close()


@pytest.mark.parametrize("refusing", ["mirror", "registry", "neither"])
async def test_a_registry_is_away_only_if_none_of_its_mirrors_answers(refusing: str) -> None:
    closed = "127.0.0.1:1"
    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        open_ = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        places = [open_ if one == refusing else closed for one in ("mirror", "registry")]
        registries = ImageRegistries(Dialer(OutboundPolicy.of(["127.0.0.1"])), lambda _: places)
        async with pulling(registries) as it:
            it.api.present.add(BY_DIGEST)
            it.api.fault = f"(Mirrors also failed: [x: dial tcp: refused]): {IMAGE}: denied"
            it.api.let.set()
            assert await pulled(it, instance())
            assert it.given.has("shop", BY_DIGEST) is (refusing == "neither")


class MadeContainers:
    """Podman's containers, each as it was made; they outlive the server."""

    def __init__(self) -> None:
        self.facts: list[ContainerFacts] = []

    async def create(self, body: Mapping[str, Any]) -> str:
        inspected = {
            "Id": body["name"],
            "Created": "2026-01-01T00:00:00Z",
            "Config": {"Labels": body["labels"]},
            "State": {
                "Status": "running",
                "ExitCode": 0,
                "OOMKilled": False,
                "StartedAt": "2026-01-01T00:00:00Z",
                "FinishedAt": "0001-01-01T00:00:00Z",
            },
            "ImageName": body["image"],
            "ImageDigest": "",
        }
        self.facts.append(ContainerFacts.parse(inspected))
        return str(body["name"])

    async def start(self, it: PullsUnderTest, spec: InstanceSpec) -> None:
        """Start what has its images, as the runtime does."""
        settings = PodmanSettings(Path("/nowhere"), "test")
        hosts = HostsFiles(Path("/nowhere"))
        creation = ContainerCreation(settings, cast("PodmanApi", self), hosts, it.given)
        record = InstanceRecord.of(spec, 0, it.clock.now(), 0)
        await creation.create(PlacedInstance(spec, record, {}, {}))

    def restarted(self, it: PullsUnderTest) -> None:
        """Show a server that starts which of them were given their images."""
        namespaces = {one.labels[LABEL_NAMESPACE] for one in self.facts}
        it.runs |= {
            (namespace, BY_DIGEST)
            for namespace in namespaces
            if any(one.proves(namespace, BY_DIGEST) for one in self.facts)
        }


@pytest.mark.parametrize("killed", ["before it is made", "once it is made"])
@pytest.mark.parametrize("lost", ["nothing", "the file", "each write"])
async def test_what_nobody_could_ask_about_is_asked_after_the_next_start(
    tmp_path: Path, killed: str, lost: str
) -> None:
    file = tmp_path / "given-images"
    if lost == "each write":
        file.mkdir()  # as on a full disk: it cannot be written
    containers = MadeContainers()
    async with pulling(given=file) as it:
        it.api.present.add(BY_DIGEST)
        it.api.fault = AWAY
        it.api.let.set()
        assert await pulled(it, instance(owner=OTHERS))
        it.api.fault = "authentication required"
        assert not await pulled(it, instance(owner=OTHERS)), "until the end of the process"
        if killed == "once it is made":
            await containers.start(it, instance(owner=OTHERS))
    if lost == "the file":
        file.unlink(missing_ok=True)
    async with pulling(given=file) as it:
        it.api.present.add(BY_DIGEST)
        containers.restarted(it)
        it.api.fault = "authentication required"
        it.api.let.set()
        assert await pulled(it, instance(owner=OTHERS))
        with pytest.raises(ImagePullError, match="authentication required"):
            await it.pulls.are_needed(instance(owner=OTHERS), restarts=0)
    async with pulling(given=file) as it:
        it.api.present.add(BY_DIGEST)
        it.api.let.set()
        assert await pulled(it, instance(owner=OTHERS)), "and it is given"
        await containers.start(it, instance(owner=OTHERS))
    async with pulling(given=file) as it:
        it.api.present.add(BY_DIGEST)
        containers.restarted(it)
        it.api.fault = "authentication required"
        assert not await pulled(it, instance(owner=OTHERS)), "a container of it was made since"


async def test_what_an_earlier_version_could_not_ask_about_is_asked_about(tmp_path: Path) -> None:
    file = tmp_path / "given-images"
    doubt = json.dumps(["others", str(BY_DIGEST), "unasked"])
    file.write_text(f"{doubt}\n{json.dumps(['others', 'registry.test/cut'])[:20]}")
    for _ in range(2):
        async with pulling(given=file) as it:
            it.api.present.add(BY_DIGEST)
            it.runs.add(("others", BY_DIGEST))
            it.api.fault = "authentication required"
            it.api.let.set()
            assert await pulled(it, instance(owner=OTHERS))
    async with pulling(given=file) as it:
        it.api.present.add(BY_DIGEST)
        it.api.let.set()
        assert await pulled(it, instance(owner=OTHERS))
    async with pulling(given=file) as it:
        it.api.present.add(BY_DIGEST)
        assert not await pulled(it, instance(owner=OTHERS))


async def test_a_registry_that_the_policy_refuses_gives_nothing() -> None:
    near = replace(IMAGE, registry="127.0.0.1:5000")
    spec = instance(containers=(ContainerSpec("web", near),))
    async with pulling(ImageRegistries(Dialer(OutboundPolicy()))) as it:
        it.api.present.update(images_of(spec))
        it.api.let.set()
        assert await pulled(it, spec)
        with pytest.raises(ImagePullError, match=r"\[outbound\]"):
            await it.pulls.are_needed(spec, restarts=0)


@pytest.mark.parametrize("damage", ["removed", "emptied", "cut", "other bytes"])
async def test_a_damaged_file_gives_nobody_anything(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "given-images"
    other = replace(BY_DIGEST, digest=Digest.of(b"other"))
    known = GivenImages(file)
    known.load()
    known.add("shop", BY_DIGEST)
    known.add("shop", other)
    whole = file.read_bytes()
    match damage:
        case "removed":
            file.unlink()
        case "emptied":
            file.write_bytes(b"")
        case "cut":
            file.write_bytes(whole[: len(whole) // 2 + 9])
        case _:
            file.write_bytes(b"\xff" * len(whole))
    again = GivenImages(file)
    again.load()
    assert not again.has("others", BY_DIGEST)
    again.add("others", other)  # on a line of its own, after whatever is there
    third = GivenImages(file)
    third.load()
    assert third.has("others", other)
    assert not third.has("others", BY_DIGEST)


async def test_what_turns_out_to_need_no_login_is_everybodys() -> None:
    async with pulling() as it:
        it.api.let.set()
        assert await pulled(it, instance(logins=(ALICE,)))
        assert await pulled(it, instance("others-0", owner=OTHERS))
        third = replace(OWNER, namespace="third")
        assert not await pulled(it, instance("third-0", owner=third))


async def test_what_was_given_is_known_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "given-images"
    async with pulling(given=file) as it:
        it.api.let.set()
        assert await pulled(it, instance(logins=(ALICE,)))
    assert file.stat().st_mode & 0o777 == 0o600
    with file.open("a") as cut:
        cut.write('["others", "registry.te')  # a power cut in the middle of a line
    async with pulling(given=file) as it:
        it.api.present.add(BY_DIGEST)
        assert not await pulled(it, instance())
        it.api.let.set()
        assert await pulled(it, instance("others-0", owner=OTHERS))
    assert len(file.read_text().splitlines()) == 2, "the cut line has gone"


async def test_what_a_namespace_runs_was_given_to_it_at_some_time() -> None:
    async with pulling() as it:
        it.api.let.set()
        assert await pulled(it, instance(logins=(ALICE,)))
        it.runs.add(("others", BY_DIGEST))
        assert not await pulled(it, instance("others-0", owner=OTHERS))
        it.runs.clear()
        assert not await pulled(it, instance("others-1", owner=OTHERS))


async def test_so_many_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(given_images, "_MOST", 3)
    known = GivenImages(tmp_path / "given-images")
    images = [replace(BY_DIGEST, digest=Digest.of(b"%d" % number)) for number in range(5)]
    for image in images:
        known.add("shop", image)
        known.add("shop", image)
    assert [known.has("shop", image) for image in images] == [False, False, True, True, True]
    again = GivenImages(tmp_path / "given-images")
    again.load()
    assert [again.has("shop", image) for image in images] == [False, False, True, True, True]
    assert not any(again.has("others", image) for image in images)
    assert not again.has("others", images[4])
    assert len((tmp_path / "given-images").read_text().splitlines()) == 3


def test_no_namespace_makes_what_another_was_given_be_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(given_images, "_MOST", 3)
    known = GivenImages(tmp_path / "given-images")
    known.add("bank", BY_DIGEST)
    known.refuse("shop", BY_DIGEST)
    for number in range(9):
        known.add("others", replace(BY_DIGEST, digest=Digest.of(b"%d" % number)))
        known.refuse("others", replace(BY_DIGEST, digest=Digest.of(b"-%d" % number)))
    again = GivenImages(tmp_path / "given-images")
    again.load()
    for one in (known, again):
        assert one.has("bank", BY_DIGEST)
        assert one.is_withheld("shop", [BY_DIGEST])
        assert one.is_withheld("others", [BY_DIGEST])
