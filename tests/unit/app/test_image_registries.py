"""Registries that Podman and Buildah may ask, by the settings."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from upwell.app.outbound import Dialers, image_registries
from upwell.oci import Reference
from upwell.outbound.policy import ForbiddenAddressError
from upwell.registry.hosts import RegistryHost, RegistryMirror
from upwell.settings import ServerSettings


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
