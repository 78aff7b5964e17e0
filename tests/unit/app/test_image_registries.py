"""Registries that Podman and Buildah may ask, by the settings."""

import socket
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from upwell.app.outbound import Dialers, image_registries
from upwell.oci import Reference
from upwell.oci.registry_names import serve_as
from upwell.outbound import dialing
from upwell.outbound.policy import ForbiddenAddressError
from upwell.registry.hosts import RegistryHost, RegistryMirror
from upwell.settings import ServerSettings
from upwell.settings.server import AccessSettings


@pytest.mark.parametrize(
    "image",
    [
        "127.0.0.1:8089/team/app",
        "127.0.0.1:5001/x",
        "127.0.0.1:5002/x",
        "named.test/x",
        "no.test/x",
    ],
)
async def test_this_servers_registry_and_those_of_the_settings_are_trusted(
    tmp_path: Path, image: str
) -> None:
    hosts = (
        RegistryHost("127.0.0.1:5001", insecure=True),
        RegistryHost("docker.io", mirrors=(RegistryMirror("127.0.0.1:5002"),)),
        RegistryHost("named.test", location="127.0.0.1:5003"),
        RegistryHost("no.test", blocked=True),
    )
    async with AsyncExitStack() as stack:
        settings = ServerSettings(data_dir=tmp_path, port=8089, registries=hosts)
        judged = image_registries(settings, Dialers.open(settings, stack).images)
        assert await judged.judge(Reference.parse(image))


@pytest.mark.parametrize("image", ["127.0.0.1:5000/x", "169.254.169.254/x", "127.0.0.1:22/x"])
async def test_others_of_this_machine_are_not_asked(tmp_path: Path, image: str) -> None:
    async with AsyncExitStack() as stack:
        settings = ServerSettings(data_dir=tmp_path, port=8089)
        judged = image_registries(settings, Dialers.open(settings, stack).images)
        with pytest.raises(ForbiddenAddressError):
            await judged.judge(Reference.parse(image))


@pytest.mark.parametrize(
    ("host", "image", "reached"),
    [
        ("0.0.0.0", "localhost:8089/a/app", True),
        ("0.0.0.0", "127.4.4.4:8089/a/app", True),
        ("0.0.0.0", "registry.corp:8089/a/app", True),
        ("0.0.0.0", "alias.localhost.test:8089/a/app", False),
        ("127.0.0.1", "alias.localhost.test:8089/a/app", False),
        ("127.0.0.1", "alias.localhost.test:8090/a/app", True),
    ],
)
async def test_this_servers_registry_is_reached_by_its_own_names_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, host: str, image: str, reached: bool
) -> None:
    """Not by a name that somebody else has for its address, whatever is allowed."""
    monkeypatch.setattr(dialing, "_addresses", lambda *_: [(socket.AF_INET, "127.0.0.1")])
    settings = ServerSettings(
        data_dir=tmp_path,
        host=host,
        port=8089,
        access=AccessSettings(insecure_listen=True, tls_names=("registry.corp",)),
        allowed_destinations=("127.0.0.0/8", "*.localhost.test"),
    )
    before = serve_as(settings.own_registry)
    try:
        async with AsyncExitStack() as stack:
            judged = image_registries(settings, Dialers.open(settings, stack).images)
            if reached:
                await judged.judge(Reference.parse(image))
            else:
                with pytest.raises(ForbiddenAddressError, match=r"write that name, or add"):
                    await judged.judge(Reference.parse(image))
    finally:
        serve_as(before)


def test_what_the_administrator_has_placed_in_this_servers_registry_is_its_name(
    tmp_path: Path,
) -> None:
    hosts = (
        RegistryHost("registry.corp", location="LOCALHOST:8089"),
        RegistryHost("other.corp", location="localhost:8089/team"),
    )
    own = ServerSettings(data_dir=tmp_path, port=8089, registries=hosts).own_registry
    assert own.is_named("registry.corp")
    assert not own.is_named("other.corp")
