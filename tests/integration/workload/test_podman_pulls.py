"""Pulls from a real registry that wants credentials, over plain http."""

import asyncio
import os
import signal
from dataclasses import replace
from datetime import UTC, datetime
from operator import not_
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.support.outbound.rebound_dialer import ReboundDialer
from tests.support.outbound.silent_server import silent_server
from tests.support.registry.docker_registry import ALICE, HTPASSWD, docker_registry
from tests.support.registry.slow_registry import slow_registry
from tests.support.workload.podman_faults import service_of
from tests.support.workload.podman_home import PodmanHome, Workload, root_filesystem
from tests.support.workload.waiting import eventually

from upwell.machine.authorities import write_authorities
from upwell.machine.components import Components
from upwell.oci import Digest, Reference
from upwell.outbound.dialing import Dialer
from upwell.outbound.image_registries import ImageRegistries
from upwell.outbound.policy import OutboundPolicy
from upwell.server.asgi.tls import generated
from upwell.workload.errors import ImagePullError
from upwell.workload.instance_spec import InstanceSpec
from upwell.workload.interface import State
from upwell.workload.podman.images import judged_pulls
from upwell.workload.podman.runtime import PodmanRuntime, PodmanSettings

_PIECES = "container_images_storage*"
"""Folders in which Podman keeps what it pulls, until it is in its storage."""


async def test_an_image_is_pulled_with_its_login_and_by_its_digest(
    settings: PodmanSettings, workload: Workload, podman_home: PodmanHome, tmp_path: Path
) -> None:
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    auth = {"htpasswd": {"realm": "test", "path": str(tmp_path / "htpasswd")}}
    async with docker_registry(tmp_path, auth) as registry:
        image = await asyncio.to_thread(push, podman_home, registry, tmp_path / "digest")
        container = replace(workload.container("sleep", "60"), image=image)
        spec = replace(workload.spec(container), insecure_registries=frozenset({registry}))
        async with PodmanRuntime.open(settings) as runtime:
            assert "authentication required" in await refusal(runtime, spec)
            wrong = replace(spec, logins=((registry, "alice", "looking-glass"),))
            assert "looking-glass" not in await refusal(runtime, wrong)

            allowed = replace(spec, logins=((registry, *ALICE),))
            await after_pull(runtime, allowed)
            await runtime.start(allowed)
            [instance] = await runtime.instances()
            assert instance.state is State.RUNNING
            assert instance.images == {"web": image.digest}
        async with PodmanRuntime.open(settings) as runtime:  # which remembers no refusal
            owner = replace(spec.owner, namespace="others")
            others = replace(spec, name=f"{spec.name}-others", owner=owner)
            assert "authentication required" in await refusal(runtime, others), "it lies here"
            await refusal(runtime, replace(others, logins=wrong.logins))
            assert len(await runtime.instances()) == 1
            given = replace(others, logins=allowed.logins)
            await eventually(lambda: runtime.provide(given), not_)
            assert not await runtime.provide(others), "it has been given to them"
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.stop(spec.name, 0)
        await runtime.start(spec)  # the registry is gone, the image is not
        assert len(await runtime.instances()) == 1
        third = replace(
            spec, name=f"{spec.name}-third", owner=replace(spec.owner, namespace="third")
        )
        assert "alone can say whether namespace third" in await refusal(runtime, third)
    (settings.data_dir / "given-images").unlink()  # then nobody knows whose it is
    async with PodmanRuntime.open(settings) as runtime:
        await eventually(lambda: runtime.provide(third), not_)
        await runtime.start(third)
        assert len(await runtime.instances()) == 2
    async with PodmanRuntime.open(replace(settings, always_verify_images=True)) as runtime:
        again = replace(third, name=f"{spec.name}-again")
        assert "alone can say whether namespace third" in await refusal(runtime, again)
        assert not await runtime.provide(spec), "its container was made of what it was given"


async def test_a_registry_is_not_asked_over_plain_http_unless_it_is_named(
    settings: PodmanSettings, workload: Workload, podman_home: PodmanHome, tmp_path: Path
) -> None:
    async with docker_registry(tmp_path) as registry:
        image = await asyncio.to_thread(push, podman_home, registry, tmp_path / "digest")
        container = replace(workload.container("sleep", "60"), image=image)
        async with PodmanRuntime.open(settings) as runtime:
            said = await refusal(runtime, workload.spec(container))
    assert "HTTPS" in said
    assert f"{registry} speaks plain HTTP: allow that by importPolicy.insecure" in said


