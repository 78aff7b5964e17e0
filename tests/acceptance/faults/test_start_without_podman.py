"""A start while Podman hangs: the server says so, and goes on by itself."""

import sys
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from tests.acceptance.faults.test_dead_services import SERVE, started
from tests.support.installation.installation import Installation, installation, until
from tests.support.installation.traffic import answer, traffic
from tests.support.installation.vendor_images import publish

_WRAPPER = """\
#!/bin/sh
PATH=${{PATH#*:}}
case "$*" in *" system service "*) [ ! -e {fault} ] || exec sleep 1000 ;; esac
exec podman "$@"
"""
"""Podman whose service hangs for as long as there is a file."""


class HangingPodman:
    """A `podman` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "bin"
        self._fault = folder / "fault"
        self.folder.mkdir()
        podman = self.folder / "podman"
        podman.write_text(_WRAPPER.format(fault=self._fault))
        podman.chmod(0o755)

    def hang(self) -> None:
        self._fault.touch()

    def mend(self) -> None:
        self._fault.unlink()


@pytest.fixture
def podman(tmp_path: Path) -> HangingPodman:
    return HangingPodman(tmp_path)


async def _status(made: Installation, path: str) -> tuple[int, str]:
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{made.url}{path}") as response,
        ):
            return response.status, await response.text()
    except aiohttp.ClientError:
        return 0, ""


async def test_a_server_starts_while_podman_hangs_and_goes_on_by_itself(
    podman: HangingPodman,
) -> None:
    path = f"PATH={podman.folder}:/usr/sbin:/usr/bin:/sbin:/bin"

    def prepare(made: Installation) -> None:
        made.program = ("env", path, sys.executable, "-m", "upwell")

    async with installation(prepare=prepare) as made:
        await started(made, SERVE.format(words="one"))
        served = partial(answer, made.router_port, "app.test")
        await until(served, "one".__eq__)
        containers = made.podman_names()
        made.kill()
        podman.hang()

        async with traffic(made.router_port, ["app.test"]) as seen:
            made.launch()
            code, text = await until(partial(_status, made, "/readyz"), lambda one: one[0] != 0)
            assert code == 503
            assert "podman" in text
            assert "component podman" in made.upwell("status").stdout
            assert made.upwell("get", "deployments").returncode == 0
            host = f"127.0.0.1:{made.port}"
            await publish(host, "default/pushed:1", "1", token=made.token)

            podman.mend()
            await until(partial(_status, made, "/readyz"), lambda one: one[0] == 200)
        assert seen["app.test"].failures == []
        assert made.podman_names() == containers
        await started(made, SERVE.format(words="two"))
        assert made.upwell("import-image", "app:1").returncode == 0
        await until(served, "two".__eq__)
