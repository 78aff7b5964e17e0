"""Plans that a builder gets: every image pinned, every value looked up, every login found."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.support.builds.memory_builds import (
    INTERNAL,
    NAMESPACE,
    VENDOR,
    BuildMachine,
    FullStore,
    commit_of,
    docker_build,
    image_stream,
    imported,
    push,
    stream_key,
    until,
)

from upwell.api.builds.build import Build, BuildPhase
from upwell.api.builds.inputs import GitSourceRevision, SecretBuildSource, SourceRevision
from upwell.api.core import ConfigMap, Secret
from upwell.api.meta import LocalReference, ObjectMeta, Resource
from upwell.builder.interface import BuilderStrategy, BuildPlan, RegistryLogin
from upwell.controller import ObjectCache
from upwell.oci import Digest
from upwell.policy.builds.source_secrets import MATCH_ANNOTATION_PREFIX
from upwell.reconcilers.builds.index import BuildIndex

SOURCE = f"{VENDOR}/debian:11"
GIT = {"type": "Git", "git": {"uri": "https://git.example/shop.git", "ref": "main"}}


@pytest.fixture
async def machine(tmp_path: Path) -> BuildMachine:
    machine = BuildMachine(tmp_path)
    await machine.store.create(image_stream("app"))
    return machine


@pytest.fixture
async def base(machine: BuildMachine) -> Digest:
    """The image behind vendor.example/debian:11."""
    return await push(machine.vendor.registry, "debian:11", "base")


async def ended(machine: BuildMachine, build: Build) -> Build:
    """Create the build and wait until it has ended or failed for now."""
    await machine.store.create(build)

    async def is_over() -> bool:
        status = (await machine.build(build.name)).status
        return status.phase.is_terminal or status.retry_time is not None

    async with machine.building():
        await until(is_over)
    return await machine.build(build.name)


async def plan_of(machine: BuildMachine, build: Build) -> BuildPlan:
    done = await ended(machine, build)
    assert done.status.phase is BuildPhase.COMPLETE, done.status.message
    (plan,) = machine.builder.plans
    return plan


def source_build(base: Digest, **changes: object) -> Build:
    strategy = {"from": {"kind": "DockerImage", "name": f"{VENDOR}/debian@{base}"}, **changes}
    document = {"type": "Source", "sourceStrategy": strategy}
    return docker_build(source=GIT, strategy=document)


def secret(name: str, data: Mapping[str, bytes], kind: str = "Opaque") -> Secret:
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    return Secret(metadata=ObjectMeta(name=name, namespace=NAMESPACE), type=kind, data=encoded)


async def test_a_source_build_stands_on_its_builder_image(
    machine: BuildMachine, base: Digest
) -> None:
    build = source_build(base, scripts="https://scripts.example")
    plan = await plan_of(machine, build)
    assert plan.strategy is BuilderStrategy.SOURCE
    assert plan.base_digest == str(base)
    assert plan.scripts_url == "https://scripts.example"
    (pulled,) = plan.images.values()
    assert (pulled.registry, pulled.digest) == (INTERNAL, base)  # the mirrored copy
    assert dict(plan.build_env)["OPENSHIFT_BUILD_SOURCE"] == "https://git.example/shop.git"
    assert dict(plan.build_env)["OPENSHIFT_BUILD_COMMIT"] == commit_of("main")
    assert plan.labels["io.openshift.build.commit.id"] == commit_of("main")
    assert plan.labels["io.openshift.build.name"] == "app-1"


async def test_a_build_on_nothing_may_say_so_in_its_strategy_too(machine: BuildMachine) -> None:
    """As `oc new-build` makes it of a Dockerfile that ends with FROM scratch."""
    strategy = {"from": {"kind": "DockerImage", "name": "scratch"}}
    document = {"type": "Docker", "dockerStrategy": strategy}
    plan = await plan_of(machine, docker_build(strategy=document))
    assert (plan.images, plan.final_image, plan.base_digest) == ({}, None, "")


async def test_the_fetched_commit_is_in_the_builds_spec(
    machine: BuildMachine, base: Digest
) -> None:
    done = await ended(machine, source_build(base))
    assert done.status.phase is BuildPhase.COMPLETE, done.status.message
    assert done.status.revision is not None
    assert done.spec.revision == done.status.revision
    assert (done.revision.type, done.revision.commit) == ("Git", commit_of("main"))
    assert done.revision.git.author.name == "Ann"


async def test_a_declared_commit_stays_in_the_builds_spec(
    machine: BuildMachine, base: Digest
) -> None:
    declared = SourceRevision.of_git(GitSourceRevision(commit="a" * 40, message="as a hook said"))
    build = source_build(base)
    spec = build.spec.model_copy(update={"revision": declared})
    done = await ended(machine, build.model_copy(update={"spec": spec}))
    assert done.spec.revision == declared
    assert done.status.revision is not None
    assert done.status.revision.commit == "a" * 40


@pytest.mark.parametrize(("named", "user"), [(None, "matching"), ("plain", "plain")])
async def test_a_source_is_fetched_with_the_secret_that_is_named_or_fits_its_address(
    machine: BuildMachine, base: Digest, named: str | None, user: str
) -> None:
    plain = secret("plain", {"username": b"plain", "password": b"hidden"})
    matching = secret("matching", {"username": b"matching", "password": b"hidden"})
    pattern = {f"{MATCH_ANNOTATION_PREFIX}1": "https://git.example/*"}
    await machine.store.create(plain)
    await machine.store.create(matching.with_metadata(annotations=pattern))
    build = source_build(base)
    source = build.spec.source.model_copy(
        update={"source_secret": LocalReference(name=named) if named else None}
    )
    spec = build.spec.model_copy(update={"source": source})
    await plan_of(machine, build.model_copy(update={"spec": spec}))
    [fetched] = machine.builder.sources
    assert (fetched.username, fetched.password) == (user, "hidden")


async def test_a_restart_builds_the_commit_of_the_first_try(
    machine: BuildMachine, base: Digest
) -> None:
    machine.builder.gate.clear()
    await machine.store.create(source_build(base))

    async def is_running() -> bool:
        return bool(machine.builder.running)

    async with machine.building():
        await until(is_running)
    async with machine.building():
        await until(is_running)
    assert [source.ref for source in machine.builder.sources] == ["main", commit_of("main")]


async def test_an_image_that_a_stream_imports_is_taken_from_the_stream(
    machine: BuildMachine, base: Digest
) -> None:
    await machine.store.create(image_stream("debian", imported("11", SOURCE)))
    await machine.streams().reconcile(stream_key("debian"))
    await push(machine.vendor.registry, "debian:11", "newer")  # not imported yet
    build = docker_build(dockerfile=f"FROM {SOURCE}\n")
    plan = await plan_of(machine, build)
    assert (plan.base_digest, plan.base_name) == (str(base), SOURCE)
    (image,) = (await machine.build("app-1")).status.images
    assert image.stream_tag == f"{NAMESPACE}/debian:11"


async def test_the_strategys_image_takes_the_place_of_the_last_from_alone(
    machine: BuildMachine, base: Digest
) -> None:
    other = await push(machine.vendor.registry, "tools:1", "tools")
    strategy = {"from": {"kind": "DockerImage", "name": f"{VENDOR}/debian@{base}"}}
    text = f"FROM {VENDOR}/tools:1 AS tools\nFROM nowhere.example/any:1\n"
    document = {"type": "Docker", "dockerStrategy": strategy}
    plan = await plan_of(machine, docker_build(dockerfile=text, strategy=document))
    found = {name: reference.digest for name, reference in plan.images.items()}
    assert found == {f"{VENDOR}/tools:1": other}
    assert plan.final_image is not None
    assert plan.final_image.digest == base


async def test_variables_are_looked_up_and_stay_out_of_the_build(
    machine: BuildMachine, base: Digest
) -> None:
    await machine.store.create(secret("keys", {"token": b"hidden"}))
    await machine.store.create(
        ConfigMap(metadata=ObjectMeta(name="modes", namespace=NAMESPACE), data={"mode": "fast"})
    )
    env = [
        {"name": "PLAIN", "value": "1"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
        {"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "modes", "key": "mode"}}},
    ]
    plan = await plan_of(machine, source_build(base, env=tuple(env)))
    values = dict(plan.env)
    assert (values["PLAIN"], values["MODE"]) == ("1", "fast")
    assert "TOKEN" not in values
    assert plan.secret_env == (("TOKEN", "hidden"),)
    assert "hidden" not in repr(plan)
    assert "hidden" not in (await machine.build("app-1")).model_dump_json()


class ChangingSecretStore(FullStore):
    """A store in which somebody changes a Secret whenever it has been read."""

    async def get[R: Resource](self, resource: type[R], namespace: str, name: str) -> R:
        found = await super().get(resource, namespace, name)
        if isinstance(found, Secret):
            number = int(found.decoded()["number"])
            await self.update(secret(name, {"number": str(number + 1).encode()}))
        return found


async def test_what_goes_into_a_build_is_read_once(base: Digest, machine: BuildMachine) -> None:
    machine.store = ChangingSecretStore(machine.clock)
    machine.index = BuildIndex(ObjectCache(machine.store))
    await machine.store.create(image_stream("app"))
    await machine.store.create(secret("keys", {"number": b"1"}))
    reference = {"secretKeyRef": {"name": "keys", "key": "number"}}
    build = source_build(base, env=({"name": "NUMBER", "valueFrom": reference},))
    source = build.spec.source.model_copy(
        update={"secrets": (SecretBuildSource(secret=LocalReference(name="keys")),)}
    )
    spec = build.spec.model_copy(update={"source": source})
    plan = await plan_of(machine, build.model_copy(update={"spec": spec}))
    [injected] = plan.inputs
    assert injected.files == {"number": dict(plan.secret_env)["NUMBER"].encode()}


async def test_a_variable_without_its_secret_fails_the_build_by_name(
    machine: BuildMachine, base: Digest
) -> None:
    reference = {"secretKeyRef": {"name": "keys", "key": "token"}}
    build = source_build(base, env=({"name": "TOKEN", "valueFrom": reference},))
    failed = await ended(machine, build)
    assert failed.status.reason == "UnresolvableEnvironmentVariable"
    assert "keys" in (failed.status.message or "")
    assert machine.builder.plans == []


@pytest.mark.parametrize("named", [True, False])
async def test_logins_of_pull_and_push_come_from_named_secrets_else_from_the_namespaces(
    machine: BuildMachine, base: Digest, *, named: bool
) -> None:
    logins = {"a": (VENDOR, "all"), "pull": (VENDOR, "pull"), "push": ("other.example", "push")}
    for name, (host, user) in logins.items():
        login = {"auths": {host: {"username": user, "password": "hidden"}}}
        content = {".dockerconfigjson": json.dumps(login).encode()}
        await machine.store.create(secret(name, content, "kubernetes.io/dockerconfigjson"))
    strategy: dict[str, object] = {
        "from": {"kind": "DockerImage", "name": f"{VENDOR}/debian@{base}"}
    }
    output: dict[str, object] = {"to": {"kind": "DockerImage", "name": "other.example/app:1"}}
    if named:
        strategy["pullSecret"] = {"name": "pull"}
        output["pushSecret"] = {"name": "push"}
    build = docker_build(
        dockerfile="FROM x\n",
        strategy={"type": "Docker", "dockerStrategy": strategy},
        output=output,
    )
    await ended(machine, build)
    (plan,) = machine.builder.plans
    assert set(plan.logins) == {
        RegistryLogin(VENDOR, "pull" if named else "all", "hidden"),
        RegistryLogin("other.example", "push", "hidden"),
    }
    assert "hidden" not in repr(plan)


@pytest.mark.parametrize(
    ("changes", "reason", "named"),
    [
        ({"dockerfile": "FROM\n"}, "DockerBuildFailed", "line 1"),
        ({"dockerfile": "FROM BAD:IMAGE:NAME\n"}, "InvalidImageReference", "BAD"),
        ({"dockerfile": f"FROM {VENDOR}/none:1\n"}, "PullBuilderImageFailed", f"{VENDOR}/none:1"),
        (
            {"output": {"to": {"kind": "DockerImage", "name": "NO IMAGE"}}},
            "InvalidOutputReference",
            "spec.output.to",
        ),
        (
            {"resources": {"limits": {"memory": "much"}}},
            "GenericBuildFailed",
            "spec.resources.limits",
        ),
    ],
)
async def test_a_wrong_input_fails_the_build_with_its_reason(
    machine: BuildMachine, changes: Mapping[str, object], reason: str, named: str
) -> None:
    failed = await ended(machine, docker_build(**dict(changes)))  # type: ignore[arg-type]
    assert failed.status.reason == reason
    assert named in (failed.status.message or "")
    assert machine.builder.plans == []
