"""Test builds in Pods: one Pod for a plan, whoever watches it, and its end taken once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.builds.base_images import Log
from tests.support.builds.memory_builds import FakeBuilder, until
from tests.support.builds.memory_pods import MemoryPods, container_status
from tests.support.builds.pod_builders import SETTINGS, InsidePod, pod_builder

from upwell.builder.interface import (
    BuildError,
    BuilderStrategy,
    BuildPlan,
    BuildResult,
    RegistryLogin,
)
from upwell.builder.kubernetes.builder import KubernetesBuilder
from upwell.builder.kubernetes.documents import RegistryFiles
from upwell.builder.kubernetes.manifests import PodSettings
from upwell.oci import Reference
from upwell.registry.embedded import EmbeddedRegistry
from upwell.store.interface import UnavailableError

PLAN = BuildPlan(
    id="uid-1",
    namespace="shop",
    name="app-1",
    strategy=BuilderStrategy.DOCKER,
    context=None,
    images={},
    push=Reference("registry.test", "shop/app", "latest"),
    dockerfile="FROM scratch\n",
)


@dataclass
class PodsAndServers:
    """Pods, what is inside of them, and servers that come and go."""

    folder: Path
    inside: FakeBuilder
    pods: MemoryPods
    logins: InsidePod

    def server(self, name: str = "first", settings: PodSettings = SETTINGS) -> KubernetesBuilder:
        return pod_builder(self.folder / name, self.pods, settings)

    async def running(
        self, builder: KubernetesBuilder, plan: BuildPlan, log: Log
    ) -> "asyncio.Task[BuildResult]":
        """Begin a build, and wait until its Pod has what it needs."""
        before = len(self.inside.plans)
        task = asyncio.create_task(builder.build(plan, log))

        async def begun() -> bool:
            return len(self.inside.plans) > before or task.done()

        await until(begun)
        return task


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[PodsAndServers]:
    inside = FakeBuilder(EmbeddedRegistry(tmp_path / "registry", "registry.test"), tmp_path / "in")
    logins = InsidePod(inside)
    pods = MemoryPods(lambda _: logins)
    yield PodsAndServers(tmp_path, inside, pods, logins)
    await pods.close()


async def killed(task: "asyncio.Task[BuildResult]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_source_reaches_the_pod_as_it_is(cluster: PodsAndServers, tmp_path: Path) -> None:
    context = tmp_path / "context"
    (context / "sub").mkdir(parents=True)
    (context / "sub/run").write_text("#!/bin/sh\n")
    (context / "sub/run").chmod(0o755)
    (context / "link").symlink_to("sub/run")
    log = Log()
    await cluster.server().build(replace(PLAN, context=context), log)
    [plan] = cluster.inside.plans
    assert plan.context is not None
    assert (plan.context / "link").readlink() == Path("sub/run")
    assert (plan.context / "sub/run").stat().st_mode & 0o777 == 0o755
    assert "Created Pod app-1-build" in log.text
    assert "building app-1" in log.text
    assert "Ready for the input" not in log.text


async def test_a_pod_names_no_secret(cluster: PodsAndServers) -> None:
    logins = (RegistryLogin("registry.test", "ann", "s3cret"),)
    secret = replace(PLAN, logins=logins, secret_env=(("TOKEN", "s3cret"),))
    await cluster.server().build(secret, Log())
    [pod] = cluster.pods.pods
    assert "s3cret" not in str(pod.manifest)
    [plan] = cluster.inside.plans
    assert (plan.logins, plan.secret_env) == (secret.logins, secret.secret_env)


async def test_a_pod_knows_the_servers_settings_of_registries(cluster: PodsAndServers) -> None:
    registries = RegistryFiles('[[registry]]\nprefix = "vendor.test"\n', (b"-----BEGIN",))
    await cluster.server(settings=replace(SETTINGS, registries=registries)).build(PLAN, Log())
    [pod] = cluster.pods.pods
    assert pod.folders.registries_conf.read_text() == registries.conf
    assert [one.read_bytes() for one in pod.folders.authorities.iterdir()] == [b"-----BEGIN"]
    assert "vendor.test" not in str(pod.manifest)


async def test_a_registry_that_no_pod_reaches_is_said_before_there_is_one(
    cluster: PodsAndServers,
) -> None:
    settings = replace(SETTINGS, unreachable=frozenset({"registry.test"}))
    with pytest.raises(BuildError, match="--listen"):
        await cluster.server(settings=settings).build(PLAN, Log())
    assert cluster.pods.pods == []


async def test_a_build_has_the_cache_of_its_build_config_or_says_why_not(
    cluster: PodsAndServers,
) -> None:
    settings = replace(SETTINGS, cache_claim="cache")
    cached = replace(PLAN, cache_key="shop/uid-of-app")
    log = Log()
    await cluster.server(settings=settings).build(cached, log)
    assert "goes without a cache: namespace shop has no PersistentVolumeClaim cache" in log.text

    cluster.pods.claims.add("shop/cache")
    for number, plan in enumerate((cached, replace(cached, no_cache=True), PLAN), 2):
        log = Log()
        named = replace(plan, id=f"uid-{number}", name=f"app-{number}")
        await cluster.server(settings=settings).build(named, log)
        assert "without a cache" not in log.text
    commands = [pod.manifest["spec"]["containers"][0]["command"] for pod in cluster.pods.pods]
    assert ["--cache" in command for command in commands] == [False, True, False, False]


async def test_a_server_that_comes_back_takes_the_pod_up_again(cluster: PodsAndServers) -> None:
    cluster.inside.gate.clear()
    old = (RegistryLogin("registry.test", "ann", "old"),)
    await killed(await cluster.running(cluster.server(), replace(PLAN, logins=old), Log()))

    server, log = cluster.server("second"), Log()
    await server.recover()
    new = (RegistryLogin("registry.test", "ann", "new"),)
    task = asyncio.create_task(server.build(replace(PLAN, logins=new), log))

    async def renewed() -> bool:
        return bool(cluster.logins.renewed)

    await until(renewed)
    cluster.inside.gate.set()
    assert (await task).digest is not None
    assert cluster.logins.renewed == [new]
    assert len(cluster.inside.plans) == len(cluster.pods.pods) == 1
    assert "building app-1" in log.text


async def test_a_result_waits_for_the_server(cluster: PodsAndServers) -> None:
    cluster.inside.gate.clear()
    await killed(await cluster.running(cluster.server(), PLAN, Log()))
    cluster.inside.gate.set()
    task = cluster.pods.pods[0].task
    assert task is not None
    await task

    server, log = cluster.server("second"), Log()
    await server.recover()
    first = await server.build(PLAN, log)
    assert first == await server.build(PLAN, Log())
    assert first.digest is not None
    assert len(cluster.inside.plans) == 1
    assert "building app-1" in log.text

    await server.discard(PLAN.id)
    assert cluster.pods.present == []


async def test_pods_that_another_server_made_are_deleted(cluster: PodsAndServers) -> None:
    await cluster.server().build(PLAN, Log())
    server = cluster.server("second")
    await server.recover()
    await server.discard(PLAN.id)
    assert cluster.pods.present == []


async def test_a_pod_that_was_not_deleted_is_deleted_by_the_next_call(
    cluster: PodsAndServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = cluster.server()
    await server.build(PLAN, Log())

    async def away(_: object) -> None:
        raise UnavailableError("the API server is away")

    with monkeypatch.context() as patch:
        patch.setattr(cluster.pods, "delete", away)
        with pytest.raises(UnavailableError):
            await server.discard(PLAN.id)
    await server.discard(PLAN.id)
    assert cluster.pods.present == []


async def test_another_plan_gets_another_pod(cluster: PodsAndServers) -> None:
    server = cluster.server()
    await server.build(PLAN, Log())
    await server.build(replace(PLAN, dockerfile="FROM base\n"), Log())
    assert len(cluster.pods.present) == 1
    assert len(cluster.inside.plans) == 2


async def test_a_name_that_a_leaving_pod_holds_is_left_to_it(cluster: PodsAndServers) -> None:
    cluster.inside.gate.clear()
    server = cluster.server()
    task = await cluster.running(server, PLAN, Log())
    [lost] = cluster.pods.pods
    when = datetime(2026, 1, 1, tzinfo=UTC)
    await lost.set(container_status("Running", running={}), deletion_timestamp=when)
    with pytest.raises(BuildError) as caught:
        await task
    assert (caught.value.reason, caught.value.retryable) == ("NodeLost", True)
    cluster.pods.pods[0].pod = lost.pod.with_metadata(labels={})  # nobody can delete it
    cluster.inside.gate.set()
    assert (await server.build(PLAN, Log())).digest is not None
    assert cluster.pods.present[-1].pod.name == "app-1-build-2"


async def test_a_pod_that_is_gone_is_a_lost_build(cluster: PodsAndServers) -> None:
    cluster.inside.gate.clear()
    task = await cluster.running(cluster.server(), PLAN, Log())
    await cluster.pods.delete(cluster.pods.pods[0].pod)
    with pytest.raises(BuildError) as caught:
        await task
    assert (caught.value.reason, caught.value.retryable) == ("NodeLost", True)


async def test_what_a_pod_waits_for_is_told_once_and_then_that_it_runs(
    cluster: PodsAndServers,
) -> None:
    cluster.pods.starts = False
    log, said = Log(), list[str]()

    async def waits(why: str) -> None:
        said.append(why)

    task = asyncio.create_task(cluster.server().build(PLAN, log, waits))

    async def created() -> bool:
        return bool(cluster.pods.pods)

    await until(created)
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    for _ in range(2):
        status = {"phase": "Pending", "conditions": [{**condition, "message": "0/1 nodes fit"}]}
        await cluster.pods.pods[0].set(status)

        async def told() -> bool:
            return "Unschedulable: 0/1 nodes fit" in log.text

        await until(told)
    await cluster.pods.pods[0].set(container_status("Running", running={}))

    async def runs() -> bool:
        return said[-1] == ""

    await until(runs)
    await killed(task)
    assert log.text.count("Unschedulable") == 1
    assert said == ["Pod app-1-build waits: Unschedulable: 0/1 nodes fit", ""]


async def test_a_log_that_breaks_off_goes_on_after_its_last_line(cluster: PodsAndServers) -> None:
    cluster.pods.cut_logs = 1
    log = Log()
    await cluster.server().build(PLAN, log)
    assert log.text.count("building app-1") == 1


async def test_a_log_that_is_refused_is_told_and_read_when_the_right_is_there(
    cluster: PodsAndServers,
) -> None:
    cluster.pods.log_refusal = 'Pod shop/app-1-build: cannot get resource "pods/log"'
    log, said = Log(), list[str]()

    async def waits(why: str) -> None:
        said.append(why)
        if why:
            cluster.pods.log_refusal = ""

    await cluster.server().build(PLAN, log, waits)
    words = (
        "the log of Pod app-1-build cannot be read:"
        ' Pod shop/app-1-build: cannot get resource "pods/log"'
    )
    assert said == [f"{words}; by it the Pod asks for its input", ""]
    assert log.text.count(words) == 1
    assert "building app-1" in log.text


async def test_what_the_cluster_refuses_is_the_reason(cluster: PodsAndServers) -> None:
    cluster.pods.refusal = BuildError("CannotCreateBuildPod", "exceeded quota", retryable=True)
    with pytest.raises(BuildError, match="exceeded quota"):
        await cluster.server().build(PLAN, Log())


@pytest.mark.parametrize("instead", ["", "mirror.test/other:1"])
async def test_an_image_that_admission_puts_into_the_pod_is_named(
    cluster: PodsAndServers, instead: str
) -> None:
    cluster.pods.image_instead = instead
    log = Log()
    await cluster.server().build(PLAN, log)
    warning = f"the cluster made it with {instead} in place of"
    assert (warning in log.text) == bool(instead)
    assert ("Warning" in log.text) == bool(instead)


@pytest.mark.parametrize("change", [{"docker_socket": True}, {"host_network": True}])
async def test_what_a_node_has_is_kept_from_builds(
    cluster: PodsAndServers, change: dict[str, bool]
) -> None:
    with pytest.raises(BuildError):
        await cluster.server().build(replace(PLAN, **change), Log())  # type: ignore[arg-type]  # as named
    assert cluster.pods.pods == []