async def test_an_authority_of_the_settings_is_trusted_besides_those_of_the_system(
    settings: PodmanSettings, workload: Workload, podman_home: PodmanHome, tmp_path: Path
) -> None:
    made = generated(tmp_path / "tls", ["127.0.0.1"], datetime.now(UTC))
    tls = {"certificate": str(made.chain), "key": str(made.key)}
    async with docker_registry(tmp_path, tls=tls) as registry:
        image = await asyncio.to_thread(push, podman_home, registry, tmp_path / "digest")
        container = replace(workload.container("sleep", "60"), image=image)
        spec = workload.spec(container)
        async with PodmanRuntime.open(settings) as runtime:
            said = await refusal(runtime, spec)
            assert f"the certificate of {registry} is not trusted: set `ca-file`" in said
        assert made.authority is not None
        folder = write_authorities(tmp_path / "authorities", [made.authority])
        async with PodmanRuntime.open(replace(settings, authorities=folder)) as runtime:
            await after_pull(runtime, spec)
            assert not await runtime.provide(spec)


async def test_an_image_of_this_machine_that_was_built_anew_runs_while_it_lies_here(
    settings: PodmanSettings, workload: Workload, podman_home: PodmanHome
) -> None:
    tag = "localhost/adm:1"
    home = podman_home

    def build(content: str) -> None:
        home.run("import", "--message", content, "-", tag, stdin=root_filesystem())

    await asyncio.to_thread(build, "first")
    async with PodmanRuntime.open(settings) as runtime:
        digest = await runtime.local_image(Reference.parse(tag))
        assert digest is not None
        own = Reference.parse(tag).with_digest(digest)
        spec = workload.spec(replace(workload.container("sleep", "60"), image=own))
        await runtime.start(spec)
        await asyncio.to_thread(build, "second")
        assert await runtime.local_image(Reference.parse(tag)) not in {None, digest}

        container = await asyncio.to_thread(home.run, "ps", "-q", "--filter", "name=web-1-a")
        await asyncio.to_thread(home.run, "kill", *container.split())
        await eventually(runtime.instances, lambda found: found[0].state is State.EXITED)
        await runtime.start(spec)
        await runtime.start(replace(spec, name=f"{spec.name}-more"))
        for instance in await runtime.instances():
            assert (instance.state, instance.foreign) == (State.RUNNING, False)
            assert instance.images == {"web": digest}
        for name in (spec.name, f"{spec.name}-more"):
            await runtime.stop(name, 0)

        # That it has the digest is not enough: it was never there by that name.
        stolen = replace(own, repository="other")
        said = await refusal(
            runtime, workload.spec(replace(workload.container(), image=stolen), name="stolen")
        )
        assert f"no image {stolen} in this machine's storage" in said
        filters = ("--all", "--quiet", "--filter", f"digest={digest}")
        first = await asyncio.to_thread(home.run, "images", *filters)
        await asyncio.to_thread(home.run, "rmi", *first.split())
        assert "no registry has names of localhost" in await refusal(runtime, spec)
    await asyncio.to_thread(home.run, "rmi", tag)


async def test_an_image_that_cannot_be_pulled_is_named(
    settings: PodmanSettings, workload: Workload
) -> None:
    image = replace(workload.image, registry="127.0.0.1:1", repository="team/app")
    container = replace(workload.container(), image=image)
    async with PodmanRuntime.open(settings) as runtime:
        assert "127.0.0.1:1/team/app@sha256" in await refusal(runtime, workload.spec(container))


async def test_podman_is_not_sent_to_this_machine_unless_that_is_allowed(
    settings: PodmanSettings, workload: Workload
) -> None:
    async with silent_server() as silence:
        image = replace(workload.image, registry=silence.address, repository="team/web")
        spec = workload.spec(replace(workload.container("sleep", "60"), image=image))
        spec = replace(spec, insecure_registries=frozenset({silence.address}))
        judged = replace(settings, registries=ImageRegistries(Dialer(OutboundPolicy())))
        async with PodmanRuntime.open(judged) as runtime:
            said = await refusal(runtime, spec)
            assert f'allow = ["{silence.address}"] below [outbound]' in said
            assert not silence.asked
        allowing = ImageRegistries(Dialer(OutboundPolicy.of([silence.address])))
        async with PodmanRuntime.open(replace(settings, registries=allowing)) as runtime:
            await runtime.start(spec)
            await eventually(silence.connections, bool)


