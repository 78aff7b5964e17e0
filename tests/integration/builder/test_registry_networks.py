"""Registries of builds: those that nobody trusts are asked by way of the policy alone."""

import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.integration.builder.test_docker_builds import plan
from tests.support.builds.base_images import BaseImages, Log
from tests.support.outbound.rebound_dialer import ReboundDialer

from upwell.builder.buildah import BuildahBuilder
from upwell.builder.buildah_settings import BuildahSettings
from upwell.builder.interface import BuildError
from upwell.oci import Reference
from upwell.outbound.dialing import Dialer
from upwell.outbound.image_registries import ImageRegistries
from upwell.outbound.policy import OutboundPolicy


def building(settings: BuildahSettings, *allowed: str) -> BuildahBuilder:
    registries = ImageRegistries(Dialer(OutboundPolicy.of(allowed)))
    return BuildahBuilder(settings, None, registries)


@pytest.fixture
def closed() -> Iterator[str]:
    """A place on loopback that fails the test when somebody connects."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(BlockingIOError):
            server.accept()


@asynccontextmanager
async def redirecting(to: str, words: str = "") -> AsyncIterator[int]:
    """Serve a registry on loopback whose manifests are elsewhere; yield its port."""

    async def handle(request: web.Request) -> web.Response:
        if request.path == "/v2/":
            return web.json_response({})
        if words:
            return web.Response(text=words, status=404)
        raise web.HTTPTemporaryRedirect(f"http://{to}/v2/x/manifests/1")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    try:
        yield server.port or 0
    finally:
        await server.close()


async def failure(builder: BuildahBuilder, images: BaseImages, registry: str) -> BuildError:
    """Pull from a registry, and return what comes of it."""
    base = Reference.parse(f"{registry}/team/app:1")
    wanted = plan(
        images,
        "near",
        dockerfile="FROM base:1\n",
        images={"base:1": base},
        push=None,
        insecure_registries=frozenset({registry}),
    )
    with pytest.raises(BuildError) as caught:
        await builder.build(wanted, Log())
    assert caught.value.reason == "PullBuilderImageFailed"
    return caught.value


async def test_nothing_is_pulled_from_this_machine(
    settings: BuildahSettings, images: BaseImages, closed: str
) -> None:
    error = await failure(building(settings), images, closed)
    assert f'allow = ["{closed}"] below [outbound]' in str(error)
    assert not error.retryable


async def test_nothing_is_pushed_to_this_machine(
    settings: BuildahSettings, images: BaseImages, closed: str
) -> None:
    to = Reference.parse(f"{closed}/team/app:1")
    wanted = plan(images, "pushed", dockerfile="FROM base:1\n", push=to)
    wanted = replace(wanted, insecure_registries=wanted.insecure_registries | {closed})
    with pytest.raises(BuildError, match="Failed to push") as caught:
        await building(settings, images.registry).build(wanted, Log())
    assert caught.value.reason == "PushImageToRegistryFailed"
    assert f'allow = ["{closed}"] below [outbound]' in str(caught.value)


async def test_a_redirect_leads_to_no_other_place(
    settings: BuildahSettings, images: BaseImages, closed: str
) -> None:
    async with redirecting(closed) as port:
        builder = building(settings, f"127.0.0.1:{port}")
        await failure(builder, images, f"localhost:{port}")


async def test_a_name_that_has_moved_to_this_machine_is_refused_at_connect(
    settings: BuildahSettings, images: BaseImages, closed: str
) -> None:
    port = closed.rpartition(":")[2]
    registries = ImageRegistries(ReboundDialer(OutboundPolicy()))
    builder = BuildahBuilder(settings, None, registries)
    error = await failure(builder, images, f"registry.test:{port}")
    assert "127.0.0.1 (registry.test) is a loopback address" in str(error)


async def test_what_is_no_registry_is_not_quoted(
    settings: BuildahSettings, images: BaseImages
) -> None:
    async with redirecting("", json.dumps({"users": ["root"]})) as port:
        builder = building(settings, f"127.0.0.1:{port}")
        assert "root" not in str(await failure(builder, images, f"127.0.0.1:{port}"))


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_an_allowed_registry_is_pulled_from_and_pushed_to(
    settings: BuildahSettings, images: BaseImages, name: str
) -> None:
    port = images.registry.rpartition(":")[2]
    registry = f"{name}:{port}"
    base = replace(images.base, registry=registry)
    to = Reference.parse(f"{registry}/site/judged:{name.replace('.', '-')}")
    wanted = plan(
        images,
        "judged",
        dockerfile="FROM base:1\nRUN echo hello >/hello\n",
        images={"base:1": base},
        push=to,
        insecure_registries=frozenset({registry}),
        force_pull=True,
    )
    result = await building(settings, f"127.0.0.1:{port}").build(wanted, Log())
    assert result.digest is not None
