"""Commands that wait while the server is killed or stopped, and comes again."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from tests.support.installation.applications import base_stream, docker_build, stream
from tests.support.installation.installation import Installation, until
from tests.support.installation.vendor_images import publish

from upwell.api.apps import Deployment
from upwell.api.builds.build import Build, BuildPhase
from upwell.api.core import ConfigMap
from upwell.api.meta import ObjectMeta
from upwell.store.interface import ApiClient, NotFoundError

SECONDS = 60
LOST, BACK = "lost the connection to the server", "connected to the server again"
WAITING = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 0
  paused: true
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "VENDOR/vendor/base:1"}]}
"""


class WaitingCommand:
    """A command of the command line that runs beside the test, its output in files."""

    def __init__(self, made: Installation, number: int, *arguments: str) -> None:
        self._out = made.folder / f"{number}.out"
        self._err = made.folder / f"{number}.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "upwell", "--server", made.url, *arguments],
                stdout=out,
                stderr=err,
                cwd=made.folder,
            )

    async def out(self) -> str:
        return self._out.read_text()

    async def err(self) -> str:
        return self._err.read_text()

    async def code(self) -> int | None:
        return self.process.poll()

    async def ended(self) -> int:
        code = await until(self.code, lambda found: found is not None, SECONDS)
        assert code is not None
        return code


@contextmanager
def running(made: Installation, *commands: tuple[str, ...]) -> Iterator[list[WaitingCommand]]:
    started = [WaitingCommand(made, number, *command) for number, command in enumerate(commands)]
    try:
        yield started
    finally:
        for command in started:
            command.process.kill()
            command.process.wait()


async def put(client: ApiClient, name: str, value: str) -> None:
    meta = ObjectMeta(name=name, namespace="default")
    try:
        found = await client.get(ConfigMap, "default", name)
        await client.update(found.model_copy(update={"data": {"v": value}}))
    except NotFoundError:
        await client.create(ConfigMap(metadata=meta, data={"v": value}))


async def saying(command: WaitingCommand, text: str) -> None:
    await until(command.err, lambda seen: text in seen, SECONDS)


def is_connected(pid: int, control: Path) -> bool:
    """Tell whether a process has a connection to a Unix socket (ss(8), of its two ends)."""
    ends = subprocess.run(["ss", "-xH"], check=True, capture_output=True, text=True, timeout=30)
    sockets = {
        f"socket:[{fields[7]}]"
        for fields in map(str.split, ends.stdout.splitlines())
        if fields[4] == str(control)
    }
    return any(str(file.readlink()) in sockets for file in Path(f"/proc/{pid}/fd").iterdir())


@pytest.mark.parametrize("way", ["kill", "stop"])
async def test_what_waits_goes_on_when_the_server_is_back(made: Installation, way: str) -> None:
    await publish(made.vendor, "vendor/base:1", "1.0")
    async with made.client() as client:
        await put(client, "a", "1")
        await made.apply(client, WAITING.replace("VENDOR", made.vendor))
    watch = ("get", "configmaps", "-w", "-o", "json")
    value = "--for=jsonpath={.data.v}"
    patient = ("wait", "configmap/a", f"{value}=2", "--timeout=60s")
    hurried = ("wait", "configmap/a", f"{value}=3", "--timeout=6s")
    rollout = ("rollout", "status", "deployment/web", "--timeout=60s")
    with running(made, watch, patient, hurried, rollout) as commands:
        seen, met, missed, rolled = commands
        await until(seen.out, lambda text: '"1"' in text, SECONDS)
        await saying(rolled, "no revision was rolled out yet")
        for command in (met, missed):
            connected = partial(
                asyncio.to_thread, is_connected, command.process.pid, made.data_dir / "api.sock"
            )
            await until(connected, bool, SECONDS)
        getattr(made, way)()
        for command in (seen, met, rolled):
            await saying(command, LOST)
        assert await missed.ended() == 5
        await made.start()
        for command in (seen, met, rolled):
            await saying(command, BACK)
        async with made.client() as client:
            await put(client, "b", "new")
            await put(client, "a", "2")
            web = await client.get(Deployment, "default", "web")
            spec = web.spec.model_copy(update={"paused": False})
            await client.update(web.model_copy(update={"spec": spec}))
        assert await met.ended() == 0
        assert await rolled.ended() == 0
        text = await until(seen.out, lambda text: '"2"' in text, SECONDS)
    assert text.count('"ADDED"') == 2  # a at the start, b since: nothing comes again
    assert text.count('"MODIFIED"') == 1


async def test_a_followed_log_goes_on_with_the_build_that_begins_anew(
    made: Installation,
) -> None:
    await publish(made.vendor, "vendor/base:1", "1.0")
    dockerfile = "FROM base:1\nRUN echo begin; sleep 3; echo end\n"
    async with made.client() as client:
        manifests = base_stream(made.vendor) + stream("app")
        await made.apply(client, manifests + docker_build("app", dockerfile=dockerfile))

        async def phase() -> BuildPhase | None:
            found = (await client.list(Build)).items
            return found[0].status.phase if found else None

        await until(phase, lambda found: found is BuildPhase.RUNNING, SECONDS)
    with running(made, ("logs", "-f", "build/app-1")) as (log,):
        await until(log.out, lambda text: "\nbegin\n" in text, SECONDS)
        made.kill()
        await saying(log, LOST)
        await made.start()
        assert await log.ended() == 0
        text, (err, uid) = await log.out(), (await log.err(), await build_uid(made))
    assert BACK in err
    assert text == made.build_log(uid)
    assert text.count("\nbegin\n") == 2
    assert text.count("\nend\n") == 1


async def build_uid(made: Installation) -> str:
    async with made.client() as client, asyncio.timeout(SECONDS):
        return (await client.get(Build, "default", "app-1")).uid
