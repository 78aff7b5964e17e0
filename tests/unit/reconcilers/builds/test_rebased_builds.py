"""Builds whose base alone has changed: rebased where that is safe, and built otherwise."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.support.builds.memory_builds import (
    INTERNAL,
    NAMESPACE,
    VENDOR,
    image_stream,
    until,
)
from tests.support.builds.rebased_builds import (
    APP,
    BASE,
    FROM_BASE,
    NEW,
    OLD,
    RebaseMachine,
    app,
    digest,
    push_image,
    until_ended,
)
from tests.support.registry.made_images import made_image, tar_of

from upwell.api.builds.build import Build, BuildPhase
from upwell.api.builds.inputs import (
    BuildOutput,
    BuildPostCommitSpec,
    BuildSource,
    BuildStrategy,
    CustomBuildStrategy,
    GitBuildSource,
    SourceBuildStrategy,
)
from upwell.api.meta import ObjectReference
from upwell.builder.interface import BuildError
from upwell.formats.s2i.contract import SCRIPTS_LABEL
from upwell.inventory.files.scanning import FileScanner
from upwell.inventory.interface import LayerFacts, Layers
from upwell.oci import Descriptor, Digest, Reference
from upwell.oci.rebase.records import BASE_DIGEST, BASE_NAME
from upwell.policy.builds.identity import inputs_tag
from upwell.policy.health.builds import has_failed
from upwell.policy.signing.provenance import made_here
from upwell.reconcilers.rebase.comparing import RebaseBounds
from upwell.registry.errors import ManifestUnknownError, RegistryUnavailableError
from upwell.registry.hosting import ManifestPush
from upwell.registry.interface import DEFAULT_ACCESS, RequestAccess

TRAP = tar_of({"bin/": b"", "bin/sh": b"own"})


@pytest.fixture(scope="module")
def found_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the layers of all tests are read once."""
    return tmp_path_factory.mktemp("layers")


@pytest.fixture
async def machine(tmp_path: Path, found_files: Path) -> RebaseMachine:
    machine = RebaseMachine(tmp_path, found_files)
    await machine.store.create(image_stream("app"))
    await machine.update_base(OLD)
    return machine


async def test_an_image_whose_base_alone_has_changed_is_rebased(machine: RebaseMachine) -> None:
    first = await machine.done(app(1))
    new = await machine.update_base(NEW)
    second = await machine.done(app(2, "auto"))

    assert second.status.phase is BuildPhase.COMPLETE, second.status
    assert [plan.name for plan in machine.builder.plans] == ["app-1"]
    image = await machine.result(second)
    assert image.diff_ids == (Digest.of(NEW), Digest.of(APP))
    # What says which build it is of is this build's, and the base is recorded as a build does it.
    assert image.labels["io.openshift.build.name"] == "app-2"
    assert "OPENSHIFT_BUILD_NAME=app-2" in image.settings["Env"]
    annotations = image.manifest.annotations
    assert (annotations[BASE_NAME], annotations[BASE_DIGEST]) == (f"{VENDOR}/base", str(new))
    assert annotations["dev.upwell.build.inputs"] == second.status.inputs
    # It is the output, under the tag of its inputs too.
    history = await machine.history("app", "latest")
    assert history.items[0].image == str(image.digest)
    tag = inputs_tag(second.status.inputs or "")
    assert await machine.internal.tag_digest(f"{NAMESPACE}/app", tag) == image.digest

    rebase = second.status.rebase
    assert rebase is not None
    assert rebase.rebased
    assert (rebase.build, rebase.message) == ("app-1", None)
    assert rebase.image == f"{INTERNAL}/{NAMESPACE}/app@{digest(first)}"
    assert made_here(second)
    assert [stage.name for stage in second.status.stages] == [
        "FetchInputs",
        "MirrorImages",
        "Rebase",
        "PushImage",
    ]
    log = await machine.log(second)
    assert "Nothing but the base has changed since build app-1" in log
    assert "1 layers mounted, 0 sent; 0 bytes" in log
    assert f"@{image.digest}" in log


