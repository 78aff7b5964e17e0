"""Triggers of builds, with streams and builds as they stand in the store."""

import asyncio
from contextlib import aclosing

import pytest
from tests.support.builds.build_namespace import (
    CONFIG_TRIGGER,
    IMAGE_TRIGGER,
    NAMESPACE,
    BuildNamespace,
    pull_spec,
)

from upwell.api.builds.build import (
    BUILD_CONFIG_LABEL,
    Build,
    BuildOutputStatus,
    BuildPhase,
    BuildRequest,
    BuildStatus,
    ResolvedImage,
)
from upwell.api.builds.config import PAUSED_ANNOTATION, BuildConfig
from upwell.api.builds.inputs import GitSourceRevision, SourceRevision
from upwell.api.conditions import find
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey, ObjectMeta
from upwell.api.pipeline import Quarantine, QuarantineSpec
from upwell.api.values.base_changes import ON_BASE_CHANGE_ANNOTATION, OnBaseChange
from upwell.oci import Digest
from upwell.policy.builds.triggers import CONFIG_CHANGE, IMAGE_CHANGE
from upwell.policy.notifications.events import events_of
from upwell.reconcilers.builds.build_configs import BuildConfigs
from upwell.store.interface import ConflictError


@pytest.fixture
async def setup() -> BuildNamespace:
    setup = BuildNamespace()
    await setup.stream("base", "old")
    return setup


async def test_a_new_config_is_built_once_with_the_present_image(setup: BuildNamespace) -> None:
    await setup.config("app", "base:latest")
    await setup.reconcile("app", "app")
    (build,) = await setup.builds("app")
    assert build.name == "app-1"
    assert build.spec.strategy.base is not None
    assert build.spec.strategy.base.name == pull_spec("base", "old")
    config = await setup.get("app")
    assert config.status.last_version == 1
    (memory,) = config.status.image_change_triggers
    assert memory.last_triggered_image_id == pull_spec("base", "old")
    assert memory.last_trigger_time == setup.clock()
    assert build.metadata.owner_references[0].uid == config.uid


async def test_a_config_change_alone_is_a_cause(setup: BuildNamespace) -> None:
    await setup.config("app", "base:latest", [CONFIG_TRIGGER])
    await setup.reconcile("app")
    (build,) = await setup.builds("app")
    assert [cause.message for cause in build.spec.triggered_by] == [CONFIG_CHANGE]


async def test_a_first_build_waits_for_its_image(setup: BuildNamespace) -> None:
    await setup.stream("later")
    await setup.config("app", "later:latest")
    await setup.reconcile("app")
    condition = await setup.current("app")
    assert (condition.status, condition.reason) == ("False", "ImageNotResolved")
    assert await setup.names("app") == []
    await setup.stream("later", "first")
    await setup.reconcile("app")
    assert await setup.names("app") == ["app-1"]


@pytest.mark.parametrize(
    ("create", "said"), [(False, "does not exist"), (True, "has no image yet")]
)
async def test_a_base_that_no_trigger_follows_is_named_while_it_is_missing(
    setup: BuildNamespace, said: str, *, create: bool
) -> None:
    if create:
        await setup.stream("missing")
    await setup.config("app", "missing:latest", [CONFIG_TRIGGER])
    await setup.reconcile("app")
    condition = await setup.current("app")
    assert (condition.status, condition.reason) == ("False", "ImageNotResolved")
    assert f"shop/missing:latest {said}" in condition.message


async def test_an_image_change_makes_one_build_that_says_from_what_to_what(
    setup: BuildNamespace,
) -> None:
    await setup.config("app", "base:latest")
    await setup.reconcile("app")
    await setup.end("app-1")
    await setup.stream("base", "new")
    await setup.reconcile("app", "app")
    assert await setup.names("app") == ["app-1", "app-2"]
    (cause,) = (await setup.builds("app"))[1].spec.triggered_by
    assert cause.message == IMAGE_CHANGE
    assert cause.image_change_build is not None
    assert cause.image_change_build.previous_image_id == pull_spec("base", "old")
    assert cause.image_change_build.image_id == pull_spec("base", "new")


