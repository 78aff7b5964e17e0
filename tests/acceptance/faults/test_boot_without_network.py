"""A machine that boots while no registry can be reached: all comes back from what is on disk."""

import socket
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.acceptance.data_folder.test_lost_database import answers, ready, serving
from tests.support.builds.base_images import serve_registry
from tests.support.installation.installation import installation, until

from upwell.api.image import ImageStream
from upwell.store.interface import ApiClient

UNRESOLVED = """\
apiVersion: image.openshift.io/v1
kind: ImageStream
metadata: {name: elsewhere}
spec:
  tags: [{name: "1", from: {kind: DockerImage, name: "registry.invalid/base:1"}}]
"""


async def import_faults(client: ApiClient, name: str) -> list[str]:
    found = (await client.get(ImageStream, "default", name)).status.tags
    return [one.message for tag in found for one in tag.conditions if one.status == "False"]


async def test_what_ran_runs_again_and_the_service_manager_hears_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = ExitStack()
    address = vendor.enter_context(contextmanager(serve_registry)(tmp_path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        place = Path(tempfile.mkdtemp()) / "notify"  # pytest's paths are too long for sockets
        manager.bind(str(place))
        manager.settimeout(60)
        async with installation(vendor=address) as made:
            async with made.client() as client:
                await serving(made, client)
                await made.apply(client, UNRESOLVED)
                await until(lambda: import_faults(client, "elsewhere"), bool)
            made.power_off(wipe_runtime=True)
            vendor.close()

            monkeypatch.setenv("NOTIFY_SOCKET", str(place))
            await made.start()
            await answers(made)
            async with made.client() as client:
                await ready(client, "web")
            heard = manager.recv(4096).decode()
            while "READY=1" not in heard:
                heard = manager.recv(4096).decode()
            assert f"STATUS=listening on {made.url}" in heard
            assert not [one for one in environments() if str(place).encode() in one]


def environments() -> list[bytes]:
    """Return the environments of all processes, which must not speak in the server's name."""
    return [read(path) for path in Path("/proc").glob("[0-9]*/environ")]


def read(path: Path) -> bytes:
    """Return the environment of a process; nothing of those that end meanwhile."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
