"""Build configs of OpenShift's own tests, with a builder in memory: what starts, when, how often.

The numbers are those of the corpus' INDEX.md, section B.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.builds.memory_builds import (
    NAMESPACE,
    VENDOR,
    BuildMachine,
    image_stream,
    imported,
    push,
    stream_key,
    until,
)
from tests.support.openshift import TESTDATA, needs_corpus

from upwell.actions.builds import BuildActions
from upwell.api.builds.build import Build, BuildPhase, BuildRequest
from upwell.api.builds.config import BuildConfig
from upwell.api.codec import decode, encode
from upwell.api.defaults import apply_defaults
from upwell.api.image import ImageStream
from upwell.api.legacy import to_group_form
from upwell.api.manifests import parse_manifests
from upwell.api.meta import ObjectKey, ObjectMeta, Resource
from upwell.api.validation.objects import validate
from upwell.policy.builds.run_policy import number_of
from upwell.reconcilers.builds.build_configs import BuildConfigs, build_config_controller
from upwell.reconcilers.builds.builds import Builds
from upwell.store.interface import AlreadyExistsError, ConflictError, NotFoundError

pytestmark = needs_corpus


@pytest.fixture
async def machine(tmp_path: Path) -> BuildMachine:
    return BuildMachine(tmp_path)


RUBY = "centos/ruby-22-centos7"


def manifests(name: str, changes: Mapping[str, str] | None = None) -> list[Resource]:
    """Return a file's objects in our namespace, with these words of its text changed."""
    text = (TESTDATA / name).read_text()
    for old, new in (changes or {}).items():
        assert old in text
        text = text.replace(old, new)
    found: list[Resource] = []
    for document in parse_manifests(text, name):
        for item in document.get("objects", [document]):
            resource = apply_defaults(decode(to_group_form(item)))
            resource = resource.with_metadata(namespace=NAMESPACE)
            assert not validate(resource), validate(resource)
            found.append(resource)
    return found


async def apply(machine: BuildMachine, *resources: Resource) -> None:
    """Create the objects, or change their specs, as a client would."""
    for resource in resources:
        try:
            await machine.store.create(resource)
        except AlreadyExistsError:
            old = await machine.store.get(type(resource), resource.namespace, resource.name)
            document = encode(old) | {"spec": encode(resource)["spec"]}
            await machine.store.update(apply_defaults(decode(document)))


@asynccontextmanager
async def running(machine: BuildMachine, slots: int = 8) -> AsyncIterator[Builds]:
    """Run the reconcilers of BuildConfigs and Builds."""
    controller = build_config_controller(machine.index, machine.clock)
    configs = asyncio.create_task(controller.run())
    async with machine.building(slots) as running_builds:
        try:
            yield running_builds
            assert not configs.done(), "the reconciler of BuildConfigs has stopped"
        finally:
            configs.cancel()
            await asyncio.wait([configs])


async def builds(machine: BuildMachine, config: str = "") -> list[Build]:
    found = (await machine.store.list(Build)).items
    mine = [b for b in found if not config or b.labels.get("buildconfig") == config]
    return sorted(mine, key=number_of)


async def phases(machine: BuildMachine, config: str) -> list[str]:
    return [str(build.status.phase) for build in await builds(machine, config)]


async def settled(machine: BuildMachine, config: str, wanted: Sequence[str]) -> None:
    async def is_so() -> bool:
        return await phases(machine, config) == list(wanted)

    try:
        await until(is_so)
    except TimeoutError:
        assert await phases(machine, config) == list(wanted)


async def decided(machine: BuildMachine) -> None:
    """Let every BuildConfig decide once more what has to be built."""
    for build in await builds(machine):
        await machine.cache.wait_for(build)
    configs = BuildConfigs(machine.index, clock=machine.clock)
    for config in (await machine.store.list(BuildConfig)).items:
        await machine.cache.wait_for(config)
        await decide(configs, config.key)


async def decide(configs: BuildConfigs, key: ObjectKey) -> None:
    """Reconcile once; again after a conflict with the reconciler that runs, as the queue does."""
    try:
        await configs.reconcile(key)
    except ConflictError:
        await decide(configs, key)


def image_changes(build: Build) -> list[str]:
    assert [cause.message for cause in build.spec.triggered_by] == ["Image change"]
    [cause] = build.spec.triggered_by
    assert cause.image_change_build is not None
    assert cause.image_change_build.from_ref is not None
    return [cause.image_change_build.image_id, cause.image_change_build.from_ref.name]


