"""Authors of objects are asked again when the objects act, by the rights that they have then."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.authors import FixedAuthors
from tests.support.builds.memory_builds import (
    INTERNAL,
    VENDOR,
    BuildMachine,
    docker_build,
    image_stream,
    push,
    until,
)
from tests.support.promotion.reconciled_pipeline import ReconciledPipeline, image
from tests.support.rollouts.memory_machine import BETTER, GOOD, RolloutSetup

from upwell.api.apps import Deployment, DeploymentConfig, Job
from upwell.api.builds.build import BuildPhase
from upwell.api.builds.config import BuildConfig, BuildConfigSpec
from upwell.api.builds.inputs import (
    BuildOutput,
    BuildSource,
    BuildStrategy,
    DockerBuildStrategy,
    GitBuildSource,
)
from upwell.api.codec import decode, decode_as
from upwell.api.conditions import find
from upwell.api.image import (
    ImageStream,
    ImageStreamStatus,
    NamedTagEventList,
    TagEvent,
    TagReference,
)
from upwell.api.meta import ObjectMeta, ObjectReference, Resource
from upwell.api.pipeline import Pipeline
from upwell.api.pod_template import EnvVar, EnvVarSource, KeySelector
from upwell.api.values.author import with_author, with_content_authors
from upwell.policy.access.roles import parse_grant
from upwell.policy.images.schedule import ImportSchedule
from upwell.reconcilers.authority import ASK_AGAIN_SECONDS, Authority, GrantedAuthors
from upwell.reconcilers.images.image_streams import ImageStreams
from upwell.reconcilers.images.insecure import InsecureRegistries
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.jobs.jobs import JobReconciler
from upwell.reconcilers.rollouts import TemplateImages
from upwell.server.auth.tokens import TokenRecord, Tokens, hash_of, new_token, own_token
from upwell.store.memory import MemoryStore

NOW = datetime(2024, 5, 1, tzinfo=UTC)


def build(author: str = "eve", **spec: Any) -> Resource:
    annotations = {"upwell.dev/author": author} if author else {}
    metadata = {"name": "app-1", "namespace": "a", "annotations": annotations}
    to = {"kind": "ImageStreamTag", "name": "app:1", "namespace": "b"}
    document = {"output": {"to": to}, **spec}
    api = "build.openshift.io/v1"
    return decode({"apiVersion": api, "kind": "Build", "metadata": metadata, "spec": document})


async def test_a_right_that_was_lost_is_named_with_the_object_and_its_author() -> None:
    authors = FixedAuthors({"eve": ("builder@a,b",)})
    assert await Authority(authors).refusal(build()) == ""
    authors.found["eve"] = ("builder@a",)
    why = await Authority(authors).refusal(build())
    assert "Build a/app-1" in why
    assert "eve" in why
    assert "push repositories in namespace b needs role builder there" in why


async def test_what_has_no_author_is_the_administrators() -> None:
    assert await Authority(FixedAuthors()).refusal(build("")) == ""


async def test_an_author_who_is_gone_has_no_right() -> None:
    assert "push repositories" in await Authority(FixedAuthors({"eve": ("admin@*",)})).refusal(
        build("ann")
    )


@pytest.mark.parametrize("expires", [None, datetime(2023, 1, 1, tzinfo=UTC)])
async def test_an_expired_token_opens_nothing_and_what_it_has_written_stands(
    expires: datetime | None,
) -> None:
    store = MemoryStore(lambda: NOW)
    token = new_token("eve")
    record = TokenRecord("eve", hash_of(token), (parse_grant("builder@a,b"),), expires)
    kept = await store.create(record.as_secret())
    tokens = Tokens(store, lambda: NOW, [own_token(new_token("root"))])
    assert (await tokens.principal(token) is None) == (expires is not None)
    assert await Authority(GrantedAuthors(tokens)).refusal(build()) == ""
    assert await Authority(GrantedAuthors(tokens)).refusal(build("system:admin")) == ""
    await store.delete(type(kept), kept.namespace, kept.name)
    assert "push repositories" in await Authority(GrantedAuthors(tokens)).refusal(build())


METRIC = {
    "name": "up",
    "metric": {
        "server": "https://prometheus.test",
        "query": "up",
        "condition": "> 0",
        "secret": {"name": "key"},
    },
}
SECRET_VOLUME = {"name": "s", "secret": {"secretName": "key", "optional": True}}


def of_eve(kind: str, name: str, image: str) -> dict[str, Any]:
    """Return a workload that mounts a Secret, as eve has written it."""
    container = {"name": "web", "image": image}
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [container], "volumes": [SECRET_VOLUME]},
    }
    selector = {} if kind == "Job" else {"selector": {"matchLabels": {"app": name}}}
    metadata = {"name": name, "namespace": "shop", "annotations": {"upwell.dev/author": "eve"}}
    return {"metadata": metadata, "spec": {"template": template, **selector}}


async def test_a_new_revision_asks_its_author_and_what_serves_goes_on() -> None:
    setup, authors = RolloutSetup(), FixedAuthors({"eve": ("deployer@shop",)})
    setup.authors = authors
    setup.restart()
    first = decode_as(Deployment, of_eve("Deployment", "web", GOOD))
    await setup.apply(first)
    await setup.settle(first.key)
    assert setup.runtime.images() == [GOOD]

    authors.found["eve"] = ("viewer@shop",)
    stored = await setup.store.get(Deployment, "shop", "web")
    better = decode_as(Deployment, of_eve("Deployment", "web", BETTER))
    await setup.store.update(stored.model_copy(update={"spec": better.spec}))
    for _ in range(3):
        await setup.reconcile(first.key)
    stored = await setup.store.get(Deployment, "shop", "web")
    condition = find(stored.status.conditions, "Progressing")
    assert condition is not None
    assert condition.reason == "MissingRight"
    assert "uses Secret shop/key" in condition.message
    assert setup.runtime.images() == [GOOD]
    (name,) = [one.name for one in await setup.runtime.instances()]
    setup.runtime.end(name)
    await setup.settle(first.key)
    assert setup.runtime.images() == [GOOD], "what has begun is started again"

    authors.found["eve"] = ("secret-user@shop",)
    await setup.settle(first.key)
    assert setup.runtime.images() == [BETTER]


async def test_a_hook_that_tags_elsewhere_asks_its_author_when_it_tags() -> None:
    setup, authors = RolloutSetup(), FixedAuthors({"eve": ("builder@shop,bank", "deployer@shop")})
    setup.authors = authors
    setup.restart()
    document = of_eve("DeploymentConfig", "web", GOOD)
    document["spec"]["selector"] = {"app": "web"}
    to = {"kind": "ImageStreamTag", "name": "app:1", "namespace": "bank"}
    migrates = {"command": ["migrate"], "containerName": "web"}
    hook = {"execNewPod": migrates, "tagImages": [{"containerName": "web", "to": to}]}
    document["spec"] |= {"replicas": 1, "strategy": {"rollingParams": {"pre": hook}}}
    made = await setup.store.create(decode_as(DeploymentConfig, document))
    assert isinstance(made, DeploymentConfig)

    async def tagged() -> bool:
        streams = (await setup.store.list(ImageStream)).items
        return any(one.namespace == "bank" for one in streams)

    for _ in range(3):
        await setup.reconcile(made.key)
    assert [name for name in setup.runtime.names() if "pre" in name], "the hook runs"
    authors.found["eve"] = ("builder@shop", "deployer@shop")
    await setup.settle(made.key)
    assert not await tagged()
    stored = await setup.store.get(DeploymentConfig, "shop", "web")
    condition = find(stored.status.conditions, "Progressing")
    assert condition is not None
    assert condition.reason == "MissingRight"
    assert "push repositories in namespace bank" in condition.message
    authors.found["eve"] = ("builder@shop,bank", "deployer@shop")
    await setup.settle(made.key)
    assert await tagged()
    assert setup.runtime.images() == [GOOD]


async def test_a_build_into_another_namespace_asks_its_author(tmp_path: Path) -> None:
    machine, authors = BuildMachine(tmp_path), FixedAuthors({"eve": ("builder@shop",)})
    machine.authors = authors
    stream = image_stream("app")
    await machine.store.create(stream.with_metadata(namespace="bank"))
    output = BuildOutput(to=ObjectReference(kind="ImageStreamTag", name="app:1", namespace="bank"))
    made = docker_build(output=output)
    await machine.store.create(with_author(made, "eve"))

    async def is_refused() -> bool:
        return (await machine.build(made.name)).status.reason == "MissingRight"

    async def is_complete() -> bool:
        return (await machine.build(made.name)).status.phase is BuildPhase.COMPLETE

    async with machine.building():
        await until(is_refused)
        refused = await machine.build(made.name)
        assert "push repositories in namespace bank" in (refused.status.message or "")
        assert machine.builder.plans == []
        authors.found["eve"] = ("builder@shop,bank",)
        await machine.store.update(refused.with_metadata(labels={**refused.labels, "again": "1"}))
        await until(is_complete)


@pytest.mark.parametrize("line", ["FROM {}", "FROM scratch\nCOPY --from={} /a /a"])
async def test_a_dockerfile_of_git_takes_no_image_that_its_author_may_not_pull(
    tmp_path: Path, line: str
) -> None:
    machine = BuildMachine(tmp_path)
    machine.authors = FixedAuthors({"eve": ("builder@shop",)})
    machine.builder.dockerfile = line.format(f"{INTERNAL}/bank/app:latest")
    await machine.store.create(image_stream("app"))
    source = BuildSource(git=GitBuildSource(uri="https://git.test/app"))
    await machine.store.create(with_author(docker_build(source=source), "eve"))

    async def is_over() -> bool:
        return (await machine.build("app-1")).status.phase is BuildPhase.FAILED

    async with machine.building():
        await until(is_over)
    status = (await machine.build("app-1")).status
    assert status.reason == "MissingRight"
    assert "pull repositories in namespace bank" in (status.message or "")
    assert machine.builder.plans == []


async def test_a_build_pushes_nowhere_that_its_author_may_not(tmp_path: Path) -> None:
    machine = BuildMachine(tmp_path)
    machine.authors = FixedAuthors({"eve": ("builder@shop",)})
    to = ObjectReference(kind="DockerImage", name=f"{INTERNAL}/bank/app:latest")
    await machine.store.create(with_author(docker_build(output=BuildOutput(to=to)), "eve"))

    async def is_refused() -> bool:
        return (await machine.build("app-1")).status.reason == "MissingRight"

    async with machine.building():
        await until(is_refused)
    assert machine.builder.plans == []


async def is_refused(machine: BuildMachine, right: str) -> bool:
    status = (await machine.build("app-1")).status
    return status.reason == "MissingRight" and right in (status.message or "")


async def test_who_decides_what_is_built_is_asked_again_beside_the_author(tmp_path: Path) -> None:
    machine, authors = BuildMachine(tmp_path), FixedAuthors({"ann": ("admin@*",)})
    machine.authors = authors
    key = EnvVarSource(secret_key_ref=KeySelector(name="key", key="k"))
    docker = DockerBuildStrategy(env=(EnvVar(name="K", value_from=key),))
    strategy = BuildStrategy(type="Docker", docker_strategy=docker)
    made = with_author(docker_build(strategy=strategy), "ann")
    await machine.store.create(with_content_authors(made, ["ann", "ci"]))
    await machine.store.create(image_stream("app"))
    authors.found["ci"] = ("ci@shop",)
    async with machine.building():
        await until(lambda: is_refused(machine, "use secrets in namespace shop"))
        message = (await machine.build("app-1")).status.message or ""
        assert "ci, who decides what Build shop/app-1 builds" in message
        assert machine.builder.plans == []
        authors.found["ci"] = ("ci@shop", "secret-user@shop")
        waiting = await machine.build("app-1")
        await machine.store.update(waiting.with_metadata(labels={**waiting.labels, "again": "1"}))

        async def is_asked_no_more() -> bool:
            return (await machine.build("app-1")).status.reason != "MissingRight"

        await until(is_asked_no_more)


async def test_an_upload_takes_no_image_that_its_client_may_not_pull(tmp_path: Path) -> None:
    machine = BuildMachine(tmp_path)
    machine.authors = FixedAuthors({"ann": ("admin@*",), "ci": ("ci@shop",)})
    machine.builder.dockerfile = f"FROM {INTERNAL}/bank/app:latest\n"
    await machine.store.create(image_stream("app"))
    source = BuildSource(git=GitBuildSource(uri="https://git.test/app"))
    made = with_author(docker_build(source=source), "ann")
    await machine.store.create(with_content_authors(made, ["ci"]))
    async with machine.building():
        await until(lambda: is_refused(machine, "pull repositories in namespace bank"))
    assert machine.builder.plans == []


@pytest.mark.parametrize(
    ("base", "right"),
    [
        (
            ObjectReference(kind="ImageStreamTag", name="base:1", namespace="bank"),
            "get imagestreams in namespace bank",
        ),
        (
            ObjectReference(kind="DockerImage", name=f"{INTERNAL}/bank/base:1"),
            "pull repositories in namespace bank",
        ),
    ],
)
@pytest.mark.parametrize("whose", ["config", "build"])
async def test_a_build_asks_for_what_its_buildconfig_or_itself_takes_elsewhere(
    tmp_path: Path, base: ObjectReference, right: str, whose: str
) -> None:
    machine = BuildMachine(tmp_path)
    machine.authors = FixedAuthors({"eve": ("builder@shop",)})
    await machine.store.create(image_stream("app"))
    strategy = BuildStrategy(type="Docker", docker_strategy=DockerBuildStrategy(from_=base))
    if whose == "config":
        spec = BuildConfigSpec(source=BuildSource(dockerfile="FROM x\n"), strategy=strategy)
        metadata = ObjectMeta(name="app", namespace="shop")
        await machine.store.create(with_author(BuildConfig(metadata=metadata, spec=spec), "eve"))
        made = docker_build()
    else:
        made = docker_build(strategy=strategy)
    await machine.store.create(with_author(made, "eve"))
    async with machine.building():
        await until(lambda: is_refused(machine, right))
    assert machine.builder.plans == []


async def test_a_stream_imports_no_image_of_another_namespace_that_its_author_may_not_pull(
    tmp_path: Path,
) -> None:
    machine = BuildMachine(tmp_path)
    machine.authors = FixedAuthors({"eve": ("builder@shop",)})
    source = ObjectReference(kind="DockerImage", name=f"{INTERNAL}/bank/app:1")
    stream = image_stream("app", TagReference(name="1", from_=source))
    made = await machine.store.create(with_author(stream, "eve"))
    result = await machine.streams().reconcile(made.key)
    [condition] = (await machine.history("app", "1")).conditions
    assert condition.reason == "MissingRight"
    assert "pull repositories in namespace bank" in condition.message
    assert result.requeue_after is not None


async def test_an_image_that_a_hook_has_tagged_by_digest_is_imported(tmp_path: Path) -> None:
    machine = BuildMachine(tmp_path)
    machine.authors = FixedAuthors({"eve": ("builder@shop",)})
    digest = await push(machine.vendor.registry, "bank/app:1", "it")
    source = ObjectReference(kind="DockerImage", name=f"{VENDOR}/bank/app@{digest}")
    stream = image_stream("app", TagReference(name="1", from_=source))
    made = await machine.store.create(with_author(stream, "eve"))
    streams = ImageStreams(
        machine.cache,
        machine.vendor,
        machine.internal,
        machine.secrets,
        ImportSchedule(),
        clock=machine.clock,
        authority=Authority(machine.authors, VENDOR),
    )
    await streams.reconcile(made.key)
    assert [one.image for one in (await machine.history("app", "1")).items] == [str(digest)]


async def test_a_tag_stays_at_what_it_has_when_its_author_may_not_follow_the_other_stream(
    tmp_path: Path,
) -> None:
    machine, authors = BuildMachine(tmp_path), FixedAuthors({"eve": ("builder@shop,bank",)})
    machine.authors = authors
    foreign = ObjectReference(kind="ImageStreamTag", name="base:1", namespace="bank")
    made = image_stream("app", TagReference(name="1", from_=foreign))
    made = await machine.store.create(with_author(made, "eve"))
    source = image_stream("base").with_metadata(namespace="bank")
    source = await machine.store.create(source)
    streams = machine.streams()
    pause: float | None = None

    async def pushed(text: str) -> NamedTagEventList:
        nonlocal source
        event = TagEvent(created=NOW, docker_image_reference=f"x.test/base@{text}", image=text)
        status = ImageStreamStatus(tags=(NamedTagEventList(tag="1", items=(event,)),))
        source = await machine.store.update_status(source.with_status(status))
        return await followed()

    async def followed() -> NamedTagEventList:
        nonlocal pause
        pause = (await streams.reconcile(made.key)).requeue_after
        found = (await machine.store.get(ImageStream, made.namespace, "app")).status.tag("1")
        assert found is not None
        return found

    first = await pushed(f"sha256:{'a' * 64}")
    assert [one.image[7] for one in first.items] == ["a"]
    authors.found["eve"] = ("builder@shop",)
    refused = await pushed(f"sha256:{'b' * 64}")
    assert [one.image[7] for one in refused.items] == ["a"]
    assert [one.reason for one in refused.conditions] == ["MissingRight"]
    assert "get imagestreams in namespace bank" in refused.conditions[0].message
    assert pause == ASK_AGAIN_SECONDS
    authors.found["eve"] = ("builder@shop", "viewer@bank")
    restored = await followed()
    assert [one.image[7] for one in restored.items] == ["b", "a"]
    assert restored.conditions == ()
    assert pause is None


async def test_a_job_asks_its_author_before_it_begins() -> None:
    setup, authors = RolloutSetup(), FixedAuthors({"eve": ("viewer@shop",)})
    setup.authors = authors
    setup.restart()
    images = TemplateImages(
        setup.registry, PullSecrets(setup.store), InsecureRegistries(setup.store)
    )
    jobs = JobReconciler(setup.store, setup.machine, images, setup.clock)
    made = await setup.store.create(decode_as(Job, of_eve("Job", "load", GOOD)))
    for _ in range(3):
        await jobs.reconcile(made.key)
    stored = await setup.store.get(Job, "shop", "load")
    assert "uses Secret shop/key" in repr(stored.status.conditions)
    assert not await setup.runtime.instances()
    authors.found["eve"] = ("deployer@shop",)
    for _ in range(3):
        await jobs.reconcile(made.key)
    assert await setup.runtime.instances()


async def test_a_promotion_asks_the_author_of_its_pipeline() -> None:
    made, authors = ReconciledPipeline(), FixedAuthors({"eve": ("promoter@shop",)})
    made.authors = authors
    made.restart()
    await made.pipeline({"name": "dev", "verification": {"checks": [METRIC]}, "soakSeconds": 60})
    pipeline = await made.store.get(Pipeline, "shop", "shop")
    await made.store.update(with_author(pipeline, "eve"))
    authors.found["eve"] = ("ci@shop",)
    await made.push("one")
    await made.settle()
    assert await made.phases() == {"shop-1.dev": "Waiting"}
    message = (await made.promotion("shop-1.dev")).status.message
    assert "waits for a right" in message
    assert "uses Secret shop/key" in message
    assert await made.running("dev-shop") == " "
    authors.found["eve"] = ("promoter@shop",)
    await made.settle()
    assert await made.running("dev-shop") == image("one")
