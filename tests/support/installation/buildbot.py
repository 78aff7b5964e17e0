"""The Buildbot of `examples/ci-buildbot`: a master and a worker on free loopback ports."""

import asyncio
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.cli.command_program import upwell_program
from tests.support.installation.installation import Installation, until
from tests.support.paths import ROOT
from tests.support.ports import free_port

EXAMPLE = ROOT / "examples" / "ci-buildbot"
REPOSITORY = "greeter"
_BIN = Path(sys.executable).parent
_RUN_SECONDS = 240.0
_PLAIN = {"Accept-Encoding": "identity"}
_TRIES = 5
"""Of a question: Twisted loses the beginning of an answer now and then."""
_PAUSE_SECONDS = 0.5
"""Between two looks: asked more often, Buildbot does little else."""
_SUCCESS = 0
"""Buildbot's number of this result."""


@dataclass
class Buildbot:
    """Runs the example's builder, and says how its builds went."""

    folder: Path
    environment: Mapping[str, str]
    token: str
    port: int = field(default_factory=free_port)
    worker_port: int = field(default_factory=free_port)
    webhook_secret: str = field(default_factory=secrets.token_hex)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def programs(self) -> Path:
        """Folder of the `upwell` that its builds call."""
        return self.folder / "bin"

    @property
    def hook(self) -> str:
        return f"{self.url}/change_hook/upwell"

    def create(self) -> None:
        """Do what the example's README says, up to the start."""
        self.folder.mkdir()
        self._run("buildbot", "create-master", "master")
        master = self.folder / "master"
        for name in ("master.cfg", "upwell_hook.py"):
            shutil.copy(EXAMPLE / "buildbot" / name, master)
        (master / "secrets").mkdir(mode=0o700)
        password = secrets.token_hex()
        kept = {
            "upwell-token": self.token,
            "webhook-secret": self.webhook_secret,
            "worker-password": password,
        }
        for name, text in kept.items():
            path = master / "secrets" / name
            path.touch(mode=0o600)
            path.write_text(text)
        self._run("buildbot", "checkconfig", "master")
        where = f"127.0.0.1:{self.worker_port}"
        self._run("buildbot-worker", "create-worker", "worker", where, "worker", password)

    async def start(self) -> None:
        for program, folder in (("buildbot", "master"), ("buildbot-worker", "worker")):
            self.processes.append(self._started(program, folder))
        await until(self._has_worker, bool, _RUN_SECONDS)

    def _started(self, program: str, folder: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{folder}.log").open("ab") as log:
            return subprocess.Popen(
                [_BIN / program, "start", "--nodaemon", folder],
                cwd=self.folder,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    async def build(self, number: int) -> dict[str, Any]:
        """Return a build once it has ended; its `log` is what all of its steps printed."""

        async def look() -> dict[str, Any] | None:
            self._require_alive()
            await asyncio.sleep(_PAUSE_SECONDS)
            found = (await self._get("builds", builderid=1, number=number))["builds"]
            return next(iter(found), None)

        done = await until(look, lambda one: one is not None and one["complete"], _RUN_SECONDS)
        assert done is not None
        return {**done, "log": await self._log(done["buildid"])}

    async def succeeded(self, number: int) -> str:
        """Return the log of a build that went well."""
        done = await self.build(number)
        assert done["results"] == _SUCCESS, f"build {number}: {done['state_string']}\n{done['log']}"
        return str(done["log"])

    async def force(self) -> None:
        """Do what the button `by-hand` does."""
        await self._call("forceschedulers/by-hand", "force", owner="the test")

    async def again(self, number: int) -> None:
        """Do what the button `Rebuild` does."""
        found = (await self._get("builds", builderid=1, number=number))["builds"][0]
        await self._call(f"builds/{found['buildid']}", "rebuild")

    async def numbers(self) -> list[int]:
        """Return the numbers of all builds, and of those that wait to begin as 0."""
        requests = (await self._get("buildrequests", claimed="false"))["buildrequests"]
        builds = (await self._get("builds"))["builds"]
        return sorted([*(build["number"] for build in builds), *(0 for _ in requests)])

    async def _log(self, build: int) -> str:
        steps = (await self._get(f"builds/{build}/steps"))["steps"]
        text: list[str] = []
        for step in steps:
            text.append(f"# {step['name']}: {step['state_string']}")
            for log in (await self._get(f"steps/{step['stepid']}/logs"))["logs"]:
                content = await self._get(f"logs/{log['logid']}/contents")
                text.append(content["logchunks"][0]["content"])
        return "\n".join(text)

    async def _has_worker(self) -> bool:
        self._require_alive()
        try:
            workers = (await self._get("workers"))["workers"]
        except aiohttp.ClientError:
            return False
        return any(one["connected_to"] for one in workers)

    async def _get(self, path: str, **params: str | int) -> dict[str, Any]:
        url = f"{self.url}/api/v2/{path}"
        async with aiohttp.ClientSession(headers=_PLAIN, raise_for_status=True) as session:
            for _ in range(_TRIES):
                async with session.get(url, params=params) as answer:
                    with suppress(aiohttp.ClientPayloadError):
                        document: dict[str, Any] = await answer.json(content_type=None)
                        return document
        raise AssertionError(f"{url} is cut off each time")

    async def _call(self, path: str, method: str, **params: str) -> None:
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.url}/api/v2/{path}", json=call) as answer,
        ):
            assert answer.status == 200, await answer.text()

    def _require_alive(self) -> None:
        ended = [process for process in self.processes if process.poll() is not None]
        logs = "\n".join(path.read_text()[-4000:] for path in self.folder.glob("*.log"))
        assert not ended, f"Buildbot has ended:\n{logs}"

    @property
    def _environment(self) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
        return {
            **inherited,
            "PATH": f"{self.programs}:{_BIN}:/usr/bin:/bin",
            "BUILDBOT_WEB_PORT": str(self.port),
            "BUILDBOT_WORKER_PORT": str(self.worker_port),
            **self.environment,
        }

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [_BIN / program, *arguments],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@asynccontextmanager
async def buildbot(made: Installation, token: str) -> AsyncIterator[Buildbot]:
    """Run Buildbot while the block lasts."""
    for program in ("buildbot", "buildbot-worker"):
        if not (_BIN / program).exists():
            pytest.skip(f"{program} is missing: uv sync --group test")
    environment = {
        "GREETER_REPOSITORY": f"{made.git}/{REPOSITORY}",
        "UPWELL_SERVER": made.url,
        "UPWELL_ROUTER": f"http://127.0.0.1:{made.router_port}",
    }
    running = Buildbot(made.folder / "ci", environment, token, made.spare_port())
    running.create()
    with upwell_program(running.programs):
        try:
            await running.start()
            yield running
        finally:
            running.stop()