async def test_a_registry_that_nobody_trusts_is_pulled_from_by_the_policy(
    settings: PodmanSettings, workload: Workload, podman_home: PodmanHome, tmp_path: Path
) -> None:
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    auth = {"htpasswd": {"realm": "test", "path": str(tmp_path / "htpasswd")}}
    async with docker_registry(tmp_path, auth) as registry:
        image = await asyncio.to_thread(push, podman_home, registry, tmp_path / "digest")
        name = registry.replace("127.0.0.1", "localhost")  # its address is allowed, no name
        image = replace(image, registry=name)
        spec = workload.spec(replace(workload.container("sleep", "60"), image=image))
        spec = replace(spec, insecure_registries=frozenset({name}))
        registries = ImageRegistries(Dialer(OutboundPolicy.of([registry])))
        async with PodmanRuntime.open(replace(settings, registries=registries)) as runtime:
            wrong = replace(spec, logins=((name, "alice", "looking-glass"),))
            said = await refusal(runtime, wrong)
            assert name in said
            assert "looking-glass" not in said
            allowed = replace(spec, logins=((name, *ALICE),))
            await after_pull(runtime, allowed)
            await runtime.start(allowed)
            [instance] = await runtime.instances()
            assert instance.images == {"web": image.digest}
            others = replace(spec, owner=replace(spec.owner, namespace="others"))
            assert "authentication required" in await refusal(runtime, replace(others, name="o-0"))
    async with PodmanRuntime.open(replace(settings, registries=registries)) as runtime:
        gone = replace(others, name="o-1")
        said = await refusal(runtime, gone)
        assert "alone can say whether namespace others" in said, "it has said so, and has gone"
        assert not await runtime.provide(replace(allowed, name="o-2"))
    assert not list((settings.data_dir / "pulls").glob("*"))


async def test_a_redirect_leads_podman_to_no_other_place(
    settings: PodmanSettings, workload: Workload
) -> None:
    async def redirect(request: web.Request) -> web.Response:
        if request.path == "/v2/":
            return web.json_response({})
        raise web.HTTPTemporaryRedirect(f"http://{silence.address}/v2/x/manifests/1")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", redirect)
    async with silent_server() as silence, TestServer(app, host="127.0.0.1") as server:
        registry = f"localhost:{server.port}"
        image = replace(workload.image, registry=registry, repository="team/web")
        spec = workload.spec(replace(workload.container("sleep", "60"), image=image))
        spec = replace(spec, insecure_registries=frozenset({registry}))
        judged = ImageRegistries(Dialer(OutboundPolicy.of([f"127.0.0.1:{server.port}"])))
        async with PodmanRuntime.open(replace(settings, registries=judged)) as runtime:
            assert "cannot pull" in await refusal(runtime, spec)
        assert not silence.asked


async def test_a_name_that_has_moved_to_this_machine_is_refused_at_connect(
    settings: PodmanSettings, workload: Workload
) -> None:
    async with silent_server() as silence:
        registry = f"registry.test:{silence.address.rpartition(':')[2]}"
        image = replace(workload.image, registry=registry, repository="team/web")
        spec = workload.spec(replace(workload.container("sleep", "60"), image=image))
        spec = replace(spec, insecure_registries=frozenset({registry}))
        judged = ImageRegistries(ReboundDialer(OutboundPolicy()))
        async with PodmanRuntime.open(replace(settings, registries=judged)) as runtime:
            said = await refusal(runtime, spec)
        assert "127.0.0.1 (registry.test) is a loopback address" in said
        assert not silence.asked


async def test_a_pull_by_the_policy_ends_with_the_wish_for_it(
    settings: PodmanSettings, workload: Workload
) -> None:
    async with silent_server() as silence:
        registry = silence.address.replace("127.0.0.1", "localhost")
        image = replace(workload.image, registry=registry, repository="team/web")
        spec = workload.spec(replace(workload.container("sleep", "60"), image=image))
        spec = replace(spec, insecure_registries=frozenset({registry}))
        judged = ImageRegistries(Dialer(OutboundPolicy.of([silence.address])))
        async with PodmanRuntime.open(replace(settings, registries=judged)) as runtime:
            await runtime.start(spec)
            await eventually(silence.connections, bool)
            await runtime.stop(spec.name, 0)
            await eventually(silence.connections, lambda count: count == 0)
    assert not list((settings.data_dir / "pulls").glob("*"))


async def test_a_pull_by_the_policy_ends_when_nothing_more_comes(
    settings: PodmanSettings, workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judged_pulls, "PULL_SILENCE_SECONDS", 1.0)
    async with silent_server() as silence:
        registry = silence.address.replace("127.0.0.1", "localhost")
        image = replace(workload.image, registry=registry, repository="team/web")
        spec = workload.spec(replace(workload.container("sleep", "60"), image=image))
        spec = replace(spec, insecure_registries=frozenset({registry}))
        judged = ImageRegistries(Dialer(OutboundPolicy.of([silence.address])))
        async with PodmanRuntime.open(replace(settings, registries=judged)) as runtime:
            assert "has sent nothing for 1 s" in await refusal(runtime, spec)
            await eventually(silence.connections, lambda count: count == 0)