async def test_a_crash_between_build_and_status_starts_no_second_build(
    setup: BuildNamespace,
) -> None:
    config = await setup.config("app", "base:latest")
    await setup.reconcile("app")
    done = await setup.get("app")
    await setup.store.update_status(
        config.with_metadata(resource_version=done.resource_version).with_status(config.status)
    )
    assert (await setup.get("app")).status.last_version == 0
    await setup.reconcile("app")
    assert await setup.names("app") == ["app-1"]
    repaired = (await setup.get("app")).status
    assert repaired.last_version == 1
    assert repaired.image_change_triggers == done.status.image_change_triggers


async def test_an_equal_reconcile_writes_nothing(setup: BuildNamespace) -> None:
    await setup.config("app", "base:latest")
    await setup.reconcile("app", "app")
    version = (await setup.get("app")).resource_version
    setup.clock.advance(60)
    await setup.reconcile("app")
    assert (await setup.get("app")).resource_version == version


async def test_a_changed_spec_starts_nothing(setup: BuildNamespace) -> None:
    config = await setup.config("app", "base:latest")
    await setup.reconcile("app")
    spec = config.spec.model_copy(update={"completion_deadline_seconds": 5})
    await setup.store.update((await setup.get("app")).model_copy(update={"spec": spec}))
    await setup.reconcile("app")
    assert await setup.names("app") == ["app-1"]
    assert (await setup.current("app")).observed_generation == 2


async def test_a_paused_config_holds_the_build_and_says_how_to_go_on(setup: BuildNamespace) -> None:
    config = await setup.config("app", "base:latest")
    await setup.store.update(config.with_metadata(annotations={PAUSED_ANNOTATION: "true"}))
    await setup.reconcile("app")
    condition = await setup.current("app")
    assert (condition.reason, await setup.names("app")) == ("Paused", [])
    assert PAUSED_ANNOTATION in condition.message
    await setup.store.update((await setup.get("app")).with_metadata(annotations={}))
    await setup.reconcile("app")
    assert await setup.names("app") == ["app-1"]


@pytest.fixture
async def diamond(setup: BuildNamespace) -> BuildNamespace:
    """Stream `base`; `left` and `right` are built from it, `tip` from both; all up to date."""
    await setup.config("left", "base:latest")
    await setup.config("right", "base:latest")
    other = {"from": {"kind": "ImageStreamTag", "name": "right:latest"}}
    both = [IMAGE_TRIGGER, {"type": "ImageChange", "imageChange": other}]
    await setup.config("tip", "left:latest", both)
    for name in ("left", "right", "tip"):
        await setup.stream(name)
    for name in ("left", "right"):
        await setup.reconcile(name)
        await setup.end(f"{name}-1")
        await setup.stream(name, f"{name} old")
    await setup.reconcile("tip")
    await setup.end("tip-1")
    await setup.stream("tip", "tip old")
    return setup


async def test_the_tip_of_a_diamond_is_built_once_after_both_sides(diamond: BuildNamespace) -> None:
    setup = diamond
    await setup.stream("base", "new")
    await setup.reconcile("tip", "left", "tip")
    await setup.end("left-2")
    await setup.stream("left", "left new")
    await setup.reconcile("tip")
    # The right side has no build yet, but is due.
    condition = await setup.current("tip")
    assert condition.reason == "UpstreamBuilding"
    assert "BuildConfig right" in condition.message
    await setup.reconcile("right", "tip")
    assert "build right-2" in (await setup.current("tip")).message
    await setup.end("right-2")
    await setup.stream("right", "right new")
    await setup.reconcile("tip", "tip")
    assert await setup.names("tip") == ["tip-1", "tip-2"]
    causes = (await setup.builds("tip"))[1].spec.triggered_by
    assert sorted(c.image_change_build.image_id for c in causes if c.image_change_build) == sorted(
        [pull_spec("left", "left new"), pull_spec("right", "right new")]
    )