async def test_what_is_rebased_is_what_is_built(machine: RebaseMachine) -> None:
    machine.settings = {"WorkingDir": "/srv", "Cmd": ["app"]}
    await machine.done(app(1))
    await machine.update_base(NEW, StopSignal="SIGINT", ExposedPorts={"80/tcp": {}})
    rebased = await machine.result(await machine.done(app(2, "auto")))
    built = await machine.result(await machine.done(app(3, forced=True)))

    assert len(machine.builder.plans) == 2
    assert rebased.diff_ids == built.diff_ids
    assert rebased.settings.keys() == built.settings.keys()
    for name in set(built.settings) - {"Labels", "Env"}:
        assert rebased.settings[name] == built.settings[name]
    assert rebased.labels.keys() == built.labels.keys()
    assert rebased.manifest.annotations == built.manifest.annotations


async def test_the_next_base_finds_the_rebased_image(machine: RebaseMachine) -> None:
    await machine.done(app(1))
    await machine.update_base(NEW)
    await machine.done(app(2, "auto"))
    await machine.update_base(OLD, Cmd=["sh"])
    third = await machine.done(app(3, "auto"))

    assert len(machine.builder.plans) == 1
    assert third.status.rebase is not None
    assert third.status.rebase.build == "app-2"
    image = await machine.result(third)
    assert image.diff_ids == (Digest.of(OLD), Digest.of(APP))
    assert image.settings["Cmd"] == ["sh"]


async def test_what_depends_on_the_base_is_built(machine: RebaseMachine) -> None:
    machine.own = TRAP
    await machine.done(app(1))
    await machine.update_base(NEW)
    second = await machine.done(app(2, "auto"))

    assert second.status.phase is BuildPhase.COMPLETE
    assert len(machine.builder.plans) == 2
    assert (await machine.result(second)).labels["io.openshift.build.name"] == "app-2"
    rebase = second.status.rebase
    assert rebase is not None
    assert not rebase.rebased
    assert "FileOverlap" in (rebase.message or "")
    log = await machine.log(second)
    assert "Not rebased: FileOverlap" in log
    assert "/bin/sh" in log


async def test_what_may_only_be_rebased_is_not_built(machine: RebaseMachine) -> None:
    machine.own = TRAP
    first = await machine.done(app(1))
    await machine.update_base(NEW)
    second = await machine.done(app(2, "rebase"))

    assert len(machine.builder.plans) == 1
    assert (second.status.phase, second.status.reason) == (BuildPhase.CANCELLED, "NotRebased")
    assert (second.status.message or "").startswith("nothing was built: ")
    assert not has_failed(second)
    assert "FileOverlap" in (second.status.message or "")
    assert "upwell start-build app -n shop" in (second.status.message or "")
    assert (await machine.history("app", "latest")).items[0].image == str(digest(first))


async def of_other_source(machine: RebaseMachine) -> dict[str, Any]:
    del machine
    return {"source": BuildSource(dockerfile=f"{FROM_BASE}RUN more\n")}


async def of_other_output(machine: RebaseMachine) -> dict[str, Any]:
    await push_image(machine.internal, f"{NAMESPACE}/app:mine", made_image(NEW))
    other = await machine.internal.tag_digest(f"{NAMESPACE}/app", "mine")
    assert other is not None
    stream = await machine.stream("app")
    (tag,) = stream.status.tags
    event = tag.items[0].model_copy(update={"image": str(other)})
    tag = tag.model_copy(update={"items": (event, *tag.items)})
    status = stream.status.model_copy(update={"tags": (tag,)})
    await machine.store.update_status(stream.with_status(status))
    return {}


async def of_hook(machine: RebaseMachine) -> dict[str, Any]:
    del machine
    return {"post_commit": BuildPostCommitSpec(script="test")}


async def of_no_earlier_build(machine: RebaseMachine) -> dict[str, Any]:
    await machine.store.delete(Build, NAMESPACE, "app-1")
    return {}


async def of_no_output(machine: RebaseMachine) -> dict[str, Any]:
    del machine
    return {"output": BuildOutput()}


async def of_image_gone(machine: RebaseMachine) -> dict[str, Any]:
    first = digest(await machine.build("app-1"))
    await machine.internal.delete_manifest(f"{NAMESPACE}/app", first)
    return {}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (of_other_source, "more than its base has changed since build app-1"),
        (of_other_output, "which is not what build app-1 has made"),
        (of_hook, "spec.postCommit"),
        (of_no_output, "its result goes nowhere"),
        (of_no_earlier_build, "no earlier build of it is kept"),
        (of_image_gone, "sha256:"),
    ],
)
async def test_what_is_more_than_a_change_of_the_base_is_built(
    machine: RebaseMachine, change: Any, why: str
) -> None:
    await machine.done(app(1))
    await machine.update_base(NEW)
    second = await machine.done(app(2, "auto", **await change(machine)))

    assert second.status.phase is BuildPhase.COMPLETE, second.status
    assert len(machine.builder.plans) == 2
    assert second.status.rebase is not None
    assert why in (second.status.rebase.message or "")