async def test_case_12_an_imported_image_builds_each_follower_once(machine: BuildMachine) -> None:
    digest = await push(machine.vendor.registry, "centos/nodejs-6-centos7:latest", "one")
    source = f"{VENDOR}/centos/nodejs-6-centos7:latest"
    objects = manifests("builds/test-imagechangetriggers.yaml")
    objects = [
        image_stream("nodejs-ex", imported("latest", source)) if o.name == "nodejs-ex" else o
        for o in objects
    ]
    await apply(machine, *objects)
    names = ["bc-custom-1", "bc-docker-1", "bc-jenkins-1", "bc-source-1"]

    async def all_exist() -> bool:
        return sorted(b.name for b in await builds(machine)) == names

    async with running(machine):
        await decided(machine)
        assert await builds(machine) == [], "nothing is imported yet"
        await machine.streams().reconcile(stream_key("nodejs-ex"))
        await until(all_exist)
        for build in await builds(machine):
            assert image_changes(build) == [
                f"{VENDOR}/centos/nodejs-6-centos7@{digest}",
                "nodejs-ex:latest",
            ]
        await machine.streams().reconcile(stream_key("nodejs-ex"))  # the same digest again
        await apply(machine, *objects)
        await decided(machine)
        assert await all_exist()
        jenkins = await machine.build("bc-jenkins-1")
        assert jenkins.status.phase is BuildPhase.NEW, "an outside CI's"
        for config in (await machine.store.list(BuildConfig)).items:
            [memory] = config.status.image_change_triggers
            assert memory.last_triggered_image_id.endswith(str(digest))


async def run_policy(machine: BuildMachine, file: str, policy: str = "") -> BuildActions:
    """Apply the BuildConfigs of the run policy tests, on a builder image that is there."""
    await push(machine.vendor.registry, f"{RUBY}:latest", "ruby")
    changes = {RUBY: f"{VENDOR}/{RUBY}:latest"}
    if policy:
        changes['"Serial"'] = f'"{policy}"'
    objects = manifests(f"run_policy/{file}", changes)
    await apply(machine, *objects)
    for resource in objects:
        if isinstance(resource, BuildConfig):
            assert resource.spec.triggers == (), "a default trigger without a stream is stripped"
    return BuildActions(machine.index)


async def test_case_13_parallel_builds_all_run(machine: BuildMachine) -> None:
    actions = await run_policy(machine, "parallel-bc.yaml")
    machine.builder.gate.clear()
    async with running(machine):
        for _ in range(3):
            await actions.instantiate(NAMESPACE, "sample-parallel-build", BuildRequest())
        await settled(machine, "sample-parallel-build", ["Running"] * 3)
        machine.builder.gate.set()
        await settled(machine, "sample-parallel-build", ["Complete"] * 3)


@pytest.mark.parametrize("ending", ["complete", "fail", "cancel", "delete"])
async def test_case_13_serial_builds_run_in_order_however_each_ends(
    machine: BuildMachine, ending: str
) -> None:
    actions = await run_policy(machine, "serial-bc.yaml")
    machine.builder.gate.clear()
    async with running(machine):
        for _ in range(3):
            await actions.instantiate(NAMESPACE, "sample-serial-build", BuildRequest())
        await settled(machine, "sample-serial-build", ["Running", "New", "New"])

        async def says_what_it_waits_for() -> bool:
            status = (await machine.build("sample-serial-build-3")).status
            message = "waits for build sample-serial-build-1, which is Running"
            return (status.reason, status.message) == ("RunPolicy", message)

        await until(says_what_it_waits_for)
        match ending:
            case "complete" | "fail":
                if ending == "fail":
                    machine.builder.failure = RuntimeError("broken")
                machine.builder.gate.set()
                word = "Complete" if ending == "complete" else "Failed"
                await settled(machine, "sample-serial-build", [word] * 3)
            case "cancel":
                first = await machine.build("sample-serial-build-1")
                status = first.status.model_copy(update={"cancelled": True})
                await machine.store.update_status(first.with_status(status))
                wanted = ["Cancelled", "Running", "New"]
                await settled(machine, "sample-serial-build", wanted)
                first = await machine.build("sample-serial-build-1")
                assert first.status.reason == "CancelledBuild"
                assert first.status.message == "The build was cancelled by the user."
            case _:
                await machine.store.delete(Build, NAMESPACE, "sample-serial-build-1")
                await settled(machine, "sample-serial-build", ["Running", "New"])

        async def is_at_work() -> bool:
            return bool(machine.builder.running) or machine.builder.gate.is_set()

        await until(is_at_work)
    assert machine.builder.most_running == 1