async def test_a_side_that_fails_does_not_hold_the_tip(diamond: BuildNamespace) -> None:
    setup = diamond
    await setup.stream("base", "new")
    await setup.reconcile("left", "right")
    await setup.end("left-2")
    await setup.stream("left", "left new")
    await setup.end("right-2", BuildPhase.FAILED)
    await setup.reconcile("tip")
    assert await setup.names("tip") == ["tip-1", "tip-2"]


async def test_what_waits_is_looked_at_when_the_build_above_it_ends(
    diamond: BuildNamespace,
) -> None:
    setup = diamond
    runs = [asyncio.create_task(each.run()) for each in setup.running()]
    changes = setup.store.watch(Build)
    try:
        await setup.stream("base", "new")
        async with asyncio.timeout(30):
            async for change in changes:
                build = change.resource
                if build.name == "tip-2":
                    break
                if build.name in {"left-2", "right-2"} and not build.status.phase.is_terminal:
                    side = build.labels[BUILD_CONFIG_LABEL]
                    await setup.stream(side, f"{side} new")
                    await setup.end(build.name)
    finally:
        await changes.aclose()
        for run in runs:
            run.cancel()
        await asyncio.wait(runs)
    assert len((await setup.builds("tip"))[1].spec.triggered_by) == 2


async def begin(setup: BuildNamespace, name: str) -> None:
    build = await setup.store.get(Build, NAMESPACE, name)
    changes = {"phase": BuildPhase.RUNNING, "start_timestamp": setup.clock()}
    await setup.store.update_status(build.with_status(build.status.model_copy(update=changes)))


async def test_while_images_move_one_build_runs_and_one_waits_with_the_newest(
    setup: BuildNamespace,
) -> None:
    await setup.config("app", "base:latest")
    await setup.reconcile("app")
    await begin(setup, "app-1")
    for number in range(1, 21):
        await setup.stream("base", f"fix {number}")
        await setup.reconcile("app", "app")
    assert await setup.names("app") == ["app-1", "app-2"]
    running, waiting = await setup.builds("app")
    assert running.status.phase is BuildPhase.RUNNING
    assert waiting.status.renewed == 19
    assert waiting.spec.strategy.base is not None
    assert waiting.spec.strategy.base.name == pull_spec("base", "fix 20")
    assert [image.image for image in waiting.spec.image_inputs] == [pull_spec("base", "fix 20")]
    (cause,) = waiting.spec.triggered_by
    assert cause.image_change_build is not None
    assert cause.image_change_build.previous_image_id == pull_spec("base", "old")
    assert cause.image_change_build.image_id == pull_spec("base", "fix 20")
    (memory,) = (await setup.get("app")).status.image_change_triggers
    assert memory.last_triggered_image_id == pull_spec("base", "fix 20")


async def test_a_build_that_waits_for_a_retry_takes_newer_images_and_begins_anew(
    setup: BuildNamespace,
) -> None:
    await setup.config("app", "base:latest")
    await setup.reconcile("app")
    (build,) = await setup.builds("app")
    pinned = ResolvedImage(name="spec.strategy", reference=pull_spec("base", "old"))
    failed = {
        "attempts": 4,
        "retry_time": setup.clock(),
        "reason": "PullBuilderImageFailed",
        "message": "it is away",
        "images": (pinned,),
        "inputs": "1234",
    }
    fetched = SourceRevision.of_git(GitSourceRevision(commit="a" * 40))
    spec = build.spec.model_copy(update={"revision": fetched})
    build = await setup.store.update(build.model_copy(update={"spec": spec}))
    await setup.store.update_status(build.with_status(build.status.model_copy(update=failed)))
    await setup.stream("base", "new")
    await setup.reconcile("app")
    (build,) = await setup.builds("app")
    assert build.status == BuildStatus(renewed=1)
    assert build.spec.revision is None  # the newest commit is fetched, too
    assert build.spec.image_inputs[0].image == pull_spec("base", "new")