async def test_a_base_that_another_stage_takes_from_too_is_built_upon(
    machine: RebaseMachine,
) -> None:
    stages = f"FROM {BASE} AS tools\nRUN make\nFROM {BASE}\nCOPY --from=tools /a /a\n"
    source = BuildSource(dockerfile=stages)
    await machine.done(app(1, source=source))
    await machine.update_base(NEW)
    second = await machine.done(app(2, "auto", source=source))

    assert len(machine.builder.plans) == 2
    assert second.status.rebase is not None
    assert "another stage" in (second.status.rebase.message or "")


SCRIPTS = tar_of(
    {"usr/": b"", "usr/libexec/": b"", "usr/libexec/s2i/": b"", "usr/libexec/s2i/run": b"1"}
)
OTHER_SCRIPTS = tar_of({"usr/libexec/s2i/run": b"2"})


@pytest.mark.parametrize(("scripts", "rebased"), [((), True), ((OTHER_SCRIPTS,), False)])
async def test_a_source_build_is_rebased_while_its_builder_has_the_same_scripts(
    machine: RebaseMachine, scripts: tuple[bytes, ...], *, rebased: bool
) -> None:
    labels = {SCRIPTS_LABEL: "image:///usr/libexec/s2i"}
    strategy = BuildStrategy(
        type="Source",
        source_strategy=SourceBuildStrategy(from_=ObjectReference(kind="DockerImage", name=BASE)),
    )
    source = BuildSource(git=GitBuildSource(uri="https://git.example/app"))
    await machine.update_base(OLD, SCRIPTS, Labels=labels)
    await machine.done(app(1, strategy=strategy, source=source))
    new = await machine.update_base(NEW, SCRIPTS, *scripts, Labels=labels)
    second = await machine.done(app(2, "auto", strategy=strategy, source=source))

    assert second.status.rebase is not None
    assert second.status.rebase.rebased is rebased, second.status.rebase
    image = await machine.result(second)
    assert image.diff_ids[-1] == Digest.of(APP)
    if rebased:
        # The copy of the builder image that a build would have taken.
        built_by = Reference.parse(image.labels["io.openshift.build.image"])
        assert built_by == Reference.parse(image.labels["io.openshift.s2i.build.image"])
        assert built_by.digest == new
    else:
        assert "BuildScript" in (second.status.rebase.message or "")


async def test_nobody_knows_what_a_custom_build_depends_on(machine: RebaseMachine) -> None:
    image = ObjectReference(kind="DockerImage", name=BASE)
    strategy = BuildStrategy(type="Custom", custom_strategy=CustomBuildStrategy(from_=image))
    await machine.done(app(1, strategy=strategy))
    await machine.update_base(NEW)
    second = await machine.done(app(2, "auto", strategy=strategy))
    assert len(machine.builder.plans) == 2
    assert second.status.rebase is not None
    assert "custom build" in (second.status.rebase.message or "")


async def test_the_old_base_may_be_gone_upstream(machine: RebaseMachine) -> None:
    old = await machine.update_base(OLD)
    await machine.done(app(1))
    await machine.update_base(NEW)
    await machine.vendor.registry.delete_manifest("base", old)
    second = await machine.done(app(2, "auto"))

    assert second.status.rebase is not None
    assert second.status.rebase.rebased  # there is a copy here, from the build before


async def test_a_registry_that_is_away_is_asked_again(machine: RebaseMachine) -> None:
    await machine.done(app(1))
    await machine.update_base(NEW)
    machine.vendor.failure = RegistryUnavailableError(VENDOR, "it is away")
    await machine.store.create(app(2, "auto"))
    async with machine.building():

        async def waits() -> bool:
            return (await machine.build("app-2")).status.retry_time is not None

        await until(waits)
    assert len(machine.builder.plans) == 1
    assert (await machine.build("app-2")).status.phase is BuildPhase.NEW