async def test_case_13_only_the_latest_of_waiting_builds_is_kept(machine: BuildMachine) -> None:
    name = "sample-serial-build"
    actions = await run_policy(machine, "serial-bc.yaml", "SerialLatestOnly")
    machine.builder.gate.clear()
    async with running(machine):
        await actions.instantiate(NAMESPACE, name, BuildRequest())
        await settled(machine, name, ["Running"])
        for _ in range(3):
            await actions.instantiate(NAMESPACE, name, BuildRequest())
        await settled(machine, name, ["Running", "Cancelled", "Cancelled", "New"])
        machine.builder.gate.set()
        await settled(machine, name, ["Complete", "Cancelled", "Cancelled", "Complete"])


async def test_case_13_a_build_keeps_the_policy_that_it_was_started_with(
    machine: BuildMachine,
) -> None:
    name = "sample-serial-build"
    actions = await run_policy(machine, "serial-bc.yaml")
    machine.builder.gate.clear()
    async with running(machine) as reconciler:
        for _ in range(2):
            await actions.instantiate(NAMESPACE, name, BuildRequest())
        await settled(machine, name, ["Running", "New"])
        config = await machine.store.get(BuildConfig, NAMESPACE, name)
        document = encode(config)
        document["spec"]["runPolicy"] = "Parallel"
        await machine.cache.wait_for(await machine.store.update(decode(document)))
        await reconciler.reconcile((await machine.build(f"{name}-2")).key)
        assert await phases(machine, name) == ["Running", "New"]


@pytest.mark.parametrize(
    ("file", "phase", "kept"),
    [
        ("successful-build-config.yaml", BuildPhase.COMPLETE, 2),
        ("failed-build-config.yaml", BuildPhase.FAILED, 2),
        ("failed-build-config.yaml", BuildPhase.CANCELLED, 2),
        ("errored-build-config.yaml", BuildPhase.ERROR, 2),
        ("successful-pipeline.yaml", BuildPhase.COMPLETE, 2),
        ("failed-pipeline.yaml", BuildPhase.FAILED, 2),
        ("default-group-build-config.yaml", BuildPhase.COMPLETE, 5),
        ("default-group-build-config.yaml", BuildPhase.FAILED, 5),
        ("default-legacy-build-config.yaml", BuildPhase.COMPLETE, 7),
    ],
)
async def test_case_20_history_is_as_long_as_its_limits(
    machine: BuildMachine, file: str, phase: BuildPhase, kept: int
) -> None:
    [config] = manifests(f"builds/build-pruning/{file}")
    await apply(machine, image_stream("myphp"), config)
    name = config.name
    for number in range(1, 8):
        await ended_build(machine, name, number, phase)
    await BuildConfigs(machine.index, clock=machine.clock).reconcile(config.key)
    left = [number_of(b) for b in await builds(machine)]
    assert left == list(range(8 - kept, 8))


async def test_case_20_a_lower_limit_prunes(machine: BuildMachine) -> None:
    [config] = manifests("builds/build-pruning/default-group-build-config.yaml")
    await apply(machine, config)
    for number in range(1, 6):
        await ended_build(machine, config.name, number, BuildPhase.COMPLETE)
    document = encode(await machine.store.get(BuildConfig, NAMESPACE, config.name))
    document["spec"]["successfulBuildsHistoryLimit"] = 1
    async with running(machine):
        await machine.store.update(decode(document))
        await settled(machine, config.name, ["Complete"])
    assert [number_of(b) for b in await builds(machine)] == [5]


async def ended_build(machine: BuildMachine, config: str, number: int, phase: BuildPhase) -> None:
    document: dict[str, Any] = {
        "apiVersion": "build.openshift.io/v1",
        "kind": "Build",
        "metadata": {
            "name": f"{config}-{number}",
            "namespace": NAMESPACE,
            "labels": {"buildconfig": config, "openshift.io/build-config.name": config},
            "annotations": {"openshift.io/build.number": str(number)},
        },
    }
    build = await machine.store.create(decode(document))
    assert isinstance(build, Build)
    status = build.status.model_copy(update={"phase": phase})
    await machine.store.update_status(build.with_status(status))