async def test_a_queued_build_that_somebody_asked_for_keeps_its_inputs(
    setup: BuildNamespace,
) -> None:
    await setup.config("app", "base:latest")
    await setup.reconcile("app")
    await begin(setup, "app-1")
    await setup.actions.instantiate(NAMESPACE, "app", BuildRequest())
    for mark in ("newer", "newest"):
        await setup.stream("base", mark)
        await setup.reconcile("app")
    assert await setup.names("app") == ["app-1", "app-2", "app-3"]
    _, asked, moved = await setup.builds("app")
    assert asked.spec.image_inputs[0].image == pull_spec("base", "old")
    assert moved.spec.image_inputs[0].image == pull_spec("base", "newest")


async def test_a_queued_build_that_begins_meanwhile_is_left_alone(setup: BuildNamespace) -> None:
    await setup.config("app", "base:latest")
    await setup.reconcile("app")
    context = await setup.index.context_of(ObjectKey("BuildConfig", NAMESPACE, "app"))
    await begin(setup, "app-1")
    await setup.stream("base", "new")
    (queued,) = context.builds(ObjectKey("BuildConfig", NAMESPACE, "app"))
    with pytest.raises(ConflictError):
        await setup.configs._renew(await setup.get("app"), queued, queued)
    await setup.reconcile("app")
    assert await setup.names("app") == ["app-1", "app-2"]


async def test_the_tip_of_a_diamond_is_built_though_the_base_moves_on(
    diamond: BuildNamespace,
) -> None:
    setup = diamond

    async def move(number: int) -> None:
        await setup.stream("base", f"fix {number}")
        await setup.reconcile("left", "right", "tip")

    async def build_a_side(side: str, number: int) -> None:
        """End the side's running build, and begin the one that waits."""
        await setup.end(f"{side}-{number}")
        await setup.stream(side, f"{side} {number}")
        await begin(setup, f"{side}-{number + 1}")
        await setup.reconcile("tip")

    await move(1)
    for side in ("left", "right"):
        await begin(setup, f"{side}-2")
    rounds = 0
    while await setup.names("tip") == ["tip-1"]:
        rounds += 1
        setup.clock.advance(10)
        await move(rounds + 1)  # both sides have a build that runs, and one that waits
        for side in ("left", "right"):
            await build_a_side(side, rounds + 1)
        assert rounds < 5, "the tip waits for ever"
    assert rounds == 2


async def test_a_side_that_waits_for_a_retry_does_not_hold_the_tip(
    diamond: BuildNamespace,
) -> None:
    setup = diamond
    await setup.stream("base", "new")
    await setup.reconcile("left", "right")
    await setup.end("left-2")
    await setup.stream("left", "left new")
    await setup.reconcile("tip")
    assert "build right-2" in (await setup.current("tip")).message
    right = await setup.store.get(Build, NAMESPACE, "right-2")
    status = right.status.model_copy(update={"retry_time": setup.clock(), "attempts": 1})
    await setup.store.update_status(right.with_status(status))
    await setup.reconcile("tip")
    assert await setup.names("tip") == ["tip-1", "tip-2"]


async def test_a_config_that_builds_on_its_own_result_does_not_wait_for_itself(
    setup: BuildNamespace,
) -> None:
    await setup.stream("app", "bootstrap")
    await setup.config("app", "app:latest")
    await setup.reconcile("app")
    assert await setup.names("app") == ["app-1"]


async def test_ended_builds_beyond_the_limits_are_deleted(setup: BuildNamespace) -> None:
    limits = {"successfulBuildsHistoryLimit": 2, "failedBuildsHistoryLimit": 1}
    await setup.config("app", "base:latest", [], **limits)
    for number in range(1, 8):
        await setup.actions.instantiate(NAMESPACE, "app", BuildRequest())
        phase = BuildPhase.FAILED if number % 2 else BuildPhase.COMPLETE
        await setup.end(f"app-{number}", phase)
    await setup.reconcile("app")
    assert await setup.names("app") == ["app-4", "app-6", "app-7"]