@pytest.mark.parametrize(("answer", "builds"), [("auto", 2), ("rebase", 1)])
async def test_an_old_base_that_cannot_be_had_now_hinders_no_build(
    machine: RebaseMachine, monkeypatch: pytest.MonkeyPatch, answer: str, builds: int
) -> None:
    old = await machine.update_base(OLD)
    await machine.done(app(1))
    await machine.update_base(NEW)
    for repository in await machine.internal.repositories():
        with suppress(ManifestUnknownError):
            await machine.internal.delete_manifest(repository, old)
    manifest = machine.vendor.manifest

    async def away(reference: Reference, access: RequestAccess = DEFAULT_ACCESS) -> Any:
        if reference.digest == old:
            raise RegistryUnavailableError(VENDOR, "it is away")
        return await manifest(reference, access)

    monkeypatch.setattr(machine.vendor, "manifest", away)
    await machine.store.create(app(2, answer))
    async with machine.building():

        async def is_decided() -> bool:
            status = (await machine.build("app-2")).status
            return status.phase.is_terminal or status.retry_time is not None

        await until(is_decided)
    assert len(machine.builder.plans) == builds


async def test_a_death_before_the_tag_leaves_nothing_of_it(machine: RebaseMachine) -> None:
    first = await machine.done(app(1))
    await machine.update_base(NEW)
    put = machine.internal.put_manifest
    deaths = 0

    async def dies(push: ManifestPush) -> Any:
        nonlocal deaths
        if push.actor == "builder" and not deaths:
            deaths += 1
            raise OSError("killed")
        return await put(push)

    machine.internal.put_manifest = dies  # type: ignore[method-assign]
    second = await machine.done(app(2, "auto"))
    assert second.status.phase is BuildPhase.FAILED
    assert (await machine.history("app", "latest")).items[0].image == str(digest(first))
    third = await machine.done(app(3, "auto"))
    assert third.status.rebase is not None
    assert third.status.rebase.rebased
    assert (await machine.result(third)).diff_ids == (Digest.of(NEW), Digest.of(APP))


async def test_a_base_of_the_same_content_keeps_the_image(machine: RebaseMachine) -> None:
    first = await machine.done(app(1))
    image = made_image(OLD, settings={})
    await push_image(machine.vendor.registry, "base:1", image)
    second = await machine.done(app(2, "auto"))
    assert digest(second) == digest(first)
    assert len(machine.builder.plans) == 1


@pytest.mark.parametrize(
    ("bounds", "why"),
    [
        (RebaseBounds(facts_bytes=600), "image and bases have more files than fit"),
        (RebaseBounds(layers=3), "image and bases have 4 layers, and 3 are compared"),
    ],
)
async def test_what_takes_too_much_to_compare_is_built(
    machine: RebaseMachine, bounds: RebaseBounds, why: str
) -> None:
    await machine.done(app(1))
    await machine.update_base(NEW)
    machine.bounds = bounds
    second = await machine.done(app(2, "auto"))
    assert len(machine.builder.plans) == 2
    assert second.status.rebase is not None
    assert why in (second.status.rebase.message or "")


async def test_a_configuration_of_megabytes_is_built(machine: RebaseMachine) -> None:
    await machine.done(app(1))
    await machine.update_base(NEW, Labels={"long": "x" * 1_100_000})
    second = await machine.done(app(2, "auto"))
    assert len(machine.builder.plans) == 2
    assert second.status.rebase is not None
    assert "and one of at most 1048576 is rebased" in (second.status.rebase.message or "")


async def test_what_is_told_is_for_people(machine: RebaseMachine) -> None:
    labels = {f"{at:04}": "v" for at in range(200)}
    settings = {"Labels": labels, "Shell": ["x" * 100_000]}
    await machine.update_base(OLD, **settings)
    machine.settings = {"Entrypoint": ["app"]}
    await machine.done(app(1))
    await machine.update_base(NEW, Shell=["y" * 100_000], OnBuild=["RUN y"] * 100)
    second = await machine.done(app(2, "auto"))
    assert second.status.rebase is not None
    assert not second.status.rebase.rebased
    message = second.status.rebase.message or ""
    assert "Shell was ['xxx" in message
    assert len(message) <= 2000
    assert len(await machine.log(second)) < 10_000


class HeldScanner:
    """A scanner that waits in the middle until a test lets it go on."""

    def __init__(self, scanner: FileScanner) -> None:
        self._scanner = scanner
        self.reached, self.gate = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def facts(self, layers: Layers, layer: Descriptor) -> AsyncIterator[LayerFacts]:
        self.reached.set()
        await self.gate.wait()
        async with self._scanner.facts(layers, layer) as found:
            yield found


