"""Uploads, Secrets, ConfigMaps, source images and variables of builds."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.builds.memory_builds import (
    NAMESPACE,
    VENDOR,
    BuildMachine,
    docker_build,
    image_stream,
    push,
    until,
)
from tests.support.inventory.layer_archives import archive
from tests.support.openshift import TESTDATA, needs_corpus

from upwell.actions.builds import BuildActions
from upwell.api.builds.build import Build, BuildPhase, BuildRequest
from upwell.api.builds.config import BinaryInput, BuildConfig
from upwell.api.builds.inputs import BuildSource
from upwell.api.codec import decode
from upwell.api.core import ConfigMap, Secret
from upwell.api.defaults import apply_defaults
from upwell.api.image import ImageStream
from upwell.api.manifests import parse_manifests
from upwell.api.meta import ObjectMeta, Resource
from upwell.builder.interface import BinaryKind, BuildPlan
from upwell.oci import Digest
from upwell.policy.builds.requests import BuildRefusedError
from upwell.reconcilers.builds.build_configs import BuildConfigs
from upwell.reconcilers.builds.objects import referenced_inputs
from upwell.store.interface import AlreadyExistsError

DOCKER = {"type": "Docker", "dockerStrategy": {}}


@pytest.fixture
async def machine(tmp_path: Path) -> BuildMachine:
    machine = BuildMachine(tmp_path)
    for name in ("app", "test"):
        await machine.store.create(image_stream(name))
    return machine


def manifests(name: str, images: Mapping[str, str] | None = None) -> list[Resource]:
    """Return a file's objects in our namespace, their images under the test registry's names."""
    text = (TESTDATA / name).read_text()
    for old, new in (images or {}).items():
        text = text.replace(old, new)
    return [
        apply_defaults(decode(document)).with_metadata(namespace=NAMESPACE)
        for document in parse_manifests(text, name)
    ]


def source_of(document: dict[str, Any]) -> BuildSource:
    return BuildSource.model_validate_json(json.dumps(document))


async def create(machine: BuildMachine, *resources: Resource) -> None:
    for resource in resources:
        await machine.store.create(resource)


async def over(machine: BuildMachine, name: str) -> Build:
    async def is_over() -> bool:
        return (await machine.build(name)).status.phase.is_terminal

    try:
        await until(is_over)
    except TimeoutError:
        raise AssertionError((await machine.build(name)).status) from None
    return await machine.build(name)


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def uploaded(machine: BuildMachine, content: bytes, as_file: str = "") -> BinaryInput:
    """Keep a file, or without a name an archive with one in `sub`."""
    kept = content if as_file else archive(("sub/artifact", content))
    stored = await machine.inputs.save(pieces(kept))
    return BinaryInput(digest=str(stored.digest), as_file=as_file or None)


def binary_config(**spec: Any) -> BuildConfig:
    document = {
        "apiVersion": "build.openshift.io/v1",
        "kind": "BuildConfig",
        "metadata": {"name": "app", "namespace": NAMESPACE},
        "spec": {
            "source": {"binary": {}, "contextDir": "sub"},
            "strategy": {"sourceStrategy": {"from": {"kind": "ImageStreamTag", "name": "base:1"}}},
            "output": {"to": {"kind": "ImageStreamTag", "name": "app:latest"}},
            "triggers": [{"type": "ImageChange"}, {"type": "ConfigChange"}],
            **spec,
        },
    }
    config = apply_defaults(decode(document))
    assert isinstance(config, BuildConfig)
    return config


async def based(machine: BuildMachine, mark: str) -> Digest:
    """Push a base image, and let the stream `base` name it."""
    digest = await push(machine.vendor.registry, "base:1", mark)
    name = f"{VENDOR}/base@{digest}"
    document = {
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStream",
        "metadata": {"name": "base", "namespace": NAMESPACE},
        "status": {
            "tags": [
                {
                    "tag": "1",
                    "items": [
                        {
                            "created": "2024-01-01T00:00:00Z",
                            "dockerImageReference": name,
                            "image": str(digest),
                        }
                    ],
                }
            ]
        },
    }
    stream = decode(document)
    assert isinstance(stream, ImageStream)
    try:
        created = await machine.store.create(stream)
    except AlreadyExistsError:
        created = await machine.stream("base")
    await machine.store.update_status(created.with_status(stream.status))
    return digest


async def reconcile(machine: BuildMachine, name: str = "app") -> BuildConfig:
    configs = BuildConfigs(machine.index, clock=machine.clock)
    config = await machine.store.get(BuildConfig, NAMESPACE, name)
    await configs.reconcile(config.key)
    return await machine.store.get(BuildConfig, NAMESPACE, name)


def condition(config: BuildConfig, kind: str = "Current") -> tuple[str, str]:
    [found] = [c for c in config.status.conditions if c.type == kind]
    return found.reason, found.message


async def test_a_binary_config_without_an_upload_starts_nothing_and_says_so(
    machine: BuildMachine,
) -> None:
    await based(machine, "one")
    await create(machine, binary_config())

    config = await reconcile(machine)

    for kind in ("Current", "Ready"):
        reason, message = condition(config, kind)
        assert reason == "NoBinaryInput"
        assert message.startswith("waits for a first upload: `upwell start-build app --from-dir")
    assert not any(c.is_true for c in config.status.conditions)
    assert not (await machine.store.list(Build)).items
    with pytest.raises(BuildRefusedError, match="waits for a first upload"):
        await BuildActions(machine.index).instantiate(NAMESPACE, "app", BuildRequest())


async def test_a_new_base_image_builds_the_last_upload_again(machine: BuildMachine) -> None:
    await based(machine, "one")
    await create(machine, binary_config(source={"binary": {}}))
    actions = BuildActions(machine.index)
    async with machine.building():
        await actions.instantiate_binary(
            NAMESPACE, "app", await uploaded(machine, b"artifact", "app.war")
        )
        assert (await over(machine, "app-1")).status.phase is BuildPhase.COMPLETE
        config = await reconcile(machine)
        assert config.status.binary_input is not None
        assert config.status.binary_input.build == "app-1"
        await machine.store.delete(Build, NAMESPACE, "app-1")  # the status remembers
        second = await based(machine, "two")
        await reconcile(machine)
        done = await over(machine, "app-2")

    assert done.status.phase is BuildPhase.COMPLETE, done.status.message
    [cause] = done.spec.triggered_by
    assert cause.message == "Image change"
    first, again = machine.builder.uploads
    assert first == again
    assert (again.kind, again.as_file, again.context_dir) == (BinaryKind.FILE, "app.war", "")
    assert again.path.read_bytes() == b"artifact"
    assert machine.builder.plans[-1].images["builder"].digest == second
    assert await referenced_inputs(machine.store) == {Digest.of(b"artifact")}


async def test_another_upload_is_another_build_and_the_same_one_is_not(
    machine: BuildMachine,
) -> None:
    await based(machine, "one")
    await create(machine, binary_config())
    actions = BuildActions(machine.index)
    hashes = []
    async with machine.building():
        for at, content in enumerate((b"one", b"two", b"one"), start=1):
            await actions.instantiate_binary(NAMESPACE, "app", await uploaded(machine, content))
            hashes.append((await over(machine, f"app-{at}")).status.inputs)
    assert hashes[0] == hashes[2] != hashes[1]
    assert {one.context_dir for one in machine.builder.uploads} == {"sub"}


async def test_a_job_that_is_retried_makes_no_second_image(machine: BuildMachine) -> None:
    await based(machine, "one")
    await create(machine, binary_config())
    actions = BuildActions(machine.index)
    async with machine.building():
        for at in (1, 2):
            upload = await uploaded(machine, b"artifact")
            await actions.instantiate_binary(NAMESPACE, "app", upload, unless_built=True)
            assert (await over(machine, f"app-{at}")).status.phase is BuildPhase.COMPLETE
    assert [plan.name for plan in machine.builder.plans] == ["app-1"]


async def test_an_upload_takes_the_place_of_a_repository_once(machine: BuildMachine) -> None:
    await based(machine, "one")
    git = {"git": {"uri": "https://git.example/app.git"}}
    await create(machine, binary_config(source=git, triggers=[]))
    actions = BuildActions(machine.index)
    build = await actions.instantiate_binary(NAMESPACE, "app", await uploaded(machine, b"x"))
    plain = await actions.instantiate(NAMESPACE, "app", BuildRequest())

    assert build.spec.source.git is None
    assert build.spec.source.type == "Binary"
    assert plain.spec.source.git is not None
    assert plain.spec.source.binary is None


async def test_a_build_waits_for_its_secret_and_starts_when_it_is_there(
    machine: BuildMachine,
) -> None:
    source = {
        "dockerfile": "FROM scratch\n",
        "secrets": [{"secret": {"name": "key"}, "destinationDir": "keys"}],
        "configMaps": [{"configMap": {"name": "settings"}}],
    }
    await create(machine, docker_build(source=source_of(source)))

    async def waits_for_both() -> bool:
        return "Secret key, ConfigMap settings" in (
            (await machine.build("app-1")).status.message or ""
        )

    async with machine.building():
        await until(waits_for_both)
        waiting = await machine.build("app-1")
        assert (waiting.status.phase, waiting.status.attempts) == (BuildPhase.NEW, 0)
        meta = ObjectMeta(name="key", namespace=NAMESPACE)
        await create(machine, Secret(metadata=meta, data={"id": "c2VjcmV0"}))
        settings = ObjectMeta(name="settings", namespace=NAMESPACE)
        await create(machine, ConfigMap(metadata=settings, data={"a": "b"}))
        done = await over(machine, "app-1")

    assert done.status.phase is BuildPhase.COMPLETE, done.status.message
    [plan] = machine.builder.plans
    assert [(i.name, dict(i.files), i.destination_dir, i.secret) for i in plan.inputs] == [
        ("key", {"id": b"secret"}, "keys", True),
        ("settings", {"a": b"b"}, "", False),
    ]


async def test_a_build_waits_for_its_output_stream(machine: BuildMachine) -> None:
    output = {"to": {"kind": "ImageStreamTag", "name": "later:latest"}}
    await create(machine, docker_build(output=output))

    async def waits() -> bool:
        return (await machine.build("app-1")).status.reason == "InvalidOutputReference"

    async with machine.building():
        await until(waits)
        assert (await machine.build("app-1")).status.phase is BuildPhase.NEW
        await create(machine, image_stream("later"))
        assert (await over(machine, "app-1")).status.phase is BuildPhase.COMPLETE


async def test_a_binary_build_fails_at_once_for_what_is_missing(machine: BuildMachine) -> None:
    stored = await uploaded(machine, b"x")
    source = {"binary": {"digest": stored.digest}, "secrets": [{"secret": {"name": "none"}}]}
    await create(machine, docker_build(source=source_of(source)))
    async with machine.building():
        failed = await over(machine, "app-1")
    assert failed.status.phase is BuildPhase.FAILED
    assert failed.status.message == (
        "Generic Build failure - check logs for details."
        " waits for Secret none: create what is missing"
    )


async def test_changed_settings_are_other_inputs(machine: BuildMachine) -> None:
    meta = ObjectMeta(name="settings", namespace=NAMESPACE)
    source = {"dockerfile": "FROM scratch\n", "configMaps": [{"configMap": {"name": "settings"}}]}
    hashes = []
    async with machine.building():
        for at, value in enumerate(("a", "b", "a"), start=1):
            if at > 1:
                await machine.store.delete(ConfigMap, NAMESPACE, "settings")
            await create(machine, ConfigMap(metadata=meta, data={"key": value}))
            await create(machine, docker_build(at, source=source_of(source)))
            hashes.append((await over(machine, f"app-{at}")).status.inputs)
    assert hashes[0] == hashes[2] != hashes[1]
    assert len(machine.builder.plans) == 2, "the third has the inputs of the first"


async def test_images_of_the_source_are_pinned_and_stand_in_for_names(
    machine: BuildMachine,
) -> None:
    tools = await push(machine.vendor.registry, "tools:1", "tools")
    source = {
        "dockerfile": "FROM scratch\nCOPY --from=kit /a /b\n",
        "images": [
            {
                "from": {"kind": "DockerImage", "name": f"{VENDOR}/tools:1"},
                "as": ["kit"],
                "paths": [{"sourcePath": "/bin/.", "destinationDir": "in"}],
            }
        ],
    }
    await create(machine, docker_build(source=source_of(source)))
    async with machine.building():
        done = await over(machine, "app-1")

    assert done.status.phase is BuildPhase.COMPLETE, done.status.message
    [plan] = machine.builder.plans
    [image] = plan.source_images
    assert (image.reference.digest, image.as_names) == (tools, ("kit",))
    assert [(p.source, p.destination_dir) for p in image.paths] == [("/bin/.", "in")]
    assert plan.images == {}
    assert [i.name for i in done.status.images] == ["spec.source.images[0]"]


async def test_a_build_that_a_person_writes_may_name_stream_tags(machine: BuildMachine) -> None:
    digest = await based(machine, "one")
    strategy = {"dockerStrategy": {"from": {"kind": "ImageStreamTag", "name": "base:1"}}}
    await create(
        machine, docker_build(dockerfile="FROM x\n", strategy=strategy | {"type": "Docker"})
    )
    async with machine.building():
        done = await over(machine, "app-1")
    assert done.status.phase is BuildPhase.COMPLETE, done.status.message
    [plan] = machine.builder.plans
    assert plan.final_image is not None
    assert plan.final_image.digest == digest


async def plan_of(machine: BuildMachine, config: str) -> tuple[BuildPlan | None, Build]:
    build = await BuildActions(machine.index).instantiate(NAMESPACE, config, BuildRequest())
    async with machine.building():
        done = await over(machine, build.name)
    return next(iter(machine.builder.plans), None), done


@needs_corpus
async def test_case_25_values_come_from_fields_settings_and_secrets(machine: BuildMachine) -> None:
    digest = await push(machine.vendor.registry, "busybox:latest", "busybox")
    pinned = f"{VENDOR}/busybox@{digest}"
    text = "busybox@sha256:a59906e33509d14c036c8678d687bd4eec81ed7c4b8ce907b888c607f6a1e0e6"
    name = "builds/valuefrom/successful-docker-build-value-from-config.yaml"
    await create(machine, *manifests(name, {text: pinned}))
    await create(machine, *manifests("builds/valuefrom/test-configmap.yaml"))
    await create(machine, *manifests("builds/valuefrom/test-secret.yaml"))

    plan, done = await plan_of(machine, "mydockertest")

    assert done.status.phase is BuildPhase.COMPLETE, done.status.message
    assert plan is not None
    assert set(dict(plan.build_env)) == {"OPENSHIFT_BUILD_NAME", "OPENSHIFT_BUILD_NAMESPACE"}
    assert dict(plan.env) == {
        "BUILD_LOGLEVEL": "5",
        "FIELDREF_ENV": "mydockertest-1",
        "CONFIGMAPKEYREF_ENV": "myvalue",
        "FIELDREF_CLONE_ENV": "mydockertest-1",
        "FIELDREF_CLONE_CLONE_ENV": "mydockertest-1",
        "UNAVAILABLE_ENV": "$(SOME_OTHER_ENV)",
        "ESCAPED_ENV": "$(MY_ESCAPED_VALUE)",
    }
    assert plan.secret_env == (("SECRETKEYREF_ENV", "developer"),)
    assert plan.labels["user-specified-label"] == "arbitrary-value"


@needs_corpus
async def test_case_25_every_value_that_is_missing_is_named_at_once(machine: BuildMachine) -> None:
    digest = await push(machine.vendor.registry, "busybox:latest", "busybox")
    text = "busybox@sha256:a59906e33509d14c036c8678d687bd4eec81ed7c4b8ce907b888c607f6a1e0e6"
    name = "builds/valuefrom/failed-docker-build-value-from-config.yaml"
    await create(machine, *manifests(name, {text: f"{VENDOR}/busybox@{digest}"}))
    await create(machine, *manifests("builds/valuefrom/test-configmap.yaml"))
    await create(machine, *manifests("builds/valuefrom/test-secret.yaml"))

    plan, done = await plan_of(machine, "mydockertest")

    assert plan is None
    assert (done.status.phase, done.status.reason) == (
        BuildPhase.ERROR,
        "UnresolvableEnvironmentVariable",
    )
    assert done.status.message == (
        "Unable to resolve build environment variable reference."
        " unsupported fieldPath: metadata.nofield; key nokey not found in config map myconfigmap;"
        " key nousername not found in secret mysecret"
    )


@needs_corpus
async def test_case_22_a_build_without_output_completes_and_pushes_nothing(
    machine: BuildMachine,
) -> None:
    await push(machine.vendor.registry, "busybox:latest", "busybox")
    images = {"docker.io/busybox:latest": f"{VENDOR}/busybox:latest"}
    await create(machine, *manifests("builds/test-docker-no-outputname.json", images))
    plan, done = await plan_of(machine, "test-docker")
    assert done.status.phase is BuildPhase.COMPLETE, done.status.message
    assert plan is not None
    assert plan.push is None
    assert done.status.output is None


@needs_corpus
@pytest.mark.parametrize("kind", ["s2i", "docker", "custom"])
async def test_case_17_a_build_that_names_stream_tags_runs_with_digests(
    machine: BuildMachine, kind: str
) -> None:
    digest = await push(machine.vendor.registry, "inputimage:latest", "input")
    item = {
        "created": "2024-01-01T00:00:00Z",
        "dockerImageReference": f"{VENDOR}/inputimage@{digest}",
        "image": str(digest),
    }
    stream = decode(
        {
            "apiVersion": "image.openshift.io/v1",
            "kind": "ImageStream",
            "metadata": {"name": "inputimage", "namespace": NAMESPACE},
            "status": {"tags": [{"tag": "latest", "items": [item]}]},
        }
    )
    assert isinstance(stream, ImageStream)
    created = await machine.store.create(stream)
    await machine.store.update_status(created.with_status(stream.status))
    await create(machine, image_stream("imagesourceapp"), image_stream("imagedockerapp"))
    [build] = manifests(f"builds/test-imageresolution-{kind}-build.yaml")
    if kind == "docker":
        machine.builder.dockerfile = "FROM nowhere\n"
    await create(machine, build)
    async with machine.building():
        done = await over(machine, build.name)

    assert done.status.phase is BuildPhase.COMPLETE, done.status.message
    [plan] = machine.builder.plans
    [copied] = plan.source_images
    assert copied.reference.digest == digest
    base = plan.final_image if kind == "docker" else plan.images["builder"]
    assert base is not None
    assert base.digest == digest
    if kind == "custom":
        assert '"kind":"DockerImage"' in plan.build_document