async def test_the_memory_of_triggers_outlives_the_builds(setup: BuildNamespace) -> None:
    await setup.config("app", "base:latest")
    await setup.stream("base", "old", namespace="other")
    await setup.reconcile("app", "app")
    await setup.store.delete(Build, NAMESPACE, "app-1")
    await setup.reconcile("app")
    assert await setup.names("app") == []
    await setup.stream("base", "new")
    await setup.reconcile("app")
    assert await setup.names("app") == ["app-2"]


async def test_tags_of_one_name_in_two_namespaces_are_told_apart(setup: BuildNamespace) -> None:
    await setup.stream("base", "theirs", namespace="other")
    theirs = {"from": {"kind": "ImageStreamTag", "name": "base:latest", "namespace": "other"}}
    both = [IMAGE_TRIGGER, {"type": "ImageChange", "imageChange": theirs}]
    await setup.config("app", "base:latest", both)
    await setup.reconcile("app", "app")
    memory = {
        entry.from_.namespace: entry.last_triggered_image_id
        for entry in (await setup.get("app")).status.image_change_triggers
    }
    expected = {NAMESPACE: pull_spec("base", "old"), "other": pull_spec("base", "theirs")}
    assert memory == expected
    await setup.store.delete(Build, NAMESPACE, "app-1")
    await setup.reconcile("app")
    assert await setup.names("app") == []


async def test_a_foreign_build_under_the_next_name_is_passed_over(setup: BuildNamespace) -> None:
    foreign = Build(metadata=ObjectMeta(name="app-1", namespace=NAMESPACE))
    await setup.store.create(foreign)
    await setup.config("app", "base:latest")
    await setup.reconcile("app", "app")
    assert await setup.names("app") == ["app-2"]
    assert (await setup.actions.instantiate(NAMESPACE, "app", BuildRequest())).name == "app-3"


async def test_two_processes_start_one_build(setup: BuildNamespace) -> None:
    await setup.config("app", "base:latest")
    second = BuildConfigs(setup.index, clock=setup.clock)
    key = ObjectKey("BuildConfig", NAMESPACE, "app")
    results = await asyncio.gather(
        setup.configs.reconcile(key), second.reconcile(key), return_exceptions=True
    )
    assert await setup.names("app") == ["app-1"]
    assert all(isinstance(r, ConflictError) for r in results if isinstance(r, BaseException))


async def test_images_that_a_dockerfile_takes_are_followed_after_its_first_build(
    setup: BuildNamespace,
) -> None:
    await setup.stream("tools", "tools old")
    await setup.config("app", "base:latest")
    await setup.reconcile("app")
    used = ResolvedImage(
        name=f"registry.internal/{NAMESPACE}/tools:latest",
        reference=pull_spec("tools", "tools old"),
        stream_tag=f"{NAMESPACE}/tools:latest",
    )
    stream = await setup.store.get(ImageStream, NAMESPACE, "tools")
    repository = f"registry.internal/{NAMESPACE}/tools"
    status = stream.status.model_copy(update={"docker_image_repository": repository})
    await setup.store.update_status(stream.with_status(status))
    await setup.end("app-1", BuildPhase.COMPLETE, used)
    await setup.reconcile("app")
    assert await setup.names("app") == ["app-1"]
    assert (await setup.get("app")).status.tracked_images == (used.name,)
    await setup.stream("tools", "tools new")
    await setup.reconcile("app")
    assert await setup.names("app") == ["app-1", "app-2"]


async def test_a_deleted_config_asks_for_nothing(setup: BuildNamespace) -> None:
    await setup.reconcile("app")
    assert (await setup.store.list(Build)).items == []