async def test_a_large_layer_may_take_longer_than_silence(
    settings: PodmanSettings, workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judged_pulls, "PULL_SILENCE_SECONDS", 2.0)
    monkeypatch.setattr(judged_pulls, "_LOOK_SECONDS", 0.1)
    async with slow_registry(pieces=12, pause=0.25) as (registry, digest):
        image = replace(workload.image, registry=registry, repository="team/web", digest=digest)
        spec = workload.spec(replace(workload.container("sleep", "60"), image=image))
        spec = replace(spec, insecure_registries=frozenset({registry}))
        async with PodmanRuntime.open(settings) as runtime:
            await after_pull(runtime, spec)
            assert not await runtime.provide(spec)
    monkeypatch.setattr(judged_pulls, "PULL_SILENCE_SECONDS", 0.5)
    async with silent_server() as silence:
        image = replace(workload.image, registry=silence.address, repository="team/web")
        spec = workload.spec(replace(workload.container("sleep", "60"), image=image))
        spec = replace(spec, insecure_registries=frozenset({silence.address}))
        async with PodmanRuntime.open(settings) as runtime:
            assert "nothing has come for 0.5 s" in await refusal(runtime, spec)
            await eventually(silence.connections, lambda count: count == 0)


async def test_what_is_no_registry_is_not_quoted(
    settings: PodmanSettings, workload: Workload
) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        status, body = (b"200 OK", b"{}") if b" /v2/ " in asked else (b"404 No", b"root:x:0:0")
        head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        writer.write(head % (status, len(body)) + body)
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with listening:
        registry = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        image = replace(workload.image, registry=registry, repository="team/web")
        spec = workload.spec(replace(workload.container(), image=image))
        spec = replace(spec, insecure_registries=frozenset({registry}))
        async with PodmanRuntime.open(settings) as runtime:
            said = await refusal(runtime, spec)
    assert "404" in said
    assert "root" not in said


async def test_a_registry_that_does_not_answer_holds_nobody_up(
    settings: PodmanSettings, workload: Workload
) -> None:
    async with silent_server() as silence:
        image = replace(workload.image, registry=silence.address, repository="team/web")
        container = replace(workload.container("sleep", "60"), image=image)
        spec = replace(
            workload.spec(container, name="web-2-a"),
            insecure_registries=frozenset({silence.address}),
        )
        async with PodmanRuntime.open(settings) as runtime:
            await runtime.start(spec)
            [waiting] = await runtime.instances()
            assert (waiting.name, waiting.state) == (spec.name, State.PULLING)
            assert waiting.message == f"pulling image {replace(image, tag=None)}"
            await runtime.start(workload.spec(workload.container("sleep", "60")))
            assert [one.state for one in await runtime.instances()] == [
                State.RUNNING,
                State.PULLING,
            ]
            await eventually(silence.connections, bool)
            await runtime.stop(spec.name, 0)
            assert len(await runtime.instances()) == 1
            await eventually(silence.connections, lambda count: count == 0)


async def test_what_a_killed_service_has_left_of_a_pull_goes_at_its_next_start(
    settings: PodmanSettings,
    workload: Workload,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    component = Components().add("podman")

    def look() -> set[Path]:
        return {*settings.temporary_root.glob(_PIECES), *tmp_path.glob(_PIECES)}

    async def pieces() -> set[Path]:
        return await asyncio.to_thread(look)

    async with silent_server() as silence:
        image = replace(workload.image, registry=silence.address, repository="team/web")
        spec = workload.spec(replace(workload.container("sleep", "60"), image=image))
        spec = replace(spec, insecure_registries=frozenset({silence.address}))
        async with PodmanRuntime.open(settings, component=component) as runtime:
            await runtime.start(spec)
            [left] = await eventually(pieces, bool)
            os.kill(service_of(settings), signal.SIGKILL)

            async def restarts() -> int:
                return component.state.restarts

            await eventually(restarts, bool)
            assert left not in await pieces()


async def after_pull(runtime: PodmanRuntime, spec: InstanceSpec) -> None:
    """Ask for an instance whose image is missing, and wait for the end of the pull."""
    await runtime.start(spec)
    await eventually(runtime.instances, lambda found: not found)


async def refusal(runtime: PodmanRuntime, spec: InstanceSpec) -> str:
    """Return why the image of an instance cannot be pulled."""

    async def told() -> ImagePullError | None:
        try:
            await runtime.start(spec)
        except ImagePullError as error:
            return error
        return None

    refused = await eventually(told, lambda error: error is not None)
    assert refused is not None
    assert refused.retry_after > 0
    return str(refused)


def push(home: PodmanHome, registry: str, digest_file: Path) -> Reference:
    """Push the test image and return it by its digest there."""
    home.run(
        "push",
        "--tls-verify=false",
        f"--creds={':'.join(ALICE)}",
        f"--digestfile={digest_file}",
        "localhost/web:latest",
        f"docker://{registry}/team/web:1",
    )
    reference = Reference.parse(f"{registry}/team/web")
    return reference.with_digest(Digest.parse(digest_file.read_text().strip()))