async def test_case_24_a_build_of_its_own_output_does_not_start_itself(
    machine: BuildMachine,
) -> None:
    await push(machine.vendor.registry, f"{RUBY}:latest", "ruby")
    changes = {f"{RUBY}:latest": f"{VENDOR}/{RUBY}:latest"}
    objects = manifests("builds/incremental-auth-build.json", changes)
    follows = []
    for resource in objects:
        if resource.name == "internal-build":
            document = encode(resource)
            document["spec"]["triggers"] = [{"type": "ImageChange", "imageChange": {}}]
            resource = apply_defaults(decode(document))  # noqa: PLW2901 - the changed one
        follows.append(resource)
    await apply(machine, *follows)
    actions = BuildActions(machine.index)
    async with running(machine):
        await actions.instantiate(NAMESPACE, "initial-build", BuildRequest())
        await settled(machine, "initial-build", ["Complete"])
        await actions.instantiate(NAMESPACE, "internal-build", BuildRequest())
        await settled(machine, "internal-build", ["Complete"])
        await actions.instantiate(NAMESPACE, "internal-build", BuildRequest())
        await settled(machine, "internal-build", ["Complete", "Complete"])
        await decided(machine)
        assert len(await builds(machine, "internal-build")) == 2

    first, second = machine.builder.plans[-2:]
    assert first.source.previous is not None
    assert second.source.previous is not None
    assert second.source.previous != first.source.previous, "the result of the build before"
    config = await machine.store.get(BuildConfig, NAMESPACE, "internal-build")
    reasons = {c.type: (c.status, c.reason) for c in config.status.conditions}
    assert reasons["Ready"] == ("False", "Cycle")


async def test_case_17_every_image_of_a_build_is_pinned(machine: BuildMachine) -> None:
    for stream, tag in (("ruby", "2.2"), ("ruby", "latest"), ("inputimage", "latest")):
        await tag_image(machine, "openshift" if stream == "ruby" else NAMESPACE, stream, tag)
    objects = manifests("builds/test-imagesource-buildconfig.yaml")
    configs = [o for o in objects if isinstance(o, BuildConfig)]
    await apply(machine, *configs)
    for config in configs:
        build = await BuildActions(machine.index).instantiate(
            NAMESPACE, config.name, BuildRequest()
        )
        base = build.spec.strategy.base
        pinned = [*([base] if base else []), *(i.from_ for i in build.spec.source.images)]
        assert pinned, config.name
        assert all(p.kind == "DockerImage" and "@sha256:" in p.name for p in pinned)


async def tag_image(machine: BuildMachine, namespace: str, stream: str, tag: str) -> None:
    digest = await push(machine.vendor.registry, f"{stream}:{tag}", f"{stream}:{tag}")
    item = {
        "created": "2024-01-01T00:00:00Z",
        "dockerImageReference": f"{VENDOR}/{stream}@{digest}",
        "image": str(digest),
    }
    try:
        found = await machine.store.get(ImageStream, namespace, stream)
    except NotFoundError:
        metadata = ObjectMeta(name=stream, namespace=namespace)
        found = await machine.store.create(ImageStream(metadata=metadata))
    document = encode(found)
    document.setdefault("status", {}).setdefault("tags", []).append({"tag": tag, "items": [item]})
    await machine.store.update_status(decode(document))


async def test_unpausing_a_trigger_fires_at_once(machine: BuildMachine) -> None:
    await tag_image(machine, NAMESPACE, "base", "1")
    document: dict[str, Any] = {
        "apiVersion": "build.openshift.io/v1",
        "kind": "BuildConfig",
        "metadata": {"name": "app", "namespace": NAMESPACE},
        "spec": {
            "source": {"dockerfile": "FROM x\n"},
            "strategy": {"dockerStrategy": {"from": {"kind": "ImageStreamTag", "name": "base:1"}}},
            "triggers": [{"type": "ImageChange", "imageChange": {"paused": True}}],
        },
    }
    await apply(machine, apply_defaults(decode(document)))
    async with running(machine):
        await decided(machine)
        assert await builds(machine) == []
        document["spec"]["triggers"][0]["imageChange"]["paused"] = False
        await apply(machine, apply_defaults(decode(document)))
        await settled(machine, "app", ["Complete"])