async def test_builds_in_a_ring_do_not_start_each_other(setup: BuildNamespace) -> None:
    await setup.stream("base", "one")
    for name in ("one", "two"):
        await setup.stream(name, "first")
    ring = [{"type": "ImageChange", "imageChange": {"from": {"kind": "ImageStreamTag"}}}]
    one = [{**ring[0], "imageChange": {"from": {"kind": "ImageStreamTag", "name": "two:latest"}}}]
    two = [{**ring[0], "imageChange": {"from": {"kind": "ImageStreamTag", "name": "one:latest"}}}]
    await setup.config("one", "base:latest", one)
    await setup.config("two", "base:latest", [*two, IMAGE_TRIGGER])

    await setup.reconcile("one")
    await setup.reconcile("two")

    assert await setup.names("one") == []
    assert await setup.names("two") == ["two-1"], "for its base, which is outside of the ring"
    reasons = {c.type: c.reason for c in (await setup.get("one")).status.conditions}
    assert reasons["Ready"] == "Cycle"


async def quarantine(setup: BuildNamespace, digest: Digest) -> None:
    spec = QuarantineSpec(digest=str(digest), image="vendor/base:1", reason="2 applications failed")
    await setup.store.create(Quarantine(metadata=ObjectMeta(name="base-bad"), spec=spec))


async def test_nothing_is_built_on_a_quarantined_image_until_that_is_lifted(
    setup: BuildNamespace,
) -> None:
    await setup.config("app", "base:latest")
    await setup.reconcile("app")
    await setup.end("app-1")
    await quarantine(setup, Digest.of(b"new"))
    await setup.stream("base", "new")
    await setup.reconcile("app")
    condition = await setup.current("app")
    assert (condition.status, condition.reason) == ("False", "Quarantined")
    assert "shop/base:latest depends on vendor/base:1" in condition.message
    assert "2 applications failed" in condition.message
    assert "upwell quarantine lift base-bad" in condition.message
    assert await setup.names("app") == ["app-1"]

    await setup.store.delete(Quarantine, "", "base-bad")
    await setup.reconcile("app")
    assert await setup.names("app") == ["app-1", "app-2"]


async def test_the_next_good_image_passes_a_quarantined_one_by(setup: BuildNamespace) -> None:
    await setup.config("app", "base:latest")
    await setup.reconcile("app")
    await setup.end("app-1")
    await quarantine(setup, Digest.of(b"new"))
    await setup.stream("base", "new")
    await setup.reconcile("app")
    await setup.stream("base", "newer")
    await setup.reconcile("app")
    (cause,) = (await setup.builds("app"))[1].spec.triggered_by
    assert cause.image_change_build is not None
    assert cause.image_change_build.previous_image_id == pull_spec("base", "old")
    assert cause.image_change_build.image_id == pull_spec("base", "newer")


async def test_a_quarantine_reaches_what_was_built_on_the_image_already(
    setup: BuildNamespace,
) -> None:
    await setup.config("builder", "base:latest")
    await setup.config("app", "builder:latest")
    await setup.stream("builder", "builder old")
    await setup.reconcile("builder")
    used = ResolvedImage(name="base:latest", reference=pull_spec("base", "old"))
    await setup.end("builder-1", BuildPhase.COMPLETE, used)
    await setup.reconcile("app")
    await setup.end("app-1")
    made = {"to": {"imageDigest": str(Digest.of(b"builder new"))}}
    build = await setup.store.get(Build, NAMESPACE, "builder-1")
    output = BuildOutputStatus.model_validate(made)
    await setup.store.update_status(
        build.with_status(build.status.model_copy(update={"output": output}))
    )
    await quarantine(setup, Digest.of(b"old"))
    await setup.stream("builder", "builder new")
    await setup.reconcile("app")
    assert (await setup.current("app")).reason == "Quarantined"
    assert await setup.names("app") == ["app-1"]


