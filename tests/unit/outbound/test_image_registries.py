"""The registries of images, before Podman or Buildah is sent there."""

import asyncio
import os
from collections.abc import Awaitable, Callable

import pytest

from upwell.oci import Reference
from upwell.outbound import image_registries
from upwell.outbound.addresses import IpAddress
from upwell.outbound.dialing import Dialer
from upwell.outbound.image_registries import ImageRegistries, is_behind_proxy
from upwell.outbound.policy import ForbiddenAddressError, OutboundPolicy
from upwell.outbound.routes import NetworkRoute


def elsewhere(_: IpAddress) -> NetworkRoute:
    return NetworkRoute(interface="eth0")


def registries(*allowed: str) -> ImageRegistries:
    return ImageRegistries(Dialer(OutboundPolicy(route=elsewhere).also(allowed)))


@pytest.mark.parametrize(
    "registry",
    ["127.0.0.1:5000", "169.254.169.254", "localhost:5000", "0.0.0.0:80", "[::1]:5000"],
)
async def test_a_registry_on_this_machine_is_refused_with_the_line_to_add(registry: str) -> None:
    image = Reference(registry, "team/app", "1")
    with pytest.raises(ForbiddenAddressError, match=r"allow = \[.*\] below \[outbound\]"):
        await registries().judge(image)


@pytest.mark.parametrize(
    ("registry", "trusted"),
    [
        ("127.0.0.1:5000", True),
        ("localhost:5000", False),
        ("10.0.0.7:5000", False),
        ("10.0.0.7", False),
    ],
)
async def test_what_is_allowed_may_be_asked_and_is_trusted_where_it_was_named(
    registry: str, *, trusted: bool
) -> None:
    image = Reference(registry, "team/app", "1")
    assert await registries("127.0.0.1:5000").judge(image) is trusted


async def test_an_insecure_registry_is_judged_for_plain_http_too() -> None:
    image = Reference("127.0.0.1", "team/app", "1")
    judged = registries("127.0.0.1:443")
    assert await judged.judge(image)
    with pytest.raises(ForbiddenAddressError, match=r"127\.0\.0\.1:80"):
        await judged.judge(image, insecure=True)


async def test_where_the_settings_place_a_registry_counts() -> None:
    image = Reference("127.0.0.1:5000", "team/app", "1")
    moved = ImageRegistries(registries().dialer, lambda _: ["10.0.0.7:5000"])
    assert not await moved.judge(image)
    assert await ImageRegistries(registries().dialer, lambda _: []).judge(image), "blocked"


@pytest.mark.parametrize("registry", ["a..b:80", "nowhere.invalid", "10.0.0.7:99999"])
async def test_a_host_that_cannot_be_looked_up_is_said(registry: str) -> None:
    with pytest.raises(OSError, match=r"looked up|is not a host and port"):
        await registries().judge(Reference(registry, "team/app", "1"))


async def test_a_registry_with_mirrors_may_be_away_for_good() -> None:
    image = Reference("nowhere.invalid", "team/app", "1")
    places = ["10.0.0.7:5000", "nowhere.invalid"]
    assert not await ImageRegistries(registries().dialer, lambda _: places).judge(image)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(b"HTTP/1.1 401 Unauthorized\r\n\r\n")
    writer.close()


async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


@pytest.mark.parametrize(
    ("served", "answers"), [(answer, True), (hang_up, True), (say_nothing, False)]
)
async def test_what_says_something_answers(
    served: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    *,
    answers: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not answers:
        monkeypatch.setattr(image_registries, "_ANSWER_SECONDS", 0.2)
    async with await asyncio.start_server(served, "127.0.0.1", 0) as server:
        registry = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        image = Reference(registry, "team/app", "1")
        assert await registries("127.0.0.1").anything_answers(image) is answers


@pytest.mark.parametrize(
    ("registry", "answers"),
    [("127.0.0.1:1", False), ("nowhere.invalid", False), ("127.0.0.2:1", True)],
)
async def test_what_nothing_is_known_of_may_answer(registry: str, *, answers: bool) -> None:
    image = Reference(registry, "team/app", "1")
    assert await registries("127.0.0.1").anything_answers(image) is answers


async def test_a_mirror_answers_for_its_registry() -> None:
    image = Reference("registry.test", "team/app", "1")
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        mirror = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        mirrored = ImageRegistries(
            registries("127.0.0.1").dialer, lambda _: [mirror, "127.0.0.1:1"]
        )
        assert await mirrored.anything_answers(image)


@pytest.mark.parametrize(
    ("variable", "behind"),
    [("https_proxy", True), ("HTTP_PROXY", True), ("NO_PROXY", False), ("no_proxy", False)],
)
def test_hosts_for_which_no_proxy_is_taken_set_none(
    monkeypatch: pytest.MonkeyPatch, variable: str, *, behind: bool
) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv(variable, "10.0.0.0/8")
    assert is_behind_proxy() is behind
