"""Bad manifests, full disks, taken ports, second servers, applications that crash."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from tests.support.cli.command_process import run_upwell
from tests.support.installation.applications import (
    base_stream,
    deployment,
    docker_build,
    published,
    service,
    stream,
)
from tests.support.installation.disks import fill
from tests.support.installation.installation import PROGRAM, Installation, installation, until
from tests.support.installation.traffic import answer, traffic
from tests.support.installation.vendor_images import publish
from tests.support.ports import free_port

from upwell.api.apps import Deployment
from upwell.api.builds.build import Build, BuildPhase
from upwell.api.conditions import find
from upwell.api.core import Service
from upwell.api.image import ImageStream
from upwell.cli.core.errors import Exit
from upwell.store.interface import ApiClient, NotFoundError, StoreError

CRASHES_ON_A_BAD_BASE = """\
FROM base:1
RUN mkdir -p /www && cp /etc/base-version /www/index.html
CMD ["sh", "-c", "if grep -q bad /etc/base-version; then echo cannot start; exit 3; fi; exec serve"]
"""


async def phase(client: ApiClient, name: str) -> BuildPhase | None:
    try:
        return (await client.get(Build, "default", name)).status.phase
    except NotFoundError:
        return None


def is_complete(seen: BuildPhase | None) -> bool:
    """Return whether it is; `BuildPhase.COMPLETE.__eq__` has no answer about None."""
    return seen is BuildPhase.COMPLETE


async def test_one_bad_document_keeps_all_from_being_written(
    made: Installation, client: ApiClient
) -> None:
    wrong_types = deployment("web", replicas=1).replace("replicas: 1", "replicas: many")
    unknown = "apiVersion: example.com/v1\nkind: Sprocket\nmetadata: {name: gear}\n---\n"
    unparsable = base_stream("vendor.example").replace("/vendor/base:1", "/Vendor//base:::1")
    done = made.upwell("apply", "-f", "-", text=stream("good") + wrong_types + unknown + unparsable)
    assert done.returncode == Exit.USAGE
    assert "nothing was changed" in done.stderr
    for fault in ("spec.replicas", "Sprocket", "spec.tags[0].from.name"):
        assert fault in done.stderr
    assert (await client.list(ImageStream)).items == []

    done = made.upwell("apply", "-f", "-", text=stream("good"))
    assert done.returncode == Exit.DONE, done.stderr


async def test_a_push_to_a_full_disk_fails_clearly_and_goes_on_when_there_is_room() -> None:
    def small(made: Installation) -> None:
        made.mount_small_disk(made.data_dir / "registry", megabytes=12)

    async with installation(prepare=small) as made, made.client() as client:
        await publish(made.vendor, "vendor/base:1", "1.0")
        big = "FROM base:1\nRUN head -c 16000000 /dev/urandom > /big\n"
        await made.apply(
            client, base_stream(made.vendor) + stream("big") + docker_build("big", dockerfile=big)
        )

        async def why() -> tuple[str | None, str]:
            try:
                status = (await client.get(Build, "default", "big-1")).status
            except NotFoundError:
                return None, ""
            return status.reason, status.message or ""

        _, message = await until(why, lambda seen: seen[0] == "PushImageToRegistryFailed")
        assert "Insufficient Storage" in message

        made.enlarge_disk(made.data_dir / "registry", megabytes=100)
        await until(lambda: phase(client, "big-1"), is_complete)
        assert len(made.inputs_tags("default/big")) == 1


async def test_a_full_data_directory_stops_no_server_and_loses_nothing() -> None:
    def small(made: Installation) -> None:
        made.mount_small_disk(made.data_dir, megabytes=100)

    async with installation(prepare=small) as made, made.client() as client:
        await publish(made.vendor, "vendor/base:1", "1.0")
        await made.apply(client, stream("before"))
        filler = made.data_dir / "filler"
        fill(filler)

        many = "".join(stream(f"full-{number}") for number in range(1000))
        with pytest.raises(StoreError):
            await made.apply(client, many)
        assert made.is_alive
        assert (await client.get(ImageStream, "default", "before")).name == "before"

        filler.unlink()
        app = docker_build("app", dockerfile="FROM base:1\nRUN true\n")
        await made.apply(client, base_stream(made.vendor) + stream("app") + app)
        await until(lambda: phase(client, "app-1"), is_complete)


async def test_an_application_that_crashes_on_start_is_rolled_back(
    made: Installation, client: ApiClient
) -> None:
    await publish(made.vendor, "vendor/base:1", "good 1")
    await made.apply(
        client,
        base_stream(made.vendor)
        + stream("app")
        + docker_build("app", dockerfile=CRASHES_ON_A_BAD_BASE)
        + deployment("app")
        + published("app"),
    )
    await until(lambda: answer(made.router_port, "app.test"), "good 1".__eq__)

    async def gives_up_after(seconds: int) -> None:
        spec = {"progressDeadlineSeconds": seconds}
        await client.patch(Deployment, "default", "app", {"spec": spec})

    async with traffic(made.router_port, ["app.test"]) as seen:
        await gives_up_after(10)
        await publish(made.vendor, "vendor/base:1", "bad 2")

        async def rolled_back() -> str:
            conditions = (await client.get(Deployment, "default", "app")).status.conditions
            condition = find(conditions, "RolledBack")
            return condition.message if condition else ""

        message = await until(rolled_back, bool)
        assert "cannot start" in message

        async def containers() -> int:
            return len(made.podman_names())

        await until(containers, (1).__eq__)
        assert set(seen["app.test"].answers) == {"good 1"}
        assert (await client.get(Deployment, "default", "app")).status.ready_replicas == 1

        await gives_up_after(60)
        await publish(made.vendor, "vendor/base:1", "good 3")
        await until(lambda: answer(made.router_port, "app.test"), "good 3".__eq__)
    assert seen["app.test"].failures == []


async def test_a_port_that_somebody_else_has_is_named(
    made: Installation, client: ApiClient
) -> None:
    with taken_port() as port:
        listener = service("web", "  type: NodePort").replace(
            "port: 8080", f"port: 8080, nodePort: {port}", 1
        )
        await made.apply(client, listener)

        async def message() -> str:
            conditions = (await client.get(Service, "default", "web")).status.conditions
            condition = find(conditions, "Ready")
            return condition.message if condition and condition.status == "False" else ""

        assert f"nodePort {port}" in await until(message, bool)
    await until(message, "".__eq__)


async def test_serve_refuses_a_taken_port_and_a_data_directory_in_use(made: Installation) -> None:
    done = second_server(made, made.port)
    assert done.returncode == Exit.FAILED
    assert f"127.0.0.1:{made.port} is in use" in done.stderr

    done = second_server(made, free_port())
    assert done.returncode == Exit.FAILED
    assert f"in use by process {made.pid}" in done.stderr
    assert made.is_alive


def second_server(made: Installation, port: int) -> subprocess.CompletedProcess[str]:
    address = f"127.0.0.1:{made.port}"
    command = [f"127.0.0.1:{port}" if part == address else part for part in made.command()]
    return run_upwell(*command[len(PROGRAM) :], seconds=30, folder=made.folder)


@contextmanager
def taken_port() -> Iterator[int]:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]