@pytest.fixture
async def held(machine: RebaseMachine) -> HeldScanner:
    """Return what holds the rebase of the second build back."""
    await machine.done(app(1))
    await machine.update_base(NEW)
    held = HeldScanner(FileScanner(machine.found_files))
    machine.scanner = held
    await machine.store.create(app(2, "auto"))
    return held


async def test_a_rebase_that_the_end_of_the_server_cuts_off_is_begun_again(
    machine: RebaseMachine, held: HeldScanner
) -> None:
    async with machine.building():
        await held.reached.wait()
    tag = inputs_tag((await machine.build("app-2")).status.inputs or "")
    assert await machine.internal.tag_digest(f"{NAMESPACE}/app", tag) is None

    held.gate.set()
    async with machine.building():
        await until_ended(machine, "app-2")
    second = await machine.build("app-2")
    assert second.status.rebase is not None
    assert second.status.rebase.rebased
    assert len(machine.builder.plans) == 1
    assert (await machine.result(second)).diff_ids == (Digest.of(NEW), Digest.of(APP))


async def test_a_rebase_is_cancelled_and_leaves_nothing(
    machine: RebaseMachine, held: HeldScanner
) -> None:
    before = await machine.history("app", "latest")
    async with machine.building():
        await held.reached.wait()
        build = await machine.build("app-2")
        status = build.status.model_copy(update={"cancelled": True})
        await machine.store.update_status(build.with_status(status))
        await until_ended(machine, "app-2")
    second = await machine.build("app-2")
    assert second.status.phase is BuildPhase.CANCELLED
    assert (await machine.history("app", "latest")) == before
    tag = inputs_tag(second.status.inputs or "")
    assert await machine.internal.tag_digest(f"{NAMESPACE}/app", tag) is None


async def test_a_rebase_keeps_to_the_deadline_of_its_build(machine: RebaseMachine) -> None:
    await machine.done(app(1))
    await machine.update_base(NEW)
    machine.scanner = HeldScanner(FileScanner(machine.found_files))
    second = await machine.done(app(2, "auto", completion_deadline_seconds=1))
    assert (second.status.phase, second.status.reason) == (BuildPhase.FAILED, "DeadlineExceeded")


async def test_an_image_that_its_namespace_may_not_have_gets_no_tag(machine: RebaseMachine) -> None:
    first = await machine.done(app(1))
    await machine.update_base(NEW)

    async def refuse(push: ManifestPush) -> None:
        for blob in (await machine.result(first)).layers[1:]:  # all content is there by then
            assert await machine.internal.blob_size(push.repository, blob.digest)
        raise BuildError("PushImageToRegistryFailed", "larger than a LimitRange allows")

    machine.check_push = refuse
    second = await machine.done(app(2, "auto"))
    assert (second.status.phase, second.status.reason) == (
        BuildPhase.FAILED,
        "PushImageToRegistryFailed",
    )
    tag = inputs_tag(second.status.inputs or "")
    assert await machine.internal.tag_digest(f"{NAMESPACE}/app", tag) is None
    assert (await machine.history("app", "latest")).items[0].image == str(digest(first))


async def test_a_base_of_another_namespace_that_was_built_here_too(machine: RebaseMachine) -> None:
    dockerfile = f"FROM {INTERNAL}/other/app:1\nRUN make\n"

    async def update(layer: bytes, build: str) -> None:
        # Its builds have the names of ours: what says so in the image is no value that it inherits.
        machine.layers[Digest.of(layer)] = layer
        labels = {"io.openshift.build.name": build, "of": build}
        settings = {"Env": [f"OPENSHIFT_BUILD_NAME={build}"], "Labels": labels}
        await push_image(machine.internal, "other/app:1", made_image(layer, settings=settings))

    await update(OLD, "app-1")
    await machine.done(app(1, dockerfile=dockerfile))
    await update(NEW, "app-7")
    second = await machine.done(app(2, "auto", dockerfile=dockerfile))

    assert second.status.rebase is not None
    assert second.status.rebase.rebased, second.status.rebase
    image = await machine.result(second)
    assert image.diff_ids == (Digest.of(NEW), Digest.of(APP))
    assert "OPENSHIFT_BUILD_NAME=app-2" in image.settings["Env"]
    assert (image.labels["io.openshift.build.name"], image.labels["of"]) == ("app-2", "app-7")