async def test_a_quarantine_is_heard_of_by_every_config(setup: BuildNamespace) -> None:
    await setup.config("app", "base:latest")
    await setup.reconcile("app")
    await setup.end("app-1")
    await quarantine(setup, Digest.of(b"new"))
    await setup.stream("base", "new")
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        tasks = [group.create_task(each.run()) for each in setup.running()]
        async with aclosing(setup.store.watch(BuildConfig)) as changes:
            async for change in changes:
                condition = find(change.resource.status.conditions, "Current")
                if condition is not None and condition.reason == "Quarantined":
                    break
        await setup.store.delete(Quarantine, "", "base-bad")
        async with aclosing(setup.store.watch(Build)) as builds:
            async for started in builds:
                if started.resource.name == "app-2":
                    break
        for task in tasks:
            task.cancel()


async def with_new_base(setup: BuildNamespace, answer: str | None) -> BuildConfig:
    """Give a BuildConfig that was built once a new base."""
    config = await setup.config("app", "base:latest")
    if answer is not None:
        annotations = {ON_BASE_CHANGE_ANNOTATION: answer}
        await setup.store.update(config.with_metadata(annotations=annotations))
    await setup.reconcile("app")
    await setup.end("app-1")
    await setup.stream("base", "new")
    await setup.reconcile("app", "app")
    return await setup.get("app")


@pytest.mark.parametrize(
    ("default", "answer", "expected"),
    [
        ("rebuild", None, None),
        ("rebuild", "auto", "auto"),
        ("rebuild", "rebase", "rebase"),
        ("auto", None, "auto"),
        ("auto", "rebuild", None),
        ("auto", "nothing that is known", "auto"),
    ],
)
async def test_a_build_for_the_base_alone_says_how_that_is_answered(
    setup: BuildNamespace, default: str, answer: str | None, expected: str | None
) -> None:
    setup.answer_bases(OnBaseChange(default))
    config = await with_new_base(setup, answer)
    first, second = await setup.builds("app")
    assert (first.spec.on_base_change, second.spec.on_base_change) == (None, expected)
    assert config.status.on_base_change == expected
    # Whoever asks for a build gets one.
    asked = await setup.actions.instantiate(NAMESPACE, "app", BuildRequest())
    assert asked.spec.on_base_change is None


async def test_more_than_a_new_base_is_built(setup: BuildNamespace) -> None:
    await setup.stream("tools", "one")
    follows = {"from": {"kind": "ImageStreamTag", "name": "tools:latest"}}
    triggers = [IMAGE_TRIGGER, {"type": "ImageChange", "imageChange": follows}]
    config = await setup.config("app", "base:latest", [CONFIG_TRIGGER, *triggers])
    await setup.store.update(config.with_metadata(annotations={ON_BASE_CHANGE_ANNOTATION: "auto"}))
    await setup.reconcile("app")
    await setup.end("app-1")
    await setup.stream("base", "new")
    await setup.stream("tools", "two")
    await setup.reconcile("app")
    assert (await setup.builds("app"))[1].spec.on_base_change is None


async def test_a_new_base_that_is_only_notified_of_builds_nothing(setup: BuildNamespace) -> None:
    await with_new_base(setup, "notify")
    assert await setup.names("app") == ["app-1"]
    condition = await setup.current("app")
    assert (condition.status, condition.reason) == ("False", "BaseChanged")
    assert str(Digest.of(b"new")) in condition.message
    assert "upwell start-build app -n shop" in condition.message
    # Each further base is told by itself, with its time; and each once.
    events = events_of(await setup.get("app"))
    assert [e.message for e in events if e.reason == "BaseChanged"] == [condition.message]
    setup.clock.advance(60)
    await setup.stream("base", "newer")
    await setup.reconcile("app", "app")
    later = await setup.current("app")
    assert str(Digest.of(b"newer")) in later.message
    assert later.last_transition_time != condition.last_transition_time
    asked = await setup.actions.instantiate(NAMESPACE, "app", BuildRequest())
    assert asked.name == "app-2"
    await setup.end("app-2")
    await setup.reconcile("app")
    assert (await setup.current("app")).status == "True"
